//! The kernels that directors run: the verifier of each takes the program, and the program works there.
//!
//! All other tests meet the verifier of this machine's kernel alone, and an older one is stricter: the program's
//! stack on 6.1 is at the limit. `qemu` emulates the processor, so this needs no KVM, and boots Debian's own
//! kernels with a file system of a few megabytes, whose only program is `mb-lb-probe`. Checks through the VIP are
//! attached in another way before 6.6: they are made there too.
#![cfg(target_arch = "x86_64")]

mod initramfs;

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mb_lb_tests::try_wait_until;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

/// A machine that takes longer hangs: they take 10 to 20 seconds.
const DEADLINE: Duration = Duration::from_secs(120);
const SETUP: &str = "`cargo xtask setup` gets it, or says why it cannot";

#[test]
fn kernel_6_1_takes_the_program_and_runs_it() {
    // What checks through the VIP are attached to before 6.6.
    probe("6.1", &["sch_ingress", "cls_bpf"]);
}

#[test]
fn kernel_6_12_takes_the_program_and_runs_it() {
    probe("6.12", &[]);
}

/// Boots the kernel of a series with some of its modules, and expects the probe's word.
#[track_caller]
fn probe(series: &str, modules: &[&str]) {
    let kernel = kernel(series);
    let modules: Vec<PathBuf> = modules.iter().map(|name| module(&kernel, name)).collect();
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let initramfs = scratch.join(format!("probe-{series}.cpio"));
    let init = Path::new(env!("CARGO_BIN_EXE_mb-lb-probe"));
    initramfs::write(init, &modules, &initramfs).unwrap_or_else(|error| panic!("{error:#}"));
    let console = scratch.join(format!("probe-{series}.console"));
    let mut machine = Machine::boot(&kernel, &initramfs, &console);
    let ended = try_wait_until(
        "the machine to switch itself off",
        DEADLINE,
        || match machine.0.try_wait().expect("qemu is our child") {
            Some(status) => Ok(status),
            None => Err(String::from("it runs")),
        },
    );
    let said = fs::read_to_string(&console).expect("the console's text");
    let status = ended.unwrap_or_else(|error| panic!("{error:#}; its console:\n{said}"));
    assert!(status.success(), "qemu: {status}\n{said}");
    assert!(
        said.lines().any(|line| line == "PROBE OK"),
        "{}: the program does not load or does not work; {}:\n{said}",
        kernel.display(),
        console.display()
    );
    assert!(
        said.lines()
            .any(|line| line.starts_with(&format!("kernel {series}."))),
        "{} is not of the series {series}:\n{said}",
        kernel.display()
    );
    println!("{said}");
}

/// The kernel of a series that the set-up has got.
#[track_caller]
fn kernel(series: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/kernels");
    let wanted = format!("vmlinuz-{series}.");
    let found = fs::read_dir(&directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with(&wanted))
        });
    found.unwrap_or_else(|| {
        panic!(
            "no Linux {series} in {}: {SETUP}; any vmlinuz of Debian's will do, as {wanted}*",
            directory.display()
        )
    })
}

/// A module of a kernel, from the directory that the set-up has put beside it.
#[track_caller]
fn module(kernel: &Path, name: &str) -> PathBuf {
    let version = kernel.file_name().and_then(|name| name.to_str());
    let version = version.expect("a name").trim_start_matches("vmlinuz-");
    let file = format!("modules-{version}/{name}.ko");
    let path = kernel.with_file_name(file);
    assert!(path.exists(), "no {}: {SETUP}", path.display());
    path
}

/// A running qemu, which ends with the test.
struct Machine(Child);

impl Machine {
    /// What it says goes to the file `console`.
    #[track_caller]
    fn boot(kernel: &Path, initramfs: &Path, console: &Path) -> Self {
        let log = File::create(console).expect("a file for the console");
        let errors = log.try_clone().expect("the same file");
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-accel", "tcg", "-m", "1024"])
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .args(["-serial", "stdio", "-no-reboot"])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(initramfs)
            // A panic of the kernel restarts it, which `-no-reboot` makes the end.
            .args(["-append", "console=ttyS0 panic=-1 quiet"])
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        // SAFETY: prctl is async-signal-safe and touches no memory of ours.
        unsafe {
            // Where the test is killed, nothing else ends it.
            qemu.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?));
        }
        match qemu.spawn() {
            Ok(child) => Self(child),
            Err(error) => panic!(
                "cannot start qemu-system-x86_64 (Debian package qemu-system-x86): {error}; {SETUP}"
            ),
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Fails where it has ended, which is what is wanted.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
