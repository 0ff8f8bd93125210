//! How servers are checked: `option *chk`, the rules of `tcp-check` and `http-check`, and words of `server`.

use super::sections::Statement;
use super::server::Server;
use super::view::View;
use crate::import::block::Block;
use crate::import::report::{At, Verdict};
use crate::import::value::{duration, list, quote, table};

/// HAProxy's defaults: `inter 2s rise 2 fall 3`.
const INTERVAL: u64 = 2000;
const HOUR: u64 = 3_600_000;

const PROGRAM: &str = "it is called with the same four arguments, VIP and port of the first `listen` among them, but as root without root's powers, in the sandbox of the systemd unit (the manual says how to open that), and without HAPROXY_PROXY_ID, HAPROXY_SERVER_ID, HAPROXY_SERVER_CURCONN and HAPROXY_SERVER_MAXCONN";

#[derive(Default)]
struct Check {
    kind: &'static str,
    port: Option<u16>,
    /// Further keys, as TOML.
    more: Vec<(String, String)>,
    at: Vec<At>,
    said: Vec<(At, Verdict, String)>,
    tls: bool,
}

/// Writes the key `check`. `default_port` is where ours goes without `port`, where that is one.
pub(super) fn check(
    view: &View<'_>,
    servers: &[Server],
    default_port: Option<u16>,
    block: &mut Block,
) {
    let checked: Vec<_> = servers.iter().filter(|server| server.set.check).collect();
    let Some(first) = checked.first() else {
        let at: Vec<_> = view.check().map(|option| option.at).into_iter().collect();
        let why = "no server has `check`: HAProxy takes them all as up";
        block.key_because("check", "{ type = \"none\" }", &[], why);
        block.claim_all(
            &at,
            Verdict::Dead,
            "no server has `check`, so HAProxy checks none",
        );
        for rule in view
            .all("tcp-check")
            .into_iter()
            .chain(view.all("http-check"))
            .chain(view.all("external-check"))
        {
            block.claim(
                rule.at,
                Verdict::Dead,
                "no server has `check`, so HAProxy checks none",
            );
        }
        return;
    };
    for server in servers.iter().filter(|server| !server.set.check) {
        let note = "HAProxy does not check it; here all servers of a service are checked";
        block.claim_all(&server.at[..1], Verdict::Approximated, note);
    }
    let mut check = Check {
        kind: "tcp",
        ..Check::default()
    };
    check.kind(view);
    let set = &first.set;
    // A port of the rules has precedence; a program is told where clients are sent.
    let of_rules = check.port.is_some();
    let asks_servers_port = !of_rules && check.kind != "exec";
    check.port = check.port.or(set.check_port.filter(|_| asks_servers_port));
    check.tls |= set.check_tls || (set.tls && set.check_port.is_none());
    if check.kind == "smtp" && check.tls {
        // It would say EHLO where a handshake is expected.
        check.kind = "tcp";
        check.more.clear();
    }
    // Without `port` HAProxy asks where clients are sent.
    let port = check
        .port
        .or(first.port)
        .filter(|port| Some(*port) != default_port);
    let port = if default_port.is_none() {
        check.port
    } else {
        port
    };
    let interval = set.interval.unwrap_or(INTERVAL).clamp(10, HOUR);
    let timeout = match view.timeout("check") {
        Some((reading, at)) => {
            check.at.push(at);
            let connect = view
                .timeout("connect")
                .map_or(interval, |(connect, _)| connect.min(interval));
            connect.saturating_add(reading)
        }
        None => interval,
    };
    // Ours is one time for all, and longer than the interval it would only delay the next check.
    let timeout = timeout.clamp(10, 60_000).min(interval);
    let mut entries = vec![("type".to_owned(), quote(check.kind))];
    entries.extend(port.map(|port| ("port".to_owned(), port.to_string())));
    entries.append(&mut check.more);
    if check.kind == "http" && check.tls {
        let mut tls = set.clone();
        tls.tls = true;
        entries.extend(tls.tls_value().map(|value| ("tls".to_owned(), value)));
    }
    entries.push(("interval".to_owned(), duration(interval)));
    for (key, value) in [
        ("fast_interval", set.fast_interval),
        ("down_interval", set.down_interval),
    ] {
        entries.extend(value.map(|value| (key.to_owned(), duration(value.clamp(10, HOUR)))));
    }
    entries.push(("timeout".to_owned(), duration(timeout)));
    for (key, value, default) in [("rise", set.rise, 2), ("fall", set.fall, 3)] {
        let value = value.unwrap_or(default).clamp(1, 255);
        entries.push((key.to_owned(), value.to_string()));
    }
    block.key("check", table(&entries), &check.at);
    let http = check.kind == "http";
    for server in &checked {
        differences(server, check.kind, of_rules, block);
    }
    for (at, verdict, note) in check.said {
        block.claim(at, verdict, note);
    }
    let own = |server: &Server| {
        let set = &server.set;
        let times = (set.interval, set.fast_interval, set.down_interval);
        let port = set.check_port.filter(|_| asks_servers_port);
        let places = (port, set.check_tls, http && set.tls);
        (times, set.rise, set.fall, places)
    };
    for server in checked.iter().filter(|server| own(server) != own(first)) {
        let odd = match http && server.set.tls != first.set.tls {
            true => {
                ". One of the two speaks TLS and the other does not: give each kind a proxy of its own, or it stays down"
            }
            false => "",
        };
        let note = format!(
            "all servers of a service are checked alike, here as `{}`{odd}",
            first.name
        );
        block.claim_all(&server.at[..1], Verdict::Approximated, &note);
    }
}

/// What HAProxy's checks of a server do and ours do not, or the other way round.
fn differences(server: &Server, kind: &str, of_rules: bool, block: &mut Block) {
    let own = &server.at[..1];
    let set = &server.set;
    let unused = match kind {
        _ if of_rules => Some("HAProxy goes by the port of the rules of the check"),
        "exec" => Some("HAProxy's programs are told the port of the server"),
        _ => None,
    };
    if let Some((port, note)) = set.check_port.zip(unused) {
        block.claim_all(own, Verdict::Mapped, &format!("`port {port}`: {note}"));
    }
    let talks = ["smtp", "http"].contains(&kind);
    if talks && set.send_proxy.is_some() && set.check_port.is_none() && !of_rules {
        let note = "`send-proxy`: HAProxy's checks send the PROXY header too, and ours send none, so they fail where it is required: have them ask a port that wants none (`check.port`)";
        block.claim_all(own, Verdict::Approximated, note);
    }
    let handshake = set.check_tls || (set.tls && set.check_port.is_none());
    if handshake && kind == "tcp" {
        let word = if set.check_tls { "check-ssl" } else { "ssl" };
        let note = format!(
            "`{word}`: HAProxy's checks make a TLS handshake; here that the port accepts connections is all that is checked"
        );
        block.claim_all(own, Verdict::Approximated, &note);
    }
}

impl Check {
    fn kind(&mut self, view: &View<'_>) {
        let Some(option) = view.check() else {
            return;
        };
        let name = option.word(1).unwrap_or_default();
        match name {
            "tcp-check" => {
                self.at.push(option.at);
                self.tcp_rules(&view.all("tcp-check"));
            }
            "httpchk" => {
                self.kind = "http";
                self.at.push(option.at);
                self.request(option);
                self.http_rules(&view.all("http-check"));
            }
            "external-check" => self.program(option, view),
            "smtpchk" => {
                self.kind = "smtp";
                self.at.push(option.at);
                let helo = option
                    .word(3)
                    .filter(|helo| helo.contains('.') || helo.starts_with('['));
                self.more
                    .extend(helo.map(|helo| ("helo".to_owned(), quote(helo))));
            }
            _ => {
                let better = match name {
                    "mysql-check" => "; [galera.NAME] looks into a cluster of MariaDB",
                    "redis-check" => "; [sentinel.NAME] follows the master of Redis",
                    _ => "",
                };
                let note =
                    format!("that the port accepts connections is all that is checked{better}");
                self.say(option, Verdict::Approximated, &note);
            }
        }
    }

    /// `external-check command PROGRAM`
    fn program(&mut self, option: &Statement, view: &View<'_>) {
        let line = view.last("external-check command");
        let program = line.and_then(|line| line.word(2));
        let Some((line, program)) = line.zip(program.filter(|path| path.starts_with('/'))) else {
            let note = "a program is given by its absolute path; that the port accepts connections is all that is checked";
            self.say(line.unwrap_or(option), Verdict::Unsupported, note);
            self.say(option, Verdict::Approximated, note);
            return;
        };
        self.kind = "exec";
        self.at.extend([option.at, line.at]);
        self.more.push(("command".to_owned(), quote(program)));
        self.say(line, Verdict::Approximated, PROGRAM);
        for path in view.all("external-check path") {
            let note = "PATH of a program has the usual directories: have it set its own";
            self.say(path, Verdict::Unsupported, note);
        }
    }

    fn say(&mut self, statement: &Statement, verdict: Verdict, note: &str) {
        self.said.push((statement.at, verdict, note.to_owned()));
    }

    /// Of a conversation the port is kept, and that it is one of SMTP.
    fn tcp_rules(&mut self, rules: &[&Statement]) {
        let mail = |rule: &&&Statement| {
            let expected = rule.words.last().map_or("", String::as_str);
            rule.is("tcp-check expect") && expected.trim_start_matches('^').starts_with("220")
        };
        let smtp = rules.iter().any(|rule| mail(&rule));
        if smtp {
            self.kind = "smtp";
        }
        let mut connected = false;
        for rule in rules {
            match rule.word(1) {
                Some("connect") if connected => {
                    self.say(
                        rule,
                        Verdict::Unsupported,
                        "one port of a server is checked, the first",
                    );
                }
                Some("connect") => {
                    connected = true;
                    self.at.push(rule.at);
                    self.connect(rule);
                }
                Some("comment") => self.say(rule, Verdict::NotNeeded, "a comment"),
                Some("send" | "expect") if smtp => {
                    let note = "a check of type smtp: greeting, EHLO, QUIT";
                    self.say(rule, Verdict::Approximated, note);
                }
                _ => {
                    let note = "conversations are not imported: that the port accepts connections is all that is checked";
                    self.say(rule, Verdict::Unsupported, note);
                }
            }
        }
    }

    /// `connect [port N] [ssl] ...`
    fn connect(&mut self, rule: &Statement) {
        let mut words = rule.words.iter().skip(2).map(String::as_str);
        while let Some(word) = words.next() {
            match word {
                "port" => self.port = words.next().and_then(|port| port.parse().ok()),
                "default" => {}
                "ssl" if self.kind == "http" => self.tls = true,
                "comment" => {
                    words.next();
                }
                other => {
                    let note = format!("`{other}` of the connection is not there");
                    self.say(rule, Verdict::Approximated, &note);
                }
            }
        }
    }

    /// `option httpchk [METHOD] [URI] [VERSION]`
    fn request(&mut self, option: &Statement) {
        let words: Vec<&str> = option.words.iter().skip(2).map(String::as_str).collect();
        let (method, path, version) = match words.as_slice() {
            [] => ("OPTIONS", "/", ""),
            [path] => ("OPTIONS", *path, ""),
            [method, path, rest @ ..] => {
                (*method, *path, rest.first().copied().unwrap_or_default())
            }
        };
        self.method(method);
        self.set("path", quote(path));
        // The way to say a host before `http-check send`.
        for field in version.split(['\r', '\n']).skip(1) {
            if let Some((name, value)) = field.split_once(':') {
                self.field(option, name, value.trim());
            }
        }
    }

    fn method(&mut self, method: &str) {
        if method != "GET" {
            self.set("method", quote(method));
        }
    }

    fn set(&mut self, key: &str, value: String) {
        // The last of the two that look at a body counts.
        let body = |key: &str| key.starts_with("body");
        self.more
            .retain(|(known, _)| known != key && !(body(known) && body(key)));
        self.more.push((key.to_owned(), value));
    }

    fn field(&mut self, statement: &Statement, name: &str, value: &str) {
        if name.eq_ignore_ascii_case("host") {
            self.set("host", quote(value));
        } else if !name.is_empty() {
            let note = format!("the field {name} is not sent");
            self.say(statement, Verdict::Approximated, &note);
        }
    }

    fn http_rules(&mut self, rules: &[&Statement]) {
        for rule in rules {
            match rule.word(1) {
                Some("expect") => self.expect(rule),
                Some("send") => self.send(rule),
                Some("connect") => {
                    self.at.push(rule.at);
                    self.connect(rule);
                }
                Some("comment") => self.say(rule, Verdict::NotNeeded, "a comment"),
                Some("disable-on-404") => {
                    let note =
                        "a 404 is judged by `expect`; `mb-lb-ctl drain` takes a server out softly";
                    self.say(rule, Verdict::Unsupported, note);
                }
                _ => self.say(rule, Verdict::Unsupported, "not there in checks"),
            }
        }
    }

    /// `send [meth M] [uri U] [ver V] [hdr NAME VALUE]...`
    fn send(&mut self, rule: &Statement) {
        self.at.push(rule.at);
        let mut words = rule.words.iter().skip(2).map(String::as_str);
        while let Some(word) = words.next() {
            let value = words.next().unwrap_or_default();
            match word {
                "meth" => {
                    self.more.retain(|(known, _)| known != "method");
                    self.method(value);
                }
                "uri" => self.set("path", quote(value)),
                "ver" | "comment" => {}
                "hdr" => {
                    let name = value;
                    let value = words.next().unwrap_or_default();
                    self.field(rule, name, value);
                }
                other => {
                    let note = format!("`{other}` of the request is not there");
                    self.say(rule, Verdict::Approximated, &note);
                }
            }
        }
    }

    /// `expect [OPTION VALUE]... [!] (status|rstatus|string|rstring|...) PATTERN`
    fn expect(&mut self, rule: &Statement) {
        let mut words = rule.words.iter().skip(2).map(String::as_str).peekable();
        let options = [
            "min-recv",
            "comment",
            "ok-status",
            "error-status",
            "tout-status",
            "on-success",
            "on-error",
        ];
        while words.peek().is_some_and(|word| options.contains(word)) {
            words.nth(1);
            self.say(
                rule,
                Verdict::Approximated,
                "options of `expect` are not there",
            );
        }
        let negated = words.next_if_eq(&"!").is_some();
        let kind = words.next().unwrap_or_default();
        let pattern = words.next().unwrap_or_default();
        match kind {
            "status" if !negated => {
                self.at.push(rule.at);
                let numbers: Vec<&str> = pattern.split(',').collect();
                let value = match numbers.as_slice() {
                    [one] if one.bytes().all(|b| b.is_ascii_digit()) && !one.is_empty() => {
                        (*one).to_owned()
                    }
                    many => list(many),
                };
                self.set("expect", value);
            }
            "string" if !negated => {
                self.at.push(rule.at);
                self.set("body", quote(pattern));
            }
            "rstring" if !negated => {
                self.set("body_regex", quote(pattern));
                let note = "as `body_regex`, in the syntax of the Rust crate regex";
                self.say(rule, Verdict::Approximated, note);
            }
            _ => {
                let note = "only `status`, `string` and `rstring` without `!`: write `expect`, `body` or `body_regex`";
                self.say(rule, Verdict::Unsupported, note);
            }
        }
    }
}
