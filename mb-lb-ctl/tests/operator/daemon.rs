//! The real listener over a snapshot, with a controller that does as much as the tests can see.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use mb_lb_ctl::admin::http::Web;
use mb_lb_ctl::admin::{AdminHandle, AdminSocket, Reloaded, Request, serve};
use mb_lb_ctl::command::sessions::{self, Sessions};
use mb_lb_ctl::config::AdminHttp;
use mb_lb_ctl::config::SocketLevel;
use mb_lb_ctl::engine::{Change, Refusal, ServerRef, SyncRefusal, Weight};
use mb_lb_ctl::snapshot::{AdminState, EventView, HealthState, ServerView, Snapshot};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::fixtures;

/// Runs until dropped.
pub struct Daemon {
    directory: tempfile::TempDir,
    pub snapshot: Arc<watch::Sender<Arc<Snapshot>>>,
    pub events: broadcast::Sender<EventView>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    pub fn start(snapshot: Snapshot) -> Self {
        Self::start_as(snapshot, None, SocketLevel::Admin)
    }

    /// With a page, as the configuration has it.
    pub fn start_with(snapshot: Snapshot, page: Option<AdminHttp>) -> Self {
        Self::start_as(snapshot, page, SocketLevel::Admin)
    }

    /// With connections that may do no more than that.
    pub fn start_at(snapshot: Snapshot, level: SocketLevel) -> Self {
        Self::start_as(snapshot, None, level)
    }

    fn start_as(snapshot: Snapshot, page: Option<AdminHttp>, level: SocketLevel) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let snapshot = Arc::new(watch::Sender::new(Arc::new(snapshot)));
        let (events, _) = broadcast::channel(16);
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let controller = Controller {
            snapshot: snapshot.clone(),
            events: events.clone(),
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let socket = AdminSocket::bind(&path, 0o600).unwrap();
                let (requests, inbox) = mpsc::channel(16);
                let handle = AdminHandle {
                    snapshot: controller.snapshot.subscribe(),
                    requests,
                    level,
                };
                tokio::spawn(controller.run(inbox));
                let mut web = Web::spawn(handle.clone());
                web.configure(page);
                ready.send(()).unwrap();
                serve(socket, handle, async {
                    let _ = stopped.await;
                })
                .await;
            });
        });
        is_ready.recv().unwrap();
        Self {
            directory,
            snapshot,
            events,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("admin.sock")
    }

    /// A file beside the socket.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn server(&self, position: usize) -> ServerView {
        self.snapshot.borrow().services[0].servers[position - 1].clone()
    }

    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Controller {
    snapshot: Arc<watch::Sender<Arc<Snapshot>>>,
    events: broadcast::Sender<EventView>,
}

impl Controller {
    async fn run(self, mut inbox: mpsc::Receiver<Request>) {
        // The daemon's clock, faster than the real one so that nobody waits for it.
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            tokio::select! {
                request = inbox.recv() => match request {
                    Some(request) => self.answer(request),
                    None => return,
                },
                _ = tick.tick() => self.snapshot.send_modify(|snapshot| Arc::make_mut(snapshot).uptime += 1),
            }
        }
    }

    fn answer(&self, request: Request) {
        // A client that does not wait for its answer is fine.
        match request {
            Request::Change { change, by, reply } => drop(reply.send(self.change(&change, &by))),
            Request::Reload { reply } => {
                drop(reply.send(match &self.snapshot.borrow().reload_error {
                    None => Ok(Reloaded {
                        changes: vec!["+ smtp_backend/mb4 weight 10".to_owned()],
                        warnings: "warning[W103]: one server only\n".to_owned(),
                    }),
                    Some(error) => Err(error.clone()),
                }))
            }
            Request::Diff { text, name, reply } => drop(reply.send(match text.as_str() {
                "bad\n\n" => Err(format!("error[E001]: not TOML\n --> {name}:1:1")),
                "same\n\n" => Ok(vec![]),
                text => Ok(vec![format!(
                    "~ {} bytes, {} lines",
                    text.len(),
                    text.lines().count()
                )]),
            })),
            Request::PeerDiff { reply } => drop(reply.send(self.peer_diff())),
            Request::PeerPush { by, reply } => drop(reply.send(match self.peer_diff() {
                Ok(lines) => Ok(lines),
                Err(why) => Err(format!("{by} may not: {why}")),
            })),
            Request::Events { after, reply } => {
                let events = fixtures::events().into_iter();
                drop(reply.send(events.filter(|event| event.seq > after).collect()));
            }
            Request::Follow { reply } => drop(reply.send(self.events.subscribe())),
            Request::Flows {
                service,
                limit,
                reply,
            } => {
                let flows = fixtures::flows().into_iter();
                let wanted = |name: &str| service.as_deref().is_none_or(|service| service == name);
                drop(
                    reply.send(Ok(flows
                        .filter(|flow| wanted(&flow.service))
                        .take(limit)
                        .collect())),
                );
            }
            Request::Sessions { id, reply } => {
                let mut flows = fixtures::flows();
                flows.retain(|flow| id.is_none_or(|id| id == sessions::id(flow.client, flow.vip)));
                drop(reply.send(Ok(Sessions {
                    flows,
                    ..Sessions::default()
                })));
            }
            Request::CutSession { reply, .. } => drop(reply.send(false)),
            Request::LookAtCertificates => {}
            Request::CertificatePaths { reply } => drop(reply.send(Vec::new())),
            Request::Sync { name, reply } => drop(reply.send(match name.as_str() {
                "etc" => Ok(format!(
                    "config_sync {name}: its targets are brought in step now"
                )),
                _ => Err(SyncRefusal::NotActive),
            })),
            Request::Record { server, reply } => drop(reply.send(match server.server.as_str() {
                "mb1" => Err("the map servers cannot be read".to_owned()),
                _ => Ok(fixtures::record()),
            })),
        }
    }

    fn peer_diff(&self) -> Result<Vec<String>, String> {
        let snapshot = self.snapshot.borrow();
        let Some(peer) = &snapshot.peer else {
            return Err("no [peer] is configured".to_owned());
        };
        if !peer.connected {
            return Err(format!("no connection to the peer {}", peer.address));
        }
        let line = "~ smtp_backend scheduler leastconn -> source".to_owned();
        match peer.peer_config_hash.as_ref() == Some(&peer.config_hash) {
            true => Ok(vec![]),
            false => Ok(vec![line]),
        }
    }

    fn change(&self, change: &Change, by: &str) -> Result<String, Refusal> {
        let wanted = match change {
            Change::Admin { server, .. }
            | Change::Weight { server, .. }
            | Change::Set { server, .. }
            | Change::Move { server, .. }
            | Change::Add { server, .. }
            | Change::Remove { server }
            | Change::EndSessions { server } => server,
            Change::Frontend { service, .. }
            | Change::ShutFrontend { service }
            | Change::ClientCap { service, .. } => return Ok(format!("{service}: done")),
            Change::Failover { instance } => {
                return match instance.as_deref() {
                    None | Some("VI_1") => Ok("VI_1: 192.168.1.11 is active".to_owned()),
                    Some("VI_2") => Err(Refusal::NotActive("VI_2 is backup here".to_owned())),
                    Some("VI_3") => Err(Refusal::Stayed("VI_3".to_owned())),
                    Some("VI_4") => Err(Refusal::NotHandedOver("VI_4: eth0 is down".to_owned())),
                    Some(other) => Err(Refusal::NoInstance(other.to_owned())),
                };
            }
        };
        let mut done = Err(Refusal::NoSuchServer);
        self.snapshot.send_modify(|snapshot| {
            if let Some(server) = find(Arc::make_mut(snapshot), wanted) {
                done = Ok(apply(server, change, by));
            }
        });
        done
    }
}

fn find<'s>(snapshot: &'s mut Snapshot, wanted: &ServerRef) -> Option<&'s mut ServerView> {
    let mut services = snapshot.services.iter_mut();
    let service = services.find(|service| service.name == wanted.service)?;
    service
        .servers
        .iter_mut()
        .find(|server| server.name == wanted.server)
}

fn apply(server: &mut ServerView, change: &Change, by: &str) -> String {
    match change {
        Change::Admin { state, reason, .. } => {
            server.admin = *state;
            server.usable = *state == AdminState::Ready && server.health == HealthState::Up;
            server.admin_by = by.to_owned();
            server.admin_reason = reason.clone();
            String::new()
        }
        Change::Weight { weight, .. } => {
            server.weight = match *weight {
                Weight::Absolute(weight) => weight,
                Weight::Percent(percent) => {
                    u16::try_from(u32::from(server.initial_weight) * percent / 100)
                        .unwrap()
                        .min(256)
                }
            };
            format!("{} weighs {} now", server.name, server.weight)
        }
        _ => String::new(),
    }
}
