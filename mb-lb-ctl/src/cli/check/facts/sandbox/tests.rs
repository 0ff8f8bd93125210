use std::os::unix::fs::PermissionsExt as _;

use super::*;

#[test]
fn a_unit_that_is_there_says_what_it_takes_away() {
    let shown = |load: &str, home: &str, tmp: &str, capabilities: &str| {
        parse(&format!(
            "LoadState={load}\nProtectHome={home}\nPrivateTmp={tmp}\nCapabilityBoundingSet={capabilities}\n"
        ))
    };
    let limits = |hides_homes, hides_tmp, may_read, may_run| {
        Some(Limits {
            hides_homes,
            hides_tmp,
            may_read,
            may_run,
        })
    };
    let few = "cap_net_raw cap_bpf";
    assert_eq!(shown("not-found", "no", "no", few), None);
    assert_eq!(parse(""), None);
    assert_eq!(
        shown("loaded", "yes", "yes", few),
        limits(true, true, false, false)
    );
    assert_eq!(
        shown("loaded", "tmpfs", "no", few),
        limits(true, false, false, false)
    );
    let reads = "cap_dac_read_search cap_bpf";
    assert_eq!(
        shown("loaded", "read-only", "no", reads),
        limits(false, false, true, false)
    );
    assert_eq!(
        shown("loaded", "no", "no", "cap_dac_override"),
        limits(false, false, true, true)
    );
}

#[test]
fn files_and_programs_of_this_machine_are_found_and_nothing_else() {
    let text = "[director]\nname = \"lb1\"\n\
         [vrrp.v]\ninterface = \"eth0\"\nvirtual_router_id = 5\npriority = 100\naddresses = \"192.0.2.100\"\n\
         auth_pass_file = \"/etc/v.password\"\nnotify = \"/usr/bin/told\"\n\
         [service.smtp]\nlisten = \"192.0.2.100:25\"\nservers = { m = \"192.0.2.1\" }\n\
         check = { type = \"exec\", command = [\"/usr/bin/python3\", \"/etc/check.py\"] }\n\
         [service.web]\nlisten = \"192.0.2.100:80\"\nservers = { m = \"192.0.2.1\" }\n\
         check = { type = \"http\", path = \"/root\", tls = true, verify = \"/etc/ca.pem\" }\n\
         [proxy.site]\nlisten = \"192.0.2.100:443\"\ncertificate = [\"/etc/certs\"]\nservers = { m = \"192.0.2.1:80\" }\n\
         [config_sync.s]\nsource = \"/srv/s\"\ntargets = [\"192.0.2.1\"]\nexclude = [\"/home\"]\n\
         identity_file = \"/etc/id\"\nknown_hosts = \"/etc/known\"\n\
         [storage.q]\ntype = \"mount\"\nmount = \"/srv/q\"\n";
    let parsed = crate::config::parse(text, "lb1");
    let config = parsed
        .config
        .unwrap_or_else(|| panic!("{:?}", parsed.diagnostics));
    let found = named(&config).into_iter();
    let found: Vec<_> = found
        .map(|named| (named.path.display().to_string(), named.is_program))
        .collect();
    let expected = [
        ("/etc/ca.pem", false),
        ("/etc/certs", false),
        ("/etc/id", false),
        ("/etc/known", false),
        ("/etc/mb-lb/mb-lb.toml", false),
        ("/etc/v.password", false),
        ("/usr/bin/python3", true),
        ("/usr/bin/told", true),
    ];
    assert_eq!(
        found,
        expected.map(|(path, is_program)| (path.to_owned(), is_program))
    );
}

/// As root, for nobody else has powers to give up: `cargo xtask test` is run so.
#[test]
fn what_only_roots_powers_open_is_told() {
    assert!(nix::unistd::geteuid().is_root(), "run it as root");
    // Not below /tmp, which the service does not see.
    let directory = tempfile::tempdir_in("/run").expect("a directory");
    let file = |name: &str, owner: u32, mode: u32| {
        let path = directory.path().join(name);
        fs::write(&path, "x").expect("written");
        std::os::unix::fs::chown(&path, Some(owner), Some(owner)).expect("root may");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("root may");
        path
    };
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let named = |path: &Path, is_program| Named {
        path: path.to_owned(),
        is_program,
    };
    let others = file("others.pem", 1, 0o600);
    let program = file("program", 1, 0o700);
    let every = BTreeSet::from([
        named(&file("own.pem", 0, 0o600), false),
        named(&file("all.pem", 1, 0o644), false),
        named(&others, false),
        named(&program, true),
        named(&file("everybodys", 1, 0o711), true),
        // Root cannot run it either, which is said by others.
        named(&file("no-program", 1, 0o644), true),
        named(&directory.path().join("none"), false),
    ]);
    let limits = Limits {
        hides_homes: true,
        hides_tmp: true,
        may_read: false,
        may_run: false,
    };
    let texts = |limits: Limits, named: BTreeSet<Named>| -> Vec<String> {
        let facts = judge(&limits, named).into_iter();
        facts.map(|fact| fact.text).collect()
    };
    let why = "it is root without root's powers over other people's files";
    let unread = format!("the service could not read {}: {why}", others.display());
    let not_run = format!("the service could not run {}: {why}", program.display());
    assert_eq!(
        texts(limits, every.clone()),
        [unread.clone(), not_run.clone()]
    );
    // In a directory of certificates too.
    assert_eq!(
        texts(limits, BTreeSet::from([named(directory.path(), false)])),
        [unread]
    );
    let reads = Limits {
        may_read: true,
        ..limits
    };
    assert_eq!(texts(reads, every), [not_run]);
    // This thread still can.
    assert!(fs::read(&others).is_ok());
    let hidden = BTreeSet::from([
        named(Path::new("/root"), false),
        named(Path::new("/tmp"), false),
    ]);
    assert_eq!(
        texts(reads, hidden),
        [
            "the service does not see /root: its unit hides homes",
            "the service does not see /tmp: its unit has a /tmp of its own"
        ]
    );
}
