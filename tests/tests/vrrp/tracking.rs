//! Priorities that change: ours by what the daemon tells the router, keepalived's by a script.

use std::fs;

use anyhow::{Result, ensure};
use mb_lb_ctl::vrrp::machine::{Cause, Role};

use crate::form::V2_PASS;
use crate::keepalived::Keepalived;
use crate::network::{Heard, wait_holders};
use crate::router::{Router, policy};
use crate::{VIP4, lab};

#[test]
fn ours_changes() -> Result<()> {
    let lab = lab("track1")?;
    let (lb1, lb2) = (lab.machine("lb1"), lab.machine("lb2"));
    let ours = Router::start(lb1, &V2_PASS.ours(&lab, 101))?;
    ours.wait_role(Role::Backup)?;
    ours.wait_role(Role::Active)?;
    let heard = Heard::count(lb2)?;
    let other = Keepalived::start(lb2, &V2_PASS.theirs(&lab, 100))?;
    heard.wait_many()?;
    ensure!(!other.was_active()?, "keepalived does not hear us");
    ours.tell(policy(99))?;
    let cause = ours.wait_role(Role::Backup)?;
    ensure!(
        matches!(cause, Cause::Stronger { priority: 100, .. }),
        "{cause:?}"
    );
    wait_holders(&lab, VIP4, [false, true])?;
    ours.tell(policy(101))?;
    let cause = ours.wait_role(Role::Active)?;
    ensure!(
        matches!(cause, Cause::Weaker { priority: 100, .. }),
        "{cause:?}"
    );
    wait_holders(&lab, VIP4, [true, false])
}

#[test]
fn theirs_changes() -> Result<()> {
    let lab = lab("track2")?;
    let lb2 = lab.machine("lb2");
    let healthy = lb2.directory().join("healthy");
    fs::write(&healthy, "")?;
    let script = format!(
        "vrrp_script check {{\n script \"/usr/bin/test -e {}\"\n interval 1\n weight -60\n}}",
        healthy.display()
    );
    let settings = V2_PASS.theirs(&lab, 150) + "\n track_script {\n  check\n }";
    let other = Keepalived::start_with(lb2, &script, &settings)?;
    wait_holders(&lab, VIP4, [false, true])?;
    let ours = Router::start(lab.machine("lb1"), &V2_PASS.ours(&lab, 100))?;
    ours.wait_role(Role::Backup)?;
    fs::remove_file(&healthy)?;
    let cause = ours.wait_role(Role::Active)?;
    ensure!(
        matches!(cause, Cause::Weaker { priority: 90, .. }),
        "{cause:?}"
    );
    wait_holders(&lab, VIP4, [true, false])?;
    fs::write(&healthy, "")?;
    let cause = ours.wait_role(Role::Backup)?;
    ensure!(
        matches!(cause, Cause::Stronger { priority: 150, .. }),
        "{cause:?}"
    );
    wait_holders(&lab, VIP4, [false, true])?;
    drop(other);
    Ok(())
}
