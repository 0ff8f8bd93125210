//! How long requests take at a fixed rate. Each has its moment, whatever became of those before, and its time counts from
//! that moment: a side that stands still is not spared the requests that would have come meanwhile.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::client::{Client, Group};
use super::rig::{Front, Rig, Side};
use crate::punctual::be_punctual;

/// Each has its own share of the moments, and a request at a time.
const CONNECTIONS: u32 = 32;
/// Before the first moment.
const HEAD_START: Duration = Duration::from_millis(20);

/// Times of all requests of `time`.
pub fn send(rig: &Rig<'_>, side: Side, rate: u32, time: Duration) -> Result<Vec<Duration>> {
    let to = rig.address(side, Front::Ecdsa);
    rig.lab.client().enter(|| all(to, rate, time))
}

/// In milliseconds, of times in order.
pub fn percentile(times: &[Duration], share: f64) -> f64 {
    let nth = (times.len() as f64 * share).ceil() as usize;
    times[nth.clamp(1, times.len()) - 1].as_secs_f64() * 1e3
}

fn all(to: SocketAddr, rate: u32, time: Duration) -> Result<Vec<Duration>> {
    let client = Client::new(to, Group::X25519, false)?;
    let mut connections = (0..CONNECTIONS)
        .map(|_| {
            let mut connection = client.connect()?;
            connection.request("")?;
            Ok(connection)
        })
        .collect::<Result<Vec<_>>>()?;
    let start = Instant::now() + HEAD_START;
    let total = (time.as_secs_f64() * f64::from(rate)) as u32;
    std::thread::scope(|scope| {
        let threads: Vec<_> = connections
            .iter_mut()
            .zip(0..)
            .map(|(connection, first)| {
                scope.spawn(move || {
                    be_punctual();
                    (first..total)
                        .step_by(CONNECTIONS as usize)
                        .map(|nth| {
                            let moment =
                                start + Duration::from_secs_f64(f64::from(nth) / f64::from(rate));
                            sleep(moment.saturating_duration_since(Instant::now()));
                            connection.request("")?;
                            Ok(moment.elapsed())
                        })
                        .collect::<Result<Vec<_>>>()
                })
            })
            .collect();
        let mut all = Vec::with_capacity(total as usize);
        for thread in threads {
            all.extend(
                thread
                    .join()
                    .map_err(|_| anyhow!("a client has panicked"))??,
            );
        }
        Ok(all)
    })
}
