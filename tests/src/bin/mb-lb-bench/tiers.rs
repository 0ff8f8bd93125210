//! Tiers: what it costs to follow many, and how long clients are without a master after it was killed. Against HAProxy, with
//! its checks for the same.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::redis::{
    MASTER, PASSWORD, PORT, Redis, RedisClient, RedisSetup, SENTINEL_PASSWORD,
};
use mb_lb_tests::wait::try_wait_until;
use mb_lb_tests::{Director, Lab, Machine, Process};

use crate::Effort;
use crate::facts::process_seconds;
use crate::report::{Report, Spread};

const SOON: Duration = Duration::from_secs(60);
/// HAProxy's way to the master.
const RIVAL: u16 = 6380;
/// Clusters at once.
const MANY: u16 = 50;
/// Counted from this port up.
const FIRST: u16 = 7000;

pub fn measure(report: &mut Report, effort: Effort) -> Result<()> {
    let lab = Lab::new("bench-tiers")?;
    lab.machine("lb1").run(
        "ip",
        &[
            "address",
            "replace",
            &format!("{}/32", lab.vip4()),
            "dev",
            "eth0",
        ],
    )?;
    let mut redis = Redis::start(&lab, &RedisSetup::default())?;
    many(report, &lab, &redis, effort)?;
    switches(report, &lab, &mut redis, effort)?;
    lab.down()
}

/// One `[sentinel.NAME]` on this port of the VIP.
fn sentinel(lab: &Lab, redis: &Redis, name: &str, port: u16) -> String {
    let all = |of: &dyn Fn(usize) -> SocketAddr| {
        let addresses: Vec<_> = (0..3).map(|at| format!("\"{}\"", of(at))).collect();
        addresses.join(", ")
    };
    format!(
        "[sentinel.{name}]\nlisten = \"{}:{port}\"\nmaster = \"{MASTER}\"\nsentinels = [{}]\n\
         password = \"{PASSWORD}\"\nsentinel_password = \"{SENTINEL_PASSWORD}\"\n",
        lab.vip4(),
        all(&|at| redis.sentinel_address(at)),
    )
}

/// HAProxy on the director: a listener for each port, with the check that is told of everywhere.
fn haproxy(lab: &Lab, redis: &Redis, ports: impl Iterator<Item = u16>) -> Result<Process> {
    let director = lab.machine("lb1");
    let mut text = "defaults\n mode tcp\n timeout connect 1s\n timeout client 30s\n timeout server 30s\n timeout check 400ms\n"
        .to_owned();
    for port in ports {
        // Writing into a String cannot fail.
        let _ = write!(
            text,
            "listen redis{port}\n bind {}:{port}\n option tcp-check\n tcp-check connect\n tcp-check send AUTH\\ {PASSWORD}\\r\\n\n \
             tcp-check expect string +OK\n tcp-check send info\\ replication\\r\\n\n tcp-check expect string role:master\n \
             tcp-check send QUIT\\r\\n\n tcp-check expect string +OK\n \
             default-server inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions\n",
            lab.vip4()
        );
        for at in 0..3 {
            let _ = writeln!(text, " server r{at} {} check", redis.address(at));
        }
    }
    let path = director.directory().join("haproxy-tiers.cfg");
    fs::write(&path, text)?;
    let mut command = director.command("haproxy");
    command.args(["-db", "-f"]).arg(&path);
    director.spawn("haproxy", &mut command)
}

/// CPU and memory of who follows many.
fn many(report: &mut Report, lab: &Lab, redis: &Redis, effort: Effort) -> Result<()> {
    let time = Duration::from_secs(if effort.quick { 5 } else { 30 });
    let service = format!(
        "[service.smtp]\nlisten = \"{}\"\ncheck = {{ type = \"none\" }}\nservers = {{ mb1 = \"{}\" }}\n",
        lab.smtp4(),
        lab.servers()[0].ipv4()
    );
    let mut text = service.clone();
    let ports = FIRST..FIRST + MANY;
    for port in ports.clone() {
        text.push_str(&sentinel(lab, redis, &format!("s{port}"), port));
    }
    let costs = |config: &str, clusters: usize| -> Result<(f64, f64)> {
        let mut director = Director::start(lab, "lb1", config)?;
        try_wait_until("all clusters to be well", SOON, || {
            let status = director.status()?;
            let well = status.tiers.iter().filter(|tier| tier.state == "ok");
            ensure!(well.count() == clusters, "{:?}", status.alarms);
            Ok(())
        })?;
        let cost = cost(director.running()?.pid(), time)?;
        director.stop()?;
        Ok(cost)
    };
    let (idle, base) = costs(&service, 0)?;
    let (busy, memory) = costs(&text, usize::from(MANY))?;
    let rival = haproxy(lab, redis, ports)?;
    let (rival_busy, rival_memory) = cost(rival.pid(), time)?;
    drop(rival);
    let note = format!(
        "3 Sentinels and 3 servers each, every 500 ms; without any: {idle:.2} %, {base:.0} MB"
    );
    let mut row = |what: &str, unit, value: f64, note: &str| {
        report.row("tiers", what, unit, Spread::of([value]), note);
    };
    let own = format!("mb-lb, {MANY} Sentinel clusters");
    row(&format!("{own}: CPU"), "% of a core", busy, &note);
    row(&format!("{own}: memory"), "MB", memory, &note);
    let other = format!("HAProxy, {MANY} times `role:master`");
    let note = "3 servers each, every 500 ms; no Sentinel is asked";
    row(&format!("{other}: CPU"), "% of a core", rival_busy, note);
    row(&format!("{other}: memory"), "MB", rival_memory, note);
    report.ratio(
        "CPU to follow 50 Redis clusters, to HAProxy",
        busy / rival_busy,
        "",
    );
    Ok(())
}

/// Share of a core in percent, and megabytes of memory.
fn cost(pid: u32, time: Duration) -> Result<(f64, f64)> {
    let (from, before) = (Instant::now(), process_seconds(pid)?);
    thread::sleep(time);
    let used = process_seconds(pid)? - before;
    let share = used / from.elapsed().as_secs_f64() * 100.0;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let memory = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))
        .context("no VmRSS")?
        .trim()
        .parse::<f64>()?;
    Ok((share, memory / 1024.0))
}

/// What a client saw that increments a counter, and connects anew whenever that fails.
#[derive(Debug)]
struct Seen {
    /// Longest time without an answer.
    gap: Duration,
    /// Servers that acknowledged, in the order of time, each as often as it changed.
    servers: Vec<IpAddr>,
}

fn count(client: &Machine, at: SocketAddr, stop: &AtomicBool) -> Seen {
    let mut seen = Seen {
        gap: Duration::ZERO,
        servers: Vec::new(),
    };
    let mut last = Instant::now();
    let mut connection: Option<(RedisClient, IpAddr)> = None;
    while !stop.load(Ordering::Relaxed) {
        let answered = match &mut connection {
            Some((open, server)) => open.ask(&["INCR", "counter"]).map(|_| *server),
            None => RedisClient::connect(client, at)
                .and_then(|mut open| {
                    let server = open.server()?;
                    open.ask(&["INCR", "counter"])?;
                    Ok((open, server))
                })
                .map(|(open, server)| {
                    connection = Some((open, server));
                    server
                }),
        };
        match answered {
            Ok(server) => {
                seen.gap = seen.gap.max(last.elapsed());
                last = Instant::now();
                if seen.servers.last() != Some(&server) {
                    seen.servers.push(server);
                }
            }
            Err(_) => {
                connection = None;
                thread::sleep(Duration::from_millis(2));
            }
        }
    }
    seen
}

/// The master is killed, and comes back as a replica. Both are looked at in the same moment.
fn switches(report: &mut Report, lab: &Lab, redis: &mut Redis, effort: Effort) -> Result<()> {
    let rounds = if effort.quick { 1 } else { 7 };
    let mut director = Director::start(lab, "lb1", &sentinel(lab, redis, "sessions", PORT))?;
    let rival = haproxy(lab, redis, RIVAL..=RIVAL)?;
    let (mut own, mut other) = (Vec::new(), Vec::new());
    let mut wrong = (0, 0);
    for _ in 0..rounds {
        redis.wait_whole()?;
        let master: IpAddr = redis.master_by(0)?.parse()?;
        let is_it = |at: &usize| redis.address(*at).ip() == master;
        let at = (0..3).find(is_it).context("a master")?;
        let stop = AtomicBool::new(false);
        let (ours, theirs) = thread::scope(|scope| -> Result<_> {
            let follow = |port| {
                let (client, stop) = (lab.client(), &stop);
                let at = SocketAddr::new(lab.vip4().into(), port);
                scope.spawn(move || count(client, at, stop))
            };
            let (ours, theirs) = (follow(PORT), follow(RIVAL));
            let done = (|| -> Result<()> {
                thread::sleep(Duration::from_secs(1));
                redis.kill(at)?;
                try_wait_until("another master", SOON, || {
                    ensure!(
                        redis.master_by((at + 1) % 3)? != master.to_string(),
                        "not yet"
                    );
                    Ok(())
                })?;
                redis.start_server(at)?;
                // Until the one that came back has been made a replica.
                redis.wait_whole()
            })();
            stop.store(true, Ordering::Relaxed);
            let join = |handle: thread::ScopedJoinHandle<'_, Seen>| {
                handle
                    .join()
                    .map_err(|_| anyhow::anyhow!("a client panicked"))
            };
            let seen = (join(ours)?, join(theirs)?);
            done.map(|()| seen)
        })?;
        own.push(ours.gap.as_secs_f64() * 1000.0);
        other.push(theirs.gap.as_secs_f64() * 1000.0);
        // The old master and the new one; whatever is more went back.
        wrong.0 += ours.servers.len().saturating_sub(2);
        wrong.1 += theirs.servers.len().saturating_sub(2);
    }
    drop(rival);
    director.stop()?;
    let what = "Redis master killed, down-after 1 s: longest time without an acknowledged write";
    let (ours, theirs) = (Spread::of(own), Spread::of(other));
    let note = |wrong| {
        format!("{wrong} times back at a server that was master no more, in {rounds} kills")
    };
    report.row("tiers", format!("mb-lb: {what}"), "ms", ours, note(wrong.0));
    report.row(
        "tiers",
        format!("HAProxy role:master: {what}"),
        "ms",
        theirs,
        note(wrong.1),
    );
    report.ratio("that time, to HAProxy", ours.median / theirs.median, "");
    Ok(())
}
