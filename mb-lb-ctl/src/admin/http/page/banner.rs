//! Who this is, how it is, and what is wrong.

use maud::{Markup, html};

use super::{View, badge, severity};
use crate::cli::format::{count, grouped, span, timestamp};
use crate::command::info;
use crate::snapshot::{PeerView, Severity, Snapshot, VrrpView};

/// How the director is, in a word or two.
pub fn word(snapshot: &Snapshot) -> &'static str {
    let is_critical = |alarm: &crate::snapshot::Alarm| alarm.severity == Severity::Critical;
    match snapshot.alarms.as_slice() {
        [] => "all well",
        alarms if alarms.iter().any(is_critical) => "DEGRADED",
        _ => "warnings",
    }
}

pub fn render(view: &View<'_>) -> Markup {
    let snapshot = view.snapshot;
    let word = word(snapshot);
    let class = match word {
        "all well" => "good",
        "warnings" => "odd",
        _ => "bad",
    };
    html! {
        header class="card" {
            div class="top" {
                h1 { (snapshot.director) }
                (badge(class, word))
                nav aria-label="Other forms" {
                    @if view.refresh {
                        a id="pause" href="/stats;norefresh" { "Stop refreshing" }
                    } @else {
                        a id="pause" href="/stats" { "Refresh every 5 s" }
                    }
                    a id="csv" href="/stats;csv" { "CSV" }
                    a id="json" href="/api/v1/status" { "JSON" }
                    a id="metrics" href="/metrics" { "Metrics" }
                }
            }
            @if let Some(outcome) = view.outcome {
                @let (text, well) = outcome.text();
                p role="status" { (badge(if well { "good" } else { "odd" }, outcome.word())) " " (text) }
            }
            dl { (facts(view)) }
        }
    }
}

fn facts(view: &View<'_>) -> Markup {
    let snapshot = view.snapshot;
    let dataplane = &snapshot.dataplane;
    html! {
        @for router in &snapshot.vrrp {
            div {
                dt { "Role in " (router.name) }
                dd { (role(router)) }
            }
        }
        @if let Some(peer) = &snapshot.peer {
            div {
                dt { "Peer" }
                dd { (self::peer(peer)) }
            }
        }
        div {
            dt { "Configuration" }
            dd {
                (snapshot.config_hash)
                @if snapshot.reload_error.is_some() {
                    " " (badge("odd", "the last reload was refused"))
                }
                " " small class="faint" { (snapshot.config_path) }
            }
        }
        div {
            dt { "Up for" }
            dd { (span(snapshot.uptime)) " " small class="faint" { "since " (timestamp(snapshot.started_ms)) } }
        }
        div {
            dt { "XDP" }
            dd {
                @for interface in &dataplane.interfaces {
                    (badge(if interface.mode == "native" { "good" } else { "odd" }, &interface.mode))
                    " on " (interface.name) " "
                }
                @if dataplane.interfaces.is_empty() { "on no interface" }
            }
        }
        div {
            dt { "Flows" }
            dd { (grouped(dataplane.flows)) " " small class="faint" { "room for " (grouped(dataplane.max_flows)) } }
        }
        div {
            dt { "mb-lb" }
            dd { (snapshot.build) " " small class="faint" { "as of " (timestamp(view.now_ms)) } }
        }
    }
}

fn role(router: &VrrpView) -> Markup {
    let class = match router.role.as_str() {
        "active" => "good",
        "fault" => "bad",
        _ => "calm",
    };
    let why = match (&router.fault, &router.active) {
        _ if router.leaving => "handing over".to_owned(),
        (Some(fault), _) => fault.clone(),
        (None, Some(active)) if router.role == "backup" => {
            let address = active
                .address
                .map_or_else(String::new, |address| format!("{address} "));
            format!("{address}is active with priority {}", active.priority)
        }
        _ => router.cause.clone(),
    };
    html! {
        (badge(class, &router.role)) " " (router.addresses.join(", ")) " on " (router.interface)
        br;
        small class="faint" { "priority " (router.priority) ", for " (span(router.since)) ": " (why) }
    }
}

fn peer(peer: &PeerView) -> Markup {
    if !peer.connected {
        return html! {
            (badge("bad", "not connected")) " " (peer.address)
            br;
            small class="faint" { "for " (span(peer.since)) @if let Some(why) = &peer.why { ": " (why) } }
        };
    }
    let (class, sync) = match (peer.in_sync, peer.peer_in_sync) {
        (true, true) => ("good", "in sync"),
        (false, _) => ("odd", "taking in its flows"),
        (true, false) => ("odd", "it is taking in ours"),
    };
    let differs = peer
        .peer_config_hash
        .as_ref()
        .is_some_and(|hash| *hash != peer.config_hash);
    html! {
        (badge(class, sync)) " " (peer.name) " " (peer.address)
        @if differs { " " (badge("odd", "configurations differ")) }
        br;
        small class="faint" { "for " (span(peer.since)) }
    }
}

pub fn alarms(snapshot: &Snapshot) -> Markup {
    if snapshot.alarms.is_empty() {
        return html! {};
    }
    html! {
        section class="card" aria-labelledby="alarms" {
            h2 id="alarms" { (count(snapshot.alarms.len() as u64, "alarm")) }
            ul {
                @for alarm in &snapshot.alarms {
                    li {
                        (severity(alarm.severity)) " " (alarm.text)
                        @if !alarm.next.is_empty() {
                            br;
                            small class="faint" { "Next: " (commands(&alarm.next)) }
                        }
                    }
                }
            }
        }
    }
}

/// What stands between backticks, as code.
pub fn commands(text: &str) -> Markup {
    html! {
        @for (at, piece) in text.split('`').enumerate() {
            @if at % 2 == 1 { code { (piece) } } @else { (piece) }
        }
    }
}

/// Tools that read HAProxy's page look for its words.
pub fn footer(view: &View<'_>) -> Markup {
    let snapshot = view.snapshot;
    html! {
        footer {
            p {
                "Statistics in the dialect of HAProxy version " (info::version(snapshot)) ", for tools that read them: pid = "
                (snapshot.pid) ", uptime = " (info::uptime(snapshot.uptime)) "."
            }
            @if !view.may_change {
                p { "This page is read-only: there is no user and password in [admin]." }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_backticks_is_code_and_nothing_becomes_html() {
        let shown = |text: &str| commands(text).into_string();
        assert_eq!(
            shown("look: `ss -tln` on <mb1>"),
            "look: <code>ss -tln</code> on &lt;mb1&gt;"
        );
        assert_eq!(shown("`a & b`"), "<code>a &amp; b</code>");
        assert_eq!(shown("no command"), "no command");
    }
}
