//! Stickiness by a cookie, as HAProxy's `cookie NAME insert`: the client's cookie names the server, the server does not
//! see it, and the response carries a new one only where the client's does not do any more.
//!
//! The same bytes as HAProxy in both directions, so that users stay where they are when one takes the other's place. The
//! one difference: blanks around the `=` of other cookies stay.

mod cacheable;
mod crumbs;
mod date;
mod dynamic;
#[cfg(test)]
mod tests;

use http::header::{CACHE_CONTROL, COOKIE, HeaderMap, HeaderValue, SET_COOKIE};

pub use cacheable::RequestFacts;

use crate::config::{Cookie, ProxyServer};
use crumbs::Crumb;

/// Cookies of one proxy. Made once for a configuration.
#[derive(Clone, Debug)]
pub struct Stickiness {
    name: Box<[u8]>,
    indirect: bool,
    nocache: bool,
    preserve: bool,
    /// Seconds.
    max_idle: Option<u64>,
    /// Seconds.
    max_life: Option<u64>,
    /// By the server's place in the configuration.
    servers: Vec<Place>,
    /// `; path=/` and the attributes.
    tail: Box<[u8]>,
}

/// A server's cookie.
#[derive(Clone, Debug)]
struct Place {
    /// `None`: it has none, and clients who are given to it lose theirs.
    value: Option<Box<[u8]>>,
    /// Complete, where no dates are in it.
    set_cookie: HeaderValue,
}

/// What the client's cookie says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub verdict: Verdict,
    /// Unix seconds when the cookie was last given out, as far as it says so.
    last: Option<u64>,
    /// Unix seconds when a cookie was first given out to this client, as far as the cookie says so.
    first: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No cookie of this name.
    None,
    /// Names no server.
    Invalid,
    /// Unused for longer than `max_idle`.
    Expired,
    /// First given out longer than `max_life` ago.
    Old,
    /// Names a server that cannot be used.
    Down,
    /// Names this server, by its place in the configuration, and it can be used.
    Valid(usize),
}

impl Asked {
    /// Of a request without a cookie.
    pub const NONE: Self = Self {
        verdict: Verdict::None,
        last: None,
        first: None,
    };

    /// The server that must be used.
    pub fn server(&self) -> Option<usize> {
        match self.verdict {
            Verdict::Valid(server) => Some(server),
            _ => None,
        }
    }

    /// Third of the four letters in HAProxy's log.
    pub fn letter(&self) -> char {
        match self.verdict {
            Verdict::None => 'N',
            Verdict::Invalid => 'I',
            Verdict::Expired => 'E',
            Verdict::Old => 'O',
            Verdict::Down => 'D',
            Verdict::Valid(_) => 'V',
        }
    }

    /// The named server could not be reached, and another one is taken.
    pub fn redispatch(&mut self) {
        if let Verdict::Valid(_) = self.verdict {
            self.verdict = Verdict::Down;
        }
    }
}

/// How far a cookie may be dated ahead of our clock, in seconds. More, and it is void.
const AHEAD: u64 = 86_400;

impl Stickiness {
    /// The servers are those of the proxy, in the order of the configuration.
    pub fn new(cookie: &Cookie, servers: &[ProxyServer]) -> Self {
        let mut tail = b"; path=/".to_vec();
        let mut attributes = Vec::new();
        if let Some(domain) = &cookie.domain {
            attributes.extend_from_slice(b"; domain=");
            attributes.extend_from_slice(domain.as_bytes());
        }
        if cookie.http_only {
            attributes.extend_from_slice(b"; HttpOnly");
        }
        if cookie.secure {
            attributes.extend_from_slice(b"; Secure");
        }
        if let Some(same_site) = cookie.same_site {
            attributes.extend_from_slice(b"; SameSite=");
            attributes.extend_from_slice(same_site.name().as_bytes());
        }
        tail.extend_from_slice(&attributes);
        let servers = servers
            .iter()
            .map(|server| {
                let value = match (&server.cookie, &cookie.dynamic_key) {
                    (Some(value), _) => Some(value.clone()),
                    (None, Some(key)) => Some(dynamic::value(key, server.address)),
                    (None, None) => None,
                };
                let mut line = cookie.name.clone().into_bytes();
                line.push(b'=');
                match &value {
                    Some(value) => line.extend_from_slice(value.as_bytes()),
                    None => line.extend_from_slice(b"; Expires=Thu, 01-Jan-1970 00:00:01 GMT"),
                }
                line.extend_from_slice(&tail);
                Place {
                    value: value.map(|value| value.into_bytes().into()),
                    set_cookie: header_value(line),
                }
            })
            .collect();
        Self {
            name: cookie.name.as_bytes().into(),
            indirect: cookie.indirect,
            nocache: cookie.nocache,
            preserve: cookie.preserve,
            max_idle: cookie.max_idle.map(|time| time.as_secs()),
            max_life: cookie.max_life.map(|time| time.as_secs()),
            servers,
            tail: tail.into(),
        }
    }

    /// Reads the cookie, and takes it out where the server shall not see it. Several Cookie lines, which HTTP/2 allows
    /// (RFC 9113 section 8.2.3), become one first. `keeps` says whether a server may serve those who have its cookie.
    pub fn on_request(
        &self,
        headers: &mut HeaderMap,
        unix_seconds: u64,
        keeps: impl Fn(usize) -> bool,
    ) -> Asked {
        join(headers);
        let Some(line) = headers.get(COOKIE) else {
            return Asked::NONE;
        };
        let mut asked = Asked::NONE;
        let mut found = false;
        for crumb in crumbs::Crumbs::new(line.as_bytes()) {
            if let Crumb::Pair { name, value, .. } = crumb
                && *name == *self.name
            {
                found = true;
                self.judge(value, unix_seconds, &keeps, &mut asked);
            }
        }
        if found && self.indirect {
            match crumbs::without(line.as_bytes(), &self.name) {
                Some(rest) => {
                    headers.insert(COOKIE, header_value(rest));
                }
                None => {
                    headers.remove(COOKIE);
                }
            }
        }
        asked
    }

    /// One of possibly several cookies of our name; the first one that is valid wins.
    fn judge(&self, value: &[u8], now: u64, keeps: impl Fn(usize) -> bool, asked: &mut Asked) {
        if let Verdict::Valid(_) = asked.verdict {
            return;
        }
        let (name, last, first) = date::split(value);
        asked.last = last.or(asked.last);
        asked.first = first.or(asked.first);
        let out_of = |date: Option<u64>, limit: Option<u64>| match (date, limit) {
            (Some(date), Some(limit)) => {
                now.saturating_sub(date) > limit || date.saturating_sub(now) > AHEAD
            }
            _ => false,
        };
        let void = if out_of(asked.first, self.max_life) {
            Some(Verdict::Old)
        } else if out_of(asked.last, self.max_idle) {
            Some(Verdict::Expired)
        } else {
            None
        };
        if let Some(verdict) = void {
            *asked = Asked {
                verdict,
                ..Asked::NONE
            };
            return;
        }
        // Clients who learnt an empty cookie from a server without one do not stick to that server.
        if !name.is_empty() {
            let places = self.servers.iter().enumerate();
            for (index, _) in places.filter(|(_, place)| place.value.as_deref() == Some(name)) {
                if keeps(index) {
                    asked.verdict = Verdict::Valid(index);
                    return;
                }
                asked.verdict = Verdict::Down;
            }
        }
        if asked.verdict == Verdict::None {
            asked.verdict = Verdict::Invalid;
        }
    }

    /// Takes out the server's own cookies of this name, and adds ours where the client needs a new one. Not for
    /// informational responses other than 101. Returns the last of the four letters in HAProxy's log: `N` nothing, `I`
    /// inserted, `U` dates updated, `D` the server's own deleted, `P` the server's own passed.
    pub fn on_response(
        &self,
        asked: &Asked,
        served_by: usize,
        request: &RequestFacts,
        status: http::StatusCode,
        headers: &mut HeaderMap,
        unix_seconds: u64,
    ) -> char {
        let mut letter = 'N';
        if headers
            .get_all(SET_COOKIE)
            .iter()
            .any(|line| self.is_ours(line))
        {
            if self.preserve {
                return 'P';
            }
            self.delete(headers);
            letter = 'D';
        }
        let direct = asked.server() == Some(served_by);
        if direct && !self.is_stale(asked, unix_seconds) {
            return letter;
        }
        let Some(place) = self.servers.get(served_by) else {
            return letter;
        };
        let cacheable = self.nocache && request.is_cacheable(status, headers);
        headers.append(SET_COOKIE, self.set_cookie(place, asked, unix_seconds));
        if cacheable {
            headers.append(CACHE_CONTROL, HeaderValue::from_static("private"));
        }
        if direct && place.value.is_some() {
            'U'
        } else {
            'I'
        }
    }

    /// Whether the dates of a cookie that names the right server are not those that it should have.
    fn is_stale(&self, asked: &Asked, now: u64) -> bool {
        let idle = match asked.last {
            Some(last) => last < now,
            None => self.max_idle.is_some(),
        };
        idle || self.max_life.is_some() != asked.first.is_some()
    }

    fn set_cookie(&self, place: &Place, asked: &Asked, now: u64) -> HeaderValue {
        let Some(value) = &place.value else {
            return place.set_cookie.clone();
        };
        if self.max_idle.is_none() && self.max_life.is_none() {
            return place.set_cookie.clone();
        }
        let mut line = Vec::with_capacity(self.name.len() + value.len() + self.tail.len() + 16);
        line.extend_from_slice(&self.name);
        line.push(b'=');
        line.extend_from_slice(value);
        line.push(b'|');
        line.extend_from_slice(&date::encode(now));
        if self.max_life.is_some() {
            line.push(b'|');
            line.extend_from_slice(&match asked.first {
                Some(first) => date::encode_read(first),
                None => date::encode(now),
            });
        }
        line.extend_from_slice(&self.tail);
        header_value(line)
    }

    fn is_ours(&self, line: &HeaderValue) -> bool {
        crumbs::set_cookie_name(line.as_bytes()) == Some(&self.name)
    }

    fn delete(&self, headers: &mut HeaderMap) {
        let others: Vec<HeaderValue> = headers
            .get_all(SET_COOKIE)
            .iter()
            .filter(|line| !self.is_ours(line))
            .cloned()
            .collect();
        headers.remove(SET_COOKIE);
        for line in others {
            headers.append(SET_COOKIE, line);
        }
    }
}

/// Joins several lines of Cookie into one.
fn join(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (lines.next(), lines.next()) else {
        return;
    };
    let mut joined = first.as_bytes().to_vec();
    for line in std::iter::once(second).chain(lines) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(line.as_bytes());
    }
    headers.insert(COOKIE, header_value(joined));
}

/// Of bytes out of other fields and of the configuration, which are checked already: what could not be in a field is left
/// out.
fn header_value(bytes: Vec<u8>) -> HeaderValue {
    HeaderValue::from_maybe_shared(bytes::Bytes::from(bytes))
        .unwrap_or_else(|_| HeaderValue::from_static(""))
}
