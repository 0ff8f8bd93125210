//! The command lines of the documents.

use std::fs;
use std::ops::Range;
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
        found.extend(of(document, &read(document)?));
    }
    Ok(found)
}

fn read(document: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(document);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

fn of(document: &str, text: &str) -> Vec<Found> {
    let parts = parts(text);
    let in_blocks = parts
        .blocks
        .iter()
        .flat_map(|(line, text)| in_line(text).map(|command| (*line, command, true)));
    let in_text = parts
        .code
        .iter()
        .filter_map(|(line, code)| Some((*line, whole(code)?, false)));
    let mut found: Vec<_> = in_blocks.chain(in_text).collect();
    found.sort_by_key(|(line, ..)| *line);
    let found = found.into_iter();
    found
        .map(|(line, command, in_block)| Found {
            at: format!("{document}:{line}"),
            command,
            in_block,
        })
        .collect()
}

/// Languages of blocks with commands.
const SHELLS: [&str; 4] = ["", "sh", "bash", "console"];

/// What a document shows as code, with the number of the line.
#[derive(Default)]
struct Parts {
    /// Lines of blocks that are of no other language than that of a shell.
    blocks: Vec<(usize, String)>,
    /// Between backticks.
    code: Vec<(usize, String)>,
}

fn parts(text: &str) -> Parts {
    let mut parts = Parts::default();
    let mut language = None;
    // Backticks come in pairs, but not always in one line.
    let mut open: Option<(usize, String)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(fence) = line.trim_start().strip_prefix("```") {
            language = match language {
                None => Some(fence.trim().to_owned()),
                Some(_) => None,
            };
            continue;
        }
        match &language {
            Some(language) if SHELLS.contains(&language.as_str()) => {
                parts.blocks.push((number, line.to_owned()))
            }
            Some(_) => {}
            None => {
                // A paragraph ends what somebody forgot to close.
                if line.trim().is_empty() {
                    open = None;
                }
                if let Some((_, code)) = &mut open {
                    code.push(' ');
                }
                for (at, piece) in line.split('`').enumerate() {
                    if at > 0 {
                        match open.take() {
                            Some(code) => parts.code.push(code),
                            None => open = Some((number, String::new())),
                        }
                    }
                    if let Some((_, code)) = &mut open {
                        code.push_str(piece);
                    }
                }
            }
        }
    }
    parts
}

/// Programs whose command lines the documents show, beside our own. In running text nothing else is a command; of a block
/// without prompts every line has to be one, or the block is in [`NO_COMMANDS`].
#[rustfmt::skip]
const TOOLS: [&str; 41] = [
    "CREATE", "apt", "cargo", "cat", "chmod", "curl", "dpkg", "echo", "ethtool", "galera_new_cluster", "galera_recovery",
    "grep", "install", "ip", "journalctl", "man", "mariadb-admin", "mariadb-dump", "mariadbd",
    "mb-lb-ctl", "mkdir", "mount", "mv", "nft", "openssl", "promtool", "redis-cli",
    "rm", "rsync", "scp", "sed", "sha256sum", "source", "ss", "ssh-keygen", "ssh-keyscan", "sysctl", "systemctl", "systemd-analyze", "tcpdump",
    "umount",
];

/// How blocks begin that have no command in them.
pub const NO_COMMANDS: [&str; 4] = [
    "[Service]",
    "#!/bin/sh",
    "  VI_1  ACTIVE",
    "ok  all 500 messages",
];

/// Every command line of a shell, in blocks and in running text. Not the blocks of the chapter of the maintenance window: the
/// test of that name reads and walks them.
pub fn shell() -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for document in DOCUMENTS {
        let text = read(document)?;
        let walked = walked(&text);
        let is_here = |line: usize| !walked.contains(&line);
        let parts = parts(&text);
        let of_blocks = parts
            .blocks
            .iter()
            .filter(|(line, _)| is_here(*line))
            .filter_map(|(line, text)| Some((*line, typed(text)?, true)));
        let of_text = parts
            .code
            .iter()
            .filter_map(|(line, code)| Some((*line, typed(code)?, false)));
        let lines = of_blocks.chain(of_text);
        found.extend(lines.map(|(line, command, in_block)| Found {
            at: format!("{document}:{line}"),
            command,
            in_block,
        }));
    }
    Ok(found)
}

/// A command without its prompt and without the comment after it.
fn typed(line: &str) -> Option<String> {
    let line = line.trim();
    let prompted = PROMPTS.iter().find_map(|prompt| line.strip_prefix(prompt));
    let command = prompted.unwrap_or(line);
    let command = command.split("  #").next().unwrap_or_default().trim();
    let (program, arguments) = command.split_once(' ').unwrap_or((command, ""));
    // Not `mount = ` of a configuration, nor a synopsis.
    let is_command = TOOLS.contains(&program) && !arguments.starts_with(['=', '[']);
    (prompted.is_some() || is_command).then(|| command.to_owned())
}

/// Lines of blocks that are neither commands nor shown by a block with a prompt, nor in [`NO_COMMANDS`].
pub fn unknown() -> Result<Vec<String>> {
    let mut unknown = Vec::new();
    for document in DOCUMENTS {
        let blocks = parts(&read(document)?).blocks;
        let mut rest = blocks.as_slice();
        while !rest.is_empty() {
            // One block's lines follow each other.
            let length = (1..rest.len())
                .find(|at| rest[*at].0 != rest[at - 1].0 + 1)
                .unwrap_or(rest.len());
            let (block, others) = rest.split_at(length);
            rest = others;
            let is_prompted = |(_, line): &(usize, String)| {
                PROMPTS.iter().any(|prompt| line.trim().starts_with(prompt))
            };
            let is_known = NO_COMMANDS
                .iter()
                .any(|start| block[0].1.starts_with(start));
            if is_known || block.iter().any(is_prompted) {
                continue;
            }
            let lines = block.iter().filter(|(_, line)| {
                let comment = line.trim().is_empty() || line.trim().starts_with('#');
                !comment && typed(line).is_none()
            });
            unknown.extend(lines.map(|(number, line)| format!("{document}:{number}: {line}")));
        }
    }
    Ok(unknown)
}

const PROMPTS: [&str; 3] = ["lb1# ", "lb2# ", "$ "];

/// The test of the maintenance window has it: a line of a block of that chapter.
pub fn is_walked(found: &Found) -> bool {
    let Some((document, line)) = found.at.split_once(':') else {
        return false;
    };
    let line = line.parse().unwrap_or_default();
    found.in_block && read(document).is_ok_and(|text| walked(&text).contains(&line))
}

/// Lines of the chapter of the maintenance window.
fn walked(text: &str) -> Range<usize> {
    let lines: Vec<_> = text.lines().collect();
    let Some(start) = lines
        .iter()
        .position(|line| *line == "### In one maintenance window")
    else {
        return 0..0;
    };
    let is_next = |line: &&str| line.starts_with("## ") || line.starts_with("### ");
    let length = lines[start + 1..].iter().position(is_next);
    // Numbers of lines begin with 1.
    start + 1..length.map_or(lines.len(), |length| start + 1 + length) + 1
}

const NAME: &str = "mb-lb-ctl ";

/// A line of a block may have several: of pipelines, and in what a command has printed.
fn in_line(line: &str) -> impl Iterator<Item = String> {
    line.match_indices(NAME)
        // Not a package or the path of a file.
        .filter(|(at, _)| !line[..*at].ends_with(['/', '-']) && !line[..*at].ends_with("-p "))
        .map(|(at, _)| cut(&line[at..]))
        .filter(|command| command.len() > NAME.len())
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

#[test]
fn commands_of_any_program_are_found_without_prompt_and_comment() {
    let text = "Say `systemctl stop mb-lb` and `lb2# mb-lb-ctl failover`, then `ip neigh\nshow VIP`; `mount = ` and `x` are none.\n\n\
                A `tick too many.\n\n```\n$ foo bar\nout put\ncargo xtask dist       # says\n```\n\n```toml\ncargo = 1\n```\n\n\
                ### In one maintenance window\n\n```\nlb1# apt update\n```\n\n## More\n\n`ss -tln`\n";
    let parts = parts(text);
    let code = parts.code.iter().filter_map(|(_, code)| typed(code));
    let code: Vec<_> = code.collect();
    assert_eq!(
        code,
        [
            "systemctl stop mb-lb",
            "mb-lb-ctl failover",
            "ip neigh show VIP",
            "ss -tln"
        ]
    );
    let blocks = parts.blocks.iter().filter_map(|(_, line)| typed(line));
    let blocks: Vec<_> = blocks.collect();
    assert_eq!(blocks, ["foo bar", "cargo xtask dist", "apt update"]);
    let walked = walked(text);
    let inside: Vec<_> = (1..=text.lines().count())
        .filter(|line| walked.contains(line))
        .collect();
    assert_eq!(inside, [16, 17, 18, 19, 20, 21]);
}
