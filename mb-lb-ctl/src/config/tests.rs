//! Whole files through [`parse_ahead`](super::parse_ahead).

mod bad_values;
mod config_sync;
mod good;
mod properties;
mod together;
mod vrrp;

use super::{Code, Config, Diagnostic, parse, parse_ahead, render};

/// The smallest service that draws no warning.
const SERVICE: &str = "\
[service.smtp]
listen = \"192.168.1.100:25\"
servers = { mb1 = \"192.168.1.101\", mb2 = \"192.168.1.102\" }
";

/// The smallest VRRP instance.
const VRRP: &str = "\
[vrrp.VI_1]
interface = \"eth0\"
virtual_router_id = 51
addresses = \"192.168.1.100/24\"
";

/// The smallest `config_sync`.
const CONFIG_SYNC: &str = "\
[config_sync.etc]
source = \"/etc/mailborder\"
targets = \"mb2\"
";

fn diagnose(source: &str) -> Vec<Diagnostic> {
    parse_ahead(source, "lb1").diagnostics
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
    let parsed = parse_ahead(source, "lb1");
    let text = render(&parsed.diagnostics, source, "mb-lb.toml", false);
    parsed.config.unwrap_or_else(|| panic!("refused:\n{text}"))
}

#[test]
fn what_this_build_does_not_run_is_refused() {
    let source = format!(
        "{SERVICE}\n[vrrp.VI_1]\ninterface = \"eth0\"\nvirtual_router_id = 51\naddresses = [\"192.168.1.100/24\"]\n"
    );
    assert_eq!(parse_ahead(&source, "lb1").errors(), 0);
    let parsed = parse(&source, "lb1");
    assert_eq!(parsed.config, None);
    let codes: Vec<_> = parsed.diagnostics.iter().map(|d| d.code).collect();
    assert_eq!(codes, [Code::NotInThisBuild]);
    assert_eq!(
        parsed.diagnostics[0].message,
        "`vrrp` is checked, but not in this build of mb-lb yet"
    );
}
