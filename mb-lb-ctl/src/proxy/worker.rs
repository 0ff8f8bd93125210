//! One thread: its runtime, its listening sockets, its pools.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, LocalSet};

use super::limits::Limits;
use super::pool::Pool;
use super::table::{Listen, Proxy};
use super::{relay, serve};

const BACKLOG: i32 = 4096;
/// A socket that could not be had is tried again after so long.
const AGAIN: Duration = Duration::from_secs(2);
/// Between two looks at the pools.
const TIDY: Duration = Duration::from_secs(1);
/// After an accept that failed: most likely there are no descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// What all threads share.
#[derive(Debug)]
pub struct Shared {
    pub listens: watch::Sender<Vec<Listen>>,
    pub stop: watch::Sender<bool>,
    pub limits: Arc<Limits>,
    /// Why an address is not listened on.
    pub unheard: Mutex<BTreeMap<SocketAddr, String>>,
}

impl Shared {
    /// `None`: it cannot be had, and why is noted.
    fn listen(&self, address: SocketAddr) -> Option<TcpListener> {
        let mut unheard = self
            .unheard
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match bind(address) {
            Ok(listener) => {
                unheard.remove(&address);
                Some(listener)
            }
            Err(error) => {
                unheard.insert(address, error.to_string());
                None
            }
        }
    }
}

/// What the tasks of one thread share.
#[derive(Debug)]
pub struct Worker {
    pub pool: Pool,
    pub limits: Arc<Limits>,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
}

impl Worker {
    /// Ready when connections are to end.
    pub async fn stopping(&self) {
        let mut stop = self.stop.clone();
        if stop.wait_for(|stop| *stop).await.is_err() {
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
        stop: shared.stop.subscribe(),
        shared,
    });
    LocalSet::new().block_on(&runtime, live(worker));
    Ok(())
}

async fn live(worker: Rc<Worker>) {
    let mut listens = worker.shared.listens.subscribe();
    listens.mark_changed();
    let mut accepting: BTreeMap<SocketAddr, (Listen, JoinHandle<()>)> = BTreeMap::new();
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
                    .map(|(listen, _)| Arc::clone(&listen.proxy))
                    .collect();
                worker.pool.tidy(|id| proxies.iter().any(|proxy| proxy.keeps(id)));
            }
            () = worker.stopping() => {
                for (_, (_, task)) in std::mem::take(&mut accepting) {
                    task.abort();
                }
                // Connections end by themselves; the process waits for them, or does not.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Sockets that stay are not touched: what waits in them is not lost.
fn settle(
    worker: &Rc<Worker>,
    accepting: &mut BTreeMap<SocketAddr, (Listen, JoinHandle<()>)>,
    wanted: Vec<Listen>,
) {
    let same =
        |a: &Listen, b: &Listen| Arc::ptr_eq(&a.proxy, &b.proxy) && a.redirect_to == b.redirect_to;
    accepting.retain(|address, (listen, task)| {
        let stays = wanted
            .iter()
            .any(|wanted| wanted.address == *address && same(wanted, listen));
        if !stays {
            task.abort();
        }
        stays
    });
    for listen in wanted {
        let address = listen.address;
        accepting.entry(address).or_insert_with(|| {
            let task = tokio::task::spawn_local(accept(Rc::clone(worker), listen.clone()));
            (listen, task)
        });
    }
}

async fn accept(worker: Rc<Worker>, listen: Listen) {
    let listener = loop {
        match worker.shared.listen(listen.address) {
            Some(listener) => break listener,
            None => tokio::time::sleep(AGAIN).await,
        }
    };
    loop {
        match listener.accept().await {
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

/// Each thread has a socket of its own, between which the kernel divides the clients. The address may come later: on the
/// standby the VIP is not there.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    match address {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
