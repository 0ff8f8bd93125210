//! A request on its way to a server: a place, a connection, and what is done where one of them fails.
//!
//! **What is sent again.** A request may be given to a server a second time where nothing of it can have had an effect:
//! - the connection could not be made: any request, up to `retries` times, at another server where `redispatch` allows it,
//!   otherwise after a second at the same one;
//! - the connection came out of the pool and was closed before anything of the request was written: any request;
//! - the connection ended before the first byte of a response: requests without a body whose method is idempotent
//!   (RFC 9110 section 9.2.2).
//!
//! A response that took too long is never asked for again.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{sleep, timeout};

use super::body::{Fault, Progress, RequestBody, ResponseBody};
use super::connect::{self, Sender};
use super::cookie::{Asked, RequestFacts};
use super::exchange::{Answer, Finishing, unix_seconds};
use super::journal::Journal;
use super::page::{self, Refusal};
use super::queue::Place;
use super::serve::{Busy, Client};
use super::table::{InForce, Proxy, Server};
use super::{forwarded, proxy_header, upgrade};
use crate::config::{ProxyHeader, Upstream};

/// Before the same server is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// One request, as the client means it.
pub(super) struct Head {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
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
    /// # Errors
    /// What the client is answered instead.
    pub async fn run(
        mut self,
        head: Head,
        body: RequestBody,
        progress: Rc<Progress>,
        switch: Option<upgrade::Asked>,
        busy: Busy,
    ) -> Result<Response<Answer>, Refusal> {
        let is_repeatable = progress.ended.get() && head.method.is_idempotent();
        // One that was stale is likely not the only one.
        let mut uses_pool = true;
        let mut body = Some(body);
        let mut tried: Vec<usize> = Vec::new();
        let mut attempts = 0;
        let config = Arc::clone(&self.in_force);
        let retries = u32::from(config.config.retries);
        loop {
            let (at, place) = self.place(&mut tried).await?;
            let server = Arc::clone(&self.in_force.servers[at]);
            let place = (place, self.client.session().visit(&server));
            self.journal.placed(&server);
            let mut from_pool = false;
            let http = match switch {
                Some(_) => Upstream::Http1,
                None => server.config.http,
            };
            // With a PROXY header it would carry another client's address.
            let is_pooled = server.config.send_proxy.is_none() && http == server.config.http;
            let pool = &self.client.worker.pool;
            let pooled = match is_pooled && uses_pool {
                true => pool.take(server.id, is_repeatable),
                false => None,
            };
            let sender = match pooled {
                Some(sender) => {
                    from_pool = true;
                    sender
                }
                None => match self.connect(&server, http).await {
                    Ok(sender) => {
                        if let Some(shared) = sender.share().filter(|_| is_pooled) {
                            self.client.worker.pool.put(server.id, shared);
                        }
                        sender
                    }
                    Err(()) => {
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
                Outcome::Response(response, _) if is_wrong(response.status(), switch.as_ref()) => {
                    server.stats.response_errors.add(1);
                    return Err(page::BAD_RESPONSE);
                }
                Outcome::Response(response, sender) => {
                    let finishing = Finishing {
                        server: Arc::clone(&server),
                        sender: Some(sender),
                        is_pooled,
                        request: progress,
                        client: Rc::clone(&self.client),
                        journal: self.journal.clone(),
                        _place: place,
                        busy,
                    };
                    return Ok(self.respond(at, response, finishing, switch));
                }
                Outcome::Again(request) => {
                    body = Some(request.into_body());
                    if from_pool {
                        uses_pool = false;
                    } else {
                        drop(place);
                        attempts += 1;
                        if attempts > retries {
                            return Err(page::BAD_RESPONSE);
                        }
                        self.after_failure(at, &server, &mut tried).await;
                    }
                }
                Outcome::Lost if is_repeatable && from_pool => uses_pool = false,
                Outcome::Lost if is_repeatable && attempts < retries => {
                    attempts += 1;
                    server.stats.response_errors.add(1);
                    drop(place);
                    self.after_failure(at, &server, &mut tried).await;
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
            let look = |is_new: bool| {
                let balance = self.in_force.balance.load();
                // It may have gone down, or into maintenance, since the cookie was read.
                if !balance.keeps(at) {
                    return Some(None);
                }
                let most = balance.most(at);
                let may = !is_new || queue.has_room(stats, most, balance.takes(at));
                let place = may.then(|| Place::take(stats, queue, most)).flatten();
                place.map(Some)
            };
            let found = match look(true) {
                Some(found) => Ok(found),
                None if queue.is_full() => return Err(page::QUEUE_FULL),
                None => {
                    let free = queue.wait(Some(stats), || look(false));
                    timeout(config.timeouts.queue, free).await
                }
            };
            match found {
                Ok(Some(place)) => return Ok((at, place)),
                Ok(None) => self.asked.redispatch(),
                Err(_) => return Err(page::QUEUE),
            }
        }
        let pick = |tried: &[usize], is_new: bool| {
            let balance = self.in_force.balance.load();
            let has_room = |at: usize| match is_new {
                true => queue.has_room(&servers[at].stats, balance.most(at), true),
                false => servers[at].stats.has_room(balance.most(at)),
            };
            let at = balance.choose(
                self.client.source,
                || fastrand::u64(..),
                |at| servers[at].stats.load(),
                |at| !tried.contains(&at) && has_room(at),
            )?;
            Place::take(&servers[at].stats, queue, balance.most(at)).map(|place| (at, place))
        };
        if let Some(found) = pick(tried, true) {
            return Ok(found);
        }
        // All that are left were tried: once more from the beginning.
        if !tried.is_empty() {
            tried.clear();
            if let Some(found) = pick(tried, true) {
                return Ok(found);
            }
        }
        if self.in_force.balance.load().is_empty() {
            return Err(page::NO_SERVER);
        }
        if queue.is_full() {
            return Err(page::QUEUE_FULL);
        }
        let free = queue.wait(None, || {
            if self.in_force.balance.load().is_empty() {
                return Some(Err(page::NO_SERVER));
            }
            pick(tried, false).map(Ok)
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
        // Apart, because it is large and most requests need none.
        let connecting = Box::pin(connect::connect(
            &self.client.worker,
            &server.config,
            http,
            header.as_deref(),
        ));
        let why = match timeout(limit, connecting).await {
            Ok(Ok(sender)) => {
                server.stats.connected();
                return Ok(sender);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("{} does not answer within {limit:?}", server.config.address),
        };
        if server.stats.failed(why.clone()) {
            let (proxy, server) = (&self.proxy.name, &server.config.name);
            tracing::warn!(proxy, server, why, "no connection to a server");
        }
        Err(())
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
                if request.body().size_hint().exact().is_none() {
                    // hyper takes a GET without this for one without a body.
                    let chunked = HeaderValue::from_static("chunked");
                    request.headers_mut().insert(TRANSFER_ENCODING, chunked);
                }
                *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
            }
            Upstream::Http2 => {
                *request.version_mut() = Version::HTTP_2;
                let host = request.headers_mut().remove(HOST);
                let mut parts = http::uri::Parts::default();
                parts.scheme = Some(match server.config.tls {
                    Some(_) => Scheme::HTTPS,
                    None => Scheme::HTTP,
                });
                parts.authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
                parts.path_and_query = path.or_else(|| Some(PathAndQuery::from_static("/")));
                *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
            }
        }
        request
    }

    async fn send(
        &self,
        request: Request<RequestBody>,
        mut sender: Sender,
        progress: &Progress,
    ) -> Outcome {
        let limit = self.in_force.config.timeouts.server;
        let mut answered = None;
        {
            let answer = sender.send(request);
            tokio::pin!(answer);
            // The server's time runs while it is its turn: from the end of the request, and while it takes nothing of it.
            let mut before = progress.turn();
            loop {
                if let Ok(answer) = timeout(limit, &mut answer).await {
                    answered = Some(answer);
                    break;
                }
                let turn = progress.turn();
                if turn.is_some() && turn == before {
                    break;
                }
                before = turn;
            }
        }
        match answered {
            Some(Ok(response)) => Outcome::Response(response, sender),
            Some(Err(Some(request))) => Outcome::Again(request),
            Some(Err(None)) => Outcome::Lost,
            None => {
                sender.forsake();
                Outcome::Refused(page::NO_RESPONSE)
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
        // An HTTP/2 client's tunnel begins with 200 (RFC 8441 section 5).
        let shown = match taken.is_some() && self.client.is_http2 {
            true => StatusCode::OK,
            false => status,
        };
        self.journal.responded(shown.as_u16(), letter);
        let timeouts = &self.in_force.config.timeouts;
        match taken {
            Some(taken) => {
                let (mut parts, _) = response.into_parts();
                taken.prepare(&mut parts, upgraded);
                if let Some(gate) = &self.client.gate {
                    gate.make_transparent();
                }
                let worker = Rc::clone(&self.client.worker);
                let proxy = Arc::clone(&self.proxy);
                let session = Arc::clone(self.client.session());
                let stop = async move {
                    tokio::select! {
                        () = worker.stopping() => {}
                        () = proxy.retired() => {}
                        () = session.ends() => {}
                    }
                };
                tokio::task::spawn_local(taken.carry(finishing, timeouts.tunnel, stop));
                Response::from_parts(parts, ResponseBody::Own(None))
            }
            None => {
                let (parts, incoming) = response.into_parts();
                let patience = self.client.is_http2.then_some(timeouts.client);
                let body = ResponseBody::stream(incoming, timeouts.server, patience, finishing);
                Response::from_parts(parts, body)
            }
        }
    }
}

/// An answer that would make a tunnel of a connection where nobody asked for one, or none where the client would take it for
/// one.
fn is_wrong(status: StatusCode, switch: Option<&upgrade::Asked>) -> bool {
    match switch {
        None => status == StatusCode::SWITCHING_PROTOCOLS,
        Some(asked) => asked.is_http2() && status.is_success(),
    }
}

const fn of_client(fault: Fault) -> Refusal {
    match fault {
        Fault::TooLarge => page::TOO_LARGE,
        Fault::Silent => page::CLIENT_SILENT,
        Fault::Ended | Fault::Gone | Fault::Stalled => page::CLIENT_GONE,
    }
}
