//! Our proxy and Debian's HAProxy side by side on one director, in front of the same nginx.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use mb_lb_tests::nginx::{make_certificate, make_certificate_with};
use mb_lb_tests::{Director, Lab, Nginx, Process, try_wait_until};
use nix::sys::signal::Signal;

use crate::facts::process_clock;

const START: Duration = Duration::from_secs(20);
/// Of HAProxy, above ours.
const PORTS_APART: u16 = 8000;
pub const NAME: &str = "mail.example.com";
/// A user who has been here before: most requests are of such.
pub const COOKIE: &str = "SERVERID=mb1";

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    MbLb,
    Haproxy,
}

/// In the order in which each round takes them.
pub const SIDES: [Side; 2] = [Side::MbLb, Side::Haproxy];

impl Side {
    pub const fn name(self) -> &'static str {
        match self {
            Self::MbLb => "mb-lb",
            Self::Haproxy => "HAProxy",
        }
    }
}

/// What clients connect to; both sides have all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    Clear,
    Ecdsa,
    Rsa,
    /// As [`Self::Ecdsa`], and TLS to the server too.
    TlsServer,
}

const FRONTS: [Front; 4] = [Front::Clear, Front::Ecdsa, Front::Rsa, Front::TlsServer];

impl Front {
    const fn name(self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Ecdsa => "ecdsa",
            Self::Rsa => "rsa",
            Self::TlsServer => "tls_server",
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::Clear => 80,
            Self::Ecdsa => 443,
            Self::Rsa => 444,
            Self::TlsServer => 445,
        }
    }

    /// Name of the file, where there is TLS.
    const fn certificate(self) -> Option<&'static str> {
        match self {
            Self::Clear => None,
            Self::Ecdsa | Self::TlsServer => Some("ecdsa.pem"),
            Self::Rsa => Some("rsa.pem"),
        }
    }

    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Clear => "http",
            Self::Ecdsa | Self::Rsa | Self::TlsServer => "https",
        }
    }
}

/// Both, at work.
pub struct Rig<'a> {
    pub lab: &'a Lab,
    director: Director,
    haproxy: Process,
    _nginx: Nginx,
}

impl<'a> Rig<'a> {
    pub fn start(lab: &'a Lab) -> Result<Self> {
        let nginx = Nginx::start(&lab.servers()[0])?;
        let machine = lab.machine("lb1");
        let tls = machine.directory().join("tls");
        make_certificate(machine, &tls.join("ecdsa.pem"), NAME)?;
        make_certificate_with(machine, &tls.join("rsa.pem"), NAME, &["rsa:2048"], 30)?;
        let director = Director::start(lab, "lb1", &config(lab, &tls))?;
        let haproxy = start_haproxy(lab, &tls)?;
        let mut rig = Self {
            lab,
            director,
            haproxy,
            _nginx: nginx,
        };
        for side in SIDES {
            rig.wait_listening(side)?;
        }
        Ok(rig)
    }

    pub fn address(&self, side: Side, front: Front) -> SocketAddr {
        let port = match side {
            Side::MbLb => front.port(),
            Side::Haproxy => front.port() + PORTS_APART,
        };
        (self.lab.vip4(), port).into()
    }

    pub fn pid(&mut self, side: Side) -> Result<u32> {
        Ok(match side {
            Side::MbLb => self.director.running()?.pid(),
            Side::Haproxy => self.haproxy.pid(),
        })
    }

    /// User and system time that a side takes for `work`, of all its threads, in seconds.
    pub fn seconds(&mut self, side: Side, work: impl FnOnce(&Self) -> Result<()>) -> Result<f64> {
        let pid = self.pid(side)?;
        let before = process_clock(pid)?;
        work(self)?;
        Ok(process_clock(pid)? - before)
    }

    /// Does `work` while the other side stands still. Once a second ours goes through the flow table, and on a kernel without
    /// preemption that holds a CPU for as long as it takes.
    pub fn alone<T>(&mut self, side: Side, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let other = match side {
            Side::MbLb => Side::Haproxy,
            Side::Haproxy => Side::MbLb,
        };
        self.signal(other, Signal::SIGSTOP)?;
        let done = work(self);
        self.signal(other, Signal::SIGCONT)?;
        done
    }

    fn signal(&mut self, side: Side, signal: Signal) -> Result<()> {
        match side {
            Side::MbLb => self.director.running()?.signal(signal),
            Side::Haproxy => self.haproxy.signal(signal),
        }
    }

    fn wait_listening(&mut self, side: Side) -> Result<()> {
        for front in FRONTS {
            let address = self.address(side, front);
            let what = format!("{} to listen on {address}", side.name());
            let client = self.lab.client();
            let ended = try_wait_until(&what, START, || {
                if side == Side::Haproxy && self.haproxy.exited()?.is_some() {
                    return Ok(Some(self.haproxy.tail()));
                }
                client
                    .enter(|| std::net::TcpStream::connect(address))
                    .map(|_| None)
                    .context("it does not answer")
            })?;
            if let Some(said) = ended {
                bail!("HAProxy has ended; {said}");
            }
        }
        Ok(())
    }

    /// A new process of one side.
    pub fn restart(&mut self, side: Side) -> Result<()> {
        match side {
            Side::MbLb => self.director.restart()?,
            Side::Haproxy => {
                self.haproxy.kill()?;
                let tls = self.lab.machine("lb1").directory().join("tls");
                self.haproxy = start_haproxy(self.lab, &tls)?;
            }
        }
        self.wait_listening(side)
    }

    pub fn stop(mut self) -> Result<()> {
        self.director.stop()?;
        self.director.expect(&["detach"])?;
        self.haproxy.kill()
    }
}

fn server(lab: &Lab) -> Ipv4Addr {
    lab.servers()[0].ipv4()
}

fn config(lab: &Lab, tls: &std::path::Path) -> String {
    let (vip, server) = (lab.vip4(), server(lab));
    let mut text = "[director]\nname = \"lb1\"\n".to_owned();
    for front in FRONTS {
        let (name, port) = (front.name(), front.port());
        text += &format!(
            "\n[proxy.{name}]\nlisten = \"{vip}:{port}\"\ncheck = {{ type = \"none\" }}\n\
             cookie = {{ name = \"SERVERID\", indirect = true, nocache = true }}\n"
        );
        if let Some(file) = front.certificate() {
            text += &format!("certificate = {:?}\n", tls.join(file));
        }
        let to = match front {
            Front::TlsServer => format!("\"{server}:443\", tls = {{ verify = \"none\" }}"),
            _ => format!("\"{server}:80\""),
        };
        text += &format!("[proxy.{name}.servers]\nmb1 = {{ address = {to}, cookie = \"mb1\" }}\n");
    }
    text
}

/// With the lines of the deployment that ours stands for, without logs.
fn start_haproxy(lab: &Lab, tls: &std::path::Path) -> Result<Process> {
    let (vip, server) = (lab.vip4(), server(lab));
    let mut text = "global\n  nbthread 2\n  maxconn 8000\n  ssl-default-bind-options ssl-min-ver TLSv1.2\n\
                    defaults\n  mode http\n  timeout connect 5s\n  timeout client 50s\n  timeout server 50s\n"
        .to_owned();
    for front in FRONTS {
        let (name, port) = (front.name(), front.port() + PORTS_APART);
        let (bind, scheme) = (front.certificate(), front.scheme());
        let bind = bind.map_or_else(String::new, |file| {
            let file = tls.join(file);
            format!("ssl crt {} alpn h2,http/1.1", file.display())
        });
        let to = match front {
            Front::TlsServer => format!("{server}:443 ssl verify none"),
            _ => format!("{server}:80"),
        };
        write!(
            text,
            "frontend {name}\n  bind {vip}:{port} {bind}\n  option forwardfor\n  \
             http-request set-header X-Forwarded-Proto {scheme}\n  default_backend {name}\n\
             backend {name}\n  balance roundrobin\n  cookie SERVERID insert indirect nocache\n  \
             server mb1 {to} cookie mb1\n"
        )
        .context("cannot write to a string")?;
    }
    let machine = lab.machine("lb1");
    let path: PathBuf = machine.directory().join("haproxy-https.cfg");
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    let mut command = machine.command("haproxy");
    command.args(["-db", "-f"]).arg(&path);
    machine.spawn("haproxy-https", &mut command)
}
