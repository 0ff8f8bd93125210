//! The directors that are compared, all on `lb1` of the same lab, one at a time.

use std::fmt::Write as _;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use mb_lb_tests::wait::try_wait_until;
use mb_lb_tests::{Director, Lab, Process};

use crate::bpf;
use crate::generator;

/// Who is in front of the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nobody: clients know the servers.
    None,
    MbLb,
    /// A few instructions of XDP that keep and count nothing: what the lab's way through a director costs by itself.
    Relay,
    /// The kernel routes everything to one server, and chooses nothing.
    Forwarding,
    /// The kernel's NAT, which takes one server after the other.
    Nftables,
    Haproxy,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "no director",
            Self::MbLb => "mb-lb (XDP, dsr, leastconn)",
            Self::Relay => "XDP relay (stateless, by port)",
            Self::Forwarding => "kernel forwarding to one server",
            Self::Nftables => "nftables DNAT (numgen)",
            Self::Haproxy => "HAProxy (mode tcp, leastconn)",
        }
    }
}

/// A director at work. Dropping it stops it; what it has changed on the machines is undone by [`Running::stop`].
pub struct Running<'a> {
    lab: &'a Lab,
    kind: Kind,
    mb_lb: Option<Director>,
    haproxy: Option<Process>,
    /// Attached for as long as this is held.
    relay: Option<OwnedFd>,
}

/// Whether mb-lb looks after its servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checks {
    Off,
    /// As often as in the deployment.
    On,
}

impl<'a> Running<'a> {
    pub fn start(lab: &'a Lab, kind: Kind, checks: Checks) -> Result<Self> {
        let mut running = Self {
            lab,
            kind,
            mb_lb: None,
            haproxy: None,
            relay: None,
        };
        match kind {
            Kind::None => {}
            Kind::MbLb => running.mb_lb = Some(start_mb_lb(lab, checks)?),
            Kind::Relay => running.relay = Some(start_relay(lab)?),
            Kind::Haproxy => running.haproxy = Some(start_haproxy(lab)?),
            Kind::Nftables => running.nftables()?,
            Kind::Forwarding => running.forwarding()?,
        }
        Ok(running)
    }

    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// User and system time of the director's process so far; `None` for one without.
    pub fn process_seconds(&self) -> Result<Option<f64>> {
        self.haproxy
            .as_ref()
            .map(|process| crate::facts::process_seconds(process.pid()))
            .transpose()
    }

    /// What mb-lb says about the packets that it has seen, for messages.
    pub fn explain(&self) -> String {
        match &self.mb_lb {
            Some(director) => match director.status() {
                Ok(status) => {
                    let reasons: Vec<_> = status
                        .dataplane
                        .reasons
                        .iter()
                        .filter(|reason| reason.packets > 0)
                        .map(|reason| format!("{} {}", reason.packets, reason.name))
                        .collect();
                    let servers: Vec<_> = status
                        .services
                        .iter()
                        .flat_map(|service| &service.servers)
                        .map(|server| format!("{} {}", server.name, server.health_reason))
                        .collect();
                    format!(
                        "mb-lb has seen: {}; servers: {}",
                        reasons.join(", "),
                        servers.join(", ")
                    )
                }
                Err(error) => format!("mb-lb does not say why: {error:#}"),
            },
            None => "no mb-lb is there to say why".to_owned(),
        }
    }

    /// What the XDP program has used since statistics are on; `None` for other directors.
    pub fn program_time(&self) -> Result<Option<Duration>> {
        let Some(director) = &self.mb_lb else {
            return Ok(None);
        };
        let pins = mb_lb_ctl::dataplane::pin_dir(director.bpf_root());
        let link = fs::read_dir(&pins)
            .with_context(|| format!("cannot read {}", pins.display()))?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| is_link(path))
            .context("the program is attached nowhere")?;
        let program = bpf::program_of_link(&link)
            .with_context(|| format!("cannot open the program of {}", link.display()))?;
        Ok(Some(bpf::run_time(bpf::fd(&program))?))
    }

    /// Stops it, and leaves the machines as they were.
    pub fn stop(mut self) -> Result<()> {
        if let Some(mut director) = self.mb_lb.take() {
            director.stop()?;
            director.expect(&["detach"])?;
        }
        if let Some(mut process) = self.haproxy.take() {
            process.kill()?;
        }
        drop(self.relay.take());
        let director = self.lab.machine("lb1");
        let vip = format!("{}/32", self.lab.vip4());
        match self.kind {
            Kind::Nftables => {
                director.run("nft", &["delete", "table", "ip", "bench"])?;
                for server in self.lab.servers() {
                    server.run("ip", &["route", "del", &self.client()])?;
                }
                director.sysctl("ipv4.ip_forward", "0")?;
            }
            Kind::Forwarding => {
                director.run("ip", &["route", "del", &vip])?;
                director.run("ip", &["address", "add", &vip, "dev", "eth0"])?;
                director.sysctl("ipv4.ip_forward", "0")?;
            }
            Kind::None | Kind::Relay | Kind::MbLb | Kind::Haproxy => {}
        }
        Ok(())
    }

    fn client(&self) -> String {
        format!("{}/32", self.lab.client().ipv4())
    }

    fn route(&self) -> Result<()> {
        let director = self.lab.machine("lb1");
        for interface in ["all", "eth0"] {
            director.sysctl(&format!("ipv4.conf.{interface}.send_redirects"), "0")?;
        }
        director.sysctl("ipv4.ip_forward", "1")
    }

    /// Destination rewritten, source kept: the servers see the client, and answer through the director.
    fn nftables(&self) -> Result<()> {
        let director = self.lab.machine("lb1");
        let servers = self.lab.servers();
        let mut map = String::new();
        for (n, server) in servers.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(map, "{comma}{n} : {}", server.ipv4()).context("cannot write to a string")?;
        }
        let table = format!(
            "table ip bench {{ chain prerouting {{ type nat hook prerouting priority dstnat; \
             ip daddr {} tcp dport 25 dnat to numgen inc mod {} map {{ {map} }}; }}; }}",
            self.lab.vip4(),
            servers.len()
        );
        director.run("nft", &[&table])?;
        for server in servers {
            let via = director.ipv4().to_string();
            server.run("ip", &["route", "add", &self.client(), "via", &via])?;
        }
        self.route()
    }

    fn forwarding(&self) -> Result<()> {
        let director = self.lab.machine("lb1");
        let vip = format!("{}/32", self.lab.vip4());
        let server = self.lab.servers()[0].ipv4().to_string();
        director.run("ip", &["address", "del", &vip, "dev", "eth0"])?;
        director.run("ip", &["route", "add", &vip, "via", &server])?;
        self.route()
    }
}

fn is_link(path: &std::path::Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with("link-"))
}

fn start_mb_lb(lab: &Lab, checks: Checks) -> Result<Director> {
    let director = Director::start(lab, "lb1", &config(lab, checks))?;
    try_wait_until("all servers to be usable", Duration::from_secs(20), || {
        let status = director.status()?;
        let usable = status
            .services
            .iter()
            .flat_map(|service| &service.servers)
            .filter(|server| server.usable)
            .count();
        if usable < lab.servers().len() {
            bail!("{usable} are");
        }
        Ok(())
    })?;
    Ok(director)
}

/// The service of the deployment that the lab stands for.
pub fn config(lab: &Lab, checks: Checks) -> String {
    let check = match checks {
        Checks::Off => "{ type = \"none\" }",
        Checks::On => "{ type = \"tcp\", interval = \"2s\", timeout = \"1s\", rise = 1, fall = 3 }",
    };
    let mut text = format!(
        "[service.smtp_backend]\nlisten = [\"{}\"]\nforward = \"dsr\"\nscheduler = \"leastconn\"\n\
         check = {check}\n[service.smtp_backend.servers]\n",
        lab.smtp4()
    );
    for server in lab.servers() {
        text += &format!(
            "{} = {{ address = \"{}\", weight = 10 }}\n",
            server.name(),
            server.ipv4()
        );
    }
    text
}

fn start_relay(lab: &Lab) -> Result<OwnedFd> {
    let servers = lab.servers();
    let count = u8::try_from(servers.len()).context("too many servers")?;
    let program = bpf::load_xdp(&generator::relay(servers[0].mac(), count))
        .context("cannot load the relay")?;
    lab.machine("lb1").enter(|| {
        let ifindex = nix::net::if_::if_nametoindex("eth0").context("no interface eth0")?;
        bpf::attach_xdp(bpf::fd(&program), ifindex).context("cannot attach the relay")
    })
}

/// HAProxy for the same service. `check` follows each server.
pub fn haproxy_config(lab: &Lab, check: &str) -> String {
    let mut text = format!(
        "global\n  maxconn 4000\n\
         defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 50s\n  timeout server 50s\n\
         frontend smtp_frontend\n  bind {}\n  default_backend smtp_backend\n\
         backend smtp_backend\n  balance leastconn\n",
        lab.smtp4()
    );
    for server in lab.servers() {
        text += &format!("  server {} {}:25 {check}\n", server.name(), server.ipv4());
    }
    text
}

fn start_haproxy(lab: &Lab) -> Result<Process> {
    let director = lab.machine("lb1");
    let text = haproxy_config(lab, "check inter 2s");
    let path: PathBuf = director.directory().join("haproxy.cfg");
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    let mut command = director.command("haproxy");
    command.args(["-db", "-f"]).arg(&path);
    let mut process = director.spawn("haproxy", &mut command)?;
    try_wait_until("HAProxy to listen", Duration::from_secs(10), || {
        if let Some(status) = process.exited()? {
            bail!("it ended: {status}; {}", process.tail());
        }
        director
            .enter(|| std::net::TcpStream::connect(lab.smtp4()))
            .map(drop)
            .context("it does not answer")
    })?;
    Ok(process)
}
