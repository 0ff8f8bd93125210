//! postfix's `smtp-sink` on a server.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use crate::machine::Machine;
use crate::process::Process;
use crate::wait::try_wait_until;

const START: Duration = Duration::from_secs(10);

/// How an `smtp-sink` is started.
#[derive(Clone, Debug)]
pub struct SinkOptions {
    /// 25 unless told.
    pub port: u16,
    /// Keep an envelope of every message, so that [`Sink::clients`] can tell who sent it. On unless told.
    pub record: bool,
    /// Further arguments, e.g. `["-w", "2"]`: two seconds before the reply to DATA; `["-W", "CONNECT:1"]` before
    /// the greeting; `["-q", "MAIL"]` hangs up at MAIL; `["-r", "CONNECT"]` and `["-f", "CONNECT"]` refuse with 4xx and 5xx.
    pub arguments: Vec<String>,
}

impl Default for SinkOptions {
    fn default() -> Self {
        Self {
            port: 25,
            record: true,
            arguments: Vec::new(),
        }
    }
}

/// A mail server: one `smtp-sink` for each address family, since one process serves one. Its greeting names
/// the machine.
#[derive(Debug)]
pub struct Sink {
    machine: Machine,
    options: SinkOptions,
    daemons: Vec<Daemon>,
}

#[derive(Debug)]
struct Daemon {
    process: Process,
    counters: PathBuf,
    record: PathBuf,
}

/// One of a server's TCP connections, as its kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    pub local: SocketAddr,
    pub peer: SocketAddr,
}

impl Sink {
    /// Starts on port 25, and returns when it listens.
    ///
    /// # Errors
    /// It does not start; the message holds what it said.
    pub fn start(machine: &Machine) -> Result<Self> {
        Self::with(machine, &SinkOptions::default())
    }

    /// # Errors
    /// As [`Sink::start`].
    pub fn with(machine: &Machine, options: &SinkOptions) -> Result<Self> {
        let mut sink = Self {
            machine: machine.clone(),
            options: options.clone(),
            daemons: Vec::new(),
        };
        // Otherwise the wait for listening sockets would take those for the new sink's.
        if sink.listening()? > 0 {
            bail!("port {} of {} is in use", options.port, machine.name());
        }
        sink.daemons = [
            IpAddr::from(Ipv4Addr::UNSPECIFIED),
            IpAddr::from(Ipv6Addr::UNSPECIFIED),
        ]
        .into_iter()
        .map(|any| sink.spawn(any))
        .collect::<Result<_>>()?;
        sink.wait_for_listen()?;
        Ok(sink)
    }

    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Messages accepted since the start.
    ///
    /// # Errors
    /// Its output is gone or not understood.
    pub fn messages(&self) -> Result<u64> {
        self.counter("mesg=")
    }

    /// Sessions ended since the start.
    ///
    /// # Errors
    /// Its output is gone or not understood.
    pub fn sessions(&self) -> Result<u64> {
        self.counter("sess=")
    }

    /// Messages by the address that their session came from, as the server saw it.
    ///
    /// # Errors
    /// Started without `record`, or the record is not understood.
    pub fn clients(&self) -> Result<BTreeMap<IpAddr, u64>> {
        if !self.options.record {
            bail!("this sink keeps no record of its messages");
        }
        let mut clients = BTreeMap::new();
        for daemon in &self.daemons {
            // smtp-sink makes the file with its first message.
            let record = match fs::read(&daemon.record) {
                Ok(record) => record,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    return Err(error).context(format!("cannot read {}", daemon.record.display()));
                }
            };
            for line in String::from_utf8_lossy(&record).lines() {
                if let Some(address) = line.strip_prefix("X-Client-Addr: ") {
                    let address = address.trim_start_matches("ipv6:");
                    let address: IpAddr = address
                        .parse()
                        .with_context(|| format!("no address in {line:?}"))?;
                    *clients.entry(address).or_default() += 1;
                }
            }
        }
        Ok(clients)
    }

    /// Established connections to the sink's port.
    ///
    /// # Errors
    /// The kernel's list is not understood.
    pub fn connections(&self) -> Result<Vec<Connection>> {
        let mut connections = sockets(&self.machine, ESTABLISHED)?;
        connections.retain(|connection| connection.local.port() == self.options.port);
        Ok(connections)
    }

    /// SIGSTOP: its kernel goes on accepting connections, but nobody speaks.
    ///
    /// # Errors
    /// It is gone.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Ends [`Sink::freeze`].
    ///
    /// # Errors
    /// It is gone.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// `kill -9`: its connections are reset, its port refuses.
    ///
    /// # Errors
    /// It cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        self.daemons
            .iter_mut()
            .try_for_each(|daemon| daemon.process.kill())
    }

    /// Lets it run on until the lab goes; returns the process ids.
    pub fn release(self) -> Vec<u32> {
        self.daemons
            .into_iter()
            .map(|daemon| daemon.process.release())
            .collect()
    }

    fn spawn(&self, any: IpAddr) -> Result<Daemon> {
        let Self {
            machine, options, ..
        } = self;
        let family = if any.is_ipv4() { 4 } else { 6 };
        let label = format!("smtp-sink-{}-{family}", options.port);
        let record = machine.directory().join(format!("{label}.mail"));
        // Of an earlier sink on this machine and port.
        if record.exists() {
            fs::remove_file(&record)
                .with_context(|| format!("cannot remove {}", record.display()))?;
        }
        let mut command = machine.command("smtp-sink");
        command
            // It insists on being told a user when root starts it.
            .args(["-u", "root", "-c", "-h", machine.name()])
            // Simultaneous sessions; seconds that a session may be silent.
            .args(["-m", "20000", "-t", "3600"]);
        if options.record {
            command.arg("-D").arg(&record);
        }
        command
            .args(&options.arguments)
            .arg(SocketAddr::new(any, options.port).to_string())
            .arg("4096");
        Ok(Daemon {
            process: machine.spawn(&label, &mut command)?,
            counters: machine.directory().join(format!("{label}.out")),
            record,
        })
    }

    fn wait_for_listen(&mut self) -> Result<()> {
        let what = format!(
            "smtp-sink on {} to listen on port {}",
            self.machine.name(),
            self.options.port
        );
        let ended = try_wait_until(&what, START, || {
            for daemon in &mut self.daemons {
                if let Some(status) = daemon.process.exited()? {
                    return Ok(Some(format!("{status}; {}", daemon.process.tail())));
                }
            }
            let listening = self.listening()?;
            if listening < self.daemons.len() {
                bail!("{listening} of {} sockets listen", self.daemons.len());
            }
            Ok(None)
        })?;
        match ended {
            None => Ok(()),
            Some(how) => bail!("waited for {what}, but it ended: {how}"),
        }
    }

    fn listening(&self) -> Result<usize> {
        let sockets = sockets(&self.machine, LISTEN)?;
        Ok(sockets
            .iter()
            .filter(|socket| socket.local.port() == self.options.port)
            .count())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.daemons
            .iter()
            .try_for_each(|daemon| daemon.process.signal(signal))
    }

    /// `-c` prints `sess=N quit=N mesg=N` and a carriage return whenever one of them changes.
    fn counter(&self, name: &str) -> Result<u64> {
        let mut sum = 0;
        for daemon in &self.daemons {
            let text = end_of(&daemon.counters)
                .with_context(|| format!("cannot read {}", daemon.counters.display()))?;
            let Some(last) = text.rsplit('\r').find(|line| !line.trim().is_empty()) else {
                continue;
            };
            let value = last
                .split_whitespace()
                .find_map(|field| field.strip_prefix(name))
                .with_context(|| format!("no {name} in the sink's counters: {last:?}"))?;
            sum += value
                .parse::<u64>()
                .with_context(|| format!("no number in the sink's counters: {last:?}"))?;
        }
        Ok(sum)
    }
}

/// The last few lines of a file that only grows.
fn end_of(path: &std::path::Path) -> std::io::Result<String> {
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(256)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

// States of include/net/tcp_states.h, as /proc/net/tcp prints them.
const ESTABLISHED: &str = "01";
const LISTEN: &str = "0A";

/// TCP sockets of a machine in `state`, both families.
fn sockets(machine: &Machine, state: &str) -> Result<Vec<Connection>> {
    let mut found = Vec::new();
    for file in ["tcp", "tcp6"] {
        let path = format!("/proc/thread-self/net/{file}");
        let table = machine
            .enter(|| fs::read_to_string(&path))
            .with_context(|| format!("cannot read {path} on {}", machine.name()))?;
        for line in table.lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().collect();
            if fields.get(3) != Some(&state) {
                continue;
            }
            let (Some(local), Some(peer)) = (socket_address(fields[1]), socket_address(fields[2]))
            else {
                bail!("cannot understand this line of {path}: {line}");
            };
            found.push(Connection { local, peer });
        }
    }
    found.sort();
    Ok(found)
}

/// `0A4D000A:0019`: words of the address in host order, the port as a number.
fn socket_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    if address.len() % 8 != 0 {
        return None;
    }
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for word in address.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let address = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn addresses_of_the_kernels_table() {
        let parsed = |text| socket_address(text).map(|address| address.to_string());
        assert_eq!(parsed("0A004D0A:0019").as_deref(), Some("10.77.0.10:25"));
        assert_eq!(
            parsed("000077FD000000000000000010000000:9C40").as_deref(),
            Some("[fd77::10]:40000")
        );
        for bad in ["", "0A004D0A", "0A004D:0019", "0A004D0A:x", "zz004D0A:0019"] {
            assert_eq!(parsed(bad), None, "{bad:?}");
        }
    }
}
