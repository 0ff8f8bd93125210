//! `[galera.NAME]`

use std::time::Duration;

use super::{
    Draft, INTERVAL, TIMEOUT, duration, listens, missing, number, password, server_tls, servers,
    words,
};
use crate::config::diagnostic::{Code, Reporter};
use crate::config::fields::{Field, Fields, Words};
use crate::config::values::{self, Fault};
use crate::config::{Galera, GaleraMode, schema};

const MODE: Words<GaleraMode> = Words {
    known: &[
        ("single-writer", GaleraMode::SingleWriter),
        ("any", GaleraMode::Any),
    ],
    later: &[],
    foreign: &[
        ("single_writer", "single-writer"),
        ("single", "single-writer"),
        ("writer", "single-writer"),
        ("first", "single-writer"),
        ("multi", "any"),
        ("multi-writer", "any"),
        ("all", "any"),
        ("leastconn", "any"),
        ("roundrobin", "any"),
    ],
};

pub(super) fn galera(
    name: &str,
    field: &Field<'_>,
    reporter: &mut Reporter<'_>,
) -> Option<Draft<Galera>> {
    let table = field.table("a table", reporter)?;
    let fields = Fields::open(&schema::GALERA, field.path.clone(), table, reporter);
    let missing = |key: &str, example: &str| missing("galera", name, field, key, example);
    let (listen, listen_spans) = listens(
        &fields,
        3306,
        || missing("listen", "listen = \"VIP:3306\""),
        reporter,
    );
    let (servers, server_spans, complete) = match fields.get("servers") {
        Some(field) => servers(&field, 3306, &schema::GALERA, reporter),
        None => {
            let example = format!("[{}.servers] with NAME = \"ADDRESS:PORT\"", field.path);
            reporter.push(missing("servers", &example));
            (Vec::new(), Vec::new(), false)
        }
    };
    if fields.get("user").is_none() {
        let example = "user = \"mb_monitor\"; CREATE USER 'mb_monitor'@'%' IDENTIFIED BY '...' makes one: USAGE will do";
        reporter.push(missing("user", example));
    }
    let user = words(fields.get("user"), "the name of a user", reporter);
    let password = password(&fields, "password", "password_file", reporter);
    let mode = fields.get("mode").and_then(|f| f.word(&MODE, reporter));
    let allow_donor = fields.get("allow_donor").and_then(|f| f.boolean(reporter));
    let most = i128::from(u32::try_from(super::MOST).unwrap_or(u32::MAX));
    let expected = u32::try_from(servers.len()).unwrap_or(u32::MAX);
    let max_flow_control = match fields.get("max_flow_control") {
        Some(field) => percent(&field, reporter),
        None => None,
    };
    let second = Duration::from_secs(1);
    Some(Draft {
        tier: Galera {
            name: name.to_owned(),
            listen,
            mode: mode.unwrap_or(GaleraMode::SingleWriter),
            user: user.unwrap_or_default(),
            password,
            tls: server_tls(fields.get("tls"), reporter),
            interval: duration(&fields, "interval", INTERVAL, second, reporter),
            timeout: duration(&fields, "timeout", TIMEOUT, second * 4 / 5, reporter),
            rise: number(&fields, "rise", 1..=255, 3, reporter),
            fall: number(&fields, "fall", 1..=255, 3, reporter),
            allow_donor: allow_donor.unwrap_or(false),
            expected_size: number(&fields, "expected_size", 1..=most, expected, reporter),
            max_receive_queue: number(&fields, "max_receive_queue", 1..=1_000_000, 100, reporter),
            max_flow_control: max_flow_control.unwrap_or(10),
            servers,
        },
        name: field.key_span.clone(),
        listen: listen_spans,
        servers: server_spans,
        takes_out: Vec::new(),
        complete,
    })
}

/// `"10%"`, 1 to 100.
fn percent(field: &Field<'_>, reporter: &mut Reporter<'_>) -> Option<u8> {
    let percent = field.parsed("a share such as \"10%\"", values::percent, reporter)?;
    if percent == 0 {
        let fault = Fault::new(Code::OutOfRange, "is `0%`, allowed are 1% to 100%");
        field.refuse(fault, reporter);
        return None;
    }
    Some(percent)
}
