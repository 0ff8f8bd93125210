//! Checks of real servers: `check` of a service.
//!
//! keepalived has any number of checks for each server, and a service has one for all of its servers: the first that can
//! be said here. What keeps time is looked for in the check, then in its server, then in the virtual server.

mod request;

use super::{Forward, Node, Real};
use crate::import::block::Block;
use crate::import::report::{At, Verdict};
use crate::import::value::{duration, list, quote, seconds, table};

const HOUR: u64 = 3_600_000;

/// Of the virtual server or of a server, for all of its checks.
pub(super) const INHERITED: [&str; 5] = [
    "delay_loop",
    "connect_timeout",
    "retry",
    "delay_before_retry",
    "virtualhost",
];

/// Kinds that have an equal here.
const NATIVE: [&str; 4] = ["TCP_CHECK", "SMTP_CHECK", "HTTP_GET", "SSL_GET"];

const OTHER: [&str; 6] = [
    "MISC_CHECK",
    "PING_CHECK",
    "DNS_CHECK",
    "UDP_CHECK",
    "BFD_CHECK",
    "FILE_CHECK",
];

const PROGRAM: &str = "after its own arguments come four more, VIP and port, address and port of the server; it runs as root without root's powers, in the sandbox of the systemd unit (the manual says how to open that)";

pub(super) fn is_check(kind: &str) -> bool {
    NATIVE.contains(&kind) || OTHER.contains(&kind)
}

/// A check with where it stands.
#[derive(Clone, Copy)]
struct Place<'n> {
    virtual_server: &'n Node,
    real: &'n Node,
    check: &'n Node,
}

/// What says when, in milliseconds.
#[derive(Debug, PartialEq, Eq)]
struct Times {
    interval: u64,
    timeout: u64,
    retries: u64,
    pause: u64,
}

pub(super) fn check(
    node: &Node,
    reals: &[Real<'_>],
    port: u16,
    forward: Forward,
    block: &mut Block,
) {
    let program = Program::of(reals);
    let chosen = |real: &Real<'_>| {
        let mut checks = real.node.children.iter();
        let native = checks.position(|child| NATIVE.iter().any(|kind| child.is(kind)));
        let mut checks = real.node.children.iter();
        native.or_else(|| checks.position(|child| child.is("MISC_CHECK") && program.is_ok()))
    };
    let places: Vec<(&Real<'_>, Place<'_>)> = reals
        .iter()
        .filter_map(|real| {
            let check = &real.node.children[chosen(real)?];
            let place = Place {
                virtual_server: node,
                real: real.node,
                check,
            };
            Some((real, place))
        })
        .collect();
    for real in reals {
        let chosen = chosen(real).map(|at| real.node.children[at].at);
        others(real.node, chosen, &program, block);
    }
    let Some((first, place)) = places.first() else {
        return without(node, reals, block);
    };
    let mut used = write(first, *place, &program, port, forward, block);
    for real in reals.iter().filter(|real| chosen(real).is_none()) {
        let checked = real
            .node
            .children
            .iter()
            .any(|child| is_check(child.word(0).unwrap_or_default()));
        let note = match checked {
            true => "its checks have no equal here: it is checked as the other servers are",
            false => "keepalived does not check it; here all servers of a service are checked",
        };
        block.claim(real.node.at, Verdict::Approximated, note);
    }
    for (_, other) in places.iter().skip(1) {
        let same = other.text() == place.text() && other.times() == place.times();
        let verdict = match same {
            true => Verdict::Mapped,
            false => Verdict::Approximated,
        };
        let note = "all servers of a service are checked alike, as the first of them";
        other
            .check
            .each(&mut |node| block.claim(node.at, verdict, note));
        for line in other.lines() {
            if !used.contains(&line.at) {
                block.claim(line.at, verdict, note);
                used.push(line.at);
            }
        }
    }
    let scopes = std::iter::once(node).chain(reals.iter().map(|real| real.node));
    for line in scopes.flat_map(|scope| &scope.children) {
        if INHERITED.iter().any(|key| line.is(key)) && !used.contains(&line.at) {
            let note = "another line has precedence, or no check goes by it";
            block.claim(line.at, Verdict::Dead, note);
        }
    }
}

/// No check of any server can be said here.
fn without(node: &Node, reals: &[Real<'_>], block: &mut Block) {
    let mut all = reals.iter().flat_map(|real| &real.node.children);
    let checked = all.any(|child| is_check(child.word(0).unwrap_or_default()));
    let scopes = std::iter::once(node).chain(reals.iter().map(|real| real.node));
    let lines = scopes.flat_map(|scope| &scope.children);
    let lines = lines.filter(|line| INHERITED.iter().any(|key| line.is(key)));
    let (verdict, note) = match checked {
        true => {
            let why = "what keepalived checks has no equal here: that the port accepts connections is all that is checked";
            block.key_because("check", "{ type = \"tcp\" }", &[], why);
            block.notice(format!("{}: {why}", node.words.join(" ")));
            (
                Verdict::Unsupported,
                "the check of the result has its defaults",
            )
        }
        false => {
            let why = "no real_server has a check: keepalived takes them all as up";
            block.key_because("check", "{ type = \"none\" }", &[], why);
            (Verdict::NotNeeded, "no server is checked")
        }
    };
    for line in lines {
        block.claim(line.at, verdict, note);
    }
}

/// Checks that a server has besides.
fn others(real: &Node, chosen: Option<At>, program: &Result<Program, String>, block: &mut Block) {
    for child in &real.children {
        let kind = child.word(0).unwrap_or_default();
        if !is_check(kind) || Some(child.at) == chosen {
            continue;
        }
        let note = match (kind, chosen, program) {
            (_, Some(_), _) => "a server has one check, and another one is imported",
            ("MISC_CHECK", None, Err(why)) => why.as_str(),
            _ => "no such check: see `check` of a service for what there is",
        };
        child.each(&mut |node| block.claim(node.at, Verdict::Unsupported, note));
    }
}

/// Gives the lines that it has taken up.
fn write(
    first: &Real<'_>,
    place: Place<'_>,
    program: &Result<Program, String>,
    port: u16,
    forward: Forward,
    block: &mut Block,
) -> Vec<At> {
    let check = place.check;
    let kind = match check.word(0).unwrap_or_default() {
        "SMTP_CHECK" => "smtp",
        "HTTP_GET" | "SSL_GET" => "http",
        "MISC_CHECK" => "exec",
        _ => "tcp",
    };
    let mut entries = vec![("type".to_owned(), quote(kind))];
    let usual = if forward.is_in_kernel() {
        port
    } else {
        first.port
    };
    let other = check
        .child("connect_port")
        .and_then(|child| child.word(1)?.parse::<u64>().ok())
        .filter(|other| *other != u64::from(usual) && kind != "exec");
    entries.extend(other.map(|other| ("port".to_owned(), other.to_string())));
    let helo = check.child("helo_name").and_then(|helo| helo.word(1));
    if let Some(helo) = helo.filter(|_| kind == "smtp") {
        entries.push(("helo".to_owned(), quote(helo)));
    }
    if kind == "http" {
        request::entries(place, &mut entries);
    }
    if let Some(program) = program.as_ref().ok().filter(|_| kind == "exec") {
        entries.push(("command".to_owned(), program.value()));
    }
    let Times {
        interval,
        timeout,
        retries,
        pause,
    } = place.times();
    entries.push(("interval".to_owned(), duration(interval)));
    entries.push(("timeout".to_owned(), duration(timeout)));
    // Failures that follow the first one come faster.
    if retries > 0 {
        entries.push(("fast_interval".to_owned(), duration(pause)));
    }
    entries.push(("rise".to_owned(), "1".to_owned()));
    entries.push(("fall".to_owned(), (retries + 1).to_string()));
    let used: Vec<At> = place.lines().iter().map(|line| line.at).collect();
    let mut at = vec![check.at];
    at.extend(&used);
    for child in &check.children {
        let (verdict, note) = match child.word(0).unwrap_or_default() {
            _ if used.contains(&child.at) => continue,
            "connect_port" | "misc_path" | "misc_timeout" => {
                at.push(child.at);
                continue;
            }
            "helo_name" if kind == "smtp" => {
                at.push(child.at);
                continue;
            }
            "url" => {
                request::lines(child, check.child("url"), block);
                continue;
            }
            key if INHERITED.contains(&key) || key == "nb_get_retry" => {
                (Verdict::Dead, "another line has precedence")
            }
            "user" if kind == "exec" => (Verdict::Unsupported, "programs run as the daemon does"),
            "host" => (Verdict::Unsupported, "the server's own address is checked"),
            "bindto" | "bind_port" | "bind_if" | "fwmark" => (
                Verdict::Unsupported,
                "checks come from the address of the route",
            ),
            "warmup" => (
                Verdict::NotNeeded,
                "the first checks are spread over their interval",
            ),
            _ => (Verdict::Unsupported, "not there in checks"),
        };
        child.each(&mut |node| block.claim(node.at, verdict, note));
    }
    block.key("check", table(&entries), &at);
    if kind == "exec" {
        block.claim(check.at, Verdict::Approximated, PROGRAM);
    }
    used
}

impl<'n> Place<'n> {
    /// The nearest line of one of these names.
    fn nearest(&self, keys: &[&str]) -> Option<&'n Node> {
        let scopes = [self.check, self.real, self.virtual_server];
        let mut scopes = scopes.into_iter();
        scopes.find_map(|scope| keys.iter().find_map(|key| scope.child(key)))
    }

    fn time(&self, key: &str) -> Option<u64> {
        seconds(self.nearest(&[key])?.word(1)?)
    }

    /// With the defaults of keepalived 2.2.
    fn times(&self) -> Times {
        let interval = self.time("delay_loop").unwrap_or(60_000).clamp(10, HOUR);
        let program = self.check.is("MISC_CHECK");
        let web = self.check.is("HTTP_GET") || self.check.is("SSL_GET");
        let timeout = match program {
            true => {
                let given = self.check.child("misc_timeout");
                given.and_then(|line| seconds(line.word(1)?))
            }
            false => Some(self.time("connect_timeout").unwrap_or(5000)),
        };
        let retries = self.nearest(&RETRY);
        let retries = retries.and_then(|line| line.word(1)?.parse::<u64>().ok());
        let pause = self.time("delay_before_retry");
        Times {
            interval,
            timeout: timeout.unwrap_or(interval).clamp(10, 60_000).min(interval),
            retries: retries.unwrap_or(u64::from(!program)).min(254),
            pause: pause
                .unwrap_or(if web { 3000 } else { 1000 })
                .clamp(10, HOUR),
        }
    }

    /// Lines that the times come from, and the name of the host.
    fn lines(&self) -> Vec<&'n Node> {
        let mut keys: Vec<&[&str]> = vec![&["delay_loop"], &RETRY, &["delay_before_retry"]];
        if !self.check.is("MISC_CHECK") {
            keys.push(&["connect_timeout"]);
        }
        let mut lines: Vec<&Node> = keys.iter().filter_map(|keys| self.nearest(keys)).collect();
        if self.check.is("HTTP_GET") || self.check.is("SSL_GET") {
            lines.extend(self.nearest(&["virtualhost"]));
        }
        lines
    }

    /// All words of the check, and the host, to compare it with another.
    fn text(&self) -> String {
        let mut text = String::new();
        self.check.each(&mut |node| {
            let time = INHERITED.iter().any(|key| node.is(key)) || node.is("nb_get_retry");
            if !time {
                text.push_str(&node.words.join(" "));
                text.push('\n');
            }
        });
        let host = self.nearest(&["virtualhost"]).and_then(|host| host.word(1));
        text + host.unwrap_or_default()
    }
}

const RETRY: [&str; 2] = ["retry", "nb_get_retry"];

/// What the `MISC_CHECK` of all servers run.
struct Program(Vec<String>);

impl Program {
    /// # Errors
    /// Why no check of ours can run it.
    fn of(reals: &[Real<'_>]) -> Result<Self, String> {
        let checks = reals
            .iter()
            .filter_map(|real| real.node.child("MISC_CHECK"));
        let mut command: Option<String> = None;
        for check in checks {
            if check.child("misc_dynamic").is_some() {
                return Err("`misc_dynamic`: an exit code of ours is success or failure, and no weight; a check of type agent can say weights".to_owned());
            }
            let path = check.child("misc_path");
            let own = path.map(|path| path.words[1..].join(" "));
            let own = own.ok_or("has no `misc_path`")?;
            if command.as_ref().is_some_and(|command| *command != own) {
                return Err("each server has a program or arguments of its own, and a service has one for all: have it go by the address of the server, which comes last but one of its arguments".to_owned());
            }
            command = Some(own);
        }
        let command = command.unwrap_or_default();
        if !command.starts_with('/') || command.contains(['\'', '"', '\\']) {
            return Err("no shell reads it: write command = [\"/path/of/a/program\", \"an argument\"] with type = \"exec\"".to_owned());
        }
        Ok(Self(
            command.split_whitespace().map(str::to_owned).collect(),
        ))
    }

    fn value(&self) -> String {
        match self.0.as_slice() {
            [program] => quote(program),
            words => list(words),
        }
    }
}
