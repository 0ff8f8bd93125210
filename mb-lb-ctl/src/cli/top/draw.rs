//! What is on the screen: a header, the tree, the selected server, and a line for questions and hints.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row as Cells, Table, Wrap};

use crate::cli::format::{count, grouped, grouped_signed, span};
use crate::cli::state;
use crate::cli::status::degraded;
use crate::cli::style::Style;
use crate::cli::top::model::{State, View};
use crate::cli::top::paint::Paint;
use crate::cli::top::pane;
use crate::cli::top::question;
use crate::cli::top::rows::Row;
use crate::snapshot::Snapshot;

/// A screen that is lower shows no pane below the tree.
const LOW: u16 = 14;

pub fn render(state: &State, style: Style, frame: &mut Frame) {
    let paint = Paint(style);
    let area = frame.area();
    let bottom = question::lines(state, paint, area.width);
    let bottom_height = u16::try_from(bottom.len()).unwrap_or(1);
    let pane_height = match (state.view, area.height) {
        (View::Tree, height @ LOW..) => (height / 3).clamp(6, 14),
        _ => 0,
    };
    let [header, body, pane, question] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(1),
        Constraint::Length(pane_height),
        Constraint::Length(bottom_height),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(head(state, paint)), header);
    match state.view {
        View::Tree => tree(state, paint, body, frame),
        View::Events => pane::events(state, paint, body, frame),
        View::Help => pane::help(paint, body, frame),
    }
    if pane_height > 0 {
        pane::server(state, paint, pane, frame);
    }
    frame.render_widget(Paragraph::new(bottom), question);
}

fn head(state: &State, paint: Paint) -> Vec<Line<'static>> {
    let snapshot = &state.snapshot;
    let (style, word) = match degraded(snapshot) {
        false => (paint.good(), "all well"),
        true => (paint.bad(), "DEGRADED"),
    };
    let mut first = vec![
        Span::styled(paint.0.bullet(), style),
        Span::raw(" "),
        Span::styled(snapshot.director.clone(), paint.strong()),
        Span::raw("  "),
        Span::styled(word, style),
    ];
    for router in &snapshot.vrrp {
        let (style, role) = match router.role.as_str() {
            "active" => (paint.good(), "ACTIVE"),
            "fault" => (paint.bad(), "FAULT"),
            other => (paint.strong(), other),
        };
        first.push(Span::raw(format!("  {} ", router.name)));
        first.push(Span::styled(role.to_owned(), style));
    }
    first.extend(peer(snapshot, paint));
    first.push(Span::raw(format!(
        "  config {}  up {}",
        snapshot.config_hash,
        span(snapshot.uptime)
    )));
    vec![Line::from(first), second(state, paint)]
}

fn peer(snapshot: &Snapshot, paint: Paint) -> Vec<Span<'static>> {
    let Some(peer) = &snapshot.peer else {
        return Vec::new();
    };
    let (style, word) = match (peer.connected, peer.in_sync && peer.peer_in_sync) {
        (false, _) => (paint.bad(), "not connected"),
        (true, false) => (paint.odd(), "not in sync yet"),
        (true, true) => (paint.good(), "in sync"),
    };
    let name = match peer.name.as_str() {
        "" => &peer.address,
        name => name,
    };
    vec![
        Span::raw(format!("  peer {name} ")),
        Span::styled(word, style),
    ]
}

fn second(state: &State, paint: Paint) -> Line<'static> {
    let snapshot = &state.snapshot;
    if let Some(why) = &state.silent {
        return Line::from(vec![
            Span::styled("no answer; below is what was so: ", paint.bad()),
            Span::raw(first_line(why).to_owned()),
        ]);
    }
    let services = snapshot.services.iter();
    let servers = services.flat_map(|service| &service.servers);
    let rate: u64 = servers.map(|server| server.rate).sum();
    let dataplane = &snapshot.dataplane;
    let mut spans = vec![Span::raw(format!(
        "{} of {}  {} new/s  ",
        count(dataplane.flows, "flow"),
        grouped(dataplane.max_flows),
        grouped(rate),
    ))];
    match snapshot.alarms.first() {
        None => spans.push(Span::raw("no alarms")),
        Some(alarm) => {
            let alarms = count(snapshot.alarms.len() as u64, "alarm");
            spans.push(Span::styled(alarms, paint.bad()));
            spans.push(Span::raw(format!(": {}", first_line(&alarm.text))));
        }
    }
    if state.read_only.is_some() {
        spans.insert(0, Span::styled("read-only  ", paint.odd()));
    }
    Line::from(spans)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn tree(state: &State, paint: Paint, area: Rect, frame: &mut Frame) {
    let last_width = (area.width / 4).max(10);
    let widths = [
        Constraint::Min(10),
        Constraint::Length(10),
        Constraint::Length(6),
        Constraint::Length(9),
        Constraint::Length(7),
        Constraint::Length(last_width),
    ];
    let right = |text: String| Cell::from(Line::from(text).right_aligned());
    let header = Cells::new([
        Cell::from("  SERVICE / server"),
        Cell::from("STATE"),
        right("WEIGHT".to_owned()),
        right("ACTIVE".to_owned()),
        right("NEW/S".to_owned()),
        Cell::from("CHECK"),
    ])
    .style(paint.strong());
    let rows = state.rows();
    if rows.is_empty() {
        let text = match (state.filter.as_str(), state.snapshot.services.is_empty()) {
            (_, true) => format!(
                "no service is configured: add a [service.NAME] to {}, then mb-lb-ctl reload",
                state.snapshot.config_path
            ),
            (filter, false) => format!("nothing matches {filter}   (Esc: all again)"),
        };
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }), area);
        return;
    }
    let selected = state.selected_row(&rows).map(|(at, _)| at);
    let height = usize::from(area.height.saturating_sub(1)).max(1);
    let above = offset(selected.unwrap_or(0), rows.len(), height);
    let visible = rows.iter().enumerate().skip(above).take(height);
    let cells = visible.map(|(at, row)| {
        let is_selected = selected == Some(at);
        let lead = lead(state, row, is_selected);
        let cells = match row.server {
            None => service_cells(state, row, lead, last_width, paint),
            Some(_) => server_cells(row, lead, paint),
        };
        match is_selected {
            true => cells.style(paint.selected()),
            false => cells,
        }
    });
    let table = Table::new(cells, widths).header(header).column_spacing(1);
    frame.render_widget(table, area);
}

/// Lines above the screen, so that the selected one is in its middle where there is room for that.
fn offset(selected: usize, rows: usize, height: usize) -> usize {
    let most = rows.saturating_sub(height);
    selected.saturating_sub(height / 2).min(most)
}

fn lead(state: &State, row: &Row, selected: bool) -> String {
    let mark = match state.marks.contains(&row.place()) {
        true => '*',
        false => ' ',
    };
    let pointer = if selected { '>' } else { ' ' };
    format!("{pointer}{mark}")
}

fn service_cells(
    state: &State,
    row: &Row,
    lead: String,
    width: u16,
    paint: Paint,
) -> Cells<'static> {
    let servers = &row.service.servers;
    let usable = servers.iter().filter(|server| server.usable).count();
    let style = match usable {
        0 => paint.bad(),
        all if all == servers.len() => paint.good(),
        _ => paint.odd(),
    };
    let line = state.rates.get(&row.service.name);
    let line = line.map(|rates| rates.line(usize::from(width), paint.0.unicode));
    let right = |text: String| Cell::from(Line::from(text).right_aligned());
    Cells::new([
        Cell::from(Line::from(vec![
            Span::raw(lead),
            Span::styled(row.service.name.clone(), paint.strong()),
        ])),
        Cell::from(Span::styled(
            format!("{usable}/{} up", servers.len()),
            style,
        )),
        Cell::from(""),
        right(grouped_signed(
            servers.iter().map(|server| server.active).sum(),
        )),
        right(grouped(servers.iter().map(|server| server.rate).sum())),
        Cell::from(line.unwrap_or_default()),
    ])
}

fn server_cells(row: &Row, lead: String, paint: Paint) -> Cells<'static> {
    let Some(server) = row.server else {
        return Cells::default();
    };
    let right = |text: String| Cell::from(Line::from(text).right_aligned());
    let check = server
        .check
        .as_ref()
        .map(|check| match check.code.as_str() {
            "INI" => "not checked yet".to_owned(),
            code => format!("{code} {}ms", grouped(check.duration_ms)),
        });
    Cells::new([
        Cell::from(format!("{lead}{}{}", paint.0.branch(row.last), server.name)),
        Cell::from(Span::styled(
            state::word(server),
            paint.tone(state::tone(server)),
        )),
        right(server.weight.to_string()),
        right(grouped_signed(server.active)),
        right(grouped(server.rate)),
        Cell::from(check.unwrap_or_default()),
    ])
}
