//! Debian's MariaDB with Galera: a cluster of real nodes, one on each of some machines.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;

use crate::lab::Lab;
use crate::machine::Machine;
use crate::nginx::make_certificate;
use crate::process::Process;
use crate::wait::try_wait_until;

/// A state transfer may come first.
const START: Duration = Duration::from_secs(90);
const STOP: Duration = Duration::from_secs(60);

pub const PORT: u16 = 3306;

const USER: &str = "mysql";

/// Who looks; may do nothing else.
pub const MONITOR: (&str, &str) = ("mb_monitor", "look");
/// As [`MONITOR`], over TLS only.
pub const TLS_MONITOR: (&str, &str) = ("mb_tls", "look");
/// Who writes to the database `mail`.
pub const APPLICATION: (&str, &str) = ("app", "write");

/// All nodes, by the order of the machines. Dropping it ends them.
#[derive(Debug)]
pub struct Galera {
    nodes: Vec<Node>,
    certificate: PathBuf,
}

#[derive(Debug)]
struct Node {
    machine: Machine,
    process: Option<Process>,
    starts: u32,
}

impl Galera {
    /// On all servers of the lab; returns when all nodes are synced.
    ///
    /// # Errors
    /// It is not installed, or does not get ready.
    pub fn start(lab: &Lab) -> Result<Self> {
        Self::start_on(lab, lab.servers())
    }

    /// As [`Galera::start`], on these machines of the lab.
    ///
    /// # Errors
    /// As [`Galera::start`].
    pub fn start_on(lab: &Lab, machines: &[Machine]) -> Result<Self> {
        let certificate = lab.dir().join("galera.pem");
        make_certificate(lab.client(), &certificate, "galera.test")?;
        let nodes = machines.iter().map(|machine| Node {
            machine: machine.clone(),
            process: None,
            starts: 0,
        });
        let mut galera = Self {
            nodes: nodes.collect(),
            certificate,
        };
        galera.configure()?;
        galera.install()?;
        galera.spawn_with(0, &["--wsrep-new-cluster"])?;
        for at in 1..galera.nodes.len() {
            galera.spawn_with(at, &[])?;
        }
        galera.wait_whole()?;
        Ok(galera)
    }

    /// PEM with certificate and key of all nodes.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// Waits until all nodes say that all are there, and that they are synced.
    ///
    /// # Errors
    /// It does not come to that.
    pub fn wait_whole(&mut self) -> Result<()> {
        let count = self.nodes.len().to_string();
        for at in 0..self.nodes.len() {
            self.wait_ready(at)?;
        }
        for at in 0..self.nodes.len() {
            try_wait_until("all nodes to be there", START, || {
                let size = self.status(at, "wsrep_cluster_size")?;
                ensure!(size == count, "{size} are");
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Waits until it is synced.
    ///
    /// # Errors
    /// It ends, or does not come to that; the message holds its log.
    pub fn wait_ready(&mut self, at: usize) -> Result<()> {
        let what = format!("{} to be synced", self.node(at).machine.name());
        let ended = try_wait_until(&what, START, || {
            let process = self.nodes[at].process.as_mut();
            if let Some(status) = process.context("it was not started")?.exited()? {
                return Ok(Some(status));
            }
            let state = self.status(at, "wsrep_local_state_comment")?;
            ensure!(state == "Synced", "{state}");
            let ready = self.status(at, "wsrep_ready")?;
            ensure!(ready == "ON", "wsrep_ready is {ready}");
            Ok(None)
        });
        match ended {
            Ok(None) => Ok(()),
            Ok(Some(status)) => bail!("waited for {what}; it ended: {status}; {}", self.log(at)),
            Err(error) => Err(error).with_context(|| self.log(at)),
        }
    }

    /// `kill -9`
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self, at: usize) -> Result<()> {
        let mut process = self.nodes[at].process.take().context("it does not run")?;
        process.kill()
    }

    /// Stops it as an operator does.
    ///
    /// # Errors
    /// It does not run, or does not end.
    pub fn stop(&mut self, at: usize) -> Result<()> {
        let mut process = self.nodes[at].process.take().context("it does not run")?;
        process.signal(Signal::SIGTERM)?;
        process.wait(STOP)?;
        Ok(())
    }

    /// Stops its process where it is, or lets it go on.
    ///
    /// # Errors
    /// It does not run.
    pub fn freeze(&self, at: usize, frozen: bool) -> Result<()> {
        let process = self.node(at).process.as_ref().context("it does not run")?;
        process.signal(match frozen {
            true => Signal::SIGSTOP,
            false => Signal::SIGCONT,
        })
    }

    /// Starts it without waiting, from where it was: as Debian's unit does, which looks for the position first.
    ///
    /// # Errors
    /// It runs, or cannot be started.
    pub fn spawn(&mut self, at: usize) -> Result<()> {
        let position = self.recover(at)?;
        let argument = position.map(|position| format!("--wsrep-start-position={position}"));
        let arguments: Vec<_> = argument.iter().map(String::as_str).collect();
        self.spawn_with(at, &arguments)
    }

    /// Takes all that it has. At its next start it gets the state of the others.
    ///
    /// # Errors
    /// It runs, or the files do not go.
    pub fn empty(&self, at: usize) -> Result<()> {
        ensure!(self.node(at).process.is_none(), "it runs");
        let data = self.dir(at).join("data");
        fs::remove_dir_all(&data)?;
        fs::create_dir(&data)?;
        self.give_away(at)
    }

    /// Cuts it off from its peers; clients still reach it.
    ///
    /// # Errors
    /// `nft` refuses.
    pub fn cut(&self, at: usize) -> Result<()> {
        let ports = "{ 4567, 4568, 4444 }";
        let rules = format!(
            "add table inet cut; add chain inet cut in {{ type filter hook input priority 0; }}; \
             add chain inet cut out {{ type filter hook output priority 0; }}; \
             add rule inet cut in tcp dport {ports} drop; add rule inet cut in tcp sport {ports} drop; \
             add rule inet cut out tcp dport {ports} drop; add rule inet cut out tcp sport {ports} drop"
        );
        self.node(at).machine.run("nft", &[&rules]).map(drop)
    }

    /// Undoes [`Galera::cut`].
    ///
    /// # Errors
    /// `nft` refuses.
    pub fn heal(&self, at: usize) -> Result<()> {
        let machine = &self.node(at).machine;
        machine.run("nft", &["delete table inet cut"]).map(drop)
    }

    /// Runs statements as root of the node, and returns the rows.
    ///
    /// # Errors
    /// The node does not take them.
    pub fn sql(&self, at: usize, statements: &str) -> Result<String> {
        let socket = format!("--socket={}", self.dir(at).join("sock").display());
        let arguments = [
            "--no-defaults",
            "--user=root",
            &socket,
            "--connect-timeout=5",
            "-NBe",
            statements,
        ];
        self.node(at).machine.run("mariadb", &arguments)
    }

    /// One status variable.
    ///
    /// # Errors
    /// As [`Galera::sql`].
    pub fn status(&self, at: usize, name: &str) -> Result<String> {
        let row = self.sql(at, &format!("SHOW STATUS LIKE '{name}'"))?;
        let value = row.trim().split('\t').nth(1);
        Ok(value.unwrap_or_default().to_owned())
    }

    fn node(&self, at: usize) -> &Node {
        &self.nodes[at]
    }

    fn dir(&self, at: usize) -> PathBuf {
        self.node(at).machine.directory().join("galera")
    }

    fn config(&self, at: usize) -> PathBuf {
        self.dir(at).join("my.cnf")
    }

    fn log(&self, at: usize) -> String {
        let log = fs::read_to_string(self.dir(at).join("err.log")).unwrap_or_default();
        let wrong = |line: &&str| line.contains("ERROR");
        let lines: Vec<_> = log.lines().filter(wrong).collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn configure(&self) -> Result<()> {
        let addresses: Vec<Ipv4Addr> = self.nodes.iter().map(|node| node.machine.ipv4()).collect();
        let peers: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let peers = peers.join(",");
        for (at, node) in self.nodes.iter().enumerate() {
            let dir = self.dir(at);
            fs::create_dir_all(dir.join("data"))?;
            fs::create_dir_all(dir.join("tmp"))?;
            let (address, name) = (node.machine.ipv4(), node.machine.name());
            let path = dir.display();
            // The first one is usually the writer, and would not be while it gives its state away. The comma at the end: or anybody.
            let donors: String = self
                .nodes
                .iter()
                .skip(1)
                .filter(|other| other.machine.name() != name)
                .map(|other| format!("{},", other.machine.name()))
                .collect();
            fs::copy(&self.certificate, dir.join("pem"))?;
            let config = format!(
                "[mariadbd]\nuser={USER}\ndatadir={path}/data\ntmpdir={path}/tmp\nsocket={path}/sock\n\
                 pid-file={path}/pid\nlog-error={path}/err.log\nport={PORT}\nbind-address={address}\n\
                 skip-name-resolve\nmax_connections=50\nperformance_schema=OFF\ninnodb_buffer_pool_size=32M\n\
                 innodb_log_file_size=16M\ninnodb_flush_log_at_trx_commit=2\nssl_cert={path}/pem\nssl_key={path}/pem\n\
                 binlog_format=ROW\ndefault_storage_engine=InnoDB\ninnodb_autoinc_lock_mode=2\nwsrep_on=ON\n\
                 wsrep_provider=/usr/lib/galera/libgalera_smm.so\nwsrep_cluster_name=lab\n\
                 wsrep_cluster_address=gcomm://{peers}\nwsrep_node_address={address}\nwsrep_node_name={name}\n\
                 wsrep_slave_threads=2\nwsrep_sst_method=rsync\nwsrep_sst_donor={donors}\nwsrep_provider_options=\"gcache.size=32M\"\n\
                 [sst]\nssl-mode=DISABLED\n"
            );
            fs::write(self.config(at), config)?;
            self.give_away(at)?;
        }
        Ok(())
    }

    /// State transfers of root's would be written by nobody.
    fn give_away(&self, at: usize) -> Result<()> {
        let dir = self.dir(at).display().to_string();
        let machine = &self.node(at).machine;
        machine.run("chown", &["-R", USER, &dir]).map(drop)
    }

    /// One datadir for all, with a position: nodes that have the same need no state transfer, and start at once.
    fn install(&mut self) -> Result<()> {
        let data = |at| self.dir(at).join("data").display().to_string();
        let first = data(0);
        let arguments = [
            "--no-defaults",
            &format!("--user={USER}"),
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            &format!("--datadir={first}"),
            // In a shared /tmp, two installs at once take each other's tables for leftovers.
            &format!("--tmpdir={}", self.dir(0).join("tmp").display()),
        ];
        self.node(0).machine.run("mariadb-install-db", &arguments)?;
        let others: Vec<_> = (1..self.nodes.len()).map(data).collect();
        self.spawn_with(0, &["--wsrep-new-cluster"])?;
        self.wait_ready(0)?;
        let user = |(name, password): (&str, &str)| {
            format!("CREATE USER {name}@'%' IDENTIFIED BY '{password}'")
        };
        self.sql(
            0,
            &format!(
                "{}; {} REQUIRE SSL; {}; CREATE DATABASE mail; GRANT ALL ON mail.* TO {}@'%'; \
                 CREATE TABLE mail.sent (writer INT, number INT, PRIMARY KEY (writer, number))",
                user(MONITOR),
                user(TLS_MONITOR),
                user(APPLICATION),
                APPLICATION.0
            ),
        )?;
        self.stop(0)?;
        let machine = self.node(0).machine.clone();
        for other in others {
            machine.run("cp", &["-a", &format!("{first}/."), &other])?;
        }
        Ok(())
    }

    fn spawn_with(&mut self, at: usize, arguments: &[&str]) -> Result<()> {
        let config = format!("--defaults-file={}", self.config(at).display());
        let node = &mut self.nodes[at];
        ensure!(node.process.is_none(), "it runs");
        node.starts += 1;
        let label = format!("mariadbd-{}", node.starts);
        let mut command = node.machine.command("mariadbd");
        command.arg(config).args(arguments);
        node.process = Some(node.machine.spawn(&label, &mut command)?);
        Ok(())
    }

    /// Where a node that crashed stopped. `None`: it knows, or has nothing.
    fn recover(&self, at: usize) -> Result<Option<String>> {
        let dir = self.dir(at);
        let state = fs::read_to_string(dir.join("data/grastate.dat")).unwrap_or_default();
        let crashed = state
            .lines()
            .any(|line| line.starts_with("seqno:") && line.ends_with("-1"));
        if !crashed || !dir.join("data/ibdata1").exists() {
            return Ok(None);
        }
        let log = dir.join("recover.log");
        let config = format!("--defaults-file={}", self.config(at).display());
        let log_error = format!("--log-error={}", log.display());
        let arguments = [config.as_str(), "--wsrep-recover", &log_error];
        self.node(at).machine.run("mariadbd", &arguments)?;
        let text = fs::read_to_string(&log)?;
        let mark = "Recovered position: ";
        let position = text.lines().rev().find_map(|line| line.split_once(mark));
        let (_, position) = position.context("no position in its log")?;
        Ok(Some(position.trim().to_owned()))
    }
}
