//! `server`, with what it has from `default-server`.

use std::net::IpAddr;

use super::bind::below;
use super::sections::{Config, Kind, Statement};
use super::view::View;
use crate::import::report::{At, Ledger, Verdict};
use crate::import::value::{endpoint, haproxy_time, renamed};

/// One that can be written.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// Its own line, and those of `default-server`.
    pub at: Vec<At>,
    pub name: String,
    pub address: IpAddr,
    pub port: Option<u16>,
    pub set: Settings,
}

/// What the words after the address say.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub check: bool,
    pub interval: Option<u64>,
    pub fast_interval: Option<u64>,
    pub down_interval: Option<u64>,
    pub rise: Option<u64>,
    pub fall: Option<u64>,
    /// Port of its checks.
    pub check_port: Option<u16>,
    pub check_tls: bool,
    pub weight: Option<u64>,
    pub max_connections: Option<u64>,
    pub backup: bool,
    pub disabled: bool,
    pub cookie: Option<String>,
    pub tls: bool,
    /// As ours has it: `none`, `system` or a path.
    pub verify: Option<String>,
    pub sni: Option<String>,
    pub http2: bool,
    pub send_proxy: Option<&'static str>,
    pub slow_start: Option<u64>,
    /// `on-marked-down shutdown-sessions`
    pub resets: bool,
    /// `agent-check`
    pub agent: bool,
    pub agent_port: Option<u16>,
    pub agent_interval: Option<u64>,
    pub agent_send: Option<String>,
    /// What of it is not in the result.
    pub notes: Vec<String>,
}

/// All of a section that can be written. The others have their verdict then.
pub(super) fn servers(config: &Config, view: &View<'_>, ledger: &mut Ledger) -> Vec<Server> {
    let mut defaults = Settings::default();
    let mut lines = Vec::new();
    let mut servers = Vec::new();
    let both = ["default-server", "server", "server-template", "dispatch"];
    let all = both.iter().flat_map(|key| view.all(key));
    let mut all: Vec<&Statement> = all.collect();
    // As in the file: `default-server` holds for what comes after it.
    all.sort_by_key(|statement| statement.at);
    for statement in all {
        if statement.is("default-server") {
            defaults.read(config, &statement.words[1..]);
            lines.push(statement.at);
            continue;
        }
        match server(config, statement, &defaults) {
            Ok(mut server) => {
                server.at.extend(&lines);
                servers.push(server);
            }
            Err(why) => ledger.say(statement.at, Verdict::Unsupported, why),
        }
    }
    if servers.is_empty() {
        for at in lines {
            ledger.otherwise(
                at,
                Verdict::Dead,
                "no server follows that it could hold for",
            );
        }
    }
    servers
}

fn server(config: &Config, statement: &Statement, defaults: &Settings) -> Result<Server, String> {
    if !statement.is("server") {
        return Err("names are not looked up: write each server with its address".to_owned());
    }
    let (Some(name), Some(text)) = (statement.word(1), statement.word(2)) else {
        return Err("HAProxy wants a name and an address".to_owned());
    };
    let plain = match text.split_once('@') {
        Some(("ipv4" | "tcp4" | "ipv6" | "tcp6", rest)) => rest,
        Some((other, _)) => return Err(format!("`{other}@` is not an address of IP")),
        None => text,
    };
    if plain.starts_with('/') {
        return Err("a UNIX socket, and servers have addresses".to_owned());
    }
    let (host, port) = plain.rsplit_once(':').unwrap_or((plain, ""));
    if port.starts_with(['+', '-']) {
        return Err(format!(
            "ports that follow the client's ({text}) are not there: one [service.NAME] for each port"
        ));
    }
    let Some((address, port)) = endpoint(plain) else {
        return Err(match host.is_empty() || host == "*" {
            true => {
                "HAProxy goes to where the client wanted to go; mb-lb needs an address".to_owned()
            }
            false => {
                format!("names are not looked up: give the address of {host} in place of its name")
            }
        });
    };
    if address.is_unspecified() {
        return Err(
            "HAProxy goes to where the client wanted to go; mb-lb needs an address".to_owned(),
        );
    }
    let mut set = defaults.clone();
    set.read(config, &statement.words[3..]);
    let plain = crate::import::value::name(name);
    set.notes.extend(renamed(name, &plain));
    Ok(Server {
        at: vec![statement.at],
        name: plain,
        address,
        port: port.filter(|port| *port > 0),
        set,
    })
}

impl Settings {
    /// Words later in the file win.
    fn read(&mut self, config: &Config, words: &[String]) {
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            match word {
                "check" => self.check = true,
                "no-check" => self.check = false,
                "backup" => self.backup = true,
                "no-backup" => self.backup = false,
                "disabled" => self.disabled = true,
                "enabled" => self.disabled = false,
                "ssl" => self.tls = true,
                "no-ssl" => self.tls = false,
                "check-ssl" => self.check_tls = true,
                "no-check-ssl" => self.check_tls = false,
                "send-proxy" => self.send_proxy = Some("v1"),
                "send-proxy-v2" => self.send_proxy = Some("v2"),
                "send-proxy-v2-ssl" | "send-proxy-v2-ssl-cn" => {
                    self.send_proxy = Some("v2");
                    self.notes
                        .push(format!("`{word}`: the header says nothing of TLS"));
                }
                "no-send-proxy"
                | "no-send-proxy-v2"
                | "no-send-proxy-v2-ssl"
                | "no-send-proxy-v2-ssl-cn" => {
                    self.send_proxy = None;
                }
                // What is so anyway.
                "agent-check" => self.agent = true,
                "no-agent-check" => self.agent = false,
                "no-tfo" | "no-sslv3" | "no-tlsv10" | "no-tlsv11" | "non-stick" | "stick"
                | "ssl-reuse" | "tls-tickets" | "no-verifyhost" => {}
                "check-send-proxy" | "check-via-socks4" | "tfo" | "allow-0rtt" | "force-sslv3"
                | "force-tlsv10" | "force-tlsv11" | "force-tlsv12" | "force-tlsv13"
                | "no-tlsv12" | "no-tlsv13" | "no-tls-tickets" | "no-ssl-reuse" => {
                    self.missing(word)
                }
                _ => {
                    let value = words.next();
                    self.pair(config, word, value);
                    if word == "source" {
                        // With words of its own to the end.
                        words
                            .by_ref()
                            .take_while(|w| {
                                ["usesrc", "interface", "client", "clientip"].contains(w)
                            })
                            .for_each(drop);
                    }
                }
            }
        }
    }

    fn missing(&mut self, what: &str) {
        let note = match what {
            "check-send-proxy" => {
                "checks send no PROXY header: have them ask a port that wants none (`check.port`)"
            }
            _ => return self.notes.push(format!("`{what}` is not there")),
        };
        self.notes.push(format!("`{what}`: {note}"));
    }

    fn pair(&mut self, config: &Config, word: &str, value: Option<&str>) {
        let Some(value) = value else {
            self.notes
                .push(format!("`{word}` is not known to the import"));
            return;
        };
        let number = value.parse::<u64>().ok();
        let time = haproxy_time(value);
        let understood = match word {
            "inter" => self.take(time, |set| &mut set.interval),
            "fastinter" => self.take(time, |set| &mut set.fast_interval),
            "downinter" => self.take(time, |set| &mut set.down_interval),
            "slowstart" => self.take(time, |set| &mut set.slow_start),
            "rise" => self.take(number, |set| &mut set.rise),
            "fall" => self.take(number, |set| &mut set.fall),
            "weight" => self.take(number, |set| &mut set.weight),
            // 0 is no limit.
            "maxconn" => self.take(number, |set| &mut set.max_connections),
            "agent-inter" => self.take(time, |set| &mut set.agent_interval),
            "agent-send" => {
                self.agent_send = Some(value.to_owned());
                true
            }
            "agent-port" => {
                self.agent_port = number.and_then(|port| u16::try_from(port).ok());
                self.agent_port.is_some()
            }
            "agent-addr" => false,
            "port" => {
                self.check_port = number.and_then(|port| u16::try_from(port).ok());
                self.check_port.is_some()
            }
            "cookie" => {
                self.cookie = Some(value.to_owned());
                true
            }
            "verify" => {
                if value == "none" {
                    self.verify = Some(value.to_owned());
                }
                matches!(value, "none" | "required")
            }
            "ca-file" => {
                let path = below(ca_base(config), value);
                let path = if value.starts_with('@') {
                    "system".to_owned()
                } else {
                    path
                };
                // `verify none` wins wherever it stands.
                self.verify.get_or_insert(path);
                true
            }
            "verifyhost" => {
                self.sni = Some(value.to_owned());
                true
            }
            "sni" | "check-sni" => {
                let name = value
                    .strip_prefix("str(")
                    .and_then(|rest| rest.strip_suffix(')'));
                let name = if word == "check-sni" {
                    Some(value)
                } else {
                    name
                };
                self.sni = name.map(str::to_owned).or(self.sni.take());
                name.is_some()
            }
            "alpn" | "proto" => {
                self.http2 = value.split(',').any(|name| name == "h2");
                true
            }
            "on-marked-down" => {
                self.resets = value == "shutdown-sessions";
                self.resets
            }
            "id" | "init-addr" | "resolvers" | "resolve-prefer" | "resolve-net"
            | "resolve-opts" | "pool-low-conn" | "pool-max-conn" | "pool-purge-delay"
            | "max-reuse" | "log-proto" | "check-alpn" | "check-proto" | "ssl-min-ver" | "npn"
            | "ws" => true,
            "minconn" | "maxqueue" | "error-limit" | "observe" | "on-error" | "on-marked-up"
            | "track" | "redir" | "addr" | "ciphers" | "ciphersuites" | "crt" | "crl-file"
            | "ssl-max-ver" | "namespace" | "socks4" | "tcp-ut" | "source" | "proxy-v2-options" => {
                false
            }
            _ => {
                self.notes
                    .push(format!("`{word}` is not known to the import"));
                return;
            }
        };
        if !understood {
            let note = match word {
                "agent-addr" => "agents are asked at the server's own address",
                "addr" => "checks go to the server's own address",
                "observe" | "on-error" | "error-limit" => {
                    "checks decide; a refused connection counts double"
                }
                "minconn" => "`max_connections` does not move",
                "track" => "each service checks its own servers",
                "crt" => "servers are not shown a certificate",
                "sni" => "only a fixed name can be sent: sni = \"NAME\"",
                _ => "not there",
            };
            self.notes.push(format!("`{word} {value}`: {note}"));
        }
    }

    fn take(&mut self, value: Option<u64>, place: fn(&mut Self) -> &mut Option<u64>) -> bool {
        if value.is_some() {
            *place(self) = value;
        }
        value.is_some()
    }

    /// `tls` of a server.
    pub fn tls_value(&self) -> Option<String> {
        if !self.tls {
            return None;
        }
        let quote = crate::import::value::quote;
        let verify = self.verify.as_deref().unwrap_or("system");
        let mut entries = vec![("verify".to_owned(), quote(verify))];
        entries.extend(self.sni.iter().map(|sni| ("sni".to_owned(), quote(sni))));
        Some(crate::import::value::table(&entries))
    }
}

fn ca_base(config: &Config) -> Option<&str> {
    let globals = config
        .sections
        .iter()
        .filter(|section| section.kind == Kind::Global);
    let mut lines = globals.flat_map(|section| &section.statements);
    lines.rfind(|line| line.is("ca-base"))?.word(1)
}
