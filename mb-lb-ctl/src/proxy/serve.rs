//! A connection of a client, from accept to its end.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use super::admitted::Admitted;
use super::exchange;
use super::gate::{self, GateStream};
pub use super::io::Busy;
use super::io::{Activity, Prefixed, Reading, Watched, reset};
use super::journal::{Journal, Session as TlsSession};
use super::local::Local;
use super::page;
use super::proxy_header::{self, Decoded};
use super::sessions::Session;
use super::table::{Listen, Proxy};
use super::worker::Worker;
use crate::config::{ProxyLimits, ProxyTimeouts};

/// The first bytes of HTTP/2 (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// After a polite end was asked for, what is under way may go on for so long at most.
const GRACE: Duration = Duration::from_secs(30);
/// For the first request of a client that has just come when all are to go.
const FIRST: Duration = Duration::from_millis(500);
const HTTP2_WINDOW: u32 = 256 * 1024;
const HTTP2_CONNECTION_WINDOW: u32 = 1024 * 1024;
const HTTP2_SEND_BUFFER: usize = 128 * 1024;
/// Streams that a client has reset before they were looked at, and those that it made us reset: more, and it is an attack.
const RESETS: usize = 32;
const PING: Duration = Duration::from_secs(20);

/// A client as requests see it.
pub struct Client {
    pub address: SocketAddr,
    pub local: SocketAddr,
    /// Of the address, in canonical form.
    pub source: IpAddr,
    /// `None`: in clear.
    pub tls: Option<TlsSession>,
    pub is_http2: bool,
    pub listen: Listen,
    pub worker: Rc<Worker>,
    /// A tunnel has the client as well, and counts as a connection as long as it lasts.
    admitted: Rc<Admitted>,
    /// HTTP/1.1 only.
    pub gate: Option<gate::Handle>,
}

impl Client {
    pub fn session(&self) -> &Arc<Session> {
        self.admitted.session()
    }
}

/// Serves what was accepted.
pub async fn connection(stream: TcpStream, peer: SocketAddr, listen: Listen, worker: Rc<Worker>) {
    let peer = exchange::canonical(peer);
    let proxy = Arc::clone(&listen.proxy);
    let local = stream.local_addr().unwrap_or(listen.address);
    let Some(admitted) = Admitted::new(&listen, &worker, (peer, local)) else {
        reset(&stream);
        return;
    };
    // Without it the end of a response waits for the acknowledgement of its beginning.
    let _set = stream.set_nodelay(true);
    let session = Arc::clone(admitted.session());
    let served = async {
        // What the beginning takes is free again when HTTP begins.
        let greeted = Box::pin(greet(stream, (peer, local), listen, worker, admitted)).await;
        match greeted {
            Ok(Some(spoken)) => spoken.await,
            Ok(None) => Ok(()),
            Err(word) => Err(word),
        }
    };
    let ended = tokio::select! {
        biased;
        // An operator has ended it: what is under way is dropped, and the client with it.
        () = session.ends() => Ok(()),
        ended = served => ended,
    };
    if let Err(word) = ended {
        proxy.stats.refuse(word);
    }
}

/// All that comes before HTTP. `None`: the client has gone without a word. An error is the word under which it is counted.
async fn greet(
    stream: TcpStream,
    (peer, mut local): (SocketAddr, SocketAddr),
    listen: Listen,
    worker: Rc<Worker>,
    mut admitted: Admitted,
) -> Result<Option<Spoken>, &'static str> {
    let in_force = listen.proxy.in_force.load_full();
    let config = &in_force.config;
    let limit = config.timeouts.handshake;
    let mut address = peer;
    let mut stream = Prefixed::new(stream);
    if config
        .accept_proxy
        .iter()
        .any(|network| network.contains(peer.ip()))
    {
        let read = timeout(limit, read_proxy_header(&mut stream)).await;
        let ends = read
            .map_err(|_| "proxy_header_timeout")?
            .map_err(|_| "proxy_header")?;
        if let Some((from, to)) = ends {
            (address, local) = (exchange::canonical(from), to);
            admitted.session().comes_from(address, local);
        }
    }
    if !admitted.counts_for(&config.limits, address.ip()) {
        reset(stream.get_ref());
        return Err("connections_per_source");
    }
    let admitted = Rc::new(admitted);
    let begin = |session| Begun {
        address,
        local,
        session,
        listen: listen.clone(),
        worker: Rc::clone(&worker),
        admitted: Rc::clone(&admitted),
        timeouts: config.timeouts,
        limits: config.limits,
    };
    let tls = in_force
        .tls
        .as_ref()
        .filter(|_| listen.redirect_to.is_none());
    if let Some(tls) = tls {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(tls));
        let accepted = timeout(limit, acceptor.accept(stream)).await;
        let stats = &listen.proxy.stats;
        let stream = match accepted {
            Ok(Ok(stream)) => stream,
            Ok(Err(_)) => {
                stats.handshakes_failed.add(1);
                return Err("handshake");
            }
            Err(_) => {
                stats.handshakes_failed.add(1);
                return Err("handshake_timeout");
            }
        };
        let session = stream.get_ref().1;
        match session.handshake_kind() {
            Some(rustls::HandshakeKind::Resumed) => stats.handshakes_resumed.add(1),
            _ => stats.handshakes_full.add(1),
        }
        let is_http2 = session.alpn_protocol() == Some(b"h2");
        let known = TlsSession::of(session);
        return Ok(Some(begin(Some(known)).speak(stream, is_http2)));
    }
    let is_http2 = match config.http2 && listen.redirect_to.is_none() {
        true => {
            let looked = timeout(config.timeouts.keep_alive, is_preface(&mut stream)).await;
            // A client that goes without a word is none of our business.
            match looked {
                Ok(Ok(is_http2)) => is_http2,
                Ok(Err(_)) | Err(_) => return Ok(None),
            }
        }
        false => false,
    };
    Ok(Some(begin(None).speak(stream, is_http2)))
}

async fn read_proxy_header(
    stream: &mut Prefixed<TcpStream>,
) -> io::Result<Option<(SocketAddr, SocketAddr)>> {
    let decoded = stream.look(|bytes| match proxy_header::decode(bytes) {
        Ok(Decoded::Incomplete) => None,
        Ok(Decoded::Header { length, addresses }) => Some((Ok(addresses), length)),
        Err(error) => Some((Err(io::Error::other(error)), 0)),
    });
    decoded.await?
}

async fn is_preface(stream: &mut Prefixed<TcpStream>) -> io::Result<bool> {
    let look = |bytes: &[u8]| {
        let length = bytes.len().min(PREFACE.len());
        let same = bytes[..length] == PREFACE[..length];
        (!same || length == PREFACE.len()).then_some((same, 0))
    };
    stream.look(look).await
}

/// A connection to its end. An error is the word under which it is counted.
type Spoken = Pin<Box<dyn Future<Output = Result<(), &'static str>>>>;

/// All that is known before HTTP begins.
struct Begun {
    address: SocketAddr,
    local: SocketAddr,
    session: Option<TlsSession>,
    listen: Listen,
    worker: Rc<Worker>,
    admitted: Rc<Admitted>,
    timeouts: ProxyTimeouts,
    limits: ProxyLimits,
}

impl Begun {
    /// No more than what is spoken stays in memory: a future has room for all that was ever in it.
    fn speak<S>(self, stream: S, is_http2: bool) -> Spoken
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let reading = Arc::new(Reading::default());
        let stream = Watched::new(stream, self.timeouts.client, Arc::clone(&reading));
        match is_http2 {
            true => self.http2(stream, reading),
            false => self.http1(stream, reading),
        }
    }

    fn client(&self, gate: Option<gate::Handle>) -> Rc<Client> {
        Rc::new(Client {
            address: self.address,
            local: self.local,
            source: self.address.ip(),
            tls: self.session.clone(),
            is_http2: gate.is_none(),
            listen: self.listen.clone(),
            worker: Rc::clone(&self.worker),
            admitted: Rc::clone(&self.admitted),
            gate,
        })
    }

    fn http1<S>(self, stream: Watched<S>, reading: Arc<Reading>) -> Spoken
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = gate::Limits {
            header: self.limits.header as usize,
            fields: usize::from(self.limits.fields),
            // The exchange says so too, and can tell why.
            body: None,
        };
        let stream = GateStream::new(stream, limits, Arc::new(page::of_violation));
        let gate = stream.handle();
        let activity = Activity::new();
        let client = self.client(Some(gate.clone()));
        let service = service_fn({
            let (activity, reading) = (Rc::clone(&activity), Arc::clone(&reading));
            let client = Rc::clone(&client);
            move |request| {
                let busy = Busy::new(&activity, &reading, client.gate.as_ref());
                exchange::serve(Rc::clone(&client), request, busy)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // The gate and the watch below have them.
            .header_read_timeout(None)
            .max_headers(usize::from(self.limits.fields).max(16) + 16)
            .max_buf_size((self.limits.header as usize).max(8192) + 8192)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = Box::pin(connection);
        Box::pin(async move {
            let watch = Watch::new(&self, &activity, &reading);
            let mut ending = Ending::No;
            let ended = loop {
                tokio::select! {
                    biased;
                    ended = connection.as_mut() => break ended,
                    verdict = watch.wait(ending) => match verdict {
                        Verdict::End(next) => {
                            ending = next;
                            connection.as_mut().graceful_shutdown();
                        }
                        // It waits for the client to take the refusal.
                        Verdict::Slow if gate.violation().is_some() => break Ok(()),
                        Verdict::Slow => {
                            Journal::refused(&client, None, ['c', 'R']);
                            return Err("request_timeout");
                        }
                        Verdict::Over => return Ok(()),
                    }
                }
            };
            match gate.violation() {
                Some(violation) => {
                    // What had a head has a line.
                    if violation.place != gate::Place::Body {
                        let status = violation.fault.status().as_u16();
                        Journal::refused(&client, Some(status), ['P', 'R']);
                    }
                    Err(violation.fault.word())
                }
                // Which side broke off does not matter any more.
                None => {
                    let _ended = ended;
                    Ok(())
                }
            }
        })
    }

    fn http2<S>(self, stream: Watched<S>, reading: Arc<Reading>) -> Spoken
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let activity = Activity::new();
        let client = self.client(None);
        let service = service_fn({
            let (activity, reading) = (Rc::clone(&activity), Arc::clone(&reading));
            move |request| {
                let busy = Busy::new(&activity, &reading, None);
                exchange::serve(Rc::clone(&client), request, busy)
            }
        });
        let connection = http2::Builder::new(Local)
            .timer(TokioTimer::new())
            .max_concurrent_streams(u32::from(self.limits.streams))
            .max_header_list_size(self.limits.header)
            .max_pending_accept_reset_streams(RESETS)
            .max_local_error_reset_streams(RESETS)
            .initial_stream_window_size(HTTP2_WINDOW)
            .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
            .max_send_buf_size(HTTP2_SEND_BUFFER)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .enable_connect_protocol()
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = Box::pin(connection);
        Box::pin(async move {
            let mut watch = Watch::new(&self, &activity, &reading);
            // Frames that begin no request (SETTINGS, PING) are no part of one.
            watch.request = None;
            let mut ending = Ending::No;
            loop {
                tokio::select! {
                    biased;
                    ended = connection.as_mut() => return ended.map_err(|_| "http2"),
                    verdict = watch.wait(ending) => match verdict {
                        Verdict::End(next) => {
                            ending = next;
                            connection.as_mut().graceful_shutdown();
                        }
                        Verdict::Slow => return Err("request_timeout"),
                        Verdict::Over => return Ok(()),
                    }
                }
            }
        })
    }
}

/// What is to become of a connection.
enum Verdict {
    /// It is to end after what is under way.
    End(Ending),
    /// A request that does not come to the end of its head.
    Slow,
    /// It was to end, and has not.
    Over,
}

/// How far the end of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    No,
    /// What is under way may go on as long as it takes.
    WhenDone,
    /// All that is left stands still.
    IfUseless,
    /// What is under way may go on for so long.
    Within(Duration),
}

/// Ends connections that stand still.
struct Watch<'a> {
    activity: &'a Activity,
    reading: &'a Reading,
    worker: &'a Worker,
    proxy: &'a Proxy,
    timeouts: ProxyTimeouts,
    request: Option<Duration>,
}

impl<'a> Watch<'a> {
    fn new(begun: &'a Begun, activity: &'a Activity, reading: &'a Reading) -> Self {
        Self {
            activity,
            reading,
            worker: &begun.worker,
            proxy: &begun.listen.proxy,
            timeouts: begun.timeouts,
            request: Some(begun.timeouts.request),
        }
    }

    async fn wait(&self, ending: Ending) -> Verdict {
        match ending {
            Ending::No => self.wait_open().await,
            Ending::WhenDone => tokio::select! {
                () = self.worker.stopping() => Verdict::End(Ending::Within(GRACE)),
                () = self.idles() => Verdict::End(Ending::Within(GRACE)),
                () = self.activity.is_useless() => Verdict::End(Ending::IfUseless),
            },
            Ending::IfUseless => {
                // It has as long to take what it was given already.
                tokio::time::sleep(self.timeouts.client).await;
                match self.activity.idle_since() {
                    Some(_) => Verdict::Over,
                    None => Verdict::End(Ending::Within(GRACE)),
                }
            }
            Ending::Within(limit) => {
                tokio::time::sleep(limit).await;
                Verdict::Over
            }
        }
    }

    /// Ready when there was no request for so long.
    async fn idles(&self) {
        let keep_alive = self.timeouts.keep_alive;
        loop {
            let since = self.activity.idle_since().unwrap_or_else(Instant::now);
            sleep_until(since + keep_alive).await;
            let idle = self.activity.idle_since();
            if idle.is_some_and(|since| since.elapsed() >= keep_alive) {
                return;
            }
        }
    }

    async fn wait_open(&self) -> Verdict {
        let slow = async {
            let Some(limit) = self.request else {
                return std::future::pending().await;
            };
            loop {
                self.reading.begins.notified().await;
                let from = self.activity.idle_since();
                tokio::time::sleep(limit).await;
                // The same request still: none was served meanwhile.
                if self.reading.has_begun() && from.is_some() && from == self.activity.idle_since()
                {
                    return;
                }
            }
        };
        tokio::select! {
            () = self.idles() => Verdict::End(Ending::Within(GRACE)),
            () = slow => Verdict::Slow,
            () = self.after_first(self.worker.stopping()) => Verdict::End(Ending::Within(GRACE)),
            () = self.after_first(self.proxy.retired()) => Verdict::End(Ending::WhenDone),
            () = self.activity.is_useless() => Verdict::End(Ending::IfUseless),
        }
    }

    /// Who has just come gets an answer: a connection that was never used would be closed without one.
    async fn after_first(&self, all_are_to_go: impl Future<Output = ()>) {
        all_are_to_go.await;
        let _begun = timeout(FIRST, self.activity.has_begun()).await;
    }
}
