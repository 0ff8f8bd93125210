//! The first process of a virtual machine that `tests/kernels` boots: loads the real program into that machine's
//! kernel, sends packets through it, says `PROBE OK` or what failed, and switches the machine off.
//!
//! It is all that is in the machine but the C library, so it also does the little that an init has to.

#[path = "../../../tests/packets/frame.rs"]
#[allow(dead_code, reason = "the packet tests use more of it")]
mod frame;
mod netlink;
#[path = "../../../tests/packets/rig.rs"]
#[allow(dead_code, reason = "the packet tests use more of it")]
mod rig;
mod via;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::programs::loaded_programs;
use mb_lb_common::{POOL_SMALL, Reason};
use mb_lb_ctl::config::{Scheduler, XdpMode};
use mb_lb_ctl::dataplane::Report;
use mb_lb_tests::wait_until;
use nix::mount::{MsFlags, mount};

use frame::{ACK, FIN, Frame, PSH, SYN, forwarded};
use rig::{Family, IFINDEX, Rig, TX, server_at};

/// A service whose servers are compared one by one, and one with too many for that.
const FEW: u16 = 25;
const MANY: u16 = 587;
/// Server indices and weights behind [`FEW`].
const FEW_SERVERS: [(u32, u32); 3] = [(0, 10), (1, 10), (2, 5)];
/// Servers behind [`MANY`], and the index of the first.
const MANY_SERVERS: u32 = POOL_SMALL as u32 + 1;
const MANY_FROM: u32 = 100;
/// Connections to each service, half of them over IPv6.
const FEW_FLOWS: u32 = 50;
const MANY_FLOWS: u32 = 170;

/// Names of the programs in the kernel.
const PROGRAMS: [&str; 2] = ["mb_lb", "mb_lb_sweep"];

/// An emulated processor is slow.
const SOON: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!(
            "mb-lb-probe is the init of a virtual machine: `cargo xtask test -p mb-lb-tests --test kernels` boots it"
        );
        return ExitCode::FAILURE;
    }
    let outcome = mount_file_systems()
        .and_then(|()| insert_modules())
        .map(|()| catch_unwind(AssertUnwindSafe(probe)));
    match outcome {
        Ok(Ok(())) => println!("PROBE OK"),
        // The panic has said already what it was.
        Ok(Err(_)) => println!("PROBE FAILED"),
        Err(error) => println!("PROBE FAILED: {error:#}"),
    }
    power_off()
}

fn mount_file_systems() -> Result<()> {
    for (kind, at) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        fs::create_dir_all(at).with_context(|| format!("cannot make {at}"))?;
        mount(Some(kind), at, Some(kind), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("cannot mount {kind} at {at}"))?;
    }
    Ok(())
}

/// The modules that the test has put there: what the kernel asks for by itself would need `modprobe`.
fn insert_modules() -> Result<()> {
    let directory = Path::new("/modules");
    if !directory.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let file = File::open(&path)?;
        // SAFETY: the string is constant, and the kernel keeps neither it nor the descriptor.
        let result =
            unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) };
        if result != 0 {
            let error = io::Error::last_os_error();
            return Err(error).with_context(|| format!("cannot insert {}", path.display()));
        }
        println!("inserted {}", path.display());
    }
    Ok(())
}

/// Does not return: the machine is off. Where that fails, the end of init panics the kernel, which ends it too.
fn power_off() -> ExitCode {
    // SAFETY: neither call takes memory of ours. What the console has not sent yet would be lost without the first.
    unsafe {
        libc::tcdrain(libc::STDOUT_FILENO);
        libc::reboot(libc::RB_POWER_OFF);
    }
    ExitCode::FAILURE
}

/// # Panics
/// At whatever is not as it should be.
fn probe() {
    let kernel = nix::sys::utsname::uname().expect("the kernel has a name");
    println!("kernel {}", kernel.release().display());
    let mut rig = Rig::new();
    programs_are_verified(&PROGRAMS);
    rig.service(FEW, Scheduler::Leastconn, &FEW_SERVERS);
    let many: Vec<(u32, u32)> = (0..MANY_SERVERS).map(|i| (MANY_FROM + i, 1)).collect();
    rig.service(MANY, Scheduler::Leastconn, &many);
    rig.apply();
    let mode = rig
        .plane
        .attach("lo", IFINDEX, XdpMode::Generic)
        .unwrap_or_else(|error| panic!("{error}"));
    println!("attached {mode:?}");

    let few = open(&mut rig, FEW, FEW_FLOWS);
    assert_eq!(few, BTreeMap::from([(0, 20), (1, 20), (2, 10)]));
    let many = open(&mut rig, MANY, MANY_FLOWS);
    assert_eq!(
        many.len(),
        MANY_SERVERS as usize,
        "servers without a flow: {many:?}"
    );
    println!("chosen {few:?} {many:?}");

    let all: BTreeMap<u32, i64> = few.into_iter().chain(many).collect();
    counts_are(&mut rig, &all, 0);
    close(&mut rig, FEW, FEW_FLOWS);
    close(&mut rig, MANY, MANY_FLOWS);
    counts_are(&mut rig, &all, 1);

    // Last, for these frames go through the XDP program too, and are counted.
    via::checks_work(&mut rig.plane);
}

/// All of them are in the kernel, with BTF; says how far the verifier had to go.
fn programs_are_verified(expected: &[&str]) {
    let mut found = Vec::new();
    for program in loaded_programs() {
        let program = program.expect("the kernel lists its programs");
        let name = program.name_as_str().unwrap_or_default().to_owned();
        if expected.contains(&name.as_str()) {
            assert!(program.btf_id().is_some(), "{name} has no BTF");
            let instructions = program
                .verified_instruction_count()
                .expect("kernels since 5.16 count them");
            println!("verified {name} {instructions} instructions");
            found.push(name);
        }
    }
    found.sort();
    assert_eq!(found, expected);
}

/// A segment of connection `n`: of IPv4 if even, of IPv6 if odd.
fn segment(n: u32, port: u16, flags: u8) -> Frame {
    let seq = if flags & SYN == 0 { 1001 } else { 1000 };
    Frame::new(Family::BOTH[n as usize % 2], 40_000, port, flags)
        .by(n)
        .seq(seq)
}

/// Handshakes, and data after each. Returns how many connections each server got.
fn open(rig: &mut Rig, port: u16, flows: u32) -> BTreeMap<u32, i64> {
    let mut opened = BTreeMap::new();
    for n in 0..flows {
        let syn = segment(n, port, SYN);
        let ran = rig.send(&syn.bytes());
        assert_eq!((ran.reason, ran.action), (Reason::Scheduled, TX), "SYN {n}");
        let server = server_at(&ran.out);
        assert_eq!(ran.out, forwarded(&syn, server), "SYN {n}");
        forwards(rig, &segment(n, port, ACK), Reason::Promoted, server);
        let data = segment(n, port, PSH | ACK).payload(b"EHLO client.example\r\n");
        forwards(rig, &data, Reason::Established, server);
        *opened.entry(server).or_default() += 1;
    }
    opened
}

/// The client's FIN on each connection, and its last ACK.
fn close(rig: &mut Rig, port: u16, flows: u32) {
    for n in 0..flows {
        let fin = segment(n, port, FIN | ACK).seq(1022);
        let ran = rig.send(&fin.bytes());
        assert_eq!((ran.reason, ran.action), (Reason::FinSeen, TX), "FIN {n}");
        let server = server_at(&ran.out);
        let last = segment(n, port, ACK).seq(1023);
        forwards(rig, &last, Reason::Closing, server);
    }
}

fn forwards(rig: &mut Rig, frame: &Frame, reason: Reason, server: u32) {
    let ran = rig.send(&frame.bytes());
    assert_eq!((ran.reason, ran.action), (reason, TX), "{frame:?}");
    assert_eq!(ran.out, forwarded(frame, server), "{frame:?}");
}

/// Each server has opened so many connections, of which the share `closed` (none or all) is closed; the sweep finds
/// the same flows as the counts say.
fn counts_are(rig: &mut Rig, opened: &BTreeMap<u32, i64>, closed: i64) {
    let report = sweep(rig);
    assert_eq!(report.flows as i64, opened.values().sum::<i64>(), "flows");
    assert_eq!(report.servers.len(), opened.len());
    for (index, reading) in &report.servers {
        let flows = opened[index];
        assert_eq!(reading.opened as i64, flows, "opened at {index}");
        assert_eq!(reading.closed as i64, flows * closed, "closed at {index}");
        let active = flows * (1 - closed);
        assert_eq!(reading.active, active, "active at {index}");
        assert_eq!(i64::from(reading.audited), active, "audited at {index}");
    }
}

/// A report for which the sweep has run: after a slow one it rests.
fn sweep(rig: &mut Rig) -> Report {
    wait_until("the sweep's next turn", SOON, || {
        let report = rig.tick();
        if report.swept {
            Ok(report)
        } else {
            Err("resting")
        }
    })
}
