//! Announcements, as those see them who are to believe them.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use mb_lb_ctl::net::Announcer;

use super::{Lab, PATIENCE, ip, run};

const VIPS: [&str; 2] = ["10.77.0.100", "fd77::100"];

#[test]
fn announcements_change_the_entries_of_neighbours() {
    let lab = Lab::new();
    let d0 = lab.d0();
    let mac = d0.mac.map(|byte| format!("{byte:02x}")).join(":");
    let announcer = lab.on_director(|| async { Announcer::open(d0.index).unwrap() });
    for vip in VIPS {
        let entry = || run(&format!("ip -n {} neigh show {vip} dev s0", lab.server));
        for before in ["02:00:00:00:77:98", "02:00:00:00:77:99"] {
            // As after a take-over: the neighbours know the other director.
            lab.server(&format!(
                "neigh replace {vip} lladdr {before} dev s0 nud reachable"
            ));
            assert!(entry().contains(before));
            announcer.announce(ip(vip), d0.mac).unwrap();
            let deadline = Instant::now() + PATIENCE;
            while !entry().contains(&mac) {
                assert!(Instant::now() < deadline, "{vip}: {}", entry());
                std::thread::yield_now();
            }
        }
    }
}

#[test]
fn announcements_are_well_formed_to_a_stranger() {
    let lab = Lab::new();
    let d0 = lab.d0();
    let wire = lab.wire();
    let announcer = lab.on_director(|| async { Announcer::open(d0.index).unwrap() });
    let frames: Vec<Vec<u8>> = VIPS
        .map(|vip| {
            announcer.announce(ip(vip), d0.mac).unwrap();
            let address = match ip(vip) {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            let carries = |frame: &[u8]| {
                let found = frame.windows(address.len()).any(|bytes| bytes == address);
                (found && frame[6..12] == d0.mac).then(|| frame.to_vec())
            };
            wire.wait_for("an announcement", carries).unwrap()
        })
        .into();
    let file = std::env::temp_dir().join(format!("{}.pcap", lab.director));
    std::fs::write(&file, capture(&frames)).unwrap();
    let said = tshark(&file);
    std::fs::remove_file(&file).unwrap();
    let mac = d0.mac.map(|byte| format!("{byte:02x}")).join(":");
    let expected = [
        format!(
            "ff:ff:ff:ff:ff:ff|{mac}|1|1|{mac}|10.77.0.100|10.77.0.100{}",
            "|".repeat(11)
        ),
        format!("33:33:00:00:00:01|{mac}|||||||fd77::100|ff02::1|255|136|1|0|1|0|fd77::100|{mac}"),
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
}

/// A capture file (pcap, version 2.4, Ethernet).
fn capture(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 0xffff, 1] {
        file.extend(u32::to_ne_bytes(word));
    }
    for frame in frames {
        let length = u32::try_from(frame.len()).unwrap();
        for word in [0, 0, length, length] {
            file.extend(word.to_ne_bytes());
        }
        file.extend(frame);
    }
    file
}

fn tshark(file: &Path) -> String {
    let fields = "eth.dst eth.src arp.isgratuitous arp.opcode arp.src.hw_mac arp.src.proto_ipv4 arp.dst.proto_ipv4 \
                  _ws.malformed ipv6.src ipv6.dst ipv6.hlim icmpv6.type icmpv6.checksum.status icmpv6.nd.na.flag.r \
                  icmpv6.nd.na.flag.o icmpv6.nd.na.flag.s icmpv6.nd.na.target_address icmpv6.opt.target_linkaddr";
    let fields = fields.split_whitespace().flat_map(|field| ["-e", field]);
    let output = Command::new("tshark")
        .args(["-n", "-r"])
        .arg(file)
        .args(["-T", "fields", "-E", "separator=|"])
        .args(fields)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
