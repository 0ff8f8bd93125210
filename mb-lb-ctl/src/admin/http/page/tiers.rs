//! Databases, session stores and storage; files for the mail servers.

use maud::{Markup, html};

use super::badge;
use crate::cli::format::{count, span, timestamp};
use crate::snapshot::{HealthState, Snapshot, SyncState, SyncTargetView, SyncView, TierView};

pub fn render(snapshot: &Snapshot) -> Markup {
    html! {
        @if !snapshot.tiers.is_empty() {
            section aria-labelledby="tiers" {
                h2 id="tiers" { "Databases, sessions, storage" }
                @for tier in &snapshot.tiers { (self::tier(tier)) }
            }
        }
    }
}

fn tier(tier: &TierView) -> Markup {
    let class = match tier.state.as_str() {
        "ok" => "good",
        "failed" => "bad",
        _ => "odd",
    };
    let id = format!("tier-{}", tier.name);
    html! {
        div class="card" {
            h3 id=(id) { (tier.name) " " small class="faint" { (tier.kind) " " (tier.mode) } }
            p {
                (badge(class, &tier.state)) " " (tier.summary)
                @if tier.state != "ok" { " " span class="faint" { "for " (span(tier.since)) } }
            }
            @if tier.state == "failed" && !tier.takes_out.is_empty() {
                p { (badge("bad", "taken out")) " " (tier.takes_out.join(", ")) " take no new clients" }
            }
            table aria-labelledby=(id) {
                thead {
                    tr {
                        th scope="col" { "Node" }
                        th scope="col" { "State" }
                        th scope="col" { "Clients" }
                        th scope="col" { "Why" }
                    }
                }
                tbody {
                    @for node in &tier.nodes {
                        tr {
                            th scope="row" {
                                @if node.role != "server" && node.role != node.name { (node.role) " " }
                                (node.name)
                                @if !node.address.is_empty() { small class="faint" { (node.address) } }
                            }
                            td data-label="State" {
                                (badge(
                                    match node.health {
                                        HealthState::Up => "good",
                                        HealthState::Down => "bad",
                                        HealthState::Unknown => "odd",
                                    },
                                    &node.word.replace('_', " "),
                                ))
                            }
                            td data-label="Clients" { @if node.elected { "go here" } }
                            td data-label="Why" { @if node.reason != node.word { (node.reason) } }
                        }
                    }
                }
            }
        }
    }
}

pub fn syncs(snapshot: &Snapshot) -> Markup {
    html! {
        @if !snapshot.syncs.is_empty() {
            section aria-labelledby="syncs" {
                h2 id="syncs" { "Configuration sync" }
                @for sync in &snapshot.syncs { (self::sync(sync)) }
            }
        }
    }
}

fn sync(sync: &SyncView) -> Markup {
    let id = format!("sync-{}", sync.name);
    let source = sync.source.as_deref().unwrap_or("the targets' own origin");
    html! {
        div class="card" {
            h3 id=(id) { (sync.name) " " small class="faint" { (sync.method) " from " (source) } }
            @if let Some(why) = &sync.source_error {
                p { (badge("bad", "nothing is sent")) " " (why) }
            }
            table aria-labelledby=(id) {
                thead {
                    tr {
                        th scope="col" { "Target" }
                        th scope="col" { "State" }
                        th scope="col" { "Last in step" }
                        th scope="col" { "Last change" }
                        th scope="col" { "Why" }
                    }
                }
                tbody {
                    @for target in &sync.targets {
                        tr {
                            th scope="row" { (target.target) small class="faint" { (target.path) } }
                            td data-label="State" {
                                @let (class, word) = sync_word(target);
                                (badge(class, word))
                            }
                            td data-label="Last in step" {
                                @if let Some(when) = target.last_success_ms { (timestamp(when)) } @else { "never" }
                            }
                            td data-label="Last change" {
                                @if let Some(when) = target.changed_ms {
                                    (timestamp(when)) small class="faint" { (count(target.changed, "file")) }
                                } @else { "none" }
                            }
                            td data-label="Why" {
                                @if let Some(why) = &target.error { (why) }
                                @if let Some(next) = &target.next { small class="faint" { "Next: " (super::banner::commands(next)) } }
                                @if target.reload_owed { small class="faint" { "Reload still to be done." } }
                            }
                        }
                    }
                }
            }
        }
    }
}

const fn sync_word(target: &SyncTargetView) -> (&'static str, &'static str) {
    match target.state {
        SyncState::Standby => ("calm", "standby"),
        SyncState::Waiting => ("odd", "waiting"),
        SyncState::InStep => ("good", "in step"),
        SyncState::Failed => ("bad", "fails"),
    }
}
