//! Certificates of a proxy: read from files, checked, chosen by the name that the client asks for.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// Endings of files that are looked at in a directory; a key beside has another one.
const ENDINGS: [&str; 3] = ["pem", "crt", "cer"];

/// What people are told of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    pub file: PathBuf,
    /// Names that it is for.
    pub names: Vec<String>,
    pub issuer: String,
    /// Unix seconds.
    pub not_before: i64,
    pub not_after: i64,
    /// SHA-256 of the DER form, in hex digits.
    pub fingerprint: String,
}

/// Why a file is no good; the text begins with its path.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {error}", .path.display())]
    Read {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("{}: no certificate in it", .0.display())]
    NoCertificate(PathBuf),
    #[error("{}: no key in it, and none beside it ({} or {})", .path.display(), .beside[0].display(), .beside[1].display())]
    NoKey { path: PathBuf, beside: [PathBuf; 2] },
    #[error("{}: {text}", .path.display())]
    Pem { path: PathBuf, text: String },
    #[error("{}: the key in it is encrypted", .0.display())]
    Encrypted(PathBuf),
    #[error("{}: the key is not that of the certificate", .0.display())]
    WrongKey(PathBuf),
    #[error("{}: the key cannot be used: {text}", .path.display())]
    Key { path: PathBuf, text: String },
    #[error(
        "{}: certificate {} of the chain was not issued by the next one ({issuer}, not {subject}): put them in order, the server's first", .path.display(), .number
    )]
    Chain {
        path: PathBuf,
        number: usize,
        issuer: String,
        subject: String,
    },
    #[error("{}: a directory without a certificate", .0.display())]
    EmptyDirectory(PathBuf),
}

impl Error {
    /// What to do about it.
    pub const fn next(&self) -> &'static str {
        match self {
            Self::Read { .. } => "write the file, or correct `certificate`",
            Self::NoCertificate(_) => "put the chain into it, the server's certificate first",
            Self::NoKey { .. } => "put the key into it, or beside it",
            Self::Pem { .. } => "write it in PEM form",
            Self::Encrypted(_) => "write it without a password: openssl pkey -in OLD -out NEW",
            Self::WrongKey(_) => {
                "put the key of this certificate there, or the certificate of this key"
            }
            Self::Key { .. } => "make a key of RSA, ECDSA (P-256, P-384, P-521) or Ed25519",
            Self::Chain { .. } => {
                "put the server's certificate first, then its issuer's, and so on"
            }
            Self::EmptyDirectory(_) => "put PEM files there (.pem, .crt, .cer), or name a file",
        }
    }
}

#[derive(Debug)]
struct Entry {
    key: Arc<CertifiedKey>,
    info: Info,
}

/// All of one proxy.
#[derive(Debug)]
pub struct Certificates {
    /// In the order of the configuration; the first is for clients who ask for no name that is here.
    entries: Vec<Entry>,
}

impl Certificates {
    /// Reads files and directories.
    ///
    /// # Errors
    /// All that is wrong, at least one: nothing is taken by halves.
    pub fn load(paths: &[PathBuf]) -> Result<Self, Vec<Error>> {
        let mut entries = Vec::new();
        let mut errors = Vec::new();
        for path in paths {
            let files = match files(path) {
                Ok(files) => files,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            for file in files {
                match read(&file) {
                    Ok(entry) => entries.push(entry),
                    Err(error) => errors.push(error),
                }
            }
        }
        match errors.is_empty() {
            true => Ok(Self { entries }),
            false => Err(errors),
        }
    }

    pub fn infos(&self) -> impl Iterator<Item = &Info> {
        self.entries.iter().map(|entry| &entry.info)
    }

    /// By name: the exact one, then a wildcard, then the first of all; of several, one that is in date, and whose key the
    /// client can check.
    fn choose(
        &self,
        name: Option<&str>,
        now: i64,
        fits: impl Fn(&CertifiedKey) -> bool,
    ) -> Option<&Arc<CertifiedKey>> {
        let name = name.map(|name| name.trim_end_matches('.').to_ascii_lowercase());
        let rank = |entry: &Entry| {
            let named = name.as_ref().map_or(0, |name| entry.info.rank(name));
            let dated = (entry.info.not_before..=entry.info.not_after).contains(&now);
            (named, fits(&entry.key), dated)
        };
        // The first of equals.
        let mut best: Option<(&Entry, _)> = None;
        for entry in &self.entries {
            let rank = rank(entry);
            if best.as_ref().is_none_or(|(_, other)| rank > *other) {
                best = Some((entry, rank));
            }
        }
        best.map(|(entry, _)| &entry.key)
    }
}

impl Info {
    /// 2: it has this very name; 1: by a wildcard (RFC 9525 section 6.3); 0: it has not.
    fn rank(&self, name: &str) -> u8 {
        let wild = name.split_once('.').map(|(_, rest)| rest);
        let of = |own: &String| {
            if own == name {
                return 2;
            }
            let same = own.strip_prefix("*.").is_some_and(|own| Some(own) == wild);
            u8::from(same)
        };
        self.names.iter().map(of).max().unwrap_or(0)
    }
}

/// Files of a path: itself, or those of a directory, by name. certbot has a directory of its own form.
fn files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |error| Error::Read {
        path: path.to_owned(),
        error,
    };
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    if path.join("fullchain.pem").exists() && path.join("privkey.pem").exists() {
        return Ok(vec![path.join("fullchain.pem")]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let ending = file.extension().and_then(|ending| ending.to_str());
        if ending.is_some_and(|ending| ENDINGS.contains(&ending)) && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    match files.is_empty() {
        true => Err(Error::EmptyDirectory(path.to_owned())),
        false => Ok(files),
    }
}

/// Where the key of a certificate may be that is not in the same file.
fn beside(path: &Path) -> [PathBuf; 2] {
    if path.file_name().is_some_and(|name| name == "fullchain.pem") {
        return [
            path.with_file_name("privkey.pem"),
            path.with_extension("key"),
        ];
    }
    let mut longer = path.as_os_str().to_owned();
    longer.push(".key");
    [path.with_extension("key"), PathBuf::from(longer)]
}

/// Whether a file with this in it would be taken, and what people would be told of it.
///
/// # Errors
/// Why it would not.
pub fn check(path: &Path, pem: &[u8]) -> Result<Info, Error> {
    parse(path, pem).map(|entry| entry.info)
}

/// The certificates in it, as far as they can be read, in DER form.
pub fn chain(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem)
        .map_while(Result::ok)
        .collect()
}

fn read(path: &Path) -> Result<Entry, Error> {
    let bytes = std::fs::read(path).map_err(|error| Error::Read {
        path: path.to_owned(),
        error,
    })?;
    parse(path, &bytes)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Entry, Error> {
    let bad = |text: String| Error::Pem {
        path: path.to_owned(),
        text,
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| match is_encrypted(bytes) {
            // What stands there before the key is no base64.
            true => Error::Encrypted(path.to_owned()),
            false => bad(in_words(&error)),
        })?;
    let first = chain
        .first()
        .ok_or_else(|| Error::NoCertificate(path.to_owned()))?;
    let key = match PrivateKeyDer::from_pem_slice(bytes) {
        Ok(key) => key,
        Err(_) if is_encrypted(bytes) => return Err(Error::Encrypted(path.to_owned())),
        Err(_) => {
            let beside = beside(path);
            let found = beside.iter().find(|path| path.is_file());
            let Some(found) = found else {
                return Err(Error::NoKey {
                    path: path.to_owned(),
                    beside,
                });
            };
            read_key(found)?
        }
    };
    let info = check_chain(path, &chain, first)?;
    let key = any_supported_type(&key).map_err(|error| Error::Key {
        path: path.to_owned(),
        text: error.to_string(),
    })?;
    let key = CertifiedKey::new(chain, key);
    match key.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
        Err(_) => return Err(Error::WrongKey(path.to_owned())),
    }
    Ok(Entry {
        key: Arc::new(key),
        info,
    })
}

/// A file that has nothing but a key to give.
fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let bytes = std::fs::read(path).map_err(|error| Error::Read {
        path: path.to_owned(),
        error,
    })?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| match is_encrypted(&bytes) {
        true => Error::Encrypted(path.to_owned()),
        false => Error::Pem {
            path: path.to_owned(),
            text: "no key in it".to_owned(),
        },
    })
}

/// In the form of PKCS #8 (RFC 5958), or in that of RFC 1421, which old versions of openssl wrote.
fn is_encrypted(pem: &[u8]) -> bool {
    [
        &b"BEGIN ENCRYPTED PRIVATE KEY"[..],
        b"Proc-Type: 4,ENCRYPTED",
    ]
    .into_iter()
    .any(|mark| memchr::memmem::find(pem, mark).is_some())
}

fn in_words(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            format!("cut off before END {}", String::from_utf8_lossy(end_marker))
        }
        pem::Error::IllegalSectionStart { line } => {
            format!("no section begins so: {}", String::from_utf8_lossy(line))
        }
        other => other.to_string(),
    }
}

/// Each is issued by the next.
fn check_chain(
    path: &Path,
    chain: &[CertificateDer<'_>],
    first: &CertificateDer<'_>,
) -> Result<Info, Error> {
    let parsed: Vec<X509Certificate<'_>> = chain
        .iter()
        .map(|der| X509Certificate::from_der(der).map(|(_, parsed)| parsed))
        .collect::<Result<_, _>>()
        .map_err(|error| Error::Pem {
            path: path.to_owned(),
            text: format!("not a certificate: {error}"),
        })?;
    for (at, pair) in parsed.windows(2).enumerate() {
        if pair[0].issuer() != pair[1].subject() {
            return Err(Error::Chain {
                path: path.to_owned(),
                number: at + 1,
                issuer: pair[0].issuer().to_string(),
                subject: pair[1].subject().to_string(),
            });
        }
    }
    let own = &parsed[0];
    let mut names = Vec::new();
    if let Ok(Some(listed)) = own.subject_alternative_name() {
        names.extend(
            listed
                .value
                .general_names
                .iter()
                .filter_map(|name| match name {
                    GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                    _ => None,
                }),
        );
    }
    if names.is_empty() {
        let common = own.subject().iter_common_name();
        names.extend(
            common
                .filter_map(|name| name.as_str().ok())
                .map(str::to_ascii_lowercase),
        );
    }
    let digest = Sha256::digest(first);
    Ok(Info {
        file: path.to_owned(),
        names,
        issuer: own.issuer().to_string(),
        not_before: own.validity().not_before.timestamp(),
        not_after: own.validity().not_after.timestamp(),
        fingerprint: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}

/// What rustls asks; the certificates can be replaced while it does.
pub struct Resolver(ArcSwap<Certificates>);

impl Resolver {
    pub fn new(certificates: Certificates) -> Self {
        Self(ArcSwap::from_pointee(certificates))
    }

    /// Handshakes that begin from now on get these.
    pub fn swap(&self, certificates: Certificates) {
        self.0.store(Arc::new(certificates));
    }

    pub fn infos(&self) -> Vec<Info> {
        self.0.load().infos().cloned().collect()
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Resolver").field(&self.infos()).finish()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |time| i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
        let fits = |key: &CertifiedKey| key.key.choose_scheme(schemes).is_some();
        self.0
            .load()
            .choose(hello.server_name(), now, fits)
            .cloned()
    }
}

/// Changes when a file does, its permissions among it, or the list of a directory.
pub fn stamp(paths: &[PathBuf]) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    let look = |path: &Path, hasher: &mut DefaultHasher| {
        path.hash(hasher);
        match std::fs::metadata(path) {
            Ok(metadata) => {
                use std::os::unix::fs::MetadataExt as _;
                let (size, changed) = (metadata.size(), (metadata.ctime(), metadata.ctime_nsec()));
                let modified = (metadata.mtime(), metadata.mtime_nsec());
                (metadata.dev(), metadata.ino(), size, modified, changed).hash(hasher);
            }
            Err(error) => error.raw_os_error().hash(hasher),
        }
    };
    for path in paths {
        look(path, &mut hasher);
        for file in files(path).unwrap_or_default() {
            look(&file, &mut hasher);
            for key in beside(&file) {
                look(&key, &mut hasher);
            }
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests;
