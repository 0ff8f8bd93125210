//! The page: everything on one screen, server-rendered; without JavaScript it is loaded anew every five seconds.
//!
//! Everything that is shown is escaped by the template. Style and script stand in the page, and the browser runs them
//! because of their hashes, and nothing else.

mod banner;
mod extras;
mod services;
mod sparkline;
mod tiers;
mod timeline;

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_FRAME_OPTIONS,
};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use super::{History, Outcome};
use crate::snapshot::{EventView, Severity, Snapshot};

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

/// What is shown, and to whom.
#[derive(Clone, Copy, Debug)]
pub struct View<'v> {
    pub snapshot: &'v Snapshot,
    /// Oldest first.
    pub events: &'v [EventView],
    pub history: &'v History,
    /// There is a password, and who looks has it.
    pub may_change: bool,
    /// What became of the form that was sent.
    pub outcome: Option<Outcome>,
    /// The page is to be up to date by itself.
    pub refresh: bool,
    /// Unix time in milliseconds.
    pub now_ms: u64,
}

pub fn render(view: &View<'_>) -> String {
    let snapshot = view.snapshot;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (banner::word(snapshot)) ": " (snapshot.director) " - mb-lb" }
                @if view.refresh {
                    noscript { meta http-equiv="refresh" content="5;url=/stats"; }
                }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a class="skip" href="#services" { "To the services" }
                p id="stale" class="card bad" role="alert" hidden {
                    "The director does not answer: what you see is old."
                }
                div id="live" data-refresh[view.refresh] {
                    (banner::render(view))
                    main {
                        (banner::alarms(snapshot))
                        (services::render(view))
                        (tiers::render(snapshot))
                        (extras::proxies(snapshot, view.now_ms))
                        (tiers::syncs(snapshot))
                        (timeline::render(view.events))
                        (extras::packets(snapshot))
                    }
                    (banner::footer(view))
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// What browsers are to know about the page.
pub fn headers() -> [(HeaderName, HeaderValue); 3] {
    static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
        let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; form-action 'self'; \
             base-uri 'none'; frame-ancestors 'none'",
            hash(STYLE),
            hash(SCRIPT),
        );
        HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
    });
    [
        (CONTENT_SECURITY_POLICY, POLICY.clone()),
        (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        // Not "no-referrer": browsers would then say `Origin: null` for our own forms.
        (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    ]
}

/// A word with a colour; the word alone says it.
fn badge(class: &str, text: &str) -> Markup {
    html! { span class=(format!("badge {class}")) { (text) } }
}

fn severity(severity: Severity) -> Markup {
    match severity {
        Severity::Critical => badge("bad", "critical"),
        Severity::Warning => badge("odd", "warning"),
    }
}
