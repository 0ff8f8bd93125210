//! A director whose controller and whose HAProxy have the same services with the same servers.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::nginx::make_certificate;
use mb_lb_tests::{Director, Lab, Process, Topology, try_wait_until};

pub const SOON: Duration = Duration::from_secs(30);

/// Sends all at once and reads until the other side closes.
pub fn ask(socket: &Path, text: impl AsRef<[u8]>) -> Result<String> {
    let mut stream = UnixStream::connect(socket)
        .with_context(|| format!("cannot connect to {}", socket.display()))?;
    // A server that hangs is a failure, but later.
    stream.set_read_timeout(Some(SOON))?;
    stream.write_all(text.as_ref())?;
    // Who has a prompt is not left before.
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

pub struct Rig {
    pub director: Director,
    haproxy: PathBuf,
    _process: Process,
    pub lab: Lab,
}

impl Rig {
    pub fn start(name: &str) -> Result<Self> {
        let lab = Lab::with(
            name,
            Topology {
                directors: 1,
                servers: 2,
            },
        )?;
        let director = Director::new(&lab, "lb1")?;
        let directory = director.machine().directory().to_owned();
        let (site, certificates) = (directory.join("site.pem"), directory.join("certs"));
        fs::create_dir_all(&certificates)?;
        make_certificate(director.machine(), &site, "mail.example.com")?;
        make_certificate(
            director.machine(),
            &certificates.join("a.pem"),
            "a.example.com",
        )?;

        let vip = lab.vip4();
        let mut ours = format!(
            "[service.smtp]\nlisten = [\"{vip}:25\"]\ncheck = {{ type = \"tcp\", interval = \"200ms\" }}\n[service.smtp.servers]\n{}\
             [service.plain]\nlisten = [\"{vip}:587\"]\ncheck = {{ type = \"none\" }}\n[service.plain.servers]\n{}\
             [service.asked]\nlisten = [\"{vip}:2526\"]\ncheck = {{ type = \"none\" }}\nagent = {{ port = 9707 }}\n[service.asked.servers]\n{}\
             [proxy.https]\nlisten = [\"{vip}:443\"]\ncertificate = [{site:?}, {certificates:?}]\ncheck = {{ type = \"none\" }}\n\
             [proxy.https.servers]\n",
            servers(&lab, |name, address| format!(
                "{name} = {{ address = \"{address}\", weight = 10 }}\n"
            )),
            servers(&lab, |name, address| format!("{name} = \"{address}\"\n")),
            servers(&lab, |name, address| format!("{name} = \"{address}\"\n")),
        );
        ours += &servers(&lab, |name, address| format!("{name} = \"{address}:80\"\n"));
        let mut director = director;
        director.write_config(&ours)?;
        director.run()?;

        let haproxy = directory.join("haproxy.sock");
        let theirs = format!(
            "global\n    stats socket {} level admin\n    stats timeout 30s\n\
             defaults\n    mode tcp\n    balance leastconn\n    timeout connect 5s\n    timeout client 50s\n    timeout server 50s\n\
             listen smtp\n    bind 127.0.0.1:2025\n{}listen plain\n    bind 127.0.0.1:2587\n{}\
             listen asked\n    bind 127.0.0.1:2526\n{}\
             listen https\n    mode http\n    bind 127.0.0.1:2443 ssl crt {} crt {}\n{}",
            haproxy.display(),
            servers(&lab, |name, address| format!(
                "    server {name} {address}:25 weight 10 check inter 200ms\n"
            )),
            servers(&lab, |name, address| format!(
                "    server {name} {address}:587\n"
            )),
            servers(&lab, |name, address| format!(
                "    server {name} {address}:2526 agent-check agent-port 9707\n"
            )),
            site.display(),
            certificates.display(),
            servers(&lab, |name, address| format!(
                "    server {name} {address}:80\n"
            )),
        );
        let config = directory.join("haproxy.cfg");
        fs::write(&config, theirs)?;
        let mut command = director.machine().command("haproxy");
        command.args(["-db", "-f"]).arg(&config);
        let process = director.machine().spawn("haproxy", &mut command)?;
        try_wait_until("HAProxy's socket", SOON, || {
            ask(&haproxy, "show version\n").map(drop)
        })?;
        let rig = Self {
            director,
            haproxy,
            _process: process,
            lab,
        };
        try_wait_until("the certificates to be served", SOON, || {
            let shown = rig.ours("show ssl cert")?;
            ensure!(shown.lines().count() == 4, "{shown}");
            Ok(())
        })?;
        try_wait_until("both to have checked both servers", SOON, || {
            for answer in [
                rig.ours("show stat 2 4 -1")?,
                rig.theirs("show stat 2 4 -1")?,
            ] {
                ensure!(answer.matches("L4CON").count() == 2, "{answer}");
            }
            Ok(())
        })?;
        Ok(rig)
    }

    /// What the controller answers to a line.
    pub fn ours(&self, line: &str) -> Result<String> {
        ask(&self.director.socket(), format!("{line}\n"))
    }

    /// What HAProxy answers to a line.
    pub fn theirs(&self, line: &str) -> Result<String> {
        ask(&self.haproxy, format!("{line}\n"))
    }

    pub fn haproxy(&self) -> PathBuf {
        self.haproxy.clone()
    }

    /// Of the director.
    pub fn directory(&self) -> &Path {
        self.director.machine().directory()
    }

    pub fn site(&self) -> PathBuf {
        self.directory().join("site.pem")
    }

    pub fn certificates(&self) -> PathBuf {
        self.directory().join("certs")
    }
}

fn servers(lab: &Lab, line: impl Fn(&str, std::net::Ipv4Addr) -> String) -> String {
    let servers = lab.servers().iter();
    servers
        .map(|server| line(server.name(), server.ipv4()))
        .collect()
}
