//! Debian's Redis with Sentinel: a server and a Sentinel on each of some machines.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sys::signal::Signal;

use crate::lab::Lab;
use crate::machine::Machine;
use crate::nginx::make_certificate;
use crate::process::Process;
use crate::wait::try_wait_until;

const START: Duration = Duration::from_secs(30);

/// Longest wait of a [`RedisClient`].
const PATIENCE: Duration = Duration::from_secs(10);

pub const PORT: u16 = 6379;
pub const SENTINEL_PORT: u16 = 26379;

/// What the Sentinels call the master.
pub const MASTER: &str = "mymaster";

pub const PASSWORD: &str = "redis-secret";
pub const SENTINEL_PASSWORD: &str = "sentinel-secret";

/// How they are set up.
#[derive(Clone, Debug)]
pub struct RedisSetup {
    pub down_after_ms: u32,
    /// TLS on all ports, and nothing else.
    pub tls: bool,
    /// Lines of `redis.conf`, e.g. users.
    pub server_lines: String,
    /// Lines of `sentinel.conf`.
    pub sentinel_lines: String,
}

impl Default for RedisSetup {
    fn default() -> Self {
        Self {
            // On a busy machine a shorter one has masters replaced that are well.
            down_after_ms: 3000,
            tls: false,
            server_lines: String::new(),
            sentinel_lines: String::new(),
        }
    }
}

/// All of them. The master is on the first machine. Passwords are [`PASSWORD`] and [`SENTINEL_PASSWORD`].
#[derive(Debug)]
pub struct Redis {
    setup: RedisSetup,
    client: Machine,
    boxes: Vec<Machine>,
    servers: Vec<Option<Process>>,
    sentinels: Vec<Option<Process>>,
    certificate: Option<PathBuf>,
}

impl Redis {
    /// On all servers of the lab; returns when the Sentinels know each other and both replicas.
    ///
    /// # Errors
    /// They are not installed, or do not find each other.
    pub fn start(lab: &Lab, setup: &RedisSetup) -> Result<Self> {
        Self::start_on(lab, lab.servers(), setup)
    }

    /// As [`Redis::start`], on these machines of the lab.
    ///
    /// # Errors
    /// As [`Redis::start`].
    pub fn start_on(lab: &Lab, machines: &[Machine], setup: &RedisSetup) -> Result<Self> {
        let boxes = machines.to_vec();
        let certificate = match setup.tls {
            true => {
                let path = lab.dir().join("redis.pem");
                make_certificate(lab.client(), &path, "redis.test")?;
                Some(path)
            }
            false => None,
        };
        let mut redis = Self {
            setup: setup.clone(),
            client: lab.client().clone(),
            servers: boxes.iter().map(|_| None).collect(),
            sentinels: boxes.iter().map(|_| None).collect(),
            boxes,
            certificate,
        };
        for at in 0..redis.boxes.len() {
            redis.configure(at)?;
            redis.start_server(at)?;
        }
        for at in 0..redis.boxes.len() {
            redis.start_sentinel(at)?;
        }
        redis.wait_whole()?;
        Ok(redis)
    }

    /// Until every Sentinel knows all others, and all replicas, and would fail over.
    ///
    /// # Errors
    /// It does not come to that.
    pub fn wait_whole(&self) -> Result<()> {
        let count = self.boxes.len();
        let wanted = "status=ok,address=";
        let numbers = format!("slaves={},sentinels={count}", count - 1);
        try_wait_until("the Sentinels to know each other", START, || {
            for at in 0..count {
                let info = self.ask_sentinel(at, &["INFO", "sentinel"])?;
                ensure!(info.contains(wanted) && info.contains(&numbers), "{info}");
                let quorum = self.ask_sentinel(at, &["SENTINEL", "CKQUORUM", MASTER])?;
                ensure!(quorum.starts_with("OK "), "{quorum}");
            }
            Ok(())
        })
    }

    /// PEM: certificate and key of all, where there is TLS. It is for `redis.test`.
    pub const fn certificate(&self) -> Option<&PathBuf> {
        self.certificate.as_ref()
    }

    /// The address of a server.
    pub fn address(&self, at: usize) -> SocketAddr {
        SocketAddr::new(self.boxes[at].ipv4().into(), PORT)
    }

    pub fn sentinel_address(&self, at: usize) -> SocketAddr {
        SocketAddr::new(self.boxes[at].ipv4().into(), SENTINEL_PORT)
    }

    /// The name of the machine with this address.
    pub fn name_of(&self, address: IpAddr) -> Option<&str> {
        let mut boxes = self.boxes.iter();
        boxes
            .find(|machine| IpAddr::from(machine.ipv4()) == address)
            .map(Machine::name)
    }

    /// `kill -9` of a server.
    ///
    /// # Errors
    /// It has ended by itself.
    pub fn kill(&mut self, at: usize) -> Result<()> {
        self.servers[at]
            .take()
            .map_or(Ok(()), |mut process| process.kill())
    }

    /// `kill -9` of a Sentinel.
    ///
    /// # Errors
    /// It has ended by itself.
    pub fn kill_sentinel(&mut self, at: usize) -> Result<()> {
        self.sentinels[at]
            .take()
            .map_or(Ok(()), |mut process| process.kill())
    }

    /// # Errors
    /// It has ended.
    pub fn signal(&self, at: usize, signal: Signal) -> Result<()> {
        let process = self.servers[at].as_ref().context("it was killed")?;
        process.signal(signal)
    }

    /// # Errors
    /// It has ended.
    pub fn signal_sentinel(&self, at: usize, signal: Signal) -> Result<()> {
        let process = self.sentinels[at].as_ref().context("it was killed")?;
        process.signal(signal)
    }

    /// Starts a server with the configuration that it was left with, and waits until it answers.
    ///
    /// # Errors
    /// It does not.
    pub fn start_server(&mut self, at: usize) -> Result<()> {
        self.spawn_server(at, &[])?;
        try_wait_until("redis-server to answer", START, || {
            let pong = self.ask(at, &["PING"])?;
            ensure!(pong.trim() == "PONG", "{pong}");
            Ok(())
        })
    }

    /// As [`Redis::start_server`], with further arguments, and without waiting.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn_server(&mut self, at: usize, arguments: &[&str]) -> Result<()> {
        let path = self.boxes[at].directory().join("redis.conf");
        let mut command = self.boxes[at].command("redis-server");
        command.arg(path).args(arguments);
        self.servers[at] = Some(self.boxes[at].spawn("redis", &mut command)?);
        Ok(())
    }

    /// As [`Redis::start_server`], for the Sentinel.
    ///
    /// # Errors
    /// It does not answer.
    pub fn start_sentinel(&mut self, at: usize) -> Result<()> {
        let path = self.boxes[at].directory().join("sentinel.conf");
        let mut command = self.boxes[at].command("redis-sentinel");
        command.arg(path);
        let process = self.boxes[at].spawn("sentinel", &mut command)?;
        try_wait_until("redis-sentinel to answer", START, || {
            let pong = self
                .ask_sentinel(at, &["PING"])
                .map_err(|error| anyhow!("{error:#}; {}", process.tail()))?;
            ensure!(pong.trim() == "PONG", "{pong}");
            Ok(())
        })?;
        self.sentinels[at] = Some(process);
        Ok(())
    }

    /// `redis-cli` to a server.
    ///
    /// # Errors
    /// It does not answer, or says nothing within two seconds.
    pub fn ask(&self, at: usize, command: &[&str]) -> Result<String> {
        self.cli(self.address(at), PASSWORD, command)
    }

    /// `redis-cli` to a Sentinel.
    ///
    /// # Errors
    /// As [`Redis::ask`].
    pub fn ask_sentinel(&self, at: usize, command: &[&str]) -> Result<String> {
        self.cli(self.sentinel_address(at), SENTINEL_PASSWORD, command)
    }

    fn cli(&self, address: SocketAddr, password: &str, command: &[&str]) -> Result<String> {
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let mut arguments = vec!["2", "redis-cli", "--no-auth-warning", "-a", password];
        arguments.extend(["-h", &host, "-p", &port]);
        if self.setup.tls {
            arguments.extend(["--tls", "--insecure"]);
        }
        arguments.extend(command);
        self.client.run("timeout", &arguments)
    }

    /// What a server says that it is: `master`, `slave`.
    ///
    /// # Errors
    /// As [`Redis::ask`].
    pub fn role(&self, at: usize) -> Result<String> {
        let role = self.ask(at, &["ROLE"])?;
        role.lines()
            .next()
            .map(ToOwned::to_owned)
            .context("no role")
    }

    /// The address that a Sentinel gives for the master, without its port.
    ///
    /// # Errors
    /// As [`Redis::ask`].
    pub fn master_by(&self, sentinel: usize) -> Result<String> {
        let command = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER];
        let answer = self.ask_sentinel(sentinel, &command)?;
        let first = answer.lines().next();
        first.map(ToOwned::to_owned).context("no address")
    }

    /// Cuts a machine off from the other ones that have Redis, or joins it again. All others reach it as before.
    ///
    /// # Errors
    /// `nft` refuses.
    pub fn part(&self, lab: &Lab, at: usize, joined: bool) -> Result<()> {
        let own = self.boxes[at].name();
        for other in self.boxes.iter().filter(|other| other.name() != own) {
            for (from, to) in [(own, other.name()), (other.name(), own)] {
                match joined {
                    true => lab.mend(from, to)?,
                    false => lab.cut(from, to)?,
                }
            }
        }
        Ok(())
    }

    fn configure(&self, at: usize) -> Result<()> {
        let machine = &self.boxes[at];
        let (own, first) = (machine.ipv4(), self.boxes[0].ipv4());
        let dir = machine.directory().display();
        let listen = |port: u16| match &self.certificate {
            None => format!("bind {own}\nport {port}\n"),
            Some(path) => {
                let path = path.display();
                format!(
                    "bind {own}\nport 0\ntls-port {port}\ntls-cert-file {path}\ntls-key-file {path}\n\
                     tls-ca-cert-file {path}\ntls-auth-clients no\ntls-replication yes\n"
                )
            }
        };
        let of = match at {
            0 => String::new(),
            _ => format!("replicaof {first} {PORT}\n"),
        };
        let server = format!(
            "{}dir {dir}\nsave \"\"\nappendonly yes\nrequirepass {PASSWORD}\nmasterauth {PASSWORD}\n\
             repl-diskless-sync-delay 0\nlogfile {dir}/redis.log\n{of}{}",
            listen(PORT),
            self.setup.server_lines
        );
        fs::write(machine.directory().join("redis.conf"), server)?;
        let quorum = self.boxes.len() / 2 + 1;
        let down_after = self.setup.down_after_ms;
        let sentinel = format!(
            "{}dir {dir}\nrequirepass {SENTINEL_PASSWORD}\nlogfile {dir}/sentinel.log\n\
             sentinel sentinel-pass {SENTINEL_PASSWORD}\nsentinel monitor {MASTER} {first} {PORT} {quorum}\n\
             sentinel auth-pass {MASTER} {PASSWORD}\nsentinel down-after-milliseconds {MASTER} {down_after}\n\
             sentinel failover-timeout {MASTER} 10000\nsentinel parallel-syncs {MASTER} 1\n{}",
            listen(SENTINEL_PORT),
            self.setup.sentinel_lines
        );
        fs::write(machine.directory().join("sentinel.conf"), sentinel).context("sentinel.conf")
    }
}

/// A client that waits for each answer.
#[derive(Debug)]
pub struct RedisClient {
    stream: BufReader<TcpStream>,
}

impl RedisClient {
    /// Connects from a machine and gives the password.
    ///
    /// # Errors
    /// It is refused, or does not answer within ten seconds.
    pub fn connect(machine: &Machine, address: SocketAddr) -> io::Result<Self> {
        let stream = machine.enter(|| TcpStream::connect_timeout(&address, PATIENCE))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut client = Self {
            stream: BufReader::new(stream),
        };
        client.ask(&["AUTH", PASSWORD])?;
        Ok(client)
    }

    /// Sends a command and returns the answer: a line, a number or a string.
    ///
    /// # Errors
    /// The connection ended, or the server answers with an error.
    pub fn ask(&mut self, command: &[&str]) -> io::Result<String> {
        let mut sent = format!("*{}\r\n", command.len());
        for part in command {
            sent.push_str(&format!("${}\r\n{part}\r\n", part.len()));
        }
        self.stream.get_mut().write_all(sent.as_bytes())?;
        let line = self.line()?;
        match line.split_at_checked(1) {
            Some(("+" | ":", rest)) => Ok(rest.to_owned()),
            Some(("$", length)) => {
                let length: usize = length.parse().map_err(io::Error::other)?;
                let mut text = vec![0; length + 2];
                self.stream.read_exact(&mut text)?;
                text.truncate(length);
                String::from_utf8(text).map_err(io::Error::other)
            }
            _ => Err(io::Error::other(line)),
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    /// The server's own address of this connection.
    ///
    /// # Errors
    /// As [`RedisClient::ask`].
    pub fn server(&mut self) -> io::Result<IpAddr> {
        let info = self.ask(&["CLIENT", "INFO"])?;
        let address = info
            .split(' ')
            .find_map(|field| field.strip_prefix("laddr="));
        let address = address.and_then(|address| address.parse::<SocketAddr>().ok());
        address
            .map(|address| address.ip())
            .ok_or_else(|| io::Error::other(format!("no address in {info}")))
    }

    /// Waits until the connection ends, without asking for anything.
    ///
    /// # Errors
    /// It has not ended after ten seconds.
    pub fn wait_end(&mut self) -> io::Result<io::ErrorKind> {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => Ok(io::ErrorKind::UnexpectedEof),
            Ok(_) => Err(io::Error::other("it says something")),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(error.kind()),
            Err(error) => Err(error),
        }
    }
}
