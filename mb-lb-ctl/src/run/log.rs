//! What is logged, and how loud.

use tracing::Level;
use tracing_subscriber::EnvFilter;

use crate::cli::{Exit, Failure};
use crate::snapshot::EventView;

const VARIABLE: &str = "MB_LB_LOG";
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// Logs to standard error from now on.
///
/// # Errors
/// `MB_LB_LOG` is not what it may be: whoever wrote it wanted to see something.
pub fn start() -> Result<(), Failure> {
    let wanted = match std::env::var(VARIABLE) {
        Ok(wanted) => wanted,
        Err(std::env::VarError::NotPresent) => String::new(),
        Err(std::env::VarError::NotUnicode(_)) => return Err(refused("not UTF-8")),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter(&wanted)?)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .init();
    Ok(())
}

/// A bare word that is no level would be taken for the name of a module, and silence all others.
fn filter(wanted: &str) -> Result<EnvFilter, Failure> {
    if wanted.trim().is_empty() {
        return Ok(EnvFilter::new("info"));
    }
    for part in wanted.split(',').map(str::trim) {
        let is_level = LEVELS.iter().any(|level| part.eq_ignore_ascii_case(level));
        if !is_level && !part.contains('=') {
            return Err(refused(&format!("`{part}` is not a level")));
        }
    }
    EnvFilter::try_new(wanted).map_err(|error| refused(&error.to_string()))
}

fn refused(why: &str) -> Failure {
    Failure::new(
        Exit::ConfigErrors,
        format!("not started: the variable {VARIABLE} cannot be understood: {why}"),
    )
    .next(format!(
        "set it to one of: {}; or remove it",
        LEVELS.join(", ")
    ))
}

/// An event, as loud as it deserves.
pub fn event(event: &EventView) {
    let EventView {
        subject,
        kind,
        text,
        ..
    } = event;
    match level(kind) {
        Level::ERROR => tracing::error!(subject, kind, "{text}"),
        Level::WARN => tracing::warn!(subject, kind, "{text}"),
        _ => tracing::info!(subject, kind, "{text}"),
    }
}

fn level(kind: &str) -> Level {
    match kind {
        "service-down" | "attach-failed" | "apply-failed" | "split-brain" | "no-writer"
        | "no-master" | "two-masters" | "storage-failed" => Level::ERROR,
        "switch" | "hold" | "size" | "password" | "sentinels" | "unserved" => Level::WARN,
        "down" | "sync-failed" | "reload-failed" | "table-full" | "drift" | "no-room" => {
            Level::WARN
        }
        _ => Level::INFO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_a_level_is_taken_for_one() {
        for good in [
            "",
            " ",
            "info",
            "WARN",
            "debug",
            "info,mb_lb_ctl=debug",
            "mb_lb_ctl::net=trace",
        ] {
            assert!(filter(good).is_ok(), "{good:?}");
        }
        for bad in [
            "inof",
            "verbose",
            "off",
            "mb_lb_ctl",
            "info,loud",
            "mb_lb_ctl=loud",
            "5",
            ",",
        ] {
            let failure = filter(bad).expect_err(bad);
            assert_eq!(failure.exit, Exit::ConfigErrors);
            assert!(failure.next.contains("error, warn, info, debug, trace"));
        }
    }

    #[test]
    fn what_hurts_is_loud() {
        assert_eq!(level("service-down"), Level::ERROR);
        assert_eq!(level("down"), Level::WARN);
        assert_eq!(level("up"), Level::INFO);
    }
}
