use super::*;
use crate::cli::doctor::finding::Level;

fn interface(name: &str, mtu: u32) -> Interface {
    Interface {
        name: name.to_owned(),
        index: 2,
        mac: [2, 0, 0, 0, 0, 1],
        mtu,
        up: true,
    }
}

#[test]
fn mtus() {
    let cases: &[(&[u32], &[Level])] = &[
        (&[], &[]),
        (&[1500], &[Level::Ok]),
        (&[9000, 9000], &[Level::Ok, Level::Ok]),
        (&[1400], &[Level::Problem]),
        (&[1500, 9000], &[Level::Problem, Level::Ok]),
        (
            &[9000, 1400, 1500],
            &[Level::Ok, Level::Problem, Level::Problem],
        ),
    ];
    for (mtus, expected) in cases {
        let interfaces: Vec<_> = mtus.iter().map(|mtu| interface("eth0", *mtu)).collect();
        let levels: Vec<_> = super::mtu(&interfaces)
            .iter()
            .map(|found| found.level)
            .collect();
        assert_eq!(levels, *expected, "{mtus:?}");
    }
    let differ = super::mtu(&[interface("eth0", 1500), interface("eth1", 1400)]);
    assert_eq!(
        differ[1].text,
        "eth1 has an MTU of 1400, and eth0 one of 1500"
    );
    assert!(differ[1].next.starts_with("ip link set dev eth1 mtu 1500"));
}

#[test]
fn modes() {
    for (name, wanted, driver, level, says) in [
        ("native", XdpMode::Auto, None, Level::Ok, "native on eth0"),
        (
            "generic",
            XdpMode::Auto,
            Some("tg3"),
            Level::Warning,
            "its driver, tg3, did not",
        ),
        (
            "generic",
            XdpMode::Auto,
            None,
            Level::Warning,
            "its driver did not",
        ),
        (
            "generic",
            XdpMode::Generic,
            Some("tg3"),
            Level::Warning,
            "as director.xdp wants it",
        ),
    ] {
        let found = mode("eth0", name, wanted, driver);
        assert_eq!(found.level, level);
        assert!(found.text.contains(says), "{}", found.text);
    }
}

#[test]
fn programs() {
    let named = Some((7, "xdp_filter".to_owned()));
    let unnamed = Some((7, String::new()));
    for (ours, program, level, says) in [
        (true, named.clone(), Level::Ok, "the program of mb-lb"),
        (
            false,
            named,
            Level::Problem,
            "another XDP program: xdp_filter (number 7)",
        ),
        (
            false,
            unnamed,
            Level::Problem,
            "another XDP program: (number 7)",
        ),
        (true, None, Level::Problem, "a link to eth0 is pinned"),
        (false, None, Level::Problem, "no XDP program is on eth0"),
    ] {
        let found = super::program(&Carried {
            interface: "eth0".to_owned(),
            ours,
            program,
        });
        assert_eq!(found.level, level);
        assert!(found.text.contains(says), "{}", found.text);
    }
}

#[test]
fn merging_offloads() {
    let printed = |lro: &str, gro: &str| {
        format!(
            "Features for eth0:\nrx-checksumming: on\ngeneric-receive-offload: on\nlarge-receive-offload: {lro}\nrx-gro-hw: {gro}\n"
        )
    };
    for (lro, gro, level, next) in [
        ("off [fixed]", "off", Level::Ok, ""),
        (
            "on",
            "off [fixed]",
            Level::Problem,
            "ethtool -K eth0 lro off,",
        ),
        (
            "off",
            "on [fixed]",
            Level::Problem,
            "ethtool -K eth0 rx-gro-hw off,",
        ),
        (
            "on",
            "on",
            Level::Problem,
            "ethtool -K eth0 lro off rx-gro-hw off,",
        ),
    ] {
        let found = offloads("eth0", &printed(lro, gro));
        assert_eq!(found.level, level);
        assert!(found.next.starts_with(next), "{}", found.next);
    }
}

#[test]
fn offloads_that_nobody_could_say_are_not_known() {
    use std::os::unix::process::ExitStatusExt as _;
    let output = |code: i32, stdout: &str, stderr: &str| {
        Ok(Output {
            status: std::process::ExitStatus::from_raw(code << 8),
            stdout: stdout.into(),
            stderr: stderr.into(),
        })
    };
    let none = "large-receive-offload: off [fixed]\nrx-gro-hw: off [fixed]\n";
    let half = "large-receive-offload: off\n";
    let denied = "Cannot get device feature names: Operation not permitted\n";
    for (printed, level, says) in [
        (output(0, none, ""), Level::Ok, "merges no packets"),
        (output(0, half, ""), Level::NotKnown, "does not list them"),
        (output(0, "", ""), Level::NotKnown, "does not list them"),
        (
            output(1, none, denied),
            Level::NotKnown,
            "ethtool says Cannot get device feature names",
        ),
        (
            Err(io::Error::from(io::ErrorKind::NotFound)),
            Level::NotKnown,
            "offloads of eth0: ethtool: ",
        ),
    ] {
        let found = asked("eth0", printed);
        assert_eq!(found.level, level, "{found:?}");
        assert!(found.text.contains(says), "{found:?}");
        assert_eq!(found.next.is_empty(), level == Level::Ok, "{found:?}");
    }
}

#[test]
fn links() {
    let class = tempfile::tempdir().expect("a directory");
    for (name, state) in [("eth0", "up\n"), ("eth1", "down\n"), ("eth2", "")] {
        let directory = class.path().join(name);
        std::fs::create_dir(&directory).expect("a directory");
        if !state.is_empty() {
            std::fs::write(directory.join("operstate"), state).expect("a file");
        }
    }
    for (name, level) in [
        ("eth0", Level::Ok),
        ("eth1", Level::Problem),
        ("eth2", Level::NotKnown),
    ] {
        assert_eq!(link(name, class.path()).level, level, "{name}");
    }
}
