//! A connection that asks RPC servers. Whoever calls sets the deadline.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::rpc::{self, Credential, Failure, Procedure, Record};
use super::seen::{Kind, Trouble};

/// Ports below 1024 that are tried: none that a mail, directory or database server listens on.
const PRIVILEGED: std::ops::Range<u16> = 800..850;

#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    credential: Credential,
}

/// Why a question has no answer.
#[derive(Debug)]
pub(super) enum Problem {
    Io(io::Error),
    Rpc(Failure),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Problem {
    /// `who` is in words: `nfs at 10.0.0.1:2049`.
    pub(super) fn trouble(self, who: &str) -> Trouble {
        match self {
            Self::Io(error) => {
                let (kind, text) = match error.kind() {
                    io::ErrorKind::ConnectionRefused => {
                        (Kind::Refused, "refuses connections".to_owned())
                    }
                    io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                        (Kind::Unreachable, format!("cannot be reached: {error}"))
                    }
                    io::ErrorKind::PermissionDenied => (
                        Kind::Untested,
                        format!("cannot be asked from a port below 1024: {error}"),
                    ),
                    io::ErrorKind::TimedOut => (Kind::NotAnswering, "does not answer".to_owned()),
                    io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::BrokenPipe => (
                        Kind::NotAnswering,
                        "closes the connection without an answer".to_owned(),
                    ),
                    _ => (Kind::NotAnswering, format!("cannot be asked: {error}")),
                };
                Trouble::new(kind, format!("{who} {text}"))
            }
            Self::Rpc(failure) => {
                let kind = match failure {
                    Failure::Versions { .. } => Kind::WrongVersion,
                    failure if failure.is_reply() => Kind::Rejected,
                    _ => Kind::Garbage,
                };
                Trouble::new(kind, format!("{who}: {failure}"))
            }
        }
    }
}

impl Connection {
    pub(super) async fn open(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        Ok(Self {
            stream,
            credential: Credential::None,
        })
    }

    /// From a port that only root can have, as root.
    pub(super) async fn open_as_root(to: SocketAddr) -> io::Result<Self> {
        let first = fastrand::u16(PRIVILEGED);
        for port in (first..PRIVILEGED.end).chain(PRIVILEGED.start..first) {
            let (socket, any) = match to {
                SocketAddr::V4(_) => (TcpSocket::new_v4()?, IpAddr::from([0; 4])),
                SocketAddr::V6(_) => (TcpSocket::new_v6()?, IpAddr::from([0; 16])),
            };
            match socket.bind(SocketAddr::new(any, port)) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => continue,
                bound => bound?,
            }
            // Otherwise all the ports would soon wait for packets that are late (TIME_WAIT).
            socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
            match socket.connect(to).await {
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable
                    ) => {}
                connected => {
                    return Ok(Self {
                        stream: connected?,
                        credential: Credential::Root,
                    });
                }
            }
        }
        Err(io::Error::other(format!(
            "ports {} to {} of this machine are all in use",
            PRIVILEGED.start,
            PRIVILEGED.end - 1
        )))
    }

    /// The result of a call.
    pub(super) async fn call(
        &mut self,
        what: Procedure,
        arguments: &[u8],
    ) -> Result<Vec<u8>, Problem> {
        let xid = fastrand::u32(..);
        self.stream
            .write_all(&rpc::call(xid, what, self.credential, arguments))
            .await?;
        let mut record = Record::default();
        let mut piece = vec![0; 8192];
        loop {
            let length = self.stream.read(&mut piece).await?;
            if length == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            if let Some(reply) = record.feed(&piece[..length]).map_err(Problem::Rpc)? {
                return rpc::result(xid, &reply)
                    .map(<[u8]>::to_vec)
                    .map_err(Problem::Rpc);
            }
        }
    }

    /// Procedure 0, which does nothing.
    pub(super) async fn null(&mut self, program: u32, version: u32) -> Result<(), Problem> {
        let what = Procedure {
            program,
            version,
            procedure: 0,
        };
        self.call(what, &[]).await.map(drop)
    }
}
