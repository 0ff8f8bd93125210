//! Counting: each connection once, from its SYN to its end, and every choice by exact weighted least connections.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::cluster::{SOON, TEN_TEN_FIVE, place, places};
use mb_lb_tests::frames::{ACK, RST, SEGMENT_LENGTH, SYN};
use mb_lb_tests::{Cluster, Machine, Segment, Session, Setup, Wire, try_wait_until};
use socket2::SockRef;

/// Uncounted flows leave the table soon, so that a test sees it empty.
const SHORT: &str = r#"flow_timeouts = { closing = "1s", reset = "1s" }"#;

/// SplitMix64: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// What `leastconn` promises, replayed: the least `(active + 1) / weight`; ties go to the first in an order that
/// turns by one with each choice.
struct Model {
    weights: Vec<i64>,
    active: Vec<i64>,
    choices: usize,
}

impl Model {
    fn new(weights: [i64; 3]) -> Self {
        Self {
            weights: weights.to_vec(),
            active: vec![0; weights.len()],
            choices: 0,
        }
    }

    fn open(&mut self) -> usize {
        let servers = self.weights.len();
        let chosen = (0..servers)
            .map(|i| (self.choices + i) % servers)
            .min_by_key(|&server| {
                // As if with the denominator that all weights have in common.
                let common: i64 = self.weights.iter().product();
                (self.active[server] + 1) * (common / self.weights[server])
            })
            .expect("there are servers");
        self.choices += 1;
        self.active[chosen] += 1;
        chosen
    }

    fn close(&mut self, server: usize) {
        self.active[server] -= 1;
    }
}

fn ten_ten_five(name: &str, director: &str) -> Result<Cluster> {
    Setup {
        director,
        servers: TEN_TEN_FIVE,
        ..Setup::default()
    }
    .start(name)
}

#[test]
fn fifty_sessions_one_after_another_stand_at_20_20_10() -> Result<()> {
    let cluster = ten_ten_five("fifty", SHORT)?;
    for vip in cluster.vips() {
        let sessions = Session::open_many(cluster.lab.client(), vip, 50)?;
        assert_eq!(places(&sessions)?, [20, 20, 10], "{vip}");
        cluster.wait_agree(&[20, 20, 10])?;
        for session in sessions {
            session.quit()?;
        }
        cluster.wait_empty()?;
    }
    Ok(())
}

/// Sessions of both families come and go in any order and in each of the three ways to go; they last from one
/// step to hundreds. Before each choice the kernel's counts have to be the model's, so that each decision is
/// checked on its own.
#[test]
fn every_choice_is_the_reference_models() -> Result<()> {
    let cluster = ten_ten_five("model", SHORT)?;
    let mut random = Random(20_260_725);
    let mut model = Model::new([10, 10, 5]);
    let mut sessions: Vec<Session> = Vec::new();
    for step in 0..500 {
        if sessions.is_empty() || random.below(100) < 58 {
            let vip = cluster.vips()[random.below(2)];
            let session = Session::open(cluster.lab.client(), vip)?;
            let before = model.active.clone();
            assert_eq!(
                place(&session)?,
                model.open(),
                "step {step}: {session}, from {before:?}"
            );
            sessions.push(session);
        } else {
            // The newest, or any: otherwise lengths would be too much alike.
            let at = match random.below(2) {
                0 => sessions.len() - 1,
                _ => random.below(sessions.len()),
            };
            let session = sessions.remove(at);
            model.close(place(&session)?);
            match random.below(3) {
                0 => session.quit()?,
                1 => session.reset()?,
                _ => drop(session),
            }
        }
        cluster
            .wait_active(&model.active)
            .with_context(|| format!("step {step}"))?;
    }
    assert!(sessions.len() > 20, "only {} are open", sessions.len());
    cluster.wait_agree(&model.active)?;
    drop(sessions);
    cluster.wait_empty()
}

/// From an address that nobody has: the server's answers reach nobody, so no kernel answers for the client.
fn forged(cluster: &Cluster, port: u16, seq: u32, flags: u8) -> [u8; SEGMENT_LENGTH] {
    let segment = Segment {
        from: SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), port),
        to: SocketAddrV4::new(cluster.lab.vip4(), 25),
        seq,
        ack: 1,
        flags,
    };
    segment.frame(cluster.lab.client().mac(), cluster.lab.machine("lb1").mac())
}

/// Active and pending of all servers in one reading.
fn seen(cluster: &Cluster) -> Result<(i64, u64)> {
    let servers = cluster.servers()?;
    Ok((
        servers.iter().map(|server| server.active).sum(),
        servers.iter().map(|server| server.pending).sum(),
    ))
}

#[test]
fn a_connection_is_pending_from_its_syn_and_active_from_its_ack_and_never_both() -> Result<()> {
    let cluster = ten_ten_five("pending", SHORT)?;
    let wire = Wire::open(cluster.lab.client())?;
    let looks = AtomicU64::new(0);
    let never_both = || -> Result<(i64, u64)> {
        let (active, pending) = seen(&cluster)?;
        assert!(
            active + i64::try_from(pending)? <= 1,
            "{active} active and {pending} pending"
        );
        looks.fetch_add(1, Relaxed);
        Ok((active, pending))
    };
    // Repeated as a client would, since what is not repeated is forgotten. However often it comes, it counts once.
    try_wait_until("one pending", SOON, || {
        wire.send(&forged(&cluster, 4001, 1000, SYN))?;
        let seen = never_both()?;
        ensure!(seen == (0, 1), "(active, pending) {seen:?}");
        Ok(())
    })?;
    assert!(cluster.director.flows()?.is_empty());
    assert_eq!(cluster.all_active()?, [0, 0, 0]);

    // An ACK that does not follow the SYN proves nothing.
    wire.send(&forged(&cluster, 4001, 0x7000_0000, ACK))?;
    try_wait_until("the handshake to go on", SOON, || {
        ensure!(cluster.packets("handshake")? >= 1, "it was not counted");
        Ok(())
    })?;
    assert_eq!(cluster.all_active()?, [0, 0, 0]);

    wire.send(&forged(&cluster, 4001, 1000, SYN))?;
    wire.send(&forged(&cluster, 4001, 1001, ACK))?;
    try_wait_until("one active", SOON, || {
        let seen = never_both()?;
        ensure!(seen == (1, 0), "(active, pending) {seen:?}");
        Ok(())
    })?;
    let flows = cluster.director.flows()?;
    assert_eq!(flows.len(), 1, "{flows:?}");
    assert_eq!(flows[0].state, "established");

    wire.send(&forged(&cluster, 4001, 1001, RST))?;
    cluster.wait_empty()?;

    // One that never sends its ACK is gone by itself.
    try_wait_until("one pending", SOON, || {
        wire.send(&forged(&cluster, 4002, 5, SYN))?;
        let seen = never_both()?;
        ensure!(seen == (0, 1), "(active, pending) {seen:?}");
        Ok(())
    })?;
    try_wait_until("none pending", SOON, || {
        let seen = never_both()?;
        ensure!(seen == (0, 0), "(active, pending) {seen:?}");
        Ok(())
    })?;
    cluster.wait_empty()
}

/// Opens `count` connections, some at a time, and ends each at once, every other one by RST.
fn storm(client: &Machine, to: SocketAddr, count: usize, go_on: &AtomicBool) -> Result<usize> {
    const AT_A_TIME: usize = 4;
    let worker = || -> Result<usize> {
        for number in 0..count / AT_A_TIME {
            if !go_on.load(Relaxed) {
                return Ok(number);
            }
            let stream = TcpStream::connect_timeout(&to, SOON)
                .with_context(|| format!("connection {number}"))?;
            if number % 2 == 0 {
                SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
            }
        }
        Ok(count / AT_A_TIME)
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_A_TIME)
            .map(|_| scope.spawn(|| client.enter(worker)))
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("a worker does not panic"))
            .sum()
    })
}

fn opened(cluster: &Cluster) -> Result<i64> {
    Ok(cluster.records()?.iter().map(|record| record.opened).sum())
}

/// Each connection of a storm was chosen for once, and was active once, but for those whose RST was faster: in the
/// lab it can overtake the handshake's ACK, as another CPU sends it. Then the connection ended before it counted.
fn expect_opened(cluster: &Cluster, done: usize, held: usize) -> Result<()> {
    let all = i64::try_from(done + held)?;
    try_wait_until("every choice to be counted", SOON, || {
        let chosen = cluster.packets("scheduled")?;
        ensure!(i64::try_from(chosen)? >= all, "{chosen} of {all}");
        Ok(())
    })?;
    let opened = opened(cluster)?;
    let resets = i64::try_from(done / 2)?;
    assert!((all - resets..=all).contains(&opened), "{opened} of {all}");
    Ok(())
}

#[test]
fn after_50_000_connections_half_of_them_reset_counts_are_the_flows_and_go_to_zero() -> Result<()> {
    let cluster = ten_ten_five("storm", SHORT)?;
    let mut held = cluster.open(25)?;
    let done = storm(
        cluster.lab.client(),
        cluster.lab.smtp4(),
        50_000,
        &AtomicBool::new(true),
    )?;
    assert_eq!(done, 50_000);
    for session in &mut held {
        session.expect_alive()?;
    }
    cluster.wait_agree(&places(&held)?)?;
    expect_opened(&cluster, done, held.len())?;
    drop(held);
    cluster.wait_empty()?;
    for record in cluster.records()? {
        assert_eq!(record.opened, record.closed + record.expired, "{record:?}");
    }
    Ok(())
}

#[test]
fn a_client_that_vanishes_expires_and_who_still_speaks_does_not() -> Result<()> {
    let timeouts = r#"flow_timeouts = { established = "6s", half_closed = "6s", closing = "1s", reset = "1s" }"#;
    let cluster = ten_ten_five("vanish", timeouts)?;
    let mut sessions = cluster.open(25)?;
    cluster.wait_agree(&[10, 10, 5])?;
    let lost = sessions.split_off(10);
    for session in lost {
        session.vanish()?;
    }
    let left = places(&sessions)?;
    assert_eq!(
        cluster.all_active()?,
        [10, 10, 5],
        "nobody told the director"
    );
    try_wait_until("the lost to expire", SOON, || {
        for session in &mut sessions {
            session.expect_alive()?;
        }
        let active = cluster.all_active()?;
        ensure!(active == left, "{active:?}");
        Ok(())
    })?;
    let records = cluster.records()?;
    let expired: i64 = records.iter().map(|record| record.expired).sum();
    assert_eq!(expired, 15);
    drop(sessions);
    cluster.wait_empty()
}

#[test]
fn after_a_server_was_killed_counts_are_the_flows_and_go_to_zero() -> Result<()> {
    // With `reset`, a client's ACK of the dead server's FIN would end its flow, or not, by who is faster.
    let service = r#"on_down = "keep"
        check = { type = "tcp", interval = "200ms", timeout = "5s", rise = 1, fall = 2 }"#;
    let mut cluster = Setup {
        director: SHORT,
        service,
        servers: TEN_TEN_FIVE,
        ..Setup::default()
    }
    .start("killed")?;
    let mut sessions = cluster.open(25)?;
    assert_eq!(places(&sessions)?, [10, 10, 5]);
    cluster.sinks.get_mut("mb2").context("a sink")?.kill()?;
    try_wait_until("mb2 to be out", SOON, || {
        let servers = cluster.servers()?;
        ensure!(!servers[1].usable, "{}", servers[1].health_reason);
        Ok(())
    })?;
    // The director sees nothing of what the server's kernel has sent to the clients.
    cluster.wait_agree(&[10, 10, 5])?;
    let mut lost = Vec::new();
    for mut session in std::mem::take(&mut sessions) {
        if place(&session)? == 1 {
            lost.push(session);
        } else {
            session.expect_alive()?;
            sessions.push(session);
        }
    }
    let more = cluster.open(15)?;
    assert_eq!(places(&more)?[1], 0);
    sessions.extend(more);
    drop(lost);
    for session in &mut sessions {
        session.expect_alive()?;
    }
    let [mb1, _, mb3] = places(&sessions)?;
    cluster.wait_agree(&[mb1, 0, mb3])?;
    drop(sessions);
    cluster.wait_empty()
}

#[test]
fn after_the_controller_was_killed_20_times_during_traffic_counts_are_the_flows() -> Result<()> {
    let mut cluster = ten_ten_five("kills", SHORT)?;
    let mut held = cluster.open(25)?;
    let (client, to) = (cluster.lab.client().clone(), cluster.lab.smtp4());
    let go_on = AtomicBool::new(true);
    let done = std::thread::scope(|scope| -> Result<usize> {
        let storming = scope.spawn(|| storm(&client, to, 1_000_000, &go_on));
        let kills = (|| -> Result<()> {
            for _ in 0..20 {
                let before = opened(&cluster)?;
                cluster.director.kill()?;
                cluster.director.run()?;
                let after = opened(&cluster)?;
                ensure!(after > before, "no traffic: {before} opened, then {after}");
            }
            Ok(())
        })();
        go_on.store(false, Relaxed);
        let done = storming.join().expect("the storm does not panic")?;
        kills.map(|()| done)
    })?;
    for session in &mut held {
        session.expect_alive()?;
    }
    cluster.wait_agree(&[10, 10, 5])?;
    expect_opened(&cluster, done, held.len())?;
    drop(held);
    cluster.wait_empty()
}

/// Forges SYNs from all over the world until told to stop.
fn flood(cluster: &Cluster, seed: u64, go_on: &AtomicBool, sent: &AtomicU64) -> Result<()> {
    const AT_ONCE: usize = 64;
    let wire = Wire::open(cluster.lab.client())?;
    let macs = (cluster.lab.client().mac(), cluster.lab.machine("lb1").mac());
    let to = SocketAddrV4::new(cluster.lab.vip4(), 25);
    let mut random = Random(seed);
    let mut frames = [[0; SEGMENT_LENGTH]; AT_ONCE];
    while go_on.load(Relaxed) {
        for frame in &mut frames {
            let bits = random.next();
            // Not from the lab's own network, whose machines would look for the sender.
            let first = match (bits >> 24) as u8 % 223 + 1 {
                10 => 11,
                first => first,
            };
            let [_, b, c, d] = (bits as u32).to_be_bytes();
            let segment = Segment {
                from: SocketAddrV4::new(Ipv4Addr::new(first, b, c, d), (bits >> 32) as u16),
                to,
                seq: random.next() as u32,
                ack: 0,
                flags: SYN,
            };
            *frame = segment.frame(macs.0, macs.1);
        }
        sent.fetch_add(wire.send_many(&frames)? as u64, Relaxed);
    }
    Ok(())
}

/// A handshake that has lost a packet on the crowded wire takes longer than the flood needs to push its SYN out of
/// the half-open table. Its ACK is then steered by hash, and reset where that is wrong: the client tries again.
fn open_in_flood(cluster: &Cluster) -> Result<Session> {
    try_wait_until("a session in the flood", SOON, || {
        let before = cluster.packets("recovered")?;
        let error = match cluster.open_one() {
            Ok(session) => return Ok(session),
            Err(error) => error,
        };
        try_wait_until("its ACK to be steered by hash", SOON, || {
            ensure!(cluster.packets("recovered")? > before, "{error:#}");
            Ok(())
        })
        .expect("a session in a flood fails for no other reason");
        Err(error)
    })
}

#[test]
fn a_million_forged_syns_move_no_session_no_count_and_no_choice() -> Result<()> {
    const FLOOD: u64 = 1_000_000;
    let cluster = ten_ten_five("flood", SHORT)?;
    let mut sessions = cluster.open(215)?;
    assert_eq!(places(&sessions)?, [86, 86, 43]);
    // mb3 has by far the least for its weight now: 29/5 against 87/10, and so for its next 14 sessions. A flood
    // that is counted would send them elsewhere.
    let mut closed = 0;
    while closed < 15 {
        let at = sessions
            .iter()
            .rposition(|session| session.server() == "mb3")
            .context("mb3 has 43")?;
        sessions.remove(at).quit()?;
        closed += 1;
    }
    let mut active = [86, 86, 28];
    cluster.wait_agree(&active)?;
    let before = cluster.packets("scheduled")?;
    let (go_on, sent) = (AtomicBool::new(true), AtomicU64::new(0));
    let arrived = std::thread::scope(|scope| -> Result<u64> {
        let flooding = scope.spawn(|| flood(&cluster, 1, &go_on, &sent));
        let during = (|| -> Result<u64> {
            try_wait_until("a flood", SOON, || {
                let (_, pending) = seen(&cluster)?;
                ensure!(pending > 10_000, "{pending} pending");
                Ok(())
            })?;
            for _ in 0..7 {
                let session = open_in_flood(&cluster)?;
                ensure!(place(&session)? == 2, "during the flood: {session}");
                sessions.push(session);
                active[2] += 1;
                let counted = cluster.all_active()?;
                ensure!(counted == active, "{counted:?} counted of {active:?}");
            }
            let deadline = Duration::from_secs(120);
            try_wait_until("a million forged SYNs", deadline, || {
                let counted = cluster.all_active()?;
                assert_eq!(counted, active, "during the flood");
                let arrived = cluster.packets("scheduled")? - before;
                ensure!(arrived >= FLOOD, "{arrived} have come");
                Ok(arrived)
            })
        })();
        go_on.store(false, Relaxed);
        flooding.join().expect("the flood does not panic")?;
        during
    })?;
    let sent = sent.load(Relaxed);
    assert!(sent >= FLOOD && arrived <= sent + 7, "{arrived} of {sent}");
    // What was forged is forgotten by itself, and until then it is not believed.
    try_wait_until("nothing pending", SOON, || {
        let (_, pending) = seen(&cluster)?;
        ensure!(pending == 0, "{pending} pending");
        Ok(())
    })?;
    for _ in 0..7 {
        let session = cluster.open_one()?;
        assert_eq!(place(&session)?, 2, "after the flood: {session}");
        sessions.push(session);
        active[2] += 1;
    }
    for session in &mut sessions {
        session.expect_alive()?;
    }
    cluster.wait_agree(&active)?;
    drop(sessions);
    cluster.wait_empty()
}

/// Garbage to the wire, to the socket and into the file: counted, refused with a word, and nothing else.
#[test]
fn nothing_bad_that_comes_in_breaks_what_works() -> Result<()> {
    let mut cluster = ten_ten_five("bad", SHORT)?;
    let mut sessions = cluster.open(25)?;
    let pid = cluster.director.running()?.pid();
    let mut random = Random(7);
    let wire = Wire::open(cluster.lab.client())?;
    for number in 0..20_000u16 {
        let mut frame = forged(&cluster, number, 1, ACK).to_vec();
        // Headers at any place, also lengths and offsets; never the MAC addresses, or nobody would see it.
        for _ in 0..=random.below(4) {
            let at = 12 + random.below(SEGMENT_LENGTH - 12);
            frame[at] = random.next() as u8;
        }
        frame.truncate(14 + random.below(SEGMENT_LENGTH - 13));
        // Not the lab's own addresses: that might be a valid RST of a session.
        if frame.len() >= 30 {
            frame[26] = 198;
        }
        wire.send(&frame)?;
    }
    for line in [
        "",
        "mb-lb",
        "mb-lb set smtp/mb1 sideways",
        "mb-lb weight smtp/mb1 257",
        "mb-lb weight smtp/mb9 1",
        "mb-lb record nothing",
        "set server smtp/mb1 weight",
        "set server smtp/mb1 state upside-down",
        "set server /",
        "show nothing",
        "\u{1}\u{2}\u{3}; ; ;\\",
    ] {
        let reply = cluster.director.admin(line)?;
        assert!(reply.len() > 1, "{line:?} was answered {reply:?}");
    }
    let long = cluster.director.admin(&"x".repeat(200_000))?;
    assert!(long.contains("too long"), "{long:?}");

    cluster
        .director
        .write_config("[service.smtp]\nlisten = 5\n")?;
    let reload = cluster.director.ctl(&["reload"])?;
    assert_eq!(reload.code, 3, "{reload:?}");
    assert!(reload.stderr.contains("listen"), "{reload:?}");

    for session in &mut sessions {
        session.expect_alive()?;
    }
    cluster.wait_agree(&[10, 10, 5])?;
    let more = cluster.open(25)?;
    assert_eq!(places(&more)?, [10, 10, 5]);
    assert_eq!(cluster.director.running()?.pid(), pid);
    assert!(cluster.director.running()?.exited()?.is_none());
    for reason in ["truncated", "bad_header", "not_ip", "not_tcp"] {
        try_wait_until(&format!("packets that are {reason}"), SOON, || {
            ensure!(cluster.packets(reason)? > 0, "none");
            Ok(())
        })?;
    }
    drop((sessions, more));
    cluster.wait_empty()
}

/// Many clients at once, from many addresses, with sessions of any length: all three views agree at every rest.
#[test]
fn the_sum_of_counts_is_the_flows_in_the_table_at_every_rest() -> Result<()> {
    let cluster = ten_ten_five("sums", SHORT)?;
    let sources: Vec<IpAddr> = (1..=20u8).map(|n| IpAddr::from([10, 77, 9, n])).collect();
    let addresses = sources.iter().map(|&source| (source, 16));
    cluster.lab.client().add_addresses("eth0", addresses)?;
    let mut random = Random(3);
    let mut sessions: Vec<Session> = Vec::new();
    for _ in 0..5 {
        let opened = std::thread::scope(|scope| -> Result<Vec<Session>> {
            let cluster = &cluster;
            let openers: Vec<_> = sources
                .iter()
                .map(|&source| {
                    scope.spawn(move || {
                        (0..5)
                            .map(|_| {
                                let to = cluster.lab.smtp4();
                                Session::open_from(cluster.lab.client(), Some(source), to)
                            })
                            .collect::<Result<Vec<_>>>()
                    })
                })
                .collect();
            let mut all = Vec::new();
            for opener in openers {
                all.extend(opener.join().expect("an opener does not panic")?);
            }
            Ok(all)
        })?;
        sessions.extend(opened);
        cluster.wait_agree(&places(&sessions)?)?;
        for _ in 0..60 {
            let session = sessions.swap_remove(random.below(sessions.len()));
            match random.below(2) {
                0 => session.reset()?,
                _ => drop(session),
            }
        }
        cluster.wait_agree(&places(&sessions)?)?;
    }
    drop(sessions);
    cluster.wait_empty()
}
