//! The lab with its mail servers and its director, and the questions that the acts ask of them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::snapshot::{ServerView, ServiceView, Snapshot};
use mb_lb_tests::{Director, Lab, Session, Sink, SinkOptions, try_wait_until};

/// For whatever should take a few seconds at most.
pub const SOON: Duration = Duration::from_secs(30);
pub const SERVICE: &str = "smtp_backend";
/// Servers of the service with their weights.
pub const WEIGHTS: [(&str, u64); 3] = [("mb1", 10), ("mb2", 10), ("mb3", 5)];
/// Every message takes a second, as a content filter does. Otherwise sessions would be too short to be counted,
/// and the machine's processors, not the director, would share them out.
const DELAY: [&str; 2] = ["-W", "DATA:1"];

pub struct Stage {
    pub lab: Lab,
    pub sinks: Vec<Sink>,
    pub director: Director,
}

impl Stage {
    /// Network and mail servers; the director is not started yet.
    pub fn set_up() -> Result<Self> {
        let lab = Lab::new("demo")?;
        let options = SinkOptions {
            arguments: DELAY.map(str::to_owned).into(),
            ..SinkOptions::default()
        };
        let sinks = lab
            .servers()
            .iter()
            .map(|server| Sink::with(server, &options))
            .collect::<Result<_>>()?;
        let director = Director::new(&lab, "lb1")?;
        Ok(Self {
            lab,
            sinks,
            director,
        })
    }

    /// The configuration of the demo. The lab puts the path of its admin socket in front.
    pub fn config(&self) -> String {
        let mut config = format!(
            "[service.{SERVICE}]\n\
             listen = [\"{}\", \"{}\"]\n\
             scheduler = \"leastconn\"\n\
             check = {{ type = \"smtp\", interval = \"1s\", timeout = \"1s\", rise = 2, fall = 3 }}\n\
             slow_start = \"5s\"\n\n\
             [service.{SERVICE}.servers]\n",
            self.lab.smtp4(),
            self.lab.smtp6(),
        );
        for (name, weight) in WEIGHTS {
            let address = self.lab.machine(name).ipv4();
            config += &format!("{name} = {{ address = \"{address}\", weight = {weight} }}\n");
        }
        config
    }

    /// `SERVICE/name`, as commands take it.
    pub fn target(name: &str) -> String {
        format!("{SERVICE}/{name}")
    }

    pub fn sink(&self, name: &str) -> Result<&Sink> {
        self.sinks
            .iter()
            .find(|sink| sink.machine().name() == name)
            .with_context(|| format!("there is no {name}"))
    }

    /// Sessions that the client holds open, opened one after another.
    pub fn open(&self, count: usize) -> Result<Vec<Session>> {
        Session::open_many(self.lab.client(), self.lab.smtp4(), count)
    }

    /// Messages that each server has accepted so far.
    pub fn messages(&self) -> Result<BTreeMap<String, u64>> {
        self.sinks
            .iter()
            .map(|sink| Ok((sink.machine().name().to_owned(), sink.messages()?)))
            .collect()
    }

    /// Waits until the director's status is as wanted, and returns it.
    pub fn wait_status(
        &self,
        what: &str,
        within: Duration,
        wanted: impl Fn(&Snapshot) -> Result<()>,
    ) -> Result<Snapshot> {
        try_wait_until(what, within, || {
            let status = self.director.status()?;
            wanted(&status)?;
            anyhow::Ok(status)
        })
    }

    /// Waits until the kernel keeps new flows from a server. Status says what is wanted; this asks the kernel.
    pub fn wait_avoided(&self, name: &str) -> Result<()> {
        let target = Self::target(name);
        let what = format!("the kernel to keep new flows from {name}");
        try_wait_until(&what, SOON, || {
            let described = self.director.expect(&["describe", &target, "-o", "json"])?;
            let described: serde_json::Value = serde_json::from_str(&described)?;
            let flags = described["kernel"]["flags"]
                .as_str()
                .context("describe tells no flags")?;
            ensure!(!flags.contains("accepts new flows"), "{flags}");
            Ok(())
        })
    }

    /// Waits until no flow is counted any more.
    pub fn wait_idle(&self) -> Result<Snapshot> {
        self.wait_status("all flows to be closed", SOON, |status| {
            let service = service(status)?;
            let active: i64 = service.servers.iter().map(|server| server.active).sum();
            ensure!(active == 0, "{active} are active");
            Ok(())
        })
    }
}

pub fn service(status: &Snapshot) -> Result<&ServiceView> {
    status
        .services
        .iter()
        .find(|service| service.name == SERVICE)
        .with_context(|| format!("status has no service {SERVICE}"))
}

pub fn server<'s>(status: &'s Snapshot, name: &str) -> Result<&'s ServerView> {
    service(status)?
        .servers
        .iter()
        .find(|server| server.name == name)
        .with_context(|| format!("status has no server {name}"))
}

/// Packets that the program has counted under this reason.
pub fn packets(status: &Snapshot, reason: &str) -> Result<u64> {
    let counted = status.dataplane.reasons.iter();
    let found = counted.clone().find(|counted| counted.name == reason);
    Ok(found
        .with_context(|| format!("status has no reason {reason}"))?
        .packets)
}

/// Sessions by the server that greeted.
pub fn by_server(sessions: &[Session]) -> BTreeMap<String, u64> {
    let mut counts: BTreeMap<String, u64> = WEIGHTS.map(|(name, _)| (name.to_owned(), 0)).into();
    for session in sessions {
        *counts.entry(session.server().to_owned()).or_default() += 1;
    }
    counts
}

/// What the weights make of `total`, which they divide.
pub fn fair(total: u64) -> BTreeMap<String, u64> {
    let sum: u64 = WEIGHTS.iter().map(|(_, weight)| weight).sum();
    WEIGHTS
        .map(|(name, weight)| (name.to_owned(), total * weight / sum))
        .into()
}

/// `mb1 20, mb2 20, mb3 10`
pub fn listed(counts: &BTreeMap<String, u64>) -> String {
    let parts: Vec<_> = counts
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    parts.join(", ")
}

/// Every session is answered by the server that it began with.
pub fn expect_alive(sessions: &mut [Session]) -> Result<()> {
    sessions.iter_mut().try_for_each(Session::expect_alive)
}

pub fn quit_all(sessions: Vec<Session>) -> Result<()> {
    sessions.into_iter().try_for_each(Session::quit)
}
