//! Tiers: what it costs to follow many, and how long clients are without a master after it was killed. Against HAProxy, with
//! its checks for the same.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::galera::{APPLICATION, MONITOR, PORT as MARIADB};
use mb_lb_tests::redis::{
    MASTER, PASSWORD, PORT, Redis, RedisClient, RedisSetup, SENTINEL_PASSWORD,
};
use mb_lb_tests::wait::try_wait_until;
use mb_lb_tests::{Director, Galera, Lab, Machine, Process};

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
    let vip = format!("{}/32", lab.vip4());
    lab.machine("lb1")
        .run("ip", &["address", "replace", &vip, "dev", "eth0"])?;
    {
        let setup = RedisSetup {
            down_after_ms: 1000,
            ..RedisSetup::default()
        };
        let mut redis = Redis::start(&lab, &setup)?;
        let ours = |name: &str, port| sentinel(&lab, &redis, name, port);
        let rival = |port| haproxy_redis(&lab, &redis, port);
        many(report, &lab, "Sentinel", &ours, &rival, effort)?;
        switches(report, &lab, &mut redis, effort)?;
    }
    let mut database = Galera::start(&lab)?;
    // HAProxy's check knows no password.
    database.sql(0, "CREATE USER haproxy_check@'%'")?;
    let ours = |name: &str, port| galera(&lab, name, port);
    let rival = |port| haproxy_mysql(&lab, port);
    many(report, &lab, "Galera", &ours, &rival, effort)?;
    moves(report, &lab, &mut database, effort)?;
    drop(database);
    lab.down()
}

/// One `[galera.NAME]` on this port of the VIP.
fn galera(lab: &Lab, name: &str, port: u16) -> String {
    let (user, password) = MONITOR;
    let servers = lab.servers().iter();
    let servers: Vec<_> = servers
        .map(|machine| format!("{} = \"{}:{MARIADB}\"", machine.name(), machine.ipv4()))
        .collect();
    format!(
        "[galera.{name}]\nlisten = \"{}:{port}\"\nuser = \"{user}\"\npassword = \"{password}\"\nservers = {{ {} }}\n",
        lab.vip4(),
        servers.join(", ")
    )
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

/// HAProxy's listener on this port, with the check that is told of everywhere.
fn haproxy_redis(lab: &Lab, redis: &Redis, port: u16) -> String {
    let mut text = format!(
        "listen redis{port}\n bind {}:{port}\n option tcp-check\n tcp-check connect\n tcp-check send AUTH\\ {PASSWORD}\\r\\n\n \
         tcp-check expect string +OK\n tcp-check send info\\ replication\\r\\n\n tcp-check expect string role:master\n \
         tcp-check send QUIT\\r\\n\n tcp-check expect string +OK\n \
         default-server inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions\n",
        lab.vip4()
    );
    for at in 0..3 {
        // Writing into a String cannot fail, here and below.
        let _ = writeln!(text, " server r{at} {} check", redis.address(at));
    }
    text
}

fn haproxy_mysql(lab: &Lab, port: u16) -> String {
    let mut text = format!(
        "listen mysql{port}\n bind {}:{port}\n option mysql-check user haproxy_check\n default-server inter 1s fall 3 rise 2\n",
        lab.vip4()
    );
    for machine in lab.servers() {
        let (name, address) = (machine.name(), machine.ipv4());
        let _ = writeln!(text, " server {name} {address}:{MARIADB} check");
    }
    text
}

/// HAProxy on the director.
pub fn haproxy(lab: &Lab, listeners: &str) -> Result<Process> {
    let director = lab.machine("lb1");
    let path = director.directory().join("haproxy-tiers.cfg");
    let text = format!(
        "defaults\n mode tcp\n timeout connect 1s\n timeout client 30s\n timeout server 30s\n timeout check 400ms\n{listeners}"
    );
    fs::write(&path, text)?;
    let mut command = director.command("haproxy");
    command.args(["-db", "-f"]).arg(&path);
    director.spawn("haproxy", &mut command)
}

/// CPU and memory of who follows many.
fn many(
    report: &mut Report,
    lab: &Lab,
    kind: &str,
    ours: &dyn Fn(&str, u16) -> String,
    rival: &dyn Fn(u16) -> String,
    effort: Effort,
) -> Result<()> {
    let time = Duration::from_secs(if effort.quick { 5 } else { 30 });
    let service = format!(
        "[service.smtp]\nlisten = \"{}\"\ncheck = {{ type = \"none\" }}\nservers = {{ mb1 = \"{}\" }}\n",
        lab.smtp4(),
        lab.servers()[0].ipv4()
    );
    let ports = FIRST..FIRST + MANY;
    let all = ports.clone().map(|port| ours(&format!("t{port}"), port));
    let text = service.clone() + &all.collect::<String>();
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
    let process = haproxy(lab, &ports.map(rival).collect::<String>())?;
    let (rival_busy, rival_memory) = cost(process.pid(), time)?;
    drop(process);
    let note = format!("3 nodes each; without any: {idle:.2} %, {base:.0} MB");
    let mut row = |what: String, unit, value: f64, note: &str| {
        report.row("tiers", what, unit, Spread::of([value]), note);
    };
    let own = format!("mb-lb, {MANY} {kind} clusters");
    row(format!("{own}: CPU"), "% of a core", busy, &note);
    row(format!("{own}: memory"), "MB", memory, &note);
    let other = format!("HAProxy, {MANY} times its check for {kind}");
    let note = "the same servers, as often; it sees less (docs/benchmarks.md)";
    row(format!("{other}: CPU"), "% of a core", rival_busy, note);
    row(format!("{other}: memory"), "MB", rival_memory, note);
    let what = format!("CPU to follow {MANY} {kind} clusters, to HAProxy");
    report.ratio(what, busy / rival_busy, "");
    Ok(())
}

/// Share of a core in percent, and megabytes of memory.
pub fn cost(pid: u32, time: Duration) -> Result<(f64, f64)> {
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
    // Who never came back waited longest of all.
    seen.gap = seen.gap.max(last.elapsed());
    seen
}

/// The master is killed, and comes back as a replica. Both are looked at in the same moment.
fn switches(report: &mut Report, lab: &Lab, redis: &mut Redis, effort: Effort) -> Result<()> {
    let rounds = if effort.quick { 1 } else { 7 };
    let mut director = Director::start(lab, "lb1", &sentinel(lab, redis, "sessions", PORT))?;
    let rival = haproxy(lab, &haproxy_redis(lab, redis, RIVAL))?;
    let (mut own, mut other) = (Vec::new(), Vec::new());
    let mut wrong = (0, 0);
    for _ in 0..rounds {
        redis.wait_whole()?;
        // HAProxy may still take the replica for a master.
        thread::sleep(Duration::from_secs(2));
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
                try_wait_until("the one that came back to be made a replica", SOON, || {
                    ensure!(redis.role(at)? == "slave", "not yet");
                    Ok(())
                })
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

/// The writer is lost in three ways, and comes back as another node.
fn moves(report: &mut Report, lab: &Lab, database: &mut Galera, effort: Effort) -> Result<()> {
    let rounds = if effort.quick { 1 } else { 5 };
    let mut director = Director::start(lab, "lb1", &galera(lab, "db", MARIADB))?;
    let elected = |director: &Director| -> Result<usize> {
        let status = director.status()?;
        let nodes = &status.tiers.first().context("no tier")?.nodes;
        let at = nodes.iter().position(|node| node.elected);
        at.context("nobody is elected")
    };
    let well = |director: &Director| {
        try_wait_until("the cluster to be well", SOON, || {
            let status = director.status()?;
            ensure!(status.alarms.is_empty(), "{:?}", status.alarms);
            elected(director)
        })
    };
    for how in ["kill -9", "SIGSTOP", "drain"] {
        let mut gaps = Vec::new();
        for _ in 0..rounds {
            database.wait_whole()?;
            let writer = well(&director)?;
            let stop = AtomicBool::new(false);
            let gap = thread::scope(|scope| -> Result<Duration> {
                let stop = &stop;
                let client = lab.client();
                let vip = lab.vip4().to_string();
                let writes = scope.spawn(move || write(client, &vip, stop));
                let done = (|| -> Result<()> {
                    thread::sleep(Duration::from_secs(1));
                    match how {
                        "kill -9" => database.kill(writer)?,
                        "SIGSTOP" => database.freeze(writer, true)?,
                        _ => {
                            let name = format!("db/mb{}", writer + 1);
                            director.expect(&["drain", &name]).map(drop)?;
                        }
                    }
                    try_wait_until("another writer", SOON, || {
                        ensure!(elected(&director)? != writer, "not yet");
                        Ok(())
                    })?;
                    // The others stand still until they have put it out.
                    thread::sleep(Duration::from_secs(8));
                    Ok(())
                })();
                stop.store(true, Ordering::Relaxed);
                let gap = writes
                    .join()
                    .map_err(|_| anyhow::anyhow!("the client panicked"))?;
                done.map(|()| gap)
            })?;
            match how {
                "kill -9" => database.spawn(writer)?,
                "SIGSTOP" => database.freeze(writer, false)?,
                _ => director
                    .expect(&["ready", &format!("db/mb{}", writer + 1)])
                    .map(drop)?,
            }
            gaps.push(gap.as_secs_f64() * 1000.0);
        }
        let what = format!(
            "mb-lb: writer of Galera lost by {how}: longest time without an acknowledged write"
        );
        let note = match how {
            "drain" => "",
            _ => "Galera's own standstill until the others have put it out is about 5 to 6 s",
        };
        report.row("tiers", what, "ms", Spread::of(gaps), note);
    }
    director.stop()
}

/// Longest time between two rows that were acknowledged, each over a connection of its own.
fn write(client: &Machine, vip: &str, stop: &AtomicBool) -> Duration {
    let (user, password) = APPLICATION;
    let (user, password) = (format!("--user={user}"), format!("--password={password}"));
    let host = format!("--host={vip}");
    let statement = "CREATE TABLE IF NOT EXISTS bench (n BIGINT AUTO_INCREMENT PRIMARY KEY); INSERT INTO bench VALUES ()";
    let arguments = [
        "--no-defaults",
        &user,
        &password,
        &host,
        "--connect-timeout=2",
        "-NBe",
        statement,
        "mail",
    ];
    let (mut gap, mut last) = (Duration::ZERO, Instant::now());
    while !stop.load(Ordering::Relaxed) {
        match client.run("mariadb", &arguments) {
            Ok(_) => {
                gap = gap.max(last.elapsed());
                last = Instant::now();
            }
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
    gap.max(last.elapsed())
}
