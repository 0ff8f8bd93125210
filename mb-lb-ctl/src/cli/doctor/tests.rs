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
