use super::*;
use crate::cli::doctor::finding::Level;

fn config(vrrp: bool) -> Config {
    let vrrp = match vrrp {
        true => {
            "[vrrp.VI_1]\ninterface = \"eth0\"\nvirtual_router_id = 51\naddresses = \"192.0.2.100/24\"\n"
        }
        false => "",
    };
    let text = format!(
        "{vrrp}[service.smtp]\nlisten = \"192.0.2.100:25\"\nservers = {{ mb1 = \"192.0.2.1\" }}\n"
    );
    crate::config::parse(&text, "lb1").config.expect("valid")
}

fn program(listens: &[&str], ids: Option<&[u8]>) -> Program {
    Program {
        name: "x".to_owned(),
        pid: 77,
        listens: Some(listens.iter().map(|text| text.parse().unwrap()).collect()),
        router_ids: ids.map(|ids| ids.iter().copied().collect()),
    }
}

#[test]
fn what_is_left_of_the_old_pair() {
    let none: Option<Program> = None;
    let quiet = Some(program(&["127.0.0.1:25", "192.0.2.100:80"], None));
    let same = Some(program(&["192.0.2.100:25"], None));
    let all = Some(program(&["0.0.0.0:25"], None));
    let same_id = Some(program(&[], Some(&[51])));
    let other_id = Some(program(&[], Some(&[52])));
    for (name, running, enabled, vrrp, level, says) in [
        (
            "haproxy",
            &none,
            false,
            true,
            Level::Ok,
            "does not run here",
        ),
        ("haproxy", &none, true, true, Level::Warning, "is enabled"),
        (
            "haproxy",
            &quiet,
            true,
            true,
            Level::Warning,
            "haproxy runs here (pid 77)",
        ),
        (
            "haproxy",
            &same,
            true,
            true,
            Level::Problem,
            "listens on 192.0.2.100:25",
        ),
        (
            "haproxy",
            &all,
            true,
            true,
            Level::Problem,
            "listens on 192.0.2.100:25",
        ),
        (
            "keepalived",
            &same_id,
            true,
            true,
            Level::Problem,
            "virtual_router_id 51",
        ),
        (
            "keepalived",
            &other_id,
            true,
            true,
            Level::Warning,
            "moves VIPs by VRRP",
        ),
        (
            "keepalived",
            &same_id,
            true,
            false,
            Level::Warning,
            "keepalived runs here",
        ),
    ] {
        let running: Vec<&Program> = running.iter().collect();
        let found = judge(name, &running, enabled, &config(vrrp));
        assert_eq!(found.level, level, "{found:?}");
        assert!(found.text.contains(says), "{found:?}");
        let disable = found.next.contains(&format!("systemctl disable {name}"))
            || found
                .next
                .contains(&format!("systemctl disable --now {name}"));
        assert_eq!(disable, level != Level::Ok, "{found:?}");
    }
}

#[test]
fn what_could_not_be_read_is_not_taken_for_good() {
    let unread = Program {
        listens: None,
        ..program(&[], None)
    };
    let found = judge("haproxy", &[&unread], true, &config(true));
    assert_eq!(found.level, Level::NotKnown, "{found:?}");
    assert!(
        found.text.contains("what it listens on cannot be read"),
        "{found:?}"
    );
    let secret = program(&[], None);
    let found = judge("keepalived", &[&secret], true, &config(true));
    assert_eq!(found.level, Level::NotKnown, "{found:?}");
    assert!(
        found.text.contains("its configuration cannot be read"),
        "{found:?}"
    );
    // Where another one is seen to be in the way, that is worse.
    let seen = program(&["192.0.2.100:25"], None);
    let found = judge("haproxy", &[&unread, &seen], true, &config(true));
    assert_eq!(found.level, Level::Problem, "{found:?}");
}

#[test]
fn where_processes_are_hidden_nobody_is_said_not_to_run() {
    let proc = tempfile::tempdir().expect("a directory");
    // As with hidepid=2, and then with hidepid=1.
    assert!(!sees_all(proc.path()));
    fs::create_dir_all(proc.path().join("1/comm")).expect("a directory");
    assert!(!sees_all(proc.path()));
    assert!(sees_all(Path::new("/proc")));
    assert_eq!(unseen("haproxy").level, Level::NotKnown);
}

#[cfg(target_endian = "little")]
#[test]
fn lines_of_the_kernels_tables() {
    let v4 = "   0: 640200C0:0019 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0";
    let v6 = "   0: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A 00000000:00000000 \
              00:00000000 00000000     0        0 4712 1 0";
    assert_eq!(
        listener(v4),
        Some(("192.0.2.100:25".parse().unwrap(), 4711))
    );
    assert_eq!(listener(v6), Some(("[::]:443".parse().unwrap(), 4712)));
    let established = v4.replace(" 0A ", " 01 ");
    for other in [
        established.as_str(),
        "  sl  local_address rem_address   st",
        "",
        "0: 64:19 0:0 0A",
    ] {
        assert_eq!(listener(other), None, "{other}");
    }
}

#[test]
fn ids_of_keepalived() {
    let text = "vrrp_instance A {\n  virtual_router_id 51 # ours\n}\nvrrp_instance B {\n\tvirtual_router_id 7\n}\n";
    assert_eq!(ids(text), BTreeSet::from([7, 51]));
    assert_eq!(ids("# virtual_router_id 51\n"), BTreeSet::new());
}
