//! Waiting for a condition, with a deadline: the only way in which the lab waits.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Between two looks.
const POLL: Duration = Duration::from_millis(10);

/// Waits until `look` returns `Ok`; its `Err` is the state seen, for the message.
///
/// # Errors
/// The deadline passed; the message names `what` and the last state.
pub fn try_wait_until<T, S: Display>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> Result<T, S>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        match look() {
            Ok(value) => return Ok(value),
            Err(state) if Instant::now() >= deadline => {
                bail!("waited {within:?} for {what}; last state: {state:#}")
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

/// As [`try_wait_until`], for tests.
///
/// # Panics
/// The deadline passed; the message names `what` and the last state.
#[track_caller]
pub fn wait_until<T, S: Display>(
    what: &str,
    within: Duration,
    look: impl FnMut() -> Result<T, S>,
) -> T {
    match try_wait_until(what, within, look) {
        Ok(value) => value,
        Err(error) => panic!("{error:#}"),
    }
}
