//! One thread: its runtime, its listening sockets, its pools.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, LocalSet};

use super::admitted::Census;
use super::limits::Limits;
use super::listening::Listening;
use super::pool::Pool;
use super::sessions::Sessions;
use super::table::{Listen, Proxy};
use super::{relay, serve};

/// A socket that could not be had is tried again after so long.
const AGAIN: Duration = Duration::from_secs(2);
/// Between two looks at the pools.
const TIDY: Duration = Duration::from_secs(1);
/// After an accept that failed: most likely there are no descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// How far the end of the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Serving,
    /// Who comes is served once, and all are asked to go.
    Leaving,
    /// Who comes waits in the socket for the next process.
    Closed,
}

/// What all threads share.
pub struct Shared {
    pub listens: watch::Sender<Vec<Listen>>,
    pub stage: watch::Sender<Stage>,
    pub limits: Arc<Limits>,
    pub census: Census,
    pub sessions: Sessions,
    pub listening: Listening,
}

impl Shared {
    /// There is no way back.
    pub fn rise(&self, stage: Stage) {
        self.stage.send_if_modified(|now| {
            let rises = *now < stage;
            *now = stage.max(*now);
            rises
        });
    }
}

/// What the tasks of one thread share.
pub struct Worker {
    pub pool: Pool,
    pub limits: Arc<Limits>,
    shared: Arc<Shared>,
    stage: watch::Receiver<Stage>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}

impl Worker {
    pub fn census(&self) -> &Census {
        &self.shared.census
    }

    pub fn sessions(&self) -> &Sessions {
        &self.shared.sessions
    }

    /// Ready when connections are to end.
    pub async fn stopping(&self) {
        self.reached(Stage::Leaving).await;
    }

    /// Ready when the process is about to end.
    pub async fn closing(&self) {
        self.reached(Stage::Closed).await;
    }

    async fn reached(&self, stage: Stage) {
        let mut now = self.stage.clone();
        if now.wait_for(|now| *now >= stage).await.is_err() {
            // Nobody is left to say so.
            std::future::pending().await
        }
    }
}

/// Runs one worker on this thread until it is stopped and its connections have ended.
///
/// # Errors
/// The runtime cannot be made.
pub fn run(shared: Arc<Shared>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let worker = Rc::new(Worker {
        pool: Pool::default(),
        limits: Arc::clone(&shared.limits),
        stage: shared.stage.subscribe(),
        shared,
    });
    LocalSet::new().block_on(&runtime, live(worker));
    Ok(())
}

async fn live(worker: Rc<Worker>) {
    let mut listens = worker.shared.listens.subscribe();
    listens.mark_changed();
    let mut accepting: BTreeMap<SocketAddr, Accepting> = BTreeMap::new();
    let mut tidy = tokio::time::interval(TIDY);
    loop {
        tokio::select! {
            changed = listens.changed() => {
                if changed.is_err() {
                    return;
                }
                let wanted = listens.borrow_and_update().clone();
                settle(&worker, &mut accepting, wanted);
            }
            _ = tidy.tick() => {
                let proxies: Vec<Arc<Proxy>> = accepting
                    .values()
                    .map(|accepting| Arc::clone(&accepting.listen.proxy))
                    .collect();
                worker.pool.tidy(|id| proxies.iter().any(|proxy| proxy.keeps(id)));
            }
        }
    }
}

/// An address that is listened on.
struct Accepting {
    listen: Listen,
    /// Stays when others are to be served there: a socket in which clients wait is not closed.
    socket: Rc<OnceCell<TcpListener>>,
    task: JoinHandle<()>,
}

impl Accepting {
    fn start(worker: &Rc<Worker>, listen: Listen, socket: Rc<OnceCell<TcpListener>>) -> Self {
        let accept = accept(Rc::clone(worker), listen.clone(), Rc::clone(&socket));
        Self {
            task: tokio::task::spawn_local(accept),
            listen,
            socket,
        }
    }
}

fn settle(
    worker: &Rc<Worker>,
    accepting: &mut BTreeMap<SocketAddr, Accepting>,
    wanted: Vec<Listen>,
) {
    let same =
        |a: &Listen, b: &Listen| Arc::ptr_eq(&a.proxy, &b.proxy) && a.redirect_to == b.redirect_to;
    accepting.retain(|address, known| {
        let stays = wanted.iter().any(|wanted| wanted.address == *address);
        if !stays {
            known.task.abort();
            // The last thread to do so leaves none behind.
            worker.shared.listening.forget(*address);
        }
        stays
    });
    for listen in wanted {
        let socket = match accepting.get(&listen.address) {
            Some(known) if same(&known.listen, &listen) => continue,
            Some(known) => {
                known.task.abort();
                Rc::clone(&known.socket)
            }
            None => Rc::default(),
        };
        let address = listen.address;
        accepting.insert(address, Accepting::start(worker, listen, socket));
    }
}

async fn accept(worker: Rc<Worker>, listen: Listen, socket: Rc<OnceCell<TcpListener>>) {
    let listener = loop {
        if let Some(listener) = socket.get() {
            break listener;
        }
        match worker.shared.listening.open(listen.address) {
            // It was empty.
            Some(listener) => _ = socket.set(listener),
            None => tokio::time::sleep(AGAIN).await,
        }
    };
    // Clients wait in the socket.
    listen.proxy.is_known().await;
    let closed = worker.reached(Stage::Closed);
    tokio::pin!(closed);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut closed => {
                // The socket stays open.
                std::future::pending().await
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (listen, worker) = (listen.clone(), Rc::clone(&worker));
                if listen.proxy.in_force.load().relay.is_some() {
                    tokio::task::spawn_local(relay::connection(stream, peer, listen, worker));
                } else {
                    tokio::task::spawn_local(serve::connection(stream, peer, listen, worker));
                }
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
