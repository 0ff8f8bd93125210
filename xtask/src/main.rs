//! `cargo xtask`: what a checkout needs beyond `cargo build`.
//!
//! Every command does its own set-up first, and a set-up that is done costs well under a second. Narration goes
//! to stderr, so that what a command prints can be piped.

mod bench;
mod demo;
mod dist;
mod ebpf;
mod lab;
mod progress;
mod setup;
mod test;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

use setup::Purpose;

const EXAMPLES: &str = "\
Examples:
  cargo xtask demo
  cargo xtask lab up
  cargo xtask test --package mb-lb-tests --test operator
  cargo xtask bench --quick";

/// Build, try and test mb-lb
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Get what the other commands need: Rust components, bpf-linker, Debian packages and kernels
    Setup,
    /// Build the eBPF program alone; prints the path of the object
    BuildEbpf,
    /// Watch the director work: real SMTP, failover, restart, drain, two directors, in a minute and a half (root)
    Demo,
    /// Run every test, in the lab network too (root)
    #[command(
        after_help = "Examples:\n  cargo xtask test\n  cargo xtask test drain\n  cargo xtask test --package mb-lb-tests --test operator"
    )]
    Test(test::Arguments),
    /// A lab network that stays up: client, director and three mail servers (root)
    #[command(
        after_help = "Examples:\n  cargo xtask lab up\n  cargo xtask lab exec lb1 mb-lb-ctl run\n  cargo xtask lab exec lb1 mb-lb-ctl status\n  cargo xtask lab down"
    )]
    Lab {
        #[command(subcommand)]
        what: lab::What,
    },
    /// Measure the director, beside HAProxy and the kernel's own means (root)
    #[command(
        after_help = "Examples:\n  cargo xtask bench --quick\n  cargo xtask bench --only wire --json wire.json"
    )]
    Bench(bench::Arguments),
    /// Build the Debian package; prints what it holds and where it is
    Dist,
    /// What the continuous integration runs: formatting, clippy, tests (root)
    Ci,
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    let root = workspace_root();
    match task {
        Task::Setup => {
            setup::toolchain(&root)?;
            setup::packages(Purpose::Test)?;
            setup::kernels(&root)?;
            setup::debian_roots(&root)?;
            setup::cargo_deb(&root)?;
            eprintln!("setup: all is there");
        }
        Task::BuildEbpf => {
            setup::toolchain(&root)?;
            println!("{}", build_ebpf(&root)?.display());
        }
        Task::Demo => return demo::run(&root),
        Task::Test(arguments) => return test::run(&root, &arguments),
        Task::Lab { what } => return lab::run(&root, &what),
        Task::Dist => return dist::run(&root),
        Task::Bench(arguments) => return bench::run(&root, &arguments),
        Task::Ci => {
            need_root("ci")?;
            return finish(Command::new(root.join(".ci/run")).current_dir(&root));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the object where people look for it. The controller embeds one that its build script makes, from the
/// same cache.
fn build_ebpf(root: &Path) -> Result<PathBuf> {
    progress::step("build-ebpf: the XDP program", || {
        ebpf::build(root, &ebpf::object_path(root)).map_err(anyhow::Error::msg)
    })
}

fn workspace_root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}

/// # Errors
/// One line for who is not root.
fn need_root(command: &str) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        let whole: Vec<String> = env::args().skip(1).map(|word| shell_word(&word)).collect();
        bail!(
            "`cargo xtask {command}` makes network namespaces and loads XDP programs: run it as root, \
             e.g. `sudo -E env PATH=\"$PATH\" cargo xtask {}`",
            whole.join(" ")
        );
    }
    Ok(())
}

/// As one would type it.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// A cargo that sees the user's environment, not what the cargo that runs us has set for us.
fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root);
    for (name, _) in env::vars_os() {
        let ours = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        if ours {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Runs a command whose output the user sees, and passes its exit code on.
fn finish(command: &mut Command) -> Result<ExitCode> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    Ok(match status.code() {
        Some(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        None => {
            eprintln!(
                "xtask: {} ended by {status}",
                command.get_program().display()
            );
            ExitCode::FAILURE
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn words_are_typed_as_a_shell_takes_them() {
        for (word, typed) in [
            ("exec", "exec"),
            ("--only=wire", "--only=wire"),
            ("a b", "'a b'"),
            ("it's", "'it'\\''s'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(word), typed);
        }
    }
}
