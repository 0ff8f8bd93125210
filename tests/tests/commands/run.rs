//! The table, run from the first row to the last on a pair of directors whose configuration is the manual's own example.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use mb_lb_tests::director::Answer;
use mb_lb_tests::nginx::make_certificate;
use mb_lb_tests::site::{document, package, package_of, readdress, trust};
use mb_lb_tests::{Guest, Lab, Sink, Topology, try_wait_until};

use crate::table::{self, How, Run};

const SOON: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_secs(300);

/// Where the directors have the package, as the manual has it.
const PACKAGE: &str = "/root/target/dist/mb-lb_0.1.0-1_amd64.deb";
/// And the next one.
const NEXT: &str = "/root/mb-lb_0.1.0-1_amd64.deb";

#[test]
fn every_command_ends_as_the_documents_say() -> Result<()> {
    let site = Site::start()?;
    site.all(table::INSTALLED)?;
    site.all(table::SERVERS)?;
    site.all(table::BEFORE)?;
    site.configure()?;
    site.all(table::AT_WORK)?;
    site.prepare_more()?;
    site.all(table::MORE)?;
    site.lab
        .machine("mb2")
        .sysctl("ipv4.conf.all.arp_ignore", "0")?;
    site.all(table::AT_LAST)?;
    site.prepare_by_hand()?;
    site.all(table::BY_HAND)
}

struct Site {
    /// lb1, lb2, mb1, mb2.
    guests: Vec<Guest>,
    _sinks: Vec<Sink>,
    lab: Lab,
}

impl Site {
    /// HAProxy and keepalived are there with their files; the package is too, not installed.
    fn start() -> Result<Self> {
        let topology = Topology {
            directors: 2,
            servers: 3,
        };
        let lab = Lab::with("commands", topology)?;
        readdress(&lab)?;
        let sinks = lab.servers().iter().map(Sink::start);
        let sinks = sinks.collect::<Result<_>>()?;
        let booted: Vec<Result<Guest>> = std::thread::scope(|scope| {
            let machines = lab.directors().iter().chain(&lab.servers()[..2]);
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
            _sinks: sinks,
            lab,
        };
        trust(&site.guests)?;
        let names = "127.0.0.1 localhost\n192.168.1.11 lb2\n192.168.1.101 mb1\n192.168.1.102 mb2\n";
        fs::write(site.guests[0].path("/etc/hosts"), names)?;
        for guest in site.directors() {
            guest.expect("systemctl", &["disable", "--now", "haproxy", "keepalived"])?;
            guest.expect("mkdir", &["-p", "/root/target/dist"])?;
            fs::copy(package()?, guest.path(PACKAGE)).context("the package")?;
            for (from, to) in [
                ("haproxy.cfg", "/etc/haproxy/haproxy.cfg"),
                ("keepalived.conf", "/etc/keepalived/keepalived.conf"),
            ] {
                fs::copy(document(from), guest.path(to)).with_context(|| to.to_owned())?;
            }
            let certificate = guest.path("/etc/ssl/certs/mailborder.pem");
            make_certificate(site.lab.client(), &certificate, "mailborder.test")?;
        }
        // It serves while mb-lb is tried beside it.
        site.guests[0].expect("systemctl", &["restart", "haproxy"])?;
        Ok(site)
    }

    fn directors(&self) -> &[Guest] {
        &self.guests[..2]
    }

    /// The manual's example, on both.
    fn configure(&self) -> Result<()> {
        self.guests[0].expect("systemctl", &["stop", "haproxy"])?;
        let text = example("### Setting up a pair")?;
        for (guest, text) in self.directors().iter().zip([text.clone(), of_lb2(&text)?]) {
            fs::write(guest.path("/etc/mb-lb/mb-lb.toml"), text)?;
            let password = "/etc/mb-lb/vrrp.password";
            guest.expect("install", &["-m", "600", "/dev/null", password])?;
            fs::write(guest.path(password), "secret\n")?;
        }
        Ok(())
    }

    /// What the commands about `config_sync`, the page, certificates and storage are about.
    fn prepare_more(&self) -> Result<()> {
        let [lb1, _, mb1, _] = self.guests.as_slice() else {
            anyhow::bail!("four guests");
        };
        let sync = example("## Configuration sync")?;
        let (sync, _) = sync.split_once("\n\n").context("a section of its own")?;
        let more = format!(
            "\n{sync}\n\n[admin]\nhttp = \"192.168.1.10:8404\"\nuser = \"admin\"\npassword_file = \"/etc/mb-lb/stats.password\"\n\n\
             [proxy.web]\nlisten = \"192.168.1.100:443\"\ncertificate = \"/etc/mb-lb/certs/mail.pem\"\ncheck = {{ type = \"none\" }}\n\
             servers = {{ mb1 = \"192.168.1.101:80\" }}\n"
        );
        fs::write(lb1.path("/root/more.toml"), more)?;
        lb1.expect("mkdir", &["-p", "/etc/mailborder", "/etc/mb-lb/certs"])?;
        fs::write(lb1.path("/etc/mailborder/local.cf"), "synced\n")?;
        lb1.expect(
            "install",
            &["-m", "600", "/dev/null", "/etc/mb-lb/stats.password"],
        )?;
        fs::write(lb1.path("/etc/mb-lb/stats.password"), "secret\n")?;
        for path in [
            "/etc/mb-lb/certs/mail.pem",
            "/root/new.pem",
            "/root/next.pem",
        ] {
            make_certificate(self.lab.client(), &lb1.path(path), "mail.example.com")?;
        }
        // What it reloads there.
        fs::write(
            mb1.path("/etc/systemd/system/mb-rpcd.service"),
            "[Service]\nExecStart=sleep infinity\nExecReload=true\n",
        )?;
        mb1.expect("systemctl", &["daemon-reload"])?;
        mb1.expect("systemctl", &["start", "mb-rpcd"])?;
        // Somebody who knows where systemd wants the lines.
        fs::write(
            lb1.path("/usr/local/bin/editor"),
            "#!/bin/sh\nfor file; do sed -i '/^### Anything between/a \\\n[Service]\\nReadWritePaths=-/var/spool/mailborder/quarantine' \
             \"$file\"; done\n",
        )?;
        lb1.expect("chmod", &["755", "/usr/local/bin/editor"])?;
        package_of(&self.lab, "0.1.0-2", &lb1.path(NEXT))
    }

    /// lb2 gets the program and the files that are in the source, as a build leaves them.
    fn prepare_by_hand(&self) -> Result<()> {
        let lb2 = &self.guests[1];
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        lb2.expect("mkdir", &["-p", "/root/target/release", "/root/packaging"])?;
        lb2.expect(
            "cp",
            &["/usr/bin/mb-lb-ctl", "/root/target/release/mb-lb-ctl"],
        )?;
        for name in ["packaging/mb-lb.toml", "packaging/mb-lb.sysctl.conf"] {
            fs::copy(root.join(name), lb2.path(&format!("/root/{name}"))).context(name)?;
        }
        Ok(())
    }

    fn all(&self, runs: &[Run]) -> Result<()> {
        for run in runs {
            let what = format!("{}# {} to end with {}", run.on, run.command, run.code);
            if !run.before.is_empty() {
                let answer = self.shell(run.on, &format!("set -e; {}", run.before))?;
                ensure!(answer.code == 0, "{}: {answer:#?}", run.before);
            }
            let once = || -> Result<()> {
                let answer = match run.how {
                    How::Typed(keys) => {
                        self.guest(run.on)?
                            .on_terminal(&run.typed(), run.says, keys)?
                    }
                    How::Once | How::Until => self.shell(run.on, &run.typed())?,
                };
                ensure!(answer.code == run.code, "{answer:#?}");
                let said = format!("{}{}", answer.stdout, answer.stderr);
                ensure!(said.contains(run.says), "no {:?} in {said}", run.says);
                Ok(())
            };
            match run.how {
                How::Until => try_wait_until(&what, SOON, once)?,
                How::Once | How::Typed(_) => once().with_context(|| what)?,
            }
        }
        Ok(())
    }

    fn guest(&self, name: &str) -> Result<&Guest> {
        let found = self
            .guests
            .iter()
            .find(|guest| guest.machine().name() == name);
        found.with_context(|| format!("{name} is no guest"))
    }

    /// On a guest, or on a machine that has no system of its own.
    fn shell(&self, on: &str, line: &str) -> Result<Answer> {
        if let Ok(guest) = self.guest(on) {
            // Nothing here takes so long; what waits for ever is told with its name.
            let limit = LIMIT.as_secs().to_string();
            return guest.run("timeout", &[&limit, "bash", "-o", "pipefail", "-c", line]);
        }
        let output = self
            .lab
            .machine(on)
            .command("bash")
            .args(["-o", "pipefail", "-c", line])
            .output()
            .context("cannot start bash")?;
        Ok(Answer {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// The first configuration in a chapter of the manual.
fn example(heading: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/manual.md");
    let manual = fs::read_to_string(path)?;
    let (_, chapter) = manual
        .split_once(&format!("\n{heading}\n"))
        .with_context(|| format!("the manual has no {heading}"))?;
    let (_, block) = chapter.split_once("```toml\n").context("no example")?;
    let (block, _) = block.split_once("```").context("no end")?;
    Ok(block
        .lines()
        .map(|line| format!("{}\n", line.trim_start()))
        .collect())
}

/// As the manual says it: another name, another priority, and the two addresses of `[peer]` in each other's place.
fn of_lb2(example: &str) -> Result<String> {
    let of_lb1 = [
        "\"lb1\"",
        "priority = 101",
        "192.168.1.10:",
        "192.168.1.11:",
        "#:",
    ];
    let of_lb2 = [
        "\"lb2\"",
        "priority = 100",
        "#:",
        "192.168.1.10:",
        "192.168.1.11:",
    ];
    let mut text = example.to_owned();
    for (from, to) in of_lb1.iter().zip(of_lb2) {
        ensure!(text.contains(from), "no {from:?} in the example");
        text = text.replace(from, to);
    }
    Ok(text)
}
