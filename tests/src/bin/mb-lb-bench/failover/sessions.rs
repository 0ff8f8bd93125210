//! Sessions that are open while the VIP moves.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::Machine;
use socket2::SockRef;

/// For the greeting.
const PATIENCE: Duration = Duration::from_secs(10);
/// For the answers of all of them: longer than TCP needs to say again what was lost.
const ANSWER: Duration = Duration::from_secs(5);

#[derive(Default)]
pub struct Sessions(Vec<TcpStream>);

impl Sessions {
    /// Opens what is missing to `count`.
    pub fn fill(&mut self, machine: &Machine, to: SocketAddr, count: usize) -> Result<()> {
        let missing = count.saturating_sub(self.0.len());
        let opened = machine.enter(|| {
            (0..missing)
                .map(|_| open(to))
                .collect::<Result<Vec<TcpStream>>>()
        })?;
        self.0.extend(opened);
        Ok(())
    }

    /// Closes so many.
    pub fn close(&mut self, count: usize) {
        self.0.truncate(self.0.len().saturating_sub(count));
    }

    /// Says something on each, keeps those on which the server answers, and tells how many they are.
    pub fn survivors(&mut self) -> Result<usize> {
        // One that is reset already is found below.
        for stream in &mut self.0 {
            let _written = stream.write_all(b"NOOP\r\n");
        }
        let deadline = Instant::now() + ANSWER;
        let mut alive = Vec::new();
        for mut stream in std::mem::take(&mut self.0) {
            let left = deadline
                .saturating_duration_since(Instant::now())
                .max(Duration::from_millis(1));
            stream
                .set_read_timeout(Some(left))
                .context("cannot set up a socket")?;
            let mut reply = [0; 64];
            if stream
                .read(&mut reply)
                .is_ok_and(|length| reply[..length].starts_with(b"250"))
            {
                alive.push(stream);
            } else {
                // No FIN that is said again for minutes.
                SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
            }
        }
        self.0 = alive;
        Ok(self.0.len())
    }
}

fn open(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE).context("cannot connect")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut greeting = String::new();
    let mut reader = BufReader::new(stream);
    reader.read_line(&mut greeting).context("no greeting")?;
    ensure!(greeting.starts_with("220 "), "greeted with {greeting:?}");
    // The greeting is all that was sent.
    Ok(reader.into_inner())
}
