//! Whole files through [`parse`](super::parse).

mod admin;
mod bad_values;
mod config_sync;
mod good;
mod peer;
mod properties;
mod proxy;
mod tiers;
mod together;
mod vrrp;

use super::{Code, Config, Diagnostic, parse, render};

/// The smallest service that draws no warning.
const SERVICE: &str = "\
[service.smtp]
listen = \"192.168.1.100:25\"
servers = { mb1 = \"192.168.1.101\", mb2 = \"192.168.1.102\" }
";

/// The smallest proxy that draws no warning.
const PROXY: &str = "\
[proxy.web]
listen = \"192.168.1.99:443\"
servers = { mb1 = \"192.168.1.101:8080\", mb2 = \"192.168.1.102:8080\" }
";

/// The smallest VRRP instance.
const VRRP: &str = "\
[vrrp.VI_1]
interface = \"eth0\"
virtual_router_id = 51
addresses = \"192.168.1.100/24\"
";

/// The smallest `[peer]`.
const PEER: &str = "\
[peer]
listen = \"192.168.1.10:8405\"
address = \"192.168.1.11:8405\"
key_file = \"/etc/mb-lb/peer.key\"
";

/// The smallest `config_sync`.
const CONFIG_SYNC: &str = "\
[config_sync.etc]
source = \"/etc/mailborder\"
targets = \"mb2\"
";

/// The smallest `[galera.NAME]` that draws no warning.
const GALERA: &str = "\
[galera.db]
listen = \"192.168.1.98:3306\"
user = \"mb_monitor\"
servers = { db1 = \"192.168.1.111:3306\", db2 = \"192.168.1.112:3306\", db3 = \"192.168.1.113:3306\" }
";

/// The smallest `[sentinel.NAME]` that draws no warning.
const SENTINEL: &str = "\
[sentinel.sessions]
listen = \"192.168.1.98:6379\"
sentinels = [\"192.168.1.121:26379\", \"192.168.1.122:26379\", \"192.168.1.123:26379\"]
";

/// The smallest `[storage.NAME]`.
const STORAGE: &str = "\
[storage.quarantine]
type = \"nfs\"
server = \"192.168.1.130\"
";

fn diagnose(source: &str) -> Vec<Diagnostic> {
    parse(source, "lb1").diagnostics
}

fn codes(source: &str) -> Vec<Code> {
    diagnose(source).into_iter().map(|d| d.code).collect()
}

/// What people see.
fn shown(source: &str) -> String {
    render(&diagnose(source), source, "mb-lb.toml", false)
}

#[track_caller]
fn accept(source: &str) -> Config {
    let parsed = parse(source, "lb1");
    let text = render(&parsed.diagnostics, source, "mb-lb.toml", false);
    parsed.config.unwrap_or_else(|| panic!("refused:\n{text}"))
}
