//! `drain`, `maint`, `ready` and `weight`: what changed, what that means, and how to undo it.

use std::time::Duration;

use crate::cli::args::{self, Global};
use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::format::count;
use crate::cli::output::{emit, say};
use crate::cli::wait::{Goal, wait};
use crate::command::line::quote;
use crate::command::native::state_word;
use crate::engine::{ServerRef, Weight};
use crate::snapshot::{AdminState, ServerView, ServiceView, Snapshot};

/// `target`: a server, or with `true` all servers of its name.
pub fn admin(
    global: &Global,
    (target, all): (&ServerRef, bool),
    state: AdminState,
    (reason, force): (&str, bool),
    limit: Option<Duration>,
) -> Result<Exit, Failure> {
    let client = Client::changing(global);
    if !all {
        return admin_one(&client, target, state, (reason, force), limit);
    }
    let targets = of_name(&client.snapshot()?, target)?;
    for target in &targets {
        admin_one(&client, target, state, (reason, force), None)?;
    }
    let Some(limit) = limit else {
        return Ok(Exit::Ok);
    };
    // One after the other, and all within the time.
    let begin = std::time::Instant::now();
    let snapshot = client.snapshot()?;
    for target in &targets {
        let (service, _) = find(&snapshot, target)?;
        let left = limit.saturating_sub(begin.elapsed());
        let exit = wait(&client, target, goal(service, state), left)?;
        if exit != Exit::Ok {
            return Ok(exit);
        }
    }
    Ok(Exit::Ok)
}

/// Every server of this name.
fn of_name(snapshot: &Snapshot, target: &ServerRef) -> Result<Vec<ServerRef>, Failure> {
    if !target.service.is_empty() {
        let text = format!("--all goes with a server's own name: {}", target.server);
        return Err(Failure::new(Exit::Usage, text));
    }
    let services = snapshot.services.iter();
    let of = |service: &ServiceView| service.servers.iter().any(|s| s.name == target.server);
    let found: Vec<_> = services
        .filter(|service| of(service))
        .map(|service| ServerRef {
            service: service.name.clone(),
            server: target.server.clone(),
        })
        .collect();
    if found.is_empty() {
        let text = format!("no service and no proxy has a server {}", target.server);
        return Err(Failure::new(Exit::NotFound, text).next("mb-lb-ctl list servers"));
    }
    Ok(found)
}

/// What is waited for.
fn goal(service: &ServiceView, state: AdminState) -> Goal {
    match state {
        AdminState::Ready => Goal::Usable,
        AdminState::Drain => Goal::Drained,
        AdminState::Maint if service.on_down == "reset" => Goal::Reset,
        AdminState::Maint => Goal::Kept,
    }
}

fn admin_one(
    client: &Client,
    target: &ServerRef,
    state: AdminState,
    (reason, force): (&str, bool),
    limit: Option<Duration>,
) -> Result<Exit, Failure> {
    let snapshot = client.snapshot_with(target)?;
    let (service, server) = find(&snapshot, target)?;
    let name = name(target);
    let word = state_word(state);
    let how = if force { "force " } else { "" };
    let mut request = format!("mb-lb set {how}{} {word}", quote(&name));
    if !reason.is_empty() {
        request.push(' ');
        request.push_str(&quote(reason));
    }
    let done = client
        .tell(&request)
        .map_err(|failure| match failure.exit {
            Exit::Refused => failure.next(format!(
                "mb-lb-ctl {word} {name} --force does it all the same"
            )),
            _ => failure,
        })?;
    let same_reason = reason.is_empty() || reason == server.admin_reason;
    if server.admin == state && (same_reason || state == AdminState::Ready) {
        emit(&already(&name, service, server))?;
    } else {
        emit(&admin_text(&done, service, server, state))?;
    }
    if let Some(warning) = last_one(service, server, state) {
        say(&warning);
    }
    match limit {
        None => Ok(Exit::Ok),
        Some(limit) => wait(client, target, goal(service, state), limit),
    }
}

pub fn weight(global: &Global, args: &args::Weight) -> Result<Exit, Failure> {
    let client = Client::changing(global);
    let snapshot = client.snapshot_with(&args.server)?;
    let (_, server) = find(&snapshot, &args.server)?;
    let name = name(&args.server);
    let weight = match args.weight {
        Weight::Absolute(weight) => weight.to_string(),
        Weight::Percent(percent) => format!("{percent}%"),
    };
    let done = client.tell(&format!("mb-lb weight {} {weight}", quote(&name)))?;
    let done = match done.as_str() {
        "" => format!("{name}: weight {} -> {weight}", server.weight),
        done => done.to_owned(),
    };
    let undo = match args.weight == Weight::Absolute(server.weight) {
        true => String::new(),
        false => format!("Undo: mb-lb-ctl weight {name} {}\n", server.weight),
    };
    emit(&format!("{done}\n{undo}"))?;
    Ok(Exit::Ok)
}

/// What is so already: nothing was changed.
fn already(name: &str, service: &ServiceView, server: &ServerView) -> String {
    let by = match server.admin_by.as_str() {
        "" => String::new(),
        by => format!(", by {by}"),
    };
    let why = match server.admin_reason.as_str() {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    let word = state_word(server.admin);
    let mut text = format!("{name} is in {word} already{by}{why}\n");
    if server.admin == AdminState::Ready {
        return format!("{name} is ready already\n");
    }
    text.push_str(&flows_text(service, server, server.admin));
    text.push_str(&format!("Undo: mb-lb-ctl ready {name}\n"));
    text
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
    text.push_str(&flows_text(service, server, state));
    text.push_str(&format!("Undo: {}\n", undo(&name, server, state)));
    text
}

/// What the state means for flows.
pub(super) fn flows_text(service: &ServiceView, server: &ServerView, state: AdminState) -> String {
    let open = u64::try_from(server.active).unwrap_or(0);
    if service.layer == 7 {
        let name = format!("{}/{}", service.name, server.name);
        let requests = count(open, "request");
        return match state {
            AdminState::Ready => String::new(),
            AdminState::Drain => format!(
                "No new users; {requests} under way. Users who have its cookie still come here: mb-lb-ctl maint {name} \
                 sends them to other servers.\n"
            ),
            AdminState::Maint => format!(
                "No new requests, no checks; {requests} under way may end. Users who have its cookie get another server.\n"
            ),
        };
    }
    let flows = count(open, "open flow");
    if matches!(service.scheduler.as_str(), "single-writer" | "master") {
        let name = &service.name;
        return match (state, open) {
            (AdminState::Ready, _) => String::new(),
            (_, 0) => "No clients are brought there.\n".to_owned(),
            _ => format!(
                "Its {flows} are reset, for there is one server for all: mb-lb-ctl describe {name} shows where clients go now.\n"
            ),
        };
    }
    match state {
        AdminState::Ready => String::new(),
        AdminState::Drain => format!("No new flows; {flows} may end in peace.\n"),
        AdminState::Maint if service.on_down == "reset" => format!(
            "No new flows, no checks; {flows} will be reset at the next packet (on_down = \"reset\").\n"
        ),
        AdminState::Maint => format!(
            "No new flows, no checks; {flows} may go on (on_down = \"{}\").\n",
            service.on_down
        ),
    }
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
    none_left(service, |name| name == server.name, state)
}

/// As [`last_one`], for all servers of the service that `taken` names.
pub(super) fn none_left(
    service: &ServiceView,
    taken: impl Fn(&str) -> bool,
    state: AdminState,
) -> Option<String> {
    let others = service
        .servers
        .iter()
        .filter(|other| !taken(&other.name))
        .any(|other| {
            let is_next = other.stands_by && service.scheduler == "single-writer";
            other.usable || is_next || (other.backup && is_ready_backup(other))
        });
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
