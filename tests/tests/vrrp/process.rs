//! A router of ours in a process of its own, which can be killed and frozen.

use anyhow::{Result, ensure};
use mb_lb_tests::machine::Machine;
use mb_lb_tests::process::Process;
use mb_lb_tests::try_wait_until;
use nix::sys::signal::Signal;

use crate::SOON;

pub struct RouterProcess {
    process: Process,
    seen: usize,
}

impl RouterProcess {
    /// Version 2 with [`VIP4`](crate::VIP4); `arguments` are further ones of the program.
    pub fn start(machine: &Machine, priority: u8, arguments: &[&str]) -> Result<Self> {
        let mut command = machine.command(env!("CARGO_BIN_EXE_mb-lb-router"));
        command
            .args(["--priority", &priority.to_string()])
            .args(["--address", crate::VIP4])
            .args(arguments);
        Ok(Self {
            process: machine.spawn("router", &mut command)?,
            seen: 0,
        })
    }

    /// Waits for the next change of its role, as it is written, and checks that it has this in it.
    pub fn wait_turn(&mut self, expected: &str) -> Result<()> {
        let (line, seen) = try_wait_until(expected, SOON, || {
            let output = self.process.output()?;
            // What comes last may not be written to its end.
            let whole = output.rfind('\n').map_or("", |end| &output[..end]);
            let turns: Vec<_> = whole
                .lines()
                .filter(|line| line.starts_with("Turned"))
                .collect();
            ensure!(turns.len() > self.seen, "{output}");
            Ok((turns[self.seen].to_owned(), self.seen + 1))
        })?;
        self.seen = seen;
        ensure!(line.contains(expected), "{line}");
        Ok(())
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    pub fn wait(&mut self) -> Result<()> {
        let status = self.process.wait(SOON)?;
        ensure!(status.success(), "{status}; {}", self.process.tail());
        Ok(())
    }

    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }
}
