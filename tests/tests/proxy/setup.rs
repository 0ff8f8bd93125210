//! A director with `[proxy.https_backend]`, three nginx behind it, and curl. A second director is there, and does nothing yet.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::snapshot::ServerView;
use mb_lb_tests::nginx::make_certificate;
use mb_lb_tests::{Director, Lab, Machine, Nginx, Topology, try_wait_until};

pub const SOON: Duration = Duration::from_secs(30);

pub struct Https {
    pub director: Director,
    pub servers: Vec<Nginx>,
    pub lab: Lab,
    config: String,
}

/// What curl got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: String,
    /// With names in small letters.
    pub fields: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.replace("\r\n", "\n");
        let (head, body) = text.split_once("\n\n").with_context(|| text.clone())?;
        let mut lines = head.lines();
        let status = lines.next().unwrap_or_default();
        let fields = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Ok(Self {
            status: status.split(' ').nth(1).unwrap_or_default().to_owned(),
            fields,
            body: body.trim().to_owned(),
        })
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        let found = self.fields.iter().filter(|(field, _)| field == name);
        found.map(|(_, value)| value.as_str()).collect()
    }

    pub fn one(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }
}

impl Https {
    /// `keys` are further lines of the proxy.
    pub fn start(name: &str, keys: &str) -> Result<Self> {
        Self::start_to(name, keys, 443, "")
    }

    /// With the servers at another port; `server_keys` are further ones of each, with a comma behind each.
    pub fn start_to(name: &str, keys: &str, port: u16, server_keys: &str) -> Result<Self> {
        let lab = Lab::with(
            name,
            Topology {
                directors: 2,
                servers: 3,
            },
        )?;
        let servers = lab
            .servers()
            .iter()
            .map(Nginx::start)
            .collect::<Result<Vec<_>>>()?;
        let mut director = Director::new(&lab, "lb1")?;
        let vip = lab.vip4();
        let pem = Self::certificate_of(&lab);
        make_certificate(director.machine(), &pem, "mail.example.com")?;
        let mut config = format!(
            "[director]\nname = \"lb1\"\n\n[proxy.https_backend]\nlisten = [\"{vip}:443\"]\ncertificate = {pem:?}\n\
             redirect_http = \"{vip}:80\"\n\
             cookie = {{ name = \"SERVERID\", mode = \"insert\", indirect = true, nocache = true }}\n\
             check = {{ type = \"http\", path = \"/health\", expect = 200, tls = true, verify = \"none\", interval = \"200ms\" }}\n\
             {keys}\n[proxy.https_backend.servers]\n"
        );
        for server in lab.servers() {
            let (name, address) = (server.name(), server.ipv4());
            config += &format!(
                "{name} = {{ address = \"{address}:{port}\", {server_keys} tls = {{ verify = \"none\" }}, cookie = \"{name}\" }}\n"
            );
        }
        director.write_config(&config)?;
        director.run()?;
        let https = Self {
            director,
            servers,
            lab,
            config,
        };
        for server in https.lab.servers() {
            https.wait_usable(server.name(), true)?;
        }
        Ok(https)
    }

    fn certificate_of(lab: &Lab) -> PathBuf {
        lab.machine("lb1").directory().join("tls/vip.pem")
    }

    /// Another certificate in the place of the one there is.
    pub fn renew_certificate(&self) -> Result<()> {
        make_certificate(
            self.director.machine(),
            &Self::certificate_of(&self.lab),
            "mail.example.com",
        )
    }

    pub fn certificate(&self) -> PathBuf {
        Self::certificate_of(&self.lab)
    }

    /// Of the certificate that clients get.
    pub fn fingerprint(&self) -> Result<String> {
        let line = format!(
            "openssl s_client -connect {}:443 -servername mail.example.com </dev/null 2>/dev/null | \
             openssl x509 -noout -fingerprint -sha256",
            self.lab.vip4()
        );
        self.client().run("sh", &["-c", &line])
    }

    pub fn config(&self) -> &str {
        &self.config
    }

    pub fn client(&self) -> &Machine {
        self.lab.client()
    }

    /// Waits until the director gives new users to a server, or does not.
    pub fn wait_usable(&self, name: &str, usable: bool) -> Result<()> {
        wait_usable(&self.director, name, usable)
    }

    /// `arguments` for curl, before the path.
    pub fn curl(&self, port: u16, path: &str, arguments: &[&str]) -> Result<Answer> {
        self.curl_at(self.lab.vip4(), port, path, arguments)
    }

    /// At another address than the VIP.
    pub fn curl_at(
        &self,
        address: Ipv4Addr,
        port: u16,
        path: &str,
        arguments: &[&str],
    ) -> Result<Answer> {
        let url = format!("https://mail.example.com:{port}{path}");
        let resolve = format!("mail.example.com:{port}:{address}");
        let mut all = vec![
            "-k",
            "-s",
            "-S",
            "-i",
            "--max-time",
            "20",
            "--resolve",
            &resolve,
        ];
        all.extend(arguments);
        all.push(&url);
        Answer::parse(&self.client().run("curl", &all)?)
    }

    pub fn get(&self, path: &str, arguments: &[&str]) -> Result<Answer> {
        self.curl(443, path, arguments)
    }

    /// Of the access log, which has to be of the format `json` and go to standard output.
    pub fn access_log(&mut self) -> Result<Vec<serde_json::Value>> {
        let text = self.director.running()?.output()?;
        // The last line may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines = whole.lines().filter(|line| line.starts_with('{'));
        lines
            .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
            .collect()
    }

    pub fn server(&self, name: &str) -> Result<ServerView> {
        server(&self.director, name)
    }

    /// Waits until no request is at any server, in a status that was made from now on.
    pub fn wait_nothing_at_servers(&self) -> Result<()> {
        let count = || -> Result<(u64, i64)> {
            let services = self.director.status()?.services.into_iter();
            let servers: Vec<_> = services.flat_map(|service| service.servers).collect();
            let opened = servers.iter().map(|server| server.opened).sum();
            Ok((opened, servers.iter().map(|server| server.active).sum()))
        };
        let (before, _) = count()?;
        ensure!(self.get("/", &[])?.status == "200");
        try_wait_until("places at servers to be free", SOON, || {
            let (opened, active) = count()?;
            ensure!(opened > before, "the status is from before");
            ensure!(active == 0, "{active}");
            Ok(())
        })
    }

    /// Resident memory of the controller in KiB.
    pub fn memory(&mut self) -> Result<u64> {
        let pid = self.director.running()?.pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number
            .and_then(|number| number.parse().ok())
            .context(status.clone())
    }
}

fn server(director: &Director, name: &str) -> Result<ServerView> {
    let services = director.status()?.services.into_iter();
    let mut servers = services.flat_map(|service| service.servers);
    let named = servers.find(|server| server.name == name);
    named.with_context(|| format!("no server {name}"))
}

/// As [`Https::wait_usable`], of any director.
pub fn wait_usable(director: &Director, name: &str, usable: bool) -> Result<()> {
    try_wait_until(&format!("{name} usable: {usable}"), SOON, || {
        let server = server(director, name)?;
        ensure!(
            server.usable == usable,
            "{} {}",
            server.usable,
            server.health_reason
        );
        Ok(())
    })
}
