//! Next hops, interfaces, the no_server speaker, and what owning a VIP takes, on real links: two network
//! namespaces, director and server, joined by a veth pair. Needs root.

mod addresses;
mod announce;
mod guardian;

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mb_lb_ctl::engine::{Event, Neighbour};
use mb_lb_ctl::net::{self, Error, Interface, Neighbours, Replies};
use mb_lb_tests::frames::Wire;
use nix::sched::{CloneFlags, setns};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Far beyond what anything here takes: verification comes round within 20 s.
const PATIENCE: Duration = Duration::from_secs(60);

const SERVER4: &str = "10.77.0.2";
const SERVER6: &str = "fd77::2";
const MAC: &str = "02:00:00:00:77:02";
const OTHER_MAC: &str = "02:00:00:00:77:99";

/// Director `d0` 10.77.0.1/24 and fd77::1/64, server `s0` with .2 and ::2. Gone when dropped.
struct Lab {
    director: String,
    server: String,
}

impl Lab {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!(
            "mbnet{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let lab = Self {
            director: format!("{id}d"),
            server: format!("{id}s"),
        };
        for name in [&lab.director, &lab.server] {
            run(&format!("ip netns add {name}"));
            // Duplicate address detection would keep IPv6 waiting for seconds.
            run(&format!(
                "ip netns exec {name} sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0"
            ));
            run(&format!("ip -n {name} link set lo up"));
        }
        lab.join();
        // A neighbour that does not answer fails after 3 tries: 0.3 s instead of 3 s.
        run(&format!(
            "ip netns exec {} sysctl -qw net.ipv4.neigh.d0.retrans_time_ms=100 net.ipv6.neigh.d0.retrans_time_ms=100",
            lab.director
        ));
        lab
    }

    fn join(&self) {
        self.director(&format!(
            "link add d0 type veth peer name s0 address {MAC} netns {}",
            self.server
        ));
        for (name, link, host) in [(&self.director, "d0", 1), (&self.server, "s0", 2)] {
            run(&format!(
                "ip -n {name} addr add 10.77.0.{host}/24 dev {link}"
            ));
            run(&format!(
                "ip -n {name} addr add fd77::{host}/64 dev {link} nodad"
            ));
            run(&format!("ip -n {name} link set {link} up"));
        }
        self.settle();
    }

    /// Waits for what the kernel does by itself some time after a link is up: without a link-local address
    /// of its own it solicits nobody.
    fn settle(&self) {
        let deadline = Instant::now() + PATIENCE;
        for (name, link) in [(&self.director, "d0"), (&self.server, "s0")] {
            let show = format!("ip -n {name} -6 addr show dev {link} scope link -tentative");
            while run(&show).is_empty() {
                assert!(
                    Instant::now() < deadline,
                    "{link} has no link-local address"
                );
                std::thread::yield_now();
            }
        }
    }

    fn director(&self, command: &str) {
        run(&format!("ip -n {} {command}", self.director));
    }

    fn server(&self, command: &str) {
        run(&format!("ip -n {} {command}", self.server));
    }

    /// A packet socket on the server's `s0`.
    fn wire(&self) -> Wire {
        inside(&self.server, || async { Wire::here("s0").unwrap() })
    }

    /// What the director's kernel says of `d0`.
    fn d0(&self) -> Interface {
        self.on_director(|| async { net::interface("d0").await.unwrap() })
    }

    /// Runs on a thread of its own inside the director's namespace.
    fn on_director<T, F>(&self, work: impl FnOnce() -> F + Send) -> T
    where
        T: Send,
        F: Future<Output = T>,
    {
        inside(&self.director, work)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in [&self.director, &self.server] {
            let ended = Command::new("ip").args(["netns", "del", name]).status();
            if !ended.is_ok_and(|status| status.success()) {
                eprintln!("namespace {name} is left behind");
            }
        }
    }
}

fn inside<T, F>(namespace: &str, work: impl FnOnce() -> F + Send) -> T
where
    T: Send,
    F: Future<Output = T>,
{
    let enter = || {
        let file = std::fs::File::open(format!("/run/netns/{namespace}")).unwrap();
        setns(file, CloneFlags::CLONE_NEWNET).expect("this test needs root");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(work())
    };
    std::thread::scope(|scope| {
        scope
            .spawn(enter)
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Runs a command and gives what it printed.
fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap())
        .args(words)
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command}: {words}(this test needs root)"
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The neighbours task of a director, and what it reports.
struct Following {
    handle: Neighbours,
    events: mpsc::Receiver<Event>,
}

impl Following {
    fn start(addresses: &[&str]) -> Self {
        let (sender, events) = mpsc::channel(64);
        let (handle, _task) = net::spawn(sender).unwrap();
        let following = Self { handle, events };
        following.set(addresses);
        following
    }

    fn set(&self, addresses: &[&str]) {
        self.handle
            .set(addresses.iter().map(|address| ip(address)).collect());
    }

    async fn next(&mut self) -> (IpAddr, Neighbour) {
        let event = timeout(PATIENCE, self.events.recv()).await;
        match event.expect("a report is due").expect("the task lives") {
            Event::Neighbour { address, neighbour } => (address, neighbour),
            other => panic!("not a report: {other:?}"),
        }
    }

    async fn expect(&mut self, address: &str, neighbour: Neighbour) {
        assert_eq!(self.next().await, (ip(address), neighbour));
    }

    async fn expect_down(&mut self, address: &str, reason: &str) {
        let reason = reason.to_owned();
        // What the server is not guilty of has another name.
        let neighbour = if reason.starts_with("no answer") {
            Neighbour::Unresolved(reason)
        } else {
            Neighbour::Unreachable(reason)
        };
        self.expect(address, neighbour).await;
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn resolved(mac: &str, on: &Interface) -> Neighbour {
    let bytes: Vec<u8> = mac
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    Neighbour::Resolved {
        mac: bytes.try_into().unwrap(),
        ifindex: on.index,
        interface: on.name.clone(),
    }
}

#[test]
fn addresses_are_resolved_without_any_traffic() {
    let lab = Lab::new();
    let d0 = lab.d0();
    lab.on_director(|| async {
        for server in [SERVER4, SERVER6] {
            let mut following = Following::start(&[server]);
            following.expect(server, resolved(MAC, &d0)).await;
        }
    });
}

#[test]
fn changed_mac_address_is_followed() {
    let lab = Lab::new();
    let d0 = lab.d0();
    // The server announces itself, as a failover pair or a moved virtual machine does.
    run(&format!(
        "ip netns exec {} sysctl -qw net.ipv4.conf.s0.arp_notify=1",
        lab.server
    ));
    lab.on_director(|| async {
        let mut following = Following::start(&[SERVER4]);
        following.expect(SERVER4, resolved(MAC, &d0)).await;
        lab.server(&format!("link set s0 address {OTHER_MAC}"));
        following.expect(SERVER4, resolved(OTHER_MAC, &d0)).await;
    });
}

#[test]
fn mac_address_changed_in_silence_is_found_without_calling_the_server_down() {
    let lab = Lab::new();
    let d0 = lab.d0();
    lab.on_director(|| async {
        for (server, other) in [(SERVER4, OTHER_MAC), (SERVER6, MAC)] {
            let mut following = Following::start(&[server]);
            let (_, before) = following.next().await;
            assert_ne!(before, resolved(other, &d0));
            lab.server(&format!("link set s0 address {other}"));
            following.expect(server, resolved(other, &d0)).await;
        }
    });
}

#[test]
fn server_that_vanishes_is_unresolved_until_it_is_back() {
    let lab = Lab::new();
    let d0 = lab.d0();
    let cases = [
        (
            SERVER4,
            "10.77.0.2/24",
            "no answer to ARP for 10.77.0.2 on d0",
        ),
        (
            SERVER6,
            "fd77::2/64",
            "no answer to neighbour solicitation for fd77::2 on d0",
        ),
    ];
    lab.on_director(|| async {
        for (server, address, reason) in cases {
            let mut following = Following::start(&[server]);
            following.expect(server, resolved(MAC, &d0)).await;
            lab.server(&format!("addr del {address} dev s0"));
            following.expect_down(server, reason).await;
            lab.server(&format!("addr add {address} dev s0 nodad"));
            following.expect(server, resolved(MAC, &d0)).await;
        }
    });
}

#[test]
fn only_the_same_segment_will_do() {
    let lab = Lab::new();
    lab.director("route add 10.88.0.0/24 via 10.77.0.2");
    lab.director("route add fd88::/64 via fd77::2");
    lab.director("route add blackhole 10.66.0.0/24");
    lab.director("route add unreachable fd66::/64");
    let needs = "but dsr needs it on the same segment";
    let cases = [
        (
            "10.88.0.5",
            format!("10.88.0.5 is reached through the router 10.77.0.2, {needs}"),
        ),
        (
            "fd88::5",
            format!("fd88::5 is reached through the router fd77::2, {needs}"),
        ),
        (
            "10.77.0.1",
            "10.77.0.1 is an address of this director itself".into(),
        ),
        (
            "fd77::1",
            "fd77::1 is an address of this director itself".into(),
        ),
        (
            "127.0.0.1",
            "127.0.0.1 is an address of this director itself".into(),
        ),
        ("10.66.0.5", "no route to 10.66.0.5".into()),
        ("fd66::5", "no route to fd66::5".into()),
        ("10.99.0.5", "no route to 10.99.0.5".into()),
        ("fd99::5", "no route to fd99::5".into()),
    ];
    lab.on_director(|| async {
        let mut following = Following::start(&[]);
        for (address, reason) in &cases {
            following.set(&[address]);
            following.expect_down(address, reason).await;
        }
    });
}

#[test]
fn changed_routes_are_followed() {
    let lab = Lab::new();
    let d0 = lab.d0();
    lab.server("addr add 10.99.0.5/32 dev s0");
    lab.on_director(|| async {
        let mut following = Following::start(&["10.99.0.5"]);
        following
            .expect_down("10.99.0.5", "no route to 10.99.0.5")
            .await;
        lab.director("route add 10.99.0.0/24 dev d0");
        following.expect("10.99.0.5", resolved(MAC, &d0)).await;
        lab.director("route del 10.99.0.0/24 dev d0");
        following
            .expect_down("10.99.0.5", "no route to 10.99.0.5")
            .await;
    });
}

#[test]
fn link_down_and_up() {
    let lab = Lab::new();
    let d0 = lab.d0();
    let reason = "d0 is down, so 10.77.0.2 cannot be reached";
    lab.on_director(|| async {
        let mut following = Following::start(&[SERVER4]);
        following.expect(SERVER4, resolved(MAC, &d0)).await;
        // The director's own end, then the carrier.
        for (down, up) in [(&lab.director, "d0"), (&lab.server, "s0")] {
            run(&format!("ip -n {down} link set {up} down"));
            following.expect_down(SERVER4, reason).await;
            run(&format!("ip -n {down} link set {up} up"));
            following.expect(SERVER4, resolved(MAC, &d0)).await;
        }
    });
}

#[test]
fn recreated_link_has_its_new_index() {
    let lab = Lab::new();
    let d0 = lab.d0();
    lab.on_director(|| async {
        let (mut interfaces, _task) = net::watch_interfaces(vec!["d0".into()]).await.unwrap();
        assert_eq!(interfaces.borrow_and_update()["d0"], d0);
        let mut following = Following::start(&[SERVER4]);
        following.expect(SERVER4, resolved(MAC, &d0)).await;

        lab.director("link del d0");
        // Deleting it begins with taking it down.
        let gone = Neighbour::Unreachable("no route to 10.77.0.2".into());
        while following.next().await != (ip(SERVER4), gone.clone()) {}
        let gone = interfaces.wait_for(|found| found.is_empty());
        timeout(PATIENCE, gone)
            .await
            .expect("its end is noticed")
            .unwrap();

        lab.join();
        let (address, neighbour) = following.next().await;
        let now = net::interface("d0").await.unwrap();
        assert_ne!((now.index, now.mac), (d0.index, d0.mac));
        assert_eq!((address, neighbour), (ip(SERVER4), resolved(MAC, &now)));
        let back = interfaces.wait_for(|found| found.get("d0") == Some(&now));
        timeout(PATIENCE, back)
            .await
            .expect("its return is noticed")
            .unwrap();

        lab.director(&format!("link set d0 address {OTHER_MAC}"));
        let changed = interfaces.wait_for(|found| found["d0"].mac == [2, 0, 0, 0, 0x77, 0x99]);
        timeout(PATIENCE, changed)
            .await
            .expect("its MAC address is followed")
            .unwrap();
    });
}

#[test]
fn interfaces_follow_from_vips() {
    let lab = Lab::new();
    let d0 = lab.d0();
    assert_eq!((d0.name.as_str(), d0.mtu, d0.up), ("d0", 1500, true));
    lab.director("link add x0 type veth peer name x1");
    lab.director("link set x1 up");
    lab.director("addr add 10.78.0.1/24 dev x0");
    lab.director("link set x0 up");
    lab.director("addr add 10.77.0.101/32 dev lo");
    lab.director("addr add 10.77.0.102/32 dev d0");
    lab.director("addr add fd77::102/128 dev d0 nodad");
    lab.director("addr add 10.99.0.1/32 dev lo");
    lab.director("route add 10.88.0.0/24 via 10.77.0.2");
    let of = |vips: &'static [&'static str]| {
        let vips: Vec<IpAddr> = vips.iter().map(|vip| ip(vip)).collect();
        lab.on_director(move || async move { net::interfaces_for(&vips).await })
    };
    for vip in [
        &["10.77.0.100"],
        &["10.77.0.101"],
        &["10.77.0.102"],
        &["fd77::100"],
        &["fd77::102"],
    ] {
        assert_eq!(of(vip).unwrap(), std::slice::from_ref(&d0), "{vip:?}");
    }
    let both = of(&["10.78.0.100", "10.77.0.100", "fd77::100"]).unwrap();
    assert_eq!(
        both.iter()
            .map(|found| found.name.as_str())
            .collect::<Vec<_>>(),
        ["d0", "x0"]
    );
    for vip in [&["10.88.0.1"], &["10.98.0.1"], &["10.99.0.1"], &["fd98::1"]] {
        let found = of(vip);
        assert!(
            matches!(&found, Err(Error::NoRoute(address)) if *address == ip(vip[0])),
            "{found:?}"
        );
    }
    lab.on_director(|| async {
        let lo = net::interface("lo").await;
        assert!(
            matches!(&lo, Err(Error::NotEthernet(name)) if name == "lo"),
            "{lo:?}"
        );
        let none = net::interface("eth77").await;
        assert!(
            matches!(&none, Err(Error::NoSuchInterface(name)) if name == "eth77"),
            "{none:?}"
        );
    });
}

#[test]
fn no_server_text_is_said_on_a_vip_that_came_later() {
    let lab = Lab::new();
    let vips = ["10.77.0.100", "fd77::100"].map(|vip| SocketAddr::new(ip(vip), 25));
    lab.on_director(|| async {
        let mut replies = Replies::default();
        let failed = replies.set(vips.map(|vip| (vip, format!("421 {vip}"))).to_vec());
        assert!(failed.is_empty(), "{failed:?}");
        lab.director("addr add 10.77.0.100/32 dev d0");
        lab.director("addr add fd77::100/128 dev d0 nodad");
        let (done, heard) = tokio::sync::oneshot::channel();
        let server = lab.server.clone();
        std::thread::spawn(move || {
            let texts = inside(&server, || async move {
                let mut texts = Vec::new();
                for vip in vips {
                    let client = timeout(PATIENCE, tokio::net::TcpStream::connect(vip)).await;
                    let mut text = String::new();
                    client
                        .unwrap()
                        .unwrap()
                        .read_to_string(&mut text)
                        .await
                        .unwrap();
                    texts.push(text);
                }
                texts
            });
            done.send(texts)
        });
        assert_eq!(
            heard.await.unwrap(),
            vips.map(|vip| format!("421 {vip}\r\n"))
        );
    });
}
