//! The daemon, as seen through its admin socket.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::args::Global;
use crate::cli::exit::{Exit, Failure};
use crate::command::native::{Reply, check_server};
use crate::engine::ServerRef;
use crate::snapshot::{ServiceView, Snapshot};

/// A little longer than the daemon itself waits for its controller task.
const TIMEOUT: Duration = Duration::from_secs(35);

pub struct Client {
    path: PathBuf,
    /// The path comes from the configuration file, which may say another one than when the daemon started.
    configured: bool,
    bpf_root: PathBuf,
    /// Something is to be changed: where nobody answers, the reader has to know that nothing was.
    changes: bool,
    timeout: Duration,
}

impl Client {
    /// To look only.
    pub fn new(global: &Global) -> Self {
        Self {
            path: global.socket_path(),
            configured: global.socket.is_none(),
            bpf_root: global.bpf_root.clone(),
            changes: false,
            timeout: TIMEOUT,
        }
    }

    /// To change something.
    pub fn changing(global: &Global) -> Self {
        Self {
            changes: true,
            ..Self::new(global)
        }
    }

    /// Waits for an answer no longer than this.
    #[must_use]
    pub fn patience(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What the socket lets this connection do: `user`, `operator` or `admin`.
    pub fn level(&self) -> Result<String, Failure> {
        let mut line = String::new();
        self.send("show cli level")?
            .read_line(&mut line)
            .map_err(|error| self.lost(&error))?;
        Ok(line.trim().to_owned())
    }

    pub fn snapshot(&self) -> Result<Snapshot, Failure> {
        self.ask("mb-lb snapshot").map(|(_, snapshot)| snapshot)
    }

    /// The snapshot, if there is such a server in it.
    pub fn snapshot_with(&self, server: &ServerRef) -> Result<Snapshot, Failure> {
        if server.service.is_empty() {
            return Err(self.without_service(&server.server));
        }
        let snapshot = self.snapshot()?;
        match check_server(&snapshot, server) {
            Ok(()) => Ok(snapshot),
            Err(text) => Err(Failure::new(Exit::NotFound, text).next("mb-lb-ctl list servers")),
        }
    }

    /// A server was named without its service: which may have been meant.
    fn without_service(&self, name: &str) -> Failure {
        let services = self
            .snapshot()
            .map_or_else(|_| Vec::new(), |found| found.services);
        let of = |service: &ServiceView| service.servers.iter().any(|server| server.name == name);
        let full: Vec<String> = services
            .iter()
            .filter(|service| of(service))
            .map(|service| format!("{}/{name}", service.name))
            .collect();
        let first = services
            .iter()
            .find_map(|service| Some((service, service.servers.first()?)));
        let meant = match (full.as_slice(), first) {
            ([], Some((service, server))) => {
                format!("for example {}/{}", service.name, server.name)
            }
            ([], None) => "for example smtp_backend/mb1".to_owned(),
            (names, _) => format!("did you mean {}?", names.join(" or ")),
        };
        Failure::new(
            Exit::Usage,
            format!("`{name}` names no service: a server is named SERVICE/SERVER; {meant}"),
        )
        .next("mb-lb-ctl list servers")
    }

    /// Sends one command (with its payload, if any) and understands the one line that answers it. Codes other than ok
    /// and pending are failures.
    pub fn ask<T: DeserializeOwned>(&self, request: &str) -> Result<(Exit, T), Failure> {
        let reply = self.reply(request)?;
        match reply.code {
            Exit::Ok | Exit::Pending => {}
            code => return Err(Failure::new(code, reply.message)),
        }
        serde_json::from_value(reply.data)
            .map(|data| (reply.code, data))
            .map_err(|error| self.not_understood(&error.to_string()))
    }

    /// As [`Self::ask`], with what the daemon says besides.
    pub fn ask_and_hear<T: DeserializeOwned>(&self, request: &str) -> Result<(String, T), Failure> {
        let reply = self.reply(request)?;
        match reply.code {
            Exit::Ok => {}
            code => return Err(Failure::new(code, reply.message)),
        }
        serde_json::from_value(reply.data)
            .map(|data| (reply.message, data))
            .map_err(|error| self.not_understood(&error.to_string()))
    }

    /// As [`Self::ask`], for commands that answer with a message only.
    pub fn tell(&self, request: &str) -> Result<String, Failure> {
        let reply = self.reply(request)?;
        match reply.code {
            Exit::Ok => Ok(reply.message),
            code => Err(Failure::new(code, reply.message)),
        }
    }

    fn reply(&self, request: &str) -> Result<Reply<Value>, Failure> {
        let mut stream = self.send(request)?;
        let mut line = String::new();
        stream
            .read_line(&mut line)
            .map_err(|error| self.lost(&error))?;
        self.understand(&line)
    }

    /// Hands on each line that answers `request`, until the daemon closes or `each` fails.
    pub fn follow<T: DeserializeOwned>(
        &self,
        request: &str,
        mut each: impl FnMut(Reply<Option<T>>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut stream = self.send(request)?;
        // An hour without an event is a good hour.
        stream
            .get_ref()
            .set_read_timeout(None)
            .map_err(|error| self.lost(&error))?;
        loop {
            let mut line = String::new();
            match stream.read_line(&mut line) {
                Ok(0) => return Ok(()),
                Ok(_) => each(self.understand(&line)?)?,
                Err(error) => return Err(self.lost(&error)),
            }
        }
    }

    fn send(&self, request: &str) -> Result<BufReader<UnixStream>, Failure> {
        let mut stream =
            UnixStream::connect(&self.path).map_err(|error| self.unreachable(&error))?;
        let sent = stream
            .set_read_timeout(Some(self.timeout))
            .and_then(|()| stream.set_write_timeout(Some(self.timeout)))
            .and_then(|()| stream.write_all(format!("{request}\n").as_bytes()));
        match sent {
            // A daemon that refuses closes before it has read all; what it said comes with the answer.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            sent => sent.map_err(|error| self.lost(&error))?,
        }
        Ok(BufReader::new(stream))
    }

    fn understand<T: DeserializeOwned>(&self, line: &str) -> Result<Reply<T>, Failure> {
        if line.is_empty() {
            return Err(Failure::failed(format!(
                "the daemon at {} closed the connection without an answer; whether it did what was asked is unknown",
                self.path.display()
            ))
            .next("mb-lb-ctl status"));
        }
        serde_json::from_str(line).map_err(|error| {
            if line.starts_with('{') {
                self.not_understood(&error.to_string())
            } else {
                Failure::failed(format!("nothing was done: {}", line.trim_end()))
            }
        })
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        let path = self.path.display();
        let nothing = match self.changes {
            true => "; nothing was changed",
            false => "",
        };
        let failure = |message: String| Failure::new(Exit::Unreachable, message);
        match error.kind() {
            io::ErrorKind::PermissionDenied => failure(format!(
                "not allowed to connect to the daemon at {path}{nothing}"
            ))
            .next("run this as root, or join the group that owns the socket"),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => failure(format!(
                "the daemon does not answer at {path}: {error}{nothing}\n{}",
                self.meanwhile()
            ))
            .next(match self.configured {
                true => {
                    "systemctl start mb-lb; or, if admin.socket was changed since the daemon started, name the old \
                     one with --socket PATH: a new one takes effect at the next start"
                }
                false => "systemctl start mb-lb, or name its socket with --socket PATH",
            }),
            _ => failure(format!(
                "cannot connect to the daemon at {path}: {error}{nothing}"
            ))
            .next("name its socket with --socket PATH"),
        }
    }

    /// What the kernel does without a daemon. Pins say it: only they hold the program.
    fn meanwhile(&self) -> String {
        let interfaces = match crate::dataplane::interfaces(&self.bpf_root) {
            Ok(interfaces) => interfaces,
            Err(error) => {
                return format!(
                    "whether connections are balanced meanwhile is not known: {}: {error}",
                    self.bpf_root.display()
                );
            }
        };
        match interfaces.as_slice() {
            [] => format!(
                "and no XDP program is pinned below {}: nothing is balanced",
                self.bpf_root.display()
            ),
            names => format!(
                "the XDP program is on {} and balances with what it knows, but nobody checks the servers, and \
                 proxies, databases and session stores are not served",
                names.join(", ")
            ),
        }
    }

    fn lost(&self, error: &io::Error) -> Failure {
        let path = self.path.display();
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Failure::new(
                Exit::TimedOut,
                format!(
                    "the daemon at {path} did not answer within {} seconds; it may still do what was asked",
                    self.timeout.as_secs()
                ),
            ),
            _ => Failure::failed(format!(
                "the connection to the daemon at {path} broke: {error}; whether it did what was asked is unknown"
            )),
        }
        .next("mb-lb-ctl status")
    }

    fn not_understood(&self, error: &str) -> Failure {
        Failure::failed(format!(
            "the daemon at {} answered something that this mb-lb-ctl does not understand: {error}",
            self.path.display()
        ))
        .next("use the mb-lb-ctl of the version that runs (mb-lb-ctl --version)")
    }
}
