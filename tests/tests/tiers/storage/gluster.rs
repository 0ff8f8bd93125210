//! A real GlusterFS.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Result, ensure};
use mb_lb_tests::gluster::{Gluster, VOLUME};
use mb_lb_tests::try_wait_until;
use nix::sys::signal::Signal;

use super::site::{FAST, SOON, Site};

#[test]
fn a_volume_of_three_copies() -> Result<()> {
    let mut site = Site::new("st-gluster", 3)?;
    let mut gluster = Gluster::start(&site.lab)?;
    let mut client = gluster.mount(&site.mounts, "/run/q")?;
    let servers: Vec<String> = (0..3)
        .map(|index| format!("\"{}\"", gluster.machine(index).ipv4()))
        .collect();
    let servers = servers.join(", ");
    let heal = site.lab.dir().join("heal");
    fs::write(
        &heal,
        gluster.command_line(0, &["volume", "heal", VOLUME, "info", "summary", "--xml"]),
    )?;
    fs::set_permissions(&heal, fs::Permissions::from_mode(0o755))?;
    let storage = |name: &str, volume: &str, lines: &str| {
        format!(
            "[storage.{name}]\ntype = \"glusterfs\"\nservers = [{servers}]\nvolume = \"{volume}\"\n{FAST}{lines}\n"
        )
    };
    let heals = format!(
        "heal_command = {:?}\nheal_interval = \"10s\"\n",
        heal.display().to_string()
    );
    site.run(
        &(storage("q", VOLUME, &format!("mount = \"/run/q\"\n{heals}"))
            + &storage("bricks", VOLUME, "")
            + &storage("other", "nosuch", "")),
    )?;
    let seen = site.wait_state("q", "ok")?;
    ensure!(
        seen.summary.ends_with("3 of 3 bricks answer"),
        "{}",
        seen.summary
    );
    site.wait_state("bricks", "ok")?;
    let alarm = site.wait_failed("other", "glusterd", "no_volume")?;
    ensure!(alarm.next.contains("gluster volume info"), "{alarm:?}");
    try_wait_until("what waits for healing", SOON, || {
        let heal = site.node("q", "heal")?;
        ensure!(heal.reason == "nothing to heal", "{heal:?}");
        Ok(())
    })?;

    // Bricks serve without their glusterd, and so do the mounts.
    gluster.kill_daemon(2)?;
    try_wait_until("a glusterd to be missed", SOON, || {
        let nodes = site.tier("bricks")?.nodes;
        let word = |role: &str| {
            let mut of = nodes.iter().filter(|node| node.role == role);
            of.find(|node| {
                node.name
                    .starts_with(&gluster.machine(2).ipv4().to_string())
            })
            .map(|node| node.word.clone())
        };
        let words = (word("glusterd"), word("brick"));
        ensure!(words.0.as_deref() == Some("refused"), "{words:?}");
        ensure!(words.1.as_deref() == Some("ok"), "{words:?}");
        Ok(())
    })?;
    gluster.daemon_again(2)?;
    site.wait_state("bricks", "ok")?;

    gluster.signal_brick(2, Signal::SIGKILL)?;
    site.wait_state("bricks", "degraded")?;
    let alarm = site.alarm("quorum at risk")?;
    ensure!(
        alarm.next.contains("gluster volume start qvol force"),
        "{alarm:?}"
    );
    let seen = site.wait_state("q", "degraded")?;
    ensure!(seen.facts["bricks"] == "2 of 3", "{:?}", seen.facts);

    gluster.signal_brick(1, Signal::SIGKILL)?;
    site.wait_failed("q", "mount", "no_quorum")?;
    site.wait_state("bricks", "failed")?;

    try_wait_until("the bricks to be back", SOON, || {
        gluster.run(0, &["volume", "start", VOLUME, "force"])?;
        let seen = site.tier("bricks")?;
        ensure!(seen.state == "ok", "{}", seen.summary);
        Ok(())
    })?;
    site.wait_state("q", "ok")?;

    client.kill()?;
    let alarm = site.wait_failed("q", "mount", "stale_mount")?;
    ensure!(
        alarm.next.contains("umount -l /run/q && mount /run/q"),
        "{alarm:?}"
    );
    site.mounts.run("umount", &["-l", "/run/q"])?;
    let _client = gluster.mount(&site.mounts, "/run/q")?;
    site.wait_state("q", "ok")?;
    site.director.stop()
}
