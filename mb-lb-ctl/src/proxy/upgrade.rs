//! WebSocket (RFC 6455) over HTTP/1.1, and over HTTP/2 by extended CONNECT (RFC 8441). With the server it is always
//! HTTP/1.1, on a connection of its own where requests go over HTTP/2. Nothing but its 101 makes a tunnel of a connection.

use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::response::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::body::Finish as _;
use super::exchange::Finishing;
use super::tunnel;

/// For the end of a connection that was not switched.
const END: Duration = Duration::from_secs(5);
const WEBSOCKET: &str = "websocket";
const KEY: HeaderName = http::header::SEC_WEBSOCKET_KEY;
const VERSION: HeaderName = http::header::SEC_WEBSOCKET_VERSION;
const ACCEPT: HeaderName = http::header::SEC_WEBSOCKET_ACCEPT;

/// A client that wants to switch.
pub struct Asked {
    /// `None`: it was taken.
    client: Option<OnUpgrade>,
    is_http2: bool,
}

impl Drop for Asked {
    /// The server has not switched. hyper remembers the wish all the same, and gives the connection away where it would
    /// end it: then it is ended here, as others are.
    fn drop(&mut self) {
        let Some(client) = self.client.take().filter(|_| !self.is_http2) else {
            return;
        };
        tokio::task::spawn_local(async move {
            if let Ok(upgraded) = client.await {
                // Who does not take the end in time does not get it.
                let _ended = timeout(END, TokioIo::new(upgraded).shutdown()).await;
            }
        });
    }
}

/// What the request asks for; other protocols than WebSocket are not switched to, HTTP/2 in clear among them.
pub fn asked(request: &mut Request<Incoming>) -> Option<Asked> {
    let is_http2 = request.version() == Version::HTTP_2;
    let wants = match is_http2 {
        true => {
            let protocol = request.extensions().get::<Protocol>();
            request.method() == Method::CONNECT
                && protocol.is_some_and(|protocol| protocol.as_str() == WEBSOCKET)
        }
        false => {
            has_word(request.headers(), &CONNECTION, "upgrade")
                && has_word(request.headers(), &UPGRADE, WEBSOCKET)
                && request.method() == Method::GET
        }
    };
    wants.then(|| Asked {
        client: Some(hyper::upgrade::on(request)),
        is_http2,
    })
}

fn has_word(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let lines = headers.get_all(name).iter();
    let mut words = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    words.any(|found| found.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

impl Asked {
    pub const fn is_http2(&self) -> bool {
        self.is_http2
    }

    /// The request as a server of HTTP/1.1 expects it.
    pub fn prepare(&self, method: &mut Method, headers: &mut HeaderMap) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
        if self.is_http2 {
            *method = Method::GET;
            // RFC 8441 section 5: without the key, which HTTP/1.1 needs.
            if let Ok(key) = HeaderValue::from_str(&key()) {
                headers.entry(KEY).or_insert(key);
            }
            headers
                .entry(VERSION)
                .or_insert(HeaderValue::from_static("13"));
        }
    }

    /// The server has switched. `None`: it was taken before.
    pub fn take(mut self, response: &mut Response<Incoming>) -> Option<Taken> {
        Some(Taken {
            client: self.client.take()?,
            server: hyper::upgrade::on(response),
            is_http2: self.is_http2,
        })
    }
}

/// 16 random bytes in Base64 (RFC 6455 section 4.1).
fn key() -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let number = fastrand::u128(..);
    let digit = |at: u32| {
        let six = (number >> (128 - 6 * at.min(20) - 6).min(122)) as usize & 63;
        char::from(DIGITS[six])
    };
    let mut key: String = (0..21).map(digit).collect();
    // The last two bits of 128, and four that are zero.
    key.push(char::from(DIGITS[(number as usize & 3) << 4]));
    key + "=="
}

/// Both sides are to be switched.
pub struct Taken {
    client: OnUpgrade,
    server: OnUpgrade,
    is_http2: bool,
}

impl Taken {
    /// The response's head, whose fields of one hop are gone.
    pub fn prepare(&self, parts: &mut Parts, upgraded: Option<HeaderValue>) {
        if self.is_http2 {
            parts.status = StatusCode::OK;
            parts.headers.remove(ACCEPT);
            return;
        }
        let protocol = upgraded.unwrap_or(HeaderValue::from_static(WEBSOCKET));
        parts.headers.insert(UPGRADE, protocol);
        parts
            .headers
            .insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }

    /// Carries what both say until one of them ends.
    pub async fn carry(
        self,
        mut finishing: Finishing,
        silence: Duration,
        stop: impl Future<Output = ()>,
    ) {
        let (client, server) = match tokio::try_join!(self.client, self.server) {
            Ok(both) => both,
            // One of them has gone.
            Err(_) => return finishing.finish(0, Some(super::body::Fault::Ended)),
        };
        let (client, server) = (TokioIo::new(client), TokioIo::new(server));
        let carried = tunnel::carry_websocket(client, server, silence, stop).await;
        finishing.finish(carried.to_client + carried.to_server, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_16_bytes_in_base64() {
        for _ in 0..1000 {
            let key = key();
            assert_eq!(key.len(), 24);
            assert!(key.ends_with("=="));
            // Four bits of the last digit are no part of the 16 bytes.
            assert!("AQgw".contains(&key[21..22]), "{key}");
        }
        assert_ne!(key(), key());
    }

    #[test]
    fn words_are_found_in_lists() {
        let mut headers = HeaderMap::new();
        headers.append(CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        assert!(has_word(&headers, &CONNECTION, "upgrade"));
        assert!(!has_word(&headers, &CONNECTION, "close"));
        assert!(!has_word(&headers, &UPGRADE, "websocket"));
    }
}
