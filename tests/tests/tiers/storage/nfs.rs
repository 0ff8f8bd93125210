//! A real NFS server.

use anyhow::{Result, ensure};
use mb_lb_tests::{Ganesha, try_wait_until};
use nix::sys::signal::Signal;

use super::site::{FAST, SOON, Site};

#[test]
fn a_server_of_versions_3_and_4() -> Result<()> {
    let mut site = Site::new("st-nfs", 1)?;
    let machine = site.lab.machine("mb1").clone();
    let mut server = Ganesha::start(&machine, "3,4")?;
    let (address, export) = (machine.ipv4(), server.export());
    let export = export.display();
    let storage = |name: &str, export: &str, lines: &str| {
        format!(
            "[storage.{name}]\ntype = \"nfs\"\nserver = \"{address}\"\nexport = \"{export}\"\n{FAST}{lines}\n"
        )
    };
    let quarantine = format!("{export}/quarantine");
    site.run(
        &(storage("q", &quarantine, "export_probe = true\n")
            + &storage("listed", &quarantine, "")
            + &storage("three", &quarantine, "version = \"3\"\n")
            + &storage("gone", "/nowhere", "")),
    )?;
    let seen = site.wait_state("q", "ok")?;
    ensure!(
        seen.summary.starts_with("write and read back in "),
        "{}",
        seen.summary
    );
    for name in ["listed", "three"] {
        site.wait_state(name, "ok")?;
        let node = site.node(name, "export")?;
        ensure!(node.reason == "is exported", "{node:?}");
    }
    let nfs = site.node("q", "nfs")?;
    ensure!(nfs.reason == "answers, versions 3 and 4", "{nfs:?}");
    let alarm = site.wait_failed("gone", "export", "export_gone")?;
    ensure!(alarm.next.contains("exportfs -v"), "{alarm:?}");

    // Nothing stays behind but the place for it, and what was left behind goes.
    let host = site.mounts.run("hostname", &[])?;
    let host = host.trim();
    let probes = format!("{quarantine}/.mb-lb-probe");
    let script = format!("cd {probes}; touch -d '2 hours ago' {host}.1 other.1; touch {host}.2");
    server.mounts().run("sh", &["-c", &script])?;
    try_wait_until("an old file to go", SOON, || {
        let left = server.mounts().run("ls", &["-A", &probes])?;
        let left: Vec<_> = left.lines().collect();
        ensure!(!left.contains(&&*format!("{host}.1")), "{left:?}");
        assert!(
            left.contains(&"other.1") && left.contains(&&*format!("{host}.2")),
            "{left:?}"
        );
        Ok(())
    })?;

    // Its kernel takes connections all the while.
    server.signal(Signal::SIGSTOP)?;
    let alarm = site.wait_failed("q", "nfs", "not_answering")?;
    ensure!(
        alarm.next.contains("systemctl status nfs-server"),
        "{alarm:?}"
    );
    server.signal(Signal::SIGCONT)?;
    site.wait_state("q", "ok")?;

    server
        .mounts()
        .run("mount", &["-o", "remount,ro", &export.to_string()])?;
    site.wait_failed("q", "export", "read_only")?;
    server
        .mounts()
        .run("mount", &["-o", "remount,rw", &export.to_string()])?;
    site.wait_state("q", "ok")?;

    let fill = format!("head -c 16000k /dev/zero > {export}/mail");
    server.mounts().run("sh", &["-c", &fill])?;
    site.wait_failed("q", "export", "full")?;
    server.mounts().run("rm", &[&format!("{export}/mail")])?;
    site.wait_state("q", "ok")?;

    server.kill()?;
    site.wait_failed("q", "nfs", "refused")?;
    site.wait_failed("three", "nfs", "refused")?;
    server.again()?;
    site.wait_state("q", "ok")?;
    site.wait_state("three", "ok")?;

    machine.set_link(false)?;
    site.wait_state("q", "failed")?;
    machine.set_link(true)?;
    site.wait_state("q", "ok")?;
    Ok(())
}

#[test]
fn a_server_of_version_4_alone_has_no_mountd() -> Result<()> {
    let mut site = Site::new("st-nfs4", 1)?;
    let machine = site.lab.machine("mb1").clone();
    let server = Ganesha::start(&machine, "4")?;
    let storage = |name: &str, version: &str| {
        format!(
            "[storage.{name}]\ntype = \"nfs\"\nserver = \"{}\"\nexport = \"{}\"\nversion = \"{version}\"\n{FAST}\n",
            machine.ipv4(),
            server.export().display()
        )
    };
    site.run(&(storage("any", "any") + &storage("four", "4") + &storage("three", "3")))?;
    site.wait_state("four", "ok")?;
    site.wait_state("any", "ok")?;
    let mountd = site.node("any", "mountd")?;
    ensure!(mountd.word == "not_needed", "{mountd:?}");
    site.wait_failed("three", "nfs", "wrong_version")?;
    Ok(())
}
