//! The addresses of the deployment's document, which are those of the manual, in a lab; and the package that its directors
//! install.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

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

/// A file of the deployment's document.
pub fn document(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../mb-lb-ctl/src/import/tests/fixtures/document")
        .join(name)
}
