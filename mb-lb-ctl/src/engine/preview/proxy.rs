//! What changes of `[proxy.NAME]`.

use std::fmt::Display;

use super::{agent, check, follows, min_up, span};
use crate::config::{
    AccessLog, Cookie, LogFormat, Proxy, ProxyHeader, ProxyLimits, ProxyScheduler, ProxyServer,
    ProxyTimeouts, ServerTls, TlsVersion, Upstream, Verify,
};

pub(super) fn changes(old: &[Proxy], new: &[Proxy], lines: &mut Vec<String>) {
    for proxy in old {
        if !new.iter().any(|other| other.name == proxy.name) {
            lines.push(format!("- {} (its requests under way end)", proxy.name));
        }
    }
    for proxy in new {
        match old.iter().find(|other| other.name == proxy.name) {
            Some(known) => proxy_changes(known, proxy, lines),
            None => {
                let names: Vec<_> = proxy.servers.iter().map(|s| s.name.as_str()).collect();
                lines.push(format!("+ {} with {}", proxy.name, names.join(", ")));
            }
        }
    }
}

fn proxy_changes(old: &Proxy, new: &Proxy, lines: &mut Vec<String>) {
    let mut differ = |what: &str, value: &dyn Fn(&Proxy) -> String| {
        let (old, new_value) = (value(old), value(new));
        if old != new_value {
            lines.push(format!("~ {} {what} {old} -> {new_value}", new.name));
        }
    };
    differ("listen", &|p| sorted(&p.listen));
    differ("certificate", &|p| {
        let paths: Vec<_> = p
            .certificates
            .iter()
            .map(|p| p.display().to_string())
            .collect();
        listed(paths)
    });
    differ("tls_min_version", &|p| {
        match p.tls_min_version {
            TlsVersion::Tls12 => "1.2",
            TlsVersion::Tls13 => "1.3",
        }
        .to_owned()
    });
    differ("http2", &|p| p.http2.to_string());
    differ("scheduler", &|p| scheduler(p.scheduler).to_owned());
    differ("cookie", &|p| or_none(p.cookie.as_ref().map(cookie)));
    differ("redirect_http", &|p| sorted(&p.redirect_http));
    differ("hsts", &|p| or_none(p.hsts.map(span)));
    differ("check", &|p| check(p.check.as_ref()));
    differ("agent", &|p| agent(p.agent.as_ref()));
    differ("timeouts", &|p| timeouts(&p.timeouts));
    differ("limits", &|p| limits(&p.limits));
    differ("trusted_proxies", &|p| sorted(&p.trusted_proxies));
    differ("forwarded", &|p| p.forwarded.to_string());
    differ("accept_proxy", &|p| sorted(&p.accept_proxy));
    differ("retries", &|p| p.retries.to_string());
    differ("redispatch", &|p| p.redispatch.to_string());
    differ("slow_start", &|p| span(p.slow_start));
    differ("min_up", &|p| min_up(p.min_up));
    differ("follows", &|p| follows(&p.follows));
    differ("access_log", &|p| {
        or_none(p.access_log.as_ref().map(access_log))
    });
    let key = |proxy: &Proxy| proxy.cookie.as_ref().and_then(|c| c.dynamic_key.clone());
    if key(old) != key(new) {
        lines.push(format!("~ {} dynamic_key changed", new.name));
    }
    servers(old, new, lines);
}

fn servers(old: &Proxy, new: &Proxy, lines: &mut Vec<String>) {
    let name = &new.name;
    for server in &old.servers {
        if !new.servers.iter().any(|other| other.name == server.name) {
            lines.push(format!("- {name}/{} {}", server.name, server.address));
        }
    }
    for server in &new.servers {
        let target = format!("{name}/{}", server.name);
        let Some(known) = old.servers.iter().find(|other| other.name == server.name) else {
            let (address, weight) = (server.address, server.weight);
            lines.push(format!("+ {target} {address} weight {weight}"));
            continue;
        };
        let mut differ = |what: &str, value: &dyn Fn(&ProxyServer) -> String| {
            let (old, new) = (value(known), value(server));
            if old != new {
                lines.push(format!("~ {target} {what} {old} -> {new}"));
            }
        };
        differ("address", &|s| s.address.to_string());
        differ("tls", &|s| tls(s.tls.as_ref()));
        differ("http", &|s| {
            match s.http {
                Upstream::Http1 => "1.1",
                Upstream::Http2 => "2",
            }
            .to_owned()
        });
        differ("cookie", &|s| or_none(s.cookie.clone()));
        differ("weight", &|s| s.weight.to_string());
        differ("max_connections", &|s| {
            or_none(s.max_connections.map(|most| most.to_string()))
        });
        differ("backup", &|s| s.backup.to_string());
        differ("send_proxy", &|s| {
            or_none(s.send_proxy.map(|version| send_proxy(version).to_owned()))
        });
    }
}

/// As the file says it, on one line.
pub(super) fn tls(tls: Option<&ServerTls>) -> String {
    let Some(tls) = tls else {
        return "none".to_owned();
    };
    let mut text = match &tls.verify {
        Verify::None => "verify none".to_owned(),
        Verify::System => "verify system".to_owned(),
        Verify::Ca(path) => format!("verify {}", path.display()),
        Verify::Pinned(digest) => {
            let hex = digest.iter().map(|byte| format!("{byte:02x}"));
            format!("verify sha256:{}", hex.collect::<String>())
        }
    };
    if let Some(sni) = &tls.sni {
        text.push_str(&format!(" sni {sni}"));
    }
    text
}

pub(super) const fn send_proxy(version: ProxyHeader) -> &'static str {
    match version {
        ProxyHeader::V1 => "v1",
        ProxyHeader::V2 => "v2",
    }
}

const fn scheduler(scheduler: ProxyScheduler) -> &'static str {
    match scheduler {
        ProxyScheduler::Roundrobin => "roundrobin",
        ProxyScheduler::Leastconn => "leastconn",
        ProxyScheduler::Source => "source",
        ProxyScheduler::Random => "random",
    }
}

/// All of it but the key.
fn cookie(cookie: &Cookie) -> String {
    let mut words = vec![cookie.name.clone()];
    for (word, on) in [
        ("indirect", cookie.indirect),
        ("nocache", cookie.nocache),
        ("preserve", cookie.preserve),
        ("http_only", cookie.http_only),
        ("secure", cookie.secure),
        ("dynamic", cookie.dynamic_key.is_some()),
    ] {
        if on {
            words.push(word.to_owned());
        }
    }
    if let Some(same_site) = cookie.same_site {
        words.push(format!("same_site {}", same_site.name()));
    }
    if let Some(domain) = &cookie.domain {
        words.push(format!("domain {domain}"));
    }
    for (word, time) in [("max_idle", cookie.max_idle), ("max_life", cookie.max_life)] {
        words.extend(time.map(|time| format!("{word} {}", span(time))));
    }
    words.join(" ")
}

fn timeouts(timeouts: &ProxyTimeouts) -> String {
    format!(
        "handshake {}, request {}, keep_alive {}, client {}, server {}, connect {}, queue {}, tunnel {}",
        span(timeouts.handshake),
        span(timeouts.request),
        span(timeouts.keep_alive),
        span(timeouts.client),
        span(timeouts.server),
        span(timeouts.connect),
        span(timeouts.queue),
        span(timeouts.tunnel)
    )
}

fn limits(limits: &ProxyLimits) -> String {
    let most = |most: Option<u32>| or_none(most.map(|most| most.to_string()));
    format!(
        "connections {}, connections_per_source {}, requests_per_source {}, header {}, fields {}, body {}, streams {}",
        limits.connections,
        most(limits.connections_per_source),
        most(limits.requests_per_source),
        limits.header,
        limits.fields,
        or_none(limits.body.map(|most| most.to_string())),
        limits.streams
    )
}

fn access_log(log: &AccessLog) -> String {
    let format = match log.format {
        LogFormat::Json => "json",
        LogFormat::Httplog => "httplog",
    };
    match &log.file {
        Some(file) => format!("{format} to {}", file.display()),
        None => format.to_owned(),
    }
}

fn or_none(text: Option<String>) -> String {
    text.unwrap_or_else(|| "none".to_owned())
}

fn listed(items: Vec<String>) -> String {
    match items.is_empty() {
        true => "none".to_owned(),
        false => items.join(", "),
    }
}

fn sorted<T: Display>(items: &[T]) -> String {
    let mut items: Vec<_> = items.iter().map(ToString::to_string).collect();
    items.sort_unstable();
    listed(items)
}

#[cfg(test)]
mod tests {
    use super::super::changes;
    use crate::config::{Config, schema};

    fn parse(source: &str) -> Config {
        let parsed = crate::config::parse(source, "lb1");
        assert!(parsed.config.is_some(), "{:#?}", parsed.diagnostics);
        parsed.config.expect("valid")
    }

    #[test]
    fn every_key_that_changes_is_said_but_for_the_secret() {
        let old = parse(
            "[proxy.web]\nlisten = \"192.0.2.100:443\"\ncookie = { name = \"S\", dynamic_key = \"hunter2\" }\n\
             certificate = \"/a.pem\"\n\
             [proxy.web.servers]\nmb1 = \"192.0.2.1:80\"\nmb2 = { address = \"192.0.2.2:443\", tls = true }\n\
             [proxy.gone]\nlisten = \"192.0.2.100:81\"\nservers = { mb1 = \"192.0.2.1:80\", mb2 = \"192.0.2.2:80\" }\n",
        );
        let new = parse(
            "[proxy.web]\nlisten = \"192.0.2.100:8443\"\n\
             cookie = { name = \"S\", dynamic_key = \"hunter3\", secure = true, http_only = true, same_site = \"lax\", \
             domain = \"example.org\", max_idle = \"1h\", max_life = \"8h\" }\n\
             certificate = [\"/a.pem\", \"/b\"]\ntls_min_version = \"1.3\"\nhttp2 = false\nscheduler = \"random\"\n\
             redirect_http = \"192.0.2.100:80\"\nhsts = \"8760h\"\n\
             check = { type = \"http\", path = \"/health\", expect = [200, \"3xx\"], body = \"ok\", host = \"a.example\", tls = true, verify = \"none\" }\n\
             agent = { port = 9707, send = \"state\\n\" }\n\
             timeouts = { connect = \"3s\" }\nlimits = { body = \"10m\", connections_per_source = 100 }\n\
             trusted_proxies = \"10.0.0.0/8\"\nforwarded = true\naccept_proxy = \"10.0.0.0/8\"\nretries = 1\n\
             redispatch = false\nfollows = { web = [\"redis\", \"db\"] }\nslow_start = \"30s\"\nmin_up = 2\naccess_log = { format = \"httplog\", file = \"/var/log/x\" }\n\
             [proxy.web.servers]\n\
             mb2 = { address = \"192.0.2.3:443\", tls = { verify = \"/ca.pem\", sni = \"a.example\" }, http = \"2\", cookie = \"two\", \
             weight = 3, max_connections = 10, backup = true, send_proxy = \"v2\" }\nmb3 = \"192.0.2.4:80\"\n\
             [proxy.new]\nlisten = \"192.0.2.100:82\"\nservers = { mb1 = \"192.0.2.1:80\", mb2 = \"192.0.2.2:80\" }\n",
        );
        let lines = changes(&old, &new).join("\n");
        assert!(!lines.contains("hunter"));
        for key in schema::PROXY.keys.iter().filter(|key| **key != "servers") {
            assert!(lines.contains(&format!("web {key} ")), "{key}");
        }
        for key in schema::PROXY_SERVER.keys {
            assert!(lines.contains(&format!("mb2 {key} ")), "{key}");
        }
        insta::assert_snapshot!(lines);
        assert_eq!(changes(&new, &new), Vec::<String>::new());
    }
}
