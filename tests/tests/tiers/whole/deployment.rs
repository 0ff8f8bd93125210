//! All machines of the deployment, and what is done to them.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::snapshot::{Snapshot, TierView};
use mb_lb_tests::ganesha::Ganesha;
use mb_lb_tests::nginx::make_certificate;
use mb_lb_tests::pair::KEY;
use mb_lb_tests::redis::{MASTER, PASSWORD, Redis, RedisSetup, SENTINEL_PASSWORD};
use mb_lb_tests::{
    Director, Galera, Lab, Machine, Nginx, Session, Sink, Source, Topology, galera, try_wait_until,
};

use super::users::Writes;

pub const SOON: Duration = Duration::from_secs(90);
/// Beside the VIP of mail and web, which mail nodes have on their loopback interface.
pub const INNER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 99);
/// Of each node's health page, in the document's order.
const MEMBERS: [&str; 5] = ["database", "redis", "mb-rpcd", "mb-filter", "mb-milter"];

/// mb1 to mb3 are mail nodes, mb4 to mb6 databases, mb7 to mb9 have Redis with a Sentinel each, mb10 is the NFS server.
pub struct Deployment {
    pub directors: [Director; 2],
    pub galera: Galera,
    pub redis: Redis,
    pub nfs: Ganesha,
    sinks: Vec<Option<Sink>>,
    nginx: Vec<Nginx>,
    pub lab: Lab,
}

impl Deployment {
    pub fn start(name: &str) -> Result<Self> {
        let topology = Topology {
            directors: 2,
            servers: 10,
        };
        let lab = Lab::with(name, topology)?;
        let vip = format!("{}/32", lab.vip4());
        lab.machine("lb1")
            .run("ip", &["address", "del", &vip, "dev", "eth0"])?;
        let servers = lab.servers();
        let (redis, galera, nfs) = std::thread::scope(|scope| {
            let galera = scope.spawn(|| Galera::start_on(&lab, &servers[3..6]));
            let setup = RedisSetup {
                // The replica that becomes the master is not to lose the session that was just written.
                server_lines: "min-replicas-to-write 1\nmin-replicas-max-lag 10\n".to_owned(),
                ..RedisSetup::default()
            };
            let redis = Redis::start_on(&lab, &servers[6..9], &setup);
            let nfs = Ganesha::start(&servers[9], "3,4");
            let galera = galera
                .join()
                .map_err(|_| anyhow::anyhow!("Galera: panicked"));
            (redis, galera, nfs)
        });
        let certificate = lab.dir().join("web.pem");
        make_certificate(lab.client(), &certificate, "mailborder.test")?;
        let mut all = Self {
            directors: [Director::new(&lab, "lb1")?, Director::new(&lab, "lb2")?],
            galera: galera??,
            redis: redis?,
            nfs: nfs?,
            sinks: servers[..3]
                .iter()
                .map(|machine| Sink::start(machine).map(Some))
                .collect::<Result<_>>()?,
            nginx: servers[..3]
                .iter()
                .map(Nginx::start)
                .collect::<Result<_>>()?,
            lab,
        };
        for at in 0..3 {
            all.set_member(at, "database", "ok")?;
        }
        for at in 0..2 {
            let text = all.config(at)?;
            all.directors[at].write_config(&text)?;
            all.directors[at].run()?;
        }
        all.wait_active(0)?;
        Ok(all)
    }

    fn config(&self, at: usize) -> Result<String> {
        let lab = &self.lab;
        let (own, other) = (&lab.directors()[at], &lab.directors()[1 - at]);
        let (vip, dir) = (lab.vip4(), lab.dir());
        let mut text = format!(
            "[director]\nname = \"{}\"\n[vrrp.VI_1]\ninterface = \"eth0\"\nvirtual_router_id = 51\npriority = {}\n\
             addresses = [\"{vip}/32\", \"{INNER}/32\"]\ntrack_services = {{ smtp_backend = {{ weight = -20 }} }}\n\
             [peer]\nlisten = \"{}:8405\"\naddress = \"{}:8405\"\nkey = \"{KEY}\"\n",
            own.name(),
            101 - at,
            own.ipv4(),
            other.ipv4(),
        );
        let servers = lab.servers();
        let table = |machines: &[Machine], port: &str| {
            let rows = machines
                .iter()
                .map(|machine| format!("{} = \"{}{port}\"", machine.name(), machine.ipv4()));
            rows.collect::<Vec<_>>().join(", ")
        };
        let web: Vec<_> = servers[..3]
            .iter()
            .map(|machine| {
                format!(
                    "{} = {{ address = \"{}:443\", tls = {{ verify = \"none\" }} }}",
                    machine.name(),
                    machine.ipv4()
                )
            })
            .collect();
        let (monitor, look) = galera::MONITOR;
        let sentinels: Vec<_> = (0..3)
            .map(|at| format!("\"{}\"", self.redis.sentinel_address(at)))
            .collect();
        let export = self.nfs.export().join("quarantine");
        write!(
            text,
            "[service.smtp_backend]\nlisten = \"{}\"\ncheck = {{ type = \"tcp\", interval = \"1s\" }}\non_down = \"keep\"\n\
             follows = {{ https_backend = [\"mb-filter\", \"mb-milter\"] }}\nservers = {{ {} }}\n\
             [proxy.https_backend]\nlisten = \"{vip}:443\"\ncertificate = \"{}\"\ncookie = \"SERVERID\"\n\
             check = {{ type = \"http\", path = \"/health\", tls = true, verify = \"none\", interval = \"1s\", \
             members = [\"database\", \"redis\", \"mb-rpcd\"] }}\nservers = {{ {} }}\n\
             [galera.mailborder_cluster]\nlisten = \"{INNER}:3306\"\nuser = \"{monitor}\"\npassword = \"{look}\"\nservers = {{ {} }}\n\
             [sentinel.mailborder-master]\nlisten = \"{INNER}:6379\"\nmaster = \"{MASTER}\"\nsentinels = [{}]\n\
             password = \"{PASSWORD}\"\nsentinel_password = \"{SENTINEL_PASSWORD}\"\n\
             [storage.quarantine]\ntype = \"nfs\"\nserver = \"{}\"\nexport = \"{}\"\nexport_probe = true\ninterval = \"1s\"\n\
             timeout = \"1s\"\ntakes_out = \"smtp_backend\"\n",
            lab.smtp4(),
            table(&servers[..3], ""),
            dir.join("web.pem").display(),
            web.join(", "),
            table(&servers[3..6], ":3306"),
            sentinels.join(", "),
            servers[9].ipv4(),
            export.display(),
        )?;
        Ok(text)
    }

    /// Until nothing is to be complained of.
    pub fn wait_well(&self, at: usize) -> Result<()> {
        try_wait_until("all to be well", SOON, || {
            let status = self.directors[at].status()?;
            ensure!(status.alarms.is_empty(), "{:#?}", status.alarms);
            let usable = |service: &str| usable_of(&status, service);
            ensure!(
                usable("smtp_backend") == 3 && usable("https_backend") == 3,
                "not all are up"
            );
            let peer = status.peer.context("no peer")?;
            ensure!(
                peer.connected && peer.in_sync && peer.peer_in_sync,
                "{peer:?}"
            );
            Ok(())
        })
    }

    pub fn wait_active(&self, at: usize) -> Result<()> {
        try_wait_until("this director to be active", SOON, || {
            let status = self.directors[at].status()?;
            let role = &status.vrrp.first().context("no virtual router")?.role;
            ensure!(role == "active", "{role}");
            Ok(())
        })
    }

    /// As the document has it: a line for the socket, by socat.
    pub fn old_command(&self, line: &str) -> Result<()> {
        let socket = self.directors[0].socket();
        let script = format!("echo \"{line}\" | socat stdio {}", socket.display());
        let said = self.lab.machine("lb1").run("sh", &["-c", &script])?;
        ensure!(said.trim().is_empty(), "{said}");
        Ok(())
    }

    pub fn usable(&self, service: &str, server: &str) -> Result<bool> {
        let status = self.directors[0].status()?;
        let found = status.services.iter().find(|known| known.name == service);
        let servers = &found.context("no such service")?.servers;
        let found = servers.iter().find(|known| known.name == server);
        Ok(found.context("no such server")?.usable)
    }

    pub fn wait_usable(&self, service: &str, server: &str, usable: bool) -> Result<()> {
        let what = format!("{service}/{server} to be usable: {usable}");
        try_wait_until(&what, SOON, || {
            ensure!(
                self.usable(service, server)? == usable,
                "{:#?}",
                self.directors[0].status()?.alarms
            );
            Ok(())
        })
    }

    /// As the document waits: until no connection to the node is left.
    pub fn wait_drained(&self, server: &str) -> Result<()> {
        try_wait_until(&format!("{server} to be drained"), SOON, || {
            let status = self.directors[0].status()?;
            let services = status.services.iter();
            let servers = services.flat_map(|service| &service.servers);
            let active: i64 = servers
                .filter(|known| known.name == server)
                .map(|known| known.active)
                .sum();
            ensure!(active == 0, "{active} are");
            Ok(())
        })
    }

    /// Stops the services of a mail node.
    pub fn stop_node(&mut self, at: usize) -> Result<()> {
        if let Some(mut sink) = self.sinks[at].take() {
            sink.kill()?;
        }
        self.nginx[at].kill()
    }

    pub fn kill_node(&mut self, at: usize) -> Result<()> {
        self.stop_node(at)
    }

    pub fn start_node(&mut self, at: usize) -> Result<()> {
        self.sinks[at] = Some(Sink::start(&self.lab.servers()[at])?);
        self.nginx[at].again()
    }

    /// One member of a node's health page; all others are ok. As the document's page: 503 would be its status, and the
    /// members say why.
    pub fn set_member(&self, at: usize, member: &str, word: &str) -> Result<()> {
        let of = |name: &&str| if *name == member { word } else { "ok" };
        let checks: Vec<_> = MEMBERS
            .iter()
            .map(|name| format!("\"{name}\": \"{}\"", of(name)))
            .collect();
        let status = if word == "ok" { "healthy" } else { "unhealthy" };
        self.nginx[at].set_page(&format!(
            "{{\"status\": \"{status}\", \"checks\": {{{}}}}}\n",
            checks.join(", ")
        ))
    }

    pub fn tier(&self, at: usize, name: &str) -> Result<TierView> {
        let status = self.directors[at].status()?;
        let found = status.tiers.into_iter().find(|tier| tier.name == name);
        found.context("no such tier")
    }

    pub fn wait_tier(&self, at: usize, name: &str, state: &str) -> Result<()> {
        try_wait_until(&format!("{name} to be {state}"), SOON, || {
            let tier = self.tier(at, name)?;
            ensure!(tier.state == state, "{tier:#?}");
            Ok(())
        })
    }

    pub fn chosen(&self, at: usize, name: &str) -> Result<String> {
        self.tier(at, name)?.chosen.context("nobody is chosen")
    }

    /// The one that has the clients.
    fn elected(&self, name: &str) -> Result<String> {
        let tier = self.tier(0, name)?;
        let elected: Vec<_> = tier.nodes.iter().filter(|node| node.elected).collect();
        ensure!(elected.len() == 1, "{elected:#?}");
        Ok(elected[0].name.clone())
    }

    pub fn wait_clients_at(&self, name: &str, node: &str) -> Result<()> {
        try_wait_until(&format!("clients of {name} to be at {node}"), SOON, || {
            let elected = self.elected(name)?;
            ensure!(elected == node, "{elected}");
            Ok(())
        })
    }

    pub fn wait_clients_elsewhere(&self, name: &str, node: &str) -> Result<()> {
        try_wait_until(
            &format!("clients of {name} to have left {node}"),
            SOON,
            || {
                let elected = self.elected(name)?;
                ensure!(elected != node, "{elected}");
                Ok(())
            },
        )
    }

    /// By its place among the Redis servers.
    pub fn redis_master(&self) -> Result<usize> {
        let elected: IpAddr = self.elected("mailborder-master")?.parse()?;
        (0..3)
            .find(|at| self.redis.address(*at).ip() == elected)
            .context("a master that is none of them")
    }

    pub fn wait_other_master(&self, before: usize) -> Result<()> {
        try_wait_until("another master", SOON, || {
            ensure!(self.redis_master()? != before, "not yet");
            Ok(())
        })
    }

    pub fn inner(&self, port: u16) -> SocketAddr {
        SocketAddr::new(INNER.into(), port)
    }

    pub fn url(&self) -> String {
        format!("https://{}/", self.lab.vip4())
    }

    /// The document's load tests.
    pub fn load(&self) -> Result<()> {
        let client = self.lab.client();
        let said = client.run("ab", &["-n", "1000", "-c", "50", &self.url()])?;
        for line in ["Complete requests:      1000", "Failed requests:        0"] {
            ensure!(said.contains(line), "no {line:?} in\n{said}");
        }
        ensure!(!said.contains("Non-2xx"), "{said}");
        let said = client.run(
            "siege",
            &[
                "--json-output",
                "--concurrent=10",
                "--reps=20",
                "--no-parser",
                &self.url(),
            ],
        )?;
        let json = said.find('{').context("no JSON of siege")?;
        let seen: serde_json::Value = serde_json::Deserializer::from_str(&said[json..])
            .into_iter()
            .next()
            .context("no JSON of siege")??;
        ensure!(
            seen["failed_transactions"] == 0 && seen["transactions"] == 200,
            "{seen}"
        );
        let sent = Source::new(self.lab.smtp4())
            .messages(1000)
            .sessions(50)
            .run(client)?;
        sent.expect_all(1000)
    }

    /// `curl` with a jar: the same node each time.
    pub fn expect_sticky(&self) -> Result<()> {
        let jar = self.lab.dir().join("jar").display().to_string();
        let ask = || {
            let url = self.url();
            let arguments = ["-sk", "-c", &jar, "-b", &jar, &url];
            self.lab.client().run("curl", &arguments)
        };
        let first = ask()?;
        for _ in 0..10 {
            let next = ask()?;
            ensure!(next == first, "{first:?}, then {next:?}");
        }
        Ok(())
    }

    /// A client that connects is told this, and nothing is taken from it.
    pub fn expect_mail_refused(&self, code: &str) -> Result<()> {
        try_wait_until(
            "mail to be refused for the time being",
            SOON,
            || match Session::open(self.lab.client(), self.lab.smtp4()) {
                Ok(session) => anyhow::bail!("{} greets", session.server()),
                Err(error) => {
                    let text = format!("{error:#}");
                    ensure!(text.contains(code), "{text}");
                    Ok(())
                }
            },
        )
    }

    /// All that was acknowledged is there, at every node.
    pub fn expect_all_written(&self, writes: Writes) -> Result<()> {
        let written = writes.finish()?;
        for at in 0..3 {
            let held = self
                .galera
                .sql(at, "SELECT n FROM mail.walked ORDER BY n")?;
            let held: std::collections::BTreeSet<u64> =
                held.lines().map(str::parse).collect::<Result<_, _>>()?;
            let lost: Vec<_> = written.iter().filter(|n| !held.contains(n)).collect();
            ensure!(
                lost.is_empty(),
                "node {at} has lost {lost:?} of {}",
                written.len()
            );
        }
        Ok(())
    }
}

fn usable_of(status: &Snapshot, service: &str) -> usize {
    let found = status.services.iter().find(|known| known.name == service);
    let servers = found.map_or(&[][..], |service| &service.servers);
    servers.iter().filter(|server| server.usable).count()
}
