//! `check`: what is wrong with a file, and as root what this machine lacks for it.

pub(in crate::cli) mod facts;

use serde_json::{Value, json};

use crate::cli::args::{Check, Global, TextOrJson};
use crate::cli::config_source::read;
use crate::cli::exit::{Exit, Failure};
use crate::cli::format::count;
use crate::cli::output::{emit, json as document, say, style_of_stdout};
use crate::config::Config;
use crate::snapshot::JSON_VERSION;

use facts::Fact;

/// What the configuration module says of a text.
struct Examined {
    /// `None` where there are errors.
    config: Option<Config>,
    errors: usize,
    warnings: usize,
    /// For people; empty where nothing is wrong.
    rendered: String,
    /// The same as data.
    diagnostics: Value,
}

pub fn run(global: &Global, args: &Check) -> Result<Exit, Failure> {
    let path = args.file.as_deref().unwrap_or_else(|| global.config_path());
    let source = read(path)?;
    let name = path.display().to_string();
    let color = style_of_stdout(global.color).color;
    let examined = examine(&source, &name, &host_name(), color)?;
    let root = nix::unistd::geteuid().is_root();
    let facts = match &examined.config {
        Some(config) if root => facts::missing(config, &global.bpf_root),
        _ => Vec::new(),
    };
    let warnings = examined.warnings + facts.len();
    emit(&match args.output {
        TextOrJson::Text => examined.rendered.clone() + &text(&facts),
        TextOrJson::Json => document(&json!({
            "version": JSON_VERSION,
            "file": name,
            "errors": examined.errors,
            "warnings": warnings,
            "diagnostics": examined.diagnostics,
            "machine": facts,
            "machine_checked": root && examined.config.is_some(),
        }))?,
    })?;
    say(&format!(
        "{name}: {}, {}",
        count(examined.errors as u64, "error"),
        count(warnings as u64, "warning")
    ));
    if !root && examined.config.is_some() {
        say(
            "not root: kernel, BPF file system, interfaces, routes and certificates of this machine were not looked at",
        );
    }
    Ok(if examined.errors > 0 {
        Exit::ConfigErrors
    } else if warnings > 0 && args.strict {
        Exit::ConfigWarnings
    } else {
        Exit::Ok
    })
}

fn text(facts: &[Fact]) -> String {
    facts
        .iter()
        .map(|fact| format!("warning: {}\n  next: {}\n", fact.text, fact.next))
        .collect()
}

/// The one place where this command meets the configuration module.
fn examine(source: &str, path: &str, host_name: &str, color: bool) -> Result<Examined, Failure> {
    let parsed = crate::config::parse(source, host_name);
    let diagnostics = serde_json::to_value(&parsed.diagnostics)
        .map_err(|error| Failure::failed(format!("cannot write JSON: {error}")))?;
    Ok(Examined {
        errors: parsed.errors(),
        warnings: parsed.warnings(),
        rendered: match parsed.diagnostics.is_empty() {
            true => String::new(),
            false => crate::config::render(&parsed.diagnostics, source, path, color),
        },
        diagnostics,
        config: parsed.config,
    })
}

/// The director's name where the file gives none.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}
