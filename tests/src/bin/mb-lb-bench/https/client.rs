//! A client that says exactly which handshake it wants, and fails where it gets another. It verifies no certificate: what it
//! costs itself is nobody's figure.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};

use super::rig::{COOKIE, NAME};

const PATIENCE: Duration = Duration::from_secs(20);
/// Of `/small`.
const BODY: usize = 100;

/// Key exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    X25519,
    /// X25519MLKEM768.
    Hybrid,
}

impl Group {
    fn supported(self) -> &'static dyn SupportedKxGroup {
        match self {
            Self::X25519 => aws_lc_rs::kx_group::X25519,
            Self::Hybrid => aws_lc_rs::kx_group::X25519MLKEM768,
        }
    }
}

/// One user's, with the tickets that it was given.
pub struct Client {
    config: Arc<ClientConfig>,
    to: SocketAddr,
}

impl Client {
    /// TLS 1.3 with one cipher suite and one group: both sides can only choose the same.
    ///
    /// # Errors
    /// The library refuses.
    pub fn new(to: SocketAddr, group: Group, resumes: bool) -> Result<Self> {
        let provider = CryptoProvider {
            cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![group.supported()],
            ..aws_lc_rs::default_provider()
        };
        let verifier = mb_lb_ctl::upstream_tls::anybody(&provider);
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .context("TLS 1.3")?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.resumption = match resumes {
            true => Resumption::in_memory_sessions(8),
            false => Resumption::disabled(),
        };
        Ok(Self {
            config: Arc::new(config),
            to,
        })
    }

    /// # Errors
    /// There is no connection.
    pub fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect_timeout(&self.to, PATIENCE)
            .with_context(|| format!("cannot connect to {}", self.to))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(NAME).context("a name")?;
        let session = ClientConnection::new(Arc::clone(&self.config), name)?;
        Ok(Connection(StreamOwned::new(session, stream)))
    }

    /// A connection with a handshake of this kind, for one request.
    ///
    /// # Errors
    /// It was another kind, or the request was not answered with 200.
    pub fn visit(&self, kind: HandshakeKind) -> Result<()> {
        let mut connection = self.connect()?;
        connection.request("Connection: close\r\n")?;
        let got = connection.0.conn.handshake_kind();
        ensure!(
            got == Some(kind),
            "a handshake of the kind {got:?}, not {kind:?}"
        );
        // Tickets come before the end, but may come after the response.
        connection.read_to_end()
    }
}

pub struct Connection(StreamOwned<ClientConnection, TcpStream>);

impl Connection {
    /// Asks for `/small` and reads the answer. `fields` are further ones, each with its line end.
    ///
    /// # Errors
    /// It is not 200 with the whole body.
    pub fn request(&mut self, fields: &str) -> Result<()> {
        let text =
            format!("GET /small HTTP/1.1\r\nHost: {NAME}\r\nCookie: {COOKIE}\r\n{fields}\r\n");
        self.0.write_all(text.as_bytes()).context("cannot ask")?;
        self.0.flush().context("cannot ask")?;
        let mut answer = Vec::with_capacity(1024);
        let mut buffer = [0; 2048];
        let head = loop {
            let length = self.0.read(&mut buffer).context("no answer")?;
            ensure!(length > 0, "the connection has ended without an answer");
            answer.extend_from_slice(&buffer[..length]);
            let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                break end + 4;
            }
        };
        while answer.len() < head + BODY {
            let length = self.0.read(&mut buffer).context("no body")?;
            ensure!(length > 0, "the body is too short");
            answer.extend_from_slice(&buffer[..length]);
        }
        ensure!(
            answer.starts_with(b"HTTP/1.1 200 ") && answer.len() == head + BODY,
            "{}",
            String::from_utf8_lossy(&answer)
        );
        Ok(())
    }

    fn read_to_end(&mut self) -> Result<()> {
        match self.0.read(&mut [0; 256]) {
            Ok(0) => Ok(()),
            Ok(_) => anyhow::bail!("more than the answer"),
            // Without close_notify: the answer had a length.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            Err(error) => Err(error).context("no end"),
        }
    }
}
