//! `bind`: where a frontend listens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::sections::{Config, Kind, Statement};
use super::view::View;
use crate::import::Import;
use crate::import::report::At;
use crate::import::value::endpoint;

/// One line.
#[derive(Clone, Debug, Default)]
pub(super) struct Bind {
    /// The line itself, and those that give the VIPs.
    pub at: Vec<At>,
    pub addresses: Vec<SocketAddr>,
    pub tls: bool,
    pub certificates: Vec<String>,
    /// `ssl-min-ver`
    pub min_version: Option<String>,
    pub accept_proxy: bool,
    /// `verify required` or `optional`: who has no certificate of theirs is kept out.
    verifies: Option<String>,
    /// What of it is not in the result.
    pub notes: Vec<String>,
    /// Why none of it is.
    pub refused: Option<String>,
}

/// All of a section.
pub(super) fn binds(config: &Config, view: &View<'_>, import: &mut Import<'_>) -> Vec<Bind> {
    let lines = view.all("bind").into_iter();
    let binds: Vec<Bind> = lines.map(|line| bind(config, line, import)).collect();
    for bind in &binds {
        if let Some(why) = bind.opens() {
            import.ledger.open_door(bind.at[0], &why);
        }
    }
    binds
}

/// What a line keeps clients out by.
pub(super) fn guard(config: &Config, statement: &Statement) -> Option<String> {
    let mut bind = Bind::default();
    bind.parameters(config, statement);
    bind.opens()
}

fn bind(config: &Config, statement: &Statement, import: &Import<'_>) -> Bind {
    let mut bind = Bind {
        at: vec![statement.at],
        ..Bind::default()
    };
    bind.parameters(config, statement);
    let Some(addresses) = statement.word(1) else {
        bind.refused = Some("HAProxy wants an address".to_owned());
        return bind;
    };
    for address in addresses.split(',') {
        if let Err(why) = bind.address(address, import) {
            bind.refused.get_or_insert(why);
        }
    }
    if !bind.addresses.is_empty()
        && let Some(part) = bind.refused.take()
    {
        bind.notes.push(part);
    }
    if bind.tls && bind.certificates.is_empty() {
        bind.refused.get_or_insert_with(|| {
            "it has no `crt`: give it the files of the certificates, or their directory".to_owned()
        });
    }
    if let Some(why) = bind.opens() {
        bind.refused = Some(why);
    }
    bind
}

impl Bind {
    /// What would be lost of who is kept out.
    pub fn opens(&self) -> Option<String> {
        let verifies = self.verifies.as_ref().filter(|_| self.tls)?;
        Some(format!(
            "`verify {verifies}`: clients are not asked for certificates here, so whoever has none would come in: have the servers ask for them, behind a [service.NAME]"
        ))
    }

    /// Why nobody can come in by it.
    pub fn unusable(&self, http: bool) -> Option<String> {
        if self.tls && !http {
            return Some(
                "a [service.NAME] does not speak TLS; the servers have to, or it has to be `mode http`"
                    .to_owned(),
            );
        }
        if let Some(why) = &self.refused {
            return Some(why.clone());
        }
        let local = !http && self.addresses.iter().all(|at| is_local(at.ip()));
        local.then(|| {
            "loopback: a [service.NAME] takes packets that come from the network".to_owned()
        })
    }

    fn address(&mut self, text: &str, import: &Import<'_>) -> Result<(), String> {
        let (family, text) = match text.split_once('@') {
            Some(("ipv4" | "tcp4", rest)) => (Some(4), rest),
            Some(("ipv6" | "tcp6", rest)) => (Some(6), rest),
            Some((other, _)) => return Err(format!("`{other}@` is not an address of IP")),
            None => (None, text),
        };
        if text.starts_with('/') {
            return Err("a UNIX socket, and mb-lb listens on addresses only".to_owned());
        }
        let (host, ports) = text
            .rsplit_once(':')
            .ok_or_else(|| format!("no port in {text}"))?;
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        let (Some(first), Some(last)) = (port(first), port(last)) else {
            return Err(format!("not a port: {ports}"));
        };
        if last < first || last - first > 63 {
            return Err(format!("more ports than can be listed: {ports}"));
        }
        let (v4, v6) = match (host, family) {
            ("" | "*" | "0.0.0.0", None | Some(4)) => (true, false),
            ("" | "*", Some(_)) => (false, true),
            ("::" | "[::]", _) => (self.notes.iter().any(|note| note == V4V6), true),
            _ => (false, false),
        };
        let vips: Vec<(IpAddr, Option<At>)> = match v4 || v6 {
            true => import.vips_of(v4, v6),
            false => match endpoint(host) {
                Some((address, None)) if !address.is_unspecified() => vec![(address, None)],
                _ => {
                    return Err(format!(
                        "names are not looked up: give the address of {host}"
                    ));
                }
            },
        };
        if vips.is_empty() {
            return Err(
                "it is not known which address clients connect to: name keepalived.conf too, or give --vip ADDRESS"
                    .to_owned(),
            );
        }
        for (address, at) in vips {
            self.at.extend(at);
            self.addresses
                .extend((first..=last).map(|port| SocketAddr::new(address, port)));
        }
        Ok(())
    }

    fn parameters(&mut self, config: &Config, statement: &Statement) {
        let base = crt_base(config);
        let mut words = statement.words.iter().skip(2).map(String::as_str);
        while let Some(word) = words.next() {
            match word {
                "ssl" => self.tls = true,
                "crt" => {
                    let path = words.next().unwrap_or_default();
                    self.certificates.push(below(base, path));
                }
                "ssl-min-ver" => self.min_version = words.next().map(str::to_owned),
                "accept-proxy" => self.accept_proxy = true,
                "v4v6" => self.notes.push(V4V6.to_owned()),
                // Said by the addresses, or of no use here.
                "v6only"
                | "transparent"
                | "tfo"
                | "defer-accept"
                | "allow-0rtt"
                | "strict-sni"
                | "no-sslv3"
                | "no-tlsv10"
                | "no-tlsv11"
                | "no-tls-tickets"
                | "prefer-client-ciphers"
                | "no-ca-names" => {
                    if word == "strict-sni" {
                        self.notes.push("`strict-sni`: clients that name another host get the first certificate".to_owned());
                    }
                }
                // `alpn` says what clients may speak: HTTP/1.1 and HTTP/2 are spoken, unless http2 = false.
                "name" | "id" | "alpn" | "npn" | "proto" | "maxconn" | "backlog" | "mss"
                | "nice" | "process" | "thread" | "shards" | "user" | "group" | "uid" | "gid"
                | "mode" | "tcp-ut" | "namespace" | "level" | "severity-output" | "expose-fd" => {
                    let value = words.next().unwrap_or_default();
                    if matches!(word, "maxconn" | "namespace") {
                        self.notes.push(format!("`{word} {value}` is not there"));
                    }
                }
                "interface" => {
                    let value = words.next().unwrap_or_default();
                    self.notes.push(format!(
                        "`interface {value}`: the address alone says where it is"
                    ));
                }
                "ca-file" | "crl-file" | "verify" | "crt-list" | "ciphers" | "ciphersuites"
                | "curves" | "ecdhe" | "ssl-max-ver" | "tls-ticket-keys" | "ca-verify-file"
                | "crt-ignore-err" | "ca-ignore-err" => {
                    let value = words.next().unwrap_or_default();
                    self.notes.push(match (word, value) {
                        ("verify", "none") => {
                            self.verifies = None;
                            continue;
                        }
                        ("verify", value) => {
                            self.verifies = Some(value.to_owned());
                            continue;
                        }
                        // Of use to `verify` only.
                        (
                            "ca-file" | "crl-file" | "ca-verify-file" | "crt-ignore-err"
                            | "ca-ignore-err",
                            _,
                        ) => continue,
                        ("crt-list", _) => format!(
                            "`crt-list {value}`: give `certificate` its files or their directory, which are chosen by name"
                        ),
                        ("tls-ticket-keys", _) => "keys of tickets are made and shared by the directors themselves".to_owned(),
                        _ => format!("`{word} {value}`: ciphers and curves cannot be chosen, all have forward secrecy"),
                    });
                }
                other => self
                    .notes
                    .push(format!("`{other}` is not known to the import")),
            }
        }
    }
}

/// A note, and what `[::]` means with it.
const V4V6: &str = "`v4v6`: IPv4 is listened on by its own address";

/// `crt-base` of `global`.
fn crt_base(config: &Config) -> Option<&str> {
    let globals = config
        .sections
        .iter()
        .filter(|section| section.kind == Kind::Global);
    let mut lines = globals.flat_map(|section| &section.statements);
    lines.rfind(|line| line.is("crt-base"))?.word(1)
}

/// A relative path in its base directory.
pub(super) fn below(base: Option<&str>, path: &str) -> String {
    match base {
        Some(base) if !path.starts_with('/') => format!("{}/{path}", base.trim_end_matches('/')),
        _ => path.to_owned(),
    }
}

/// Whether a wildcard or loopback: no VIP.
pub(super) fn is_local(address: IpAddr) -> bool {
    address.is_loopback()
        || address == IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        || address == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
}
