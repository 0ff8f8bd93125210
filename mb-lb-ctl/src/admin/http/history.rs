//! New flows of each server in the last ten minutes, for the page.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::snapshot::Snapshot;

/// Distance of two samples.
pub const STEP: Duration = Duration::from_secs(5);
/// Samples that are kept: ten minutes.
pub const KEPT: usize = 120;

/// What is kept of one server.
#[derive(Clone, Debug, Default)]
struct Ring {
    /// All flows that it has had, when it was last looked at.
    opened: u64,
    /// New flows per second, newest last.
    rates: VecDeque<f32>,
}

#[derive(Clone, Debug, Default)]
pub struct History {
    /// By service and server.
    rings: BTreeMap<(String, String), Ring>,
}

impl History {
    /// Takes a sample; `since` is the time since the last one. Forgets servers that are gone.
    pub fn sample(&mut self, snapshot: &Snapshot, since: Duration) {
        let mut before = std::mem::take(&mut self.rings);
        for service in &snapshot.services {
            for server in &service.servers {
                let key = (service.name.clone(), server.name.clone());
                let ring = match before.remove(&key) {
                    Some(mut ring) => {
                        // Counters of a server that left and came back begin anew.
                        let new = server.opened.saturating_sub(ring.opened);
                        let seconds = since.as_secs_f32().max(0.001);
                        if ring.rates.len() == KEPT {
                            ring.rates.pop_front();
                        }
                        ring.rates.push_back(new as f32 / seconds);
                        ring.opened = server.opened;
                        ring
                    }
                    None => Ring {
                        opened: server.opened,
                        rates: VecDeque::new(),
                    },
                };
                self.rings.insert(key, ring);
            }
        }
    }

    /// New flows per second, oldest first.
    pub fn rates(&self, service: &str, server: &str) -> Vec<f32> {
        // A key of borrowed strings would need a type of its own.
        let key = (service.to_owned(), server.to_owned());
        let ring = self.rings.get(&key);
        ring.map_or_else(Vec::new, |ring| ring.rates.iter().copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{ServerView, ServiceView};

    fn snapshot(opened: &[u64]) -> Snapshot {
        let servers = opened.iter().zip(1..).map(|(opened, number)| ServerView {
            name: format!("mb{number}"),
            opened: *opened,
            ..ServerView::default()
        });
        Snapshot {
            services: vec![ServiceView {
                name: "smtp".into(),
                servers: servers.collect(),
                ..ServiceView::default()
            }],
            ..Snapshot::default()
        }
    }

    #[test]
    fn rates_are_differences_of_counters() {
        let mut history = History::default();
        for opened in [[100, 0], [110, 5], [110, 0], [135, 10]] {
            history.sample(&snapshot(&opened), STEP);
        }
        assert_eq!(history.rates("smtp", "mb1"), [2.0, 0.0, 5.0]);
        assert_eq!(history.rates("smtp", "mb2"), [1.0, 0.0, 2.0]);
        assert_eq!(history.rates("smtp", "mb3"), Vec::<f32>::new());
        history.sample(&snapshot(&[135]), STEP);
        assert_eq!(history.rates("smtp", "mb2"), Vec::<f32>::new());
    }

    #[test]
    fn ten_minutes_are_kept() {
        let mut history = History::default();
        for number in 0..1000 {
            history.sample(&snapshot(&[number * 5]), STEP);
        }
        assert_eq!(history.rates("smtp", "mb1"), [1.0; KEPT]);
    }
}
