//! Claims of others on VIPs.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use mb_lb_ctl::net::announce::{arp_frame, na_frame};
use mb_lb_ctl::net::{Announcer, Claim, Guardian, Interface};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::{Lab, MAC, OTHER_MAC, PATIENCE, inside, ip, run};

const VIP4: &str = "10.77.0.100";
const VIP6: &str = "fd77::100";
/// Comes after what should not be told.
const LAST: &str = "10.77.0.200";
const IMPOSTOR: [u8; 6] = [2, 0, 0, 0, 0x77, 0x66];

struct Watching {
    guardian: Guardian,
    claims: mpsc::Receiver<Claim>,
    d0: Interface,
}

impl Watching {
    fn start(d0: &Interface, capacity: usize) -> Self {
        let (sender, claims) = mpsc::channel(capacity);
        let (guardian, _task) = Guardian::open(d0.index, sender).unwrap();
        guardian.set(d0.mac, BTreeSet::from([VIP4, VIP6, LAST].map(ip)));
        Self {
            guardian,
            claims,
            d0: d0.clone(),
        }
    }

    async fn next(&mut self) -> Claim {
        let claim = timeout(PATIENCE, self.claims.recv()).await;
        claim.expect("a claim is due").expect("the task lives")
    }

    async fn expect(&mut self, address: &str, mac: [u8; 6]) {
        let claim = Claim {
            address: ip(address),
            mac,
            ifindex: self.d0.index,
        };
        assert_eq!(self.next().await, claim);
    }
}

fn mac(text: &str) -> [u8; 6] {
    let bytes: Vec<u8> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    bytes.try_into().unwrap()
}

fn four(address: &str, mac: [u8; 6]) -> Vec<u8> {
    arp_frame(address.parse().unwrap(), mac).to_vec()
}

fn six(address: &str, mac: [u8; 6]) -> Vec<u8> {
    na_frame(address.parse().unwrap(), mac).to_vec()
}

#[test]
fn claims_of_another_kernel_are_told() {
    let lab = Lab::new();
    let d0 = lab.d0();
    // Linux looks for duplicates of IPv6 addresses that it gets, and announces all when its MAC address changes.
    for setting in [
        "ipv4.conf.s0.arp_notify",
        "ipv6.conf.s0.ndisc_notify",
        "ipv6.conf.s0.accept_dad",
    ] {
        let exec = format!("ip netns exec {} sysctl -qw", lab.server);
        run(&format!("{exec} net.{setting}=1"));
    }
    lab.on_director(|| async {
        let mut watching = Watching::start(&d0, 64);
        lab.server(&format!("addr add {VIP6}/128 dev s0"));
        watching.expect(VIP6, mac(MAC)).await;
        lab.server(&format!("addr add {VIP4}/32 dev s0"));
        // A question from the address says where the address is.
        inside(&lab.server, || async {
            let socket = UdpSocket::bind((VIP4, 0)).unwrap();
            socket.send_to(b"x", "10.77.0.77:9").unwrap();
        });
        watching.expect(VIP4, mac(MAC)).await;

        lab.server(&format!("link set s0 address {OTHER_MAC}"));
        let mut missing = BTreeSet::from([VIP4, VIP6].map(ip));
        while !missing.is_empty() {
            let claim = watching.next().await;
            if claim.mac == mac(OTHER_MAC) {
                missing.remove(&claim.address);
            }
        }
    });
}

#[test]
fn announcements_of_another_director_are_told_and_ones_own_are_not() {
    let lab = Lab::new();
    let d0 = lab.d0();
    let wire = lab.wire();
    lab.on_director(|| async {
        let mut watching = Watching::start(&d0, 64);
        let announcer = Announcer::open(d0.index).unwrap();
        for vip in [VIP4, VIP6] {
            announcer.announce(ip(vip), d0.mac).unwrap();
            // By another MAC address, as those of a virtual router would be.
            announcer.announce(ip(vip), [0, 0, 0x5e, 0, 1, 7]).unwrap();
        }
        // Ours, come back by a loop of switches.
        wire.send(&four(VIP4, d0.mac)).unwrap();
        wire.send(&six(VIP6, d0.mac)).unwrap();
        for (frame, vip) in [(four(VIP4, IMPOSTOR), VIP4), (six(VIP6, IMPOSTOR), VIP6)] {
            wire.send(&frame).unwrap();
            watching.expect(vip, IMPOSTOR).await;
        }
        assert_eq!(watching.guardian.counts(), Default::default());
    });
}

#[test]
fn what_is_not_a_claim_on_a_watched_address_of_this_lan_is_not_told() {
    let lab = Lab::new();
    let d0 = lab.d0();
    let wire = lab.wire();
    lab.on_director(|| async {
        let mut watching = Watching::start(&d0, 64);
        for whole in [four(VIP4, IMPOSTOR), six(VIP6, IMPOSTOR)] {
            for vlan in [1, 100] {
                let mut tagged = whole.clone();
                tagged.splice(12..12, [0x81, 0, 0, vlan]);
                wire.send(&tagged).unwrap();
            }
            for length in [14, 20, 40, whole.len() - 1] {
                wire.send(&whole[..length]).unwrap();
            }
        }
        wire.send(&four("10.77.0.66", IMPOSTOR)).unwrap();
        wire.send(&six("fd77::66", IMPOSTOR)).unwrap();
        wire.send(&four(LAST, IMPOSTOR)).unwrap();
        watching.expect(LAST, IMPOSTOR).await;

        // A priority is no VLAN.
        let mut tagged = four(VIP4, IMPOSTOR);
        tagged.splice(12..12, [0x81, 0, 0xe0, 0]);
        wire.send(&tagged).unwrap();
        watching.expect(VIP4, IMPOSTOR).await;

        // Watched no longer; watched from now on.
        watching
            .guardian
            .set(d0.mac, BTreeSet::from([ip("10.77.0.66")]));
        wire.send(&four(VIP4, IMPOSTOR)).unwrap();
        wire.send(&four("10.77.0.66", IMPOSTOR)).unwrap();
        watching.expect("10.77.0.66", IMPOSTOR).await;
    });
}

#[test]
fn flood_is_told_ten_times_a_second() {
    let lab = Lab::new();
    let d0 = lab.d0();
    let wire = lab.wire();
    lab.on_director(|| async {
        let mut watching = Watching::start(&d0, 4096);
        let start = Instant::now();
        let mut sent = 0;
        // So that more than one batch is read and the kernel's queue overflows.
        while watching.guardian.counts().missed == 0 {
            assert!(
                start.elapsed() < PATIENCE,
                "{:?}",
                watching.guardian.counts()
            );
            for _ in 0..1000 {
                wire.send(&four(VIP4, IMPOSTOR)).unwrap();
            }
            sent += 1000;
            tokio::task::yield_now().await;
        }
        let mut told = 0;
        loop {
            wire.send(&four(LAST, IMPOSTOR)).unwrap();
            match timeout(Duration::from_millis(100), watching.next()).await {
                Ok(claim) if claim.address == ip(LAST) => break,
                Ok(_) => told += 1,
                Err(_) => assert!(start.elapsed() < PATIENCE),
            }
        }
        let windows = start.elapsed().as_secs() + 1;
        let counts = watching.guardian.counts();
        assert!((10..=10 * windows).contains(&told), "{told} in {windows} s");
        assert!(counts.coalesced > 0 && counts.dropped == 0, "{counts:?}");
        assert!(
            told + counts.coalesced + counts.missed >= sent,
            "{told} {counts:?} {sent}"
        );
    });
}

#[test]
fn claims_beyond_the_channel_are_dropped_and_counted() {
    let lab = Lab::new();
    let d0 = lab.d0();
    let wire = lab.wire();
    lab.on_director(|| async {
        let mut watching = Watching::start(&d0, 1);
        for vip in [VIP4, LAST] {
            wire.send(&four(vip, IMPOSTOR)).unwrap();
        }
        let dropped = async {
            while watching.guardian.counts().dropped != 1 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, dropped).await.expect("one is dropped");
        watching.expect(VIP4, IMPOSTOR).await;
        wire.send(&six(VIP6, IMPOSTOR)).unwrap();
        watching.expect(VIP6, IMPOSTOR).await;
    });
}

#[test]
fn interface_that_was_down_is_listened_to_again_and_the_task_ends_with_its_handle() {
    let lab = Lab::new();
    let d0 = lab.d0();
    let wire = lab.wire();
    lab.on_director(|| async {
        let (sender, mut claims) = mpsc::channel(64);
        let (guardian, task) = Guardian::open(d0.index, sender).unwrap();
        guardian.set(d0.mac, BTreeSet::from([ip(VIP4)]));
        lab.director("link set d0 down");
        tokio::task::yield_now().await;
        lab.director("link set d0 up");
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Lost, until the link is up at both ends.
            let _ = wire.send(&four(VIP4, IMPOSTOR));
            if let Ok(claim) = timeout(Duration::from_millis(100), claims.recv()).await {
                assert_eq!(claim.expect("the task lives").mac, IMPOSTOR);
                break;
            }
            assert!(Instant::now() < deadline, "nothing is heard");
        }
        drop(guardian);
        timeout(PATIENCE, task).await.unwrap().unwrap().unwrap();
    });
}
