//! What has changed, who did it, and why; the newest first.

use maud::{Markup, html};

use super::badge;
use crate::cli::format::timestamp;
use crate::snapshot::EventView;

const SHOWN: usize = 50;

pub fn render(events: &[EventView]) -> Markup {
    html! {
        @if !events.is_empty() {
            section class="card" aria-labelledby="events" {
                h2 id="events" { "What has changed" }
                table aria-labelledby="events" {
                    thead {
                        tr {
                            th scope="col" { "When" }
                            th scope="col" { "What" }
                            th scope="col" { "Event" }
                            th scope="col" { "Who and why" }
                        }
                    }
                    tbody {
                        @for event in events.iter().rev().take(SHOWN) {
                            tr {
                                td data-label="When" { (timestamp(event.time_ms)) }
                                th scope="row" {
                                    @if event.subject.is_empty() { "director" } @else { (event.subject) }
                                }
                                td data-label="Event" { (badge(class(&event.kind), &event.kind)) }
                                td data-label="Who and why" { (event.text) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn class(kind: &str) -> &'static str {
    match kind {
        "up" | "ready" | "active" | "in-sync" | "service-up" | "peer-up" => "good",
        "down" | "drift" | "fault" | "service-down" => "bad",
        "unserved" | "table-full" | "peer-down" | "peer-trouble" => "odd",
        kind if kind.ends_with("-failed") => "odd",
        _ => "calm",
    }
}
