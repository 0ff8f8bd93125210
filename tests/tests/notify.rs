//! What the controller tells a service manager, as the manager hears it.

use std::cell::RefCell;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use mb_lb_tests::cluster::{SOON, Service};
use mb_lb_tests::{Director, Lab, try_wait_until};
use nix::sys::signal::Signal;

/// What the manager asks for; the controller feeds it every 100 ms.
const WATCHDOG_USEC: &str = "200000";
const FED: &str = "WATCHDOG=1";

/// The manager's end.
struct Manager(UnixDatagram, RefCell<String>);

impl Manager {
    fn new(socket: UnixDatagram) -> Result<Self> {
        socket.set_read_timeout(Some(SOON))?;
        Ok(Self(socket, RefCell::default()))
    }

    fn hear(&self) -> Result<String> {
        let mut buffer = [0; 1024];
        let length = self.0.recv(&mut buffer).context("nothing is said")?;
        let message = String::from_utf8(buffer[..length].to_vec())?;
        if message.starts_with("STATUS=") {
            self.1.replace(message.clone());
        }
        Ok(message)
    }

    /// Waits until this is the status that was told last, whatever else was told since.
    fn wait_status(&self, status: &str) -> Result<()> {
        try_wait_until(&format!("{status} to be told"), SOON, || {
            if *self.1.borrow() != status {
                self.hear()?;
            }
            let last = self.1.borrow();
            ensure!(*last == status, "{last}");
            Ok(())
        })
    }

    /// The next messages but for the watchdog's and the status, up to `last`.
    fn hear_until(&self, last: &str) -> Result<Vec<String>> {
        let deadline = Instant::now() + SOON;
        let mut heard = Vec::new();
        while Instant::now() < deadline {
            let message = self.hear()?;
            if message != FED && !message.starts_with("STATUS=") {
                heard.push(message.clone());
            }
            if message == last {
                return Ok(heard);
            }
        }
        bail!("no {last} in {SOON:?}, but {heard:?}")
    }

    /// Takes what is waiting; `true` if the watchdog was fed.
    fn drain(&self) -> Result<bool> {
        self.0.set_nonblocking(true)?;
        let mut fed = false;
        let mut buffer = [0; 1024];
        while let Ok(length) = self.0.recv(&mut buffer) {
            fed |= &buffer[..length] == FED.as_bytes();
        }
        self.0.set_nonblocking(false)?;
        Ok(fed)
    }
}

fn config(lab: &Lab) -> String {
    Service::smtp(lab, &[10, 10, 10])
        .check("{ type = \"none\" }")
        .toml()
}

fn state(pid: u32) -> Result<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").context("no state in stat")?;
    Ok(rest[..1].to_owned())
}

#[test]
fn ready_reloads_watchdog_and_the_end_are_told_in_order() -> Result<()> {
    let lab = Lab::new("notify")?;
    let mut director = Director::new(&lab, "lb1")?;
    let path = director.machine().directory().join("notify");
    let manager = Manager::new(UnixDatagram::bind(&path)?)?;
    director.set_variable("NOTIFY_SOCKET", path);
    director.set_variable("WATCHDOG_USEC", WATCHDOG_USEC);
    director.write_config(&config(&lab))?;
    director.spawn()?;
    assert_eq!(manager.hear_until("READY=1")?, ["READY=1"]);
    // Not "soon": now.
    let status = director.status()?;
    assert!(!status.services.is_empty());

    // It may have been told before READY.
    manager.wait_status("STATUS=3 of 3 servers up")?;
    director.expect(&["drain", "smtp/mb2"])?;
    manager.wait_status("STATUS=2 of 3 servers up")?;

    let reload = |how: &str, manager: &Manager| -> Result<()> {
        let heard = manager.hear_until("READY=1")?;
        assert_eq!(heard.len(), 2, "{how}: {heard:?}");
        let time = heard[0]
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .with_context(|| format!("{how}: {heard:?}"))?;
        let now = Duration::from(nix::time::clock_gettime(
            nix::time::ClockId::CLOCK_MONOTONIC,
        )?);
        let then = Duration::from_micros(time.parse()?);
        assert!(
            then <= now && now - then < 2 * SOON,
            "{how}: {then:?} of {now:?}"
        );
        Ok(())
    };
    director.running()?.signal(Signal::SIGHUP)?;
    reload("SIGHUP", &manager)?;
    // One that is refused is over as well.
    director.write_config("nonsense = 1\n")?;
    director.running()?.signal(Signal::SIGHUP)?;
    reload("SIGHUP with errors", &manager)?;
    director.write_config(&config(&lab))?;
    director.expect(&["reload"])?;
    reload("mb-lb-ctl reload", &manager)?;

    for _ in 0..3 {
        manager.hear_until(FED)?;
    }
    let pid = director.running()?.pid();
    director.running()?.signal(Signal::SIGSTOP)?;
    try_wait_until("the controller to stand still", SOON, || {
        let state = state(pid)?;
        ensure!(state == "T", "state {state}");
        Ok(())
    })?;
    manager.drain()?;
    manager.0.set_read_timeout(Some(Duration::from_secs(1)))?;
    assert!(manager.hear().is_err(), "a stopped controller feeds");
    manager.0.set_read_timeout(Some(SOON))?;
    director.running()?.signal(Signal::SIGCONT)?;
    manager.hear_until(FED)?;

    director.stop()?;
    manager.hear_until("STOPPING=1")?;
    assert!(!manager.drain()?, "fed after the end");
    Ok(())
}

#[test]
fn an_abstract_socket_is_told_and_no_watchdog_that_nobody_asked_for() -> Result<()> {
    let lab = Lab::new("abstract")?;
    let mut director = Director::new(&lab, "lb1")?;
    // Abstract names belong to the network namespace.
    let name = "mb-lb-notify";
    let socket = director.machine().enter(|| {
        SocketAddr::from_abstract_name(name).and_then(|address| UnixDatagram::bind_addr(&address))
    })?;
    let manager = Manager::new(socket)?;
    director.set_variable("NOTIFY_SOCKET", format!("@{name}"));
    director.write_config(&config(&lab))?;
    director.spawn()?;
    manager.hear_until("READY=1")?;
    director.stop()?;
    assert_eq!(manager.hear_until("STOPPING=1")?, ["STOPPING=1"]);
    Ok(())
}
