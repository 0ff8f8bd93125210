//! Check `agent`: one line of a program at the server that knows how it is (HAProxy's `agent-check`).
//!
//! HAProxy takes only `down`, `fail` and `stopped` for a failure, and none where the agent cannot be reached. Here the result
//! says what happened; whose agent stands beside another check goes by [`CheckResult::agent`](crate::engine::CheckResult).

use super::Finding;
use super::line::{Line, Lost};
use reply::Heard;

pub mod reply;

/// Longest line that is read, without its end.
const LONGEST: usize = 1024;

pub(super) async fn check(line: &mut Line, send: Option<&str>) -> Finding {
    match hear(line, send).await {
        Ok(said) => judge(reply::parse(&said)),
        Err(finding) => finding,
    }
}

/// The first line. One that does not end may have lost its end, and a part of `100%` is another word.
async fn hear(line: &mut Line, send: Option<&str>) -> Result<Vec<u8>, Finding> {
    let mut said = Vec::new();
    if let Some(send) = send {
        let sent = line.send(send.as_bytes()).await;
        sent.map_err(|lost| failed(lost, false, line))?;
    }
    let mut piece = [0; LONGEST];
    loop {
        let count = match line.read(&mut piece).await {
            Ok(count) => count,
            Err(lost) => return Err(failed(lost, !said.is_empty(), line)),
        };
        if count == 0 {
            return Err(failed(Lost::Closed, !said.is_empty(), line));
        }
        let piece = &piece[..count];
        let end = piece.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        said.extend_from_slice(&piece[..end.unwrap_or(count)]);
        if said.len() > LONGEST {
            let detail = format!("the agent's line is longer than {LONGEST} bytes");
            return Err(Finding::failure("L7RSP", detail));
        }
        if end.is_some() {
            return Ok(said);
        }
    }
}

fn judge(heard: Heard) -> Finding {
    let mut detail = match (heard.health, &heard.reply.reason, heard.said.as_str()) {
        (Some(word), Some(reason), _) => format!("the agent says {word}: {reason}"),
        (_, _, "") => "the agent says nothing new".to_owned(),
        (_, _, said) => format!("the agent says {said}"),
    };
    if !heard.odd.is_empty() {
        detail.push_str(&format!("; not understood: {}", heard.odd.join(" ")));
    }
    let finding = match heard.reply.up {
        Some(false) => Finding::failure("L7STS", detail),
        Some(true) | None => Finding::success("L7OK", detail),
    };
    finding.with_agent(heard.reply)
}

fn failed(lost: Lost, began: bool, line: &Line) -> Finding {
    let within = line.timeout();
    match (lost, began) {
        (Lost::Late(_), false) => {
            Finding::failure("L7TOUT", format!("no line of the agent within {within:?}"))
        }
        (Lost::Late(_), true) => {
            let detail = format!("the agent's line began but did not end within {within:?}");
            Finding::failure("L7TOUT", detail)
        }
        (Lost::Closed, false) => Finding::failure("L7RSP", "the agent said nothing"),
        (Lost::Closed, true) => Finding::failure(
            "L7RSP",
            "the agent's line did not end, so nothing in it counts",
        ),
        (Lost::Broken(error), _) => Finding::failure(
            "L7RSP",
            format!("connection to the agent broke: {}", error.kind()),
        ),
        (Lost::Garbage(what), _) => Finding::failure("L7RSP", what),
    }
}
