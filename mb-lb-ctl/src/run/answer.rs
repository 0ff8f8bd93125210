//! Answers to admin connections.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use mb_lb_common::{SERVER_ACCEPT, SERVER_PRESENT, SERVER_RESET, Server, ServerCount};
use tokio::sync::oneshot;

use super::Director;
use super::worker::Job;
use crate::admin::Request;
use crate::command::sessions::{self, Sessions};
use crate::config_sync::Report;
use crate::dataplane::{FlowEntry, LoadError};
use crate::engine::{Event, Refusal, ServerRef};
use crate::proxy::{OpenSession, is_session};
use crate::snapshot::{FlowView, Snapshot};

pub type ChangeReply = oneshot::Sender<Result<String, Refusal>>;
pub type RecordResult = Result<(Option<Server>, ServerCount), LoadError>;

impl Director {
    pub(super) fn answer(&mut self, request: Request) {
        // A client that went away meanwhile is no error, so what `send` says is not looked at here.
        match request {
            Request::Change { change, by, reply } => self.change(change, by, reply),
            Request::Reload { reply } => {
                let result = self.reload();
                self.owe(move |refused| {
                    let result = match refused {
                        Some(why) => result.and(Err(format!(
                            "the kernel did not take all of it, and it is tried again every second: {why}"
                        ))),
                        None => result,
                    };
                    let _sent = reply.send(result);
                });
            }
            Request::Diff { text, name, reply } => {
                let result = super::parse(&text, &name).and_then(|(config, _)| {
                    super::routers::check(&config.vrrps)
                        .and_then(|()| crate::tiers::check(&config))
                        .map_err(|why| format!("a reload would be refused: {why}"))?;
                    Ok(self.changes(&config))
                });
                let _sent = reply.send(result);
            }
            Request::PeerDiff { reply } => self.peer_diff(reply),
            Request::PeerPush { by, reply } => self.peer_push(by, reply),
            Request::Events { after, reply } => {
                let events = self
                    .kept
                    .iter()
                    .filter(|event| event.seq > after)
                    .cloned()
                    .collect();
                let _sent = reply.send(events);
            }
            Request::Follow { reply } => {
                let _sent = reply.send(self.followers.subscribe());
            }
            Request::Flows {
                service,
                limit,
                reply,
            } => self.flows(service, limit, reply),
            Request::Sessions { id, reply } => self.sessions(id, reply),
            Request::CutSession { id, by, reply } => {
                let _sent = reply.send(self.cut_session(id, by));
            }
            Request::CertificatePaths { reply } => {
                let _sent = reply.send(self.proxying.certificate_paths());
            }
            Request::LookAtCertificates => self.proxying.look_now(),
            Request::Sync { name, reply } => {
                let result = self.engine.can_sync(&name).map(|()| {
                    let text = format!("config_sync {name}: its targets are brought in step now");
                    self.turn(Event::ConfigSync(Report::Wanted { name }));
                    // Whoever gets the answer may look at once.
                    self.publish();
                    text
                });
                let _sent = reply.send(result);
            }
            Request::Record { server, reply } => self.kernel_record(&server, reply),
        }
    }

    fn flows(
        &self,
        service: Option<String>,
        limit: usize,
        reply: oneshot::Sender<Result<Vec<FlowView>, String>>,
    ) {
        let names = names(&self.engine.snapshot(self.now()));
        // A filter by service needs all flows: which are whose is only known here.
        let read = if service.is_some() { usize::MAX } else { limit };
        self.worker.send(Job::Flows {
            limit: read,
            done: Box::new(move |flows| {
                let result = flows.map_err(|error| error.to_string()).map(|flows| {
                    flows
                        .into_iter()
                        .map(|flow| view(flow, &names))
                        .filter(|flow| {
                            service
                                .as_ref()
                                .is_none_or(|service| *service == flow.service)
                        })
                        .take(limit)
                        .collect()
                });
                let _sent = reply.send(result);
            }),
        });
    }

    fn sessions(&self, id: Option<u64>, reply: oneshot::Sender<Result<Sessions, String>>) {
        let is_wanted = |session: &OpenSession| id.is_none_or(|id| id == session.id);
        let clients: Vec<_> = self.proxying.sessions();
        let clients: Vec<_> = clients.into_iter().filter(is_wanted).collect();
        let timeouts = self.flow_timeouts;
        if id.is_some_and(is_session) {
            let _sent = reply.send(Ok(Sessions {
                clients,
                timeouts,
                ..Sessions::default()
            }));
            return;
        }
        let names = names(&self.engine.snapshot(self.now()));
        // One by its id needs all of them: the kernel knows it by its addresses.
        let limit = match id {
            Some(_) => usize::MAX,
            None => sessions::MAX_SHOWN + 1,
        };
        self.worker.send(Job::Flows {
            limit,
            done: Box::new(move |flows| {
                let result = flows.map_err(|error| error.to_string()).map(|flows| {
                    let is_wanted = |flow: &FlowEntry| {
                        id.is_none_or(|id| id == sessions::id(flow.client, flow.vip))
                    };
                    let mut flows = flows.into_iter().filter(is_wanted);
                    let shown = flows.by_ref().take(sessions::MAX_SHOWN);
                    Sessions {
                        flows: shown.map(|flow| view(flow, &names)).collect(),
                        more: flows.next().is_some(),
                        clients,
                        timeouts,
                    }
                });
                let _sent = reply.send(result);
            }),
        });
    }

    /// Ends the connection of a client. True: there was such a one.
    fn cut_session(&mut self, id: u64, by: String) -> bool {
        let Some(cut) = self.proxying.cut(id) else {
            return false;
        };
        let subject = match cut.server {
            Some((server, _)) => format!("{}/{server}", cut.proxy),
            None => cut.proxy,
        };
        self.turn(Event::SessionEnded { subject, by });
        true
    }

    fn kernel_record(
        &self,
        server: &ServerRef,
        reply: oneshot::Sender<Result<BTreeMap<String, String>, String>>,
    ) {
        let snapshot = self.engine.snapshot(self.now());
        let index = snapshot
            .services
            .iter()
            .find(|service| service.name == server.service)
            .and_then(|service| {
                service
                    .servers
                    .iter()
                    .find(|known| known.name == server.server)
            })
            .map(|known| known.id);
        let Some(index) = index else {
            let _sent = reply.send(Err(Refusal::NoSuchServer.to_string()));
            return;
        };
        self.worker.send(Job::Record {
            index,
            done: Box::new(move |record| {
                let result = record
                    .map(|(record, count)| fields(index, record.as_ref(), &count))
                    .map_err(|error| error.to_string());
                let _sent = reply.send(result);
            }),
        });
    }
}

/// Index in the kernel to service and server, and whether the file has it no more.
type Names = BTreeMap<u32, ((String, String), bool)>;

fn names(snapshot: &Snapshot) -> Names {
    snapshot
        .services
        .iter()
        .flat_map(|service| {
            service.servers.iter().map(|server| {
                let name = (service.name.clone(), server.name.clone());
                (server.id, (name, false))
            })
        })
        .chain(snapshot.removed.iter().map(|server| {
            let name = (server.service.clone(), server.server.clone());
            (server.id, (name, true))
        }))
        .collect()
}

fn view(flow: FlowEntry, names: &Names) -> FlowView {
    let ((service, server), removed) = names
        .get(&flow.server)
        .cloned()
        // Its record went between the reading of the two.
        .unwrap_or_else(|| ((String::new(), format!("#{}", flow.server)), true));
    FlowView {
        client: flow.client,
        vip: flow.vip,
        service,
        server,
        removed,
        state: flow.state.name().replace('-', "_"),
        idle_seconds: flow.idle.as_secs(),
        age_seconds: flow.age.as_secs(),
    }
}

fn fields(index: u32, record: Option<&Server>, count: &ServerCount) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::from([("index".to_owned(), index.to_string())]);
    let mut add = |name: &str, value: String| fields.insert(name.to_owned(), value);
    add("active", count.active.to_string());
    add("opened", count.opened.to_string());
    add("closed", count.closed.to_string());
    add("expired", count.expired.to_string());
    let Some(record) = record else {
        add("record", "none".to_owned());
        return fields;
    };
    let bits = Server::flags_of(record.link);
    let words: Vec<&str> = [
        (SERVER_PRESENT, "present"),
        (SERVER_ACCEPT, "accepts new flows"),
        (SERVER_RESET, "resets its flows"),
    ]
    .into_iter()
    .filter(|(bit, _)| bits & bit != 0)
    .map(|(_, word)| word)
    .collect();
    add("flags", words.join(", "));
    add("mac", crate::engine::mac(Server::mac_of(record.link)));
    add("ifindex", record.ifindex.to_string());
    add("generation", record.generation.to_string());
    add("max_connections", record.max_connections.to_string());
    add(
        "address",
        Ipv6Addr::from(record.address).to_canonical().to_string(),
    );
    fields
}
