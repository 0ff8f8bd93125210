//! FRR's vrrpd as the other half: versions 2 and 3, both ways round. It has the address on a macvlan of its own, whose MAC
//! address is that of the virtual router.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::vrrp::machine::{Cause, Role};
use mb_lb_tests::machine::Machine;
use mb_lb_tests::process::Process;
use mb_lb_tests::try_wait_until;
use nix::sys::signal::Signal;

use crate::form::{Form, V2, V3, V3_IPV6, VRID};
use crate::network::Heard;
use crate::router::Router;
use crate::{SOON, lab};

struct Frr<'a> {
    machine: &'a Machine,
    directory: PathBuf,
    vrrpd: Process,
    _zebra: Process,
}

impl<'a> Frr<'a> {
    fn start(machine: &'a Machine, form: Form, priority: u8) -> Result<Self> {
        let directory = machine.directory().join("frr");
        if !directory.exists() {
            fs::create_dir(&directory)?;
            // It gives up being root.
            let path = directory.display().to_string();
            machine.run("chown", &["frr:frr", &path])?;
            for above in directory.ancestors().skip(1) {
                let mode = fs::metadata(above)?.permissions().mode();
                if mode & 0o001 == 0 {
                    fs::set_permissions(above, fs::Permissions::from_mode(mode | 0o001))?;
                }
            }
            add_macvlan(machine, form)?;
        }
        let (family, vip) = if form.six {
            ("ipv6", form.vip())
        } else {
            ("ip", form.vip())
        };
        let interval = form.milliseconds;
        fs::write(directory.join("zebra.conf"), "")?;
        fs::write(
            directory.join("vrrpd.conf"),
            format!(
                "interface eth0\n vrrp {VRID} version {}\n vrrp {VRID} priority {priority}\n \
                 vrrp {VRID} advertisement-interval {interval}\n vrrp {VRID} {family} {vip}\n",
                form.version
            ),
        )?;
        let daemon = |name: &str| {
            let file = |ending: &str| directory.join(format!("{name}.{ending}"));
            let mut command = machine.command(format!("/usr/lib/frr/{name}"));
            command.arg("-z").arg(directory.join("zserv.api"));
            command.arg("--vty_socket").arg(&directory);
            command.arg("-f").arg(file("conf"));
            command.arg("-i").arg(file("pid"));
            command.args(["--log", "stdout"]);
            machine.spawn(name, &mut command)
        };
        let zebra = daemon("zebra")?;
        try_wait_until("zebra", SOON, || {
            ensure!(directory.join("zserv.api").exists(), "{}", zebra.tail());
            Ok(())
        })?;
        let vrrpd = daemon("vrrpd")?;
        Ok(Self {
            machine,
            directory,
            vrrpd,
            _zebra: zebra,
        })
    }

    /// Waits until it says that it is in this state.
    fn wait(&self, state: &str) -> Result<()> {
        let directory = self.directory.display().to_string();
        try_wait_until(&format!("FRR: {state}"), SOON, || {
            let arguments = ["--vty_socket", &directory, "-c", "show vrrp json"];
            let told = self.machine.run("vtysh", &arguments)?;
            ensure!(
                told.contains(&format!("\"status\":\"{state}\"")),
                "{told}\n{}",
                self.vrrpd.output()?
            );
            Ok(())
        })
    }
}

fn add_macvlan(machine: &Machine, form: Form) -> Result<()> {
    let (family, prefix) = if form.six { (2, 64) } else { (1, 16) };
    let mac = format!("00:00:5e:00:{family:02x}:{VRID:02x}");
    let run = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        machine.run("ip", &words).map(drop)
    };
    run(&format!(
        "link add link eth0 name vrrp0 address {mac} type macvlan mode bridge"
    ))?;
    let vip = form.vip();
    let how = if form.six { " nodad" } else { "" };
    run(&format!("address add {vip}/{prefix} dev vrrp0{how}"))?;
    run("link set vrrp0 up")
}

#[test]
fn version_2() -> Result<()> {
    both_ways("frr2", V2)
}

#[test]
fn version_3() -> Result<()> {
    both_ways("frr3", V3)
}

#[test]
fn version_3_over_ipv6() -> Result<()> {
    both_ways("frr6", V3_IPV6)
}

fn both_ways(name: &str, form: Form) -> Result<()> {
    let lab = lab(name)?;
    let (lb1, lb2) = (lab.machine("lb1"), lab.machine("lb2"));
    let (to_ours, to_other) = (Heard::count(lb1)?, Heard::count(lb2)?);
    // FRR is stronger: it has the address.
    let frr = Frr::start(lb2, form, 150)?;
    frr.wait("Master")?;
    let ours = Router::start(lb1, &form.ours(&lab, 100))?;
    assert_eq!(ours.wait_role(Role::Backup)?, Cause::Started);
    to_ours.wait_many()?;
    ours.expect_no_turn()?;
    let view = ours.wait_view("it", |view| view.master.is_some())?;
    assert_eq!(view.rejections, []);
    let (heard, _) = view.master.context("it is heard")?;
    assert_eq!(heard.priority, 150);
    // It stops, or dies.
    frr.vrrpd.signal(Signal::SIGTERM)?;
    let cause = ours.wait_role(Role::Active)?;
    ensure!(
        matches!(cause, Cause::PeerLeft(_) | Cause::Silence(_)),
        "{cause:?}"
    );
    drop(frr);
    let mut frr = Frr::start(lb2, form, 150)?;
    let cause = ours.wait_role(Role::Backup)?;
    ensure!(
        matches!(cause, Cause::Stronger { priority: 150, .. }),
        "{cause:?}"
    );
    frr.wait("Master")?;
    frr.vrrpd.kill()?;
    let cause = ours.wait_role(Role::Active)?;
    ensure!(matches!(cause, Cause::Silence(_)), "{cause:?}");
    drop(frr);
    // FRR is weaker: it waits, and is handed the address.
    let frr = Frr::start(lb2, form, 50)?;
    frr.wait("Backup")?;
    to_other.wait_many()?;
    frr.wait("Backup")?;
    ours.expect_no_turn()?;
    ours.resign()?;
    let cause = ours.wait_role(Role::Backup)?;
    ensure!(matches!(cause, Cause::HandedOver { .. }), "{cause:?}");
    frr.wait("Master")?;
    // It is taken from it, and it takes over from one that dies.
    ours.crash();
    let ours = Router::start(lb1, &form.ours(&lab, 100))?;
    ours.wait_role(Role::Backup)?;
    let cause = ours.wait_role(Role::Active)?;
    ensure!(
        matches!(cause, Cause::Weaker { priority: 50, .. }),
        "{cause:?}"
    );
    frr.wait("Backup")?;
    ours.crash();
    frr.wait("Master")
}
