//! Checks of type `smtp` with STARTTLS, against the real smtpd of postfix.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mb_lb_ctl::config::{Capability, ServerTls, Verify};
use nix::sys::signal::killpg;
use nix::unistd::User;

use super::*;

const DAY: Duration = Duration::from_secs(86_400);
const NAME: &str = "mx1.example";

/// A master with one smtpd for each address.
struct Postfix {
    directory: tempfile::TempDir,
    master: Child,
}

impl Postfix {
    /// `smtpds`: addresses with what is different there from main.cf.
    fn start(smtpds: &[(Ipv4Addr, String)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let owner = User::from_name("postfix").unwrap();
        let owner = owner.expect("the Debian package postfix makes the user");
        let make = |name: &str| {
            fs::create_dir_all(path(name)).unwrap();
            chown(path(name), Some(owner.uid.as_raw()), None).unwrap();
        };
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["queue", "conf"] {
            fs::create_dir(path(name)).unwrap();
        }
        fs::create_dir(path("queue/pid")).unwrap();
        for name in ["private", "public", "incoming", "active", "deferred"] {
            make(&format!("queue/{name}"));
        }
        make("data");
        let shown = directory.path().display();
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {shown}/queue\ndata_directory = {shown}/data\n\
             maillog_file = {shown}/log\nmaillog_file_prefixes = {shown}\nmyhostname = {NAME}\n\
             inet_interfaces = loopback-only\nsmtputf8_enable = no\nlocal_recipient_maps =\nalias_maps =\n"
        );
        fs::write(path("conf/main.cf"), main).unwrap();
        let mut services = String::from(
            "tlsmgr unix - - n 1000? 1 tlsmgr\nrewrite unix - - n - - trivial-rewrite\n\
             proxymap unix - - n - - proxymap\nanvil unix - - n - 1 anvil\ncleanup unix n - n - 0 cleanup\n\
             postlog unix-dgram n - n - 1 postlogd\n",
        );
        for (address, options) in smtpds {
            services += &format!("{address}:{PORT} inet n - n - - smtpd{options}\n");
        }
        fs::write(path("conf/master.cf"), services).unwrap();
        let master = Command::new("/usr/lib/postfix/sbin/master")
            .arg("-c")
            .arg(path("conf"))
            .arg("-d")
            .process_group(0)
            .spawn()
            .expect("postfix is there (Debian package postfix)");
        let postfix = Self { directory, master };
        let deadline = Instant::now() + PATIENCE;
        for (address, _) in smtpds {
            while let Err(error) = TcpStream::connect((*address, PORT)) {
                assert!(Instant::now() < deadline, "no smtpd: {error}");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        postfix
    }

    /// Lines of its log that say how a session with a client that spoke ended.
    fn sessions(&self) -> Vec<String> {
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        let lines = log
            .lines()
            .filter(|line| line.contains(" disconnect from "));
        let spoke = lines.filter(|line| line.contains(" ehlo="));
        spoke.map(str::to_owned).collect()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let group = i32::try_from(self.master.id()).unwrap();
        // Those that it has started as well.
        killpg(Pid::from_raw(group), Signal::SIGKILL).expect("it is ours");
        self.master.wait().expect("it is ours");
    }
}

/// Options of an smtpd that has a certificate with this end.
fn certified(directory: &Path, name: &str, end: SystemTime) -> (PathBuf, String) {
    let mut params = rcgen::CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    // Names of their own, or one would be taken for the issuer of the other.
    let kind = rcgen::DnType::CommonName;
    params.distinguished_name.push(kind, name);
    params.not_before = (SystemTime::now() - DAY * 400).into();
    params.not_after = end.into();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let path = |ending: &str| directory.join(format!("{name}.{ending}"));
    fs::write(path("pem"), certificate.pem()).unwrap();
    fs::write(path("key"), key.serialize_pem()).unwrap();
    fs::set_permissions(path("key"), fs::Permissions::from_mode(0o600)).unwrap();
    let options = format!(
        "\n  -o smtpd_tls_security_level=may\n  -o smtpd_tls_cert_file={}\n  -o smtpd_tls_key_file={}",
        path("pem").display(),
        path("key").display()
    );
    (path("pem"), options)
}

fn wanting(capabilities: &[&str], starttls: Option<Verify>, least: Option<Duration>) -> CheckKind {
    let capability = |text: &&str| {
        let mut words = text.split(' ').map(str::to_owned);
        Capability {
            keyword: words.next().unwrap(),
            parameters: words.collect(),
        }
    };
    CheckKind::Smtp(SmtpCheck {
        helo: "lb1.example".to_owned(),
        capabilities: capabilities.iter().map(capability).collect(),
        starttls: starttls.map(|verify| ServerTls {
            verify,
            sni: Some(NAME.to_owned()),
        }),
        min_certificate: least,
    })
}

fn unix(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

#[tokio::test]
async fn postfix_offers_starttls_and_shows_a_certificate() {
    let files = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let ends = [now + DAY * 90, now + DAY, now - DAY * 2];
    let names = ["lasting", "tomorrow", "expired"];
    let certified: Vec<_> = names
        .iter()
        .zip(ends)
        .map(|(name, end)| certified(files.path(), name, end))
        .collect();
    let [lasting, tomorrow, expired, plain] = std::array::from_fn(|_| fresh_address());
    let addresses = [lasting, tomorrow, expired];
    let options = certified.iter().map(|(_, options)| options.clone());
    let mut smtpds: Vec<_> = addresses.into_iter().zip(options).collect();
    smtpds.push((plain, "\n  -o smtpd_tls_security_level=none".to_owned()));
    let postfix = Postfix::start(&smtpds);

    let date = mb_lb_ctl::command::info::date;
    let sooner = format!(
        "its certificate expires on {}, sooner than min_certificate allows",
        date(unix(ends[1]))
    );
    let gone = format!("its certificate has expired on {}", date(unix(ends[2])));
    let banner = "220 mx1.example ESMTP Postfix";
    let none = || Some(Verify::None);
    let listed = |at: usize| Some(Verify::Ca(certified[at].0.clone()));
    let week = Some(DAY * 7);
    let usual = ["STARTTLS", "8BITMIME", "SIZE 10240000", "DSN"];
    let polite = [
        (lasting, wanting(&usual, none(), week), "L7OK", banner),
        (lasting, wanting(&usual, listed(0), None), "L7OK", banner),
        (
            lasting,
            wanting(&["SMTPUTF8", "DSN", "SIZE 10240001"], none(), None),
            "L7STS",
            "EHLO inside TLS does not offer SMTPUTF8, SIZE 10240001",
        ),
        (lasting, wanting(&["STARTTLS"], None, None), "L7OK", banner),
        (
            lasting,
            wanting(&["AUTH PLAIN"], None, None),
            "L7STS",
            "EHLO does not offer AUTH PLAIN",
        ),
        (
            plain,
            wanting(&[], none(), None),
            "L7STS",
            "EHLO does not offer STARTTLS",
        ),
        (
            plain,
            wanting(&["STARTTLS"], None, None),
            "L7STS",
            "EHLO does not offer STARTTLS",
        ),
        (tomorrow, wanting(&[], none(), None), "L7OK", banner),
        (
            tomorrow,
            wanting(&[], none(), week),
            "L6RSP",
            sooner.as_str(),
        ),
        (expired, wanting(&[], none(), None), "L7OK", banner),
        (expired, wanting(&[], none(), week), "L6RSP", gone.as_str()),
    ];
    let sessions = polite.len();
    for (address, kind, code, detail) in polite {
        let CheckKind::Smtp(smtp) = &kind else {
            unreachable!("all are")
        };
        let sees = smtp.starttls.is_some() && address != plain;
        let at = addresses.iter().position(|other| *other == address);
        let end = at.filter(|_| sees).map(|at| unix(ends[at]));
        let mut checking = Checking::start(task(address.into(), kind, PATIENCE));
        let result = checking.next().await;
        let found = (result.code, result.detail.as_str());
        assert_eq!(found, (code, detail), "{address}");
        assert_eq!(result.certificate, end, "{address}");
        // It says QUIT after its result, and is not to be cut off before that.
        checking.next().await;
    }
    // All that were seen whole ended with QUIT; the second of each may be on its way when it is taken away.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let quits = postfix.sessions();
        let quits = quits.iter().filter(|line| line.contains(" quit=1 "));
        if quits.count() >= sessions {
            break;
        }
        assert!(Instant::now() < deadline, "{:?}", postfix.sessions());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let refused = [
        (
            expired,
            listed(2),
            "its certificate is refused: it has expired",
        ),
        (
            lasting,
            listed(1),
            "its certificate is refused: nobody who is believed has issued it",
        ),
    ];
    for (address, verify, detail) in refused {
        let result = once(address.into(), wanting(&[], verify, None), PATIENCE).await;
        assert_eq!((result.code, result.detail.as_str()), ("L6RSP", detail));
    }
}
