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
