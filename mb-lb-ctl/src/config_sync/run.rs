//! One run: look at the source, transfer, reload.

use std::io;
use std::process::ExitStatus;

use super::command::{self, Invocation};
use super::failure::{Failure, Kind};
use super::output::{self, Changes};
use super::process::{self, Finished};
use super::{Done, Run, tree};
use crate::config::SyncMethod;

/// Does all of it. `transferred` is told what has changed at the target before anything else happens there, also where
/// the transfer failed later on.
///
/// # Errors
/// Why the target is not in step.
pub(super) async fn run(
    run: &Run,
    transferred: impl AsyncFnOnce(&Changes),
) -> Result<Done, Failure> {
    let (changes, result) = transfer(run).await;
    if !changes.is_empty() {
        transferred(&changes).await;
    }
    result?;
    let reloaded = match &run.sync.reload {
        Some(command) if run.reload_owed || !changes.is_empty() => {
            reload(run, command).await?;
            true
        }
        _ => false,
    };
    Ok(Done { changes, reloaded })
}

async fn transfer(run: &Run) -> (Changes, Result<(), Failure>) {
    match &run.sync.method {
        SyncMethod::Rsync {
            source,
            exclude,
            delete,
        } => {
            let path = source.clone();
            let readable = tokio::task::spawn_blocking(move || tree::readable(&path)).await;
            if let Ok(Err(why)) = readable {
                return (Changes::default(), Err(Failure::new(Kind::Source, why)));
            }
            let invocation = command::rsync(run, source, exclude, *delete);
            match perform(run, &invocation).await {
                Ok(finished) => {
                    let result = judge(run, &invocation, &finished);
                    (output::rsync(&finished.stdout), result)
                }
                Err(failure) => (Changes::default(), Err(failure)),
            }
        }
        SyncMethod::Git { source, branch } => {
            if let Some(source) = source {
                let invocation = command::push(run, source, branch.as_deref());
                let pushed = perform(run, &invocation).await;
                let pushed = pushed.and_then(|finished| judge(run, &invocation, &finished));
                if let Err(mut failure) = pushed {
                    if failure.why.contains("src refspec")
                        || failure.why.contains("cannot change to")
                    {
                        failure.kind = Kind::Source;
                    }
                    return (Changes::default(), Err(failure));
                }
            }
            let invocation = command::pull(run);
            match perform(run, &invocation).await {
                Ok(finished) => {
                    let result = judge(run, &invocation, &finished);
                    (output::git(&finished.stdout), result)
                }
                Err(failure) => (Changes::default(), Err(failure)),
            }
        }
    }
}

async fn reload(run: &Run, command: &str) -> Result<(), Failure> {
    let invocation = command::ssh(run, command);
    let finished = perform(run, &invocation).await?;
    // 255 is ssh's own: it did not get there.
    let code = finished.status.and_then(|status| status.code());
    match judge(run, &invocation, &finished) {
        Err(failure) if failure.kind == Kind::TimedOut => Err(Failure::new(
            Kind::Reload,
            format!("the reload command was {}", failure.why),
        )),
        Err(failure) if code != Some(255) => {
            let ended = finished.status.map(ended).unwrap_or_default();
            let said = match failure.why == ended {
                true => String::new(),
                false => format!(": {}", failure.why),
            };
            let why = format!("the reload command {ended}{said}");
            Err(Failure::new(Kind::Reload, why))
        }
        other => other,
    }
}

async fn perform(run: &Run, invocation: &Invocation) -> Result<Finished, Failure> {
    process::run(invocation, run.sync.timeout)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::new(
                Kind::NoProgram,
                format!("{} is not installed on this director", invocation.program),
            ),
            _ => Failure::new(Kind::Other, format!("{}: {error}", invocation.program)),
        })
}

/// Whether it did what it should.
fn judge(run: &Run, invocation: &Invocation, finished: &Finished) -> Result<(), Failure> {
    let Some(status) = finished.status else {
        let why = format!("not done within {:?} and stopped", run.sync.timeout);
        return Err(Failure::new(Kind::TimedOut, why));
    };
    if status.success() {
        return Ok(());
    }
    let how = match invocation.program {
        "ssh" => ended(status),
        program => format!("{program} {}{}", ended(status), meaning(program, status)),
    };
    Err(Failure::from_stderr(&finished.stderr.text(), &how))
}

/// What rsync(1) says of some exit codes, for where it says nothing itself.
fn meaning(program: &str, status: ExitStatus) -> &'static str {
    match (program, status.code()) {
        ("rsync", Some(11)) => " (error in file I/O)",
        ("rsync", Some(12)) => " (the connection broke)",
        ("rsync", Some(23)) => " (not all could be transferred)",
        ("rsync", Some(24)) => " (files went while they were sent)",
        _ => "",
    }
}

fn ended(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("ended with {code}"),
        None => "was killed".to_owned(),
    }
}
