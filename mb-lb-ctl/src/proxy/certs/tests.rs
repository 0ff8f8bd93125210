use super::*;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names.clone()).expect("names");
    params.distinguished_name.push(
        DnType::CommonName,
        names.first().map_or("ca", String::as_str),
    );
    params
}

/// A certificate and its key, in PEM.
fn own(names: &[&str]) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let certificate = params(names).self_signed(&key).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

fn dated(names: &[&str], from: i32, to: i32) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = params(names);
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(to, 1, 1);
    let certificate = params.self_signed(&key).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().expect("in it")).expect("a directory");
        std::fs::write(&path, text).expect("a file");
        path
    }
}

fn load(paths: &[PathBuf]) -> Result<Vec<Vec<String>>, Vec<String>> {
    match Certificates::load(paths) {
        Ok(loaded) => Ok(loaded.infos().map(|info| info.names.clone()).collect()),
        Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
    }
}

#[test]
fn certificates_come_in_the_forms_that_people_have() {
    let dir = Dir::new();
    let (certificate, key) = own(&["a.example"]);
    let combined = dir.write("haproxy.pem", &format!("{certificate}{key}"));
    let reversed = dir.write("reversed.pem", &format!("{key}{certificate}"));
    let apart = dir.write("apart/apart.crt", &certificate);
    dir.write("apart/apart.key", &key);
    let longer = dir.write("longer/x.pem", &certificate);
    dir.write("longer/x.pem.key", &key);
    dir.write("certbot/fullchain.pem", &certificate);
    dir.write("certbot/privkey.pem", &key);
    dir.write("certbot/cert.pem", &certificate);
    let certbot = dir.0.path().join("certbot");
    for path in [combined, reversed, apart, longer, certbot] {
        let found = load(std::slice::from_ref(&path));
        assert_eq!(found, Ok(vec![vec!["a.example".to_owned()]]), "{path:?}");
    }
    // A directory, in the order of names; what is no certificate is left alone.
    for name in ["b.example", "c.example"] {
        let (certificate, key) = own(&[name]);
        dir.write(&format!("all/{name}.pem"), &format!("{certificate}{key}"));
    }
    dir.write("all/README", "hello");
    let found = load(&[dir.0.path().join("all")]).expect("good");
    assert_eq!(found.concat(), ["b.example", "c.example"]);
}

/// As openssl wrote them before PKCS #8.
const OLD_KEY: &str = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n\
                       -----END EC PRIVATE KEY-----\n";

/// What is wrong with this one path, and what to do about it.
fn wrong(path: &Path) -> (String, &'static str) {
    let errors = Certificates::load(&[path.to_owned()]).expect_err("no good");
    assert_eq!(errors.len(), 1, "{errors:?}");
    (errors[0].to_string(), errors[0].next())
}

#[test]
fn what_is_wrong_is_said_with_the_file() {
    let dir = Dir::new();
    let (certificate, key) = own(&["a.example"]);
    let (_, other) = own(&["a.example"]);
    let garbage = |kind: &str| format!("-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n");
    let broken = |kind: &str| format!("-----BEGIN {kind}-----\n====\n-----END {kind}-----\n");
    let alone = dir.write("alone.pem", &certificate);
    let (first, second) = (
        alone.with_extension("key"),
        dir.0.path().join("alone.pem.key"),
    );
    let nothing = dir.0.path().join("nothing");
    std::fs::create_dir(&nothing).expect("a directory");
    let beside = dir.write("beside/beside.pem", &certificate);
    let bad_key = dir.write("beside/beside.key", "hello");
    let half = &certificate[..certificate.len() / 2];
    let pem = "write it in PEM form";
    let locked = "write it without a password: openssl pkey -in OLD -out NEW";
    let put = "put the chain into it, the server's certificate first";
    let cases = [
        (
            dir.0.path().join("missing.pem"),
            "No such file or directory (os error 2)".to_owned(),
            "write the file, or correct `certificate`",
        ),
        (
            dir.write("empty.pem", ""),
            "no certificate in it".to_owned(),
            put,
        ),
        (
            dir.write("text.pem", "hello"),
            "no certificate in it".to_owned(),
            put,
        ),
        (
            dir.write("key.pem", &key),
            "no certificate in it".to_owned(),
            put,
        ),
        (
            alone,
            format!(
                "no key in it, and none beside it ({} or {})",
                first.display(),
                second.display()
            ),
            "put the key into it, or beside it",
        ),
        (dir.write("half.pem", half), "cut off before END CERTIFICATE".to_owned(), pem),
        (
            dir.write("base64.pem", &broken("CERTIFICATE")),
            "base64 decode error: InvalidTrailingPadding".to_owned(),
            pem,
        ),
        (
            dir.write("der.pem", &(garbage("CERTIFICATE") + &key)),
            "not a certificate: Parsing Error: Der(UnexpectedTag { expected: Some(Tag(16)), actual: Tag(0) })".to_owned(),
            pem,
        ),
        (
            dir.write("other.pem", &format!("{certificate}{other}")),
            "the key is not that of the certificate".to_owned(),
            "put the key of this certificate there, or the certificate of this key",
        ),
        (
            dir.write(
                "badkey.pem",
                &(certificate.clone() + &garbage("PRIVATE KEY")),
            ),
            "the key cannot be used: unexpected error: failed to parse private key as RSA, ECDSA, or EdDSA".to_owned(),
            "make a key of RSA, ECDSA (P-256, P-384, P-521) or Ed25519",
        ),
        (
            dir.write(
                "locked.pem",
                &(certificate.clone() + &garbage("ENCRYPTED PRIVATE KEY")),
            ),
            "the key in it is encrypted".to_owned(),
            locked,
        ),
        (
            dir.write("old.pem", &format!("{certificate}{OLD_KEY}")),
            "the key in it is encrypted".to_owned(),
            locked,
        ),
        (
            dir.write("start.pem", "-----BEGIN CERTIFICATE\n"),
            "no section begins so: -----BEGIN CERTIFICATE".to_owned(),
            pem,
        ),
        (
            nothing,
            "a directory without a certificate".to_owned(),
            "put PEM files there (.pem, .crt, .cer), or name a file",
        ),
    ];
    for (path, text, next) in cases {
        let said = wrong(&path);
        assert_eq!(said, (format!("{}: {text}", path.display()), next));
    }
    // It is the file of the key that is no good.
    dir.write("apart.key", &garbage("ENCRYPTED PRIVATE KEY"));
    let apart = dir.write("apart.pem", &certificate);
    let text = format!(
        "{}: the key in it is encrypted",
        apart.with_extension("key").display()
    );
    assert_eq!(wrong(&apart), (text, locked));
    std::fs::remove_file(apart.with_extension("key")).expect("removed");
    std::fs::create_dir(apart.with_extension("pem.key")).expect("a directory");
    let said = wrong(&apart).0;
    assert!(said.contains("no key in it, and none beside it"), "{said}");
    assert_eq!(
        wrong(&beside),
        (format!("{}: no key in it", bad_key.display()), pem)
    );
}

#[test]
fn a_chain_must_be_in_order() {
    let dir = Dir::new();
    let (ca_key, key) = (
        KeyPair::generate().expect("a key"),
        KeyPair::generate().expect("a key"),
    );
    let mut ca = params(&["ca.example"]);
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = ca.self_signed(&ca_key).expect("a certificate").pem();
    let leaf = params(&["a.example"])
        .signed_by(&key, &Issuer::new(ca, ca_key))
        .expect("a certificate")
        .pem();
    let key = key.serialize_pem();
    let good = dir.write("good.pem", &format!("{leaf}{root}{key}"));
    assert_eq!(load(&[good]), Ok(vec![vec!["a.example".to_owned()]]));
    let (stranger, _) = own(&["b.example"]);
    let bad = dir.write("bad.pem", &format!("{leaf}{stranger}{key}"));
    let text = format!(
        "{}: certificate 1 of the chain was not issued by the next one (CN=ca.example, not CN=b.example): put them in order, the \
         server's first",
        bad.display()
    );
    let next = "put the server's certificate first, then its issuer's, and so on";
    assert_eq!(wrong(&bad), (text, next));
    // All files are looked at, and all that is wrong is said.
    let missing = dir.0.path().join("missing.pem");
    assert_eq!(load(&[missing, bad]).expect_err("no good").len(), 2);
}

fn chosen(certificates: &Certificates, name: Option<&str>) -> String {
    let now = 1_800_000_000;
    let key = certificates.choose(name, now, |_| true).expect("one");
    let entry = certificates
        .entries
        .iter()
        .find(|entry| Arc::ptr_eq(&entry.key, key));
    let file = &entry.expect("one of them").info.file;
    file.file_stem()
        .expect("a name")
        .to_string_lossy()
        .into_owned()
}

#[test]
fn names_choose_exactly_then_by_wildcard_then_the_first() {
    let dir = Dir::new();
    let write = |file: &str, (certificate, key): (String, String)| {
        dir.write(&format!("{file}.pem"), &format!("{certificate}{key}"))
    };
    let paths = [
        write("first", own(&["first.example"])),
        write("wild", own(&["*.example.com"])),
        write("exact", own(&["mail.example.com", "www.example.com"])),
        write("old", dated(&["twice.example"], 2000, 2001)),
        write("new", dated(&["twice.example"], 2020, 2090)),
    ];
    let certificates = Certificates::load(&paths).expect("good");
    for (name, file) in [
        (Some("mail.example.com"), "exact"),
        (Some("MAIL.Example.com"), "exact"),
        (Some("www.example.com."), "exact"),
        (Some("other.example.com"), "wild"),
        (Some("a.b.example.com"), "first"),
        (Some("example.com"), "first"),
        (Some("unknown"), "first"),
        (None, "first"),
        (Some("twice.example"), "new"),
    ] {
        assert_eq!(chosen(&certificates, name), file, "{name:?}");
    }
}

#[test]
fn a_stamp_changes_with_files_and_lists() {
    let dir = Dir::new();
    let (certificate, key) = own(&["a.example"]);
    let file = dir.write("all/a.pem", &certificate);
    let all = [dir.0.path().join("all")];
    let first = stamp(&all);
    assert_eq!(first, stamp(&all));
    dir.write("all/a.key", &key);
    let second = stamp(&all);
    assert_ne!(first, second);
    dir.write("all/b.pem", "x");
    assert_ne!(second, stamp(&all));
    let third = stamp(&all);
    // Whoever makes it readable may repair it.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, mode).expect("changed");
    assert_ne!(third, stamp(&all));
    let third = stamp(&all);
    std::fs::remove_file(file).expect("it is there");
    assert_ne!(third, stamp(&all));
}
