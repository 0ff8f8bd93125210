//! `mb-lb-ctl import`: the files of a deployment become a director that serves it; what is said of lines is what HAProxy
//! itself says; and files of other people are read to their last line.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::import::{Input, Options, Verdict, import};
use mb_lb_tests::cluster::expect_code;
use mb_lb_tests::nginx::make_certificate;
use mb_lb_tests::{
    Director, Lab, Machine, Nginx, Sink, SinkOptions, Source, Topology, try_wait_until,
};
use nix::sys::signal::Signal;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../mb-lb-ctl/src/import/tests/fixtures")
}

/// Mail and web of three nodes, and a director without a configuration.
struct Site {
    director: Director,
    sinks: Vec<Sink>,
    _checked: Vec<Sink>,
    _web: Vec<Nginx>,
    lab: Lab,
}

impl Site {
    /// Servers are as they are behind HAProxy: without the VIP, and with the kernel's defaults.
    fn start(name: &str) -> Result<Self> {
        let topology = Topology {
            directors: 1,
            servers: 3,
        };
        let lab = Lab::with(name, topology)?;
        let vip = format!("{}/32", lab.vip4());
        // The instance brings it.
        lab.machine("lb1")
            .run("ip", &["address", "del", &vip, "dev", "eth0"])?;
        for server in lab.servers() {
            server.run("ip", &["address", "del", &vip, "dev", "lo"])?;
            server.sysctl("ipv4.conf.all.arp_ignore", "0")?;
            server.sysctl("ipv4.conf.all.arp_announce", "0")?;
        }
        // What the deployment's check asks.
        let filter = SinkOptions {
            port: 10025,
            record: false,
            ..SinkOptions::default()
        };
        let servers = lab.servers().iter();
        let sinks = servers.clone().map(Sink::start).collect::<Result<_>>()?;
        let checked = servers
            .clone()
            .map(|server| Sink::with(server, &filter))
            .collect::<Result<_>>()?;
        let web = servers.map(Nginx::start).collect::<Result<_>>()?;
        make_certificate(
            lab.client(),
            &lab.dir().join("mailborder.pem"),
            "mailborder.test",
        )?;
        let mut director = Director::new(&lab, "lb1")?;
        let socket = director.socket();
        director.set_variable("MB_LB_SOCKET", socket);
        let site = Self {
            director,
            sinks,
            _checked: checked,
            _web: web,
            lab,
        };
        for name in ["haproxy.cfg", "keepalived.conf"] {
            let text = fs::read_to_string(fixtures().join("document").join(name))?;
            let certificate = site.lab.dir().join("mailborder.pem");
            let text = text // The VIP has the prefix of the network, as in the deployment: else it would be the source of the
                // director's own connections.
                .replace("192.168.1.100/24", "10.77.0.100/16")
                .replace("192.168.1.", "10.77.0.")
                .replace(
                    "/etc/ssl/certs/mailborder.pem",
                    &certificate.display().to_string(),
                );
            fs::write(site.file(name), text)?;
        }
        Ok(site)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.director.machine().directory().join(name)
    }

    /// Imports the deployment's files and gives the report.
    fn import(&self, forward: &str) -> Result<Value> {
        let path = |name| self.file(name).display().to_string();
        let (haproxy, keepalived) = (path("haproxy.cfg"), path("keepalived.conf"));
        let output = self.director.config_path();
        let shown = output.display().to_string();
        let mut arguments = vec!["import", &haproxy, &keepalived, "-o", &shown];
        arguments.extend(["--forward", forward, "--report=json"]);
        let answer = self.director.ctl(&arguments)?;
        expect_code(&answer, 0, &["is written"]);
        let mode = fs::metadata(&output)?.permissions().mode() & 0o777;
        ensure!(mode == 0o600, "the mode is {mode:o}");
        // Not twice by accident.
        expect_code(&self.director.ctl(&arguments)?, 8, &["exists already"]);
        expect_code(&self.director.ctl(&["check", &shown])?, 0, &["0 errors"]);
        let told: Value = serde_json::from_str(&answer.stdout).context("no JSON")?;
        Ok(told["report"].clone())
    }

    /// Runs the controller, and waits until it has the VIP and all servers.
    fn run(&mut self) -> Result<()> {
        self.director.run()?;
        try_wait_until("the VIP and all servers", SOON, || {
            let status = self.director.status()?;
            let text = self.director.expect(&["list", "vips", "-o", "csv"]);
            let services = status.services.len();
            ensure!(services == 2, "{services} services");
            for server in status.services.iter().flat_map(|service| &service.servers) {
                ensure!(server.usable, "{}: {}", server.name, server.health_reason);
            }
            let addresses = self.director.machine().run("ip", &["-br", "address"])?;
            ensure!(
                addresses.contains(&self.lab.vip4().to_string()),
                "{addresses} {text:?}"
            );
            Ok(())
        })
    }

    /// Mail through the VIP reaches all servers, from `client` as they see it; and the web does.
    fn expect_served(&self, client: &Machine) -> Result<()> {
        let sent = Source::new(self.lab.smtp4())
            .messages(30)
            .sessions(3)
            .run(self.lab.client())?;
        sent.expect_all(30)?;
        let mut all = 0;
        for sink in &self.sinks {
            let clients = sink.clients()?;
            let expected = IpAddr::from(client.ipv4());
            ensure!(
                clients.keys().eq([&expected]),
                "{}: {clients:?}",
                sink.machine().name()
            );
            all += clients.values().sum::<u64>();
        }
        ensure!(all == 30, "{all} of 30 messages");
        let url = format!("https://{}/", self.lab.vip4());
        let page = self.lab.client().run("curl", &["-sSki", &url])?;
        ensure!(page.contains("SERVERID=mb"), "{page}");
        Ok(())
    }
}

#[test]
fn the_deployment_runs_with_direct_server_return() -> Result<()> {
    let mut site = Site::start("import-dsr")?;
    let report = site.import("dsr")?;
    let setups = report["server_setup"]
        .as_array()
        .context("no set-up")?
        .clone();
    ensure!(setups.len() == 3, "{setups:?}");
    // The lines as people paste them.
    let text = site.director.ctl(&[
        "import",
        &site.file("haproxy.cfg").display().to_string(),
        &site.file("keepalived.conf").display().to_string(),
        "--report",
    ])?;
    let setup = between(&text.stdout, "# HAProxy notices", "# to keep it");
    let undo = between(&text.stdout, "# undo:", "# undo what was kept");
    for server in site.lab.servers() {
        server.run("sh", &["-ec", &setup])?;
        // Whoever does it twice breaks nothing.
        server.run("sh", &["-ec", &setup])?;
    }
    site.run()?;
    site.expect_served(site.lab.client())?;
    site.director.stop()?;
    let vip = site.lab.vip4().to_string();
    for server in site.lab.servers() {
        server.run("sh", &["-ec", &undo])?;
        let addresses = server.run("ip", &["-br", "address"])?;
        ensure!(!addresses.contains(&vip), "{addresses}");
        let ignore = server.run("sysctl", &["-n", "net.ipv4.conf.all.arp_ignore"])?;
        ensure!(ignore.trim() == "0", "{ignore}");
    }
    Ok(())
}

#[test]
fn the_deployment_runs_without_touching_a_server() -> Result<()> {
    let mut site = Site::start("import-proxy")?;
    let report = site.import("proxy")?;
    ensure!(report["server_setup"] == serde_json::json!([]), "{report}");
    site.run()?;
    let director = site.director.machine().clone();
    site.expect_served(&director)
}

/// Lines after the one that begins with `from`, up to the one that begins with `to`.
fn between(text: &str, from: &str, to: &str) -> String {
    let lines = text.lines().skip_while(|line| !line.starts_with(from));
    let lines = lines.skip(1).take_while(|line| !line.starts_with(to));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn what_haproxy_ignores_is_dead() -> Result<()> {
    let path = fixtures().join("dead/haproxy.cfg");
    let output = std::process::Command::new("haproxy")
        .args(["-c", "-f"])
        .arg(&path)
        .output()
        .context("haproxy (package haproxy)")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    let text = fs::read_to_string(&path)?;
    let input = Input {
        name: "haproxy.cfg",
        text: &text,
    };
    let options = Options {
        vips: vec!["192.0.2.100".parse()?],
        ..Options::default()
    };
    let imported = import(&[input], &options)?;
    let rows = &imported.report.files[0].rows;
    let mut lines = 0;
    for warning in said.lines().filter(|line| line.contains("ignored")) {
        // `parsing [/path/haproxy.cfg:16] : 'cookie' ignored because ...`
        let Some((_, rest)) = warning.split_once("haproxy.cfg:") else {
            continue;
        };
        let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let number: usize = number.parse().with_context(|| warning.to_owned())?;
        let row = rows
            .iter()
            .find(|row| row.line == number)
            .context("no row")?;
        ensure!(row.verdict == Verdict::Dead, "{warning}: {row:?}");
        lines += 1;
    }
    ensure!(lines >= 6, "{said}");
    // What it says without a line.
    for (warning, dead) in [
        (
            "uses tcp-check rules without",
            "tcp-check connect port 10025",
        ),
        (
            "uses http-check rules without",
            "http-check expect status 200",
        ),
        ("'redirect' rules ignored", "redirect scheme https"),
        ("'option forwardfor' ignored", "option forwardfor"),
        ("Layer 7 hash not possible", "balance uri"),
        (
            "always has precedence over the servers",
            "server mb1 192.0.2.1:2527 check",
        ),
    ] {
        ensure!(said.contains(warning), "{warning} is not in {said}");
        let row = rows.iter().find(|row| row.text == dead).context(dead)?;
        ensure!(row.verdict == Verdict::Dead, "{row:?}");
    }
    Ok(())
}

/// Ends with its test.
struct HaProxy(std::process::Child);

impl Drop for HaProxy {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone then.
        let _killed = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Which port a check asks, and how many backups are in use: HAProxy does it, and the import says the same.
#[test]
fn ports_of_checks_and_backups_are_as_haproxy_has_them() -> Result<()> {
    let listener = || TcpListener::bind("127.0.0.1:0").context("a port");
    let port = |listener: &TcpListener| anyhow::Ok(listener.local_addr()?.port());
    let (asked, one, two) = (listener()?, listener()?, listener()?);
    // Taken, and then free: nobody listens there.
    let free = [listener()?, listener()?, listener()?];
    let [front, unasked, dead] = [port(&free[0])?, port(&free[1])?, port(&free[2])?];
    drop(free);
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("socket");
    let path = dir.path().join("haproxy.cfg");
    let text = format!(
        "global\n    stats socket {} level admin\ndefaults\n    mode tcp\n    timeout connect 1s\n    timeout client 5s\n    timeout server 5s\n\
         listen db\n    bind 127.0.0.1:{front}\n    option tcp-check\n    tcp-check connect port {}\n\
         \x20   server main 127.0.0.1:{dead} check port {} inter 200ms\n\
         \x20   server one 127.0.0.1:{} backup\n    server two 127.0.0.1:{} backup\n",
        socket.display(),
        port(&asked)?,
        unasked,
        port(&one)?,
        port(&two)?,
    );
    fs::write(&path, &text)?;
    let mut command = std::process::Command::new("haproxy");
    let command = command.args(["-db", "-f"]).arg(&path);
    let _haproxy = HaProxy(command.spawn().context("haproxy (package haproxy)")?);
    let ask = |command: &str| -> Result<String> {
        let mut admin = UnixStream::connect(&socket)?;
        admin.write_all(command.as_bytes())?;
        let mut answer = String::new();
        admin.read_to_string(&mut answer)?;
        Ok(answer)
    };
    // Only the port of the rule is open, so that is what was asked.
    try_wait_until("a check", SOON, || {
        let answer = ask("show stat db 4 -1\n")?;
        ensure!(answer.contains(",L4OK,"), "{answer}");
        Ok(())
    })?;
    // Out of service: all that come in are the backups'.
    let answer = ask("set server db/main state maint\n")?;
    ensure!(answer.trim().is_empty(), "{answer}");
    one.set_nonblocking(true)?;
    for _ in 0..6 {
        let _client = TcpStream::connect(("127.0.0.1", front))?;
        try_wait_until("the first backup", SOON, || one.accept())?;
    }
    two.set_nonblocking(true)?;
    ensure!(two.accept().is_err(), "the second backup is used");

    let text = text.replace(&format!("bind 127.0.0.1:{front}"), "bind 192.0.2.100:3306");
    let input = Input {
        name: "haproxy.cfg",
        text: &text,
    };
    let imported = import(&[input], &Options::default())?;
    let config = imported.config.context("nothing was imported")?;
    let check = format!("check = {{ type = \"tcp\", port = {}, ", port(&asked)?);
    ensure!(config.contains(&check), "{config}");
    let notices = &imported.report.notices;
    ensure!(
        notices
            .iter()
            .any(|notice| notice.contains("2 backups without `option allbackups`")),
        "{notices:?}"
    );
    Ok(())
}

#[test]
fn files_of_other_people_are_read_to_their_last_line() -> Result<()> {
    let mut files = 0;
    for directory in [
        "/usr/share/doc/haproxy/examples",
        "/usr/share/doc/keepalived/samples",
    ] {
        let entries = fs::read_dir(directory)
            .with_context(|| format!("{directory} (packages haproxy and keepalived)"))?;
        for entry in entries {
            let path = entry?.path();
            let name = path.display().to_string();
            if !name.contains("keepalived.conf") && !name.ends_with(".cfg") {
                continue;
            }
            let text = fs::read_to_string(&path).with_context(|| name.clone())?;
            let input = Input {
                name: &name,
                text: &text,
            };
            let options = Options {
                vips: vec!["192.0.2.100".parse()?],
                name: "high".to_owned(),
                ..Options::default()
            };
            let imported = import(&[input], &options).with_context(|| name.clone())?;
            let rows = &imported.report.files[0].rows;
            let lines: Vec<usize> = text
                .lines()
                .zip(1..)
                .filter(|(line, _)| !line.trim().is_empty())
                .map(|(_, number)| number)
                .collect();
            ensure!(rows.iter().map(|row| row.line).eq(lines), "{name}");
            ensure!(
                rows.iter().all(|row| !row.note.is_empty()),
                "{name}: {rows:?}"
            );
            if let Some(config) = &imported.config {
                let errors = mb_lb_ctl::config::parse(config, "lb1").errors();
                ensure!(errors == 0, "{name}: {config}");
            }
            files += 1;
        }
    }
    ensure!(files >= 20, "{files} files");
    Ok(())
}

/// HAProxy goes on serving; the shadow sees a daemon that hangs, which a connection to a port cannot show.
#[test]
fn a_shadow_says_where_haproxy_sees_servers_otherwise() -> Result<()> {
    let site = Site::start("import-shadow")?;
    site.import("proxy")?;
    let machine = site.director.machine();
    let socket = site.file("haproxy.sock").display().to_string();
    let text = fs::read_to_string(site.file("haproxy.cfg"))?;
    let text = text.replace("/run/haproxy/admin.sock", &socket);
    fs::write(site.file("haproxy.cfg"), text)?;
    let mut command = machine.command("haproxy");
    command.args(["-db", "-f"]).arg(site.file("haproxy.cfg"));
    let haproxy = machine.spawn("haproxy", &mut command)?;
    try_wait_until("HAProxy's socket", SOON, || {
        ensure!(Path::new(&socket).exists(), "{}", haproxy.tail());
        Ok(())
    })?;
    // A better check, as people try one out.
    let config = fs::read_to_string(site.director.config_path())?;
    let better = config.replace("type = \"tcp\", port = 10025", "type = \"smtp\", port = 25");
    ensure!(better != config, "{config}");
    fs::write(site.director.config_path(), better)?;

    let before = machine.run("ip", &["address"])?;
    let mut command = machine.command(site.director.program());
    command.args(["run", "--shadow", "--haproxy-socket", &socket]);
    command.envs(site.director.environment());
    let mut shadow = machine.spawn("shadow", &mut command)?;
    let wait = |said: &str, shadow: &mb_lb_tests::Process| {
        try_wait_until(said, SOON, || {
            let output = shadow.output()?;
            ensure!(
                output.lines().any(|line| line.starts_with(said)),
                "{}",
                shadow.tail()
            );
            Ok(())
        })
    };
    wait("shadow: nothing is attached", &shadow)?;
    site.sinks[1].freeze()?;
    wait("disagree  smtp_backend/mb2: DOWN (no 220 banner", &shadow)?;
    let output = shadow.output()?;
    ensure!(
        output.contains("; HAProxy UP (L7OK") || output.contains("; HAProxy UP (L4OK"),
        "{output}"
    );
    site.sinks[1].thaw()?;
    wait("agree     smtp_backend/mb2: UP, HAProxy UP", &shadow)?;
    // Nothing else was said of any server, and nothing was touched.
    let output = shadow.output()?;
    ensure!(output.lines().count() == 3, "{output}");
    ensure!(
        machine.run("ip", &["address"])? == before,
        "addresses have changed"
    );
    ensure!(!site.director.socket().exists(), "there is an admin socket");
    let pinned = fs::read_dir(site.director.bpf_root())?.count();
    ensure!(pinned == 0, "{pinned} pins");
    shadow.signal(Signal::SIGTERM)?;
    let status = shadow.wait(SOON)?;
    ensure!(status.success(), "{status}");
    Ok(())
}
