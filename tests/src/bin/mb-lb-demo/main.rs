//! The demo behind `cargo xtask demo`: a mail cluster in network namespaces, real SMTP through the real XDP program,
//! and everything that goes wrong in such a cluster, in a minute and a half.
//!
//! Each claim is checked before it is printed; one that does not hold ends the demo with exit code 1. The lab goes
//! with this process, however it ends (`mb_lb_tests::Lab`).

mod acts;
mod failover;
mod mail;
mod narrator;
mod pair;
mod restart;
mod stage;

use std::process::ExitCode;

use anyhow::{Result, ensure};

use narrator::Narrator;
use stage::Stage;

fn main() -> ExitCode {
    match play() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ndemo: this did not happen as it should: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn play() -> Result<()> {
    let mut narrator = Narrator::new();
    let n = &mut narrator;
    let mut stage = acts::network(n)?;
    acts::configure(n, &mut stage)?;
    acts::balance(n, &stage)?;
    failover::server_freezes(n, &stage)?;
    let sessions = restart::controller_dies(n, &mut stage)?;
    acts::drain(n, &stage, sessions)?;
    acts::events(n, &stage)?;
    clean_up(n, stage)?;
    pair::director_dies(n)?;
    narrator.finish();
    Ok(())
}

fn clean_up(n: &mut Narrator, stage: Stage) -> Result<()> {
    n.act("Clean up");
    let Stage {
        lab,
        mut director,
        sinks,
    } = stage;
    director.stop()?;
    let told = director.expect(&["detach", "--verbose"])?;
    let pins = told
        .lines()
        .filter(|line| line.starts_with("removed "))
        .count();
    ensure!(pins > 0, "detach found nothing to take away");
    n.proved(format!(
        "the controller stopped, and mb-lb-ctl detach took {pins} pins away: the link, and the maps"
    ));
    drop((director, sinks));
    let directory = lab.dir();
    lab.down()?;
    ensure!(!directory.exists(), "{} is left", directory.display());
    n.proved("namespaces, programs, maps and files are gone");
    Ok(())
}
