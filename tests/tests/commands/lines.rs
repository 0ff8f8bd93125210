//! The command lines of the documents.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

pub const DOCUMENTS: [&str; 3] = ["docs/manual.md", "README.md", "docs/runbook.md"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Document and line.
    pub at: String,
    /// From `mb-lb-ctl` to the end of the command.
    pub command: String,
    pub in_block: bool,
}

/// What ends a command: the rest is other commands, comments, or words about it.
const ENDS: [&str; 14] = [
    " | ", " && ", " || ", "; ", ", ", ")", " > ", "  #", " says ", " on the ", " has ", " is ",
    "` ", ": ",
];

pub fn all() -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for document in DOCUMENTS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(document);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        found.extend(of(document, &text));
    }
    Ok(found)
}

fn of(document: &str, text: &str) -> Vec<Found> {
    let mut found = Vec::new();
    let mut in_block = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
            continue;
        }
        let commands = match in_block {
            true => in_line(line),
            // Between backticks, which come in pairs.
            false => line.split('`').skip(1).step_by(2).flat_map(whole).collect(),
        };
        found.extend(commands.into_iter().map(|command| Found {
            at: format!("{document}:{number}"),
            command,
            in_block,
        }));
    }
    found
}

const NAME: &str = "mb-lb-ctl ";

/// A line of a block may have several: of pipelines, and in what a command has printed.
fn in_line(line: &str) -> Vec<String> {
    line.match_indices(NAME)
        // Not a package or the path of a file.
        .filter(|(at, _)| !line[..*at].ends_with(['/', '-']) && !line[..*at].ends_with("-p "))
        .map(|(at, _)| cut(&line[at..]))
        .filter(|command| command.len() > NAME.len())
        .collect()
}

fn whole(code: &str) -> Option<String> {
    code.starts_with(NAME).then(|| cut(code))
}

fn cut(command: &str) -> String {
    let end = ENDS.iter().filter_map(|end| command.find(end)).min();
    command[..end.unwrap_or(command.len())]
        .trim_end()
        .to_owned()
}

#[test]
fn commands_are_found_in_pipelines_and_in_what_was_printed() {
    let text = "Say `mb-lb-ctl status` or `mb-lb-ctl events -f`, not `x`.\n\n```\n$ mb-lb-ctl drain a/b --reason \"x y\" --wait 5s\n\
                  next: systemctl stop mb-lb && mb-lb-ctl detach, or mb-lb-ctl detach --force\n\
                source <(mb-lb-ctl completions bash)\nmb-lb-ctl check                   # the file\n\
                cargo build -p mb-lb-ctl       # x\ninstall target/release/mb-lb-ctl /usr\nUndo: mb-lb-ctl ready a/b\n```\n";
    let found = of("x", text);
    let commands: Vec<&str> = found.iter().map(|found| found.command.as_str()).collect();
    assert_eq!(
        commands,
        [
            "mb-lb-ctl status",
            "mb-lb-ctl events -f",
            "mb-lb-ctl drain a/b --reason \"x y\" --wait 5s",
            "mb-lb-ctl detach",
            "mb-lb-ctl detach --force",
            "mb-lb-ctl completions bash",
            "mb-lb-ctl check",
            "mb-lb-ctl ready a/b",
        ]
    );
    assert!(!found[1].in_block && found[2].in_block);
    assert_eq!(found[2].at, "x:4");
}
