//! A request as it comes from a client, and the response as it goes there. What is between is in [`attempt`](super::attempt).

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{Method, Request, Response};
use hyper::body::Incoming;

use super::attempt::{Exchange, Head};
use super::body::{Fault, Finish, Progress, RequestBody, ResponseBody};
use super::connect::Sender;
use super::cookie::{Asked, RequestFacts};
use super::io::Stalled;
use super::journal::Journal;
use super::page::{self, Refusal};
use super::queue::Place;
use super::serve::{Busy, Client};
use super::sessions::Visit;
use super::table::{InForce, Proxy, Server};
use super::{forwarded, upgrade};
use crate::config;

pub type Answer = ResponseBody<Finishing>;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const HSTS: HeaderName = HeaderName::from_static("strict-transport-security");
/// Bytes of one that is believed.
const MOST_OF_ID: usize = 128;

/// What is to be done when the response is out.
pub struct Finishing {
    pub(super) server: Arc<Server>,
    pub(super) sender: Option<Sender>,
    /// The connection may be used for another request.
    pub(super) is_pooled: bool,
    pub(super) request: Rc<Progress>,
    pub(super) client: Rc<Client>,
    pub(super) journal: Journal,
    pub(super) _place: (Place, Visit),
    pub(super) busy: Busy,
}

impl Finish for Finishing {
    type Stalled = Stalled;

    fn give_up(&mut self, bytes: u64) -> Stalled {
        self.finish(bytes, Some(Fault::Stalled));
        self.busy.stalled()
    }

    fn finish(&mut self, bytes: u64, fault: Option<Fault>) {
        let stats = &self.server.stats;
        stats.bytes.add(bytes + self.request.bytes.get());
        match fault {
            // A server that answers before it has read all will not find the next request where it looks for it.
            None if self.is_pooled && self.request.ended.get() => {
                if let Some(sender) = self.sender.take() {
                    self.client.worker.pool.put(self.server.id, sender);
                }
            }
            None | Some(Fault::Gone | Fault::Stalled) => {}
            Some(_) => stats.response_errors.add(1),
        }
        let letters = match fault {
            None => ['-', '-'],
            // Killed by an operator, as HAProxy has it.
            Some(Fault::Gone) if self.client.session().is_cut() => ['K', 'D'],
            Some(Fault::Gone) => ['C', 'D'],
            Some(Fault::Silent) => ['s', 'D'],
            Some(Fault::Stalled) => ['c', 'D'],
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

pub(super) fn unix_seconds() -> u64 {
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
    // RFC 9112 section 3.2; one that is no authority has no form in HTTP/2.
    let is_plain = |c: u8| c.is_ascii_alphanumeric() || c == b'.' || c == b'-';
    let is_name = !host.is_empty() && host.bytes().all(is_plain);
    if !is_name && (!host.bytes().all(is_host) || host.parse::<Authority>().is_err()) {
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
