//! `drain`, `maint`, `ready` and `weight`: what changed, what that means, and how to undo it.

use crate::cli::args::{self, Global};
use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::format::count;
use crate::cli::output::{emit, say};
use crate::cli::wait::{Goal, wait};
use crate::command::line::quote;
use crate::command::native::state_word;
use crate::engine::ServerRef;
use crate::snapshot::{AdminState, ServerView, ServiceView, Snapshot};

pub fn admin(global: &Global, args: &args::Admin, state: AdminState) -> Result<Exit, Failure> {
    let client = Client::new(global);
    let snapshot = client.snapshot_with(&args.server)?;
    let (service, server) = find(&snapshot, &args.server)?;
    let name = name(&args.server);
    let mut request = format!("mb-lb set {} {}", quote(&name), state_word(state));
    if !args.reason.is_empty() {
        request.push(' ');
        request.push_str(&quote(&args.reason));
    }
    let done = client.tell(&request)?;
    emit(&admin_text(&done, service, server, state))?;
    if let Some(warning) = last_one(service, server, state) {
        say(&warning);
    }
    match args.wait {
        None => Ok(Exit::Ok),
        Some(limit) => {
            let goal = match state {
                AdminState::Ready => Goal::Usable,
                AdminState::Drain | AdminState::Maint => Goal::Empty(state),
            };
            wait(&client, &args.server, goal, limit)
        }
    }
}

pub fn weight(global: &Global, args: &args::Weight) -> Result<Exit, Failure> {
    let client = Client::new(global);
    let snapshot = client.snapshot_with(&args.server)?;
    let (_, server) = find(&snapshot, &args.server)?;
    let name = name(&args.server);
    let done = client.tell(&format!("mb-lb weight {} {}", quote(&name), args.weight))?;
    let done = match done.as_str() {
        "" => format!("{name}: weight {} -> {}", server.weight, args.weight),
        done => done.to_owned(),
    };
    emit(&format!(
        "{done}\nUndo: mb-lb-ctl weight {name} {}\n",
        server.weight
    ))?;
    Ok(Exit::Ok)
}

/// What a change of admin state did; `server` is as it was before.
fn admin_text(done: &str, service: &ServiceView, server: &ServerView, state: AdminState) -> String {
    let name = format!("{}/{}", service.name, server.name);
    let mut text = match done {
        "" => format!(
            "{name}: {} -> {}\n",
            state_word(server.admin),
            state_word(state)
        ),
        done => format!("{done}\n"),
    };
    let flows = count(u64::try_from(server.active).unwrap_or(0), "open flow");
    match state {
        AdminState::Ready => {}
        AdminState::Drain => {
            text.push_str(&format!("No new flows; {flows} may end in peace.\n"));
        }
        AdminState::Maint if service.on_down == "reset" => text.push_str(&format!(
            "No new flows, no checks; {flows} will be reset at the next packet (on_down = \"reset\").\n"
        )),
        AdminState::Maint => text.push_str(&format!(
            "No new flows, no checks; {flows} may go on (on_down = \"{}\").\n",
            service.on_down
        )),
    }
    text.push_str(&format!("Undo: {}\n", undo(&name, server, state)));
    text
}

fn undo(name: &str, before: &ServerView, now: AdminState) -> String {
    // Undoing what was so already would undo nothing.
    let state = match before.admin {
        same if same == now && now != AdminState::Ready => AdminState::Ready,
        other => other,
    };
    let mut command = format!("mb-lb-ctl {} {name}", state_word(state));
    if state == before.admin && !before.admin_reason.is_empty() {
        let reason = before.admin_reason.replace('\'', "'\\''");
        command.push_str(&format!(" --reason '{reason}'"));
    }
    command
}

/// A warning when no server would be left.
fn last_one(service: &ServiceView, server: &ServerView, state: AdminState) -> Option<String> {
    let others = service
        .servers
        .iter()
        .filter(|other| other.name != server.name)
        .any(|other| other.usable || (other.backup && is_ready_backup(other)));
    (state != AdminState::Ready && !others).then(|| {
        format!(
            "warning: no other server of {} takes new flows; new clients get {} until one does",
            service.name,
            match (service.no_server_does.as_str(), &service.no_server) {
                ("reply", Some(reply)) => format!("\"{reply}\""),
                _ => "a reset".to_owned(),
            }
        )
    })
}

/// A backup becomes usable in the moment that it is needed.
fn is_ready_backup(server: &ServerView) -> bool {
    server.admin == AdminState::Ready
        && server.health == crate::snapshot::HealthState::Up
        && server.weight > 0
}

fn name(server: &ServerRef) -> String {
    format!("{}/{}", server.service, server.server)
}

/// The two views that `server` names.
pub(super) fn find<'s>(
    snapshot: &'s Snapshot,
    server: &ServerRef,
) -> Result<(&'s ServiceView, &'s ServerView), Failure> {
    let service = snapshot
        .services
        .iter()
        .find(|service| service.name == server.service);
    service
        .and_then(|service| {
            let view = service
                .servers
                .iter()
                .find(|view| view.name == server.server)?;
            Some((service, view))
        })
        .ok_or_else(|| Failure::new(Exit::NotFound, format!("no server {}", name(server))))
}
