//! Which request gets what.
//!
//! 1. `/health` is for everybody. All else wants the password, where there is one, before anything is looked at.
//! 2. `GET` shows; `HEAD` is a `GET` without the body.
//! 3. `POST /stats` changes servers: with a password only, and only from our own page or a program (`origin.rs`).

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::form::{self, Outcome};
use super::{Context, api, budget, metrics, origin, page};
use crate::admin;
use crate::command::stat;
use crate::snapshot::{Severity, Snapshot};

/// Longest body of a request, in bytes.
pub const MAX_BODY: usize = 16 * 1024;
/// A request's body has come within this time, or it is not taken.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// The engine says something every second. One that has not for so many seconds does nothing any more.
const STALE: u64 = 30;
const TEXT: &str = "text/plain; charset=utf-8";

pub(super) type Answer = Response<Full<Bytes>>;

pub(super) async fn answer(request: Request<Incoming>, context: Context) -> Answer {
    let is_head = request.method() == Method::HEAD;
    let mut answer = routed(request, context).await;
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::SERVER, "mb-lb"),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    if is_head {
        let length = http_body::Body::size_hint(answer.body()).exact();
        if let Some(length) = length {
            answer
                .headers_mut()
                .insert(header::CONTENT_LENGTH, length.into());
        }
        *answer.body_mut() = Full::default();
    }
    answer
}

/// An answer that has its place in the memory until it is sent, or one that says that there is none.
fn placed(kind: HeaderValue, mut text: String, place: fn(Bytes) -> Option<Bytes>) -> Answer {
    // What is counted is its length.
    text.shrink_to_fit();
    let Some(text) = place(Bytes::from(text)) else {
        let text = "Answers that others have asked for are not read yet: try it again.";
        let refused = refuse(StatusCode::SERVICE_UNAVAILABLE, text);
        return with(refused, header::RETRY_AFTER, "5");
    };
    let mut answer = Response::new(Full::new(text));
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target<'p> {
    Root,
    Health,
    Metrics,
    Api(&'p str),
    /// The page, with what stands behind semicolons, as in HAProxy's addresses.
    Stats(&'p str),
    Nothing,
}

impl<'p> Target<'p> {
    fn of(path: &'p str) -> Self {
        match path {
            "/" => return Self::Root,
            "/health" => return Self::Health,
            "/metrics" => return Self::Metrics,
            _ => {}
        }
        if let Some(name) = path.strip_prefix("/api/v1/") {
            return Self::Api(name);
        }
        let Some(rest) = path.strip_prefix("/stats") else {
            return Self::Nothing;
        };
        match rest.strip_prefix('/').unwrap_or(rest) {
            "" => Self::Stats(""),
            rest => match rest.strip_prefix(';') {
                Some(words) => Self::Stats(words),
                None => Self::Nothing,
            },
        }
    }
}

async fn routed(request: Request<Incoming>, context: Context) -> Answer {
    // A path is ASCII; who writes `%3B` for the semicolon means it as well.
    let path = request.uri().path().replace("%3B", ";").replace("%3b", ";");
    let target = Target::of(&path);
    let method = request.method();
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let snapshot = context.admin.snapshot.borrow().clone();
    if target == Target::Health && reads {
        return health(&snapshot, context.age.now());
    }
    if target != Target::Health
        && let Some(account) = &context.account
    {
        let given = request.headers().get(header::AUTHORIZATION);
        if !account.admits(given.map(HeaderValue::as_bytes)) {
            return unauthorized();
        }
    }
    match target {
        Target::Nothing => refuse(StatusCode::NOT_FOUND, "There is nothing here. See /stats."),
        Target::Stats(_) if *method == Method::POST => change(request, &context, &snapshot).await,
        Target::Stats(_) if !reads => not_allowed("GET, HEAD, POST"),
        _ if !reads => not_allowed("GET, HEAD"),
        Target::Root => redirect(StatusCode::FOUND, "/stats"),
        Target::Health => health(&snapshot, context.age.now()),
        Target::Metrics => {
            let render = move || {
                let kind = HeaderValue::from_static(metrics::CONTENT_TYPE);
                placed(kind, metrics::render(&snapshot), budget::place_of_metrics)
            };
            aside(render).await
        }
        Target::Api(name) => {
            api::answer(name, request.uri().query(), snapshot, &context.admin).await
        }
        Target::Stats(words) => stats(words, snapshot, &context).await,
    }
}

/// The page, or statistics in HAProxy's form: `csv`, `typed`, `up`, `no-maint` as in `show stat`.
async fn stats(words: &str, snapshot: Arc<Snapshot>, context: &Context) -> Answer {
    let words: Vec<_> = words.split(';').collect();
    let is_form = |word: &&str| matches!(*word, "csv" | "typed" | "json");
    if words.iter().any(is_form) {
        return match stat::Selection::parse(&words) {
            Ok(selection) => aside(move || show(TEXT, stat::render(&snapshot, &selection))).await,
            Err(text) => refuse(StatusCode::BAD_REQUEST, text.trim_end()),
        };
    }
    let outcome = words.iter().find_map(|word| word.strip_prefix("st="));
    let outcome = outcome.and_then(Outcome::from_word);
    let refresh = !words.contains(&"norefresh");
    let request = |reply| admin::Request::Events { after: 0, reply };
    let events = context.admin.ask(request).await;
    let (history, may_change) = (context.history.clone(), context.account.is_some());
    let render = move || {
        let view = page::View {
            snapshot: &snapshot,
            events: events.as_deref().unwrap_or_default(),
            history: &history.borrow(),
            may_change,
            outcome,
            refresh,
            now_ms: unix_millis(),
        };
        show("text/html; charset=utf-8", page::render(&view))
    };
    let mut answer = aside(render).await;
    for (name, value) in page::headers() {
        answer.headers_mut().insert(name, value);
    }
    answer
}

/// With thousands of servers a text takes a while, and the threads that run checks have better things to do.
pub(super) async fn aside(render: impl FnOnce() -> Answer + Send + 'static) -> Answer {
    let turn = budget::turn().await;
    // It goes on where the client has gone meanwhile, and so does its turn.
    let render = move || {
        let answer = render();
        drop(turn);
        answer
    };
    let rendered = tokio::task::spawn_blocking(render).await;
    rendered.unwrap_or_else(|error| {
        tracing::error!(%error, "what was asked for cannot be shown");
        refuse(StatusCode::INTERNAL_SERVER_ERROR, "This cannot be shown.")
    })
}

/// Changes servers, and sends the browser back to the page.
async fn change(request: Request<Incoming>, context: &Context, snapshot: &Snapshot) -> Answer {
    let Some(account) = &context.account else {
        return outcome(Outcome::Denied);
    };
    if let Err(foreign) = origin::check(request.headers()) {
        return refuse(StatusCode::FORBIDDEN, &foreign.to_string());
    }
    let body = Limited::new(request.into_body(), MAX_BODY).collect();
    let body = match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let text = format!("The form has more than {MAX_BODY} bytes. Nothing was changed.");
            return refuse(StatusCode::PAYLOAD_TOO_LARGE, &text);
        }
        Ok(Err(_)) => return refuse(StatusCode::BAD_REQUEST, "The form did not come to its end."),
        Err(_) => {
            let text = "The form did not come in time. Nothing was changed.";
            return refuse(StatusCode::REQUEST_TIMEOUT, text);
        }
    };
    let changes = match form::read(&body, snapshot) {
        Ok(changes) => changes,
        Err(why) => return outcome(why),
    };
    let by = format!("{} (page)", account.user);
    let (all, mut done) = (changes.len(), 0);
    for change in changes {
        let by = by.clone();
        let request = |reply| admin::Request::Change { change, by, reply };
        if let Ok(Ok(_)) = context.admin.ask(request).await {
            done += 1;
        }
    }
    outcome(match done {
        0 => Outcome::Unknown,
        done if done == all => Outcome::Done,
        _ => Outcome::Part,
    })
}

/// For load balancers and monitors: whether this director does what it is there for.
fn health(snapshot: &Snapshot, uptime: u64) -> Answer {
    let is_critical = |alarm: &crate::snapshot::Alarm| alarm.severity == Severity::Critical;
    let hangs = uptime.saturating_sub(snapshot.uptime) > STALE;
    let (status, word) = match hangs || snapshot.alarms.iter().any(is_critical) {
        false => (StatusCode::OK, "ok"),
        true => (StatusCode::SERVICE_UNAVAILABLE, "degraded"),
    };
    let mut answer = show(
        "application/json",
        format!("{{\"version\":1,\"status\":\"{word}\"}}\n"),
    );
    *answer.status_mut() = status;
    answer
}

pub(super) fn show(kind: &'static str, text: String) -> Answer {
    placed(HeaderValue::from_static(kind), text, budget::place)
}

pub(super) fn refuse(status: StatusCode, text: &str) -> Answer {
    let mut answer = show(TEXT, format!("{text}\n"));
    *answer.status_mut() = status;
    answer
}

fn with(mut answer: Answer, name: HeaderName, value: &'static str) -> Answer {
    answer
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
    answer
}

fn not_allowed(methods: &'static str) -> Answer {
    let answer = refuse(
        StatusCode::METHOD_NOT_ALLOWED,
        "This method is not for this path.",
    );
    with(answer, header::ALLOW, methods)
}

fn unauthorized() -> Answer {
    let answer = refuse(
        StatusCode::UNAUTHORIZED,
        "User and password are wanted here.",
    );
    let realm = "Basic realm=\"mb-lb\", charset=\"UTF-8\"";
    with(answer, header::WWW_AUTHENTICATE, realm)
}

fn redirect(status: StatusCode, to: &'static str) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    with(answer, header::LOCATION, to)
}

/// To the page, with HAProxy's word for how it went.
fn outcome(outcome: Outcome) -> Answer {
    redirect(
        StatusCode::SEE_OTHER,
        match outcome {
            Outcome::Done => "/stats;st=DONE",
            Outcome::None => "/stats;st=NONE",
            Outcome::Part => "/stats;st=PART",
            Outcome::Error => "/stats;st=ERRP",
            Outcome::Denied => "/stats;st=DENY",
            Outcome::Unknown => "/stats;st=UNKN",
        },
    )
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // Before 1970 the date shown is the least of the machine's problems.
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_haproxys_do() {
        for (path, target) in [
            ("/", Target::Root),
            ("/stats", Target::Stats("")),
            ("/stats/", Target::Stats("")),
            ("/stats;csv", Target::Stats("csv")),
            ("/stats/;csv", Target::Stats("csv")),
            ("/stats;csv;norefresh", Target::Stats("csv;norefresh")),
            ("/stats;st=DONE", Target::Stats("st=DONE")),
            ("/statsx", Target::Nothing),
            ("/stats/x", Target::Nothing),
            ("/stats//", Target::Nothing),
            ("/metrics", Target::Metrics),
            ("/metrics/", Target::Nothing),
            ("/health", Target::Health),
            ("/api/v1/status", Target::Api("status")),
            ("/api/v2/status", Target::Nothing),
            ("/api", Target::Nothing),
            ("", Target::Nothing),
            ("*", Target::Nothing),
        ] {
            assert_eq!(Target::of(path), target, "{path}");
        }
    }

    #[test]
    fn health_tells_one_word() {
        let mut snapshot = Snapshot {
            uptime: 100,
            ..Snapshot::default()
        };
        assert_eq!(health(&snapshot, 100).status(), StatusCode::OK);
        assert_eq!(health(&snapshot, 100 + STALE).status(), StatusCode::OK);
        let hangs = health(&snapshot, 101 + STALE);
        assert_eq!(hangs.status(), StatusCode::SERVICE_UNAVAILABLE);
        for (severity, status) in [
            (Severity::Warning, StatusCode::OK),
            (Severity::Critical, StatusCode::SERVICE_UNAVAILABLE),
        ] {
            snapshot.alarms.push(crate::snapshot::Alarm {
                severity,
                ..crate::snapshot::Alarm::default()
            });
            assert_eq!(health(&snapshot, 100).status(), status);
        }
    }
}
