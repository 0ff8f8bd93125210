//! The two streams.

use std::io::{self, IsTerminal as _, Write as _};

use crate::cli::args::Color;
use crate::cli::exit::Failure;
use crate::cli::style::Style;

/// Writes a result to stdout.
pub fn emit(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::broken_pipe(),
            _ => Failure::failed(format!("cannot write the output: {error}")),
        })
}

/// Writes a line of narration to stderr. When nobody can read it, the result still counts.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

pub fn style_of_stdout(color: Color) -> Style {
    Style::detect(color, io::stdout().is_terminal(), env)
}

pub fn style_of_stderr(color: Color) -> Style {
    Style::detect(color, io::stderr().is_terminal(), env)
}

/// One document of JSON, indented for people, with a line end.
pub fn json<T: serde::Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|error| Failure::failed(format!("cannot write JSON: {error}")))
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
