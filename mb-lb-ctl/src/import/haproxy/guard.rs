//! Rules that keep clients out. There are none here, so what they guard is left out, rather than left open in silence.

use super::sections::{Config, Statement};
use super::view::View;
use crate::import::report::{Ledger, Verdict};

/// Why a section cannot be served without its rules, if it cannot. All of them have their verdict then.
pub(super) fn guarded(config: &Config, view: &View<'_>, ledger: &mut Ledger) -> Option<String> {
    let mut why = None;
    let keys = [
        "http-request",
        "http-response",
        "tcp-request",
        "tcp-response",
        "use_backend",
    ];
    for rule in keys.iter().flat_map(|key| view.all(key)) {
        let Some(action) = refusal(config, rule) else {
            continue;
        };
        if is_limit(view, rule) {
            let note = "it limits rates or counts of clients, and there are no stick tables: limits.requests_per_source and limits.connections_per_source of a proxy limit sources";
            ledger.say(rule.at, Verdict::Unsupported, note);
            let place = ledger.place(rule.at);
            ledger.notice(format!("{place}: a limit is lost: {note}"));
            continue;
        }
        let keeps = match action.contains("-response") {
            true => "keeps responses back",
            false => "keeps clients out",
        };
        let note = |which: &str| {
            format!(
                "`{action}` {keeps}, and nothing here does: have the servers do it, and import a copy of the file without {which} line"
            )
        };
        ledger.open_door(rule.at, &note("this"));
        why.get_or_insert_with(|| format!("line {}: {}", rule.at.line, note("that")));
    }
    why
}

/// What a rule refuses by.
fn refusal(config: &Config, rule: &Statement) -> Option<String> {
    let refuses = |word: &str| {
        ["deny", "auth", "tarpit", "reject", "silent-drop"].contains(&word.trim_end_matches('('))
    };
    let word = |at| rule.word(at).unwrap_or_default();
    match word(0) {
        // Some clients are sent to where nobody answers.
        "use_backend" if rule.words.len() > 2 => {
            let section = config.backend(word(1))?;
            let back = View::new(config, section);
            let mut servers = ["server", "server-template", "dispatch", "use-server"].iter();
            let empty = servers.all(|key| back.all(key).is_empty());
            empty.then(|| format!("use_backend {}", word(1)))
        }
        "use_backend" => None,
        // `connection`, `session` or `content`, and then what is done.
        "tcp-request" | "tcp-response" => {
            refuses(word(2)).then(|| format!("{} {} {}", word(0), word(1), word(2)))
        }
        _ if refuses(word(1)) => Some(format!("{} {}", word(0), word(1))),
        "http-request" if word(1) == "return" => {
            let mut pairs = rule.words.windows(2);
            let refused = pairs.any(|pair| pair[0] == "status" && pair[1].starts_with('4'));
            refused.then(|| "http-request return".to_owned())
        }
        _ => None,
    }
}

/// Whoever it refuses has been counted before: each alternative of its condition asks how often or how many.
fn is_limit<'c>(view: &View<'c>, rule: &'c Statement) -> bool {
    let Some(at) = rule.words.iter().position(|word| word == "if") else {
        return false;
    };
    let words: Vec<&'c str> = rule.words[at + 1..].iter().map(String::as_str).collect();
    let mut alternatives = words.split(|word| matches!(*word, "or" | "||"));
    alternatives.all(|terms| {
        fetches(view, terms)
            .iter()
            .any(|one| one.iter().all(|fetch| is_count(fetch)))
    })
}

/// What each term of a condition asks for; of a name, all that it stands for.
fn fetches<'c>(view: &View<'c>, terms: &[&'c str]) -> Vec<Vec<&'c str>> {
    let mut found = Vec::new();
    let mut words = terms.iter().copied();
    while let Some(word) = words.next() {
        match word.trim_start_matches('!') {
            "" => {}
            "{" => {
                let inside: Vec<_> = words.by_ref().take_while(|word| *word != "}").collect();
                found.push(inside.first().copied().into_iter().collect());
            }
            name => found.push(meant(view, name)),
        }
    }
    found.retain(|one| !one.is_empty());
    found
}

/// Fetches of all lines of an `acl`.
pub(super) fn meant<'c>(view: &View<'c>, name: &str) -> Vec<&'c str> {
    let lines = view.all("acl").into_iter();
    let lines = lines.filter(|line| line.word(1) == Some(name));
    lines.filter_map(|line| line.word(2)).collect()
}

/// Of stick tables or of load.
fn is_count(fetch: &str) -> bool {
    let of_source = ["src_", "sc_", "sc0_", "sc1_", "sc2_", "table_"];
    let counts = [
        "_rate", "conn_cnt", "conn_cur", "sess_cnt", "req_cnt", "err_cnt",
    ];
    let of_load = [
        "fe_sess_rate",
        "be_sess_rate",
        "fe_req_rate",
        "fe_conn",
        "be_conn",
    ];
    // `src,table_conn_rate(name)`: what comes last says what it is.
    let name = fetch.rsplit(',').next().unwrap_or_default();
    let name = name.split('(').next().unwrap_or_default();
    of_load.contains(&name)
        || (of_source.iter().any(|start| name.starts_with(start))
            && counts.iter().any(|end| name.ends_with(end)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::Input;
    use crate::import::detect::Kind;
    use crate::import::haproxy::sections;

    /// What is said of a rule of a frontend, and whether that is left out.
    fn judged(rule: &str) -> (Option<String>, Vec<String>) {
        let text = format!(
            "frontend f\n mode http\n acl office src 192.0.2.0/24\n acl fast src_conn_rate gt 10\n acl fast sc0_http_req_rate gt 5\n acl odd src_conn_cur gt 5\n acl odd src 192.0.2.9\n {rule}\nbackend nobody\n mode http\nbackend b\n mode http\n server a 192.0.2.1:80\n"
        );
        let input = Input {
            name: "h.cfg",
            text: &text,
        };
        let mut ledger = Ledger::default();
        let file = ledger.open(&input, Kind::HaProxy);
        let config = sections::read(file, &input, &mut ledger).expect("read");
        let view = View::new(&config, &config.sections[0]);
        let why = guarded(&config, &view, &mut ledger);
        (why, ledger.finish().1)
    }

    #[test]
    fn who_refuses_clients_is_a_guard() {
        for rule in [
            "http-request deny",
            "http-request deny deny_status 429 if { path_beg /admin } !office",
            "http-request auth realm x if !{ http_auth(u) }",
            "http-request tarpit if fast or !office",
            "http-request return status 403 if !office",
            "http-response deny if { status 500 }",
            "tcp-request connection reject if !office",
            "tcp-request connection reject unless office",
            "tcp-request content reject if odd",
            "tcp-request content silent-drop",
            "tcp-request connection reject if { src_get_gpt0 eq 1 }",
            "use_backend nobody unless office",
        ] {
            let (why, notices) = judged(rule);
            let why = why.expect(rule);
            assert!(why.starts_with("line 8: `"), "{why}");
            assert_eq!(notices.len(), 1, "{rule}");
            let start =
                "h.cfg:8: access control that mb-lb does not have; what it guards is left out: `";
            assert!(notices[0].starts_with(start), "{notices:?}");
        }
    }

    #[test]
    fn limits_are_lost_with_a_word_and_the_rest_is_no_guard() {
        for rule in [
            "tcp-request connection reject if { src_conn_rate gt 10 }",
            "tcp-request connection reject if !office { src_conn_cur ge 20 }",
            "http-request deny deny_status 429 if fast",
            "http-request deny if fast or { sc_http_err_rate(0) gt 3 }",
            "http-request deny if { src,table_http_req_rate(t) gt 3 }",
        ] {
            let (why, notices) = judged(rule);
            assert_eq!(why, None, "{rule}");
            assert_eq!(notices.len(), 1, "{rule}");
            assert!(
                notices[0].starts_with("h.cfg:8: a limit is lost: "),
                "{notices:?}"
            );
        }
        for rule in [
            "http-request set-header X y",
            "http-request return status 200 if { path /robots.txt }",
            "tcp-request inspect-delay 5s",
            "tcp-request connection track-sc0 src",
            "no http-request deny",
            "use_backend b if office",
            "use_backend nobody",
            "use_backend deny",
        ] {
            assert_eq!(judged(rule), (None, Vec::new()), "{rule}");
        }
    }
}
