//! `man`: the manual pages, made from the same definition as parser and help texts.

use std::fs;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use crate::cli::args::{self, Cli};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{emit, say};

const SECTION: &str = "8";

/// What help texts do not say.
const DESCRIPTION: &[&str] = &[
    "mb-lb balances mail: an XDP program in the kernel sends SMTP connections to mail servers, and a controller, \
     \"mb-lb-ctl run\", checks the servers and keeps the kernel's tables up to date. The other commands speak to the \
     controller through its admin socket.",
    "Stopping the controller does not stop the balancing; \"mb-lb-ctl detach\" does, and ends every session that comes \
     through this director.",
    "Two directors may share their virtual addresses by VRRP and know each other's sessions; then the sessions go on \
     when the addresses move.",
];

const SIGNALS: &[(&str, &str)] = &[
    (
        "SIGHUP",
        "Reads the configuration file again. One with errors changes nothing.",
    ),
    (
        "SIGTERM, SIGINT",
        "Hands the virtual addresses to the other director, which takes up to 3 seconds, and ends the controller. The \
         data plane goes on. A second one ends it at once.",
    ),
    (
        "SIGUSR1",
        "Ends the controller at once, to be replaced: the virtual addresses stay. The next controller goes on with \
         them, if it is started before the other director's patience ends (3.6 seconds where adverts come every \
         second).",
    ),
];

const AFTER_SIGNALS: &str = "\"systemctl stop\" sends SIGTERM, \"systemctl restart\" SIGUSR1. Killed by SIGKILL, it \
     leaves the virtual addresses as with SIGUSR1, and the kernel takes them away by itself before the other director \
     takes over.";

const FILES: &[(&str, &str)] = &[
    (
        "/etc/mb-lb/mb-lb.toml",
        "Configuration. Keys and passwords that it names belong beside it.",
    ),
    ("/etc/default/mb-lb", "Environment of mb-lb.service."),
    ("/run/mb-lb/admin.sock", "Admin socket."),
    ("/sys/fs/bpf/mb-lb/", "Pinned program, links and maps."),
    (
        "/var/lib/mb-lb/",
        "What was drained or weighted by hand, and word for the next controller.",
    ),
];

pub fn run(args: &args::Man) -> Result<Exit, Failure> {
    let Some(directory) = &args.dir else {
        let (_, page) = pages().swap_remove(0);
        emit(&page)?;
        return Ok(Exit::Ok);
    };
    let written = write(directory).map_err(|error| {
        Failure::failed(format!(
            "cannot write manual pages to {}: {error}",
            directory.display()
        ))
    })?;
    say(&format!(
        "{written} manual pages written to {}",
        directory.display()
    ));
    Ok(Exit::Ok)
}

fn write(directory: &Path) -> io::Result<usize> {
    fs::create_dir_all(directory)?;
    let pages = pages();
    for (name, page) in &pages {
        fs::write(directory.join(name), page)?;
    }
    Ok(pages.len())
}

/// Names of files and what is in them: the main page first, then one for each command, and each command of a command.
pub fn pages() -> Vec<(String, String)> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add(&mut pages, &command, None);
    pages
}

fn add(pages: &mut Vec<(String, String)>, command: &Command, parent: Option<&str>) {
    let name = match parent {
        None => command.get_name().to_owned(),
        Some(parent) => format!("{parent}-{}", command.get_name()),
    };
    let page = match parent {
        None => main_page(command),
        Some(parent) => command_page(command, &name, parent),
    };
    pages.push((format!("{name}.{SECTION}"), page));
    for sub in command.get_subcommands() {
        add(pages, sub, Some(&name));
    }
}

fn main_page(command: &Command) -> String {
    let mut page = head(command, command.get_name(), DESCRIPTION);
    // Writing into a Vec cannot fail, here and below.
    let _ = man(command).render_subcommands_section(&mut page);
    let _ = man(command).render_options_section(&mut page);
    let mut rest = Roff::new();
    rest.control("SH", ["SIGNALS OF THE DAEMON"]);
    for (signal, text) in SIGNALS {
        rest.control("TP", []);
        rest.text([bold(*signal)]).text([roman(*text)]);
    }
    rest.control("PP", []).text([roman(AFTER_SIGNALS)]);
    rest.control("SH", ["FILES"]);
    for (file, text) in FILES {
        rest.control("TP", []);
        rest.text([italic(*file)]).text([roman(*text)]);
    }
    after_help(&mut rest, command);
    let subs = command.get_subcommands();
    let mut also: Vec<_> = subs
        .map(|sub| reference(&format!("{}-{}", command.get_name(), sub.get_name())))
        .collect();
    also.push(vec![italic("/usr/share/doc/mb-lb/manual.md")]);
    also.push(vec![
        italic("/usr/share/doc/mb-lb/runbook.md"),
        roman(" (a pair of directors, step by step)"),
    ]);
    see_also(&mut rest, also);
    finish(page, &rest)
}

fn command_page(command: &Command, name: &str, parent: &str) -> String {
    let mut page = head(command, name, &[]);
    if command.get_subcommands().next().is_some() {
        let _ = man(command).render_subcommands_section(&mut page);
    }
    let _ = man(command).render_options_section(&mut page);
    let mut rest = Roff::new();
    after_help(&mut rest, command);
    let mut also = vec![reference(parent)];
    let subs = command.get_subcommands();
    also.extend(subs.map(|sub| reference(&format!("{name}-{}", sub.get_name()))));
    also.push(vec![italic("/usr/share/doc/mb-lb/manual.md")]);
    see_also(&mut rest, also);
    finish(page, &rest)
}

fn man(command: &Command) -> Man {
    Man::new(command.clone()).section(SECTION)
}

/// Title, name, synopsis and description.
fn head(command: &Command, name: &str, more: &[&str]) -> Vec<u8> {
    let about = command.get_about().map(ToString::to_string);
    let about = about.unwrap_or_default();
    let mut page = Vec::new();
    let title = man(command)
        .title(name.to_uppercase())
        .source("mb-lb")
        .manual("System administration");
    let _ = title.render_title(&mut page);
    let mut roff = Roff::new();
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{name} - {about}"))]);
    let _ = roff.to_writer(&mut page);
    let _ = man(command).render_synopsis_section(&mut page);
    let mut roff = Roff::new();
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([roman(format!("{about}."))]);
    for text in more {
        roff.control("PP", []).text([roman(*text)]);
    }
    let _ = roff.to_writer(&mut page);
    page
}

/// Paragraphs of the text after the help, each with its own heading; they are lines, not running text.
fn after_help(roff: &mut Roff, command: &Command) {
    let text = command.get_after_help().map(ToString::to_string);
    for paragraph in text.unwrap_or_default().split("\n\n") {
        let Some((heading, lines)) = paragraph.split_once('\n') else {
            continue;
        };
        let heading = heading.trim_end_matches(':').to_uppercase();
        roff.control("SH", [heading.as_str()]);
        roff.control("nf", []);
        for line in lines.lines() {
            roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        }
        roff.control("fi", []);
    }
}

/// `mb-lb-ctl-run(8)`.
fn reference(page: &str) -> Vec<Inline> {
    vec![bold(page), roman(format!("({SECTION})"))]
}

fn see_also(roff: &mut Roff, pages: Vec<Vec<Inline>>) {
    roff.control("SH", ["SEE ALSO"]);
    let last = pages.len().saturating_sub(1);
    for (index, mut page) in pages.into_iter().enumerate() {
        if index < last {
            page.push(roman(","));
        }
        roff.text(page);
    }
}

fn finish(mut page: Vec<u8>, rest: &Roff) -> String {
    let _ = rest.to_writer(&mut page);
    String::from_utf8_lossy(&page).into_owned()
}

#[cfg(test)]
mod tests;
