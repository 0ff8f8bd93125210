//! What the parser of the command line says of them.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use mb_lb_ctl::cli::Cli;

use crate::lines;

/// What stands for something in a document, and a value that the parser takes.
const PLACEHOLDERS: [(&str, &str); 1] = [
    // A key, pressed after what is written.
    ("<Tab>", "mb1"),
];

#[test]
fn every_command_line_of_the_documents_is_understood() -> Result<()> {
    let mut used = BTreeSet::new();
    let found = lines::all()?;
    let in_blocks = found.iter().filter(|found| found.in_block).count();
    // Both kinds are still found.
    ensure!(
        in_blocks >= 80 && found.len() - in_blocks >= 60,
        "{in_blocks} of {}",
        found.len()
    );
    for line in found {
        let mut command = line.command.clone();
        for (placeholder, value) in PLACEHOLDERS {
            if command.contains(placeholder) {
                used.insert(placeholder);
                command = command.replace(placeholder, value);
            }
        }
        let words = shlex::split(&command);
        let Some(words) = words else {
            anyhow::bail!("{}: not words of a shell: {command}", line.at);
        };
        let Err(error) = Cli::try_parse_from(&words) else {
            continue;
        };
        // Running text may name a command without its arguments.
        let is_name = !line.in_block
            && words.len() == 2
            && error.kind() == ErrorKind::MissingRequiredArgument
            && Cli::command().find_subcommand(&words[1]).is_some();
        ensure!(is_name, "{}: {command}: {error}", line.at);
    }
    for (placeholder, _) in PLACEHOLDERS {
        ensure!(used.contains(placeholder), "no document has {placeholder}");
    }
    Ok(())
}
