//! Check `http`: one request, and what has to come back (RFC 9110). With `tls`, all of it inside TLS.
//!
//! A health page in JSON is read beside it: the members that failed are the reason that is shown.

use std::net::SocketAddr;

use regex::bytes::Regex;

use super::Finding;
use super::line::{Line, Lost};
use crate::config::{BodyMatch, CheckKind, HttpCheck};
use health::Health;

use crate::engine::HealthPage;
use response::{Decoder, Extent, Response};

pub mod health;
pub mod response;

/// `body_regex`, compiled once for all runs of a check.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Regex);

impl Pattern {
    /// `None` where the check has none, or one that the configuration would not let through.
    pub(super) fn of(kind: &CheckKind) -> Option<Self> {
        match kind {
            CheckKind::Http(HttpCheck {
                body: Some(BodyMatch::Regex(text)),
                ..
            }) => Regex::new(text).ok().map(Self),
            _ => None,
        }
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

/// Asks once. `address` is where `line` leads.
pub(super) async fn check(
    line: &mut Line,
    http: &HttpCheck,
    pattern: Option<&Pattern>,
    address: SocketAddr,
) -> Finding {
    match ask(line, http, address).await {
        Ok(response) => judge(http, pattern, &response),
        Err(finding) => finding,
    }
}

async fn ask(line: &mut Line, http: &HttpCheck, address: SocketAddr) -> Result<Response, Finding> {
    let mut decoder = Decoder::new(http.method == "HEAD");
    let sent = line.send(request(http, address).as_bytes()).await;
    sent.map_err(|lost| failed(lost, &decoder, http, line))?;
    let mut piece = [0; 8 * 1024];
    loop {
        let garbage = |garbage: response::Garbage| Finding::failure("L7RSP", garbage.to_string());
        match line.read(&mut piece).await {
            Ok(0) => return decoder.end().map_err(garbage),
            Ok(count) => {
                if decoder.feed(&piece[..count]).map_err(garbage)? {
                    return decoder.end().map_err(garbage);
                }
            }
            // A status that will not do needs no body.
            Err(_)
                if decoder
                    .status()
                    .is_some_and(|status| !expected(http, status)) =>
            {
                return decoder.end().map_err(garbage);
            }
            Err(lost) => return Err(failed(lost, &decoder, http, line)),
        }
    }
}

fn request(http: &HttpCheck, address: SocketAddr) -> String {
    let usual = if http.tls.is_some() { 443 } else { 80 };
    let host = match &http.host {
        Some(host) => host.clone(),
        None if address.port() != usual => address.to_string(),
        None if address.is_ipv6() => format!("[{}]", address.ip()),
        None => address.ip().to_string(),
    };
    // A method that usually has a body says that it has none (RFC 9110 section 8.6).
    let length = match http.method.as_str() {
        "POST" | "PUT" | "PATCH" => "Content-Length: 0\r\n",
        _ => "",
    };
    format!(
        "{} {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: mb-lb\r\nAccept: */*\r\nAccept-Encoding: identity\r\n\
         Connection: close\r\n{length}\r\n",
        http.method, http.path
    )
}

fn expected(http: &HttpCheck, status: u16) -> bool {
    let mut ranges = http.expect.iter();
    ranges.any(|(first, last)| (*first..=*last).contains(&status))
}

fn judge(http: &HttpCheck, pattern: Option<&Pattern>, response: &Response) -> Finding {
    let Response { status, phrase, .. } = response;
    let health = health::read(&response.body);
    let shown = match phrase.as_str() {
        "" => status.to_string(),
        phrase => format!("{status} {phrase}"),
    };
    let finding = if !http.members.is_empty() && response.extent != Extent::Part {
        by_members(&http.members, *status, shown, health.as_ref())
    } else if !expected(http, *status) {
        Finding::failure("L7STS", unexpected(*status, shown, health.as_ref()))
    } else if response.extent == Extent::Part {
        Finding::failure(
            "L7RSP",
            format!("{shown}, but the connection ended in the middle of the body"),
        )
    } else if let Some(finding) = body(http, pattern, &response.body, &shown) {
        finding
    } else {
        Finding::success("L7OK", good(shown, health.as_ref()))
    };
    let page = health.filter(|_| response.extent != Extent::Part);
    let page = page.map(|health| HealthPage {
        failed: health.failed,
        names: health.names,
    });
    finding.with_reply(*status).with_page(page)
}

/// Only these members count. One that the page does not name cannot be seen, which is no good sign.
fn by_members(wanted: &[String], status: u16, shown: String, health: Option<&Health>) -> Finding {
    let Some(health) = health else {
        let detail = format!("{shown}, but no health page: its members cannot be seen");
        return Finding::failure("L7RSP", detail);
    };
    let failed = health
        .failed
        .iter()
        .filter(|(name, _)| wanted.contains(name));
    let failed: Vec<_> = failed.map(|(name, why)| format!("{name}: {why}")).collect();
    if !failed.is_empty() {
        return Finding::failure("L7STS", format!("{status}: {}", failed.join("; ")));
    }
    if let Some(missing) = wanted.iter().find(|name| !health.names.contains(name)) {
        let detail = format!("{shown}, but its health page says nothing of {missing}");
        return Finding::failure("L7RSP", detail);
    }
    match health.failed.is_empty() {
        true => Finding::success("L7OK", shown),
        false => Finding::success(
            "L7OK",
            format!("{shown}, for reasons that do not count here: {health}"),
        ),
    }
}

/// Why the body will not do.
fn body(http: &HttpCheck, pattern: Option<&Pattern>, body: &[u8], shown: &str) -> Option<Finding> {
    let (found, key, wanted) = match http.body.as_ref()? {
        BodyMatch::Text(text) => {
            let mut windows = body.windows(text.len().max(1));
            let found = windows.any(|window| window == text.as_bytes());
            (found, "body", text)
        }
        BodyMatch::Regex(text) => {
            let Some(pattern) = pattern else {
                let detail = "the director cannot use body_regex";
                return Some(Finding::inconclusive("SOCKERR", detail));
            };
            (pattern.0.is_match(body), "body_regex", text)
        }
    };
    let wanted = super::finding::quote(wanted.as_bytes());
    (!found).then(|| {
        Finding::failure(
            "L7RSP",
            format!("{shown}, but {key} \"{wanted}\" is not in what came"),
        )
    })
}

fn unexpected(status: u16, shown: String, health: Option<&Health>) -> String {
    match health {
        Some(health) if !health.failed.is_empty() => format!("{status}: {health}"),
        Some(Health {
            status: Some(word), ..
        }) => format!("{shown}, status {word}"),
        _ => shown,
    }
}

/// The status decides; what else the page says is told.
fn good(shown: String, health: Option<&Health>) -> String {
    let Some(health) = health.filter(|health| !health.is_good()) else {
        return shown;
    };
    let word = health.status.as_deref().unwrap_or("not all well");
    match health.failed.is_empty() {
        true => format!("{shown}, but it says: {word}"),
        false => format!("{shown}, but it says: {word} ({health})"),
    }
}

fn failed(lost: Lost, decoder: &Decoder, http: &HttpCheck, line: &Line) -> Finding {
    let within = line.timeout();
    let asked = format!(
        "{} {}",
        http.method,
        super::finding::quote(http.path.as_bytes())
    );
    let finding = match lost {
        Lost::Late(_) => Finding::failure(
            "L7TOUT",
            match (decoder.status(), decoder.began()) {
                (Some(status), _) => {
                    format!("{status}, but its body did not end within {within:?}")
                }
                (None, true) => format!("the answer began but did not end within {within:?}"),
                (None, false) => {
                    format!("no answer to {asked} within {within:?}: the process may be hung")
                }
            },
        ),
        Lost::Closed => Finding::failure("L7RSP", format!("connection closed at {asked}")),
        Lost::Broken(error) => Finding::failure(
            "L7RSP",
            format!("connection broke at {asked}: {}", error.kind()),
        ),
        Lost::Garbage(what) => Finding::failure("L7RSP", what),
    };
    match decoder.status() {
        Some(status) => finding.with_reply(status),
        None => finding,
    }
}
