//! The controller dies, and the data plane does not notice.

use anyhow::{Result, ensure};
use mb_lb_tests::{Session, Source, try_wait_until};

use crate::narrator::Narrator;
use crate::stage::{SOON, Stage, by_server, expect_alive, fair, listed, service};

const HELD: usize = 50;
const NEW: usize = 25;
const MESSAGES: u32 = 500;
/// Delivered when the controller is killed.
const KILLED_AT: u64 = 100;

/// Returns the sessions that are open at the end.
pub fn controller_dies(n: &mut Narrator, stage: &mut Stage) -> Result<Vec<Session>> {
    n.act("The controller is killed");
    n.say(&format!(
        "{HELD} clients open a session one after another and keep it. Meanwhile smtp-source sends {MESSAGES} messages. In the \
         middle of that the controller gets kill -9. The XDP program and its tables belong to the kernel, so nothing \
         should happen.",
    ));
    stage.wait_idle()?;
    let mut sessions = stage.open(HELD)?;
    let counts = by_server(&sessions);
    ensure!(
        counts == fair(HELD as u64),
        "{HELD} sessions stand at {}",
        listed(&counts)
    );
    n.proved(format!(
        "the {HELD} sessions stand exactly at {}",
        listed(&counts)
    ));

    let (client, vip) = (stage.lab.client(), stage.lab.smtp4());
    let sending = Source::new(vip)
        .messages(MESSAGES)
        .sessions(50)
        .start(client, "smtp-source-restart")?;
    try_wait_until("the load to begin", SOON, || {
        let delivered = sending.delivered()?;
        ensure!(
            delivered >= KILLED_AT,
            "{delivered} of {KILLED_AT} messages"
        );
        Ok(())
    })?;
    stage.director.kill()?;
    let at = sending.delivered()?;
    ensure!(
        at < MESSAGES.into(),
        "all was delivered before the controller was killed"
    );
    let status = stage.director.ctl(&["status"])?;
    ensure!(
        status.code == 5,
        "status without a controller ends with {}",
        status.code
    );
    n.command("mb-lb-ctl status", &status.stderr);
    n.proved(format!(
        "the controller is gone (exit code 5), after {at} messages"
    ));
    sending.finish()?.expect_all(MESSAGES.into())?;
    n.proved(format!(
        "all {MESSAGES} messages were accepted, no session was reset"
    ));
    expect_alive(&mut sessions)?;
    n.proved(format!("the {HELD} open sessions go on"));
    let new = stage.open(NEW)?;
    let counts = by_server(&new);
    ensure!(
        counts == fair(NEW as u64),
        "{NEW} new sessions went to {}",
        listed(&counts)
    );
    n.proved(format!(
        "{NEW} new sessions, without any controller, went exactly to {}",
        listed(&counts)
    ));
    sessions.extend(new);

    n.say("A new controller starts and finds the program and the maps where they are pinned.");
    stage.director.run()?;
    let total = sessions.len() as i64;
    let status = stage.wait_status("the new controller to have counted", SOON, |status| {
        let active: i64 = service(status)?
            .servers
            .iter()
            .map(|server| server.active)
            .sum();
        ensure!(active == total, "{active} of {total} sessions");
        Ok(())
    })?;
    ensure!(status.dataplane.adopted, "the data plane was made anew");
    n.command("mb-lb-ctl status", &stage.director.expect(&["status"])?);
    n.proved(format!(
        "it adopted the data plane: the count is {total}, and no flow moved"
    ));
    expect_alive(&mut sessions)?;
    n.proved(format!(
        "all {total} sessions are alive on the server that they began with"
    ));
    Ok(sessions)
}
