//! `diff` and `reload`: the daemon computes both by the same code.

use std::path::PathBuf;

use crate::cli::args::{Diff, Global};
use crate::cli::client::Client;
use crate::cli::config_source::read;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{emit, say};
use crate::command::line::quote;

pub fn diff(global: &Global, args: &Diff) -> Result<Exit, Failure> {
    let client = Client::new(global);
    // Without a name: what `reload` would read, and only the daemon knows that.
    let path = match args.file.as_ref().or(global.config.as_ref()) {
        Some(path) => path.clone(),
        None => match client.snapshot()?.config_path {
            path if path.is_empty() => global.config_path().to_owned(),
            path => PathBuf::from(path),
        },
    };
    // The daemon gets the text and not the name, so nobody reads with its permissions.
    let request = diff_request(&read(&path)?, &path.display().to_string());
    let (exit, lines): (Exit, Vec<String>) = client.ask(&request).map_err(|failure| {
        with_text(
            failure,
            &format!(
                "{} has errors, so there is nothing to compare",
                path.display()
            ),
        )
    })?;
    if lines.is_empty() {
        say(&format!(
            "{} is in force as it is; a reload would change nothing",
            path.display()
        ));
    }
    emit(&lines_of(&lines))?;
    Ok(exit)
}

pub fn reload(global: &Global) -> Result<Exit, Failure> {
    let (warnings, lines): (String, Vec<String>) = Client::changing(global)
        .ask_and_hear("mb-lb reload")
        .map_err(|failure| {
            with_text(
                failure,
                "not reloaded, the old configuration stays in force",
            )
        })?;
    if !warnings.is_empty() {
        say(warnings.trim_end());
    }
    if lines.is_empty() {
        say("reloaded; nothing has changed");
    } else {
        say("reloaded; this has changed:");
    }
    emit(&lines_of(&lines))?;
    Ok(Exit::Ok)
}

fn lines_of(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// What the daemon said about the text goes below what that means.
fn with_text(failure: Failure, meaning: &str) -> Failure {
    if failure.exit != Exit::ConfigErrors {
        return failure;
    }
    let message = format!("{meaning}:\n{}", failure.message.trim_end());
    Failure::new(Exit::ConfigErrors, message).next("correct the file, then mb-lb-ctl check")
}

/// The command and its payload, ended by a line that is not in `text`.
fn diff_request(text: &str, name: &str) -> String {
    let mut end = "END".to_owned();
    let mut number = 0u64;
    while text.lines().any(|line| line == end) {
        number += 1;
        end = format!("END{number}");
    }
    format!("mb-lb diff {} <<{end}\n{text}\n{end}", quote(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_payload_is_not_in_it() {
        assert_eq!(
            diff_request("a", "my file"),
            "mb-lb diff my\\ file <<END\na\nEND"
        );
        assert_eq!(
            diff_request("END\n\nEND1", "x"),
            "mb-lb diff x <<END2\nEND\n\nEND1\nEND2"
        );
    }
}
