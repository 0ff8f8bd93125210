//! Ansible's community.general.haproxy, as playbooks for rolling updates use it.

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::snapshot::AdminState;
use serde_json::Value;

use crate::Site;

/// What the module says; the error is that it failed, with what it said.
fn haproxy(site: &Site, arguments: &str) -> Result<Result<Value, Value>> {
    let output = site
        .command("ansible")
        .args([
            "localhost",
            "-c",
            "local",
            "-m",
            "community.general.haproxy",
            "-a",
        ])
        .arg(format!("socket={} {arguments}", site.socket().display()))
        .env("ANSIBLE_LOCALHOST_WARNING", "false")
        .env("ANSIBLE_INVENTORY_UNPARSED_WARNING", "false")
        .env("ANSIBLE_NOCOLOR", "1")
        .env("HOME", site.cluster.director.machine().directory())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let json = &text[text.find('{').with_context(|| format!("{output:?}"))?..];
    let json = serde_json::from_str(json).with_context(|| text.clone())?;
    Ok(match output.status.success() {
        true => Ok(json),
        false => Err(json),
    })
}

fn well(site: &Site, arguments: &str) -> Result<Value> {
    haproxy(site, arguments)?.map_err(|said| anyhow::anyhow!("{arguments}: {said}"))
}

#[test]
fn all_modes_of_the_module_do_what_they_say() -> Result<()> {
    let site = Site::start("toolans")?;
    let one = "host=mb1 backend=smtp";
    let quick = "wait=true wait_interval=1 wait_retries=20";

    let done = well(&site, &format!("state=disabled {one} {quick}"))?;
    site.expect_state("mb1", AdminState::Maint)?;
    ensure!(done["changed"] == true, "{done}");
    ensure!(
        done["state_before"][0]["status"] == "UP" && done["state_after"][0]["status"] == "MAINT",
        "{done}"
    );
    let again = well(&site, &format!("state=disabled {one}"))?;
    ensure!(again["changed"] == false, "{again}");

    let done = well(&site, &format!("state=enabled {one} {quick} weight=50%"))?;
    ensure!(done["state_after"][0]["weight"] == "5", "{done}");
    site.expect_state("mb1", AdminState::Ready)?;
    well(&site, &format!("state=enabled {one} weight=10"))?;
    ensure!(site.server("mb1")?.weight == 10);

    let done = well(&site, &format!("state=drain {one} {quick}"))?;
    ensure!(done["state_after"][0]["status"] == "DRAIN", "{done}");
    site.expect_state("mb1", AdminState::Drain)?;
    // Drained, and out when nobody is there.
    well(&site, &format!("state=enabled {one} {quick}"))?;
    let done = well(&site, &format!("state=disabled {one} drain=true {quick}"))?;
    ensure!(done["state_after"][0]["status"] == "MAINT", "{done}");

    // In all backends that have a server of that name; agents and checks among what is enabled.
    well(&site, "state=enabled host=mb1 health=true agent=true")?;
    site.expect_state("mb1", AdminState::Ready)?;
    well(
        &site,
        &format!("state=disabled {one} shutdown_sessions=true {quick}"),
    )?;
    site.expect_state("mb1", AdminState::Maint)?;

    let failed = haproxy(
        &site,
        "state=disabled host=nobody backend=smtp fail_on_not_found=true",
    )?;
    let said = failed.err().context("there is no such server")?;
    ensure!(
        said["msg"] == "The specified backend 'smtp/nobody' was not found!",
        "{said}"
    );
    well(&site, "state=disabled host=nobody backend=smtp")?;
    Ok(())
}
