//! TLS with clients.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{NoServerSessionStorage, ProducesTickets, ResolvesServerCert};

use crate::config::{Proxy, TlsVersion};

/// Tickets that a new client gets (RFC 8446 section 4.6.1): browsers open two connections at once.
const TICKETS: usize = 2;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// What clients of this proxy are spoken to with: forward secrecy only, hybrid post-quantum key exchange
/// (X25519MLKEM768) where they know it, tickets instead of a table of sessions.
pub fn server_config(
    proxy: &Proxy,
    resolver: Arc<dyn ResolvesServerCert>,
    ticketer: Arc<dyn ProducesTickets>,
) -> Result<Arc<ServerConfig>, Error> {
    let versions: &[&rustls::SupportedProtocolVersion] = match proxy.tls_min_version {
        TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = ticketer;
    config.send_tls13_tickets = TICKETS;
    config.alpn_protocols = match proxy.http2 {
        true => vec![b"h2".to_vec(), b"http/1.1".to_vec(), b"http/1.0".to_vec()],
        // Without the last one, clients that know nothing else would be turned away.
        false => vec![b"http/1.1".to_vec(), b"http/1.0".to_vec()],
    };
    Ok(Arc::new(config))
}
