//! Programs that tests talk to, most of them scripts of Python with Debian's modules.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::Machine;

/// Whatever else is in PATH, the modules are this one's.
const PYTHON: &str = "/usr/bin/python3";

/// `name` is for the file.
pub fn command(machine: &Machine, name: &str, script: &str) -> Result<Command> {
    let path = machine.directory().join(name);
    fs::write(&path, script).with_context(|| format!("cannot write {}", path.display()))?;
    let mut command = machine.command(PYTHON);
    command.arg(path);
    Ok(command)
}

/// One that answers lines with lines.
pub struct Dialogue {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Dialogue {
    pub fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let to = child.stdin.take();
        let from = BufReader::new(child.stdout.take().context("it was piped")?);
        Ok(Self { child, to, from })
    }

    /// The next line. The scripts give up by themselves when nothing comes.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        ensure!(!line.is_empty(), "it has ended");
        Ok(line.trim_end().to_owned())
    }

    pub fn tell(&mut self, line: &str) -> Result<()> {
        writeln!(self.to.as_mut().context("it was ended")?, "{line}").context("it does not read")
    }

    pub fn ask(&mut self, line: &str) -> Result<String> {
        self.tell(line)?;
        self.line()
    }

    /// Its last line.
    pub fn end(mut self) -> Result<String> {
        self.to = None;
        self.line()
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        // It may have ended.
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}
