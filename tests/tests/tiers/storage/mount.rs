//! Mounts that hang and fail: the director never does.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Result, ensure};
use mb_lb_tests::hangfs::{HangFs, Mood};
use mb_lb_tests::try_wait_until;

use super::site::{FAST, SOON, Site};
use super::strange::Strange;

const PATH: &str = "/run/q";

fn config(lines: &str) -> String {
    format!("[storage.q]\ntype = \"mount\"\nmount = \"{PATH}\"\n{FAST}{lines}\n")
}

/// Processes of the director that touch mounts.
fn children(site: &Site) -> Result<Vec<u32>> {
    let listed = site
        .lab
        .client()
        .run("sh", &["-c", "pgrep -f '[p]robe-mount /run/q ' || true"])?;
    // Labs of other tests run at the same time: only those of this director's mount namespace count.
    let own = site.mounts.run("readlink", &["/proc/self/ns/mnt"])?;
    let mut pids = Vec::new();
    for pid in listed.lines().filter_map(|line| line.parse::<u32>().ok()) {
        if let Ok(namespace) = fs::read_link(format!("/proc/{pid}/ns/mnt"))
            && namespace.to_string_lossy() == own.trim()
        {
            pids.push(pid);
        }
    }
    Ok(pids)
}

#[test]
fn a_hung_mount_hangs_nobody_else() -> Result<()> {
    let mut site = Site::new("st-hang", 1)?;
    let mount = HangFs::mount(&site.mounts, PATH)?;
    let counter = Strange::silent(&site.lab)?;
    // Its connections count rounds.
    let clock = format!(
        "[storage.clock]\ntype = \"nfs\"\nserver = \"{}\"\nport = {}\nversion = \"4\"\n{FAST}",
        site.lab.client().ipv4(),
        counter.port
    );
    site.run(&format!("{}{clock}", config("write_probe = false")))?;
    site.wait_state("q", "ok")?;

    mount.set(Mood::Hang);
    let alarm = site.wait_failed("q", "mount", "hung")?;
    ensure!(alarm.text.contains(", since 20"), "{}", alarm.text);
    ensure!(alarm.next.contains("umount -f -l /run/q"), "{}", alarm.next);
    // It goes on, and does not send one after the other.
    for lines in ["write_probe = false\nfall = 3", "write_probe = false"] {
        let before = counter.count();
        try_wait_until("ten rounds", SOON, || {
            let done = counter.count() - before;
            ensure!(done >= 10, "{done}");
            Ok(())
        })?;
        ensure!(children(&site)?.len() == 1, "{:?}", children(&site)?);
        site.reload(&format!("{}{clock}", config(lines)))?;
    }
    let asked: BTreeSet<u32> = mount.hung().into_iter().collect();
    ensure!(asked.len() == 1, "{asked:?} hang");
    site.wait_failed("q", "mount", "hung")?;

    // It can be ended all the same, and the next one can bind what it had.
    site.director.stop()?;
    site.director.run()?;
    site.wait_failed("q", "mount", "hung")?;

    mount.set(Mood::Fine);
    site.wait_state("q", "ok")?;
    try_wait_until("all children to be gone", SOON, || {
        let left = children(&site)?;
        // One may be at work.
        ensure!(left.len() <= 1, "{left:?}");
        Ok(())
    })?;
    drop(mount);
    let alarm = site.wait_failed("q", "mount", "not_mounted")?;
    ensure!(alarm.next.contains("mount /run/q"), "{}", alarm.next);
    Ok(())
}

#[test]
fn every_error_has_its_name() -> Result<()> {
    let mut site = Site::new("st-errors", 1)?;
    let mount = HangFs::mount(&site.mounts, PATH)?;
    site.run(&config("write_probe = false"))?;
    site.wait_state("q", "ok")?;
    for (mood, word, next) in [
        (
            Mood::Error(libc::ESTALE),
            "stale_handle",
            "umount -l /run/q && mount /run/q",
        ),
        (Mood::Error(libc::EIO), "io_error", "dmesg"),
        (Mood::Error(libc::EACCES), "permission", ".mb-lb-probe"),
        (
            Mood::Error(libc::ENOTCONN),
            "stale_mount",
            "umount -l /run/q",
        ),
        (Mood::Full, "full", "df -h /run/q"),
    ] {
        mount.set(mood);
        let alarm = site.wait_failed("q", "mount", word)?;
        ensure!(alarm.next.contains(next), "{mood:?}: {}", alarm.next);
        mount.set(Mood::Fine);
        site.wait_state("q", "ok")?;
    }

    // Asking for the free space is not enough.
    site.reload(&config(""))?;
    for (mood, word) in [
        (Mood::Fine, "read_only"),
        (Mood::WriteError(libc::ENOSPC), "full"),
        (Mood::WriteError(libc::EDQUOT), "quota"),
        (Mood::WriteError(libc::EACCES), "permission"),
        (Mood::WriteError(libc::ENOTCONN), "no_quorum"),
        (Mood::WriteError(libc::EIO), "io_error"),
    ] {
        mount.set(mood);
        site.wait_failed("q", "mount", word)?;
    }
    let events = site.director.expect(&["events"])?;
    for told in ["it has failed", "works again"] {
        ensure!(events.contains(told), "no \"{told}\" in {events}");
    }
    Ok(())
}

#[test]
fn nothing_is_written_where_nothing_is_mounted() -> Result<()> {
    let mut site = Site::new("st-bare", 1)?;
    site.run(&config(""))?;
    site.wait_failed("q", "mount", "not_mounted")?;
    ensure!(site.mounts.run("ls", &["-A", PATH])?.is_empty());

    site.mounts
        .run("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs", PATH])?;
    let seen = site.wait_state("q", "ok")?;
    ensure!(
        seen.summary.starts_with("write and read back in "),
        "{}",
        seen.summary
    );
    // What was left behind by a director of this name goes; what is new or another's stays.
    let host = site.mounts.run("hostname", &[])?;
    let host = host.trim();
    let probes = format!("{PATH}/.mb-lb-probe");
    let script = format!(
        "cd {probes}; touch -d '2 hours ago' {host}.1 {host}.2.done other.1 {host}.mail; touch {host}.3"
    );
    site.mounts.run("sh", &["-c", &script])?;
    try_wait_until("old files of its own to go", SOON, || {
        let left = site.mounts.run("ls", &["-A", &probes])?;
        let left: Vec<_> = left.lines().collect();
        for gone in [".1", ".2.done"] {
            ensure!(!left.contains(&&*format!("{host}{gone}")), "{left:?}");
        }
        for kept in ["other.1", &format!("{host}.mail"), &format!("{host}.3")] {
            assert!(left.contains(&kept), "{kept} is not in {left:?}");
        }
        Ok(())
    })?;

    // A link in its place leads nowhere.
    let script = format!(
        "cd {PATH}; rm -r .mb-lb-probe; mkdir /run/elsewhere; ln -s /run/elsewhere .mb-lb-probe"
    );
    site.mounts.run("sh", &["-c", &script])?;
    site.wait_failed("q", "mount", "io_error")?;
    ensure!(site.mounts.run("ls", &["-A", "/run/elsewhere"])?.is_empty());
    Ok(())
}
