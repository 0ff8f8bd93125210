//! What the tests of virtual routers and of the peer have in common.

use super::*;
use crate::peer::{Hello, Message, PeerEvent, RoleOf, Status, SyncReport};
use crate::vrrp::machine::{Cause, Role};
use crate::vrrp::router::Report as Told;
use crate::vrrp::view::RouterView;

pub const PEER: &str =
    "[peer]\nlisten = \"192.0.2.10:8405\"\naddress = \"192.0.2.11:8405\"\nkey_file = \"/k\"\n";

/// Keys of an instance that tracks something.
pub const FAILING: &str = "track_scripts = { x = { command = \"/x\", weight = -20 } }";

/// Address of the other director's adverts.
pub fn other() -> IpAddr {
    IpAddr::from([192, 0, 2, 11])
}

fn own() -> IpAddr {
    IpAddr::from([192, 0, 2, 10])
}

/// Three servers that one check ends or brings back, with what else there is.
pub fn with(more: &str) -> Config {
    let text = format!(
        "[service.smtp]\nlisten = \"192.0.2.100:25\"\ncheck = {{ type = \"smtp\", rise = 1, fall = 1 }}\n\
         [service.smtp.servers]\n\
         mb1 = {{ address = \"192.0.2.1\", weight = 10 }}\n\
         mb2 = {{ address = \"192.0.2.2\", weight = 10 }}\n\
         mb3 = {{ address = \"192.0.2.3\", weight = 5 }}\n{more}"
    );
    parse(&text)
}

/// One instance of priority 100.
pub fn instance(name: &str, number: u8, keys: &str) -> String {
    format!(
        "[vrrp.{name}]\ninterface = \"eth0\"\nvirtual_router_id = {number}\naddresses = \"192.0.2.{}/24\"\n{keys}\n",
        49 + number
    )
}

/// VI_1, with more of its keys.
pub fn one(keys: &str) -> Config {
    with(&instance("VI_1", 51, keys))
}

/// VI_1 and a peer.
pub fn one_and_peer(keys: &str) -> Config {
    with(&format!("{}{PEER}", instance("VI_1", 51, keys)))
}

/// VI_1 and VI_2, which move together.
pub fn group(more: &str) -> Config {
    let keys = "sync_group = \"mail\"";
    with(&format!(
        "{}{}{more}",
        instance("VI_1", 51, keys),
        instance("VI_2", 52, keys)
    ))
}

/// Of one router, without what it goes by.
pub fn orders(actions: &[Action], name: &str) -> Vec<Order> {
    of(actions, name, |order| {
        !matches!(order, Order::Policy { .. })
    })
}

/// The last thing that a router is to go by.
pub fn policy(actions: &[Action], name: &str) -> Option<Order> {
    of(actions, name, |order| matches!(order, Order::Policy { .. })).pop()
}

fn of(actions: &[Action], wanted: &str, which: impl Fn(&Order) -> bool) -> Vec<Order> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Router { name, order } if name == wanted && which(order) => Some(order.clone()),
            _ => None,
        })
        .collect()
}

pub fn priority_of(policy: Option<Order>) -> u8 {
    match policy {
        Some(Order::Policy { priority, .. }) => priority,
        other => panic!("no policy: {other:?}"),
    }
}

pub fn fault_of(policy: Option<Order>) -> Option<String> {
    match policy {
        Some(Order::Policy { fault, .. }) => fault,
        other => panic!("no policy: {other:?}"),
    }
}

pub fn said(actions: &[Action]) -> Vec<Message> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::PeerSend(message) => Some(message.clone()),
            _ => None,
        })
        .collect()
}

pub fn take_overs(actions: &[Action]) -> usize {
    said(actions)
        .iter()
        .filter(|message| matches!(message, Message::TakeOver { .. }))
        .count()
}

/// Answers, by the id of what was asked.
pub fn replies(actions: &[Action]) -> Vec<(u64, Result<String, Refusal>)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Reply { id, result } => Some((*id, result.clone())),
            _ => None,
        })
        .collect()
}

/// What the peer says of VI_1.
pub fn role(role: Role, priority: u8) -> RoleOf {
    RoleOf {
        vrid: 51,
        ipv6: false,
        interface: "eth0".to_owned(),
        name: "VI_1".to_owned(),
        role,
        priority,
        address: other(),
        leaving: false,
    }
}

pub fn silence() -> Cause {
    Cause::Silence(Duration::from_secs(3))
}

pub fn handed_over() -> Cause {
    Cause::HandedOver {
        to: other(),
        why: "test".to_owned(),
    }
}

pub fn stronger() -> Cause {
    Cause::Stronger {
        source: other(),
        priority: 150,
    }
}

pub fn router_view(role: Role) -> RouterView {
    RouterView {
        role,
        since: Duration::ZERO,
        priority: 100,
        source: Some(own()),
        master: None,
        rejections: Vec::new(),
        is_leaving: false,
        stands_aside: false,
        fault: None,
    }
}

impl Bench {
    /// All servers up, and all routers backup.
    pub fn backup(config: &Config) -> Self {
        let mut bench = Self::up(config);
        for vrrp in &config.vrrps {
            bench.turned(&vrrp.name, Role::Init, Role::Backup, Cause::Started);
            bench.view(&vrrp.name, router_view(Role::Backup));
        }
        bench
    }

    /// All servers up, and all routers active.
    pub fn active(config: &Config) -> Self {
        let mut bench = Self::backup(config);
        for vrrp in &config.vrrps {
            bench.turned(&vrrp.name, Role::Backup, Role::Active, silence());
            bench.view(&vrrp.name, router_view(Role::Active));
        }
        bench
    }

    pub fn turned(&mut self, name: &str, from: Role, to: Role, cause: Cause) -> Vec<Action> {
        let report = Told::Turned {
            from,
            to,
            cause,
            silent: None,
        };
        self.told(name, report)
    }

    pub fn told(&mut self, name: &str, report: Told) -> Vec<Action> {
        let name = name.to_owned();
        self.handle(Event::Router { name, report })
    }

    pub fn view(&mut self, name: &str, view: RouterView) -> Vec<Action> {
        self.handle(Event::RouterView {
            name: name.to_owned(),
            view: Box::new(view),
            at: self.now.since_start,
        })
    }

    pub fn link(&mut self, interface: &str, up: bool) -> Vec<Action> {
        self.handle(Event::Links([(interface.to_owned(), up)].into()))
    }

    pub fn script(&mut self, failed: Option<&str>) -> Vec<Action> {
        self.handle(Event::Script {
            instance: "VI_1".to_owned(),
            script: "x".to_owned(),
            failed: failed.map(str::to_owned),
        })
    }

    /// So long later.
    pub fn pass(&mut self, milliseconds: u64) -> Vec<Action> {
        self.now.since_start += Duration::from_millis(milliseconds);
        self.now.wall_ms += milliseconds;
        self.handle(Event::Deadline)
    }

    pub fn connect(&mut self) -> Vec<Action> {
        let hello = Hello {
            name: "lb2".to_owned(),
            build: "test".to_owned(),
            boot: 1,
            knows: String::new(),
            started_ms: 0,
        };
        self.handle(Event::Peer(PeerEvent::Connected { hello }))
    }

    pub fn disconnect(&mut self) -> Vec<Action> {
        let why = "the connection was closed".to_owned();
        self.handle(Event::Peer(PeerEvent::Disconnected { why }))
    }

    /// Whether this director holds all flows of the peer.
    pub fn in_sync(&mut self, in_sync: bool) -> Vec<Action> {
        let report = SyncReport {
            in_sync,
            ..SyncReport::default()
        };
        self.handle(Event::Peer(PeerEvent::Report(Box::new(report))))
    }

    pub fn hear(&mut self, message: Message) -> Vec<Action> {
        self.handle(Event::Peer(PeerEvent::Message(Box::new(message))))
    }

    /// The peer has the same configuration and all flows.
    pub fn peer_is(&mut self, role: RoleOf) -> Vec<Action> {
        self.hear(Message::Status(self.status(vec![role])))
    }

    pub fn status(&self, roles: Vec<RoleOf>) -> Status {
        Status {
            config_hash: self.engine.shared_hash.clone(),
            roles,
            owned: Vec::new(),
            in_sync: true,
            sent_at_ms: 0,
        }
    }

    pub fn failover(&mut self, id: u64, instance: Option<&str>) -> Vec<Action> {
        let instance = instance.map(str::to_owned);
        self.handle(Event::Change {
            id,
            change: Change::Failover { instance },
            by: "alice".to_owned(),
        })
    }

    pub fn alarms(&self) -> Vec<String> {
        let alarms = self.snapshot().alarms;
        alarms.into_iter().map(|alarm| alarm.text).collect()
    }

    /// Whether an alarm has this in it.
    pub fn warns(&self, text: &str) -> bool {
        self.alarms().iter().any(|alarm| alarm.contains(text))
    }

    pub fn kinds_of(&self, subject: &str) -> Vec<&str> {
        let records = self.records.iter();
        records
            .filter(|event| event.subject == subject)
            .map(|event| event.kind.as_str())
            .collect()
    }
}
