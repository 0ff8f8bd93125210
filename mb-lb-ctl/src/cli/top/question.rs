//! The last lines of the screen: a question with what its answer would do, a word on what was done, or hints.

use ratatui::text::{Line, Span};

use crate::cli::change::{flows_text, none_left};
use crate::cli::top::model::{Input, State, View, name};
use crate::cli::top::paint::Paint;
use crate::cli::top::rows::Place;
use crate::command::native::state_word;
use crate::snapshot::AdminState;

const HINTS: &str =
    "? help  q quit  / filter  s sort  d drain  r ready  m maint  +- weight  e events";
const HINTS_READ_ONLY: &str = "? help  q quit  / filter  s sort  e events  c check";

/// As many lines of `width` cells as it takes.
pub fn lines(state: &State, paint: Paint, width: u16) -> Vec<Line<'static>> {
    let asked = asked_or_said(state, paint);
    let folded = asked.into_iter().flat_map(|line| fold(line, width));
    folded.collect()
}

/// Folds a line of one style between words.
fn fold(line: Line<'static>, width: u16) -> Vec<Line<'static>> {
    let style = line.spans.first().map(|span| span.style);
    let text: String = line
        .spans
        .iter()
        .map(|span| span.content.as_ref())
        .collect();
    let mut folded = vec![String::new()];
    for word in text.split_inclusive(' ') {
        let full = folded.last().is_some_and(|last| {
            let both = Span::raw(last.as_str()).width() + Span::raw(word.trim_end()).width();
            !last.is_empty() && both > usize::from(width)
        });
        match folded.last_mut() {
            Some(last) if !full => last.push_str(word),
            _ => folded.push(word.to_owned()),
        }
    }
    let styled = |text| Line::from(Span::styled(text, style.unwrap_or_default()));
    folded.into_iter().map(styled).collect()
}

fn asked_or_said(state: &State, paint: Paint) -> Vec<Line<'static>> {
    match &state.input {
        None => vec![idle(state, paint)],
        Some(Input::Filter) => vec![Line::from(format!(
            "filter: {}_   Enter: keep it   Esc: show all",
            state.filter
        ))],
        Some(Input::Admin {
            state: to,
            servers,
            reason,
        }) => vec![
            asked(&format!("{} {}?", verb(*to), all(servers.iter())), paint),
            consequence(state, servers, *to, paint),
            Line::from(format!("reason: {reason}_   Enter: do it   Esc: leave it")),
        ],
        Some(Input::Weight { servers }) => {
            let changes: Vec<_> = servers
                .iter()
                .map(|(place, new)| {
                    let old = state.find(place).map(|(_, server)| server.weight);
                    let old = old.map_or_else(|| "?".to_owned(), |weight| weight.to_string());
                    format!("{} {old} -> {new}", name(place))
                })
                .collect();
            let zero = servers.iter().any(|(_, weight)| *weight == 0);
            vec![
                asked(&format!("Weight of {}?", few(&changes)), paint),
                Line::from(Span::styled(
                    if zero {
                        "With weight 0 there are no new flows."
                    } else {
                        ""
                    },
                    paint.odd(),
                )),
                Line::from("+ - by 1   F8 F5 by 10   Enter: do it   Esc: leave it"),
            ]
        }
    }
}

fn idle(state: &State, paint: Paint) -> Line<'static> {
    if let Some(said) = &state.said {
        let style = match said.bad {
            true => paint.bad(),
            false => paint.strong(),
        };
        let text: Vec<_> = said.text.lines().collect();
        return Line::from(Span::styled(text.join("; "), style));
    }
    let mut parts = Vec::new();
    if state.view == View::Tree {
        if !state.filter.is_empty() {
            parts.push(format!("only {} (Esc: all)", state.filter));
        }
        if !state.marks.is_empty() {
            parts.push(format!("{} marked", state.marks.len()));
        }
    }
    parts.push(match (state.view, &state.read_only) {
        (View::Tree, None) => HINTS.to_owned(),
        (View::Tree, Some(_)) => HINTS_READ_ONLY.to_owned(),
        _ => "Esc: back   q quit".to_owned(),
    });
    Line::from(Span::styled(parts.join("   "), paint.faint()))
}

fn asked(text: &str, paint: Paint) -> Line<'static> {
    Line::from(Span::styled(text.to_owned(), paint.strong()))
}

const fn verb(state: AdminState) -> &'static str {
    match state {
        AdminState::Ready => "Make ready",
        AdminState::Drain => "Drain",
        AdminState::Maint => "Take out for maintenance",
    }
}

/// What the change means for flows; a warning where it leaves no server.
fn consequence(state: &State, places: &[Place], to: AdminState, paint: Paint) -> Line<'static> {
    let taken = |service: &str, server: &str| {
        places
            .iter()
            .any(|place| place.service == service && place.server.as_deref() == Some(server))
    };
    let warning = places.iter().find_map(|place| {
        let (service, _) = state.find(place)?;
        none_left(service, |name| taken(&service.name, name), to)
    });
    if let Some(warning) = warning {
        return Line::from(Span::styled(warning, paint.bad()));
    }
    let first = places.first().and_then(|place| state.find(place));
    let text = match (first, places.len()) {
        (Some((service, server)), 1) => flows_text(service, server, to).trim_end().to_owned(),
        _ => String::new(),
    };
    let undo = match to {
        AdminState::Ready => String::new(),
        _ => format!("   (r undoes {})", state_word(to)),
    };
    Line::from(format!("{text}{undo}").trim_start().to_owned())
}

fn all<'p>(places: impl Iterator<Item = &'p Place>) -> String {
    few(&places.map(name).collect::<Vec<_>>())
}

/// Names as far as a line holds them.
fn few(names: &[String]) -> String {
    const NAMED: usize = 3;
    match names {
        [] => "nothing".to_owned(),
        names if names.len() <= NAMED => names.join(", "),
        names => format!(
            "{} and {} more",
            names[..NAMED].join(", "),
            names.len() - NAMED
        ),
    }
}
