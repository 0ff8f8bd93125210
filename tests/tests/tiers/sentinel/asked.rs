//! What is asked of real Sentinels and servers, without an engine: rounds, and what the machine makes of them.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use mb_lb_ctl::config::{self, Secret, ServerTls, TierServer, Verify};
use mb_lb_ctl::engine::{Event, Now};
use mb_lb_ctl::tiers::sentinel::{Machine as Tier, Round, Says, Trouble, follow};
use mb_lb_ctl::tiers::{Reports, State, Verdict, Wishes};
use mb_lb_tests::redis::{MASTER, PASSWORD, SENTINEL_PASSWORD};
use mb_lb_tests::{Lab, Machine, Redis, RedisSetup};
use tokio::sync::mpsc;

const SOON: Duration = Duration::from_secs(60);

/// A user of the Sentinels with the least of rights, as the advice has them.
const RIGHTS: &str = "user watch on >watch-secret allchannels -@all +auth +ping +psubscribe +info \
                      +sentinel|get-master-addr-by-name +sentinel|master +sentinel|ckquorum\n";

fn config(redis: &Redis) -> config::Sentinel {
    config::Sentinel {
        name: "redis".to_owned(),
        listen: vec!["10.77.0.100:6379".parse().expect("valid")],
        master: MASTER.to_owned(),
        sentinels: (0..3).map(|at| redis.sentinel_address(at)).collect(),
        servers: (0..3)
            .map(|at| TierServer {
                name: format!("mb{}", at + 1),
                address: redis.address(at),
                weight: 1,
                priority: 100,
                max_connections: None,
            })
            .collect(),
        user: None,
        password: Some(Secret::Text(PASSWORD.to_owned())),
        tls: None,
        sentinel_user: None,
        sentinel_password: Some(Secret::Text(SENTINEL_PASSWORD.to_owned())),
        sentinel_tls: None,
        interval: Duration::from_millis(500),
        timeout: Duration::from_secs(2),
    }
}

/// Asks until a verdict is as wanted, and returns the round that it was made of.
fn until(
    machine: &Machine,
    config: config::Sentinel,
    wanted: impl Fn(&Round, &Verdict) -> bool + Send + Sync,
) -> Result<(Round, Verdict)> {
    machine.enter(|| {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build()?;
        runtime.block_on(async {
            let (sender, mut events) = mpsc::channel(1);
            let mut tier = Tier::new(config.clone(), None);
            let task = tokio::spawn(follow(config, Reports::new("redis", sender)));
            let mut last = None;
            let waiting = async {
                while let Some(event) = events.recv().await {
                    let Event::Tier { round, .. } = event else {
                        continue;
                    };
                    let mb_lb_ctl::tiers::Round::Sentinel(round) = *round else {
                        continue;
                    };
                    tier.on_round(&round, &Wishes::default(), Now::default());
                    let verdict = tier.verdict().clone();
                    if wanted(&round, &verdict) {
                        return Ok((round, verdict));
                    }
                    last = Some(verdict);
                }
                Err(anyhow!("it has ended"))
            };
            let found = tokio::time::timeout(SOON, waiting).await;
            task.abort();
            found.map_err(|_| anyhow!("waited in vain; last: {last:#?}"))?
        })
    })
}

fn is_ok(_: &Round, verdict: &Verdict) -> bool {
    verdict.state == State::Ok
}

/// Until this is the trouble of all servers.
fn of_servers(trouble: fn(&Trouble) -> bool) -> impl Fn(&Round, &Verdict) -> bool + Send + Sync {
    move |round, _| {
        let mut answers = round.servers.values().map(|seen| &seen.answer);
        answers.all(|answer| matches!(answer, Err(found) if trouble(found)))
    }
}

fn of_sentinels(trouble: fn(&Trouble) -> bool) -> impl Fn(&Round, &Verdict) -> bool + Send + Sync {
    move |round, _| {
        let mut answers = round.sentinels.values().map(|seen| &seen.answer);
        answers.all(|answer| matches!(answer, Err(found) if trouble(found)))
    }
}

#[test]
fn passwords_and_rights() -> Result<()> {
    let lab = Lab::new("redis-asked")?;
    let setup = RedisSetup {
        server_lines: "user watch on >watch-secret -@all +auth +ping +role +info\n\
                       user old on >watch-secret -@all +auth +ping +info\n\
                       user blind on >watch-secret -@all +auth +get\n"
            .to_owned(),
        sentinel_lines: RIGHTS.to_owned() + "user blind on >watch-secret -@all +auth +ping\n",
        ..RedisSetup::default()
    };
    let redis = Redis::start(&lab, &setup)?;
    let machine = lab.machine("lb1");
    let secret = |text: &str| Some(Secret::Text(text.to_owned()));

    let (round, verdict) = until(machine, config(&redis), is_ok)?;
    ensure!(verdict.summary == "master mb1, named by 3 of 3 Sentinels");
    for seen in round.sentinels.values() {
        let vote = seen
            .answer
            .as_ref()
            .map_err(|trouble| anyhow!("{trouble}"))?;
        ensure!(vote.quorum == 2 && vote.others == 2, "{vote:?}");
        ensure!(
            vote.tilt == Some(false) && vote.can_fail_over == Some(Ok(())),
            "{vote:?}"
        );
        ensure!(vote.flags == ["master"], "{vote:?}");
    }

    // The least of rights, and the fall-back of servers that may not be asked for their role.
    for user in ["watch", "old"] {
        let mut other = config(&redis);
        other.user = Some(user.to_owned());
        other.password = secret("watch-secret");
        other.sentinel_user = Some("watch".to_owned());
        other.sentinel_password = secret("watch-secret");
        let (round, _) = until(machine, other, is_ok)?;
        let says = round.servers[&redis.address(0)].answer.clone();
        ensure!(
            matches!(says, Ok(Says::Master { replicas: 2, .. })),
            "{says:?}"
        );
    }

    let mut other = config(&redis);
    other.password = secret("wrong");
    other.sentinel_password = None;
    let locked = |round: &Round, verdict: &Verdict| {
        of_servers(|trouble| *trouble == Trouble::WrongPassword)(round, verdict)
            && of_sentinels(|trouble| *trouble == Trouble::NoAuth)(round, verdict)
    };
    let (_, verdict) = until(machine, other, locked)?;
    let next: Vec<_> = verdict
        .alarms
        .iter()
        .map(|alarm| alarm.next.as_str())
        .collect();
    ensure!(
        next.iter().any(|next| next.contains("`sentinel_password`")),
        "{next:?}"
    );

    let mut other = config(&redis);
    other.password = None;
    other.sentinel_password = secret("wrong");
    let locked = |round: &Round, verdict: &Verdict| {
        of_servers(|trouble| *trouble == Trouble::NoAuth)(round, verdict)
            && of_sentinels(|trouble| *trouble == Trouble::WrongPassword)(round, verdict)
    };
    until(machine, other, locked)?;

    let mut other = config(&redis);
    (other.user, other.password) = (Some("blind".to_owned()), secret("watch-secret"));
    (other.sentinel_user, other.sentinel_password) = (other.user.clone(), other.password.clone());
    let blind = |trouble: &Trouble| matches!(trouble, Trouble::NoPermission(_));
    let locked = move |round: &Round, verdict: &Verdict| {
        of_servers(blind)(round, verdict) && of_sentinels(blind)(round, verdict)
    };
    until(machine, other, locked)?;

    let mut other = config(&redis);
    other.master = "nobody".to_owned();
    let unknown = of_sentinels(|trouble| *trouble == Trouble::UnknownMaster);
    until(machine, other, unknown)?;

    let mut other = config(&redis);
    for server in &mut other.servers {
        server.address.set_port(26379);
    }
    other.password = secret(SENTINEL_PASSWORD);
    let mistaken = of_servers(
        |trouble| matches!(trouble, Trouble::Garbage(what) if what.contains("this is a Sentinel")),
    );
    until(machine, other, mistaken)?;
    Ok(())
}

#[test]
fn tls_is_verified() -> Result<()> {
    let lab = Lab::new("redis-tls")?;
    let setup = RedisSetup {
        tls: true,
        ..RedisSetup::default()
    };
    let redis = Redis::start(&lab, &setup)?;
    let machine = lab.machine("lb1");
    let path = redis.certificate().context("a certificate")?;
    let with = |verify: &Verify, sni: Option<&str>| {
        let tls = ServerTls {
            verify: verify.clone(),
            sni: sni.map(ToOwned::to_owned),
        };
        let mut config = config(&redis);
        config.tls = Some(tls.clone());
        config.sentinel_tls = Some(tls);
        config
    };
    let ca = Verify::Ca(path.clone());
    until(machine, with(&Verify::None, None), is_ok)?;
    until(machine, with(&ca, Some("redis.test")), is_ok)?;
    until(
        machine,
        with(&Verify::Pinned(digest(machine, path)?), None),
        is_ok,
    )?;
    let refused = |trouble: &Trouble| matches!(trouble, Trouble::Tls(_));
    for wrong in [
        with(&ca, Some("other.test")),
        with(&Verify::Pinned([7; 32]), None),
    ] {
        until(machine, wrong, move |round, verdict| {
            of_servers(refused)(round, verdict) && of_sentinels(refused)(round, verdict)
        })?;
    }
    // In clear, where only TLS is spoken.
    until(machine, config(&redis), |round, verdict| {
        of_servers(|_| true)(round, verdict) && of_sentinels(|_| true)(round, verdict)
    })?;
    Ok(())
}

/// SHA-256 of a certificate's DER form.
fn digest(machine: &Machine, path: &Path) -> Result<[u8; 32]> {
    let path = path.display().to_string();
    let arguments = ["x509", "-in", &path, "-noout", "-fingerprint", "-sha256"];
    let text = machine.run("openssl", &arguments)?;
    let (_, digits) = text.trim().split_once('=').context("no digest")?;
    let bytes = digits.split(':').map(|byte| u8::from_str_radix(byte, 16));
    let bytes: Vec<u8> = bytes.collect::<Result<_, _>>()?;
    bytes.try_into().map_err(|_| anyhow!("not 32 bytes"))
}

#[test]
fn a_switch_is_heard_of_between_two_rounds() -> Result<()> {
    let lab = Lab::new("redis-heard")?;
    let setup = RedisSetup {
        sentinel_lines: RIGHTS.to_owned(),
        ..RedisSetup::default()
    };
    let redis = Redis::start(&lab, &setup)?;
    let mut slow = config(&redis);
    slow.sentinel_user = Some("watch".to_owned());
    slow.sentinel_password = Some(Secret::Text("watch-secret".to_owned()));
    // Longer than this test may take: only what Sentinels publish begins a round.
    slow.interval = Duration::from_secs(3600);
    let told = std::sync::atomic::AtomicBool::new(false);
    let (_, verdict) = until(lab.machine("lb1"), slow, |_, verdict| {
        use std::sync::atomic::Ordering::Relaxed;
        if verdict.summary.starts_with("master mb1") && !told.swap(true, Relaxed) {
            let command = ["SENTINEL", "FAILOVER", MASTER];
            redis.ask_sentinel(1, &command).expect("it fails over");
        }
        let elected = verdict.nodes.iter().find(|node| node.elected);
        elected.is_some_and(|node| node.name != "mb1")
    })?;
    let address: SocketAddr = verdict
        .nodes
        .iter()
        .find(|node| node.elected)
        .context("elected")?
        .address
        .parse()?;
    ensure!(address != redis.address(0));
    Ok(())
}
