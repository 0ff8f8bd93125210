//! Real mail through the VIP, and what goes past it: shares by weight, the client's own address at the servers, and
//! packets that are not ours.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::cluster::{SOON, TEN_TEN_FIVE};
use mb_lb_tests::{Cluster, Machine, Setup, SinkOptions, Source, Wire, try_wait_until};
use socket2::{Domain, Protocol, Socket, Type};

const WEIGHTS: [f64; 3] = [10.0, 10.0, 5.0];
const PARALLEL: u32 = 100;
const MESSAGES_4: u32 = 10_000;
const MESSAGES_6: u32 = 1_000;

/// Sends by IPv4 and then by IPv6, 100 sessions at a time, and returns what each server got. Every message has a
/// session of its own.
fn send_mail(cluster: &Cluster) -> Result<[u64; 3]> {
    let client = cluster.lab.client();
    let loads = [
        (cluster.lab.smtp4(), MESSAGES_4),
        (cluster.lab.smtp6(), MESSAGES_6),
    ];
    for (to, messages) in loads {
        Source::new(to)
            .messages(messages)
            .sessions(PARALLEL)
            .within(Duration::from_secs(300))
            .run(client)?
            .expect_all(messages.into())?;
    }
    let total = u64::from(MESSAGES_4 + MESSAGES_6);
    let got = try_wait_until("the sinks to count all", SOON, || {
        let got = cluster
            .sinks
            .values()
            .map(|sink| sink.messages())
            .collect::<Result<Vec<_>>>()?;
        ensure!(got.iter().sum::<u64>() == total, "{got:?} of {total}");
        Ok(got)
    })?;
    // Whoever sees the director's address instead cannot check SPF, DNSBL and rates.
    let mut seen: BTreeMap<IpAddr, u64> = BTreeMap::new();
    for sink in cluster.sinks.values() {
        for (address, count) in sink.clients()? {
            *seen.entry(address).or_default() += count;
        }
    }
    let expected: BTreeMap<IpAddr, u64> = [
        (client.ipv4().into(), MESSAGES_4.into()),
        (client.ipv6().into(), MESSAGES_6.into()),
    ]
    .into();
    assert_eq!(seen, expected);
    // Each session was counted once, where it went.
    let records = cluster.records()?;
    for (record, &got) in records.iter().zip(&got) {
        assert_eq!(record.opened, i64::try_from(got)?, "{records:?} {got:?}");
    }
    cluster.wait_agree(&[0, 0, 0])?;
    Ok([got[0], got[1], got[2]])
}

/// Without retransmissions, which choose nothing, each session is one step in the sequence mb1 mb2 mb3 mb1 mb2.
#[test]
fn roundrobin_deals_11_000_messages_exactly_by_weight() -> Result<()> {
    let cluster = Setup {
        service: "scheduler = \"roundrobin\"\ncheck = { type = \"none\" }",
        servers: TEN_TEN_FIVE,
        sink: SinkOptions::default(),
        ..Setup::default()
    }
    .start("roundrobin")?;
    let got = send_mail(&cluster)?;
    let total = f64::from(MESSAGES_4 + MESSAGES_6);
    for (got, weight) in got.iter().zip(WEIGHTS) {
        let share = total * weight / WEIGHTS.iter().sum::<f64>();
        assert!((*got as f64 - share).abs() <= 1.0, "{got} for {share}");
    }
    Ok(())
}

/// Under least connections a server gets a session when one of its own has ended, so its share of the sessions is
/// its share of those that stand at a time (40, 40 and 20 of 100), if sessions last equally long everywhere.
///
/// They do here: each waits for a whole number of seconds that the sink draws (`-W`: of 100 sessions, 80 wait none,
/// 16 one, 3.2 two, ...), next to which the time that three sinks take on a busy machine is small.
///
/// So each of the 100 places is a renewal process. The number of sessions of a server with share p, given their sum
/// N, has the variance N p (1 - p) c, where c is the squared coefficient of variation of how long a session lasts.
/// For the geometric wait with q = 0.2 the mean is q / (1 - q) = 0.25 s, the variance q / (1 - q)^2 = 0.3125 s^2, and
/// c = 5. Five sigma are exceeded once in two million runs; for 11,000 messages that is 574 of 4,400 and 469 of 2,200.
/// Without weights the shares would be 3,667 each, 1,467 off for mb3.
#[test]
fn leastconn_deals_11_000_messages_by_weight() -> Result<()> {
    let cluster = Setup {
        servers: TEN_TEN_FIVE,
        sink: SinkOptions {
            arguments: vec!["-W".into(), "RCPT:1:20".into()],
            ..SinkOptions::default()
        },
        ..Setup::default()
    }
    .start("leastconn")?;
    let got = send_mail(&cluster)?;
    let total = f64::from(MESSAGES_4 + MESSAGES_6);
    let spread = 5.0;
    for (got, weight) in got.iter().zip(WEIGHTS) {
        let p = weight / WEIGHTS.iter().sum::<f64>();
        let bound = 5.0 * (total * p * (1.0 - p) * spread).sqrt();
        let off = (*got as f64 - total * p).abs();
        assert!(
            off <= bound,
            "{got} is {off} from {}, more than {bound}",
            total * p
        );
    }
    Ok(())
}

/// Sends an echo request (RFC 792, RFC 4443 section 4) and waits for its reply.
fn ping(from: &Machine, to: IpAddr) -> Result<()> {
    let (domain, protocol, request, reply, skip) = match to {
        // A raw IPv4 socket reads the IP header too.
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 8u8, 0u8, 20),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 128, 129, 0),
    };
    let socket = from.enter(|| Socket::new(domain, Type::RAW, Some(protocol)))?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    // Type, code, checksum (which the kernel makes for ICMPv6), identifier, sequence number.
    let mut message = [request, 0, 0, 0, 0x4d, 0x42, 0, 1];
    if to.is_ipv4() {
        let sum = u16::from_be_bytes([request, 0]) + 0x4d42 + 1;
        message[2..4].copy_from_slice(&(!sum).to_be_bytes());
    }
    socket.send_to(&message, &SocketAddr::new(to, 0).into())?;
    let mut buffer = [0; 128];
    loop {
        let length = (&socket)
            .read(&mut buffer)
            .with_context(|| format!("no echo reply from {to}"))?;
        // Others' ICMP comes here too, such as neighbour advertisements.
        if length >= skip + 8 && buffer[skip] == reply && buffer[skip + 4..skip + 8] == message[4..]
        {
            return Ok(());
        }
    }
}

/// Sends bytes to whoever listens at `to`, and reads them back.
fn echo(from: &Machine, to: SocketAddr) -> Result<()> {
    let mut stream = from.enter(|| TcpStream::connect_timeout(&to, SOON))?;
    stream.set_read_timeout(Some(SOON))?;
    let sent: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
    let mut writer = stream.try_clone()?;
    let back = std::thread::scope(|scope| -> Result<Vec<u8>> {
        let writing = scope.spawn(|| -> Result<()> {
            writer.write_all(&sent)?;
            Ok(writer.shutdown(std::net::Shutdown::Write)?)
        });
        let mut back = Vec::new();
        stream.read_to_end(&mut back)?;
        writing.join().expect("the writer does not panic")?;
        Ok(back)
    })?;
    ensure!(
        back == sent,
        "{} of {} bytes came back",
        back.len(),
        sent.len()
    );
    Ok(())
}

/// What is for the director itself reaches it: ARP and neighbour discovery, echo requests, TCP and UDP to its own
/// addresses, and to the VIP where no service listens.
#[test]
fn what_is_not_ours_passes_untouched() -> Result<()> {
    let cluster = Setup::default().start("passes")?;
    let (client, lb1) = (cluster.lab.client(), cluster.lab.machine("lb1"));
    let mac = lb1.mac().map(|byte| format!("{byte:02x}")).join(":");
    let addresses: [IpAddr; 4] = [
        lb1.ipv4().into(),
        lb1.ipv6().into(),
        cluster.lab.vip4().into(),
        cluster.lab.vip6().into(),
    ];
    for to in addresses {
        // Asked for anew: ARP, or neighbour discovery.
        client.run("ip", &["neigh", "flush", "to", &to.to_string()])?;
        ping(client, to)?;
        let known = client.run("ip", &["neigh", "show", &to.to_string()])?;
        assert!(known.contains(&mac), "{to}: {known:?}");

        let at = SocketAddr::new(to, 7777);
        let listener = lb1.enter(|| TcpListener::bind(at))?;
        std::thread::scope(|scope| -> Result<()> {
            let serving = scope.spawn(|| -> Result<u64> {
                let (mut stream, peer) = listener.accept()?;
                ensure!(
                    [client.ipv4().into(), IpAddr::from(client.ipv6())].contains(&peer.ip()),
                    "it came from {peer}"
                );
                let mut writer = stream.try_clone()?;
                Ok(std::io::copy(&mut stream, &mut writer)?)
            });
            echo(client, at)?;
            serving.join().expect("the server does not panic")?;
            Ok(())
        })?;

        let udp = lb1.enter(|| UdpSocket::bind(at))?;
        udp.set_read_timeout(Some(SOON))?;
        let any: IpAddr = if to.is_ipv4() {
            [0, 0, 0, 0].into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let sender = client.enter(|| UdpSocket::bind((any, 0)))?;
        sender.send_to(b"datagram", at)?;
        let mut buffer = [0; 16];
        let (length, _) = udp.recv_from(&mut buffer)?;
        assert_eq!(&buffer[..length], b"datagram");
    }
    // None of it was taken for a connection to a service.
    assert!(cluster.director.flows()?.is_empty());
    try_wait_until("the reasons to be counted", SOON, || {
        for reason in ["not_ip", "icmp", "not_tcp", "no_service"] {
            ensure!(cluster.packets(reason)? > 0, "no packet is {reason}");
        }
        Ok(())
    })?;
    assert_eq!(cluster.packets("scheduled")?, 0);
    Ok(())
}

/// What a server gets of a session: the client's segment with the server's MAC address and one hop less.
#[test]
fn a_forwarded_packet_has_one_hop_less_and_is_else_the_clients() -> Result<()> {
    let cluster = Setup::default().start("hops")?;
    let (client, lb1) = (cluster.lab.client(), cluster.lab.machine("lb1"));
    for (to, hops_at, source_at, source) in [
        (cluster.lab.smtp4(), 22, 26, client.ipv4().octets().to_vec()),
        (cluster.lab.smtp6(), 21, 22, client.ipv6().octets().to_vec()),
    ] {
        let wires = cluster
            .lab
            .servers()
            .iter()
            .map(Wire::open)
            .collect::<Result<Vec<_>>>()?;
        let session = mb_lb_tests::Session::open(client, to)?;
        let place = mb_lb_tests::cluster::place(&session)?;
        let server = &cluster.lab.servers()[place];
        // 64 is the kernel's own TTL and hop limit.
        let frame = wires[place].wait_for("the first segment", |frame| {
            let mine = frame.get(source_at..source_at + source.len()) == Some(&source[..]);
            let from_lb1 = frame.get(6..12) == Some(&lb1.mac()[..]);
            (mine && from_lb1).then(|| frame.to_vec())
        })?;
        assert_eq!(frame[..6], server.mac());
        assert_eq!(frame[hops_at], 63, "{frame:02x?}");
        if to.is_ipv4() {
            let sum = frame[14..34]
                .chunks(2)
                .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
            let sum: u32 = sum.sum();
            assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "{frame:02x?}");
        }
        session.quit()?;
    }
    Ok(())
}
