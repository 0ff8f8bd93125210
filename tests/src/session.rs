//! One SMTP session that a test holds open.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::machine::Machine;

/// For connecting, and for each reply.
const PATIENCE: Duration = Duration::from_secs(10);

/// An open session, its greeting read. Dropping it closes the connection (FIN) without QUIT.
#[derive(Debug)]
pub struct Session {
    reader: BufReader<TcpStream>,
    greeting: String,
    local: SocketAddr,
    to: SocketAddr,
}

impl Session {
    /// Opens a session from `machine`.
    ///
    /// # Errors
    /// No connection or no 220 greeting within ten seconds.
    pub fn open(machine: &Machine, to: SocketAddr) -> Result<Self> {
        Self::open_from(machine, None, to)
    }

    /// As [`Session::open`], from one of the machine's addresses.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub fn open_from(machine: &Machine, from: Option<IpAddr>, to: SocketAddr) -> Result<Self> {
        machine.enter(|| connect(from, to))?.greeted()
    }

    /// Opens `count` sessions one after another: each has been greeted before the next begins.
    ///
    /// # Errors
    /// As [`Session::open`]; the message says at which one.
    pub fn open_many(machine: &Machine, to: SocketAddr, count: usize) -> Result<Vec<Self>> {
        machine.enter(|| {
            (1..=count)
                .map(|number| {
                    connect(None, to)
                        .and_then(Connected::greeted)
                        .with_context(|| format!("session {number} of {count}"))
                })
                .collect()
        })
    }

    /// The greeting's text after `220 `.
    pub fn greeting(&self) -> &str {
        &self.greeting
    }

    /// Who greeted: the machine's name, as [`crate::Sink`] sets it.
    pub fn server(&self) -> &str {
        self.greeting.split(' ').next().unwrap_or_default()
    }

    /// The client's end.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Sends one line and reads the reply, whose lines are joined by `\n`.
    ///
    /// # Errors
    /// The connection is closed or reset, or there is no reply within ten seconds.
    pub fn command(&mut self, line: &str) -> Result<String> {
        self.reader
            .get_mut()
            .write_all(format!("{line}\r\n").as_bytes())
            .with_context(|| format!("{self}: cannot send {line:?}"))?;
        self.reply()
    }

    /// Sends one small message.
    ///
    /// # Errors
    /// A negative reply, or as [`Session::command`].
    pub fn send_message(&mut self) -> Result<()> {
        for (line, expected) in [
            ("HELO client.lab.example", "250"),
            ("MAIL FROM:<a@client.lab.example>", "250"),
            ("RCPT TO:<b@vip.lab.example>", "250"),
            ("DATA", "354"),
            ("Subject: lab\r\n\r\nx\r\n.", "250"),
        ] {
            let reply = self.command(line)?;
            if !reply.starts_with(expected) {
                bail!("{self}: {line:?} was answered {reply:?}");
            }
        }
        Ok(())
    }

    /// The session still works: NOOP is answered by the server that it began with.
    ///
    /// # Errors
    /// It does not.
    pub fn expect_alive(&mut self) -> Result<()> {
        let reply = self.command("NOOP")?;
        if !reply.starts_with("250") {
            bail!("{self}: NOOP was answered {reply:?}");
        }
        Ok(())
    }

    /// QUIT, its reply, and the server's FIN.
    ///
    /// # Errors
    /// As [`Session::command`].
    pub fn quit(mut self) -> Result<()> {
        let reply = self.command("QUIT")?;
        if !reply.starts_with("221") {
            bail!("{self}: QUIT was answered {reply:?}");
        }
        let mut rest = String::new();
        if self.reader.read_line(&mut rest)? != 0 {
            bail!("{self}: more after QUIT: {rest:?}");
        }
        Ok(())
    }

    /// Closes with RST instead of FIN.
    ///
    /// # Errors
    /// The socket refuses.
    pub fn reset(self) -> Result<()> {
        SockRef::from(self.reader.get_ref())
            .set_linger(Some(Duration::ZERO))
            .with_context(|| format!("{self}: cannot ask for a reset"))
    }

    /// The client's connection is gone without a word, neither FIN nor RST. What the server sends later is answered
    /// with RST by the client's kernel; where that must not be, pull the cable ([`Machine::set_link`]) before.
    ///
    /// # Errors
    /// The socket refuses; it needs CAP_NET_ADMIN.
    pub fn vanish(self) -> Result<()> {
        let on: libc::c_int = 1;
        // SAFETY: the descriptor is open, and the option's value is an int that outlives the call.
        let result = unsafe {
            libc::setsockopt(
                self.reader.get_ref().as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_REPAIR,
                std::ptr::from_ref(&on).cast(),
                size_of_val(&on) as libc::socklen_t,
            )
        };
        if result != 0 {
            return Err(std::io::Error::last_os_error())
                .with_context(|| format!("{self}: cannot put the socket into repair mode"));
        }
        Ok(())
    }

    /// Waits for the other side's end: `Ok(())` for FIN, the error for RST.
    ///
    /// # Errors
    /// `ConnectionReset` for RST, `WouldBlock` where nothing comes within ten seconds.
    pub fn wait_for_end(&mut self) -> std::io::Result<()> {
        loop {
            let buffered = self.reader.fill_buf()?.len();
            if buffered == 0 {
                return Ok(());
            }
            self.reader.consume(buffered);
        }
    }

    fn reply(&mut self) -> Result<String> {
        read_reply(&mut self.reader).with_context(|| format!("{self}: no reply"))
    }
}

impl std::fmt::Display for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "session {} to {} with {}",
            self.local,
            self.to,
            self.server()
        )
    }
}

/// Before the greeting.
struct Connected {
    stream: TcpStream,
    local: SocketAddr,
    to: SocketAddr,
}

impl Connected {
    fn greeted(self) -> Result<Session> {
        let Self { stream, local, to } = self;
        let mut reader = BufReader::new(stream);
        let reply =
            read_reply(&mut reader).with_context(|| format!("no greeting on {local} from {to}"))?;
        let Some(greeting) = reply.strip_prefix("220 ") else {
            bail!("{to} greeted {local} with {reply:?}");
        };
        Ok(Session {
            greeting: greeting.to_owned(),
            reader,
            local,
            to,
        })
    }
}

fn connect(from: Option<IpAddr>, to: SocketAddr) -> Result<Connected> {
    let socket = Socket::new(
        Domain::for_address(to),
        Type::STREAM.cloexec(),
        Some(Protocol::TCP),
    )
    .context("cannot make a socket")?;
    if let Some(from) = from {
        socket
            .bind(&SocketAddr::new(from, 0).into())
            .with_context(|| format!("cannot bind to {from}"))?;
    }
    socket
        .connect_timeout(&to.into(), PATIENCE)
        .with_context(|| format!("cannot connect to {to}"))?;
    let stream = TcpStream::from(socket);
    stream
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
        .and_then(|()| stream.set_nodelay(true))
        .context("cannot set up a socket")?;
    let local = stream
        .local_addr()
        .context("a connection without address")?;
    Ok(Connected { stream, local, to })
}

/// A reply of one or more lines (RFC 5321 section 4.2.1), without line ends but between its lines.
fn read_reply(reader: &mut BufReader<TcpStream>) -> Result<String> {
    let mut reply = String::new();
    loop {
        let start = reply.len();
        if reader.read_line(&mut reply)? == 0 {
            bail!("the connection was closed after {reply:?}");
        }
        let line = reply[start..].trim_end().to_owned();
        let last = line.as_bytes().get(3) != Some(&b'-');
        reply.truncate(start);
        reply.push_str(&line);
        if last {
            return Ok(reply);
        }
        reply.push('\n');
    }
}
