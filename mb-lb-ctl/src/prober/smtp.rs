//! Check `smtp`: a 220 banner, a positive reply to EHLO, a polite QUIT (RFC 5321 sections 3.1, 4.1.1.1 and
//! 4.1.1.10). A stopped or hung process is found by its missing banner.

use std::fmt;

use super::Finding;
use super::line::{Line, Lost};
use super::reply::Reply;

/// What the client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Banner,
    Ehlo,
    Helo,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Banner => "banner",
            Self::Ehlo => "EHLO",
            Self::Helo => "HELO",
        })
    }
}

/// Speaks SMTP as far as needed to see that somebody answers. QUIT is left for the closing of the line: by
/// then the server has shown what it can.
pub(super) async fn check(line: &mut Line, helo: &str) -> Finding {
    match converse(line, helo).await {
        Ok(finding) | Err(finding) => finding,
    }
}

async fn converse(line: &mut Line, helo: &str) -> Result<Finding, Finding> {
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
    let ehlo = ask(line, "EHLO", helo, Phase::Ehlo).await?;
    if !ehlo.is_positive() {
        // Servers from before ESMTP answer 500 or 502; RFC 5321 section 4.1.1.1 lets a client fall back.
        if !ehlo.is_permanent_failure() {
            return Err(refused(&ehlo, Phase::Ehlo));
        }
        let reply = ask(line, "HELO", helo, Phase::Helo).await?;
        if !reply.is_positive() {
            return Err(refused(&reply, Phase::Helo));
        }
    }
    Ok(Finding::success("L7OK", banner.to_string()).with_reply(banner.code))
}

async fn ask(line: &mut Line, verb: &str, helo: &str, phase: Phase) -> Result<Reply, Finding> {
    let command = format!("{verb} {helo}\r\n");
    let sent = line.send(command.as_bytes()).await;
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
