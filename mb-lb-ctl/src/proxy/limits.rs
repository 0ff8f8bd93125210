//! How much one source may have.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::exchange::source_key;
use super::page::{self, Refusal};
use crate::config::ProxyLimits;

/// Sources that are remembered; what is more is forgotten all at once.
const SOURCES: usize = 100_000;

/// Of all proxies and threads together.
#[derive(Debug)]
pub struct Limits {
    start: Instant,
    connections: Mutex<HashMap<u128, u32>>,
    /// Second, and requests in it.
    requests: Mutex<HashMap<u128, (u64, u32)>>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            connections: Mutex::default(),
            requests: Mutex::default(),
        }
    }
}

impl Limits {
    /// Counts a connection; `false`: the source has as many as it may have.
    pub fn connect(&self, limits: &ProxyLimits, source: IpAddr) -> bool {
        let Some(most) = limits.connections_per_source else {
            return true;
        };
        let mut connections = lock(&self.connections);
        let count = connections.entry(source_key(source)).or_default();
        if *count >= most {
            return false;
        }
        *count += 1;
        true
    }

    /// A connection that was counted has ended.
    pub fn disconnect(&self, source: IpAddr) {
        let mut connections = lock(&self.connections);
        let key = source_key(source);
        if let Some(count) = connections.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                connections.remove(&key);
            }
        }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// The source has had as many in this second as it may have.
    pub fn request(&self, limits: &ProxyLimits, source: IpAddr) -> Result<(), Refusal> {
        match limits.requests_per_source {
            None => Ok(()),
            Some(most) => self.request_at(most, source, self.start.elapsed().as_secs()),
        }
    }

    fn request_at(&self, most: u32, source: IpAddr, second: u64) -> Result<(), Refusal> {
        let mut requests = lock(&self.requests);
        if requests.len() >= SOURCES {
            requests.retain(|_, (of, _)| *of == second);
            if requests.len() >= SOURCES {
                requests.clear();
            }
        }
        let (of, count) = requests.entry(source_key(source)).or_default();
        if *of != second {
            (*of, *count) = (second, 0);
        }
        if *count >= most {
            return Err(page::TOO_MANY);
        }
        *count += 1;
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is in it is whole at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_source_has_so_many_connections() {
        let limits = Limits::default();
        let two = ProxyLimits {
            connections_per_source: Some(2),
            ..ProxyLimits::default()
        };
        let site = ["2001:db8::1", "2001:db8::2:1", "2001:db8::ffff"].map(address);
        assert!(limits.connect(&two, site[0]));
        assert!(limits.connect(&two, site[1]));
        assert!(!limits.connect(&two, site[2]), "one /64 is one source");
        assert!(limits.connect(&two, address("2001:db8:0:1::1")));
        assert!(limits.connect(&two, address("192.0.2.1")));
        assert!(limits.connect(&two, address("::ffff:192.0.2.1")));
        assert!(!limits.connect(&two, address("192.0.2.1")));
        limits.disconnect(site[0]);
        assert!(limits.connect(&two, site[2]));
        assert!(limits.connect(&ProxyLimits::default(), site[0]), "no limit");
    }

    #[test]
    fn a_source_has_so_many_requests_in_a_second() {
        let limits = Limits::default();
        let source = address("192.0.2.1");
        for second in 0..3 {
            for _ in 0..5 {
                assert!(limits.request_at(5, source, second).is_ok());
            }
            assert_eq!(limits.request_at(5, source, second), Err(page::TOO_MANY));
            assert!(limits.request_at(5, address("192.0.2.2"), second).is_ok());
        }
    }
}
