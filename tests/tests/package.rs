//! The Debian package, on a system with a real systemd that is the lab's director.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::config;
use mb_lb_ctl::snapshot::{Snapshot, VrrpView};
use mb_lb_tests::cluster::{SOON, Service, expect_all_alive, sink};
use mb_lb_tests::site::{package, package_of};
use mb_lb_tests::{
    Director, Guest, Lab, Nginx, PairSetup, Session, Sink, Traffic, pair, try_wait_until,
};

/// What `systemd-analyze security` gives at most; 10 is a service that may do everything.
const EXPOSURE: f64 = 2.5;

fn packaging(name: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../packaging")
        .join(name);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

fn shell(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?}: {output:?}");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The package as `/tmp/VERSION.deb` in the guest, with another version than it was built with.
fn put(guest: &Guest, lab: &Lab, version: &str) -> Result<String> {
    let inside = format!("/tmp/{version}.deb");
    package_of(lab, version, &guest.path(&inside))?;
    Ok(inside)
}

/// The lab's director is a guest, its mail servers are sinks.
struct Site {
    guest: Guest,
    _sinks: Vec<Sink>,
    lab: Lab,
}

impl Site {
    fn new(name: &str) -> Result<Self> {
        Self::on(Lab::new(name)?)
    }

    fn on(lab: Lab) -> Result<Self> {
        let guest = Guest::boot(lab.machine("lb1"))?;
        let sinks = ["mb1", "mb2", "mb3"]
            .iter()
            .map(|name| sink(&lab, name, 25))
            .collect::<Result<_>>()?;
        Ok(Self {
            guest,
            _sinks: sinks,
            lab,
        })
    }

    fn configure(&self, text: &str) -> Result<()> {
        fs::write(self.guest.path("/etc/mb-lb/mb-lb.toml"), text)
            .context("the package makes /etc/mb-lb")
    }

    fn good_config(&self) -> String {
        Service::smtp(&self.lab, &[10, 10, 10]).toml()
    }

    fn status(&self) -> Result<Snapshot> {
        let answer = self.guest.run("mb-lb-ctl", &["status", "-o", "json"])?;
        serde_json::from_str(&answer.stdout).with_context(|| format!("{answer:?}"))
    }

    fn wait_usable(&self) -> Result<Snapshot> {
        try_wait_until("every server to be usable", SOON, || {
            let status = self.status()?;
            let usable = status.services[0]
                .servers
                .iter()
                .filter(|server| server.usable)
                .count();
            ensure!(usable == 3, "{:?}", status.services[0].servers);
            Ok(status)
        })
    }

    fn property(&self, name: &str) -> Result<String> {
        let arguments = ["show", "mb-lb", "--value", "--property", name];
        Ok(self
            .guest
            .expect("systemctl", &arguments)?
            .trim()
            .to_owned())
    }

    fn carries(&self) -> Result<bool> {
        let text = self
            .lab
            .machine("lb1")
            .run("ip", &["-o", "link", "show", "eth0"])?;
        Ok(text.contains(" xdp "))
    }

    /// Whether the VIP is on the director's interface.
    fn holds_vip(&self) -> Result<bool> {
        let listed = self
            .lab
            .machine("lb1")
            .run("ip", &["-4", "-o", "address", "show", "dev", "eth0"])?;
        Ok(listed.contains(&format!(" {}/", self.lab.vip4())))
    }

    /// Waits until another process than `before` is ready, and active.
    fn wait_active(&self, before: &str) -> Result<String> {
        try_wait_until("lb1 to be active", pair::SOON, || {
            let pid = self.property("MainPID")?;
            ensure!(pid != before && pid != "0", "pid {pid}");
            ensure!(self.property("ActiveState")? == "active", "not ready yet");
            let router = router(self.status()?)?;
            ensure!(router.role == "active", "{router:?}");
            ensure!(self.holds_vip()?, "no VIP");
            Ok(pid)
        })
    }

    fn open(&self, count: usize) -> Result<Vec<Session>> {
        Session::open_many(self.lab.client(), self.lab.smtp4(), count)
    }
}

fn router(status: Snapshot) -> Result<VrrpView> {
    let first = status.vrrp.into_iter().next();
    first.context("no virtual router")
}

/// The other director, run by hand.
struct Other(Director);

impl Other {
    fn wait(&self, role: &str) -> Result<()> {
        try_wait_until(&format!("lb2 to be {role}"), pair::SOON, || {
            let router = router(self.0.status()?)?;
            ensure!(router.role == role, "{router:?}");
            Ok(())
        })
    }

    fn wait_in_sync(&self) -> Result<()> {
        try_wait_until("both to be in sync", pair::SOON, || {
            let peer = self.0.status()?.peer.context("no peer")?;
            ensure!(
                peer.connected && peer.in_sync && peer.peer_in_sync,
                "{peer:?}"
            );
            Ok(())
        })
    }

    /// How often its role has changed. Whoever became active and gave it back has turned twice.
    fn turns(&self) -> Result<u64> {
        let router = router(self.0.status()?)?;
        ensure!(router.role == "backup", "{router:?}");
        Ok(router.turns)
    }
}

#[test]
fn the_example_is_good() -> Result<()> {
    let example = packaging("mb-lb.toml")?;
    assert_eq!(config::parse(&example, "lb1").diagnostics, []);
    // What is commented out is good too: `#key`, while `# words` are words.
    let all: Vec<_> = example
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if !key.is_empty() && !key.starts_with(' ') => key,
            _ => line,
        })
        .collect();
    let parsed = config::parse(&all.join("\n"), "lb1");
    assert_eq!(parsed.diagnostics, []);
    let config = parsed.config.context("a good file")?;
    assert!(config.peer.is_some() && !config.vrrps.is_empty());
    Ok(())
}

/// From nothing to nothing: installed, configured, upgraded under load, killed, removed, purged.
#[test]
fn a_life_of_the_package_loses_no_session_before_its_removal_and_leaves_nothing() -> Result<()> {
    let site = Site::new("package")?;
    let guest = &site.guest;
    let before = guest.files()?;

    // Nobody has configured it: nothing is started, now or at boot.
    let first = put(guest, &site.lab, "1.0-1")?;
    let said = guest.expect("dpkg", &["--install", &first])?;
    assert!(
        said.contains("not started: /etc/mb-lb/mb-lb.toml is the example"),
        "{said}"
    );
    assert!(
        said.contains("systemctl enable --now mb-lb"),
        "what to do: {said}"
    );
    assert_eq!(site.property("ActiveState")?, "inactive");
    assert_eq!(site.property("UnitFileState")?, "disabled");
    assert_eq!(guest.run("mb-lb-ctl", &["check"])?.code, 0);

    // What the program has written of itself.
    let listed = shell(Command::new("dpkg-deb").arg("--contents").arg(package()?))?;
    for path in [
        "/usr/share/man/man8/mb-lb-ctl.8.gz",
        "/usr/share/man/man8/mb-lb-ctl-drain.8.gz",
        "/usr/share/bash-completion/completions/mb-lb-ctl",
        "/usr/share/zsh/vendor-completions/_mb-lb-ctl",
        "/usr/share/fish/vendor_completions.d/mb-lb-ctl.fish",
    ] {
        assert!(listed.contains(path), "{path}: {listed}");
    }

    for (key, value) in [
        ("promote_secondaries", "1"),
        ("arp_ignore", "1"),
        ("arp_announce", "2"),
    ] {
        let key = format!("net.ipv4.conf.all.{key}");
        assert_eq!(
            guest.expect("sysctl", &["-n", &key])?.trim(),
            value,
            "{key}"
        );
    }

    // The unit.
    let unit = "/usr/lib/systemd/system/mb-lb.service";
    let said = guest.expect("systemd-analyze", &["verify", "--man=no", unit])?;
    assert_eq!(said, "");
    let said = guest.expect("systemd-analyze", &["security", "--offline=true", unit])?;
    let exposure: f64 = said
        .split_once("mb-lb.service: ")
        .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok())
        .with_context(|| format!("no number: {said}"))?;
    assert!(exposure <= EXPOSURE, "{said}");
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/manual.md");
    let told = format!("`systemd-analyze security mb-lb` gives {exposure:.1} ");
    assert!(fs::read_to_string(manual)?.contains(&told), "{told}");

    // In service, with all that the sandbox has to let through.
    site.configure(&site.good_config())?;
    guest.expect("systemctl", &["enable", "--now", "mb-lb"])?;
    let status = site.wait_usable()?;
    assert!(!status.dataplane.adopted);
    assert_eq!(status.alarms, []);
    try_wait_until("systemd to know it", SOON, || {
        let text = site.property("StatusText")?;
        ensure!(text == "3 of 3 servers up", "{text}");
        Ok(())
    })?;
    assert_eq!(site.property("SubState")?, "running");
    guest.expect("mb-lb-ctl", &["drain", "smtp/mb3", "--reason", "state"])?;
    guest.expect("mb-lb-ctl", &["ready", "smtp/mb3"])?;
    let mut sessions = site.open(12)?;
    let mut traffic = Traffic::start(site.lab.client(), site.lab.smtp4());
    traffic.expect_more(5)?;

    // Reload: a good file, and one with errors.
    guest.expect("systemctl", &["reload", "mb-lb"])?;
    site.configure("nonsense = 1\n")?;
    assert_ne!(guest.run("systemctl", &["reload", "mb-lb"])?.code, 0);
    assert_eq!(site.property("ActiveState")?, "active");

    // An upgrade leaves the controller alone as long as it could not start again ...
    let pid = site.property("MainPID")?;
    let second = put(guest, &site.lab, "1.0-2")?;
    let said = guest.expect("dpkg", &["--install", &second])?;
    assert!(said.contains("has errors"), "{said}");
    assert_eq!(site.property("MainPID")?, pid);
    traffic.expect_more(5)?;

    // ... and restarts it otherwise; whoever has a session keeps it.
    site.configure(&site.good_config())?;
    let third = put(guest, &site.lab, "1.0-3")?;
    let said = guest.expect("dpkg", &["--install", &third])?;
    assert!(said.contains("the controller was restarted"), "{said}");
    let upgraded = site.property("MainPID")?;
    assert_ne!(upgraded, pid);
    assert!(site.status()?.dataplane.adopted);
    site.wait_usable()?;
    expect_all_alive(&mut sessions)?;
    traffic.expect_more(5)?;

    // Killed, it is back; hung, as well.
    guest.expect("systemctl", &["kill", "--signal=KILL", "mb-lb"])?;
    try_wait_until("the controller to be back", SOON, || {
        let now = site.property("MainPID")?;
        ensure!(now != upgraded && now != "0", "pid {now}");
        ensure!(site.property("ActiveState")? == "active", "not ready yet");
        Ok(())
    })?;
    assert!(site.status()?.dataplane.adopted);
    expect_all_alive(&mut sessions)?;

    // Stopped, the data plane goes on without it.
    guest.expect("systemctl", &["stop", "mb-lb"])?;
    assert_eq!(site.property("ActiveState")?, "inactive");
    assert!(site.carries()?);
    expect_all_alive(&mut sessions)?;
    sessions.extend(site.open(6)?);
    traffic.expect_more(5)?;
    guest.expect("systemctl", &["start", "mb-lb"])?;
    expect_all_alive(&mut sessions)?;
    traffic.finish()?;

    // Removed: said, stopped, detached; what the operator wrote stays.
    let said = guest.expect("dpkg", &["--remove", "mb-lb"])?;
    assert!(said.contains("every session"), "{said}");
    try_wait_until("the program to be off the interface", SOON, || {
        ensure!(!site.carries()?, "it is on");
        Ok(())
    })?;
    assert!(!guest.path("/sys/fs/bpf/mb-lb").exists());
    assert!(!guest.path("/run/mb-lb").exists());
    assert!(guest.path("/etc/mb-lb/mb-lb.toml").exists());
    assert!(guest.path("/var/lib/mb-lb/state.json").exists());
    assert!(!guest.path("/usr/bin/mb-lb-ctl").exists());

    // Installed again, it is not started behind the operator's back.
    let said = guest.expect("dpkg", &["--install", &third])?;
    assert_eq!(site.property("ActiveState")?, "inactive", "{said}");

    guest.expect("dpkg", &["--purge", "mb-lb"])?;
    let after = guest.files()?;
    let differing: Vec<_> = before
        .iter()
        .filter(|(path, facts)| after.get(*path) != Some(facts))
        .map(|(path, facts)| format!("{} was {facts}", path.display()))
        .chain(
            after
                .iter()
                .filter(|(path, _)| !before.contains_key(*path))
                .map(|(path, facts)| format!("{} is new: {facts}", path.display())),
        )
        .collect();
    assert_eq!(differing, Vec::<String>::new());
    Ok(())
}

#[test]
fn with_a_good_configuration_in_place_installing_starts_it() -> Result<()> {
    let site = Site::new("preseed")?;
    let guest = &site.guest;
    fs::create_dir(guest.path("/etc/mb-lb"))?;
    site.configure(&site.good_config())?;
    let package = put(guest, &site.lab, "1.0-1")?;
    guest.expect("dpkg", &["--force-confold", "--install", &package])?;
    site.wait_usable()?;
    assert_eq!(site.property("UnitFileState")?, "enabled");
    expect_all_alive(&mut site.open(3)?)?;

    // A controller that hangs is killed and started again by the watchdog.
    let pid = site.property("MainPID")?;
    let dropin = guest.path("/run/systemd/system/mb-lb.service.d");
    fs::create_dir_all(&dropin)?;
    fs::write(dropin.join("quick.conf"), "[Service]\nWatchdogSec=1s\n")?;
    guest.expect("systemctl", &["daemon-reload"])?;
    guest.expect("systemctl", &["restart", "mb-lb"])?;
    let quick = site.property("MainPID")?;
    assert_ne!(quick, pid);
    guest.expect("systemctl", &["kill", "--signal=STOP", "mb-lb"])?;
    try_wait_until("the watchdog", SOON, || {
        let now = site.property("MainPID")?;
        ensure!(now != quick && now != "0", "pid {now}");
        Ok(())
    })?;
    site.wait_usable()?;

    // With errors in the file it is tried again until the file is good.
    guest.expect("systemctl", &["stop", "mb-lb"])?;
    site.configure("nonsense = 1\n")?;
    assert_ne!(guest.run("systemctl", &["start", "mb-lb"])?.code, 0);
    site.configure(&site.good_config())?;
    site.wait_usable()?;

    // Removal does not take the data plane from under a controller that was started by hand.
    guest.expect("systemctl", &["stop", "mb-lb"])?;
    let by_hand = ["--unit=by-hand", "--quiet", "mb-lb-ctl", "run"];
    guest.expect("systemd-run", &by_hand)?;
    site.wait_usable()?;
    let refused = guest.run("dpkg", &["--remove", "mb-lb"])?;
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(refused.stderr.contains("stop it"), "{refused:?}");
    assert!(site.carries()?);
    guest.expect("systemctl", &["stop", "by-hand"])?;
    guest.expect("dpkg", &["--remove", "mb-lb"])?;
    Ok(())
}

/// New clients of a proxy come all the while, and one has a request under way.
#[test]
fn a_restart_refuses_no_client_of_a_proxy() -> Result<()> {
    let site = Site::new("packageproxy")?;
    let (guest, lab) = (&site.guest, &site.lab);
    let servers: Vec<_> = lab
        .servers()
        .iter()
        .map(Nginx::start)
        .collect::<Result<_>>()?;
    let vip = lab.vip4();
    let mut config = site.good_config();
    config += &format!("\n[proxy.web]\nlisten = \"{vip}:80\"\n\n[proxy.web.servers]\n");
    for server in lab.servers() {
        config += &format!("{} = \"{}:80\"\n", server.name(), server.ipv4());
    }
    let package = put(guest, lab, "1.0-1")?;
    guest.expect("dpkg", &["--install", &package])?;
    site.configure(&config)?;
    guest.expect("systemctl", &["enable", "--now", "mb-lb"])?;
    let mut pid = site.wait_usable()?.pid;
    let served = Arc::new(AtomicU32::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (client, served, stop) = (lab.client().clone(), served.clone(), stop.clone());
            let address = SocketAddr::new(vip.into(), 80);
            std::thread::spawn(move || {
                client.enter(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let mut stream = TcpStream::connect_timeout(&address, SOON)?;
                        stream.set_read_timeout(Some(SOON))?;
                        stream
                            .write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")?;
                        let mut answer = String::new();
                        stream.read_to_string(&mut answer)?;
                        ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
        })
        .collect();
    let wait_more = || {
        let enough = served.load(Ordering::Relaxed) + 20;
        try_wait_until("more requests", SOON, || {
            let now = served.load(Ordering::Relaxed);
            ensure!(now >= enough, "{now}");
            Ok(())
        })
    };
    for _ in 0..3 {
        wait_more()?;
        guest.expect("systemctl", &["restart", "mb-lb"])?;
        let next = site.wait_usable()?.pid;
        assert_ne!(next, pid);
        pid = next;
    }
    wait_more()?;
    // Killed, it cuts what is under way; who comes then waits.
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("no panic")?;
    }
    guest.expect("systemctl", &["kill", "--signal=STOP", "mb-lb"])?;
    let waiting = lab.client().enter(|| -> Result<_> {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::new(vip.into(), 80), SOON)?;
        stream.set_read_timeout(Some(SOON))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")?;
        Ok(stream)
    });
    guest.expect("systemctl", &["kill", "--signal=KILL", "mb-lb"])?;
    let mut answer = String::new();
    waiting?.read_to_string(&mut answer)?;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // Of an address that is not listened on any more nothing is kept.
    site.configure(&site.good_config())?;
    guest.expect("systemctl", &["reload", "mb-lb"])?;
    try_wait_until("nobody to listen", SOON, || {
        let listed = lab.machine("lb1").run("ss", &["-Hltn", "sport = :80"])?;
        ensure!(listed.trim().is_empty(), "{listed}");
        Ok(())
    })?;
    drop(servers);
    Ok(())
}

/// With another director at work: who is replaced gives nothing away, and who is stopped hands over.
#[test]
fn restart_upgrade_and_crash_change_no_role_while_stop_and_removal_hand_over() -> Result<()> {
    let site = Site::on(PairSetup::lab("packagepair")?)?;
    let (guest, lab) = (&site.guest, &site.lab);
    // Programs of the operator's work in the sandbox: one looks for a process, one writes where the service may.
    let told = guest.path("/var/lib/mb-lb/told");
    let hook = guest.path("/usr/local/sbin/told");
    fs::write(&hook, "#!/bin/sh\necho \"$@\" >>/var/lib/mb-lb/told\n")?;
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755))?;
    let plain = PairSetup::default();
    let setup = PairSetup {
        vrrp: "notify = \"/usr/local/sbin/told\"\n\
               track_scripts = { journal = { command = \"/usr/bin/pgrep systemd-journal\", weight = -50 } }",
        ..plain.clone()
    };
    let first = put(guest, lab, "1.0-1")?;
    guest.expect("dpkg", &["--install", &first])?;
    site.configure(&setup.config(lab, 0))?;
    guest.expect("systemctl", &["enable", "--now", "mb-lb"])?;
    let mut pid = site.wait_active("")?;
    let tracked = router(site.status()?)?.tracks;
    assert!(
        tracked.iter().all(|track| track.failed.is_none()),
        "{tracked:?}"
    );
    let mut other = Other(Director::start(lab, "lb2", &plain.config(lab, 1))?);
    other.wait("backup")?;
    other.wait_in_sync()?;
    let turns = other.turns()?;
    let mut sessions = site.open(12)?;
    let mut traffic = Traffic::start(lab.client(), lab.smtp4());
    traffic.expect_more(5)?;

    guest.expect("systemctl", &["restart", "mb-lb"])?;
    pid = site.wait_active(&pid)?;
    assert_eq!(other.turns()?, turns, "restart: the peer was active");
    traffic.expect_more(5)?;

    let second = put(guest, lab, "1.0-2")?;
    let said = guest.expect("dpkg", &["--install", &second])?;
    assert!(said.contains("the controller was restarted"), "{said}");
    pid = site.wait_active(&pid)?;
    assert_eq!(other.turns()?, turns, "upgrade: the peer was active");
    traffic.expect_more(5)?;

    guest.expect("kill", &["-KILL", &pid])?;
    pid = site.wait_active(&pid)?;
    assert_eq!(other.turns()?, turns, "crash: the peer was active");
    expect_all_alive(&mut sessions)?;
    traffic.finish()?;

    // Stopped, it has handed over when `systemctl` returns.
    other.wait_in_sync()?;
    guest.expect("systemctl", &["stop", "mb-lb"])?;
    assert_eq!(router(other.0.status()?)?.role, "active");
    assert!(!site.holds_vip()?);
    assert_eq!(site.property("Result")?, "success");
    expect_all_alive(&mut sessions)?;
    // Each of the three that came after the first was active from its beginning.
    assert_eq!(
        fs::read_to_string(told)?,
        "VI_1 init backup 101\nVI_1 backup active 101\nVI_1 init active 101\nVI_1 init active 101\n\
         VI_1 init active 101\nVI_1 active init 101\n"
    );
    sessions.extend(site.open(3)?);
    guest.expect("systemctl", &["start", "mb-lb"])?;
    site.wait_active(&pid)?;
    other.wait("backup")?;
    other.wait_in_sync()?;

    // The other director may change this one's file, in the sandbox as well.
    let file = guest.path("/etc/mb-lb/mb-lb.toml");
    let before = fs::read_to_string(&file)?;
    other.0.expect(&["peer", "push"])?;
    assert!(!fs::read_to_string(&file)?.contains("notify"));
    let kept = fs::read_to_string(guest.path("/etc/mb-lb/mb-lb.toml.before-push"))?;
    assert_eq!(kept, before);
    // Said again, it changes nothing, and the way back stays.
    let again = other.0.expect(&["peer", "push"])?;
    assert_eq!(again.trim(), "the file there says this already");
    let kept = fs::read_to_string(guest.path("/etc/mb-lb/mb-lb.toml.before-push"))?;
    assert_eq!(kept, before);
    expect_all_alive(&mut sessions)?;

    guest.expect("dpkg", &["--purge", "mb-lb"])?;
    assert_eq!(router(other.0.status()?)?.role, "active");
    assert!(!site.holds_vip()?);
    assert!(!site.carries()?);
    assert!(!guest.path("/etc/mb-lb").exists());
    expect_all_alive(&mut sessions)?;
    other.0.stop()
}

/// A controller that was killed, and that nobody started again, has left its VIP. Removal takes it too.
#[test]
fn removal_takes_what_a_killed_controller_left() -> Result<()> {
    let site = Site::on(PairSetup::lab("packagekill")?)?;
    let guest = &site.guest;
    let package = put(guest, &site.lab, "1.0-1")?;
    guest.expect("dpkg", &["--install", &package])?;
    // Without a lease only the tag says whose it is.
    let setup = PairSetup {
        vrrp: "lease = false",
        ..PairSetup::default()
    };
    site.configure(&setup.config(&site.lab, 0))?;
    let dropin = guest.path("/run/systemd/system/mb-lb.service.d");
    fs::create_dir_all(&dropin)?;
    fs::write(dropin.join("once.conf"), "[Service]\nRestart=no\n")?;
    guest.expect("systemctl", &["daemon-reload"])?;
    guest.expect("systemctl", &["start", "mb-lb"])?;
    let pid = site.wait_active("")?;
    guest.expect("kill", &["-KILL", &pid])?;
    try_wait_until("systemd to give up", SOON, || {
        let state = site.property("ActiveState")?;
        ensure!(state == "failed", "{state}");
        Ok(())
    })?;
    assert!(site.holds_vip()?);
    guest.expect("dpkg", &["--purge", "mb-lb"])?;
    assert!(!site.holds_vip()?);
    assert!(!site.carries()?);
    Ok(())
}
