//! Connections of clients that are open, each by a number that a person can say: for who lists them, and for who ends one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::table::Server;

/// Numbers have 48 bits, as pointers have that HAProxy shows in their place.
const BITS: u64 = (1 << 48) - 1;

/// All that are open, of all proxies and services in user mode.
#[derive(Debug)]
pub struct Sessions {
    open: Mutex<BTreeMap<u64, Arc<Session>>>,
    next: AtomicU64,
}

/// One connection of a client.
#[derive(Debug)]
pub struct Session {
    id: u64,
    /// Name of the proxy, or of the service in user mode.
    proxy: String,
    since: Instant,
    facts: Mutex<Facts>,
    is_cut: AtomicBool,
    cut: Notify,
}

#[derive(Debug)]
struct Facts {
    client: SocketAddr,
    local: SocketAddr,
    /// Servers that it has something under way at; with HTTP/2 it may be many.
    at: Vec<Arc<Server>>,
}

/// As it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSession {
    /// The same as long as it is open. It is even, and odd that of a flow in the kernel.
    pub id: u64,
    pub proxy: String,
    pub client: SocketAddr,
    /// What the client has connected to.
    pub local: SocketAddr,
    pub age: Duration,
    /// Name and address of the server that has what was begun last, if any has.
    pub server: Option<(String, SocketAddr)>,
}

/// Something of a session is under way at a server, until this is dropped.
#[derive(Debug)]
pub struct Visit {
    session: Arc<Session>,
    server: Arc<Server>,
}

/// Whether the number can be that of a session, and is none of a flow in the kernel.
pub const fn is_session(id: u64) -> bool {
    id.is_multiple_of(2)
}

impl Default for Sessions {
    /// Begins somewhere else in each process, so that a number of the one before names nobody.
    fn default() -> Self {
        Self {
            open: Mutex::default(),
            next: AtomicU64::new(fastrand::u64(..)),
        }
    }
}

impl Sessions {
    pub fn enter(&self, proxy: &str, client: SocketAddr, local: SocketAddr) -> Arc<Session> {
        let mut open = self.open();
        let id = loop {
            let id = self.next.fetch_add(2, Ordering::Relaxed) & BITS & !1;
            if id != 0 && !open.contains_key(&id) {
                break id;
            }
        };
        let session = Arc::new(Session {
            id,
            proxy: proxy.to_owned(),
            since: Instant::now(),
            facts: Mutex::new(Facts {
                client,
                local,
                at: Vec::new(),
            }),
            is_cut: AtomicBool::new(false),
            cut: Notify::new(),
        });
        open.insert(id, Arc::clone(&session));
        session
    }

    pub fn leave(&self, session: &Session) {
        self.open().remove(&session.id);
    }

    pub fn list(&self) -> Vec<OpenSession> {
        let open: Vec<_> = self.open().values().cloned().collect();
        open.iter().map(|session| session.view()).collect()
    }

    /// Ends one, and says which it was. `None`: there is no such one.
    pub fn cut(&self, id: u64) -> Option<OpenSession> {
        let session = self.open().get(&id).cloned()?;
        session.end();
        Some(session.view())
    }

    /// Ends those of a proxy that have something under way at a server.
    pub fn cut_at(&self, proxy: &str, server: &str) {
        let open: Vec<_> = self.open().values().cloned().collect();
        for session in open.iter().filter(|session| session.proxy == proxy) {
            let is_there = session.facts().at.iter().any(|at| at.config.name == server);
            if is_there {
                session.end();
            }
        }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Session>>> {
        // What is in it is whole at any time.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// What a PROXY header has said.
    pub fn comes_from(&self, client: SocketAddr, local: SocketAddr) {
        let mut facts = self.facts();
        (facts.client, facts.local) = (client, local);
    }

    pub fn visit(self: &Arc<Self>, server: &Arc<Server>) -> Visit {
        self.facts().at.push(Arc::clone(server));
        Visit {
            session: Arc::clone(self),
            server: Arc::clone(server),
        }
    }

    /// Ready when it is to end.
    pub async fn ends(&self) {
        let told = self.cut.notified();
        tokio::pin!(told);
        // From here on it is not missed.
        told.as_mut().enable();
        if !self.is_cut() {
            told.await;
        }
    }

    /// An operator has ended it.
    pub fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::SeqCst)
    }

    fn end(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        self.cut.notify_waiters();
    }

    fn view(&self) -> OpenSession {
        let facts = self.facts();
        let server = facts.at.last();
        OpenSession {
            id: self.id,
            proxy: self.proxy.clone(),
            client: facts.client,
            local: facts.local,
            age: self.since.elapsed(),
            server: server.map(|server| {
                let mut address = server.config.address;
                if address.port() == 0 {
                    address.set_port(facts.local.port());
                }
                (server.config.name.clone(), address)
            }),
        }
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        // What is in it is whole at any time.
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut facts = self.session.facts();
        let is_it = |at: &Arc<Server>| Arc::ptr_eq(at, &self.server);
        if let Some(at) = facts.at.iter().rposition(is_it) {
            facts.at.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn server(name: &str, address: &str) -> Arc<Server> {
        let text = format!(
            "[proxy.web]\nlisten = \"192.0.2.1:80\"\n[proxy.web.servers]\n{name} = \"{address}\"\n"
        );
        let config = config::parse(&text, "lb1").config.expect("valid");
        Arc::new(Server {
            id: 1,
            config: config.proxies[0].servers[0].clone(),
            stats: Arc::default(),
        })
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[tokio::test]
    async fn who_has_something_at_a_server_ends_with_it_and_no_other() {
        let sessions = Sessions::default();
        let (mb1, mb2) = (
            server("mb1", "192.0.2.11:80"),
            server("mb2", "192.0.2.12:80"),
        );
        let enter =
            |proxy| sessions.enter(proxy, address("203.0.113.7:40000"), address("192.0.2.1:80"));
        let [first, second, idle, elsewhere] = ["web", "web", "web", "other"].map(enter);
        let _first = first.visit(&mb1);
        let both = (second.visit(&mb1), second.visit(&mb2));
        let _elsewhere = elsewhere.visit(&mb1);
        drop(idle.visit(&mb1));
        drop(both.0);
        sessions.cut_at("web", "mb1");
        let cut = [&first, &second, &idle, &elsewhere].map(|session| session.is_cut());
        assert_eq!(cut, [true, false, false, false]);
        // Who asks afterwards is told, too.
        first.ends().await;

        let list = sessions.list();
        assert_eq!(list.len(), 4);
        let shown = list.iter().find(|shown| shown.id == second.id);
        let shown = shown.expect("it is open");
        assert_eq!(
            shown.server,
            Some(("mb2".to_owned(), address("192.0.2.12:80")))
        );
        assert!(
            list.iter()
                .all(|shown| is_session(shown.id) && shown.id <= BITS)
        );
        assert_eq!(sessions.cut(second.id).map(|cut| cut.id), Some(second.id));
        assert!(second.is_cut());
        second.ends().await;
        sessions.leave(&second);
        assert_eq!(sessions.cut(second.id), None);
        assert_eq!(sessions.list().len(), 3);
    }

    /// Wherever it is in the table.
    #[test]
    fn the_one_that_is_meant_ends_and_no_other() {
        for meant in 0..4 {
            let sessions = Sessions::default();
            let open = [1, 2, 3, 4].map(|port| {
                let client = SocketAddr::from(([203, 0, 113, 7], port));
                sessions.enter("web", client, address("192.0.2.1:80"))
            });
            let cut = sessions.cut(open[meant].id).expect("it is open");
            assert_eq!(cut.id, open[meant].id);
            for (at, session) in open.iter().enumerate() {
                assert_eq!(session.is_cut(), at == meant, "{at} of {meant}");
            }
        }
    }

    #[tokio::test]
    async fn who_waits_for_the_end_is_told() {
        let sessions = Sessions::default();
        let client = address("203.0.113.7:40000");
        let session = sessions.enter("web", client, address("192.0.2.1:80"));
        session.comes_from(address("198.51.100.1:5"), address("192.0.2.9:443"));
        let ends = session.ends();
        tokio::pin!(ends);
        let waits = futures_util::poll!(&mut ends);
        assert!(waits.is_pending());
        let cut = sessions.cut(session.id).expect("it is open");
        assert_eq!(
            (cut.client, cut.local),
            (address("198.51.100.1:5"), address("192.0.2.9:443"))
        );
        assert_eq!(cut.server, None);
        assert!(session.is_cut());
        ends.await;
    }
}
