//! A frontend, backend or `listen` with what it has from `defaults`, and without what has no effect in it.

use super::sections::{Config, Kind, Section, Statement};
use crate::import::report::{At, Ledger, Verdict};
use crate::import::value::haproxy_time;

/// What only a section with `bind` can have (the matrix of HAProxy's manual, section 4.1).
const FRONT: [&str; 33] = [
    "backlog",
    "bind",
    "capture",
    "clitcpka-cnt",
    "clitcpka-idle",
    "clitcpka-intvl",
    "declare capture",
    "default_backend",
    "error-log-format",
    "log-format",
    "log-format-sd",
    "maxconn",
    "monitor",
    "monitor-uri",
    "option accept-invalid-http-request",
    "option clitcpka",
    "option contstats",
    "option disable-h2-upgrade",
    "option dontlog-normal",
    "option dontlognull",
    "option http-use-proxy-header",
    "option httplog",
    "option httpslog",
    "option idle-close-on-response",
    "option log-separate-errors",
    "option logasap",
    "option socket-stats",
    "option tcp-smart-accept",
    "option tcplog",
    "rate-limit",
    "timeout client",
    "timeout client-fin",
    "use_backend",
];

/// What only a section with servers can have.
const BACK: [&str; 56] = [
    "balance",
    "cookie",
    "default-server",
    "dispatch",
    "dynamic-cookie-key",
    "external-check",
    "force-persist",
    "fullconn",
    "hash-balance-factor",
    "hash-type",
    "http-check",
    "http-reuse",
    "http-send-name-header",
    "ignore-persist",
    "load-server-state-from-file",
    "max-keep-alive-queue",
    "option abortonclose",
    "option accept-invalid-http-response",
    "option allbackups",
    "option checkcache",
    "option external-check",
    "option h1-case-adjust-bogus-server",
    "option httpchk",
    "option ldap-check",
    "option log-health-checks",
    "option mysql-check",
    "option persist",
    "option pgsql-check",
    "option prefer-last-server",
    "option redis-check",
    "option redispatch",
    "option smtpchk",
    "option spop-check",
    "option srvtcpka",
    "option ssl-hello-chk",
    "option tcp-check",
    "option tcp-smart-connect",
    "option transparent",
    "persist",
    "retries",
    "retry-on",
    "server",
    "server-state-file-name",
    "server-template",
    "source",
    "stick",
    "tcp-check",
    "tcp-response",
    "timeout check",
    "timeout connect",
    "timeout queue",
    "timeout server",
    "timeout server-fin",
    "timeout tunnel",
    "use-fcgi-app",
    "use-server",
];

/// What has no effect without `mode http`.
const HTTP: [&str; 26] = [
    "capture",
    "compression",
    "cookie",
    "http-after-response",
    "http-request",
    "http-response",
    "http-reuse",
    "http-send-name-header",
    "monitor-uri",
    "option accept-invalid-http-request",
    "option accept-invalid-http-response",
    "option forwardfor",
    "option http-buffer-request",
    "option http-keep-alive",
    "option http-no-delay",
    "option http-pretend-keepalive",
    "option http-server-close",
    "option httpclose",
    "option httplog",
    "option httpslog",
    "option originalto",
    "redirect",
    "stats",
    "timeout http-keep-alive",
    "timeout http-request",
    "unique-id-header",
];

/// Options of which the last one decides how servers are checked.
pub(super) const CHECKS: [&str; 10] = [
    "httpchk",
    "tcp-check",
    "smtpchk",
    "mysql-check",
    "pgsql-check",
    "redis-check",
    "ldap-check",
    "ssl-hello-chk",
    "spop-check",
    "external-check",
];

#[derive(Clone, Debug)]
pub(super) struct View<'c> {
    pub section: &'c Section,
    /// Those of `defaults` first.
    statements: Vec<&'c Statement>,
    pub http: bool,
}

impl<'c> View<'c> {
    pub fn new(config: &'c Config, section: &'c Section) -> Self {
        let mut inherited = Vec::new();
        let mut from = section.defaults;
        // `defaults` can only take from those before them, so this comes to an end.
        while let Some(defaults) = from.and_then(|from| config.sections.get(from)) {
            let lines: Vec<_> = defaults.statements.iter().collect();
            inherited.splice(0..0, lines);
            from = defaults
                .defaults
                .filter(|next| from.is_some_and(|from| *next < from));
        }
        let all = || inherited.iter().copied().chain(&section.statements);
        let mode = all().rfind(|statement| statement.is("mode"));
        let http = mode.is_some_and(|mode| mode.word(1) == Some("http"));
        let mut view = Self {
            section,
            statements: Vec::new(),
            http,
        };
        let useful = |statement: &&Statement| view.dead(statement).is_none();
        view.statements = all().filter(useful).collect();
        view
    }

    /// Why a statement has no effect in this section.
    pub fn dead(&self, statement: &Statement) -> Option<String> {
        let any = |keys: &[&str]| keys.iter().any(|key| statement.is(key));
        let Section { kind, name, .. } = self.section;
        if *kind == Kind::Backend && any(&FRONT) {
            return Some(format!(
                "HAProxy ignores it: backend `{name}` has no `bind`"
            ));
        }
        if *kind == Kind::Frontend && any(&BACK) {
            return Some(format!(
                "HAProxy ignores it: frontend `{name}` has no servers"
            ));
        }
        // Of `balance`, some words.
        let hashed = ["uri", "url_param", "hdr"];
        let by_request = statement.is("balance")
            && statement
                .word(1)
                .is_some_and(|word| hashed.iter().any(|start| word.starts_with(start)));
        if !self.http && (any(&HTTP) || by_request) {
            return Some("HAProxy ignores it without `mode http`".to_owned());
        }
        None
    }

    /// All that begin with these words and are not taken back later on.
    pub fn all(&self, key: &str) -> Vec<&'c Statement> {
        let found = self
            .statements
            .iter()
            .copied()
            .filter(|statement| statement.is(key));
        let mut kept = Vec::new();
        for statement in found {
            match statement.negated {
                true => kept.clear(),
                false => kept.push(statement),
            }
        }
        kept
    }

    /// The last one, which counts.
    pub fn last(&self, key: &str) -> Option<&'c Statement> {
        self.all(key).pop()
    }

    /// `option NAME`
    pub fn option(&self, name: &str) -> Option<&'c Statement> {
        self.last(&format!("option {name}"))
    }

    /// The option that decides how servers are checked.
    pub fn check(&self) -> Option<&'c Statement> {
        let is_check = |statement: &&&Statement| {
            statement.is("option") && statement.word(1).is_some_and(|name| CHECKS.contains(&name))
        };
        let last = self.statements.iter().rfind(is_check)?;
        (!last.negated).then_some(*last)
    }

    /// The line that takes the section out of service.
    pub fn disabled(&self) -> Option<&'c Statement> {
        let words = self.statements.iter();
        let last = words
            .copied()
            .rfind(|statement| statement.is("disabled") || statement.is("enabled"))?;
        (last.is("disabled") && !last.negated).then_some(last)
    }

    /// Lines of `mode`.
    pub fn mode(&self) -> Vec<At> {
        self.last("mode").map(|mode| mode.at).into_iter().collect()
    }

    /// `timeout NAME`, in milliseconds, with its line.
    pub fn timeout(&self, name: &str) -> Option<(u64, At)> {
        let statement = self.last(&format!("timeout {name}"))?;
        Some((haproxy_time(statement.word(2)?)?, statement.at))
    }
}

/// Gives its verdict to every statement that has no effect where it stands.
pub(super) fn bury(view: &View<'_>, ledger: &mut Ledger) {
    let chosen = view.check();
    for statement in &view.section.statements {
        if let Some(why) = view.dead(statement) {
            ledger.say(statement.at, Verdict::Dead, why);
            continue;
        }
        let is = |key: &str, option: &str| {
            let other = chosen.is_none_or(|chosen| chosen.word(1) != Some(option));
            statement.is(key) && other
        };
        for (key, option) in [
            ("tcp-check", "tcp-check"),
            ("http-check", "httpchk"),
            ("external-check", "external-check"),
        ] {
            if is(key, option) {
                let why = match chosen.and_then(|chosen| chosen.word(1)) {
                    Some(other) => format!("the check is that of `option {other}`"),
                    None => format!("there is no `option {option}`"),
                };
                let note = format!(
                    "HAProxy ignores it, for {why}: servers were never checked so. If it was meant, write it into `check`"
                );
                ledger.say(statement.at, Verdict::Dead, note);
            }
        }
        let checks =
            statement.is("option") && statement.word(1).is_some_and(|n| CHECKS.contains(&n));
        if checks && !statement.negated && chosen.is_some_and(|chosen| chosen.at != statement.at) {
            let other = chosen.map_or("", |chosen| chosen.word(1).unwrap_or_default());
            let note = format!("HAProxy goes by the last such option, `option {other}`");
            ledger.say(statement.at, Verdict::Dead, note);
        }
    }
    repeated(view, ledger);
}

/// Of these the last line counts.
const ONCE: [&str; 17] = [
    "mode",
    "balance",
    "cookie",
    "default_backend",
    "fullconn",
    "maxconn",
    "retries",
    "timeout check",
    "timeout client",
    "timeout connect",
    "timeout http-keep-alive",
    "timeout http-request",
    "timeout queue",
    "timeout server",
    "timeout tunnel",
    "stats uri",
    "stats refresh",
];

fn repeated(view: &View<'_>, ledger: &mut Ledger) {
    for key in ONCE {
        let own = view.section.statements.iter();
        let own: Vec<_> = own
            .filter(|s| s.is(key) && !s.negated && view.dead(s).is_none())
            .collect();
        let Some((last, before)) = own.split_last() else {
            continue;
        };
        for statement in before {
            let note = format!(
                "line {} says it anew, and the last one counts",
                last.at.line
            );
            ledger.say(statement.at, Verdict::Dead, note);
        }
    }
}
