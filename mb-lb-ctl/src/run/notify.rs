//! What the service manager is told, by sd_notify(3): ready, reloading, stopping, one line of status, that the engine lives,
//! and which sockets are for the next process. Without `$NOTIFY_SOCKET` nothing is sent.
//!
//! By hand, because the crate sd-notify (0.5) knows no abstract sockets, and waits for a manager that does not read.

use std::env;
use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::net;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use nix::time::{ClockId, clock_gettime};

use crate::proxy::Keeper;
use crate::snapshot::Snapshot;

/// How long a message may hold up the engine where the manager does not read; after that it is dropped.
const PATIENCE: Duration = Duration::from_millis(100);

/// The service manager, if there is one. Clones speak to the same.
#[derive(Clone, Debug, Default)]
pub struct Manager {
    channel: Option<Arc<Channel>>,
    /// Half of the time after which the manager takes the process for hung.
    feed_every: Option<Duration>,
    /// As last told.
    status: String,
}

#[derive(Debug)]
struct Channel {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Manager {
    /// The one that `$NOTIFY_SOCKET`, `$WATCHDOG_USEC` and `$WATCHDOG_PID` tell of.
    pub fn from_environment() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET") else {
            return Self::default();
        };
        let channel = match Channel::open(&name) {
            Ok(channel) => channel,
            Err(error) => {
                tracing::warn!(%error, socket = %name.display(), "the service manager is not told anything");
                return Self::default();
            }
        };
        let number = |variable| env::var(variable).ok()?.parse::<u64>().ok();
        Self {
            channel: Some(Arc::new(channel)),
            feed_every: feed_every(number("WATCHDOG_USEC"), number("WATCHDOG_PID")),
            status: String::new(),
        }
    }

    /// How often [`Manager::alive`] is wanted; `None`: never.
    pub fn feed_every(&self) -> Option<Duration> {
        self.feed_every
    }

    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// To be followed by [`Manager::ready`]. The time is what `Type=notify-reload` (systemd 253) wants.
    pub fn reloading(&self) {
        match clock_gettime(ClockId::CLOCK_MONOTONIC) {
            Ok(now) => {
                let micros = Duration::from(now).as_micros();
                self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
            }
            Err(error) => tracing::debug!(%error, "no monotonic clock"),
        }
    }

    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Feeds the watchdog.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// The line that `systemctl status` shows; sent only where it has changed.
    pub fn status(&mut self, snapshot: &Snapshot) {
        if self.channel.is_none() {
            return;
        }
        let line = line(snapshot);
        if line != self.status {
            self.tell(&format!("STATUS={line}"));
            self.status = line;
        }
    }

    fn tell_with(&self, message: &str, descriptor: BorrowedFd<'_>) {
        if let Some(channel) = &self.channel
            && let Err(error) = channel.send_with(message, descriptor)
        {
            tracing::debug!(%error, message, "the service manager was not told");
        }
    }

    fn tell(&self, message: &str) {
        if let Some(channel) = &self.channel
            && let Err(error) = channel.send(message)
        {
            tracing::debug!(%error, message, "the service manager was not told");
        }
    }
}

/// The descriptor store: what is in it is there again when the service starts again, and gone when it was stopped.
impl Keeper for Manager {
    fn keep(&self, address: net::SocketAddr, socket: BorrowedFd<'_>) {
        let name = stored_name(address);
        self.tell_with(&format!("FDSTORE=1\nFDNAME={name}"), socket);
    }

    fn forget(&self, address: net::SocketAddr) {
        let name = stored_name(address);
        self.tell(&format!("FDSTOREREMOVE=1\nFDNAME={name}"));
    }
}

/// Colons are what names are separated by in `$LISTEN_FDNAMES`.
fn stored_name(address: net::SocketAddr) -> String {
    format!("proxy-{address}").replace(':', "_")
}

impl Channel {
    fn open(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => {
                return Err(io::Error::other(
                    "neither a path nor the name of an abstract socket",
                ));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { socket, address })
    }

    fn send(&self, message: &str) -> io::Result<()> {
        self.socket
            .send_to_addr(message.as_bytes(), &self.address)
            .map(drop)
    }

    fn send_with(&self, message: &str, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        let address = match (self.address.as_pathname(), self.address.as_abstract_name()) {
            (Some(path), _) => UnixAddr::new(path)?,
            (None, Some(name)) => UnixAddr::new_abstract(name)?,
            (None, None) => return Err(io::ErrorKind::NotFound.into()),
        };
        let descriptors = [descriptor.as_raw_fd()];
        sendmsg(
            self.socket.as_raw_fd(),
            &[IoSlice::new(message.as_bytes())],
            &[ControlMessage::ScmRights(&descriptors)],
            MsgFlags::MSG_NOSIGNAL,
            Some(&address),
        )?;
        Ok(())
    }
}

/// Half of `$WATCHDOG_USEC`, if it is meant for this process (sd_watchdog_enabled(3)).
fn feed_every(watchdog_usec: Option<u64>, watchdog_pid: Option<u64>) -> Option<Duration> {
    let ours = watchdog_pid.is_none_or(|pid| pid == u64::from(std::process::id()));
    let every = Duration::from_micros(watchdog_usec? / 2);
    (ours && !every.is_zero()).then_some(every)
}

/// "Up" is what `mb-lb-ctl status` means by it: takes new flows.
fn line(snapshot: &Snapshot) -> String {
    let servers = || {
        snapshot
            .services
            .iter()
            .flat_map(|service| &service.servers)
    };
    let up = servers().filter(|server| server.usable).count();
    let all = servers().count();
    let degraded = match snapshot.alarms.is_empty() {
        true => "",
        false => "; degraded, see mb-lb-ctl status",
    };
    format!("{up} of {all} servers up{degraded}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Alarm, ServerView, ServiceView};

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    fn manager(name: &OsStr) -> Manager {
        let channel = Channel::open(name).expect("a socket");
        Manager {
            channel: Some(Arc::new(channel)),
            ..Manager::default()
        }
    }

    #[test]
    fn paths_and_abstract_names_are_spoken_to_and_nothing_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let at_path = UnixDatagram::bind(&path).expect("free");
        manager(path.as_os_str()).ready();
        assert_eq!(received(&at_path), "READY=1");

        let name = format!("mb-lb-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("short");
        let abstract_socket = UnixDatagram::bind_addr(&address).expect("free");
        manager(OsStr::new(&format!("@{name}"))).stopping();
        assert_eq!(received(&abstract_socket), "STOPPING=1");

        for bad in ["", "notify", "vsock:2:1234"] {
            assert!(Channel::open(OsStr::new(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_manager_that_is_gone_or_does_not_read_hurts_nobody() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let manager = manager(path.as_os_str());
        manager.alive();
        let _never_read = UnixDatagram::bind(&path).expect("free");
        let channel = manager.channel.as_ref().expect("it was opened");
        while channel.send("WATCHDOG=1").is_ok() {}
        manager.alive();
    }

    #[test]
    fn status_is_told_when_it_changes() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("free");
        let mut manager = manager(path.as_os_str());
        let server = |usable| ServerView {
            usable,
            ..ServerView::default()
        };
        let mut snapshot = Snapshot {
            services: vec![ServiceView {
                servers: vec![server(true), server(true), server(true)],
                ..ServiceView::default()
            }],
            ..Snapshot::default()
        };
        manager.status(&snapshot);
        manager.status(&snapshot);
        snapshot.services[0].servers[1].usable = false;
        snapshot.alarms.push(Alarm::default());
        manager.status(&snapshot);
        assert_eq!(received(&socket), "STATUS=3 of 3 servers up");
        assert_eq!(
            received(&socket),
            "STATUS=2 of 3 servers up; degraded, see mb-lb-ctl status"
        );
    }

    #[test]
    fn the_watchdog_is_fed_twice_as_often_as_it_wants_if_it_is_ours() {
        let own = Some(u64::from(std::process::id()));
        let half = Some(Duration::from_secs(10));
        assert_eq!(feed_every(Some(20_000_000), None), half);
        assert_eq!(feed_every(Some(20_000_000), own), half);
        assert_eq!(feed_every(Some(20_000_000), Some(1)), None);
        assert_eq!(feed_every(Some(0), own), None);
        assert_eq!(feed_every(Some(1), own), None);
        assert_eq!(feed_every(None, own), None);
    }
}
