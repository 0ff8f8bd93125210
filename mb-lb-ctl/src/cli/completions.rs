//! `completions`: the few lines that a shell needs to ask `mb-lb-ctl` itself what may come next.
//!
//! So names of services and servers are those of the daemon that runs, and there is no list in a file that could be
//! of another version.

use std::ffi::OsString;
use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};
use clap_complete::env::{CompleteEnv, Shells};
use clap_complete::{ArgValueCandidates, CompletionCandidate};

use crate::cli::args::{self, Cli, Global};
use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::emit;
use crate::cli::state;
use crate::snapshot::Snapshot;

/// Set by the shell's lines; its value is the shell's name.
const VARIABLE: &str = "MB_LB_COMPLETE";
const PROGRAM: &str = "mb-lb-ctl";

/// Somebody waits with a finger on the key.
const PATIENCE: Duration = Duration::from_secs(1);

/// Answers the shell's question and ends the process, if that is what it was started for.
pub fn answer() {
    CompleteEnv::with_factory(Cli::command)
        .var(VARIABLE)
        .complete();
}

pub fn run(args: &args::Completions) -> Result<Exit, Failure> {
    emit(&script(args.shell)?)?;
    Ok(Exit::Ok)
}

fn script(shell: args::Shell) -> Result<String, Failure> {
    let name = match shell {
        args::Shell::Bash => "bash",
        args::Shell::Zsh => "zsh",
        args::Shell::Fish => "fish",
        args::Shell::Elvish => "elvish",
    };
    let shells = Shells::builtins();
    let completer = shells
        .completer(name)
        .ok_or_else(|| Failure::failed(format!("there are no completions for {name}")))?;
    let mut script = Vec::new();
    completer
        .write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut script)
        .map_err(|error| Failure::failed(format!("cannot write the completions: {error}")))?;
    Ok(String::from_utf8_lossy(&script).into_owned())
}

/// `SERVICE/SERVER` of the running daemon.
pub fn servers() -> ArgValueCandidates {
    ArgValueCandidates::new(|| of_daemon(server_names))
}

/// Servers as [`servers`], and tiers.
pub fn described() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        of_daemon(|snapshot| {
            let tiers = snapshot.tiers.iter();
            let tiers = tiers.map(|tier| candidate(tier.name.clone(), &tier.state));
            server_names(snapshot).into_iter().chain(tiers).collect()
        })
    })
}

/// Whatever `list` can be narrowed to.
pub fn listed() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        of_daemon(|snapshot| {
            let services = snapshot.services.iter();
            let services = services.map(|service| candidate(service.name.clone(), "service"));
            let syncs = snapshot.syncs.iter();
            let syncs = syncs.map(|sync| candidate(sync.name.clone(), "config_sync"));
            services.chain(syncs).collect()
        })
    })
}

/// `[config_sync.NAME]`.
pub fn syncs() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        of_daemon(|snapshot| {
            let syncs = snapshot.syncs.iter();
            syncs
                .map(|sync| candidate(sync.name.clone(), &sync.method))
                .collect()
        })
    })
}

/// VRRP instances.
pub fn instances() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        of_daemon(|snapshot| {
            let routers = snapshot.vrrp.iter();
            routers
                .map(|router| candidate(router.name.clone(), &router.role))
                .collect()
        })
    })
}

fn server_names(snapshot: &Snapshot) -> Vec<CompletionCandidate> {
    let services = snapshot.services.iter();
    services
        .flat_map(|service| {
            service.servers.iter().map(|server| {
                candidate(
                    state::full_name(&service.name, &server.name),
                    &state::word(server),
                )
            })
        })
        .collect()
}

fn candidate(name: String, help: &str) -> CompletionCandidate {
    CompletionCandidate::new(name).help(Some(help.to_owned().into()))
}

/// Where no daemon answers there is nothing to propose, and a key press is no place for an error.
fn of_daemon(of: impl Fn(&Snapshot) -> Vec<CompletionCandidate>) -> Vec<CompletionCandidate> {
    let global = global(std::env::args_os());
    let snapshot = Client::new(&global).patience(PATIENCE).snapshot();
    snapshot.map(|snapshot| of(&snapshot)).unwrap_or_default()
}

/// `--socket` and `--config` of the line that is being typed, and what the environment says.
fn global(line: impl Iterator<Item = OsString>) -> Global {
    let mut words = vec![OsString::from(PROGRAM)];
    let mut line = line.peekable();
    while let Some(word) = line.next() {
        let text = word.to_string_lossy();
        if text == "--socket" || text == "--config" {
            words.extend(line.peek().map(|value| {
                let mut both = word.clone();
                both.push("=");
                both.push(value);
                both
            }));
        } else if text.starts_with("--socket=") || text.starts_with("--config=") {
            words.push(word);
        }
    }
    words.push("reload".into());
    match Cli::try_parse_from(words) {
        Ok(cli) => cli.global,
        Err(_) => Cli::parse_from([PROGRAM, "reload"]).global,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Shell;
    use clap::ValueEnum as _;

    #[test]
    fn every_shell_gets_lines_that_ask_us() {
        for shell in Shell::value_variants() {
            let script = script(*shell).expect("a script");
            assert!(script.contains(VARIABLE), "{shell:?}: {script}");
            assert!(script.contains(PROGRAM), "{shell:?}: {script}");
        }
    }

    #[test]
    fn the_socket_of_the_line_is_the_one_that_is_asked() {
        for line in [
            &[
                "mb-lb-ctl",
                "--",
                "mb-lb-ctl",
                "--socket",
                "/s",
                "drain",
                "",
            ][..],
            &["mb-lb-ctl", "--", "mb-lb-ctl", "drain", "--socket=/s", "x"],
        ] {
            let global = global(line.iter().map(OsString::from));
            assert_eq!(global.socket, Some("/s".into()), "{line:?}");
        }
        let bare = global(
            ["mb-lb-ctl", "drain", "--socket"]
                .iter()
                .map(OsString::from),
        );
        assert_eq!(bare.config, None);
    }
}
