//! `trace`: what the program would do with a packet, and why.

use std::fmt::Write as _;
use std::net::{Ipv6Addr, SocketAddr};

use mb_lb_common::{POOL_SMALL, SCHEDULER_LEASTCONN, SERVER_ACCEPT, Server, Verdict};
use serde_json::{Value, json};

use crate::cli::args::{self, Flags, Global, TextOrJson};
use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::list::table::{Cell, Rows, narrow};
use crate::cli::output::{emit, json as document, style_of_stdout};
use crate::cli::privilege;
use crate::cli::state;
use crate::cli::style::Style;
use crate::dataplane::{self, Candidate, Segment, Traced};
use crate::snapshot::{JSON_VERSION, ServerView, ServiceView, Snapshot};

pub fn run(global: &Global, args: &args::Trace) -> Result<Exit, Failure> {
    if args.client.is_ipv4() != args.vip.is_ipv4() {
        let text = format!(
            "{} and {} are not of the same family",
            args.client, args.vip
        );
        return Err(Failure::new(Exit::Usage, text));
    }
    if !privilege::enough() {
        let text = "permission denied: `trace` loads a program into the kernel and needs root";
        return Err(Failure::failed(text).next("sudo mb-lb-ctl trace ..."));
    }
    let pinned = dataplane::pin_dir(&global.bpf_root);
    if !pinned.exists() {
        let text = format!(
            "nothing is pinned at {}: no program steers packets here",
            pinned.display()
        );
        return Err(Failure::failed(text).next("systemctl start mb-lb"));
    }
    // Names and reasons are the daemon's; the program does without it.
    let snapshot = Client::new(global).snapshot().ok();
    let segment = match args.flags {
        Flags::Syn => Segment::Syn,
        Flags::Ack => Segment::Ack,
        Flags::Fin => Segment::Fin,
        Flags::Rst => Segment::Rst,
    };
    let traced = dataplane::trace(&global.bpf_root, args.client, args.vip, segment)
        .map_err(|error| Failure::failed(error.to_string()))?;
    let asked = Asked {
        client: args.client,
        vip: args.vip,
        flags: args.flags,
    };
    let names = Names(snapshot.as_ref());
    match args.output {
        TextOrJson::Text => {
            let style = style_of_stdout(global.color);
            emit(&text(&asked, &traced, names, style))?;
        }
        TextOrJson::Json => emit(&document(&value(&asked, &traced, names))?)?,
    }
    Ok(Exit::Ok)
}

struct Asked {
    client: SocketAddr,
    vip: SocketAddr,
    flags: Flags,
}

/// What the daemon calls things; without it they have their numbers and addresses.
#[derive(Clone, Copy)]
struct Names<'s>(Option<&'s Snapshot>);

impl<'s> Names<'s> {
    fn services(self) -> impl Iterator<Item = &'s ServiceView> {
        self.0.into_iter().flat_map(|snapshot| &snapshot.services)
    }

    fn service(self, id: u32) -> Option<&'s ServiceView> {
        self.services()
            .find(|service| service.forward == "dsr" && service.id == id)
    }

    /// One that is served by this process, and not by the kernel.
    fn in_user_mode(self, vip: SocketAddr) -> Option<&'s ServiceView> {
        self.services()
            .find(|service| service.forward != "dsr" && service.listen.contains(&vip))
    }

    fn server(self, traced: &Traced, index: u32) -> Option<(&'s ServiceView, &'s ServerView)> {
        let service = self.service(traced.service?)?;
        let mut servers = service.servers.iter();
        Some((service, servers.find(|server| server.id == index)?))
    }

    fn server_name(self, traced: &Traced, index: u32) -> String {
        let record = traced.servers.iter().find(|server| server.index == index);
        match (self.server(traced, index), record) {
            (Some((service, server)), Some(of)) => {
                format!("{}/{} ({})", service.name, server.name, address(&of.record))
            }
            (_, Some(of)) => format!("{} (index {index})", address(&of.record)),
            (_, None) => format!("index {index}, which is gone"),
        }
    }
}

fn address(record: &Server) -> String {
    Ipv6Addr::from(record.address).to_canonical().to_string()
}

fn word(flags: Flags) -> &'static str {
    match flags {
        Flags::Syn => "SYN",
        Flags::Ack => "ACK",
        Flags::Fin => "FIN",
        Flags::Rst => "RST",
    }
}

fn text(asked: &Asked, traced: &Traced, names: Names<'_>, style: Style) -> String {
    let mut text = format!(
        "{} from {} to {}, given to the program of this director on copies of its maps\n\n",
        word(asked.flags),
        asked.client,
        asked.vip
    );
    let mut row = |what: &str, value: &str| {
        // Writing into a String cannot fail, here and below.
        let _ = writeln!(text, "{what:<9} {value}");
    };
    row("service", &service_text(asked, traced, names));
    if traced.service.is_some() {
        row("known", &known(traced, names));
    }
    let reason = traced.reason;
    let is_daemons = traced.service.is_none() && names.in_user_mode(asked.vip).is_some();
    let why = match is_daemons {
        true => "no service of the program's; the daemon takes it",
        false => reason.text(),
    };
    row("program", &format!("{}: {why}", reason.name()));
    row("result", &result(traced, names));
    if traced.service.is_some() && !traced.servers.is_empty() {
        text.push('\n');
        text.push_str(&rows(traced, names).table(false, style));
        if let Some(note) = note(traced) {
            text.push_str(note);
        }
    }
    if names.0.is_none() {
        text.push_str("\nThe daemon does not answer, so names, weights and reasons are missing.\n");
    }
    text.push_str("\nNothing was sent, and nothing was changed.\n");
    text
}

fn service_text(asked: &Asked, traced: &Traced, names: Names<'_>) -> String {
    let Some(id) = traced.service else {
        return match names.in_user_mode(asked.vip) {
            Some(service) => format!(
                "{}, in user mode: its packets go to the kernel, and from there to the daemon",
                service.name
            ),
            None => "none listens there".to_owned(),
        };
    };
    match names.service(id) {
        Some(service) => format!(
            "{}: {}, {}",
            service.name, service.forward, service.scheduler
        ),
        None => format!("number {id}"),
    }
}

fn known(traced: &Traced, names: Names<'_>) -> String {
    match (traced.flow, traced.half) {
        (Some(server), _) => format!("a flow to {}", names.server_name(traced, server)),
        (None, Some(server)) => format!(
            "a half-open or ended connection to {}",
            names.server_name(traced, server)
        ),
        (None, None) => "nothing of this client and port".to_owned(),
    }
}

fn result(traced: &Traced, names: Names<'_>) -> String {
    match (traced.reason.verdict(), traced.chosen) {
        (Verdict::Forward, Some(server)) => {
            let mac = traced.mac.map_or_else(String::new, |mac| {
                let [a, b, c, d, e, f] = mac;
                format!(", next hop {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
            });
            format!("to {}{mac}", names.server_name(traced, server))
        }
        (Verdict::Forward, None) => "to a server".to_owned(),
        (Verdict::Pass, _) => "to the director's own kernel, untouched".to_owned(),
        (Verdict::Answer, _) => "answered with RST".to_owned(),
        (Verdict::Drop, _) => "dropped".to_owned(),
    }
}

fn rows(traced: &Traced, names: Names<'_>) -> Rows {
    let columns = ["", "server", "weight", "active", "pending", "new flows"].map(narrow);
    let row = |candidate: &Candidate| {
        let view = names.server(traced, candidate.index).map(|(_, view)| view);
        let mark = match traced.chosen == Some(candidate.index) {
            true => "->",
            false => "",
        };
        vec![
            Cell::Text(mark.to_owned()),
            Cell::Text(view.map_or_else(|| address(&candidate.record), |view| view.name.clone())),
            Cell::Text(view.map_or_else(|| "-".to_owned(), weight)),
            Cell::Signed(candidate.active),
            Cell::Count(candidate.pending),
            Cell::Text(takes(candidate, view)),
        ]
    };
    Rows {
        columns: columns.into(),
        rows: traced.servers.iter().map(row).collect(),
    }
}

fn weight(view: &ServerView) -> String {
    match view.ramp_percent {
        100 => view.weight.to_string(),
        percent => format!("{} ({percent}%)", view.weight),
    }
}

/// Whether it takes new flows, as the kernel has it; why not, as the daemon has it.
fn takes(candidate: &Candidate, view: Option<&ServerView>) -> String {
    let takes = Server::flags_of(candidate.record.link) & SERVER_ACCEPT != 0;
    match (takes, view) {
        (true, _) if candidate.full => "no: at its max_connections".to_owned(),
        (true, Some(view)) if view.weight == 0 => "no: weight 0".to_owned(),
        (true, Some(view)) if view.backup => "as backup".to_owned(),
        (true, _) => "yes".to_owned(),
        (false, Some(view)) if !view.usable => format!("no: {}", state::word(view)),
        (false, _) => "no".to_owned(),
    }
}

fn note(traced: &Traced) -> Option<&'static str> {
    let is_small = traced.servers.len() <= POOL_SMALL;
    match traced.scheduler == SCHEDULER_LEASTCONN {
        true if is_small => {
            Some("leastconn: a new flow goes where (active + pending + 1) / weight is least.\n")
        }
        true => Some(
            "leastconn with more than 16 servers: the best of four that are drawn; drawn again, it may be another.\n",
        ),
        false => None,
    }
}

fn value(asked: &Asked, traced: &Traced, names: Names<'_>) -> Value {
    let name = |index: u32| names.server(traced, index).map(|(_, view)| &view.name);
    let servers = traced.servers.iter().map(|server| {
        json!({
            "index": server.index,
            "name": name(server.index),
            "address": address(&server.record),
            "accepts": Server::flags_of(server.record.link) & SERVER_ACCEPT != 0,
            "full": server.full,
            "active": server.active,
            "pending": server.pending,
        })
    });
    json!({
        "version": JSON_VERSION,
        "client": asked.client,
        "vip": asked.vip,
        "flags": word(asked.flags).to_lowercase(),
        "service": traced.service.and_then(|id| names.service(id)).map(|service| &service.name),
        "verdict": traced.reason.verdict().name(),
        "reason": traced.reason.name(),
        "text": traced.reason.text(),
        "known": { "flow": traced.flow, "half": traced.half },
        "chosen": traced.chosen,
        "servers": servers.collect::<Vec<_>>(),
    })
}
