//! Listening sockets, one for each thread and address. A service manager keeps them over a restart (systemd's descriptor
//! store), and clients who come meanwhile wait in them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::net;

const BACKLOG: i32 = 4096;

/// Who keeps sockets for the next process.
pub trait Keeper: Send + Sync {
    fn keep(&self, address: SocketAddr, socket: BorrowedFd<'_>);
    /// All of this address.
    fn forget(&self, address: SocketAddr);
}

/// Nobody.
#[derive(Clone, Copy, Debug)]
pub struct NoKeeper;

impl Keeper for NoKeeper {
    fn keep(&self, _: SocketAddr, _: BorrowedFd<'_>) {}
    fn forget(&self, _: SocketAddr) {}
}

pub struct Listening {
    keeper: Arc<dyn Keeper>,
    /// From the process before; nobody accepts there yet.
    inherited: Mutex<BTreeMap<SocketAddr, Vec<TcpListener>>>,
    /// Where this process listens.
    ours: Mutex<BTreeSet<SocketAddr>>,
    /// Why an address is not listened on.
    unheard: Mutex<BTreeMap<SocketAddr, String>>,
}

impl Listening {
    pub fn new(inherited: Vec<TcpListener>, keeper: Arc<dyn Keeper>) -> Self {
        let mut by_address: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for socket in inherited {
            if let Ok(address) = socket.local_addr() {
                by_address.entry(address).or_default().push(socket);
            }
        }
        // Each is kept anew when it is known that it is wanted.
        for &address in by_address.keys() {
            keeper.forget(address);
        }
        Self {
            keeper,
            ours: Mutex::new(by_address.keys().copied().collect()),
            inherited: Mutex::new(by_address),
            unheard: Mutex::default(),
        }
    }

    /// The process before listened there already, or this one listens. `None`: it cannot be had, and why is noted.
    pub fn open(&self, address: SocketAddr) -> Option<tokio::net::TcpListener> {
        let known = lock(&self.inherited).get_mut(&address).and_then(Vec::pop);
        let bound = known.map_or_else(|| self.bind(address), Ok);
        let opened = bound.and_then(|socket| {
            socket.set_nonblocking(true)?;
            self.keeper.keep(address, socket.as_fd());
            tokio::net::TcpListener::from_std(socket)
        });
        match opened {
            Ok(listener) => {
                lock(&self.unheard).remove(&address);
                Some(listener)
            }
            Err(error) => {
                let why = match error.kind() {
                    io::ErrorKind::AddrInUse => format!(
                        "another program listens there (ss -ltnp 'sport = :{}' shows it)",
                        address.port()
                    ),
                    _ => error.to_string(),
                };
                lock(&self.unheard).insert(address, why);
                None
            }
        }
    }

    /// With SO_REUSEPORT a socket of another program (HAProxy has that) is no obstacle, and clients would be divided between the
    /// two. So the first socket of an address is had without it.
    fn bind(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let mut ours = lock(&self.ours);
        if !ours.contains(&address) {
            drop(bind(address, false)?);
            ours.insert(address);
        }
        bind(address, true)
    }

    /// Of sockets of the process before, those of `wanted` may still be used; each of `threads` takes one.
    pub fn settle(&self, wanted: &[SocketAddr], threads: usize) {
        lock(&self.inherited).retain(|address, sockets| {
            sockets.truncate(threads);
            wanted.contains(address)
        });
    }

    /// Nobody listens there any more on this thread.
    pub fn forget(&self, address: SocketAddr) {
        self.keeper.forget(address);
        lock(&self.ours).remove(&address);
        lock(&self.unheard).remove(&address);
    }

    pub fn unheard(&self) -> BTreeMap<SocketAddr, String> {
        lock(&self.unheard).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in it is whole at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Each thread has a socket of its own, between which the kernel divides the clients.
fn bind(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    net::listen(address, BACKLOG, shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Notes(Mutex<Vec<String>>);

    impl Keeper for Notes {
        fn keep(&self, address: SocketAddr, _: BorrowedFd<'_>) {
            lock(&self.0).push(format!("keep {address}"));
        }
        fn forget(&self, address: SocketAddr) {
            lock(&self.0).push(format!("forget {address}"));
        }
    }

    #[tokio::test]
    async fn sockets_of_the_process_before_are_used_again() {
        let any = "127.0.0.1:0".parse().expect("an address");
        let kept = bind(any, true).expect("a socket");
        let address = kept.local_addr().expect("an address");
        let more = (0..3).map(|_| bind(address, true).expect("SO_REUSEPORT"));
        let mut inherited: Vec<_> = more.collect();
        inherited.push(kept);
        let gone = bind(any, true).expect("a socket");
        let unwanted = gone.local_addr().expect("an address");
        inherited.push(gone);
        // It came before anybody listened.
        let client = std::net::TcpStream::connect(unwanted).expect("a connection");
        let notes = Arc::new(Notes::default());
        let listening = Listening::new(inherited, Arc::clone(&notes) as Arc<dyn Keeper>);
        listening.settle(&[address], 2);
        let opened: Vec<_> = (0..2).map(|_| listening.open(address)).collect();
        assert!(opened.iter().all(Option::is_some));
        assert_eq!(lock(&listening.inherited)[&address].len(), 0);
        // What nobody accepts from is closed: the client hears of it.
        client.set_nonblocking(false).expect("it can");
        let mut byte = [0; 1];
        let read = std::io::Read::read(&mut &client, &mut byte);
        assert!(read.is_err() || read.is_ok_and(|length| length == 0));
        listening.forget(address);
        let mut said = lock(&notes.0).clone();
        said[..2].sort();
        let mut forgotten = [format!("forget {address}"), format!("forget {unwanted}")];
        forgotten.sort();
        assert_eq!(said[..2], forgotten);
        let kept = format!("keep {address}");
        assert_eq!(said[2..], [kept.clone(), kept, format!("forget {address}")]);
    }

    #[tokio::test]
    async fn why_an_address_cannot_be_had_is_noted() {
        // Even one that would share it.
        let taken = bind("127.0.0.1:0".parse().expect("an address"), true).expect("a socket");
        let address = taken.local_addr().expect("an address");
        let listening = Listening::new(Vec::new(), Arc::new(NoKeeper));
        assert!(listening.open(address).is_none());
        let why = &listening.unheard()[&address];
        assert!(why.starts_with("another program listens there"), "{why}");
        drop(taken);
        assert!(listening.open(address).is_some());
        assert!(listening.unheard().is_empty());
    }
}
