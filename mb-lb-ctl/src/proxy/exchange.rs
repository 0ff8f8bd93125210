//! A request on its way to a server, and the response on its way back.
//!
//! **What is sent again.** A request may be given to a server a second time where nothing of it can have had an effect:
//! - the connection could not be made: any request, up to `retries` times, at another server where `redispatch` allows it,
//!   otherwise after a second at the same one;
//! - the connection came out of the pool and was closed before anything of the request was written: any request;
//! - the connection ended before the first byte of a response: requests without a body whose method is idempotent
//!   (RFC 9110 section 9.2.2).
//!
//! A response that took too long is never asked for again.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use tokio::time::{sleep, timeout};

use super::body::{Fault, Finish, Progress, RequestBody, ResponseBody};
use super::connect::{self, Sender};
use super::cookie::{Asked, RequestFacts};
use super::journal::Journal;
use super::page::{self, Refusal};
use super::serve::{Busy, Client};
use super::stats::Place;
use super::table::{InForce, Proxy, Server};
use super::{forwarded, proxy_header, upgrade};
use crate::config::{self, ProxyHeader, Upstream};

pub type Answer = ResponseBody<Finishing>;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const HSTS: HeaderName = HeaderName::from_static("strict-transport-security");
/// Bytes of one that is believed.
const MOST_OF_ID: usize = 128;
/// Before the same server is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// One request, as the client means it.
struct Head {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

/// All that belongs to one exchange.
pub(super) struct Exchange {
    pub client: Rc<Client>,
    pub proxy: Arc<Proxy>,
    pub in_force: Arc<InForce>,
    pub asked: Asked,
    pub facts: RequestFacts,
    pub journal: Journal,
}

/// What is to be done when the response is out.
pub struct Finishing {
    server: Arc<Server>,
    /// The connection, where it can be used again.
    sender: Option<Sender>,
    request: Rc<Progress>,
    client: Rc<Client>,
    journal: Journal,
    _place: Place,
    _busy: Busy,
}

impl Finish for Finishing {
    fn finish(&mut self, bytes: u64, fault: Option<Fault>) {
        let stats = &self.server.stats;
        stats.bytes.add(bytes + self.request.bytes.get());
        match fault {
            // A server that answers before it has read all will not find the next request where it looks for it.
            None if self.request.ended.get() => {
                if let Some(sender) = self.sender.take() {
                    self.client.worker.pool.put(self.server.id, sender);
                }
            }
            None | Some(Fault::Gone) => {}
            Some(_) => stats.response_errors.add(1),
        }
        let letters = match fault {
            None => ['-', '-'],
            Some(Fault::Gone) => ['C', 'D'],
            Some(Fault::Silent) => ['s', 'D'],
            Some(Fault::Ended | Fault::TooLarge) => ['S', 'D'],
        };
        self.journal
            .end(None, self.request.bytes.get(), bytes, letters);
    }
}

/// Serves one request. Never fails: what goes wrong is a response too.
pub async fn serve(
    client: Rc<Client>,
    request: Request<Incoming>,
    busy: Busy,
) -> Result<Response<Answer>, Infallible> {
    let proxy = Arc::clone(&client.listen.proxy);
    proxy.stats.requests.add(1);
    let in_force = proxy.in_force.load_full();
    let request_id = request_id(&client, &in_force.config, request.headers());
    let host = host_of(&request);
    let log = in_force.log.as_ref();
    let journal = Journal::begin(log, &client, &request, &host, &request_id);
    if let Some(port) = client.listen.redirect_to {
        let answer = redirect(&client, &request, &host, port, &request_id);
        // Answered by us, with a redirection.
        journal.end(Some(answer.status().as_u16()), 0, 0, ['L', 'R']);
        return Ok(answer);
    }
    let begun = Begun {
        client: Rc::clone(&client),
        proxy: Arc::clone(&proxy),
        in_force,
        host,
        journal: journal.clone(),
    };
    let answer = match begun.run(request, &request_id, busy).await {
        Ok(response) => response,
        Err(refusal) => {
            proxy.stats.refuse(refusal.word);
            let mut letters = refusal.letters.chars();
            let letters = [letters.next(), letters.next()].map(|letter| letter.unwrap_or('-'));
            let answer = page::page(refusal, &request_id);
            let length = http_body::Body::size_hint(answer.body()).lower();
            journal.end(Some(refusal.status.as_u16()), 0, length, letters);
            answer
        }
    };
    Ok(finish_head(&client, answer, &request_id))
}

fn redirect(
    client: &Client,
    request: &Request<Incoming>,
    host: &str,
    port: u16,
    request_id: &str,
) -> Response<Answer> {
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    page::redirect(host, path, port).unwrap_or_else(|| {
        client.listen.proxy.stats.refuse(page::BAD_REQUEST.word);
        page::page(page::BAD_REQUEST, request_id)
    })
}

/// What every response gets.
fn finish_head(
    client: &Client,
    mut answer: Response<Answer>,
    request_id: &str,
) -> Response<Answer> {
    let headers = answer.headers_mut();
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.entry(REQUEST_ID).or_insert(value);
    }
    if client.tls.is_some()
        && let Some(age) = client.listen.proxy.in_force.load().config.hsts
        && let Ok(value) = HeaderValue::try_from(format!("max-age={}", age.as_secs()))
    {
        headers.entry(HSTS).or_insert(value);
    }
    if client.is_http2 {
        // RFC 9113 section 8.2.2.
        headers.remove(CONNECTION);
    }
    answer
}

/// The client's own where it is believed, so that a request has one name everywhere. Else 64 random bits: enough to find one
/// among those of a day.
fn request_id(client: &Client, config: &config::Proxy, headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    match given {
        Some(id) if (1..=MOST_OF_ID).contains(&id.len()) && is_trusted(client, config) => {
            id.to_owned()
        }
        _ => format!("{:016x}", fastrand::u64(..)),
    }
}

fn is_trusted(client: &Client, config: &config::Proxy) -> bool {
    let mut networks = config.trusted_proxies.iter();
    networks.any(|network| network.contains(client.source))
}

fn host_of<B>(request: &Request<B>) -> String {
    let authority = request
        .uri()
        .authority()
        .map(|authority| authority.as_str());
    let host = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok());
    authority.or(host).unwrap_or_default().to_owned()
}

fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

/// A request before anything is known of it.
struct Begun {
    client: Rc<Client>,
    proxy: Arc<Proxy>,
    in_force: Arc<InForce>,
    host: String,
    journal: Journal,
}

impl Begun {
    async fn run(
        self,
        mut request: Request<Incoming>,
        request_id: &str,
        busy: Busy,
    ) -> Result<Response<Answer>, Refusal> {
        let (client, in_force) = (&self.client, &self.in_force);
        let config = &in_force.config;
        client
            .worker
            .limits
            .request(&config.limits, client.source)?;
        check(&request, &self.host, client.is_http2)?;
        // The gate has counted those of HTTP/1.1.
        if client.is_http2 && request.headers().len() > usize::from(config.limits.fields) {
            return Err(page::FIELD_COUNT);
        }
        let switch = upgrade::asked(&mut request);
        if request.method() == Method::CONNECT && switch.is_none() {
            return Err(page::NO_METHOD);
        }
        let length = http_body::Body::size_hint(request.body()).lower();
        if config.limits.body.is_some_and(|limit| length > limit) {
            return Err(page::TOO_LARGE);
        }
        let (mut parts, incoming) = request.into_parts();
        let facts = RequestFacts::of(&parts.method);
        let asked = self.asked(&mut parts.headers);
        self.forward(&mut parts.headers, request_id);
        let mut head = Head {
            method: parts.method,
            uri: parts.uri,
            headers: parts.headers,
        };
        if let Some(switch) = &switch {
            switch.prepare(&mut head.method, &mut head.headers);
        }
        let (body, progress) =
            RequestBody::new(incoming, config.limits.body, config.timeouts.client);
        let exchange = Exchange {
            client: self.client,
            proxy: self.proxy,
            in_force: self.in_force,
            asked,
            facts,
            journal: self.journal,
        };
        exchange.run(head, body, progress, switch, busy).await
    }

    /// What the session cookie says, which is taken out.
    fn asked(&self, headers: &mut HeaderMap) -> Asked {
        let Some(stickiness) = &self.in_force.stickiness else {
            return Asked::NONE;
        };
        let balance = self.in_force.balance.load();
        let asked = stickiness.on_request(headers, unix_seconds(), |at| balance.keeps(at));
        self.journal.asked(asked.letter());
        asked
    }

    /// Fields that are for the server.
    fn forward(&self, headers: &mut HeaderMap, request_id: &str) {
        let (client, config) = (&self.client, &self.in_force.config);
        let trusted = is_trusted(client, config);
        forwarded::remove_hop_by_hop(headers);
        forwarded::prepare_request(
            headers,
            client.address,
            trusted,
            client.tls.is_some(),
            &self.host,
            config.forwarded,
        );
        if let Ok(value) = HeaderValue::from_str(&self.host) {
            headers.insert(HOST, value);
        }
        if let Ok(value) = HeaderValue::from_str(request_id) {
            headers.insert(REQUEST_ID, value);
        }
    }
}

/// What hyper lets through and a server might read in another way.
fn check(request: &Request<Incoming>, host: &str, is_http2: bool) -> Result<(), Refusal> {
    let is_host = |c: u8| c.is_ascii_graphic() && !b"/?#@\\\"<>^`{|}".contains(&c);
    if host.is_empty() || !host.bytes().all(is_host) {
        return Err(page::BAD_REQUEST);
    }
    if request.headers().get_all(HOST).iter().count() > 1 {
        return Err(page::BAD_REQUEST);
    }
    if is_http2
        && let Some(named) = request.headers().get(HOST)
        && !named.as_bytes().eq_ignore_ascii_case(host.as_bytes())
    {
        // RFC 9113 section 8.3.1.
        return Err(page::BAD_REQUEST);
    }
    let path = request.uri().path();
    let is_star = path == "*" && request.method() == Method::OPTIONS;
    if !path.starts_with('/') && !is_star && request.method() != Method::CONNECT {
        return Err(page::BAD_REQUEST);
    }
    Ok(())
}

/// Where one attempt leads.
enum Outcome {
    Response(Response<Incoming>, Sender),
    /// Nothing of it was read by a server.
    Again(Request<RequestBody>),
    /// No byte of a response came.
    Lost,
    Refused(Refusal),
}

impl Exchange {
    async fn run(
        mut self,
        head: Head,
        body: RequestBody,
        progress: Rc<Progress>,
        switch: Option<upgrade::Asked>,
        busy: Busy,
    ) -> Result<Response<Answer>, Refusal> {
        let is_repeatable = progress.ended.get() && head.method.is_idempotent();
        let mut body = Some(body);
        let mut tried: Vec<usize> = Vec::new();
        let mut attempts = 0;
        let config = Arc::clone(&self.in_force);
        let retries = u32::from(config.config.retries);
        loop {
            let (at, place) = self.place(&mut tried).await?;
            let server = Arc::clone(&self.in_force.servers[at]);
            self.journal.placed(&server);
            let mut from_pool = false;
            let http = match switch {
                Some(_) => Upstream::Http1,
                None => server.config.http,
            };
            // With a PROXY header it would carry another client's address.
            let is_pooled = server.config.send_proxy.is_none() && http == server.config.http;
            let pooled = match is_pooled {
                true => self.client.worker.pool.take(server.id),
                false => None,
            };
            let sender = match pooled {
                Some(sender) => {
                    from_pool = true;
                    sender
                }
                None => match self.connect(&server, http).await {
                    Ok(sender) => sender,
                    Err(()) => {
                        server.stats.connect_errors.add(1);
                        drop(place);
                        attempts += 1;
                        if attempts > retries {
                            return Err(page::CONNECT);
                        }
                        self.after_failure(at, &server, &mut tried).await;
                        continue;
                    }
                },
            };
            self.journal.connected();
            let taken = match body.take() {
                Some(body) => body,
                None => RequestBody::Empty,
            };
            let request = self.request(&head, &server, http, taken);
            match self.send(request, sender, &progress).await {
                Outcome::Response(response, _)
                    if response.status() == StatusCode::SWITCHING_PROTOCOLS && switch.is_none() =>
                {
                    // Nobody asked for that, and what follows it is no HTTP.
                    server.stats.response_errors.add(1);
                    return Err(page::BAD_RESPONSE);
                }
                Outcome::Response(response, sender) => {
                    let sender = is_pooled.then_some(sender);
                    let finishing = Finishing {
                        server: Arc::clone(&server),
                        sender,
                        request: progress,
                        client: Rc::clone(&self.client),
                        journal: self.journal.clone(),
                        _place: place,
                        _busy: busy,
                    };
                    return Ok(self.respond(at, response, finishing, switch));
                }
                Outcome::Again(request) => {
                    body = Some(request.into_body());
                    // The pool may have many that the server has closed.
                    if !from_pool {
                        drop(place);
                        attempts += 1;
                        if attempts > retries {
                            return Err(page::BAD_RESPONSE);
                        }
                        self.after_failure(at, &server, &mut tried).await;
                    }
                }
                Outcome::Lost if is_repeatable && attempts < retries => {
                    attempts += 1;
                    server.stats.response_errors.add(1);
                    if !from_pool {
                        drop(place);
                        self.after_failure(at, &server, &mut tried).await;
                    }
                }
                Outcome::Lost => {
                    server.stats.response_errors.add(1);
                    return Err(match progress.fault.get() {
                        Some(fault) => of_client(fault),
                        None => page::BAD_RESPONSE,
                    });
                }
                Outcome::Refused(refusal) => {
                    server.stats.response_errors.add(1);
                    return Err(refusal);
                }
            }
        }
    }

    /// A place at the server that the cookie names, or at the one that the scheduler picks.
    async fn place(&mut self, tried: &mut Vec<usize>) -> Result<(usize, Place), Refusal> {
        let config = &self.in_force.config;
        let servers = &self.in_force.servers;
        let queue = &self.proxy.queue;
        if let Some(at) = self.asked.server() {
            let stats = &servers[at].stats;
            let most = || {
                let balance = self.in_force.balance.load();
                balance.keeps(at).then(|| balance.most(at))
            };
            // It may have gone down since the cookie was read.
            if let Some(most) = most()
                && let Some(place) = Place::take(stats, queue, most)
            {
                return Ok((at, place));
            }
            match timeout(config.timeouts.queue, Place::wait(stats, queue, most)).await {
                Ok(Some(place)) => return Ok((at, place)),
                // It went down, or into maintenance.
                Ok(None) => self.asked.redispatch(),
                Err(_) => return Err(page::QUEUE),
            }
        }
        let pick = |tried: &[usize]| {
            let balance = self.in_force.balance.load();
            let at = balance.choose(
                self.client.source,
                || fastrand::u64(..),
                |at| servers[at].stats.load(),
                |at| !tried.contains(&at) && servers[at].stats.has_room(balance.most(at)),
            )?;
            Place::take(&servers[at].stats, queue, balance.most(at)).map(|place| (at, place))
        };
        if let Some(found) = pick(tried) {
            return Ok(found);
        }
        // All that are left were tried: once more from the beginning.
        if !tried.is_empty() {
            tried.clear();
            if let Some(found) = pick(tried) {
                return Ok(found);
            }
        }
        if self.in_force.balance.load().is_empty() {
            return Err(page::NO_SERVER);
        }
        let free = queue.wait(|| {
            if self.in_force.balance.load().is_empty() {
                return Some(Err(page::NO_SERVER));
            }
            pick(tried).map(Ok)
        });
        match timeout(config.timeouts.queue, free).await {
            Ok(found) => found,
            Err(_) => Err(page::QUEUE),
        }
    }

    async fn connect(&self, server: &Server, http: Upstream) -> Result<Sender, ()> {
        let header = server.config.send_proxy.map(|version: ProxyHeader| {
            proxy_header::encode(version, self.client.address, self.client.local)
        });
        let limit = self.in_force.config.timeouts.connect;
        let connecting = connect::connect(&server.config, http, header.as_deref());
        match timeout(limit, connecting).await {
            Ok(Ok(sender)) => Ok(sender),
            Ok(Err(error)) => {
                tracing::debug!(proxy = self.proxy.name, server = server.config.name, %error, "no connection");
                Err(())
            }
            Err(_) => Err(()),
        }
    }

    /// A server could not be reached, or lost the request: the next attempt is at another one at once, or at the same one
    /// after a while.
    async fn after_failure(&mut self, at: usize, server: &Server, tried: &mut Vec<usize>) {
        let bound = self.asked.server() == Some(at);
        server.stats.retries.add(1);
        let others = self.in_force.balance.load().has_other(at);
        if others && (!bound || self.in_force.config.redispatch) {
            if bound {
                self.asked.redispatch();
            }
            server.stats.redispatches.add(1);
            self.journal.retried(true);
            tried.push(at);
        } else {
            self.journal.retried(false);
            sleep(self.in_force.config.timeouts.connect.min(PAUSE)).await;
        }
    }

    fn request(
        &self,
        head: &Head,
        server: &Server,
        http: Upstream,
        body: RequestBody,
    ) -> Request<RequestBody> {
        let mut request = Request::new(body);
        *request.method_mut() = head.method.clone();
        *request.headers_mut() = head.headers.clone();
        let path = head.uri.path_and_query().cloned();
        match http {
            Upstream::Http1 => {
                *request.version_mut() = Version::HTTP_11;
                *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
            }
            Upstream::Http2 => {
                *request.version_mut() = Version::HTTP_2;
                let host = request.headers_mut().remove(HOST);
                let mut parts = http::uri::Parts::default();
                let scheme = if server.config.tls.is_some() {
                    http::uri::Scheme::HTTPS
                } else {
                    http::uri::Scheme::HTTP
                };
                parts.scheme = Some(scheme);
                parts.authority =
                    host.and_then(|host| http::uri::Authority::try_from(host.as_bytes()).ok());
                parts.path_and_query =
                    path.or_else(|| Some(http::uri::PathAndQuery::from_static("/")));
                *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
            }
        }
        request
    }

    async fn send(
        &self,
        request: Request<RequestBody>,
        sender: Sender,
        progress: &Progress,
    ) -> Outcome {
        let limit = self.in_force.config.timeouts.server;
        let answer = async move {
            match sender {
                Sender::Http1(mut sender) => {
                    // It may be busy for a moment with the end of the response before.
                    if sender.ready().await.is_err() {
                        return Outcome::Again(request);
                    }
                    match sender.try_send_request(request).await {
                        Ok(response) => Outcome::Response(response, Sender::Http1(sender)),
                        Err(mut error) => match error.take_message() {
                            Some(request) => Outcome::Again(request),
                            None => Outcome::Lost,
                        },
                    }
                }
                Sender::Http2(mut sender) => {
                    if sender.ready().await.is_err() {
                        return Outcome::Again(request);
                    }
                    match sender.try_send_request(request).await {
                        Ok(response) => Outcome::Response(response, Sender::Http2(sender)),
                        Err(mut error) => match error.take_message() {
                            Some(request) => Outcome::Again(request),
                            None => Outcome::Lost,
                        },
                    }
                }
            }
        };
        tokio::pin!(answer);
        // The server's time runs from the end of the request.
        let mut has_all = progress.ended.get();
        loop {
            match timeout(limit, &mut answer).await {
                Ok(outcome) => return outcome,
                Err(_) if has_all || progress.fault.get().is_some() => {
                    return Outcome::Refused(page::NO_RESPONSE);
                }
                Err(_) => has_all = progress.ended.get(),
            }
        }
    }

    fn respond(
        self,
        at: usize,
        mut response: Response<Incoming>,
        finishing: Finishing,
        switch: Option<upgrade::Asked>,
    ) -> Response<Answer> {
        let server = Arc::clone(&finishing.server);
        server.stats.count_status(response.status().as_u16());
        let status = response.status();
        let taken = (status == StatusCode::SWITCHING_PROTOCOLS)
            .then(|| switch?.take(&mut response))
            .flatten();
        let headers = response.headers_mut();
        let upgraded = headers.get(UPGRADE).cloned();
        forwarded::remove_hop_by_hop(headers);
        let letter = self.in_force.stickiness.as_ref().map(|stickiness| {
            let now = unix_seconds();
            stickiness.on_response(&self.asked, at, &self.facts, status, headers, now)
        });
        self.journal.responded(status.as_u16(), letter);
        let timeouts = &self.in_force.config.timeouts;
        match taken {
            Some(taken) => {
                let (mut parts, _) = response.into_parts();
                taken.prepare(&mut parts, upgraded);
                if let Some(gate) = &self.client.gate {
                    gate.make_transparent();
                }
                let worker = Rc::clone(&self.client.worker);
                let stop = async move { worker.stopping().await };
                tokio::task::spawn_local(taken.carry(finishing, timeouts.tunnel, stop));
                Response::from_parts(parts, ResponseBody::Own(None))
            }
            None => {
                let (parts, incoming) = response.into_parts();
                let body = ResponseBody::stream(incoming, timeouts.server, finishing);
                Response::from_parts(parts, body)
            }
        }
    }
}

const fn of_client(fault: Fault) -> Refusal {
    match fault {
        Fault::TooLarge => page::TOO_LARGE,
        Fault::Silent => page::CLIENT_SILENT,
        Fault::Ended | Fault::Gone => page::CLIENT_GONE,
    }
}

/// Of a client, for limits: an IPv6 site has a /64 (RFC 6177).
pub fn source_key(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() & !u128::from(u64::MAX),
    }
}

/// Without what an IPv4 client looks like on an IPv6 socket.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
