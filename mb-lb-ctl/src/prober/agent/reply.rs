//! The line of an agent, in HAProxy's protocol (its configuration manual, `agent-check`), from bytes that anybody may have
//! sent.

use crate::engine::{AgentReply, Weight};
use crate::prober::finding::quote;
use crate::snapshot::AdminState;

/// HAProxy's bound of what a weight in percent can do.
const MOST_PERCENT: u64 = 25_600;
const HIGHEST_WEIGHT: u64 = 256;

/// One whole line, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    pub reply: AgentReply,
    /// The word for `reply.up`, as the agent has it, in small letters.
    pub health: Option<&'static str>,
    /// All before `#`, fit to be shown.
    pub said: String,
    /// Words that mean nothing, fit to be shown.
    pub odd: Vec<String>,
}

/// Reads a line without its end. Of words of one kind the last one counts. A last word of its kind that makes no sense, such
/// as `7x%`, takes the place of good ones before it, as in HAProxy.
pub fn parse(line: &[u8]) -> Heard {
    let mut heard = Heard::default();
    let (mut weight, mut connections) = (None, None);
    let mut end = line.len();
    let mut at = 0;
    while at < line.len() {
        if is_blank(line[at]) {
            at += 1;
            continue;
        }
        if line[at] == b'#' {
            end = at;
            let reason = quote(&line[at + 1..]);
            heard.reply.reason = Some(reason).filter(|reason| !reason.is_empty());
            break;
        }
        let length = line[at..].iter().position(|byte| is_blank(*byte));
        let word = &line[at..length.map_or(line.len(), |length| at + length)];
        at += word.len();
        let health = HEALTH.iter().find(|(name, _)| is(word, name));
        let admin = ADMIN.iter().find(|(name, _)| is(word, name));
        if let Some((name, up)) = health {
            (heard.reply.up, heard.health) = (Some(*up), Some(*name));
        } else if let Some((_, state)) = admin {
            heard.reply.admin = Some(*state);
        } else if let Some(value) = after(word, b"weight:") {
            weight = Some((word, self::weight(value)));
        } else if word[0].is_ascii_digit() && word.contains(&b'%') {
            weight = Some((word, self::weight(word)));
        } else if let Some(value) = after(word, b"maxconn:") {
            let number = number(value).and_then(|number| u32::try_from(number).ok());
            connections = Some((word, number));
        } else {
            heard.odd.push(quote(word));
        }
    }
    for word in [
        weight.and_then(|(word, value)| value.is_none().then_some(word)),
        connections.and_then(|(word, value)| value.is_none().then_some(word)),
    ]
    .into_iter()
    .flatten()
    {
        heard.odd.push(quote(word));
    }
    heard.reply.weight = weight.and_then(|(_, value)| value);
    heard.reply.max_connections = connections.and_then(|(_, value)| value);
    heard.said = quote(&line[..end]);
    heard
}

const HEALTH: &[(&str, bool)] = &[
    ("up", true),
    ("down", false),
    ("stopped", false),
    ("fail", false),
];

const ADMIN: &[(&str, AdminState)] = &[
    ("ready", AdminState::Ready),
    ("drain", AdminState::Drain),
    ("maint", AdminState::Maint),
];

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b',')
}

fn is(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}

fn after<'w>(word: &'w [u8], prefix: &[u8]) -> Option<&'w [u8]> {
    let (start, rest) = word.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn weight(value: &[u8]) -> Option<Weight> {
    if let Some(percent) = value.strip_suffix(b"%") {
        let percent = number(percent)?.min(MOST_PERCENT);
        return u32::try_from(percent).ok().map(Weight::Percent);
    }
    let weight = number(value).filter(|weight| *weight <= HIGHEST_WEIGHT)?;
    u16::try_from(weight).ok().map(Weight::Absolute)
}

/// Digits, with a sign or without.
fn number(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0_u64, |number, digit| {
        number
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    }))
}

#[cfg(test)]
mod tests;
