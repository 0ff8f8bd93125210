//! The task that keeps one connection to the peer up: it listens, and dials where its own address is the lower one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::connection;
use super::handshake::{self, Established, Failed};
use super::link::{Incoming, Settings, Shared, Why};
use super::message::Hello;
use super::queue::queue;
use super::stats::{RefusedReason, add};

/// Connections that came and have not said yet who they are.
const HANDSHAKES: usize = 4;
/// Waiting to be accepted by us, in the kernel.
const BACKLOG: u32 = 16;
/// Between two reports of one reason.
const REPORTS: Duration = Duration::from_secs(1);

type Handshake = (SocketAddr, Result<Established<TcpStream>, Failed>);

pub(super) struct Keeper {
    settings: Arc<Settings>,
    hello: watch::Receiver<Hello>,
    incoming: mpsc::Sender<Incoming>,
    shared: Arc<Shared>,
    ear: Ear,
    dial_at: Instant,
    dial_backoff: Backoff,
    /// At most one.
    dialing: JoinSet<Handshake>,
    accepting: JoinSet<Handshake>,
    running: Option<Running>,
    /// Takes the place of what is running as soon as that has ended.
    next: Option<(SocketAddr, Established<TcpStream>)>,
    reported: BTreeMap<RefusedReason, Instant>,
}

struct Running {
    task: JoinHandle<()>,
    /// Taken when it was told to end.
    end: Option<oneshot::Sender<Why>>,
}

impl Keeper {
    pub fn new(
        settings: Settings,
        hello: watch::Receiver<Hello>,
        incoming: mpsc::Sender<Incoming>,
        shared: Arc<Shared>,
    ) -> Self {
        let backoff = Backoff::new(settings.timing.retry);
        Self {
            ear: Ear::new(settings.listen, backoff),
            dial_at: Instant::now(),
            dial_backoff: backoff,
            settings: Arc::new(settings),
            hello,
            incoming,
            shared,
            dialing: JoinSet::new(),
            accepting: JoinSet::new(),
            running: None,
            next: None,
            reported: BTreeMap::new(),
        }
    }

    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let dials = dials(&self.settings);
        loop {
            let idle = self.running.is_none() && self.dialing.is_empty();
            tokio::select! {
                // An error: nobody can stop it any more, and nobody uses it.
                _ = stop.wait_for(|stop| *stop) => break,
                () = self.incoming.closed() => break,
                heard = self.ear.hear() => self.heard(heard),
                Some(Ok((from, came))) = self.accepting.join_next() => self.came(from, came),
                Some(Ok((to, made))) = self.dialing.join_next() => self.made(to, made),
                () = ended(&mut self.running) => self.ended(),
                () = sleep_until(self.dial_at), if dials && idle => self.dial(),
            }
        }
        self.stop().await;
    }

    fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Listening => {
                self.shared.counters.not_listening.set(None);
            }
            Heard::NotListening(error) => {
                let text = format!("cannot listen on {}: {error}", self.settings.listen);
                if self.shared.counters.not_listening.set(Some(text.clone())) {
                    self.tell(Incoming::NotListening { error: text });
                }
            }
            Heard::Connection(stream, from) => self.admit(stream, from),
        }
    }

    fn admit(&mut self, stream: TcpStream, from: SocketAddr) {
        let peer = self.settings.address.ip().to_canonical();
        if from.ip().to_canonical() != peer {
            return self.refuse(from, RefusedReason::WrongAddress);
        }
        if self.accepting.len() >= HANDSHAKES {
            return self.refuse(from, RefusedReason::TooMany);
        }
        let settings = Arc::clone(&self.settings);
        let own = self.hello.borrow().clone();
        self.accepting.spawn(async move {
            let shake = async {
                stream.set_nodelay(true)?;
                handshake::accept(stream, &settings.key, own).await
            };
            let came = timeout(settings.timing.handshake, shake).await;
            (from, came.unwrap_or(Err(RefusedReason::Timeout.into())))
        });
    }

    fn dial(&mut self) {
        let settings = Arc::clone(&self.settings);
        let own = self.hello.borrow().clone();
        self.dialing.spawn(async move {
            let shake = async {
                let stream = connect(&settings).await?;
                handshake::dial(stream, &settings.key, own).await
            };
            let made = timeout(settings.timing.handshake, shake).await;
            let made = made.unwrap_or(Err(RefusedReason::Timeout.into()));
            (settings.address, made)
        });
    }

    fn came(&mut self, from: SocketAddr, came: Result<Established<TcpStream>, Failed>) {
        match came {
            Ok(established) => self.replace(from, established),
            Err(Failed::Refused(reason)) => self.refuse(from, reason),
            // It broke by itself; that is not worth more than a count.
            Err(Failed::Io(_)) => self.refuse(from, RefusedReason::Closed),
        }
    }

    fn made(&mut self, to: SocketAddr, made: Result<Established<TcpStream>, Failed>) {
        let failed = match made {
            Ok(established) => {
                self.dial_backoff.reset();
                return self.replace(to, established);
            }
            Err(failed) => failed,
        };
        add(&self.shared.counters.dials_failed, 1);
        self.dial_at = Instant::now() + self.dial_backoff.next();
        let text = format!("cannot connect to {to}: {failed}");
        // Not where the peer came to us meanwhile.
        if self.running.is_none() && self.shared.counters.error.set(Some(text.clone())) {
            self.tell(Incoming::Unreachable { error: text });
        }
        if let Failed::Refused(reason) = failed {
            self.refuse(to, reason);
        }
    }

    /// The older one is dead, or the peer would not have made another.
    fn replace(&mut self, peer: SocketAddr, established: Established<TcpStream>) {
        let waiting = self.next.replace((peer, established)).is_some();
        match &mut self.running {
            None => self.start(),
            Some(running) => {
                if let Some(end) = running.end.take() {
                    // It may have ended just now, which comes to the same.
                    let _ = end.send(Why::Replaced);
                    self.refuse(peer, RefusedReason::Duplicate);
                } else if waiting {
                    self.refuse(peer, RefusedReason::Duplicate);
                }
            }
        }
    }

    fn start(&mut self) {
        let Some((from, established)) = self.next.take() else {
            return;
        };
        let (end, ending) = oneshot::channel();
        let incoming = self.incoming.clone();
        let shared = Arc::clone(&self.shared);
        let timing = self.settings.timing;
        add(&shared.counters.connections, 1);
        shared.counters.error.set(None);
        let task = tokio::spawn(async move {
            let (outgoing, queue) = queue(from, Arc::clone(&shared));
            let connected = Incoming::Connected {
                from,
                hello: established.hello.clone(),
                outgoing: outgoing.clone(),
            };
            // Before it is said, for who hears it wants to send.
            shared.current.send_replace(Some(outgoing));
            let mut ending = ending;
            let said = tokio::select! {
                said = incoming.send(connected) => said.is_ok(),
                _ = &mut ending => false,
            };
            if !said {
                shared.current.send_replace(None);
                return;
            }
            let why = connection::run(established, queue, &incoming, &shared, timing, ending).await;
            shared.current.send_replace(None);
            let over = Incoming::Disconnected { why: why.clone() };
            // Who stops the link may not read any more.
            match why {
                Why::Stopped => drop(incoming.try_send(over)),
                _ => drop(incoming.send(over).await),
            }
        });
        self.running = Some(Running {
            task,
            end: Some(end),
        });
    }

    fn ended(&mut self) {
        self.running = None;
        // Whatever it ended by.
        self.shared.current.send_replace(None);
        self.dial_at = Instant::now() + self.dial_backoff.next();
        self.dial_backoff.reset();
        self.start();
    }

    fn refuse(&mut self, from: SocketAddr, reason: RefusedReason) {
        self.shared.counters.refuse(reason);
        let now = Instant::now();
        let last = self.reported.get(&reason);
        if last.is_none_or(|last| now.duration_since(*last) >= REPORTS) {
            self.reported.insert(reason, now);
            self.tell(Incoming::Refused { from, reason });
        }
    }

    /// What is lost without harm where the user does not keep up: the counters have it too.
    fn tell(&self, what: Incoming) {
        let _ = self.incoming.try_send(what);
    }

    async fn stop(mut self) {
        // Nobody can come any more, and who is about to is let go.
        drop((self.ear, self.accepting, self.dialing, self.next));
        if let Some(running) = &mut self.running
            && let Some(end) = running.end.take()
        {
            let _ = end.send(Why::Stopped);
        }
        let Some(running) = self.running else {
            return;
        };
        // One that was replaced, or ended by itself, may wait for a user that does not read any more.
        let patience = 3 * self.settings.timing.drain;
        let stopper = running.task.abort_handle();
        if timeout(patience, running.task).await.is_err() {
            stopper.abort();
            self.shared.current.send_replace(None);
        }
    }
}

/// Both sides come to the same answer, for each has the other's addresses the other way round.
fn dials(settings: &Settings) -> bool {
    settings.listen < settings.address
}

async fn connect(settings: &Settings) -> std::io::Result<TcpStream> {
    let socket = match settings.address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // The kernel could choose a VIP otherwise, which the peer does not take for us.
    let mut own = settings.listen;
    own.set_port(0);
    socket.bind(own)?;
    socket.set_nodelay(true)?;
    socket.connect(settings.address).await
}

async fn ended(running: &mut Option<Running>) {
    match running {
        // A panic is an end too.
        Some(running) => drop((&mut running.task).await),
        None => std::future::pending().await,
    }
}

/// The listening socket, which may have to be waited for: the address may not be there yet.
struct Ear {
    listen: SocketAddr,
    listener: Option<TcpListener>,
    retry_at: Instant,
    backoff: Backoff,
}

enum Heard {
    Listening,
    NotListening(std::io::Error),
    Connection(TcpStream, SocketAddr),
}

impl Ear {
    fn new(listen: SocketAddr, backoff: Backoff) -> Self {
        Self {
            listen,
            listener: None,
            retry_at: Instant::now(),
            backoff,
        }
    }

    /// Can be dropped at any time.
    async fn hear(&mut self) -> Heard {
        sleep_until(self.retry_at).await;
        let error = match &self.listener {
            Some(listener) => match listener.accept().await {
                Ok((stream, from)) => return Heard::Connection(stream, from),
                // Out of file descriptors, for example: that passes.
                Err(error) => error,
            },
            None => match self.bind() {
                Ok(listener) => {
                    self.listener = Some(listener);
                    self.backoff.reset();
                    return Heard::Listening;
                }
                Err(error) => error,
            },
        };
        self.listener = None;
        self.retry_at = Instant::now() + self.backoff.next();
        Heard::NotListening(error)
    }

    fn bind(&self) -> std::io::Result<TcpListener> {
        let socket = match self.listen {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // Connections of the process before may still be in TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(self.listen)?;
        socket.listen(BACKLOG)
    }
}

/// Waits that double, each longer by chance by up to a quarter.
#[derive(Clone, Copy, Debug)]
struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    fn new((first, most): (Duration, Duration)) -> Self {
        Self {
            first,
            most,
            next: first,
        }
    }

    fn next(&mut self) -> Duration {
        let now = self.next;
        self.next = (now * 2).min(self.most);
        now.mul_f64(1.0 + fastrand::f64() / 4.0)
    }

    fn reset(&mut self) {
        self.next = self.first;
    }
}
