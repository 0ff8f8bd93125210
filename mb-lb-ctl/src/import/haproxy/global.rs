//! `global`: `[director]` and `[admin]`.

use super::sections::{Config, Kind, Statement};
use super::stats;
use crate::import::Import;
use crate::import::block::Block;
use crate::import::report::{At, Verdict};
use crate::import::value::quote;

const SOCKET: &str = "/run/mb-lb/admin.sock";
/// Room for flows that a director has anyway.
const FLOWS: u64 = 262_144;
const MOST_FLOWS: u64 = 16_777_216;

pub(super) fn process(files: &[Config], name: Option<(String, At)>, import: &mut Import<'_>) {
    let globals = files.iter().flat_map(|config| &config.sections);
    let globals: Vec<_> = globals
        .filter(|section| section.kind == Kind::Global)
        .collect();
    let lines = || globals.iter().flat_map(|section| &section.statements);
    let flows = lines().rfind(|line| line.is("maxconn"));
    director(name, flows, import);

    let mut admin = Block::new("admin", &[]);
    let sockets: Vec<_> = lines().filter(|line| line.is("stats socket")).collect();
    let mut served = sockets.iter().filter(|line| is_path(line));
    if let Some(first) = served.next() {
        socket(first, &mut admin);
    }
    for other in sockets.iter().filter(|line| !is_path(line)) {
        let note = "the admin socket is a UNIX socket only: socat or ssh carry it elsewhere";
        import.ledger.say(other.at, Verdict::Unsupported, note);
    }
    for other in served {
        import.ledger.say(
            other.at,
            Verdict::Unsupported,
            "there is one admin socket, for the first such line",
        );
    }
    let mut taken = false;
    for config in files {
        stats::page(config, &mut taken, &mut admin, &mut import.ledger);
    }
    if !sockets.is_empty() || taken {
        import.output.offer(&admin, &mut import.ledger);
    }
}

fn director(name: Option<(String, At)>, flows: Option<&Statement>, import: &mut Import<'_>) {
    let number = flows.and_then(|line| line.word(1)?.parse::<u64>().ok());
    let more = number.filter(|number| *number > FLOWS);
    if let Some(line) = flows.filter(|_| more.is_none()) {
        let note = "director.max_flows has room for 262144 unless told otherwise";
        import.ledger.say(line.at, Verdict::NotNeeded, note);
    }
    if name.is_none() && more.is_none() {
        return;
    }
    let mut block = Block::new("director", &[]);
    if let Some((name, at)) = name {
        block.key("name", quote(&name), &[at]);
    }
    if let (Some(more), Some(line)) = (more, flows) {
        block.key("max_flows", more.min(MOST_FLOWS).to_string(), &[line.at]);
    }
    import.output.offer(&block, &mut import.ledger);
}

fn is_path(line: &Statement) -> bool {
    let path = line.word(2).unwrap_or_default();
    path.starts_with('/') || path.starts_with("unix@/")
}

fn socket(line: &Statement, block: &mut Block) {
    let path = line.word(2).unwrap_or_default().trim_start_matches("unix@");
    let why = format!("was {path}");
    block.key_because("socket", quote(SOCKET), &[line.at], &why);
    let mut words = line.words.iter().skip(3).map(String::as_str);
    let (mut level, mut owners) = (None, Vec::new());
    while let Some(word) = words.next() {
        match word {
            "mode" => {
                let mode = words.next().unwrap_or_default();
                let mode = format!("{mode:0>4}");
                block.key("socket_mode", quote(&mode), &[line.at]);
            }
            "level" => level = words.next(),
            "user" | "group" | "uid" | "gid" => {
                let whose = words.next().unwrap_or_default();
                owners.push(format!("`{word} {whose}`"));
            }
            // Who else gets the listening sockets, and numbers in answers.
            "expose-fd" | "severity-output" | "name" | "id" | "process" | "thread" | "backlog"
            | "maxconn" | "nice" => {
                words.next();
            }
            other => {
                let note = format!("`{other}` is not known to the import");
                block.claim(line.at, Verdict::Approximated, note);
            }
        }
    }
    let why = match level {
        Some(_) => "",
        None => "HAProxy's default",
    };
    let level = level.unwrap_or("operator");
    block.key_because("socket_level", quote(level), &[line.at], why);
    let note = format!(
        "the socket is {SOCKET}: have scripts that name {path} name that instead; it speaks the same language"
    );
    block.claim(line.at, Verdict::Approximated, note);
    if !owners.is_empty() {
        let owners = owners.join(" and ");
        let note = format!(
            "{owners}: the socket belongs to the user and group of the daemon, which is root in its unit; who else is to use it gets in by socket_mode, or by sudo"
        );
        block.claim(line.at, Verdict::Approximated, note);
    }
    if level != "admin" {
        block.notice(format!(
            "the admin socket has HAProxy's level, {level}, with which nothing can be changed; mb-lb-ctl needs socket_level = \"admin\" to drain and weight servers"
        ));
    }
}
