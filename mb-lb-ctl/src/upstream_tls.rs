//! TLS as a client, with servers: for checks, and for the proxy.
//!
//! Configurations are made once for each way to verify and kept, with the sessions that servers gave for resumption. One
//! that was made from files is made anew when these change.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use crate::config::{ServerTls, Verify};

mod verifier;
mod words;

pub use words::explain;

/// Where Debian keeps what `verify = "system"` believes; update-ca-certificates(8) changes it.
const SYSTEM: &str = "/etc/ssl/certs";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {path}: {error}", path = path.display())]
    Read { path: PathBuf, error: pem::Error },
    #[error("{path} has no certificate", path = path.display())]
    Empty { path: PathBuf },
    #[error("{path} has a certificate that cannot be used: {error}", path = path.display())]
    Useless { path: PathBuf, error: rustls::Error },
    #[error("this host trusts no certificate authority: {0}")]
    NoAuthorities(String),
    #[error("not a server name: {0}")]
    Name(String),
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// Without ALPN: whoever wants it sets `alpn_protocols` of a copy, which shares the sessions of this one.
///
/// # Errors
/// The authorities cannot be read.
pub fn client_config(tls: &ServerTls) -> Result<Arc<ClientConfig>, Error> {
    static KNOWN: LazyLock<Mutex<HashMap<Verify, Known>>> = LazyLock::new(Mutex::default);

    let stamp = match &tls.verify {
        Verify::Ca(path) => stamp(path),
        Verify::System => stamp(Path::new(SYSTEM)),
        Verify::None | Verify::Pinned(_) => None,
    };
    // What is in it is whole at any time.
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = known.get(&tls.verify).filter(|known| known.stamp == stamp) {
        return Ok(Arc::clone(&known.config));
    }
    let config = Arc::new(make(&tls.verify)?);
    let entry = Known {
        stamp,
        config: Arc::clone(&config),
    };
    known.insert(tls.verify.clone(), entry);
    Ok(config)
}

/// The name to connect with: an address is never sent as SNI.
///
/// # Errors
/// `sni` is no name, which the configuration lets through in no file.
pub fn server_name(tls: &ServerTls, address: IpAddr) -> Result<ServerName<'static>, Error> {
    match &tls.sni {
        Some(sni) => ServerName::try_from(sni.clone()).map_err(|_| Error::Name(sni.clone())),
        None => Ok(ServerName::IpAddress(address.into())),
    }
}

/// Believes everybody, as `verify = "none"` does.
pub fn anybody(provider: &CryptoProvider) -> Arc<dyn ServerCertVerifier> {
    let algorithms = provider.signature_verification_algorithms;
    Arc::new(verifier::Anybody(algorithms))
}

struct Known {
    stamp: Option<(SystemTime, u64)>,
    config: Arc<ClientConfig>,
}

/// What changes with the file. `None` where it cannot be seen, which reading it will say better.
fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn make(verify: &Verify) -> Result<ClientConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match verify {
        Verify::None => anybody(&provider),
        Verify::Pinned(digest) => Arc::new(verifier::Pinned {
            digest: *digest,
            algorithms: provider.signature_verification_algorithms,
        }),
        Verify::Ca(path) => {
            let listed = certificates(path)?;
            let roots = roots(path, &listed)?;
            Arc::new(verifier::Listed {
                authorities: authorities(roots, &provider)?,
                listed,
            })
        }
        Verify::System => authorities(system()?, &provider)?,
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Setup(error.to_string()))?;
    let builder = builder
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    Ok(builder.with_no_client_auth())
}

fn authorities(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Error> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| Error::Setup(error.to_string()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let failed = |error| Error::Read {
        path: path.to_owned(),
        error,
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(failed)?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(failed)?;
    match certificates.is_empty() {
        true => Err(Error::Empty {
            path: path.to_owned(),
        }),
        false => Ok(certificates),
    }
}

fn roots(path: &Path, certificates: &[CertificateDer<'static>]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let added = roots.add(certificate.clone());
        added.map_err(|error| Error::Useless {
            path: path.to_owned(),
            error,
        })?;
    }
    Ok(roots)
}

fn system() -> Result<RootCertStore, Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some hosts have an odd one among the many.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added > 0 {
        return Ok(roots);
    }
    let why = found.errors.first().map(ToString::to_string);
    Err(Error::NoAuthorities(
        why.unwrap_or_else(|| format!("nothing in {SYSTEM}")),
    ))
}

/// What `error` of a handshake is of TLS, if it is not of the connection.
pub fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

#[cfg(test)]
pub(crate) mod tests;
