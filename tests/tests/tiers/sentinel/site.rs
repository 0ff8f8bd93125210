//! Redis behind a director, and who writes to it.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use mb_lb_ctl::snapshot::TierView;
use mb_lb_tests::redis::{MASTER, PASSWORD, PORT, SENTINEL_PASSWORD};
use mb_lb_tests::{Director, Lab, Machine, Redis, RedisClient, RedisSetup, try_wait_until};

pub const SOON: Duration = Duration::from_secs(60);

/// What writers count with.
pub const COUNTER: &str = "counter";

pub struct Site {
    pub director: Director,
    pub redis: Redis,
    pub lab: Lab,
}

pub fn config(lab: &Lab) -> String {
    let mut servers = Vec::new();
    let mut sentinels = Vec::new();
    for machine in lab.servers() {
        servers.push(format!("{} = \"{}:6379\"", machine.name(), machine.ipv4()));
        sentinels.push(format!("\"{}:26379\"", machine.ipv4()));
    }
    format!(
        "[sentinel.redis]\nlisten = \"{}:{PORT}\"\nmaster = \"{MASTER}\"\nsentinels = [{}]\nservers = {{ {} }}\n\
         password = \"{PASSWORD}\"\nsentinel_password = \"{SENTINEL_PASSWORD}\"\n",
        lab.vip4(),
        sentinels.join(", "),
        servers.join(", ")
    )
}

impl Site {
    /// With mb1 as the master.
    pub fn start(name: &str) -> Result<Self> {
        let lab = Lab::new(name)?;
        let redis = Redis::start(&lab, &RedisSetup::default())?;
        let director = Director::start(&lab, "lb1", &config(&lab))?;
        let site = Self {
            director,
            redis,
            lab,
        };
        site.wait_elected("mb1")?;
        Ok(site)
    }

    pub fn tier(&self) -> Result<TierView> {
        let status = self.director.status()?;
        status
            .tiers
            .into_iter()
            .next()
            .context("no tier in the status")
    }

    pub fn elected(&self) -> Result<Option<String>> {
        let tier = self.tier()?;
        let mut elected = tier.nodes.into_iter().filter(|node| node.elected);
        let first = elected.next();
        let second = elected.next();
        ensure!(second.is_none(), "two are elected: {first:?} {second:?}");
        Ok(first.map(|node| node.name))
    }

    pub fn expect_only(&self, name: &str) -> Result<()> {
        let elected = self.elected()?;
        ensure!(elected.as_deref() == Some(name), "{elected:?} is elected");
        Ok(())
    }

    pub fn wait_elected(&self, name: &str) -> Result<()> {
        try_wait_until(&format!("{name} to be elected"), SOON, || {
            self.expect_only(name)
                .map_err(|error| anyhow!("{error:#}; {:?}", self.tier().map(|tier| tier.summary)))
        })
    }

    /// Waits until another than this is elected.
    pub fn wait_other(&self, than: &str) -> Result<String> {
        try_wait_until(&format!("another than {than} to be elected"), SOON, || {
            let elected = self.elected()?;
            elected
                .filter(|name| name != than)
                .ok_or_else(|| anyhow!("{:?}", self.tier().map(|tier| tier.summary)))
        })
    }

    pub fn word(&self, node: &str) -> Result<String> {
        let tier = self.tier()?;
        let node = tier.nodes.into_iter().find(|known| known.name == node);
        Ok(node.context("no such node")?.word)
    }

    pub fn alarm(&self, words: &str) -> Result<()> {
        let alarms = self.director.status()?.alarms;
        ensure!(
            alarms.iter().any(|alarm| alarm.text.contains(words)),
            "{alarms:?}"
        );
        Ok(())
    }

    pub fn address_of(&self, name: &str) -> IpAddr {
        self.lab.machine(name).ipv4().into()
    }

    /// A client of the VIP.
    pub fn connect(&self) -> io::Result<RedisClient> {
        RedisClient::connect(self.lab.client(), self.vip())
    }

    fn vip(&self) -> SocketAddr {
        SocketAddr::new(self.lab.vip4().into(), PORT)
    }

    /// So many new clients, one after the other, are all brought to this server, which takes their writes.
    pub fn expect_all_reach(&self, name: &str, count: usize) -> Result<()> {
        for _ in 0..count {
            let mut client = self.connect()?;
            let server = client.server()?;
            ensure!(server == self.address_of(name), "brought to {server}");
            client.ask(&["SET", "reached", name])?;
        }
        Ok(())
    }

    /// So many clients that count, and connect anew when they have to.
    pub fn write(&self, count: usize) -> Writers {
        let stop = Arc::new(AtomicBool::new(false));
        let logs: Vec<_> = (0..count).map(|_| Arc::new(Mutex::default())).collect();
        let threads = logs.iter().map(|log| {
            let (machine, vip) = (self.lab.client().clone(), self.vip());
            let (stop, log) = (Arc::clone(&stop), Arc::clone(log));
            std::thread::spawn(move || write(&machine, vip, &stop, &log))
        });
        Writers {
            threads: threads.collect(),
            stop,
            logs,
        }
    }
}

/// One write that was acknowledged.
#[derive(Clone, Copy, Debug)]
struct Ack {
    server: IpAddr,
    value: u64,
}

#[derive(Debug, Default)]
struct Log {
    acks: Vec<Ack>,
    errors: Vec<ErrorKind>,
}

pub struct Writers {
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    logs: Vec<Arc<Mutex<Log>>>,
}

fn write(machine: &Machine, vip: SocketAddr, stop: &AtomicBool, log: &Mutex<Log>) {
    let note = |work: &mut dyn FnMut(&mut Log)| {
        work(&mut log.lock().unwrap_or_else(PoisonError::into_inner));
    };
    while !stop.load(Ordering::Relaxed) {
        let outcome = RedisClient::connect(machine, vip).and_then(|mut client| {
            let server = client.server()?;
            while !stop.load(Ordering::Relaxed) {
                let value = client.ask(&["INCR", COUNTER])?;
                let value = value.parse().map_err(io::Error::other)?;
                note(&mut |log| log.acks.push(Ack { server, value }));
                std::thread::yield_now();
            }
            Ok(())
        });
        if let Err(error) = outcome {
            note(&mut |log| log.errors.push(error.kind()));
            // As clients do, so that refused ones do not take the whole processor.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Writers {
    fn counts(&self) -> Vec<usize> {
        let logs = self.logs.iter();
        logs.map(|log| {
            log.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .acks
                .len()
        })
        .collect()
    }

    /// Until each has written some more.
    pub fn wait_more(&self) -> Result<()> {
        let before = self.counts();
        try_wait_until("writes", SOON, || {
            let now = self.counts();
            let more = before
                .iter()
                .zip(&now)
                .all(|(before, now)| *now > before + 20);
            ensure!(more, "{before:?}, {now:?}");
            Ok(())
        })
    }

    /// Until each writes to this one.
    pub fn wait_on(&self, server: IpAddr) -> Result<()> {
        try_wait_until(&format!("writes on {server}"), SOON, || {
            for log in &self.logs {
                let log = log.lock().unwrap_or_else(PoisonError::into_inner);
                let last = log.acks.last().map(|ack| ack.server);
                ensure!(last == Some(server), "last on {last:?}");
            }
            Ok(())
        })
    }

    pub fn stop(self) -> Result<Written> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| anyhow!("a writer panicked"))?;
        }
        let logs = self.logs.iter();
        let take = |log: &Arc<Mutex<Log>>| {
            std::mem::take(&mut *log.lock().unwrap_or_else(PoisonError::into_inner))
        };
        Ok(Written(logs.map(take).collect()))
    }
}

/// What each writer has seen.
pub struct Written(Vec<Log>);

impl Written {
    fn servers(log: &Log) -> Vec<IpAddr> {
        let mut servers: Vec<_> = log.acks.iter().map(|ack| ack.server).collect();
        servers.dedup();
        servers
    }

    /// Once a writer had an answer of the new master, it never had one of the old again.
    pub fn expect_moved_once(&self) -> Result<()> {
        for log in &self.0 {
            let servers = Self::servers(log);
            ensure!(servers.len() == 2, "written to {servers:?} in turn");
        }
        Ok(())
    }

    pub fn expect_only(&self, server: IpAddr) -> Result<()> {
        for log in &self.0 {
            let servers = Self::servers(log);
            ensure!(servers == [server], "written to {servers:?} in turn");
        }
        Ok(())
    }

    /// Connections ended; none was left to wait.
    pub fn expect_no_timeout(&self) -> Result<()> {
        for log in &self.0 {
            let waited =
                |kind: &&ErrorKind| matches!(**kind, ErrorKind::TimedOut | ErrorKind::WouldBlock);
            let count = log.errors.iter().filter(waited).count();
            ensure!(count == 0, "{count} answers were waited for in vain");
        }
        Ok(())
    }

    /// The new master counts on from where the old one stopped.
    pub fn expect_continued_after(&self, last: u64) -> Result<()> {
        let mut first = u64::MAX;
        for log in &self.0 {
            let old = log.acks.first().context("no writes")?.server;
            let new = log.acks.iter().filter(|ack| ack.server != old);
            first = first.min(new.map(|ack| ack.value).min().context("none on the new")?);
        }
        ensure!(
            first == last + 1,
            "{last} on the old one, {first} on the new one"
        );
        Ok(())
    }
}
