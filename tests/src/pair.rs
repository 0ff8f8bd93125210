//! Two directors with one VIP, three mail servers behind them.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::snapshot::{PeerView, Snapshot, VrrpView};

use crate::director::Director;
use crate::lab::{Lab, Topology};
use crate::session::Session;
use crate::sink::{Sink, SinkOptions};
use crate::wait::try_wait_until;

/// For elections at adverts of a second, and a machine that has other things to do.
pub const SOON: Duration = Duration::from_secs(40);

/// 32 bytes that both directors know.
pub const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// `lb1` has priority 101, `lb2` 100.
pub const NAMES: [&str; 2] = ["lb1", "lb2"];

/// What differs from a pair with version 2, adverts of a second, and no checks.
#[derive(Clone, Debug)]
pub struct PairSetup<'a> {
    /// Further lines of `[vrrp.VI_1]`, and what replaces its interval.
    pub interval: &'a str,
    pub vrrp: &'a str,
    /// Lines of `[service.smtp]`.
    pub service: &'a str,
    /// Key of each director.
    pub keys: [&'a str; 2],
    /// Further tables.
    pub more: &'a str,
    /// Further arguments of the sinks.
    pub sink: &'a [&'a str],
}

impl Default for PairSetup<'_> {
    fn default() -> Self {
        Self {
            interval: "version = 2\nadvert_interval = \"1s\"",
            vrrp: "",
            service: r#"check = { type = "none" }"#,
            keys: [KEY, KEY],
            more: "",
            sink: &[],
        }
    }
}

/// The two at work.
#[derive(Debug)]
pub struct Pair {
    pub directors: [Director; 2],
    pub sinks: Vec<Sink>,
    pub lab: Lab,
}

impl PairSetup<'_> {
    /// The configuration of one director; 0 is `lb1`.
    pub fn config(&self, lab: &Lab, at: usize) -> String {
        let own = &lab.directors()[at];
        let other = &lab.directors()[1 - at];
        let mut text = format!(
            "[director]\nname = \"{}\"\n\n[vrrp.VI_1]\ninterface = \"eth0\"\nvirtual_router_id = 51\npriority = {}\n\
             {}\naddresses = [\"{}/32\"]\n{}\n\n[peer]\nlisten = \"{}:8405\"\naddress = \"{}:8405\"\nkey = \"{}\"\n\n\
             [service.smtp]\nlisten = [\"{}\"]\n{}\n\n[service.smtp.servers]\n",
            own.name(),
            101 - at,
            self.interval,
            lab.vip4(),
            self.vrrp,
            own.ipv4(),
            other.ipv4(),
            self.keys[at],
            lab.smtp4(),
            self.service,
        );
        // Another order on each: flows are named by addresses.
        let mut servers: Vec<_> = lab.servers().iter().collect();
        if at == 1 {
            servers.reverse();
        }
        for server in servers {
            // Writing into a String cannot fail.
            let _ = writeln!(
                text,
                "{} = {{ address = \"{}\", weight = 10 }}",
                server.name(),
                server.ipv4()
            );
        }
        text.push_str(self.more);
        text
    }

    /// A lab whose VIP nobody has.
    ///
    /// # Errors
    /// As [`Lab::with`].
    pub fn lab(name: &str) -> Result<Lab> {
        let lab = Lab::with(
            name,
            Topology {
                directors: 2,
                servers: 3,
            },
        )?;
        let vip = format!("{}/32", lab.vip4());
        lab.machine("lb1")
            .run("ip", &["address", "del", &vip, "dev", "eth0"])?;
        Ok(lab)
    }

    /// Starts all, and returns when `lb1` is active and both hold each other's flows.
    ///
    /// # Errors
    /// Something does not start.
    pub fn start(&self, name: &str) -> Result<Pair> {
        self.start_in(Self::lab(name)?)
    }

    /// As [`PairSetup::start`], in a lab that [`PairSetup::lab`] has made: what its machines have can be in the configuration.
    ///
    /// # Errors
    /// Something does not start.
    pub fn start_in(&self, lab: Lab) -> Result<Pair> {
        let options = SinkOptions {
            record: false,
            arguments: self.sink.iter().map(|word| (*word).to_owned()).collect(),
            ..SinkOptions::default()
        };
        let sinks = lab
            .servers()
            .iter()
            .map(|machine| Sink::with(machine, &options))
            .collect::<Result<_>>()?;
        let mut directors = [Director::new(&lab, "lb1")?, Director::new(&lab, "lb2")?];
        for (at, director) in directors.iter_mut().enumerate() {
            director.write_config(&self.config(&lab, at))?;
            director.run()?;
        }
        let pair = Pair {
            directors,
            sinks,
            lab,
        };
        pair.wait_active(0)?;
        pair.wait_in_sync()?;
        Ok(pair)
    }
}

impl Pair {
    /// The virtual router as a director has it.
    ///
    /// # Errors
    /// No answer.
    pub fn router(&self, at: usize) -> Result<VrrpView> {
        let status = self.directors[at].status()?;
        let first = status.vrrp.into_iter().next();
        first.context("no virtual router")
    }

    /// # Errors
    /// No answer, or no peer.
    pub fn peer(&self, at: usize) -> Result<PeerView> {
        let status = self.directors[at].status()?;
        status.peer.context("no peer")
    }

    /// Waits until this director is active and has the VIP, and the other has neither.
    ///
    /// # Errors
    /// It does not come to that.
    pub fn wait_active(&self, at: usize) -> Result<()> {
        try_wait_until(&format!("{} alone to be active", NAMES[at]), SOON, || {
            let roles = [self.router(0)?.role, self.router(1)?.role];
            let holds = self.holders()?;
            ensure!(
                roles[at] == "active" && roles[1 - at] == "backup" && holds[at] && !holds[1 - at],
                "{roles:?}, VIP {holds:?}"
            );
            Ok(())
        })
    }

    /// Which of the directors have the VIP on their interface.
    ///
    /// # Errors
    /// `ip` refuses.
    pub fn holders(&self) -> Result<[bool; 2]> {
        let holds = |at: usize| -> Result<bool> {
            let listed = self.lab.directors()[at]
                .run("ip", &["-4", "-o", "address", "show", "dev", "eth0"])?;
            Ok(listed.contains(&format!(" {}/", self.lab.vip4())))
        };
        Ok([holds(0)?, holds(1)?])
    }

    /// Waits until both hold all flows of each other.
    ///
    /// # Errors
    /// It does not come to that.
    pub fn wait_in_sync(&self) -> Result<()> {
        try_wait_until("both to be in sync", SOON, || {
            for (at, name) in NAMES.iter().enumerate() {
                let peer = self.peer(at)?;
                ensure!(
                    peer.connected && peer.in_sync && peer.peer_in_sync,
                    "{name}: {peer:?}"
                );
            }
            Ok(())
        })
    }

    /// Sessions from the client through the VIP, one after another.
    ///
    /// # Errors
    /// One of them is not greeted.
    pub fn open(&self, count: usize) -> Result<Vec<Session>> {
        Session::open_many(self.lab.client(), self.lab.smtp4(), count)
    }

    /// Active flows of `mb1`, `mb2`, `mb3` in a director's kernel at this moment.
    ///
    /// # Errors
    /// No answer.
    pub fn counts(&self, at: usize) -> Result<Vec<i64>> {
        self.lab
            .servers()
            .iter()
            .map(|server| {
                let record = self.directors[at].record(&format!("smtp/{}", server.name()))?;
                Ok(record.active)
            })
            .collect()
    }

    /// Waits until a director counts exactly so many active flows of each server.
    ///
    /// # Errors
    /// It does not come to that.
    pub fn wait_counts(&self, at: usize, expected: &[i64]) -> Result<()> {
        let what = format!("{} to count {expected:?}", NAMES[at]);
        try_wait_until(&what, SOON, || {
            let counts = self.counts(at)?;
            ensure!(counts == expected, "{counts:?}");
            Ok(())
        })
    }

    /// Waits until a director's counts are the flows in its table, and the audit says so too, without any drift.
    ///
    /// # Errors
    /// They differ.
    pub fn wait_counts_agree(&self, at: usize) -> Result<()> {
        try_wait_until(
            &format!("counts of {} to be its flows", NAMES[at]),
            SOON,
            || {
                let status = self.directors[at].status()?;
                let flows = self.directors[at].flows()?;
                for server in servers(&status) {
                    let listed = flows
                        .iter()
                        .filter(|flow| flow.state == "established" && flow.server == server.name)
                        .count();
                    ensure!(
                        server.active == i64::try_from(listed)? && server.audited == listed as u64,
                        "{}: active {}, audited {}, {listed} flows",
                        server.name,
                        server.active,
                        server.audited
                    );
                    ensure!(server.drift == 0, "{}: drift {}", server.name, server.drift);
                }
                Ok(())
            },
        )
    }

    /// Waits until `status` of a director has an alarm with this in its text.
    ///
    /// # Errors
    /// It does not come to have one.
    pub fn wait_alarm(&self, at: usize, says: &str) -> Result<()> {
        try_wait_until(&format!("{} to say {says:?}", NAMES[at]), SOON, || {
            let alarms = self.directors[at].status()?.alarms;
            ensure!(
                alarms.iter().any(|alarm| alarm.text.contains(says)),
                "{alarms:?}"
            );
            Ok(())
        })
    }

    /// How many sessions each server greeted.
    pub fn shares(&self, sessions: &[Session]) -> Vec<i64> {
        let of = |name: &str| {
            sessions
                .iter()
                .filter(|session| session.server() == name)
                .count()
        };
        self.lab
            .servers()
            .iter()
            .map(|server| i64::try_from(of(server.name())).unwrap_or(i64::MAX))
            .collect()
    }
}

fn servers(status: &Snapshot) -> impl Iterator<Item = &mb_lb_ctl::snapshot::ServerView> {
    status.services.iter().flat_map(|service| &service.servers)
}
