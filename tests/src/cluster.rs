//! A lab at work: mail servers, and the controller on `lb1`.

mod counts;
mod setup;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use mb_lb_ctl::snapshot::ServerView;
use serde_json::Value;

use crate::director::{Answer, Director};
use crate::lab::{Lab, Topology};
use crate::session::Session;
use crate::sink::{Sink, SinkOptions};
use crate::wait::try_wait_until;

pub use counts::{place, places};
pub use setup::{Setup, TEN_TEN_FIVE};

/// A check that no busy test machine fails.
pub const PATIENT: &str =
    r#"{ type = "smtp", interval = "200ms", timeout = "10s", rise = 2, fall = 3 }"#;

/// For what the controller does at once, with room for a machine that has other things to do.
pub const SOON: Duration = Duration::from_secs(30);

/// A lab whose servers all run a [`Sink`] on port 25, with one director.
#[derive(Debug)]
pub struct Cluster {
    pub director: Director,
    /// By name of the machine.
    pub sinks: BTreeMap<String, Sink>,
    pub lab: Lab,
}

/// One service of a configuration.
#[derive(Clone, Debug)]
pub struct Service {
    pub name: String,
    pub listen: SocketAddr,
    /// The value of `check`.
    pub check: String,
    /// Further lines, e.g. `on_down = "keep"`.
    pub more: String,
    pub servers: Vec<(String, IpAddr, u16)>,
}

impl Service {
    /// `smtp` on the VIP's port 25 with a patient check, the lab's servers by their names, with these weights.
    pub fn smtp(lab: &Lab, weights: &[u16]) -> Self {
        Self {
            name: "smtp".to_owned(),
            listen: lab.smtp4(),
            check: PATIENT.to_owned(),
            more: String::new(),
            servers: lab
                .servers()
                .iter()
                .zip(weights)
                .map(|(server, &weight)| (server.name().to_owned(), server.ipv4().into(), weight))
                .collect(),
        }
    }

    pub fn check(mut self, check: &str) -> Self {
        check.clone_into(&mut self.check);
        self
    }

    /// Adds a line.
    pub fn line(mut self, line: &str) -> Self {
        self.more.push_str(line);
        self.more.push('\n');
        self
    }

    /// The service in TOML.
    pub fn toml(&self) -> String {
        let Self {
            name,
            listen,
            check,
            more,
            servers,
        } = self;
        let mut text = format!(
            "[service.{name}]\nlisten = [\"{listen}\"]\nforward = \"dsr\"\ncheck = {check}\n{more}\
             [service.{name}.servers]\n"
        );
        for (server, address, weight) in servers {
            // Writing into a String cannot fail.
            let _ = writeln!(
                text,
                "{server} = {{ address = \"{address}\", weight = {weight} }}"
            );
        }
        text
    }
}

impl Cluster {
    /// With `servers` servers, and the configuration that `config` makes for the lab. Returns when every server of
    /// it takes new flows.
    ///
    /// # Errors
    /// Something of it does not start.
    pub fn start(name: &str, servers: u8, config: impl FnOnce(&Lab) -> String) -> Result<Self> {
        let cluster = Self::start_unready(name, servers, config)?;
        cluster.wait_usable()?;
        Ok(cluster)
    }

    /// As [`Cluster::start`], without waiting for the servers.
    ///
    /// # Errors
    /// Something of it does not start.
    pub fn start_unready(
        name: &str,
        servers: u8,
        config: impl FnOnce(&Lab) -> String,
    ) -> Result<Self> {
        Self::start_with(name, servers, &quiet(25), config)
    }

    /// As [`Cluster::start_unready`], with sinks of another kind.
    ///
    /// # Errors
    /// Something of it does not start.
    pub fn start_with(
        name: &str,
        servers: u8,
        sink: &SinkOptions,
        config: impl FnOnce(&Lab) -> String,
    ) -> Result<Self> {
        let lab = Lab::with(
            name,
            Topology {
                directors: 1,
                servers,
            },
        )?;
        let sinks = lab
            .servers()
            .iter()
            .map(|machine| Ok((machine.name().to_owned(), Sink::with(machine, sink)?)))
            .collect::<Result<_>>()?;
        let director = Director::start(&lab, "lb1", &config(&lab))?;
        Ok(Self {
            director,
            sinks,
            lab,
        })
    }

    /// Waits until every server of every service takes new flows.
    ///
    /// # Errors
    /// One of them does not.
    pub fn wait_usable(&self) -> Result<()> {
        try_wait_until("every server to be usable", SOON, || {
            let status = self.director.status()?;
            for service in &status.services {
                for server in &service.servers {
                    ensure!(
                        server.usable,
                        "{}/{} is {:?}: {}",
                        service.name,
                        server.name,
                        server.health,
                        server.health_reason
                    );
                }
            }
            ensure!(!status.services.is_empty(), "no service");
            Ok(())
        })
    }

    /// One server as `status` shows it.
    ///
    /// # Errors
    /// There is no such server, or no answer.
    pub fn server(&self, name: &str) -> Result<ServerView> {
        let status = self.director.status()?;
        let (service, server) = name
            .split_once('/')
            .with_context(|| format!("{name} is not SERVICE/SERVER"))?;
        status
            .services
            .into_iter()
            .filter(|known| known.name == service)
            .flat_map(|known| known.servers)
            .find(|known| known.name == server)
            .with_context(|| format!("status shows no {name}"))
    }

    /// Waits until `status` shows the server so.
    ///
    /// # Errors
    /// It does not come to be so.
    pub fn wait_server(
        &self,
        name: &str,
        within: Duration,
        so: impl Fn(&ServerView) -> bool,
    ) -> Result<ServerView> {
        try_wait_until(&format!("{name} to change"), within, || {
            let server = self.server(name)?;
            ensure!(so(&server), "{server:?}");
            Ok(server)
        })
    }

    /// Sessions from the client through the VIP's port 25, one after another.
    ///
    /// # Errors
    /// One of them is not greeted.
    pub fn open(&self, count: usize) -> Result<Vec<Session>> {
        Session::open_many(self.lab.client(), self.lab.smtp4(), count)
    }

    /// Counted flows by client, from `list flows`; the value is `SERVICE/SERVER`.
    ///
    /// # Errors
    /// No answer.
    pub fn flows(&self) -> Result<BTreeMap<SocketAddr, String>> {
        let flows = self.director.flows()?;
        Ok(flows
            .into_iter()
            .filter(|flow| flow.state == "established")
            .map(|flow| (flow.client, format!("{}/{}", flow.service, flow.server)))
            .collect())
    }

    /// The count of active flows in the kernel's own record of a server, read now.
    ///
    /// # Errors
    /// No answer, or no count in it.
    pub fn active(&self, name: &str) -> Result<i64> {
        let text = self.director.expect(&["describe", name, "-o", "json"])?;
        let told: Value = serde_json::from_str(&text).context("describe printed no JSON")?;
        told["kernel"]["active"]
            .as_str()
            .and_then(|text| text.parse().ok())
            .with_context(|| format!("no count in {}", told["kernel"]))
    }

    /// [`Cluster::active`] of every server of a service, in its order.
    ///
    /// # Errors
    /// As [`Cluster::active`].
    pub fn counts(&self, service: &str) -> Result<Vec<i64>> {
        let status = self.director.status()?;
        let found = status
            .services
            .iter()
            .find(|known| known.name == service)
            .with_context(|| format!("no service {service}"))?;
        found
            .servers
            .iter()
            .map(|server| self.active(&format!("{service}/{}", server.name)))
            .collect()
    }

    /// All counted flows are those of `sessions`, each with the server that greeted it.
    ///
    /// # Errors
    /// One is missing, is with another server, or there is one too many.
    pub fn expect_flows(&self, service: &str, sessions: &[Session]) -> Result<()> {
        let expected: BTreeMap<_, _> = sessions
            .iter()
            .map(|session| (session.local(), format!("{service}/{}", session.server())))
            .collect();
        let found = self.flows()?;
        if found == expected {
            return Ok(());
        }
        let missing: Vec<_> = expected
            .iter()
            .filter(|(client, server)| found.get(client) != Some(server))
            .take(5)
            .collect();
        let foreign: Vec<_> = found
            .iter()
            .filter(|(client, _)| !expected.contains_key(client))
            .take(5)
            .collect();
        bail!(
            "{} flows, {} sessions; not as they should be: {missing:?}; too many: {foreign:?}",
            found.len(),
            expected.len()
        )
    }
}

/// A sink that keeps no record of its mail.
///
/// # Errors
/// It does not start.
pub fn sink(lab: &Lab, machine: &str, port: u16) -> Result<Sink> {
    Sink::with(lab.machine(machine), &quiet(port))
}

fn quiet(port: u16) -> SinkOptions {
    SinkOptions {
        port,
        record: false,
        ..SinkOptions::default()
    }
}

/// How many sessions each server has greeted.
pub fn shares(sessions: &[Session]) -> BTreeMap<&str, usize> {
    let mut shares = BTreeMap::new();
    for session in sessions {
        *shares.entry(session.server()).or_default() += 1;
    }
    shares
}

/// Every session is answered by the server that it began with.
///
/// # Errors
/// One of them is not.
pub fn expect_all_alive(sessions: &mut [Session]) -> Result<()> {
    sessions.iter_mut().try_for_each(Session::expect_alive)
}

/// A command ended with this code and said all of this, on whichever output.
///
/// # Panics
/// It did not.
#[track_caller]
pub fn expect_code(answer: &Answer, code: i32, says: &[&str]) {
    assert_eq!(answer.code, code, "{answer:?}");
    for text in says {
        assert!(
            answer.stdout.contains(text) || answer.stderr.contains(text),
            "{text:?} is not in {answer:?}"
        );
    }
}
