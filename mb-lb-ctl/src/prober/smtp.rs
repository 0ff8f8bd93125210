//! Check `smtp`: a 220 banner, a positive reply to EHLO, a polite QUIT (RFC 5321 sections 3.1, 4.1.1.1 and
//! 4.1.1.10). A stopped or hung process is found by its missing banner. With `starttls` the same again inside TLS (RFC 3207).

use std::fmt;
use std::net::IpAddr;

use super::Finding;
use super::line::{Line, Lost};
use super::reply::Reply;
use crate::config::{Capability, ServerTls, SmtpCheck};

const STARTTLS: &str = "STARTTLS";

/// What the client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Banner,
    Ehlo,
    Helo,
    StartTls,
    EhloInside,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Banner => "banner",
            Self::Ehlo => "EHLO",
            Self::Helo => "HELO",
            Self::StartTls => STARTTLS,
            Self::EhloInside => "EHLO inside TLS",
        })
    }
}

/// Speaks SMTP as far as needed to see that somebody answers, and offers what is wanted. QUIT is left for the closing of
/// the line: by then the server has shown what it can. `address` is where `line` leads.
pub(super) async fn check(line: &mut Line, smtp: &SmtpCheck, address: IpAddr) -> Finding {
    match converse(line, smtp, address).await {
        Ok(finding) | Err(finding) => finding,
    }
}

async fn converse(line: &mut Line, smtp: &SmtpCheck, address: IpAddr) -> Result<Finding, Finding> {
    let banner = expect(line, Phase::Banner).await?;
    // From here on the peer speaks SMTP; also after a refusal it waits for QUIT (RFC 5321 section 3.1).
    line.set_farewell(b"QUIT\r\n");
    if banner.code != 220 {
        return Err(refused(&banner, Phase::Banner));
    }
    if line.has_more() {
        return Err(
            Finding::failure("L7RSP", "the server talks before it is spoken to").with_reply(220),
        );
    }
    let wanted = &smtp.capabilities;
    let ehlo = ask(line, &format!("EHLO {}", smtp.helo), Phase::Ehlo).await?;
    if ehlo.is_positive() {
        if let Some(tls) = &smtp.starttls {
            // Inside TLS it is not offered any more.
            let (outside, inside): (Vec<_>, Vec<_>) =
                wanted.iter().partition(|wanted| wanted.keyword == STARTTLS);
            let starttls = Capability {
                keyword: STARTTLS.to_owned(),
                parameters: Vec::new(),
            };
            demand(outside.into_iter().chain([&starttls]), &ehlo, Phase::Ehlo)?;
            let ehlo = secured(line, tls, &smtp.helo, address).await?;
            demand(inside, &ehlo, Phase::EhloInside)?;
        } else {
            demand(wanted, &ehlo, Phase::Ehlo)?;
        }
    } else {
        // Servers from before ESMTP answer 500 or 502; RFC 5321 section 4.1.1.1 lets a client fall back. They offer nothing.
        if !ehlo.is_permanent_failure() || !wanted.is_empty() || smtp.starttls.is_some() {
            return Err(refused(&ehlo, Phase::Ehlo));
        }
        let reply = ask(line, &format!("HELO {}", smtp.helo), Phase::Helo).await?;
        if !reply.is_positive() {
            return Err(refused(&reply, Phase::Helo));
        }
    }
    Ok(Finding::success("L7OK", banner.to_string()).with_reply(banner.code))
}

/// What the server says to EHLO inside TLS.
async fn secured(
    line: &mut Line,
    tls: &ServerTls,
    helo: &str,
    address: IpAddr,
) -> Result<Reply, Finding> {
    // What was said too early would be taken for the answer to STARTTLS.
    if line.has_more() {
        return Err(Finding::failure(
            "L7RSP",
            "the server said more than its reply to EHLO",
        ));
    }
    let reply = ask(line, STARTTLS, Phase::StartTls).await?;
    if reply.code != 220 {
        return Err(refused(&reply, Phase::StartTls));
    }
    // Until TLS is set up, the server takes everything for a part of that.
    line.set_farewell(b"");
    // Somebody in between could have put it there, to be believed inside TLS (CVE-2011-0411 and its kin).
    if line.has_more() {
        return Err(Finding::failure(
            "L7RSP",
            "the server said something in clear after its reply to STARTTLS",
        ));
    }
    line.secure(tls, address).await?;
    line.set_farewell(b"QUIT\r\n");
    let ehlo = ask(line, &format!("EHLO {helo}"), Phase::EhloInside).await?;
    match ehlo.is_positive() {
        true => Ok(ehlo),
        false => Err(refused(&ehlo, Phase::EhloInside)),
    }
}

/// All of these have to be among what is offered.
fn demand<'w>(
    wanted: impl IntoIterator<Item = &'w Capability>,
    ehlo: &Reply,
    phase: Phase,
) -> Result<(), Finding> {
    let wanted = wanted.into_iter();
    let missing: Vec<_> = wanted
        .filter(|wanted| !ehlo.rest.iter().any(|line| offers(line, wanted)))
        .map(ToString::to_string)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let detail = format!("{phase} does not offer {}", missing.join(", "));
    Err(Finding::failure("L7STS", detail).with_reply(ehlo.code))
}

/// Whether a line of a reply to EHLO is what is wanted, in capitals or not.
fn offers(line: &[u8], wanted: &Capability) -> bool {
    let mut words = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let keyword = words.next().unwrap_or_default();
    if !keyword.eq_ignore_ascii_case(wanted.keyword.as_bytes()) {
        return false;
    }
    let offered: Vec<_> = words.collect();
    let mut parameters = wanted.parameters.iter();
    parameters.all(|parameter| {
        if wanted.keyword == "SIZE"
            && let Ok(least) = parameter.parse::<u64>()
        {
            return offered
                .first()
                .and_then(|size| number(size))
                .is_some_and(|most| {
                    // No limit that is known (RFC 1870 section 4).
                    most == 0 || most >= least
                });
        }
        let mut offered = offered.iter();
        offered.any(|word| word.eq_ignore_ascii_case(parameter.as_bytes()))
    })
}

fn number(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

async fn ask(line: &mut Line, command: &str, phase: Phase) -> Result<Reply, Finding> {
    let sent = line.send(format!("{command}\r\n").as_bytes()).await;
    sent.map_err(|lost| failed(lost, phase, line))?;
    expect(line, phase).await
}

async fn expect(line: &mut Line, phase: Phase) -> Result<Reply, Finding> {
    line.reply().await.map_err(|lost| failed(lost, phase, line))
}

fn refused(reply: &Reply, phase: Phase) -> Finding {
    Finding::failure("L7STS", format!("{reply} at {phase}")).with_reply(reply.code)
}

fn failed(lost: Lost, phase: Phase, line: &Line) -> Finding {
    let within = line.timeout();
    match (lost, phase) {
        (Lost::Late(false), Phase::Banner) => Finding::failure(
            "L7TOUT",
            format!("no 220 banner within {within:?}: the process may be hung"),
        ),
        (Lost::Late(true), Phase::Banner) => Finding::failure(
            "L7TOUT",
            format!("the banner began but did not end within {within:?}"),
        ),
        (Lost::Late(_), _) => {
            Finding::failure("L7TOUT", format!("no reply to {phase} within {within:?}"))
        }
        (Lost::Closed, _) => Finding::failure("L7RSP", format!("connection closed at {phase}")),
        (Lost::Broken(error), _) => Finding::failure(
            "L7RSP",
            format!("connection broke at {phase}: {}", error.kind()),
        ),
        (Lost::Garbage(what), _) => Finding::failure("L7RSP", format!("{what}, at {phase}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered() {
        let wanted = |text: &str| {
            let mut words = text.split(' ').map(str::to_owned);
            Capability {
                keyword: words.next().unwrap(),
                parameters: words.collect(),
            }
        };
        for (line, yes, no) in [
            (
                "STARTTLS",
                &["STARTTLS"][..],
                &["START", "STARTTLSX", "STARTTLS X"][..],
            ),
            ("starttls", &["STARTTLS"], &[]),
            ("", &[], &["STARTTLS"]),
            ("8BITMIME ", &["8BITMIME"], &["8BIT"]),
            (
                "AUTH PLAIN login",
                &["AUTH", "AUTH PLAIN", "AUTH LOGIN PLAIN"],
                &["AUTH CRAM-MD5", "AUTH PLAIN CRAM-MD5", "PLAIN"],
            ),
            (
                "SIZE 10240000",
                &["SIZE", "SIZE 10240000", "SIZE 1", "SIZE 0"],
                &["SIZE 10240001", "SIZE MUCH"],
            ),
            ("SIZE 0", &["SIZE 99999999"], &[]),
            ("SIZE", &["SIZE"], &["SIZE 1"]),
            ("SIZE many", &["SIZE"], &["SIZE 1"]),
        ] {
            for text in yes {
                assert!(offers(line.as_bytes(), &wanted(text)), "{line:?}, {text}");
            }
            for text in no {
                assert!(!offers(line.as_bytes(), &wanted(text)), "{line:?}, {text}");
            }
        }
        assert!(!offers(b"\xff\xfe \xff", &wanted("SIZE 1")));
    }
}
