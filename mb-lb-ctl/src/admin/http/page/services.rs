//! VIPs, the services on them, and their servers.

use maud::{Markup, html};

use super::{View, badge, sparkline};
use crate::cli::format::{grouped, grouped_signed, span};
use crate::cli::list::health_word;
use crate::cli::state;
use crate::command::native::state_word;
use crate::snapshot::{HealthState, ServerView, ServiceView};

/// A service with more servers than this shows only those that need attention, so that the page stays one.
const SHOWN: usize = 100;

pub fn render(view: &View<'_>) -> Markup {
    html! {
        section aria-labelledby="services" {
            h2 id="services" tabindex="-1" { "Services" }
            @if view.snapshot.services.is_empty() {
                p class="card" { "No service is configured." }
            }
            @for service in &view.snapshot.services {
                (self::service(view, service))
            }
            @let gone: Vec<_> = state::lingering(view.snapshot).collect();
            @if !gone.is_empty() {
                div class="card" {
                    h3 { "Servers that are in the file no more" }
                    ul {
                        @for server in gone {
                            li { (state::full_name(&server.service, &server.server)) ": " (state::left(server)) }
                        }
                    }
                }
            }
        }
    }
}

fn service(view: &View<'_>, service: &ServiceView) -> Markup {
    let all = service.servers.len();
    let up = service
        .servers
        .iter()
        .filter(|server| server.usable || server.stands_by)
        .count();
    // One that is full is not missing.
    let is_there = |server: &&ServerView| server.usable || state::word(server) == "full";
    let takers = service.servers.iter().filter(is_there).count();
    let is_too_few = takers < service.min_up as usize && service.paused_by.is_none();
    let class = match up {
        up if up == 0 || is_too_few => "bad",
        up if up == all => "good",
        _ => "odd",
    };
    let listen: Vec<_> = service.listen.iter().map(ToString::to_string).collect();
    let shown: Vec<_> = service
        .servers
        .iter()
        .filter(|server| all <= SHOWN || !state::is_plain(server))
        .take(SHOWN)
        .collect();
    html! {
        div class="card" {
            h3 id=(format!("service-{}", service.name)) { (listen.join(", ")) " \u{2192} " (service.name) }
            p {
                (badge(class, &format!("{up} of {all} up"))) " "
                span class="faint" {
                    (service.scheduler) ", " @if service.layer == 7 { "HTTP" } @else { (service.forward) } ". "
                    "Active " (grouped_signed(service.servers.iter().map(|server| server.active).sum())) ", "
                    (grouped(service.servers.iter().map(|server| server.rate).sum())) " new/s"
                }
            }
            @for set in state::service_by_hand(service) {
                p { (badge("odd", "BY HAND")) " " (set) }
            }
            @if takers > 0 && is_too_few {
                p { (badge("bad", "TOO FEW")) " min_up is " (service.min_up) }
            }
            @if !service.servers.iter().any(|server| server.usable) {
                p { (badge("bad", "NO SERVER")) " for " (span(service.since)) }
            }
            table aria-labelledby=(format!("service-{}", service.name)) {
                thead {
                    tr {
                        th scope="col" { "Server" }
                        th scope="col" { "State" }
                        th scope="col" { "Why" }
                        th scope="col" class="n" { "Weight" }
                        th scope="col" class="n" { "Active" }
                        th scope="col" class="n" { "New/s" }
                        th scope="col" { "10 minutes" }
                        @if view.may_change { th scope="col" { "Change" } }
                    }
                }
                tbody {
                    @for server in &shown { (row(view, service, server)) }
                }
            }
            @if shown.len() < all {
                p class="faint" {
                    (grouped((all - shown.len()) as u64)) " more servers are not shown: they need nothing, or see "
                    a href="/stats;csv" { "all of them as CSV" }
                }
            }
        }
    }
}

fn row(view: &View<'_>, service: &ServiceView, server: &ServerView) -> Markup {
    let word = state::word(server);
    let class = match word.as_str() {
        "up" => "good",
        "DOWN" => "bad",
        "drain" | "maint" | "standby" => "calm",
        _ => "odd",
    };
    html! {
        tr {
            th scope="row" {
                (server.name)
                @if let Some(address) = server.address {
                    small class="faint" { (std::net::SocketAddr::new(address, server.port)) }
                }
            }
            td data-label="State" {
                (badge(class, &word))
                small class="faint" { "wanted " (state_word(server.admin)) ", seen " (health_word(server.health)) }
            }
            td data-label="Why" { (why(server)) }
            td data-label="Weight" class="n" { (server.weight) (state::weight_mark(server)) }
            td data-label="Active" class="n" {
                (grouped_signed(server.active))
                @if server.pending > 0 { small class="faint" { "pending " (grouped(server.pending)) } }
            }
            td data-label="New/s" class="n" { (grouped(server.rate)) }
            td data-label="10 minutes" {
                (sparkline::render(&view.history.rates(&service.name, &server.name)))
            }
            @if view.may_change {
                td { (form(service, server)) }
            }
        }
    }
}

/// What needs attention; else, what the last check saw.
fn why(server: &ServerView) -> Markup {
    let note = state::note(server);
    let seen = match &server.check {
        Some(check) => format!(
            "{} ({}, {} ms)",
            check.detail, check.code, check.duration_ms
        ),
        None => "not checked".to_owned(),
    };
    html! {
        (note)
        @if note.is_empty() || server.health == HealthState::Up {
            small class="faint" { (seen) }
        }
        @if let Some(agent) = &server.agent {
            small class="faint" { "agent " (state::agent(agent)) }
        }
    }
}

fn form(service: &ServiceView, server: &ServerView) -> Markup {
    let id = format!("change-{}-{}", service.name, server.name);
    let name = format!("{}/{}", service.name, server.name);
    html! {
        details class="change" id=(id) {
            summary id=(format!("{id}-summary")) aria-label=(format!("Change {name}")) { "Change" }
            form method="post" action="/stats" {
                input type="hidden" name="b" value=(service.name);
                input type="hidden" name="s" value=(server.name);
                label {
                    "Reason"
                    input type="text" name="reason" maxlength="200" autocomplete="off";
                }
                @for (action, title) in [
                    ("ready", "takes new flows again"),
                    ("drain", "takes no new flows, open ones go on"),
                    ("maint", "takes no flows and is not checked"),
                ] {
                    button name="action" value=(action) title=(title) { (action) }
                }
            }
        }
    }
}
