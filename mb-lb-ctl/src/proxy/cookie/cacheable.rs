//! Whether a cache between us and the client might keep a response (RFC 9111 section 3), by HAProxy's rule: only such
//! responses need `cache-control: private` when they carry a cookie.

use http::header::{CACHE_CONTROL, ETAG, EXPIRES, HeaderMap, HeaderName, LAST_MODIFIED, PRAGMA};
use http::{Method, StatusCode};

/// What the rule needs to know of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestFacts {
    is_cacheable: bool,
}

impl RequestFacts {
    /// Of a request: its method is one of GET, HEAD, OPTIONS and TRACE. HAProxy asks for nothing else here, though
    /// Authorization and `no-store` would forbid a cache to keep the response.
    pub fn of(method: &Method) -> Self {
        let is_cacheable = matches!(
            *method,
            Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
        );
        Self { is_cacheable }
    }

    /// With the response's status and fields, before a cookie is added.
    pub(super) fn is_cacheable(self, status: StatusCode, headers: &HeaderMap) -> bool {
        let pragma = headers.get(PRAGMA);
        if pragma.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"no-cache")) {
            return false;
        }
        let mut verdict = self.is_cacheable && by_default(status);
        let mut is_fresh = false;
        let mut is_zero = false;
        for item in items(headers, CACHE_CONTROL) {
            let is = |word: &[u8]| item.eq_ignore_ascii_case(word);
            if is(b"public") {
                verdict = true;
            } else if is(b"max-age=0") {
                is_zero = true;
            } else if is(b"no-cache=\"set-cookie\"") {
                // A cache keeps it without the cookie.
            } else if is(b"s-maxage=0")
                || [&b"private"[..], b"no-cache", b"no-store"]
                    .iter()
                    .any(|word| {
                        is(word) || starts(item, word) && item.get(word.len()) == Some(&b'=')
                    })
            {
                verdict = false;
            } else if starts(item, b"s-maxage") {
                is_fresh = true;
                is_zero = false;
            } else if starts(item, b"max-age") {
                is_fresh = true;
            }
        }
        verdict
            && !is_zero
            && (is_fresh
                || [EXPIRES, ETAG, LAST_MODIFIED]
                    .iter()
                    .any(|name| headers.contains_key(name)))
    }
}

/// Statuses that a cache may keep without being told so (RFC 9110 section 15.1). HAProxy's list has no 308.
fn by_default(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 206 | 300 | 301 | 404 | 405 | 410 | 414 | 501
    )
}

/// Elements of all the lines of a field that is a list. A comma in quotes does not part.
fn items(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    headers.get_all(name).into_iter().flat_map(|line| {
        let mut is_quoted = false;
        line.as_bytes()
            .split(move |&byte| {
                is_quoted ^= byte == b'"';
                byte == b',' && !is_quoted
            })
            .map(<[u8]>::trim_ascii)
    })
}

fn starts(item: &[u8], word: &[u8]) -> bool {
    item.get(..word.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(word))
}
