use std::net::{TcpListener, TcpStream};
use std::path::Path;

use super::*;
use crate::proxy::NoKeeper;
use crate::run::tickets::Keys;

/// Of one proxy, with a certificate in a file.
struct Bench {
    proxying: Proxying,
    dir: tempfile::TempDir,
    port: u16,
}

impl Bench {
    fn new() -> Self {
        let keys = Keys::new().expect("random bytes");
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        Self {
            proxying: Proxying::start(Vec::new(), Arc::new(NoKeeper), keys.ticketer())
                .expect("threads"),
            dir: tempfile::tempdir().expect("a directory"),
            port: free.local_addr().expect("an address").port(),
        }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("tls/web.pem")
    }

    fn write(&self, text: &str) {
        std::fs::create_dir_all(self.dir.path().join("tls")).expect("a directory");
        std::fs::write(self.file(), text).expect("written");
    }

    fn config(&self) -> Config {
        let text = format!(
            "[director]\nname = \"lb1\"\n[proxy.web]\nlisten = \"127.0.0.1:{}\"\ncertificate = {:?}\n\
             check = {{ type = \"none\" }}\nservers = {{ m = \"127.0.0.1:9\" }}\n",
            self.port,
            self.file()
        );
        let parsed = config::parse(&text, "host");
        parsed
            .config
            .unwrap_or_else(|| panic!("{:?}", parsed.diagnostics))
    }

    fn configure(&mut self) {
        let config = self.config();
        self.proxying.configure(&config);
    }

    /// What happens once a second, `times`.
    async fn look(&mut self, times: usize) {
        for _ in 0..times {
            self.proxying.look();
            let looked = self.proxying.looked().await;
            self.proxying.take(looked);
        }
    }

    fn names(&self) -> Vec<String> {
        let all = self.proxying.certificates();
        let infos = all.into_values().flatten();
        infos.flat_map(|info| info.names).collect()
    }

    /// Of the proxy.
    fn trouble(&self) -> Option<Trouble> {
        let mut problems = self.proxying.problems();
        let trouble = problems.remove("proxy web");
        assert_eq!(problems, BTreeMap::new());
        trouble
    }

    fn listens(&self) -> bool {
        TcpStream::connect(("127.0.0.1", self.port)).is_ok()
    }

    fn wait_listens(&self) {
        let start = Instant::now();
        while !self.listens() {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "it does not listen"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Chain and key for this name.
fn pem(name: &str) -> String {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate");
    certificate.pem() + &key.serialize_pem()
}

fn unserved(file: &Path, why: &str) -> Option<Trouble> {
    Some(Trouble::Unserved(format!("{}: {why}", file.display())))
}

fn limited(file: &Path, why: &str) -> Option<Trouble> {
    let file = file.display();
    let text =
        format!("the new certificates are no good, the old ones are in force: {file}: {why}");
    Some(Trouble::Limited(text))
}

#[tokio::test]
async fn a_proxy_that_began_with_a_bad_certificate_begins_when_it_is_good() {
    let mut bench = Bench::new();
    bench.configure();
    let missing = unserved(&bench.file(), "No such file or directory (os error 2)");
    assert_eq!(bench.trouble(), missing);
    bench.look(2).await;
    assert_eq!((bench.trouble(), bench.names()), (missing, vec![]));
    bench.write("garbage");
    // The first look may be at half a file.
    bench.look(2).await;
    assert_eq!(
        bench.trouble(),
        unserved(&bench.file(), "no certificate in it")
    );
    assert!(!bench.listens());
    bench.write(&pem("a.example"));
    bench.look(1).await;
    assert_eq!(bench.names(), [""; 0]);
    bench.look(1).await;
    assert_eq!(
        (bench.trouble(), bench.names()),
        (None, vec!["a.example".to_owned()])
    );
    bench.wait_listens();
}

#[tokio::test]
async fn what_is_no_good_is_not_taken_and_said_until_it_is() {
    let mut bench = Bench::new();
    bench.write(&pem("a.example"));
    bench.configure();
    assert_eq!(
        (bench.trouble(), bench.names()),
        (None, vec!["a.example".to_owned()])
    );
    bench.write("garbage");
    bench.look(3).await;
    assert_eq!(
        bench.trouble(),
        limited(&bench.file(), "no certificate in it")
    );
    assert_eq!(bench.names(), ["a.example"]);
    // Asked to attach anew, and nothing is different.
    bench.configure();
    assert_eq!(
        bench.trouble(),
        limited(&bench.file(), "no certificate in it")
    );
    bench.write(&pem("b.example"));
    bench.look(2).await;
    assert_eq!(
        (bench.trouble(), bench.names()),
        (None, vec!["b.example".to_owned()])
    );
}

#[tokio::test]
async fn files_that_are_away_for_a_while_need_not_change_to_be_good() {
    let mut bench = Bench::new();
    bench.write(&pem("a.example"));
    bench.configure();
    let (here, away) = (bench.dir.path().join("tls"), bench.dir.path().join("away"));
    std::fs::rename(&here, &away).expect("renamed");
    bench.look(2).await;
    let why = "No such file or directory (os error 2)";
    assert_eq!(bench.trouble(), limited(&bench.file(), why));
    std::fs::rename(&away, &here).expect("renamed");
    bench.look(1).await;
    assert_eq!(
        (bench.trouble(), bench.names()),
        (None, vec!["a.example".to_owned()])
    );
}

#[tokio::test]
async fn a_reload_takes_what_it_has_checked() {
    let mut bench = Bench::new();
    bench.write(&pem("a.example"));
    bench.configure();
    let config = bench.config();
    bench.write("garbage");
    let why = format!(
        "proxy web: {}: no certificate in it",
        bench.file().display()
    );
    assert_eq!(bench.proxying.check(&config), Err(why));
    bench.write(&pem("b.example"));
    // A look that began before brings what is older.
    bench.look(1).await;
    bench.proxying.look();
    assert_eq!(bench.proxying.check(&config), Ok(()));
    std::fs::remove_file(bench.file()).expect("removed");
    bench.proxying.configure(&config);
    assert_eq!(bench.names(), ["b.example"]);
    let looked = bench.proxying.looked().await;
    bench.proxying.take(looked);
    assert_eq!(
        (bench.trouble(), bench.names()),
        (None, vec!["b.example".to_owned()])
    );
    bench.look(2).await;
    let why = "No such file or directory (os error 2)";
    assert_eq!(bench.trouble(), limited(&bench.file(), why));
}

/// A pipe that nobody writes into is a disk that does not answer.
#[tokio::test]
async fn a_disk_that_hangs_stops_nothing() {
    let mut bench = Bench::new();
    bench.write(&pem("a.example"));
    bench.configure();
    std::fs::remove_file(bench.file()).expect("removed");
    let mode = nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR;
    nix::unistd::mkfifo(&bench.file(), mode).expect("a pipe");
    bench.look(1).await;
    // This one hangs, and there is no other while it does.
    bench.proxying.look();
    bench.proxying.look();
    assert_eq!(bench.trouble(), None);
    let config = bench.config();
    assert_eq!(
        bench.proxying.check(&config),
        Err("the certificates were not read within 3 seconds: the disk does not answer".to_owned())
    );
    bench.proxying.look.since = Instant::now().checked_sub(SLOW);
    let mut problems = bench.proxying.problems();
    let why = "their files could not be looked at for 5 seconds: the disk does not answer; those that were read stay in force";
    let said = problems.remove("certificates of proxies");
    assert_eq!(said, Some(Trouble::Limited(why.to_owned())));
    assert_eq!(problems, BTreeMap::new());
    assert_eq!(bench.names(), ["a.example"]);
    // It answers.
    let (file, text) = (bench.file(), pem("b.example"));
    let written = tokio::task::spawn_blocking(move || std::fs::write(file, text));
    written.await.expect("no panic").expect("written");
    let looked = bench.proxying.looked().await;
    bench.proxying.take(looked);
    assert_eq!(
        (bench.trouble(), bench.names()),
        (None, vec!["b.example".to_owned()])
    );
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_limits_the_proxy_and_is_tried_again() {
    let mut bench = Bench::new();
    bench.write(&pem("a.example"));
    let mut config = bench.config();
    let logs = bench.dir.path().join("logs");
    config.proxies[0].access_log = Some(config::AccessLog {
        file: Some(logs.join("access.log")),
        format: config::LogFormat::Json,
    });
    bench.proxying.configure(&config);
    let start = Instant::now();
    let said = |bench: &Bench| bench.proxying.problems().remove("access log of proxy web");
    let why = format!(
        "{} cannot be opened: No such file or directory (os error 2)",
        logs.join("access.log").display()
    );
    while said(&bench) != Some(Trouble::Limited(why.clone())) {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{:?}",
            said(&bench)
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    bench.wait_listens();
    std::fs::create_dir(&logs).expect("a directory");
    while said(&bench).is_some() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{:?}",
            said(&bench)
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(logs.join("access.log").exists());
}
