//! One word for what a server does now, and why. Status, lists and description use the same.

use crate::cli::format::{count, span};
use crate::cli::style::Style;
use crate::command::native::state_word;
use crate::snapshot::{
    AdminState, AgentView, HandView, HealthState, RemovedView, ServerView, ServiceView, Snapshot,
};

/// How much the word matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Good,
    Bad,
    Odd,
    Calm,
}

/// `up`, `DOWN`, `drain`, `maint`, `unknown`, `full`, `standby`, `stopping` or `ramp 40%`.
pub fn word(server: &ServerView) -> String {
    classify(server).0
}

pub fn tone(server: &ServerView) -> Tone {
    classify(server).1
}

/// The word, padded to `width` and coloured.
pub fn painted(server: &ServerView, width: usize, style: Style) -> String {
    let (word, tone) = classify(server);
    let word = format!("{word:<width$}");
    match tone {
        Tone::Good => style.good(&word),
        Tone::Bad => style.bad(&word),
        Tone::Odd => style.odd(&word),
        Tone::Calm => style.calm(&word),
    }
}

/// Nothing about the server needs anybody's attention.
pub fn is_plain(server: &ServerView) -> bool {
    classify(server).0 == "up" && note(server).is_empty()
}

/// Why the state is so, who made it so, and what else is odd; empty for a server that is simply up.
pub fn note(server: &ServerView) -> String {
    let mut parts = Vec::new();
    let down = server.health == HealthState::Down && server.wish() != AdminState::Maint;
    if server.admin != AdminState::Ready {
        parts.push(wish(server, down));
    }
    if let Some(agent) = server
        .agent
        .as_ref()
        .filter(|agent| agent.admin > server.admin)
    {
        parts.push(format!(
            "{} by its agent: {}",
            state_word(agent.admin),
            agent.detail
        ));
    }
    if down {
        parts.push(format!("for {}: {}", span(server.since), cause(server)));
    }
    match classify(server).0.as_str() {
        "unknown" if server.health_reason.is_empty() => parts.push("not checked yet".to_owned()),
        "unknown" => parts.push(server.health_reason.clone()),
        "full" => parts.push(match server.max_connections {
            Some(cap) => format!("at its cap of {}", count(u64::from(cap), "flow")),
            None => "takes no new flow".to_owned(),
        }),
        _ => {}
    }
    if server.weight == 0 {
        parts.push("weight 0: no new flows".to_owned());
    }
    parts.extend(server.by_hand.as_ref().map(by_hand));
    let asked: Vec<_> = server
        .agent
        .iter()
        .flat_map(limits_asked)
        // It asks for what is so anyway.
        .filter(|asked| asked != "weight 100%")
        .collect();
    if !asked.is_empty() {
        parts.push(format!("its agent asks for {}", asked.join(", ")));
    }
    if server.backup {
        parts.push(match server.usable {
            true => "backup, in use".to_owned(),
            false => "backup".to_owned(),
        });
    }
    if server.drift != 0 {
        parts.push(format!("drift {:+}", server.drift));
    }
    parts.join("; ")
}

/// What operators set of a service as a whole.
pub fn service_by_hand(service: &ServiceView) -> Vec<String> {
    let paused = service
        .paused_by
        .as_ref()
        .map(|by| match service.shut_down {
            true => format!("takes no new clients: {by} shut it down"),
            false => format!("takes no new clients: {by} disabled it"),
        });
    let most = service.most_clients.map(|most| match most {
        0 => "any number of clients".to_owned(),
        most => format!("at most {}", count(most.into(), "client")),
    });
    let by = service.most_clients_by.as_deref().unwrap_or_default();
    let most = most.map(|most| format!("{most}, by {by}"));
    paused.into_iter().chain(most).collect()
}

/// What operators set, and who.
pub fn by_hand(hand: &HandView) -> String {
    // What differs from the file in the servers that there are says itself who did it.
    let is_own = |at: usize| {
        let what = hand.what.get(at).map(String::as_str);
        !matches!(what, Some("added" | "moved" | "removed"))
    };
    let words = hand.words.iter().enumerate();
    let (own, amended): (Vec<_>, Vec<_>) = words.partition(|(at, _)| is_own(*at));
    let join = |words: Vec<(usize, &String)>| {
        let words: Vec<_> = words.into_iter().map(|(_, word)| word.as_str()).collect();
        words.join("; ")
    };
    match (own.is_empty(), amended.is_empty()) {
        (true, _) => join(amended),
        (false, true) => format!("{}, by {}", join(own), hand.by),
        (false, false) => format!("{}, by {}; {}", join(own), hand.by, join(amended)),
    }
}

/// What the agent asks for, and what it said last.
pub fn agent(agent: &AgentView) -> String {
    let mut asks = Vec::new();
    if agent.admin != AdminState::Ready {
        asks.push(state_word(agent.admin).to_owned());
    }
    asks.extend(limits_asked(agent));
    if !agent.up {
        asks.push("down".to_owned());
    }
    let asks = match asks.is_empty() {
        true => "asks for nothing".to_owned(),
        false => format!("asks for {}", asks.join(", ")),
    };
    let off = if agent.off {
        ", not asked at present"
    } else {
        ""
    };
    format!(
        "port {}{off}: {asks}; {}: {}",
        agent.port, agent.code, agent.detail
    )
}

/// Weight and cap that an agent asks for.
fn limits_asked(agent: &AgentView) -> impl Iterator<Item = String> + use<> {
    let weight = agent
        .weight
        .as_ref()
        .map(|weight| format!("weight {weight}"));
    let most = agent.max_connections.map(|most| match most {
        0 => "no cap".to_owned(),
        most => format!("at most {most} flows"),
    });
    weight.into_iter().chain(most)
}

/// ` (file 5)` where somebody has set another weight by hand.
pub fn weight_mark(server: &ServerView) -> String {
    match server.weight == server.initial_weight {
        true => String::new(),
        false => format!(" (file {})", server.initial_weight),
    }
}

/// Servers that are in the file no more and still have flows.
pub fn lingering(snapshot: &Snapshot) -> impl Iterator<Item = &RemovedView> {
    snapshot.removed.iter().filter(|server| server.flows > 0)
}

/// `SERVICE/SERVER`, or only a number where the name is not known any more.
pub fn full_name(service: &str, server: &str) -> String {
    match service {
        "" => server.to_owned(),
        service => format!("{service}/{server}"),
    }
}

/// What there is to say of a removed server.
pub fn left(server: &RemovedView) -> String {
    format!("{} left", count(server.flows, "flow"))
}

fn classify(server: &ServerView) -> (String, Tone) {
    let stops = server.by_hand.as_ref().is_some_and(|hand| hand.stopping);
    let (word, tone) = match (server.wish(), server.health) {
        (AdminState::Maint, _) => ("maint", Tone::Calm),
        (_, HealthState::Down) => ("DOWN", Tone::Bad),
        (AdminState::Drain, _) => ("drain", Tone::Calm),
        (_, HealthState::Unknown) => ("unknown", Tone::Odd),
        (_, HealthState::Up) if stops => ("stopping", Tone::Calm),
        (_, HealthState::Up) if server.stands_by => ("standby", Tone::Calm),
        (_, HealthState::Up) if is_full(server) => ("full", Tone::Odd),
        (_, HealthState::Up) if server.usable && server.ramp_percent < 100 => {
            return (format!("ramp {}%", server.ramp_percent), Tone::Odd);
        }
        (_, HealthState::Up) => ("up", Tone::Good),
    };
    (word.to_owned(), tone)
}

/// Up and wanted, and still without new flows because of its cap. A backup that stands by looks alike, except that it
/// has room.
fn is_full(server: &ServerView) -> bool {
    let has_room = || {
        server
            .max_connections
            .is_none_or(|cap| server.active < i64::from(cap))
    };
    !server.usable
        && server.weight > 0
        && server.max_connections.is_some()
        && !(server.backup && has_room())
}

/// What the operator wants, who that is, and why.
fn wish(server: &ServerView, with_state: bool) -> String {
    let mut text = String::new();
    // Behind DOWN the reader could not see it.
    if with_state {
        text.push_str(state_word(server.admin));
        text.push(' ');
    }
    if server.admin_by.is_empty() {
        text.push_str("for ");
        text.push_str(&span(server.since));
    } else {
        text.push_str(&format!(
            "by {} {} ago",
            server.admin_by,
            span(server.since)
        ));
    }
    if !server.admin_reason.is_empty() {
        text.push_str(&format!(": {}", server.admin_reason));
    }
    text
}

fn cause(server: &ServerView) -> String {
    let code = server
        .check
        .as_ref()
        .map(|check| check.code.as_str())
        .filter(|code| !code.is_empty() && *code != "INI" && !code.ends_with("OK"));
    match code {
        Some(code) => format!("{} ({code})", server.health_reason),
        None => server.health_reason.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_set_it_is_said_once() {
        let hand = |said: &[(&str, &str)]| HandView {
            by: "alice".to_owned(),
            words: said.iter().map(|(words, _)| (*words).to_owned()).collect(),
            what: said.iter().map(|(_, what)| (*what).to_owned()).collect(),
            ..HandView::default()
        };
        let rests = ("its check rests", "check_off");
        let added = ("was added by bob, and is in no file", "added");
        for (said, text) in [
            (&[rests][..], "its check rests, by alice"),
            (&[added], "was added by bob, and is in no file"),
            (
                &[rests, added],
                "its check rests, by alice; was added by bob, and is in no file",
            ),
        ] {
            assert_eq!(by_hand(&hand(said)), text);
        }
    }
}
