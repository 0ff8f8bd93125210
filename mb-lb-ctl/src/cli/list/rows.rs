//! What stands in each list.

use std::net::SocketAddr;

use super::table::{Cell, Rows, narrow, wide};
use crate::cli::state;
use crate::command::info::date;
use crate::snapshot::{CheckView, FlowView, RemovedView, ServerView, ServiceView, TierView};

use Cell::{Bytes, Count, Seconds, Signed};

pub(super) fn text(value: impl ToString) -> Cell {
    Cell::Text(value.to_string())
}

pub(super) fn optional(value: Option<impl ToString>) -> Cell {
    Cell::Text(value.map(|value| value.to_string()).unwrap_or_default())
}

fn sum(service: &ServiceView, of: impl Fn(&ServerView) -> u64) -> Cell {
    Count(service.servers.iter().map(of).sum())
}

fn usable(service: &ServiceView) -> Cell {
    let usable = service
        .servers
        .iter()
        .filter(|server| server.usable || server.stands_by)
        .count();
    text(format!("{usable}/{}", service.servers.len()))
}

pub fn services(services: &[&ServiceView]) -> Rows {
    Rows {
        columns: vec![
            narrow("service"),
            narrow("listen"),
            narrow("scheduler"),
            narrow("forward"),
            narrow("up"),
            narrow("active"),
            narrow("pending"),
            narrow("rate"),
            wide("opened"),
            wide("packets"),
            wide("bytes"),
            wide("on_down"),
            wide("no_server"),
            wide("since"),
            wide("downs"),
        ],
        rows: services
            .iter()
            .map(|service| {
                let listen: Vec<String> = service.listen.iter().map(ToString::to_string).collect();
                vec![
                    text(&service.name),
                    text(listen.join(" ")),
                    text(&service.scheduler),
                    text(&service.forward),
                    usable(service),
                    Signed(service.servers.iter().map(|server| server.active).sum()),
                    sum(service, |server| server.pending),
                    sum(service, |server| server.rate),
                    sum(service, |server| server.opened),
                    sum(service, |server| server.packets),
                    Bytes(service.servers.iter().map(|server| server.bytes).sum()),
                    text(&service.on_down),
                    text(&service.no_server_does),
                    Seconds(service.since),
                    Count(service.downs),
                ]
            })
            .collect(),
    }
}

pub fn servers(services: &[&ServiceView], removed: &[&RemovedView]) -> Rows {
    let columns = vec![
        narrow("server"),
        narrow("address"),
        narrow("state"),
        narrow("weight"),
        narrow("active"),
        narrow("pending"),
        narrow("rate"),
        narrow("why"),
        wide("since"),
        wide("downtime"),
        wide("initial_weight"),
        wide("max_connections"),
        wide("backup"),
        wide("mac"),
        wide("interface"),
        wide("opened"),
        wide("closed"),
        wide("expired"),
        wide("refused"),
        wide("audited"),
        wide("drift"),
        wide("packets"),
        wide("bytes"),
    ];
    let width = columns.len();
    let gone = removed.iter().map(|server| {
        let mut row = vec![
            text(state::full_name(&server.service, &server.server)),
            optional(server.address),
            text("removed"),
            text(""),
            Count(server.flows),
            text(""),
            text(""),
            text(state::left(server)),
        ];
        row.resize_with(width, || text(""));
        row
    });
    Rows {
        rows: each_server(services)
            .map(|(service, server)| {
                let address = server
                    .address
                    .map(|address| SocketAddr::new(address, server.port));
                vec![
                    text(format!("{}/{}", service.name, server.name)),
                    optional(address),
                    text(state::word(server)),
                    Count(u64::from(server.weight)),
                    Signed(server.active),
                    Count(server.pending),
                    Count(server.rate),
                    text(why(server)),
                    Seconds(server.since),
                    Seconds(server.downtime),
                    Count(u64::from(server.initial_weight)),
                    optional(server.max_connections),
                    text(if server.backup { "yes" } else { "no" }),
                    optional(server.mac.as_ref()),
                    optional(server.interface.as_ref()),
                    Count(server.opened),
                    Count(server.closed),
                    Count(server.expired),
                    Count(server.refused),
                    Count(server.audited),
                    Signed(server.drift),
                    Count(server.packets),
                    Bytes(server.bytes),
                ]
            })
            .chain(gone)
            .collect(),
        columns,
    }
}

pub fn flows(flows: &[FlowView]) -> Rows {
    Rows {
        columns: vec![
            narrow("client"),
            narrow("vip"),
            narrow("server"),
            narrow("state"),
            narrow("idle"),
            narrow("age"),
        ],
        rows: flows
            .iter()
            .map(|flow| {
                vec![
                    text(flow.client),
                    text(flow.vip),
                    text(match flow.removed {
                        false => format!("{}/{}", flow.service, flow.server),
                        true => format!(
                            "{} (removed)",
                            state::full_name(&flow.service, &flow.server)
                        ),
                    }),
                    text(&flow.state),
                    Seconds(flow.idle_seconds),
                    Seconds(flow.age_seconds),
                ]
            })
            .collect(),
    }
}

pub fn vips(services: &[&ServiceView]) -> Rows {
    Rows {
        columns: vec![
            narrow("vip"),
            narrow("port"),
            narrow("service"),
            narrow("up"),
            wide("scheduler"),
            wide("forward"),
        ],
        rows: services
            .iter()
            .flat_map(|service| {
                service.listen.iter().map(|listen| {
                    vec![
                        text(listen.ip()),
                        text(listen.port()),
                        text(&service.name),
                        usable(service),
                        text(&service.scheduler),
                        text(&service.forward),
                    ]
                })
            })
            .collect(),
    }
}

pub fn checks(services: &[&ServiceView], tiers: &[&TierView]) -> Rows {
    Rows {
        columns: vec![
            narrow("server"),
            narrow("check"),
            narrow("port"),
            narrow("result"),
            narrow("ms"),
            narrow("rise_fall"),
            narrow("history"),
            narrow("detail"),
            wide("reply"),
            wide("interval_ms"),
            wide("streak"),
            wide("level"),
            wide("failures"),
            wide("falls"),
            wide("certificate"),
        ],
        rows: each_server(services)
            .filter_map(|(service, server)| {
                let check = server.check.as_ref()?;
                Some(vec![
                    text(format!("{}/{}", service.name, server.name)),
                    text(&check.kind),
                    text(check.port),
                    text(&check.code),
                    Count(check.duration_ms),
                    text(rise_fall(check)),
                    text(history(check)),
                    text(&check.detail),
                    optional(check.reply),
                    Count(check.interval_ms),
                    Count(u64::from(check.streak)),
                    Count(u64::from(check.level)),
                    Count(check.failures),
                    Count(check.falls),
                    optional(check.certificate_not_after.map(date)),
                ])
            })
            .chain(super::tiers::checks(tiers).map(|(tier, node)| {
                let mut row = vec![
                    text(format!("{} {} {}", tier.name, node.role, node.name)),
                    text(&tier.kind),
                    text(""),
                    text(&node.word),
                    super::tiers::milliseconds(node),
                    text(""),
                    text(""),
                    text(&node.reason),
                ];
                row.resize_with(15, || text(""));
                row
            }))
            .collect(),
    }
}

/// The note of the state, and a weight that was set by hand.
fn why(server: &ServerView) -> String {
    let note = state::note(server);
    match (server.weight == server.initial_weight, note.as_str()) {
        (true, _) => note,
        (false, "") => format!("weight {}{}", server.weight, state::weight_mark(server)),
        (false, note) => format!(
            "{note}; weight {}{}",
            server.weight,
            state::weight_mark(server)
        ),
    }
}

/// Empty where a tier judges in another way.
fn rise_fall(check: &CheckView) -> String {
    match (check.rise, check.fall) {
        (0, 0) => String::new(),
        (rise, fall) => format!("{rise}/{fall}"),
    }
}

/// `+` is a success and `-` a failure; the newest is last.
pub fn history(check: &CheckView) -> String {
    let mark = |success: &bool| if *success { '+' } else { '-' };
    check.history.iter().map(mark).collect()
}

fn each_server<'s>(
    services: &'s [&ServiceView],
) -> impl Iterator<Item = (&'s ServiceView, &'s ServerView)> {
    services
        .iter()
        .flat_map(|service| service.servers.iter().map(move |server| (*service, server)))
}
