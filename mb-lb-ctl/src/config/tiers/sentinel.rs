//! `[sentinel.NAME]`

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use super::{
    Draft, INTERVAL, TIMEOUT, duration, listens, missing, password, server_tls, servers, words,
};
use crate::config::diagnostic::{Code, Finding, Reporter};
use crate::config::fields::{Field, Fields};
use crate::config::{Sentinel, TierServer, address, schema};

/// Sentinels publish what happens; more often than this is noise.
const OFTEN: RangeInclusive<Duration> = Duration::from_millis(50)..=*INTERVAL.end();
const MOST_SENTINELS: usize = 15;
const REDIS: u16 = 6379;

pub(super) fn sentinel(
    name: &str,
    field: &Field<'_>,
    reporter: &mut Reporter<'_>,
) -> Option<Draft<Sentinel>> {
    let table = field.table("a table", reporter)?;
    let fields = Fields::open(&schema::SENTINEL, field.path.clone(), table, reporter);
    let missing = |key: &str, example: &str| missing("sentinel", name, field, key, example);
    let (listen, listen_spans) = listens(
        &fields,
        REDIS,
        || missing("listen", "listen = \"VIP:6379\""),
        reporter,
    );
    let (sentinels, sentinel_spans) = match fields.get("sentinels") {
        Some(field) => sentinels(&field, reporter),
        None => {
            reporter.push(missing("sentinels", "sentinels = [\"ADDRESS:26379\", ...]"));
            (Vec::new(), Vec::new())
        }
    };
    let (servers, server_spans, complete) = match fields.get("servers") {
        Some(field) => servers(&field, REDIS, &schema::SENTINEL, reporter),
        None => {
            let servers = beside(&sentinels);
            let complete = !servers.is_empty();
            (servers, sentinel_spans, complete)
        }
    };
    let master = words(fields.get("master"), "the name of the master", reporter);
    for (user, secret) in [("user", "password"), ("sentinel_user", "sentinel_password")] {
        let file = if user == "user" {
            "password_file"
        } else {
            "sentinel_password_file"
        };
        if let (Some(field), None, None) = (fields.get(user), fields.get(secret), fields.get(file))
        {
            let help = format!("add {file} = \"/etc/mb-lb/redis.password\", or remove it");
            field.no_effect(&format!("without `{secret}`"), &help, reporter);
        }
    }
    let half = Duration::from_millis(500);
    let timeout = Duration::from_millis(400);
    Some(Draft {
        tier: Sentinel {
            name: name.to_owned(),
            listen,
            master: master.unwrap_or_else(|| name.to_owned()),
            sentinels,
            servers,
            user: words(fields.get("user"), "the name of a user", reporter),
            password: password(&fields, "password", "password_file", reporter),
            tls: server_tls(fields.get("tls"), reporter),
            sentinel_user: words(fields.get("sentinel_user"), "the name of a user", reporter),
            sentinel_password: password(
                &fields,
                "sentinel_password",
                "sentinel_password_file",
                reporter,
            ),
            sentinel_tls: server_tls(fields.get("sentinel_tls"), reporter),
            interval: duration(&fields, "interval", OFTEN, half, reporter),
            timeout: duration(&fields, "timeout", TIMEOUT, timeout, reporter),
        },
        name: field.key_span.clone(),
        listen: listen_spans,
        servers: server_spans,
        takes_out: Vec::new(),
        complete,
    })
}

fn sentinels(
    field: &Field<'_>,
    reporter: &mut Reporter<'_>,
) -> (Vec<SocketAddr>, Vec<Range<usize>>) {
    let one = "an address and port such as \"192.168.1.121:26379\"";
    let expected = format!("{one}, or a list of them");
    let elements = field.elements(&expected, "add \"ADDRESS:26379\"", reporter);
    let (mut addresses, mut spans) = (Vec::new(), Vec::new());
    for element in &elements {
        let Some(address) = element.parsed(one, |text| address::tier_server(text, 26379), reporter)
        else {
            continue;
        };
        if addresses.contains(&address) {
            let phrase = format!("has `{address}` twice: its vote would count twice");
            reporter.push(element.finding(Code::DuplicateAddress, &phrase));
            continue;
        }
        addresses.push(address);
        spans.push(element.span.clone());
    }
    if let Some(span) = spans.get(MOST_SENTINELS) {
        let message = format!(
            "{} addresses in `{}`, the most is {MOST_SENTINELS}",
            spans.len(),
            field.path
        );
        reporter.push(Finding::new(Code::TooMany, span.clone(), message));
    }
    if matches!(addresses.len(), 1 | 2) && addresses.len() == elements.len() {
        let phrase = format!("has {} of them only", addresses.len());
        let finding = field.finding(Code::FewSentinels, &phrase);
        reporter.push(finding.help(
            "without one of them there is no majority, and no failover: three or five are usual",
        ));
    }
    (addresses, spans)
}

/// A Redis server on the machine of each Sentinel, as they usually are.
fn beside(sentinels: &[SocketAddr]) -> Vec<TierServer> {
    let hosts: BTreeSet<_> = sentinels.iter().map(SocketAddr::ip).collect();
    let mut servers: Vec<TierServer> = Vec::new();
    for sentinel in sentinels {
        let address = SocketAddr::new(sentinel.ip(), REDIS);
        if !hosts.contains(&sentinel.ip()) || servers.iter().any(|s| s.address == address) {
            continue;
        }
        servers.push(TierServer {
            // Names have no colons.
            name: sentinel.ip().to_string().replace(':', "-"),
            address,
            weight: 1,
            priority: 100,
            max_connections: None,
        });
    }
    servers
}
