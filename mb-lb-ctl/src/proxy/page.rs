//! What the proxy itself answers.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use http::{Response, StatusCode};

use super::body::{Finish, ResponseBody};
use super::gate::{Page, Violation};

/// Why a request is not answered by a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    /// A stable word, for counters.
    pub word: &'static str,
    /// For people.
    pub text: &'static str,
    /// Termination state in HAProxy's log, two letters.
    pub letters: &'static str,
}

macro_rules! refusals {
    ($($name:ident = $status:ident, $word:literal, $letters:literal, $text:literal;)*) => {
        $(pub const $name: Refusal = Refusal {
            status: StatusCode::$status,
            word: $word,
            text: $text,
            letters: $letters,
        };)*
    };
}

refusals! {
    NO_SERVER = SERVICE_UNAVAILABLE, "no_server", "SC", "No server is available to handle this request.";
    QUEUE = SERVICE_UNAVAILABLE, "queue_timeout", "sQ", "No server became free in time.";
    QUEUE_FULL = SERVICE_UNAVAILABLE, "queue_full", "PQ", "Too many requests wait for a server.";
    CONNECT = SERVICE_UNAVAILABLE, "connect_failed", "SC", "The server could not be reached.";
    BAD_RESPONSE = BAD_GATEWAY, "bad_response", "SH", "The server returned an invalid or incomplete response.";
    NO_RESPONSE = GATEWAY_TIMEOUT, "response_timeout", "sH", "The server didn't respond in time.";
    CLIENT_SILENT = REQUEST_TIMEOUT, "request_timeout", "cD", "Your browser didn't send a complete request in time.";
    CLIENT_GONE = BAD_REQUEST, "client_aborted", "CD", "The request ended before its body did.";
    TOO_LARGE = PAYLOAD_TOO_LARGE, "body_too_large", "PR", "The body of the request is larger than it may be.";
    BAD_REQUEST = BAD_REQUEST, "bad_request", "PR", "Your browser sent an invalid request.";
    FIELD_COUNT = REQUEST_HEADER_FIELDS_TOO_LARGE, "field_count", "PR", "Your browser sent too many fields.";
    TOO_MANY = TOO_MANY_REQUESTS, "too_many_requests", "PR", "Too many requests. Try again later.";
    NO_METHOD = METHOD_NOT_ALLOWED, "method", "PR", "This method is not allowed here.";
}

/// The page of a refusal.
pub fn page<F: Finish>(refusal: Refusal, request_id: &str) -> Response<ResponseBody<F>> {
    let status = refusal.status;
    let reason = status.canonical_reason().unwrap_or("Error");
    let text = format!(
        "<html><body><h1>{} {reason}</h1>\n{}\n<p><small>{} {request_id}</small></p>\n</body></html>\n",
        status.as_u16(),
        refusal.text,
        refusal.word,
    );
    let mut response = Response::new(ResponseBody::own(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if status == StatusCode::TOO_MANY_REQUESTS {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
        // What is left of the request cannot be told from the next one.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// What the gate refuses has no request id: nothing of it was believed.
pub fn of_violation(violation: &Violation) -> Page {
    let status = violation.fault.status();
    let text = format!(
        "<html><body><h1>{} {}</h1>\nYour browser sent an invalid request.\n<p><small>{}</small></p>\n</body></html>\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or("Error"),
        violation.fault.word(),
    );
    Page {
        content_type: "text/html",
        body: Bytes::from(text),
    }
}

/// To the same place by HTTPS; `None` where the host is none.
pub fn redirect<F: Finish>(host: &str, path: &str, port: u16) -> Option<Response<ResponseBody<F>>> {
    let authority: http::uri::Authority = host.parse().ok()?;
    let host = authority.host();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    if host.is_empty() || host.contains('@') || !host.chars().all(is_plain) {
        return None;
    }
    let port = match port {
        443 => String::new(),
        port => format!(":{port}"),
    };
    let path = if path.starts_with('/') { path } else { "/" };
    let location = HeaderValue::try_from(format!("https://{host}{port}{path}")).ok()?;
    let mut response = Response::new(ResponseBody::Own(None));
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().insert(LOCATION, location);
    Some(response)
}
