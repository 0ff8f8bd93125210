//! Leased, tagged addresses.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use mb_lb_ctl::net::{AddressBook, AddressChange, AddressChanges, Error, Held, Vip};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{Lab, PATIENCE, inside, ip, run};

const LEASE: Duration = Duration::from_secs(3);

struct Holding {
    book: AddressBook,
    changes: AddressChanges,
}

impl Holding {
    fn start() -> Self {
        let book = AddressBook::open().unwrap();
        let changes = book.watch().unwrap();
        Self { book, changes }
    }

    async fn hold(&self, vip: Vip, lifetime: Option<Duration>) {
        self.book.hold(&vip, lifetime).await.unwrap();
    }

    async fn release(&self, vip: Vip) {
        self.book.release(&vip).await.unwrap();
    }

    /// What is held at this address.
    async fn held(&self, vip: Vip) -> Option<Held> {
        let all = self.book.list().await.unwrap();
        all.into_iter().find(|held| held.vip == vip)
    }

    async fn wait_for(&mut self, wanted: AddressChange) {
        let seen = async { while self.changes.next().await.unwrap() != wanted {} };
        timeout(PATIENCE, seen)
            .await
            .unwrap_or_else(|_| panic!("{wanted:?} is due"));
    }
}

fn vip(lab: &Lab, text: &str) -> Vip {
    let (address, prefix) = text.split_once('/').unwrap();
    Vip {
        address: ip(address),
        prefix: prefix.parse().unwrap(),
        ifindex: lab.d0().index,
    }
}

#[test]
fn held_address_is_tagged_and_says_how_long() {
    let lab = Lab::new();
    lab.director("addr add 10.77.0.99/32 dev d0");
    lab.on_director(|| async {
        let mut holding = Holding::start();
        for text in [
            "10.77.0.100/32",
            "10.77.0.101/24",
            "fd77::100/128",
            "fd77::101/64",
        ] {
            let vip = vip(&lab, text);
            let forever = Held {
                vip,
                tagged: true,
                valid: None,
            };
            holding.hold(vip, None).await;
            holding.wait_for(AddressChange::Added(vip)).await;
            assert_eq!(holding.held(vip).await, Some(forever));

            holding.hold(vip, Some(Duration::from_millis(98_765))).await;
            let held = holding.held(vip).await.unwrap();
            let left = held.valid.expect("a lifetime");
            assert!(held.tagged);
            assert!(
                left <= Duration::from_secs(99) && left > PATIENCE / 2,
                "{left:?}"
            );

            holding.hold(vip, None).await;
            assert_eq!(holding.held(vip).await, Some(forever));
            holding.release(vip).await;
            holding.wait_for(AddressChange::Removed(vip)).await;
            assert_eq!(holding.held(vip).await, None);
        }
        let foreign = vip(&lab, "10.77.0.99/32");
        assert!(!holding.held(foreign).await.unwrap().tagged);
        holding.hold(foreign, Some(LEASE)).await;
        let adopted = holding.held(foreign).await.unwrap();
        assert!(adopted.tagged && adopted.valid.is_some(), "{adopted:?}");
    });
}

/// Sends a byte and waits for its echo.
async fn echo(stream: &mut TcpStream) {
    let exchange = async {
        stream.write_all(b"x").await.unwrap();
        stream.read_u8().await.unwrap()
    };
    assert_eq!(timeout(PATIENCE, exchange).await.unwrap(), b'x');
}

fn serve(listener: TcpListener) {
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut from, mut to) = stream.split();
        tokio::io::copy(&mut from, &mut to).await
    });
}

#[test]
fn lease_runs_out_unless_refreshed_and_connections_survive_refreshes() {
    let lab = Lab::new();
    for (kept, lost) in [
        ("10.77.0.100/32", "10.77.0.101/32"),
        ("10.77.0.100/24", "10.77.0.101/24"),
        ("fd77::100/128", "fd77::101/128"),
    ] {
        let (kept, lost) = (vip(&lab, kept), vip(&lab, lost));
        lab.on_director(|| async {
            let mut holding = Holding::start();
            holding.hold(kept, Some(LEASE)).await;
            let listener = TcpListener::bind((kept.address, 0)).await.unwrap();
            let to = listener.local_addr().unwrap();
            serve(listener);
            // The client's end of the connection, made in the server's namespace.
            let (made, client) = tokio::sync::oneshot::channel();
            let server = lab.server.clone();
            std::thread::spawn(move || {
                let connect = || async move { std::net::TcpStream::connect(to) };
                made.send(inside(&server, connect)).unwrap();
            });
            let client = client.await.unwrap().unwrap();
            client.set_nonblocking(true).unwrap();
            let mut client = TcpStream::from_std(client).unwrap();

            // One lease is refreshed until another one of the same length, begun later, has run out; and
            // that again, so that the refreshed one has lived for two.
            for _ in 0..2 {
                holding.hold(lost, Some(LEASE)).await;
                let mut ticks = tokio::time::interval(LEASE / 10);
                loop {
                    tokio::select! {
                        change = holding.changes.next() => match change.unwrap() {
                            AddressChange::Removed(gone) => {
                                assert_eq!(gone, lost);
                                break;
                            }
                            AddressChange::Added(_) => {}
                            AddressChange::Resync => panic!("nothing was lost"),
                        },
                        _ = ticks.tick() => {
                            holding.book.hold(&kept, Some(LEASE)).await.unwrap();
                            echo(&mut client).await;
                        }
                    }
                }
            }
            echo(&mut client).await;
            assert!(holding.held(kept).await.is_some());
            holding.wait_for(AddressChange::Removed(kept)).await;
            assert!(holding.held(kept).await.is_none());
        });
    }
}

#[test]
fn what_other_programs_do_is_seen() {
    let lab = Lab::new();
    lab.on_director(|| async {
        let mut holding = Holding::start();
        for (text, options) in [("10.77.0.100/32", ""), ("fd77::100/128", "nodad")] {
            let vip = vip(&lab, text);
            lab.director(&format!("addr add {text} dev d0 {options}"));
            holding.wait_for(AddressChange::Added(vip)).await;
            lab.director(&format!("addr del {text} dev d0"));
            holding.wait_for(AddressChange::Removed(vip)).await;

            holding.hold(vip, None).await;
            lab.director(&format!("addr del {text} dev d0"));
            holding.wait_for(AddressChange::Removed(vip)).await;

            holding.hold(vip, None).await;
            lab.director("addr flush dev d0");
            holding.wait_for(AddressChange::Removed(vip)).await;
        }
    });
}

#[test]
fn lost_changes_ask_for_a_resync() {
    let lab = Lab::new();
    let addresses =
        (0..=255).flat_map(|third| (0..8).map(move |host| format!("10.66.{third}.{host}")));
    let commands: String = addresses
        .map(|address| format!("addr add {address}/32 dev d0\n"))
        .collect();
    let file = std::env::temp_dir().join(format!("{}.batch", lab.director));
    std::fs::write(&file, commands).unwrap();
    lab.on_director(|| async {
        let mut holding = Holding::start();
        lab.director(&format!("-batch {}", file.display()));
        holding.wait_for(AddressChange::Resync).await;
        // It goes on with what comes after.
        let vip = vip(&lab, "10.77.0.100/32");
        holding.hold(vip, None).await;
        holding.wait_for(AddressChange::Added(vip)).await;
    });
    std::fs::remove_file(file).unwrap();
}

#[test]
fn release_takes_exactly_what_it_names() {
    let lab = Lab::new();
    lab.director("addr add 10.77.0.100/24 dev d0");
    lab.director("addr add fd77::100/64 dev d0 nodad");
    lab.director("addr add 10.77.0.100/32 dev lo");
    lab.on_director(|| async {
        let holding = Holding::start();
        let before = holding.book.list().await.unwrap();
        for text in [
            "10.77.0.100/32",
            "fd77::100/128",
            "10.77.0.200/32",
            "fd77::200/128",
        ] {
            let absent = vip(&lab, text);
            holding.release(absent).await;
            let ifindex = 7777;
            holding.release(Vip { ifindex, ..absent }).await;
        }
        assert_eq!(holding.book.list().await.unwrap(), before);
        // Whoever put it there.
        let foreign = vip(&lab, "10.77.0.100/24");
        holding.release(foreign).await;
        assert_eq!(holding.held(foreign).await, None);
        assert_eq!(holding.book.list().await.unwrap().len(), before.len() - 1);
    });
}

#[test]
fn refusals_name_the_address() {
    let lab = Lab::new();
    let nowhere = Vip {
        ifindex: 7777,
        ..vip(&lab, "10.77.0.100/32")
    };
    lab.on_director(|| async {
        let held = Holding::start().book.hold(&nowhere, None).await;
        let error = held.unwrap_err();
        assert!(
            matches!(&error, Error::Address { what: "hold", address, .. } if *address == nowhere.address),
            "{error}"
        );
        let text = error.to_string();
        assert!(text.starts_with("the kernel refused to hold the address 10.77.0.100: "), "{text}");
    });
}

/// The address from which the director would speak to that one.
fn source(to: &str) -> IpAddr {
    let to = SocketAddr::new(ip(to), 9);
    let any: SocketAddr = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }
        .parse()
        .unwrap();
    let socket = UdpSocket::bind(any).unwrap();
    socket.connect(to).unwrap();
    socket.local_addr().unwrap().ip()
}

/// Destinations in the same subnet, by a router, and by a route without a source of its own.
const FAR4: [&str; 3] = ["10.77.0.2", "10.88.0.1", "10.99.0.1"];
const FAR6: [&str; 3] = ["fd77::2", "fd88::1", "fd99::1"];

fn routes(lab: &Lab) {
    lab.director("route add 10.88.0.0/24 via 10.77.0.2");
    lab.director("route add 10.99.0.0/24 dev d0");
    lab.director("route add fd88::/64 via fd77::2");
    lab.director("route add fd99::/64 dev d0");
}

#[test]
fn vip_is_never_the_source() {
    let lab = Lab::new();
    lab.on_director(|| async {
        let holding = Holding::start();
        for text in [
            "10.77.0.100/32",
            "10.77.0.101/24",
            "10.99.0.100/32",
            "10.66.0.100/32",
        ] {
            holding.hold(vip(&lab, text), Some(PATIENCE)).await;
        }
        for text in [
            "fd77::3/64",
            "fd77::100/128",
            "fd99::100/128",
            "fd66::100/128",
        ] {
            holding.hold(vip(&lab, text), Some(PATIENCE)).await;
        }
        routes(&lab);
        assert_eq!(FAR4.map(source), [ip("10.77.0.1"); 3]);
        assert_eq!(FAR6.map(source), [ip("fd77::1"); 3]);
    });
}

#[test]
fn vip_with_prefix_32_is_no_source_even_where_it_was_there_first() {
    let lab = Lab::new();
    lab.director("addr flush dev d0 scope global");
    lab.on_director(|| async {
        let holding = Holding::start();
        for text in ["10.77.0.100/32", "10.66.0.100/32", "fd77::3/128"] {
            holding.hold(vip(&lab, text), Some(PATIENCE)).await;
        }
        lab.director("addr add 10.77.0.1/24 dev d0");
        lab.director("addr add fd77::1/64 dev d0 nodad");
        routes(&lab);
        assert_eq!(FAR4.map(source), [ip("10.77.0.1"); 3]);
        assert_eq!(FAR6.map(source), [ip("fd77::1"); 3]);
    });
}

#[test]
fn removing_the_directors_own_address_takes_a_vip_of_its_subnet_along_visibly() {
    let lab = Lab::new();
    let promote = |on: u8| {
        run(&format!(
            "ip netns exec {} sysctl -qw net.ipv4.conf.d0.promote_secondaries={on}",
            lab.director
        ));
    };
    let (alone, within) = (vip(&lab, "10.77.0.100/32"), vip(&lab, "10.77.0.101/24"));
    lab.on_director(|| async {
        let mut holding = Holding::start();
        holding.hold(alone, None).await;
        holding.hold(within, None).await;
        promote(0);
        lab.director("addr del 10.77.0.1/24 dev d0");
        holding.wait_for(AddressChange::Removed(within)).await;
        assert!(holding.held(alone).await.is_some());

        lab.director("addr add 10.77.0.1/24 dev d0");
        holding.hold(within, None).await;
        promote(1);
        lab.director("addr del 10.77.0.1/24 dev d0");
        assert!(holding.held(within).await.is_some());
        assert_eq!(source("10.77.0.2"), within.address);
    });
}

#[test]
fn ipv6_vip_is_usable_at_once_though_another_machine_still_has_it() {
    let lab = Lab::new();
    run(&format!(
        "ip netns exec {} sysctl -qw net.ipv6.conf.d0.accept_dad=1",
        lab.director
    ));
    lab.server("addr add fd77::100/128 dev s0 nodad");
    let vip = vip(&lab, "fd77::100/128");
    lab.on_director(|| async {
        let holding = Holding::start();
        holding.hold(vip, Some(LEASE)).await;
        UdpSocket::bind((vip.address, 0)).unwrap();
        holding.hold(vip, Some(LEASE)).await;
        UdpSocket::bind((vip.address, 0)).unwrap();
    });
}

#[test]
fn ipv6_vip_neither_makes_nor_shortens_the_route_of_its_prefix() {
    let lab = Lab::new();
    let route = |prefix: &str| run(&format!("ip -n {} -6 route show {prefix}", lab.director));
    let before = route("fd77::/64");
    assert!(
        before.contains("dev d0") && !before.contains("expires"),
        "{before}"
    );
    let (within, alone) = (vip(&lab, "fd77::100/64"), vip(&lab, "fd66::100/64"));
    lab.on_director(|| async {
        let mut holding = Holding::start();
        for _ in 0..2 {
            holding.hold(within, Some(Duration::from_secs(1))).await;
            holding.hold(alone, Some(PATIENCE)).await;
            assert_eq!(route("fd77::/64"), before);
            assert_eq!(route("fd66::/64"), "");
        }
        holding.wait_for(AddressChange::Removed(within)).await;
        assert_eq!(route("fd77::/64"), before);
    });
}
