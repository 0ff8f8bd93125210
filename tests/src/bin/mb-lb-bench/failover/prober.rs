//! A client that tries again and again: a new connection every 2 ms, which counts when the mail server has greeted.

use std::collections::VecDeque;
use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use mb_lb_tests::Machine;
use mb_lb_tests::wait::try_wait_until;
use socket2::{Domain, Protocol, Socket, Type};

/// From one attempt to the next.
pub const EVERY: Duration = Duration::from_millis(2);
/// An attempt is given up after so long: before the kernel says its SYN again (1 s), which would make the next attempts'
/// success look later than it was.
const PATIENCE: Duration = Duration::from_millis(250);
const ANSWERED: Duration = Duration::from_secs(60);
/// Being called later than this is told.
const LATE: Duration = Duration::from_millis(1);

/// What was seen so far.
#[derive(Default)]
struct Seen {
    /// When a greeting came.
    greeted: Vec<Instant>,
    /// When the prober itself was not run in time, and by how much.
    late: Vec<(Instant, Duration)>,
}

/// What a client saw of one event.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    /// Longest time from one greeting to the next.
    pub gap: Duration,
    /// The longest that the prober itself was not run meanwhile.
    pub late: Duration,
}

pub struct Prober {
    seen: Arc<Mutex<Seen>>,
    /// Greetings so far.
    count: Arc<AtomicU64>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Prober {
    /// Starts on a thread of its own, and returns when it is answered.
    pub fn start(machine: &Machine, to: SocketAddr) -> Result<Self> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let count = Arc::new(AtomicU64::new(0));
        let end = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let machine = machine.clone();
            let (seen, count, end) = (Arc::clone(&seen), Arc::clone(&count), Arc::clone(&end));
            move || {
                machine.enter(|| {
                    crate::punctual::be_punctual();
                    probe(to, &seen, &count, &end)
                })
            }
        });
        let prober = Self {
            seen,
            count,
            end,
            thread: Some(thread),
        };
        prober.wait_answered()?;
        Ok(prober)
    }

    /// Waits until greetings come one after another.
    pub fn wait_answered(&self) -> Result<()> {
        try_wait_until("new connections to be greeted", ANSWERED, || {
            let before = self.count.load(Ordering::Relaxed);
            std::thread::sleep(EVERY * 50);
            let came = self.count.load(Ordering::Relaxed) - before;
            ensure!(came >= 25, "{came} of 50 were");
            Ok(())
        })
    }

    /// What was seen between two moments.
    pub fn outage(&self, from: Instant, to: Instant) -> Result<Outage> {
        let seen = self
            .seen
            .lock()
            .map_err(|_poisoned| anyhow!("the prober has panicked"))?;
        let late = seen
            .late
            .iter()
            .filter(|(at, _)| (from..to).contains(at))
            .map(|&(_, late)| late)
            .max();
        Ok(Outage {
            gap: longest_gap(&seen.greeted, from, to),
            late: late.unwrap_or_default(),
        })
    }

    pub fn stop(mut self) -> Result<()> {
        self.end.store(true, Ordering::Relaxed);
        match self.thread.take() {
            Some(thread) => thread
                .join()
                .map_err(|_panic| anyhow!("the prober has panicked"))?,
            None => Ok(()),
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
    }
}

/// Longest time without a success between two moments; the last success before and the first one after belong to it.
fn longest_gap(successes: &[Instant], from: Instant, to: Instant) -> Duration {
    let first = successes.partition_point(|&at| at < from);
    let after = successes.partition_point(|&at| at <= to);
    let inner = &successes[first..after];
    let before = first.checked_sub(1).map_or(from, |at| successes[at]);
    let next = successes.get(after).copied().unwrap_or(to);
    std::iter::once(before)
        .chain(inner.iter().copied())
        .zip(inner.iter().copied().chain(std::iter::once(next)))
        .map(|(one, other)| other - one)
        .max()
        .unwrap_or_default()
}

struct Attempt {
    stream: TcpStream,
    began: Instant,
}

fn probe(to: SocketAddr, seen: &Mutex<Seen>, count: &AtomicU64, end: &AtomicBool) -> Result<()> {
    let mut attempts: VecDeque<Attempt> = VecDeque::new();
    let mut next = Instant::now();
    while !end.load(Ordering::Relaxed) {
        let now = Instant::now();
        if now >= next {
            let late = now - next;
            if late > LATE {
                lock(seen)?.late.push((now, late));
            }
            // What nobody can reach is tried again by the next one.
            if let Some(stream) = begin(to)? {
                attempts.push_back(Attempt { stream, began: now });
            }
            next = (next + EVERY).max(now);
        }
        while attempts
            .front()
            .is_some_and(|attempt| now - attempt.began >= PATIENCE)
        {
            attempts.pop_front();
        }
        wait(&attempts, next)?;
        attempts.retain_mut(|attempt| {
            let mut start = [0; 4];
            match attempt.stream.read(&mut start) {
                Ok(length) => {
                    if start[..length].starts_with(b"220") {
                        count.fetch_add(1, Ordering::Relaxed);
                        if let Ok(mut seen) = seen.lock() {
                            seen.greeted.push(Instant::now());
                        }
                    }
                    false
                }
                Err(error) => matches!(
                    error.kind(),
                    // Not connected yet.
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::NotConnected
                ),
            }
        });
    }
    Ok(())
}

fn lock(seen: &Mutex<Seen>) -> Result<std::sync::MutexGuard<'_, Seen>> {
    seen.lock()
        .map_err(|_poisoned| anyhow!("another thread has panicked"))
}

/// A connection on its way; `None`: there is no way.
fn begin(to: SocketAddr) -> Result<Option<TcpStream>> {
    let socket = Socket::new(
        Domain::for_address(to),
        Type::STREAM.cloexec().nonblocking(),
        Some(Protocol::TCP),
    )
    .context("cannot make a socket")?;
    // It is closed by RST: no TIME_WAIT, of which there would be thousands.
    socket
        .set_linger(Some(Duration::ZERO))
        .context("cannot set up a socket")?;
    match socket.connect(&to.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(_) => return Ok(None),
    }
    Ok(Some(socket.into()))
}

/// Until something has come, or `until`.
fn wait(attempts: &VecDeque<Attempt>, until: Instant) -> Result<()> {
    let mut polled: Vec<libc::pollfd> = attempts
        .iter()
        .map(|attempt| libc::pollfd {
            fd: attempt.stream.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    let left = until.saturating_duration_since(Instant::now());
    let left = libc::timespec {
        // Never more than the time between two attempts.
        tv_sec: 0,
        tv_nsec: left.min(EVERY).subsec_nanos().into(),
    };
    // SAFETY: the array has the length that is given, and outlives the call, as does the time.
    let result = unsafe {
        libc::ppoll(
            polled.as_mut_ptr(),
            polled.len() as libc::nfds_t,
            &raw const left,
            std::ptr::null(),
        )
    };
    let error = std::io::Error::last_os_error();
    if result < 0 && error.kind() != std::io::ErrorKind::Interrupted {
        return Err(error).context("cannot poll");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_reaches_from_the_last_success_to_the_next() {
        let zero = Instant::now();
        let at = |ms| zero + Duration::from_millis(ms);
        let gap = |successes: &[u64], from, to| {
            let successes: Vec<_> = successes.iter().map(|&ms| at(ms)).collect();
            longest_gap(&successes, at(from), at(to)).as_millis()
        };
        assert_eq!(gap(&[10, 12, 14, 50, 52], 13, 55), 36);
        // It began before and ended afterwards.
        assert_eq!(gap(&[10, 50], 20, 30), 40);
        // It is not over, or nothing was ever heard.
        assert_eq!(gap(&[10, 20], 15, 100), 80);
        assert_eq!(gap(&[], 15, 100), 85);
        // What was before is not meant.
        assert_eq!(gap(&[0, 50, 52, 54], 51, 53), 2);
    }
}
