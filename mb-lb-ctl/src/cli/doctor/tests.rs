use super::*;

#[test]
fn a_server_is_meant_by_its_whole_name_or_its_own() {
    for (service, server, meant) in [
        ("smtp", "mb1", true),
        ("", "mb1", true),
        ("imap", "mb1", false),
        ("", "mb2", false),
    ] {
        let wanted = ServerRef {
            service: service.to_owned(),
            server: server.to_owned(),
        };
        assert_eq!(is(&wanted, "smtp/mb1"), meant, "{service}/{server}");
        let text =
            "[service.smtp]\nlisten = \"192.0.2.100:25\"\nservers = { mb1 = \"192.0.2.1\" }\n";
        let config = crate::config::parse(text, "lb1").config;
        assert_eq!(known(&wanted, config.as_ref(), None).is_ok(), meant);
    }
}

#[test]
fn what_a_daemon_says_as_well_is_said_once() {
    let fact = |text: &str| Fact {
        text: text.to_owned(),
        next: "move it".to_owned(),
    };
    let path = fact("smtp/mb1 would be down: no route to 192.0.2.1");
    let of = of_path(&path, false).map(|found| found.server);
    assert_eq!(of, Some(Some("smtp/mb1".to_owned())));
    assert_eq!(of_path(&path, true), None);
    let other = of_path(&fact("there is no interface eth9"), true);
    assert_eq!(other.map(|found| found.level), Some(Level::Problem));
}
