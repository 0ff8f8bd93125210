//! The addresses of the deployment's document, which are those of the manual, in a lab; and the package that its directors
//! install.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::guest::Guest;
use crate::lab::Lab;
use crate::machine::Machine;

pub const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 100);
pub const CLIENT: Ipv4Addr = host(50);
pub const LB1: Ipv4Addr = host(10);

/// Port 25 of the VIP.
pub fn smtp() -> SocketAddr {
    (VIP, 25).into()
}

const fn host(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 1, last)
}

/// Gives client, directors and mail servers the document's IPv4 addresses in place of the lab's. Nobody has a VIP then, and
/// the servers have the kernel's defaults.
///
/// # Errors
/// `ip` refuses.
pub fn readdress(lab: &Lab) -> Result<()> {
    take(lab.client(), CLIENT)?;
    for (director, last) in lab.directors().iter().zip(10..) {
        take(director, host(last))?;
    }
    for (server, last) in lab.servers().iter().zip(101..) {
        take(server, host(last))?;
        server.run(
            "ip",
            &["-4", "address", "flush", "dev", "lo", "scope", "global"],
        )?;
        server.sysctl("ipv4.conf.all.arp_ignore", "0")?;
        server.sysctl("ipv4.conf.all.arp_announce", "0")?;
    }
    Ok(())
}

fn take(machine: &Machine, address: Ipv4Addr) -> Result<()> {
    machine.run("ip", &["-4", "address", "flush", "dev", "eth0"])?;
    let address = format!("{address}/24");
    machine
        .run("ip", &["address", "add", &address, "dev", "eth0"])
        .map(drop)
}

/// The Debian package that `cargo xtask test` and `cargo xtask dist` make.
///
/// # Errors
/// There is none.
pub fn package() -> Result<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/dist");
    let mut entries = fs::read_dir(&directory).into_iter().flatten().flatten();
    let found = entries.next().map(|entry| entry.path());
    found.context("there is no package in target/dist: `cargo xtask dist` makes it")
}

/// The same as `to`, with another version than it was built with.
///
/// # Errors
/// There is none, or `dpkg-deb` fails.
pub fn package_of(lab: &Lab, version: &str, to: &Path) -> Result<()> {
    let directory = lab.dir().join(format!("package-{version}"));
    let dpkg = |command: &mut Command| -> Result<()> {
        let output = command.output().context("cannot start dpkg-deb")?;
        ensure!(output.status.success(), "{command:?}: {output:?}");
        Ok(())
    };
    if !directory.exists() {
        dpkg(
            Command::new("dpkg-deb")
                .arg("--raw-extract")
                .arg(package()?)
                .arg(&directory),
        )?;
    }
    let control = directory.join("DEBIAN/control");
    let lines: Vec<_> = fs::read_to_string(&control)?
        .lines()
        .map(|line| match line.starts_with("Version:") {
            true => format!("Version: {version}\n"),
            false => format!("{line}\n"),
        })
        .collect();
    fs::write(control, lines.concat())?;
    dpkg(
        Command::new("dpkg-deb")
            .args(["--build", "-Zgzip", "-z1"])
            .arg(&directory)
            .arg(to),
    )
}

/// root of the first guest may log in to the others with ssh and without a password, as in a deployment that is run so.
///
/// # Errors
/// `ssh-keygen` fails, or a file cannot be written.
pub fn trust(guests: &[Guest]) -> Result<()> {
    let (first, others) = guests.split_first().context("a guest")?;
    let key = "/root/.ssh/id_ed25519";
    first.expect("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", key])?;
    fs::write(
        first.path("/etc/ssh/ssh_config.d/lab.conf"),
        "StrictHostKeyChecking accept-new\nLogLevel ERROR\n",
    )?;
    let key = fs::read_to_string(first.path("/root/.ssh/id_ed25519.pub"))?;
    for guest in others {
        guest.expect("install", &["-d", "-m", "700", "/root/.ssh"])?;
        fs::write(guest.path("/root/.ssh/authorized_keys"), &key)?;
    }
    Ok(())
}

/// A file of the deployment's document.
pub fn document(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../mb-lb-ctl/src/import/tests/fixtures/document")
        .join(name)
}
