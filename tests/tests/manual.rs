//! The manual says what the code does: every key, reason, diagnostic, command and exit code has its row, and
//! no row speaks of what is not there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use mb_lb_common::Reason;
use mb_lb_ctl::admin::http::metrics;
use mb_lb_ctl::cli::{Cli, Exit};
use mb_lb_ctl::config::{self, Code, schema};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
        .to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect("the document is there")
}

/// What stands between a heading and the next one.
fn section<'t>(text: &'t str, heading: &str) -> &'t str {
    let start = text
        .find(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("no heading {heading:?}"));
    let rest = &text[start + heading.len() + 2..];
    let end = rest.find("\n#").unwrap_or(rest.len());
    &rest[..end]
}

/// Rows of the tables in it, without their header, as cells.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let lines: Vec<_> = text.lines().collect();
    lines
        .iter()
        .enumerate()
        .filter(|(at, line)| {
            let header = lines
                .get(at + 1)
                .is_some_and(|next| next.starts_with("|---"));
            line.starts_with("| ") && !header
        })
        .map(|(_, line)| {
            line.trim_matches('|')
                .split(" | ")
                .map(|cell| cell.trim().trim_matches('`'))
                .collect()
        })
        .collect()
}

fn first_cells(text: &str) -> BTreeSet<&str> {
    rows(text).into_iter().map(|cells| cells[0]).collect()
}

#[test]
fn every_key_has_its_row_and_no_other_has() {
    let manual = read("docs/manual.md");
    for found in schema::ALL {
        if std::ptr::eq(found, &schema::ROOT) {
            for key in found.keys {
                assert!(manual.contains(&format!("\n### [{key}")), "[{key}]");
            }
            continue;
        }
        let documented = first_cells(section(&manual, &format!("### {}", found.title)));
        let keys: BTreeSet<_> = found.keys.iter().copied().collect();
        assert_eq!(documented, keys, "{}", found.title);
    }
}

#[test]
fn every_reason_has_its_row_in_the_codes_own_words() {
    let manual = read("docs/manual.md");
    let documented: Vec<_> = rows(section(&manual, "## Reasons"))
        .into_iter()
        .map(|cells| (cells[0], cells[1], cells[2]))
        .collect();
    let reasons: Vec<_> = Reason::ALL
        .iter()
        .map(|reason| (reason.name(), reason.verdict().name(), reason.text()))
        .collect();
    assert_eq!(documented, reasons);
}

#[test]
fn every_metric_has_its_row_in_the_codes_own_words() {
    let manual = read("docs/manual.md");
    let documented: Vec<_> = rows(section(&manual, "### Metrics"))
        .into_iter()
        .map(|cells| cells.join(" | "))
        .collect();
    let metrics: Vec<_> = metrics::families()
        .map(|family| {
            let labels = family.labels.join(", ");
            let (name, kind, help) = (family.name, family.kind.name(), family.help);
            format!("{name} | {kind} | {labels} | {help}")
        })
        .collect();
    assert_eq!(documented, metrics);
}

#[test]
fn every_diagnostic_has_its_row() {
    let manual = read("docs/manual.md");
    let documented: Vec<_> = rows(section(&manual, "### Errors and warnings"))
        .into_iter()
        .map(|cells| (cells[0], cells[1]))
        .collect();
    let codes: Vec<_> = Code::ALL
        .iter()
        .map(|code| (code.id(), code.text()))
        .collect();
    assert_eq!(documented, codes);
}

#[test]
fn every_command_has_its_section() {
    let manual = read("docs/manual.md");
    let command = Cli::command();
    let commands: BTreeSet<_> = command
        .get_subcommands()
        .map(clap::Command::get_name)
        .collect();
    let documented: BTreeSet<_> = manual
        .lines()
        .filter_map(|line| line.strip_prefix("### mb-lb-ctl "))
        .collect();
    assert_eq!(documented, commands);
    for name in &commands {
        let text = section(&manual, &format!("### mb-lb-ctl {name}"));
        let described = command.find_subcommand(name).expect("it was listed");
        for long in described
            .get_arguments()
            .filter(|argument| !argument.is_global_set())
            .filter_map(clap::Arg::get_long)
            // Told once, for all commands, and `-n` of events.
            .filter(|long| !["help", "output", "lines", "follow"].contains(long))
        {
            assert!(text.contains(&format!("--{long}")), "{name} --{long}");
        }
    }
}

#[test]
fn every_exit_code_has_its_row_in_the_codes_own_words() {
    let manual = read("docs/manual.md");
    let documented: Vec<_> = rows(section(&manual, "## Commands"))
        .into_iter()
        // What is typed is set as code there.
        .map(|cells| format!("{} | {}", cells[0], cells[1].replace('`', "")))
        .collect();
    let codes: Vec<_> = Exit::ALL
        .iter()
        .map(|code| format!("{} | {}", u8::from(*code), code.means()))
        .collect();
    assert_eq!(documented, codes);
    let help = Cli::command().render_long_help().to_string();
    for code in Exit::ALL {
        let line = format!("  {:>2}  ", u8::from(code));
        assert!(help.lines().any(|told| told.starts_with(&line)), "{help}");
    }
}

#[test]
fn every_example_configuration_is_good() {
    let mut examples = 0;
    for document in ["README.md", "docs/manual.md"] {
        let text = read(document);
        for example in text.split("```toml\n").skip(1) {
            let example = example.split("```").next().unwrap_or_default();
            let parsed = config::parse(example, "lb1");
            assert_eq!(parsed.diagnostics, [], "{document}: {example}");
            examples += 1;
        }
    }
    assert_eq!(examples, 13);
}

#[test]
fn every_link_leads_somewhere() {
    for document in [
        "README.md",
        "ARCHITECTURE.md",
        "docs/manual.md",
        "docs/runbook.md",
    ] {
        let text = read(document);
        let here = root().join(document);
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap_or_default();
            if link.starts_with("http") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => here.clone(),
                path => here.with_file_name(path),
            };
            assert!(target.exists(), "{document}: {link}");
            if !anchor.is_empty() {
                let anchors: Vec<_> = fs::read_to_string(&target)
                    .expect("a document")
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .map(anchor_of)
                    .collect();
                assert!(anchors.iter().any(|a| a == anchor), "{document}: {link}");
            }
        }
    }
}

/// As forges make it from a heading.
fn anchor_of(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || "- _".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}
