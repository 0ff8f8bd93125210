//! Packets per second over veth, as fast as one sender can: through the director and on to the servers, one way.
//!
//! On veth everything that happens to a frame happens on the sender's CPU, so the time per packet is that of the whole
//! way. What remains after taking off the way without a director is the director's, with its two passes of the
//! switch.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use mb_lb_tests::wait::try_wait_until;
use mb_lb_tests::{Lab, Machine};

use crate::Effort;
use crate::bpf;
use crate::directors::{Checks, Kind, Running};
use crate::generator::{self, ACK, SYN};
use crate::report::{Report, Spread};

pub const GROUP: &str = "over veth, one sender, 1k flows, 60 bytes";

const KINDS: [Kind; 5] = [
    Kind::None,
    Kind::Relay,
    Kind::MbLb,
    Kind::Forwarding,
    Kind::Nftables,
];
const FLOWS: usize = 1024;
/// Frames handed to the kernel in one call.
const BATCH: usize = 64;
const OPENED: Duration = Duration::from_secs(10);

pub fn measure(report: &mut Report, lab: &Lab, effort: Effort) -> Result<()> {
    let sinkholes = lab
        .servers()
        .iter()
        .map(|server| server.enter(sinkhole))
        .collect::<Result<Vec<_>>>()?;
    let mut rates: [Vec<f64>; KINDS.len()] = Default::default();
    for _ in 0..effort.wire_rounds() {
        for (kind, rates) in KINDS.iter().zip(&mut rates) {
            let running = Running::start(lab, *kind, Checks::Off)
                .with_context(|| format!("cannot start {}", kind.name()))?;
            rates.push(rate(lab, *kind, effort).with_context(|| running.explain())?);
            running.stop()?;
        }
    }
    drop(sinkholes);
    let nanoseconds = |rates: &[f64]| 1e9 / Spread::of(rates.iter().copied()).most;
    for (kind, rates) in KINDS.iter().zip(&rates) {
        report.row(
            GROUP,
            format!("packets per second, {}", kind.name()),
            "/s",
            Spread::of(rates.iter().copied()),
            "",
        );
    }
    let without = nanoseconds(&rates[0]);
    let mut more = Vec::new();
    for (kind, rates) in KINDS.iter().zip(&rates).skip(1) {
        let director = nanoseconds(rates) - without;
        more.push(director);
        report.row(
            GROUP,
            format!("time per packet in the director, {}", kind.name()),
            "ns",
            Spread::of([director]),
            "best round, less the best without a director",
        );
    }
    let [_, mb_lb, forwarding, nftables] = more[..] else {
        unreachable!("one figure for each director");
    };
    report.ratio(
        "per packet over veth: mb-lb to kernel forwarding",
        mb_lb / forwarding,
        "",
    );
    report.ratio(
        "per packet over veth: mb-lb to nftables",
        mb_lb / nftables,
        "",
    );
    Ok(())
}

/// Drops what comes from the generated clients as soon as it is received (and counted).
fn sinkhole() -> Result<OwnedFd> {
    let program = bpf::load_xdp(&generator::sinkhole()).context("cannot load the sinkhole")?;
    let ifindex = nix::net::if_::if_nametoindex("eth0").context("no interface eth0")?;
    bpf::attach_xdp(bpf::fd(&program), ifindex).context("cannot attach the sinkhole")
}

/// Frames that the servers receive in a second.
fn rate(lab: &Lab, kind: Kind, effort: Effort) -> Result<f64> {
    let to = match kind {
        Kind::None => lab.servers()[0].mac(),
        _ => lab.machine("lb1").mac(),
    };
    let received = || -> Result<u64> { lab.servers().iter().map(received).sum() };
    let received = &received;
    lab.client().enter(|| -> Result<f64> {
        let mut sender = Sender::new(to)?;
        // Nobody answers, and an ACK that follows a SYN without an answer is invalid to the kernel's connection
        // tracking; without the SYN it takes the connection up in the middle.
        if kind == Kind::MbLb {
            sender.set_flags(SYN, 0);
            all_arrive(&mut sender, received)?;
        }
        sender.set_flags(ACK, 1);
        all_arrive(&mut sender, received)?;
        let before = received()?;
        let start = Instant::now();
        let mut sent = 0;
        while start.elapsed() < effort.wire_time() {
            sender.send(FLOWS)?;
            sent += FLOWS as u64;
        }
        let took = start.elapsed().as_secs_f64();
        let arrived = received()? - before;
        ensure!(
            arrived * 10 >= sent * 9 && arrived <= sent + sent / 100,
            "{}: {sent} frames were sent, {arrived} arrived",
            kind.name()
        );
        Ok(arrived as f64 / took)
    })
}

/// Sends one frame of each flow until all come through: what has just been started may not be in the kernel yet.
fn all_arrive(sender: &mut Sender, received: impl Fn() -> Result<u64>) -> Result<()> {
    try_wait_until("every flow to come through", OPENED, || {
        let before = received()?;
        sender.send(FLOWS)?;
        let arrived = received()? - before;
        if arrived < FLOWS as u64 {
            bail!("{arrived} of {FLOWS} did");
        }
        Ok(())
    })
}

/// Frames that `eth0` of a machine has received.
fn received(machine: &Machine) -> Result<u64> {
    let text = machine
        .enter(|| std::fs::read_to_string("/proc/thread-self/net/dev"))
        .context("cannot read the interface's counters")?;
    text.lines()
        .find_map(|line| line.trim().strip_prefix("eth0:"))
        .and_then(|counters| counters.split_whitespace().nth(1)?.parse().ok())
        .context("no counters of eth0")
}

/// A packet socket with one frame for each flow.
struct Sender {
    socket: OwnedFd,
    frames: Vec<[u8; generator::FRAME]>,
}

impl Sender {
    fn new(to: [u8; 6]) -> Result<Self> {
        let ifindex = nix::net::if_::if_nametoindex("eth0").context("no interface eth0")?;
        let frames = (0..FLOWS as u32)
            .map(|flow| {
                let mut frame = generator::frame();
                frame[0..6].copy_from_slice(&to);
                frame[26..30].copy_from_slice(&(0xac10_0000 | flow).to_be_bytes());
                frame[34..36].copy_from_slice(&(0x8000 | flow as u16).to_be_bytes());
                generator::fill_checksums(&mut frame);
                frame
            })
            .collect();
        Ok(Self {
            socket: packet_socket(ifindex).context("cannot open a packet socket")?,
            frames,
        })
    }

    fn set_flags(&mut self, flags: u8, seq: u32) {
        for frame in &mut self.frames {
            frame[38..42].copy_from_slice(&seq.to_be_bytes());
            frame[47] = flags;
            generator::fill_checksums(frame);
        }
    }

    /// Sends the first `count` frames.
    fn send(&mut self, count: usize) -> io::Result<()> {
        for batch in self.frames[..count].chunks_mut(BATCH) {
            let mut parts: Vec<libc::iovec> = batch
                .iter_mut()
                .map(|frame| libc::iovec {
                    iov_base: frame.as_mut_ptr().cast(),
                    iov_len: frame.len(),
                })
                .collect();
            let mut messages: Vec<libc::mmsghdr> = parts
                .iter_mut()
                .map(|part| {
                    // SAFETY: a struct of integers and pointers, for which zero is a value.
                    let mut message: libc::mmsghdr = unsafe { zeroed() };
                    message.msg_hdr.msg_iov = part;
                    message.msg_hdr.msg_iovlen = 1;
                    message
                })
                .collect();
            let mut done = 0;
            while done < messages.len() {
                let rest = &mut messages[done..];
                // SAFETY: the messages and what they point at live until the call returns.
                let sent = unsafe {
                    libc::sendmmsg(
                        self.socket.as_raw_fd(),
                        rest.as_mut_ptr(),
                        rest.len() as u32,
                        0,
                    )
                };
                if sent >= 0 {
                    done += sent as usize;
                    continue;
                }
                let error = io::Error::last_os_error();
                // The kernel's queue is full for a moment.
                if error.raw_os_error() != Some(libc::ENOBUFS) {
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// Sends on `ifindex`, past the queueing discipline; receives nothing.
fn packet_socket(ifindex: u32) -> io::Result<OwnedFd> {
    // SAFETY: a call without pointers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new, so nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let on: libc::c_int = 1;
    // SAFETY: the option is an integer of the size that is given.
    let result = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_PACKET,
            libc::PACKET_QDISC_BYPASS,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as u32,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a struct of integers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = ifindex as i32;
    // SAFETY: the address has the length that is given.
    let result = unsafe {
        libc::bind(
            fd,
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as u32,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}
