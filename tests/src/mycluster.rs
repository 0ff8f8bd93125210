//! A mail cluster that works: lab, director, and a sink on each server, behind the service `smtp`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::snapshot::{ServerView, Snapshot};

use crate::director::{Director, Record};
use crate::lab::Lab;
use crate::session::Session;
use crate::sink::{Sink, SinkOptions};
use crate::wait::try_wait_until;

/// For what the controller does at once, with room for a machine that has other things to do.
pub const SOON: Duration = Duration::from_secs(30);

/// What differs from a cluster of three equal servers, least connections, no checks.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// Further lines of `[director]`.
    pub director: &'a str,
    /// Lines of `[service.smtp]` that replace `check = { type = "none" }`. Without checks a stall of this machine
    /// cannot take a server out in the middle of a test that counts choices.
    pub service: &'a str,
    /// Further keys of `mb1`, `mb2`, `mb3`, e.g. `weight = 10`.
    pub servers: [&'a str; 3],
    /// Further tables.
    pub more: &'a str,
    pub sink: SinkOptions,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self {
            director: "",
            service: r#"check = { type = "none" }"#,
            servers: ["weight = 10", "weight = 10", "weight = 10"],
            more: "",
            sink: SinkOptions {
                record: false,
                ..SinkOptions::default()
            },
        }
    }
}

/// Weights 10, 10 and 5.
pub const TEN_TEN_FIVE: [&str; 3] = ["weight = 10", "weight = 10", "weight = 5"];

/// A running cluster. The director goes first, the lab last.
#[derive(Debug)]
pub struct Cluster {
    pub director: Director,
    pub sinks: Vec<Sink>,
    pub lab: Lab,
}

impl Cluster {
    /// Starts all, and returns when every server takes new flows in the kernel.
    ///
    /// # Errors
    /// Something does not start.
    pub fn start(name: &str, setup: &Setup) -> Result<Self> {
        let lab = Lab::new(name)?;
        let sinks = lab
            .servers()
            .iter()
            .map(|server| Sink::with(server, &setup.sink))
            .collect::<Result<Vec<_>>>()?;
        let config = config(&lab, setup)?;
        let director = Director::start(&lab, "lb1", &config)?;
        let cluster = Self {
            director,
            sinks,
            lab,
        };
        try_wait_until("all servers to take new flows", SOON, || {
            let records = cluster.records()?;
            ensure!(records.iter().all(|record| record.accepts), "{records:?}");
            Ok(())
        })?;
        Ok(cluster)
    }

    /// The configuration file's text with other lines of `[service.smtp]` or other servers, for a reload.
    ///
    /// # Errors
    /// None that is expected.
    pub fn config(&self, setup: &Setup) -> Result<String> {
        config(&self.lab, setup)
    }

    /// A session from the client to the IPv4 VIP.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub fn open(&self) -> Result<Session> {
        Session::open(self.lab.client(), self.lab.smtp4())
    }

    /// `count` sessions one after another, to the IPv4 VIP.
    ///
    /// # Errors
    /// As [`Session::open_many`].
    pub fn open_many(&self, count: usize) -> Result<Vec<Session>> {
        Session::open_many(self.lab.client(), self.lab.smtp4(), count)
    }

    /// Both VIPs with the port of SMTP.
    pub fn vips(&self) -> [SocketAddr; 2] {
        [self.lab.smtp4(), self.lab.smtp6()]
    }

    /// What the kernel holds of each server at this moment.
    ///
    /// # Errors
    /// The controller does not answer.
    pub fn records(&self) -> Result<Vec<Record>> {
        self.lab
            .servers()
            .iter()
            .map(|server| self.director.record(&format!("smtp/{}", server.name())))
            .collect()
    }

    /// Active flows of each server, in the kernel, at this moment.
    ///
    /// # Errors
    /// The controller does not answer.
    pub fn active(&self) -> Result<Vec<i64>> {
        Ok(self.records()?.iter().map(|record| record.active).collect())
    }

    /// Waits until the kernel counts exactly so many active flows of each server.
    ///
    /// # Errors
    /// It does not come to that in time.
    pub fn wait_active(&self, expected: &[i64]) -> Result<()> {
        try_wait_until(&format!("active {expected:?}"), SOON, || {
            let active = self.active()?;
            ensure!(active == expected, "{active:?}");
            Ok(())
        })
    }

    /// Waits until counts, flow table and audit agree that each server has so many flows, with no drift ever
    /// found. While flows come and go they cannot be compared, as they are not read at the same moment.
    ///
    /// # Errors
    /// They do not agree in time, or there was drift.
    pub fn wait_agree(&self, expected: &[i64]) -> Result<()> {
        self.wait_active(expected)?;
        try_wait_until(&format!("all to agree on {expected:?}"), SOON, || {
            let flows = self.director.flows()?;
            let status = self.director.status()?;
            for (server, &expected) in servers(&status)?.iter().zip(expected) {
                let listed = flows
                    .iter()
                    .filter(|flow| flow.server == server.name)
                    .filter(|flow| matches!(&*flow.state, "established" | "half_closed"))
                    .count();
                ensure!(
                    (server.active, server.audited, listed)
                        == (
                            expected,
                            u64::try_from(expected)?,
                            usize::try_from(expected)?
                        ),
                    "{} has {} active, {} audited, {listed} in the table",
                    server.name,
                    server.active,
                    server.audited
                );
            }
            Ok(())
        })?;
        self.expect_no_drift()
    }

    /// Waits until there is no flow at all, counted or not.
    ///
    /// # Errors
    /// As [`Cluster::wait_agree`].
    pub fn wait_empty(&self) -> Result<()> {
        self.wait_agree(&[0, 0, 0])?;
        try_wait_until("an empty flow table", SOON, || {
            let (listed, counted) = (
                self.director.flows()?.len(),
                self.director.status()?.dataplane.flows,
            );
            ensure!((listed, counted) == (0, 0), "{listed} listed, {counted}");
            Ok(())
        })
    }

    /// # Errors
    /// An audit of this controller has found a count that was wrong.
    pub fn expect_no_drift(&self) -> Result<()> {
        for server in servers(&self.director.status()?)? {
            ensure!(server.drift == 0, "{}: drift {}", server.name, server.drift);
        }
        let events = self.director.expect(&["events", "-n", "1000"])?;
        ensure!(!events.contains("was put right"), "{events}");
        Ok(())
    }

    /// Packets so far with this reason.
    ///
    /// # Errors
    /// The controller does not answer, or knows no such reason.
    pub fn packets(&self, reason: &str) -> Result<u64> {
        let status = self.director.status()?;
        let count = status
            .dataplane
            .reasons
            .iter()
            .find(|count| count.name == reason);
        Ok(count
            .with_context(|| format!("there is no reason {reason}"))?
            .packets)
    }

    /// Servers of the service `smtp` as `status` has them.
    ///
    /// # Errors
    /// The controller does not answer.
    pub fn servers(&self) -> Result<Vec<ServerView>> {
        servers(&self.director.status()?)
    }
}

/// Position of the server that a session is with: `mb1` is 0.
///
/// # Errors
/// Its greeting names no server.
pub fn place(session: &Session) -> Result<usize> {
    let number = session.server().strip_prefix("mb");
    let number: usize = number
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("{session} is with none of the servers"))?;
    Ok(number - 1)
}

/// Sessions of each server.
///
/// # Errors
/// As [`place`].
pub fn places<'a>(sessions: impl IntoIterator<Item = &'a Session>) -> Result<[i64; 3]> {
    let mut counts = [0; 3];
    for session in sessions {
        counts[place(session)?] += 1;
    }
    Ok(counts)
}

fn servers(status: &Snapshot) -> Result<Vec<ServerView>> {
    let service = status
        .services
        .iter()
        .find(|service| service.name == "smtp");
    Ok(service
        .context("status has no service smtp")?
        .servers
        .clone())
}

fn config(lab: &Lab, setup: &Setup) -> Result<String> {
    let mut text = format!(
        "[director]\nname = \"lb1\"\n{}\n\n[service.smtp]\nlisten = [\"{}\", \"{}\"]\n{}\n\n[service.smtp.servers]\n",
        setup.director,
        lab.smtp4(),
        lab.smtp6(),
        setup.service
    );
    for (server, keys) in lab.servers().iter().zip(setup.servers) {
        writeln!(
            text,
            "{} = {{ address = \"{}\", {keys} }}",
            server.name(),
            server.ipv4()
        )
        .context("cannot write to a string")?;
    }
    text.push_str(setup.more);
    Ok(text)
}
