//! The pane below the tree, and the two views that take the tree's place.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Wrap};

use crate::cli::format::{count, grouped, grouped_signed, span, timestamp};
use crate::cli::state;
use crate::cli::top::model::{Detail, State};
use crate::cli::top::paint::Paint;
use crate::snapshot::{CheckView, EventView, ServerView, ServiceView};

/// Keys, and what they do.
pub const KEYS: &[(&str, &str)] = &[
    ("Up Down j k", "select a line; PgUp PgDn Home End by more"),
    ("/", "show only what matches by name, address or state"),
    ("s", "sort servers: as in the file, attention, active, rate"),
    (
        "Space",
        "mark a server; changes are then of all that are marked",
    ),
    ("d", "drain: no new flows, open ones may end"),
    ("r F9", "ready: undo drain or maint"),
    ("m F10", "maint: take it out, without checks"),
    ("+ - F7 F6", "weight by 1; F8 F5 by 10; F4 as in the file"),
    ("c Enter", "the server's check, and back"),
    ("e", "events, and back"),
    ("? h F1", "this, and back"),
    ("Esc", "leave it: a question, a view, the filter, the marks"),
    ("q Ctrl-C", "quit"),
];

const BELOW_KEYS: &[&str] = &[
    "",
    "Each change is asked for first, with a reason to write where there is one.",
    "The line beside a service is its new flows per second, at most 5 minutes.",
];

pub fn help(paint: Paint, area: Rect, frame: &mut Frame) {
    let mut lines: Vec<_> = KEYS
        .iter()
        .map(|(keys, text)| {
            Line::from(vec![
                Span::styled(format!("  {keys:<13}"), paint.strong()),
                Span::raw(*text),
            ])
        })
        .collect();
    lines.extend(
        BELOW_KEYS
            .iter()
            .map(|text| Line::from(format!("  {text}"))),
    );
    frame.render_widget(Paragraph::new(lines).block(titled("keys", paint)), area);
}

/// Newest first.
pub fn events(state: &State, paint: Paint, area: Rect, frame: &mut Frame) {
    let lines: Vec<_> = match state.events.is_empty() {
        true => vec![Line::from("nothing has happened yet")],
        false => {
            let newest = state.events.iter().rev().skip(state.scroll);
            newest.map(|event| event_line(event, true, paint)).collect()
        }
    };
    let title = format!("events, newest first ({})", state.events.len());
    frame.render_widget(Paragraph::new(lines).block(titled(&title, paint)), area);
}

/// The selected server, or service.
pub fn server(state: &State, paint: Paint, area: Rect, frame: &mut Frame) {
    let rows = state.rows();
    let Some((_, row)) = state.selected_row(&rows) else {
        return;
    };
    let (title, lines) = match (row.server, state.detail) {
        (None, _) => (row.service.name.clone(), service_lines(row.service)),
        (Some(server), Detail::State) => (
            state::full_name(&row.service.name, &server.name),
            server_lines(state, row.service, server, paint),
        ),
        (Some(server), Detail::Check) => (
            format!(
                "check of {}",
                state::full_name(&row.service.name, &server.name)
            ),
            check_lines(server.check.as_ref(), paint),
        ),
    };
    // Reasons may be long, and are what one looks here for.
    let text = Paragraph::new(lines).wrap(Wrap { trim: false });
    frame.render_widget(text.block(titled(&title, paint)), area);
}

fn titled(title: &str, paint: Paint) -> Block<'static> {
    let block = Block::new()
        .borders(Borders::TOP)
        .title(Span::styled(format!(" {title} "), paint.strong()));
    match paint.0.unicode {
        true => block,
        false => block.border_set(ASCII_BORDER),
    }
}

/// For locales without line drawing.
const ASCII_BORDER: ratatui::symbols::border::Set = ratatui::symbols::border::Set {
    top_left: "-",
    top_right: "-",
    bottom_left: "-",
    bottom_right: "-",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

fn service_lines(service: &ServiceView) -> Vec<Line<'static>> {
    let listen: Vec<_> = service.listen.iter().map(ToString::to_string).collect();
    let mut lines = vec![Line::from(format!(
        "{}   {} {}   so for {}",
        listen.join(", "),
        service.scheduler,
        service.forward,
        span(service.since)
    ))];
    lines.extend(state::service_by_hand(service).into_iter().map(Line::from));
    lines
}

fn server_lines(
    state: &State,
    service: &ServiceView,
    server: &ServerView,
    paint: Paint,
) -> Vec<Line<'static>> {
    let note = state::note(server);
    let why = match note.as_str() {
        "" => server.health_reason.clone(),
        note => note.to_owned(),
    };
    let address = server.address.map_or_else(
        || "no address".to_owned(),
        |address| std::net::SocketAddr::new(address, server.port).to_string(),
    );
    let mut lines = vec![
        Line::from(vec![
            Span::styled(state::word(server), paint.tone(state::tone(server))),
            Span::raw(format!(" for {}  {why}", span(server.since))),
        ]),
        Line::from(format!(
            "{address}  weight {}{}  active {}, most {}  pending {}  opened {}",
            server.weight,
            state::weight_mark(server),
            grouped_signed(server.active),
            grouped_signed(server.active_max),
            grouped(server.pending),
            grouped(server.opened),
        )),
    ];
    lines.extend(
        server
            .agent
            .iter()
            .map(|agent| Line::from(format!("agent {}", state::agent(agent)))),
    );
    let name = state::full_name(&service.name, &server.name);
    let its = state
        .events
        .iter()
        .rev()
        .filter(|event| event.subject == name);
    lines.extend(its.map(|event| event_line(event, false, paint)));
    lines
}

fn check_lines(check: Option<&CheckView>, paint: Paint) -> Vec<Line<'static>> {
    let Some(check) = check else {
        return vec![Line::from("it is not checked")];
    };
    let marks: Vec<_> = check
        .history
        .iter()
        .map(|success| match success {
            true => Span::styled("+", paint.good()),
            false => Span::styled("x", paint.bad()),
        })
        .collect();
    let mut history = vec![Span::raw("last results, newest last: ")];
    history.extend(marks);
    history.push(Span::raw("   (+ good, x failed)"));
    let streak = match check.history.last() {
        None => "none yet".to_owned(),
        Some(true) => format!("{} good in a row", check.streak),
        Some(false) => format!("{} failed in a row", check.streak),
    };
    vec![
        Line::from(format!(
            "{} port {}  {} in {} ms  {}",
            check.kind,
            check.port,
            check.code,
            grouped(check.duration_ms),
            check.detail
        )),
        Line::from(history),
        Line::from(format!(
            "{streak}  up after {} good, down after {} failed  every {} ms",
            check.rise,
            check.fall,
            grouped(check.interval_ms)
        )),
        Line::from(format!(
            "{} while up, went down {}",
            count(check.failures, "failure"),
            count(check.falls, "time")
        )),
    ]
}

fn event_line(event: &EventView, with_subject: bool, paint: Paint) -> Line<'static> {
    let style = match event.kind.as_str() {
        "down" | "drift" => paint.bad(),
        "up" | "ready" => paint.good(),
        "drain" | "maint" => paint.odd(),
        _ => paint.strong(),
    };
    let subject = match (with_subject, event.subject.as_str()) {
        (false, _) => String::new(),
        (true, "") => "director  ".to_owned(),
        (true, subject) => format!("{subject}  "),
    };
    Line::from(vec![
        Span::styled(timestamp(event.time_ms), paint.faint()),
        Span::styled(format!("  {:<7}", event.kind), style),
        Span::raw(format!("  {subject}{}", event.text)),
    ])
}
