//! `list`: rows for people, scripts and spreadsheets.

pub(super) mod rows;
mod syncs;
pub(super) mod table;
mod tiers;

use std::io::IsTerminal as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::args::{self, Form, Global, What};
use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::format::{count, grouped};
use crate::cli::output::{emit, json as document, say, style_of_stdout};
use crate::cli::state;
use crate::cli::style::Style;
use crate::command::line::quote;
use crate::command::native::{check_service, check_sync, check_tier};
use crate::snapshot::{FlowView, JSON_VERSION, Snapshot};

pub use crate::cli::args::{Form as ListForm, What as ListWhat};
pub(crate) use tiers::health as health_word;

/// What is to be shown.
#[derive(Clone, Copy, Debug)]
pub struct View<'v> {
    pub what: What,
    pub form: Form,
    /// Only this service.
    pub service: Option<&'v str>,
    pub style: Style,
}

pub fn run(global: &Global, args: &args::List) -> Result<Exit, Failure> {
    let client = Client::new(global);
    let view = View {
        what: args.what,
        form: args.output,
        service: args.service.as_deref(),
        style: style_of_stdout(global.color),
    };
    let terminal = std::io::stdout().is_terminal();
    loop {
        let snapshot = client.snapshot()?;
        if let Some(name) = view.service {
            let (known, list) = match view.what {
                What::Syncs => (check_sync(&snapshot, name), "mb-lb-ctl list syncs"),
                What::Tiers => (check_tier(&snapshot, name), "mb-lb-ctl list tiers"),
                // Storage has checks and is no service.
                What::Checks if check_tier(&snapshot, name).is_ok() => (Ok(()), ""),
                _ => (check_service(&snapshot, name), "mb-lb-ctl list services"),
            };
            known.map_err(|text| Failure::new(Exit::NotFound, text).next(list))?;
        }
        let mut flows = match view.what {
            // One more than asked for tells whether there are more.
            What::Flows => fetch_flows(&client, view.service, args.limit.saturating_add(1))?,
            _ => Vec::new(),
        };
        let cut = flows.len() > args.limit;
        flows.truncate(args.limit);
        let text = render(&snapshot, &flows, &view)?;
        let Some(seconds) = args.watch else {
            emit(&text)?;
            if cut {
                say(&cut_off(args.limit, view.service, &snapshot));
            }
            return Ok(Exit::Ok);
        };
        if terminal {
            // Home and clear to the end: less flicker than clearing first.
            emit(&format!("\x1b[H\x1b[2J{text}"))?;
        } else {
            emit(&format!("{text}\n"))?;
        }
        std::thread::sleep(Duration::from_secs(seconds));
    }
}

/// What is not shown. The snapshot's number is of the last second: only a larger one than is shown says anything.
fn cut_off(limit: usize, service: Option<&str>, snapshot: &Snapshot) -> String {
    let shown = count(limit as u64, "flow");
    let more = "--limit N shows more";
    let counted = snapshot.dataplane.flows;
    match service {
        Some(service) => format!("only {shown} of {service} shown, there are more; {more}"),
        None if counted <= limit as u64 => format!("only {shown} shown, there are more; {more}"),
        None => format!("only {shown} of about {} shown; {more}", grouped(counted)),
    }
}

fn fetch_flows(
    client: &Client,
    service: Option<&str>,
    limit: usize,
) -> Result<Vec<FlowView>, Failure> {
    let request = match service {
        Some(service) => format!("mb-lb flows {} limit {limit}", quote(service)),
        None => format!("mb-lb flows limit {limit}"),
    };
    client.ask(&request).map(|(_, flows)| flows)
}

/// The rows in the form wanted. `flows` matters only where flows are to be shown.
///
/// # Errors
/// Where something does not become JSON.
pub fn render(snapshot: &Snapshot, flows: &[FlowView], view: &View) -> Result<String, Failure> {
    let services: Vec<_> = snapshot
        .services
        .iter()
        .filter(|service| view.service.is_none_or(|name| service.name == name))
        .collect();
    let removed: Vec<_> = state::lingering(snapshot)
        .filter(|server| view.service.is_none_or(|name| server.service == name))
        .collect();
    let syncs: Vec<_> = snapshot
        .syncs
        .iter()
        .filter(|sync| view.service.is_none_or(|name| sync.name == name))
        .collect();
    let tiers: Vec<_> = snapshot
        .tiers
        .iter()
        .filter(|tier| view.service.is_none_or(|name| tier.name == name))
        .collect();
    if view.form == Form::Json && view.what == What::Tiers {
        return document(&json!({ "version": JSON_VERSION, "tiers": tiers }));
    }
    if view.form == Form::Json && view.what == What::Syncs {
        return document(&json!({ "version": JSON_VERSION, "syncs": syncs }));
    }
    if view.form == Form::Json {
        return document(&as_json(&services, &removed, &tiers, flows, view.what)?);
    }
    let rows = match view.what {
        What::Services => rows::services(&services),
        What::Servers => rows::servers(&services, &removed),
        What::Flows => rows::flows(flows),
        What::Vips => rows::vips(&services),
        What::Checks => rows::checks(&services, &tiers),
        What::Syncs => syncs::syncs(&syncs),
        What::Tiers => tiers::tiers(&tiers),
    };
    Ok(match view.form {
        Form::Csv => rows.csv(),
        Form::Wide => rows.table(true, view.style),
        Form::Table | Form::Json => rows.table(false, view.style),
    })
}

fn as_json(
    services: &[&crate::snapshot::ServiceView],
    removed: &[&crate::snapshot::RemovedView],
    tiers: &[&crate::snapshot::TierView],
    flows: &[FlowView],
    what: What,
) -> Result<Value, Failure> {
    let servers = || {
        services
            .iter()
            .flat_map(|service| service.servers.iter().map(move |server| (service, server)))
    };
    let (key, rows) = match what {
        What::Services => ("services", json!(services)),
        What::Flows => ("flows", json!(flows)),
        What::Vips => {
            let vips: Vec<Value> = services
                .iter()
                .flat_map(|service| {
                    service.listen.iter().map(move |listen| {
                        json!({
                            "address": listen.ip(),
                            "port": listen.port(),
                            "service": service.name,
                            "usable": service.servers.iter().filter(|server| server.usable).count(),
                            "servers": service.servers.len(),
                        })
                    })
                })
                .collect();
            ("vips", json!(vips))
        }
        What::Servers => {
            let rows: Vec<Value> = servers()
                .map(|(service, server)| with_service(&service.name, json!(server)))
                .collect();
            return Ok(json!({ "version": JSON_VERSION, "servers": rows, "removed": removed }));
        }
        What::Checks => {
            let rows: Vec<Value> = servers()
                .filter_map(|(service, server)| {
                    let check = server.check.as_ref()?;
                    let mut row = with_service(&service.name, json!(check));
                    row["server"] = json!(server.name);
                    Some(row)
                })
                .chain(tiers::checks(tiers).map(|(tier, node)| {
                    let mut row = with_service(&tier.name, json!(node));
                    row["server"] = json!(format!("{} {}", node.role, node.name));
                    row["kind"] = json!(tier.kind);
                    row
                }))
                .collect();
            ("checks", json!(rows))
        }
        // Not of a service.
        What::Syncs | What::Tiers => ("syncs", Value::Null),
    };
    Ok(json!({ "version": JSON_VERSION, key: rows }))
}

fn with_service(name: &str, mut row: Value) -> Value {
    row["service"] = json!(name);
    row
}
