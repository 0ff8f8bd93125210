//! The deployment that is moved over: two directors with Debian's HAProxy and keepalived, three mail nodes, each a system with
//! systemd and sshd. They have the addresses of the document, which are those of the manual.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;

use anyhow::{Context as _, Result, anyhow, ensure};
use mb_lb_tests::nginx::make_certificate;
use mb_lb_tests::site::{VIP, document, package, readdress, trust};
use mb_lb_tests::{
    Guest, Lab, Machine, Nginx, Process, Sink, SinkOptions, Topology, try_wait_until,
};

use crate::SOON;

/// The package as the manual calls it, where root is when he has logged in.
const PACKAGE: &str = "/root/mb-lb_0.1.0-1_amd64.deb";

pub struct Site {
    /// lb1, lb2, mb1, mb2, mb3.
    guests: Vec<Guest>,
    pub sinks: Vec<Sink>,
    /// `mb-lb-ctl run --shadow` of lb1 and lb2.
    pub shadows: Vec<(String, Process)>,
    _checked: Vec<Sink>,
    _web: Vec<Nginx>,
    lab: Lab,
}

impl Site {
    /// Returns when lb1 serves.
    pub fn start() -> Result<Self> {
        let topology = Topology {
            directors: 2,
            servers: 3,
        };
        let lab = Lab::with("migration", topology)?;
        readdress(&lab)?;
        let servers = lab.servers();
        // What the deployment's check asks.
        let filter = SinkOptions {
            port: 10025,
            record: false,
            ..SinkOptions::default()
        };
        let booted: Vec<Result<Guest>> = std::thread::scope(|scope| {
            let machines = lab.directors().iter().chain(servers);
            let booting: Vec<_> = machines
                .map(|machine| scope.spawn(|| Guest::boot_of_pair(machine)))
                .collect();
            let joined = booting.into_iter().map(|guest| {
                let joined = guest.join().map_err(|_| anyhow!("booting panicked"));
                joined.and_then(|booted| booted)
            });
            joined.collect()
        });
        let site = Self {
            guests: booted.into_iter().collect::<Result<_>>()?,
            sinks: servers.iter().map(Sink::start).collect::<Result<_>>()?,
            shadows: Vec::new(),
            _checked: servers
                .iter()
                .map(|server| Sink::with(server, &filter))
                .collect::<Result<_>>()?,
            _web: servers.iter().map(Nginx::start).collect::<Result<_>>()?,
            lab,
        };
        trust(&site.guests)?;
        for (name, keepalived) in [
            ("lb1", "keepalived.conf"),
            ("lb2", "keepalived-backup.conf"),
        ] {
            site.deploy(name, keepalived)?;
        }
        site.wait_holder("lb1")?;
        Ok(site)
    }

    /// The document's files, Debian's services, and the new package.
    fn deploy(&self, name: &str, keepalived: &str) -> Result<()> {
        let guest = self.guest(name)?;
        for (from, to) in [
            ("haproxy.cfg", "/etc/haproxy/haproxy.cfg"),
            (keepalived, "/etc/keepalived/keepalived.conf"),
        ] {
            fs::copy(document(from), guest.path(to)).with_context(|| to.to_owned())?;
        }
        let certificate = guest.path("/etc/ssl/certs/mailborder.pem");
        make_certificate(self.lab.client(), &certificate, "mailborder.test")?;
        fs::copy(package()?, guest.path(PACKAGE)).context("the package")?;
        guest.expect("systemctl", &["restart", "haproxy"])?;
        guest.expect("systemctl", &["enable", "--now", "keepalived"])?;
        Ok(())
    }

    pub fn guest(&self, name: &str) -> Result<&Guest> {
        let found = self
            .guests
            .iter()
            .find(|guest| guest.machine().name() == name);
        found.with_context(|| format!("there is no {name}"))
    }

    pub fn servers(&self) -> &[Guest] {
        &self.guests[2..]
    }

    pub fn client(&self) -> &Machine {
        self.lab.client()
    }

    /// Waits until this director has the VIP and the other one has not.
    pub fn wait_holder(&self, name: &str) -> Result<()> {
        try_wait_until(&format!("the VIP to be on {name} only"), SOON, || {
            let mut holders = Vec::new();
            for machine in self.lab.directors() {
                let listed = machine.run("ip", &["-4", "-o", "address", "show", "dev", "eth0"])?;
                if listed.contains(&format!(" {VIP}/")) {
                    holders.push(machine.name());
                }
            }
            ensure!(holders == [name], "it is on {holders:?}");
            Ok(())
        })
    }

    /// A program of the director runs, and is started at boot; or neither.
    pub fn expect_service(
        &self,
        name: &str,
        unit: &str,
        active: &str,
        enabled: &str,
    ) -> Result<()> {
        let guest = self.guest(name)?;
        for (question, expected) in [("is-active", active), ("is-enabled", enabled)] {
            let answer = guest.run("systemctl", &[question, unit])?;
            let word = answer.stdout.trim();
            ensure!(word == expected, "{unit} on {name}: {question}: {answer:?}");
        }
        Ok(())
    }

    /// Nothing of mb-lb is left on the director's interface or in its kernel.
    pub fn expect_detached(&self, name: &str) -> Result<()> {
        let guest = self.guest(name)?;
        let link = guest.expect("ip", &["-o", "link", "show", "eth0"])?;
        ensure!(!link.contains(" xdp "), "{link}");
        let pins = guest.shell("find /sys/fs/bpf/mb-lb -type f 2>/dev/null; true")?;
        ensure!(pins.stdout.is_empty(), "{pins:?}");
        Ok(())
    }

    /// Where mail has come from, as all mail servers together saw it.
    pub fn seen_by_servers(&self) -> Result<BTreeSet<IpAddr>> {
        let mut seen = BTreeSet::new();
        for sink in &self.sinks {
            seen.extend(sink.clients()?.into_keys());
        }
        Ok(seen)
    }

    /// The web interface answers through the VIP, with a cookie that names the server.
    pub fn expect_web(&self) -> Result<()> {
        let url = format!("https://{VIP}/");
        try_wait_until("the web interface to answer", SOON, || {
            let page = self
                .client()
                .run("curl", &["-sSki", "--max-time", "10", &url])?;
            ensure!(page.contains("SERVERID=mb"), "{page}");
            Ok(())
        })
    }

    /// A line for the socket of the director's HAProxy.
    pub fn haproxy(&self, name: &str, line: &str) -> Result<()> {
        let path = self.guest(name)?.path("/run/haproxy/admin.sock");
        let mut stream = UnixStream::connect(&path).with_context(|| path.display().to_string())?;
        stream.write_all(format!("{line}\n").as_bytes())?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        ensure!(said.trim().is_empty(), "{line}: {said}");
        Ok(())
    }
}
