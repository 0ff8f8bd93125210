//! Real handshakes, over memory.

use std::io::Write as _;
use std::net::Ipv4Addr;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use sha2::{Digest as _, Sha256};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

/// What a server shows, and the file that vouches for it.
pub(crate) struct Site {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    pub(crate) file: tempfile::NamedTempFile,
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    CertificateParams::new(names).expect("names")
}

fn file(pem: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(pem.as_bytes()).expect("written");
    file
}

fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::try_from(key.serialize_der()).expect("a key")
}

impl Site {
    /// As `openssl req -x509` makes it: server and authority in one.
    pub(crate) fn alone(names: &[&str]) -> Self {
        let mut params = params(names);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self::signed_by_itself(&params)
    }

    pub(crate) fn expired(names: &[&str]) -> Self {
        let mut params = params(names);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 2, 1);
        Self::signed_by_itself(&params)
    }

    pub(crate) fn ending(names: &[&str], end: SystemTime) -> Self {
        let mut params = params(names);
        params.not_after = end.into();
        Self::signed_by_itself(&params)
    }

    fn signed_by_itself(params: &CertificateParams) -> Self {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("signed");
        Self {
            certificate: certificate.der().clone(),
            key: private(&key),
            file: file(&certificate.pem()),
        }
    }

    fn issued(names: &[&str]) -> Self {
        let mut authority = params(&[]);
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().expect("a key");
        // Each its own name, as out there.
        let digest = Sha256::digest(authority_key.public_key_raw());
        let name = format!(
            "authority {:02x}{:02x}{:02x}",
            digest[0], digest[1], digest[2]
        );
        authority.distinguished_name.push(DnType::CommonName, name);
        let root = authority.self_signed(&authority_key).expect("signed");
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().expect("a key");
        let certificate = params(names).signed_by(&key, &issuer).expect("signed");
        Self {
            certificate: certificate.der().clone(),
            key: private(&key),
            file: file(&root.pem()),
        }
    }

    pub(crate) fn pinned(&self) -> ServerTls {
        tls(Verify::Pinned(Sha256::digest(&self.certificate).into()))
    }

    pub(crate) fn listed(&self) -> ServerTls {
        tls(Verify::Ca(self.file.path().to_owned()))
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .expect("they fit");
        TlsAcceptor::from(Arc::new(config))
    }
}

pub(crate) fn tls(verify: Verify) -> ServerTls {
    ServerTls { verify, sni: None }
}

fn named(tls: ServerTls, name: &str) -> ServerTls {
    ServerTls {
        sni: Some(name.to_owned()),
        ..tls
    }
}

/// What a client at 127.0.0.1 makes of it.
async fn meet(site: &Site, tls: &ServerTls) -> Result<(), String> {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let accepting = site.acceptor().accept(server);
    let config = client_config(tls).map_err(|error| error.to_string())?;
    let name = server_name(tls, Ipv4Addr::LOCALHOST.into()).map_err(|error| error.to_string())?;
    let (connected, _) = tokio::join!(TlsConnector::from(config).connect(name, client), accepting);
    match connected {
        Ok(_) => Ok(()),
        Err(error) => Err(tls_error(&error).map_or_else(|| error.to_string(), explain)),
    }
}

const REFUSED: &str = "its certificate is refused: ";

fn refused(why: &str) -> Result<(), String> {
    Err(format!("{REFUSED}{why}"))
}

#[tokio::test]
async fn nobody_is_asked() {
    let none = tls(Verify::None);
    for site in [
        Site::alone(&["a.example"]),
        Site::expired(&["127.0.0.1"]),
        Site::issued(&[]),
    ] {
        assert_eq!(meet(&site, &none).await, Ok(()));
        assert_eq!(meet(&site, &named(none.clone(), "b.example")).await, Ok(()));
    }
}

#[tokio::test]
async fn only_the_pinned_certificate_will_do() {
    let site = Site::expired(&["a.example"]);
    assert_eq!(meet(&site, &site.pinned()).await, Ok(()));
    let other = Site::alone(&["a.example"]);
    let said = meet(&other, &site.pinned()).await.expect_err("another");
    let digest = Sha256::digest(&other.certificate);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        said,
        format!("{REFUSED}it is sha256:{hex}, which is not the pinned one")
    );
}

#[tokio::test]
async fn an_authority_of_a_file_vouches_for_names_and_addresses() {
    let site = Site::issued(&["a.example", "127.0.0.1"]);
    assert_eq!(meet(&site, &site.listed()).await, Ok(()));
    assert_eq!(
        meet(&site, &named(site.listed(), "a.example")).await,
        Ok(())
    );
    let other_name = meet(&site, &named(site.listed(), "b.example")).await;
    assert_eq!(other_name, refused("it is not for b.example"));
    let unknown = Site::issued(&["127.0.0.1"]);
    let nobody = "nobody who is believed has issued it";
    assert_eq!(meet(&unknown, &site.listed()).await, refused(nobody));
    let by_name_only = Site::issued(&["a.example"]);
    assert_eq!(
        meet(&by_name_only, &by_name_only.listed()).await,
        refused("it is not for 127.0.0.1")
    );
}

#[tokio::test]
async fn a_certificate_of_the_file_itself_will_do_in_its_time() {
    for site in [
        Site::alone(&["127.0.0.1"]),
        Site::signed_by_itself(&params(&["127.0.0.1"])),
    ] {
        assert_eq!(meet(&site, &site.listed()).await, Ok(()));
        let other_name = meet(&site, &named(site.listed(), "b.example")).await;
        assert_eq!(other_name, refused("it is not for b.example"));
    }
    let old = Site::expired(&["127.0.0.1"]);
    assert_eq!(meet(&old, &old.listed()).await, refused("it has expired"));
}

#[tokio::test]
async fn the_host_does_not_know_a_certificate_of_ones_own() {
    let site = Site::alone(&["127.0.0.1"]);
    match meet(&site, &tls(Verify::System)).await {
        Err(said) if said.starts_with("this host trusts no") => {}
        other => assert_eq!(
            other,
            refused("it has issued itself, and is not one of those that are believed")
        ),
    }
}

#[tokio::test]
async fn a_file_that_changes_is_read_anew() {
    let (old, new) = (Site::issued(&["127.0.0.1"]), Site::issued(&["127.0.0.1"]));
    let trust = old.listed();
    let first = client_config(&trust).expect("readable");
    assert!(Arc::ptr_eq(&first, &client_config(&trust).expect("known")));
    assert!(meet(&new, &trust).await.is_err());
    let root = std::fs::read_to_string(new.file.path()).expect("readable");
    // Longer by a line: the clock of files may not have moved on.
    std::fs::write(old.file.path(), format!("\n{root}")).expect("written");
    assert_eq!(meet(&new, &trust).await, Ok(()));
}

#[test]
fn files_that_will_not_do() {
    let said = |verify| client_config(&tls(verify)).expect_err("no use").to_string();
    let missing = said(Verify::Ca("/nowhere/ca.pem".into()));
    assert!(
        missing.starts_with("cannot read /nowhere/ca.pem: "),
        "{missing}"
    );
    let empty = file("nothing\n");
    let path = empty.path().to_owned();
    assert_eq!(
        said(Verify::Ca(path.clone())),
        format!("{} has no certificate", path.display())
    );
    let name = named(tls(Verify::None), "a b");
    server_name(&name, Ipv4Addr::LOCALHOST.into()).expect_err("no name");
}
