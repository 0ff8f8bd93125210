//! Redis behind a director, and who writes to it.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use mb_lb_ctl::snapshot::TierView;
use mb_lb_tests::redis::{MASTER, PASSWORD, PORT, SENTINEL_PASSWORD};
use mb_lb_tests::{Director, Lab, Machine, Redis, RedisClient, RedisSetup, try_wait_until};

use crate::writers::{self, Acked, Pen};

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
        Self::with(name, &RedisSetup::default())
    }

    pub fn with(name: &str, setup: &RedisSetup) -> Result<Self> {
        let lab = Lab::new(name)?;
        let redis = Redis::start(&lab, setup)?;
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

    pub fn wait_word(&self, node: &str, wanted: &str) -> Result<()> {
        try_wait_until(&format!("{node} to be {wanted}"), SOON, || {
            let word = self.word(node)?;
            ensure!(word == wanted, "{word}");
            Ok(())
        })
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
        let (machine, vip) = (self.lab.client().clone(), self.vip());
        Writers::start(count, SOON, move |_, pen| write(&machine, vip, pen))
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Ack {
    server: IpAddr,
    value: u64,
}

impl Acked for Ack {
    fn by(&self) -> String {
        self.server.to_string()
    }
}

pub type Writers = writers::Writers<Ack, ErrorKind>;
pub type Written = writers::Written<Ack, ErrorKind>;

fn write(machine: &Machine, vip: SocketAddr, pen: &Pen<Ack, ErrorKind>) {
    while pen.goes_on() {
        let outcome = RedisClient::connect(machine, vip).and_then(|mut client| {
            let server = client.server()?;
            while pen.goes_on() {
                let value = client.ask(&["INCR", COUNTER])?;
                let value = value.parse().map_err(io::Error::other)?;
                pen.ack(Ack { server, value });
                std::thread::yield_now();
            }
            Ok(())
        });
        if let Err(error) = outcome {
            pen.error(error.kind());
            // As clients do, so that refused ones do not take the whole processor.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Written {
    /// Once a writer had an answer of the new master, it never had one of the old again.
    pub fn expect_moved_once(&self) -> Result<()> {
        for servers in self.places() {
            ensure!(servers.len() == 2, "written to {servers:?} in turn");
        }
        Ok(())
    }

    pub fn expect_only(&self, server: IpAddr) -> Result<()> {
        for servers in self.places() {
            ensure!(
                servers == [server.to_string()],
                "written to {servers:?} in turn"
            );
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
