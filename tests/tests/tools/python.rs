//! haproxyadmin and haproxytool from PyPI.

use anyhow::{Result, ensure};
use mb_lb_ctl::snapshot::AdminState;

use crate::Site;
use crate::site::{python_program, said};

const SCRIPT: &str = r#"
import sys, time
from haproxyadmin import haproxy
hap = haproxy.HAProxy(socket_file=sys.argv[1])
print(sorted(b.name for b in hap.backends()), sorted(f.name for f in hap.frontends()))
for server in sorted(hap.servers(), key=lambda s: s.name):
    print(server.name, server.backendname, server.status, server.weight, server.address, server.port, server.sid)
    server.metric('scur'), server.check_status, server.last_status, server.requests
frontend = hap.frontend('smtp')
print(frontend.status, frontend.iid, frontend.requests)
backend = hap.backend('smtp')
print(backend.status, backend.iid, len(backend.servers()))
server = hap.server('mb1', backend='smtp')[0]
server.setstate('drain'); print(server.status)
server.setstate('maint'); print(server.status)
server.setstate('ready')
# It is up when a check says so.
deadline = time.monotonic() + 30
while server.status != 'UP' and time.monotonic() < deadline:
    time.sleep(0.05)
print(server.status)
server.setweight('50%'); print(server.weight)
server.setweight(10); print(server.weight)
print(hap.nodename != '', hap.version.startswith('2.6'), hap.processids == [hap.processids[0]], hap.totalrequests >= 0)
hap.clearcounters(), hap.clearcounters(all=True)
try:
    hap.server('nobody')
except ValueError as error:
    print(error)
"#;

#[test]
fn haproxyadmin_sees_and_changes_servers() -> Result<()> {
    let site = Site::start("toolpy")?;
    let output = site
        .command(python_program("python")?)
        .args(["-c", SCRIPT])
        .arg(site.socket())
        .output()?;
    let text = said(&output)?;
    let expected = "['smtp'] ['smtp']\n\
        mb1 smtp UP 10 10.77.0.101 25 1\n\
        mb2 smtp UP 20 10.77.0.102 25 2\n";
    ensure!(text.starts_with(expected), "{text}");
    ensure!(
        text.contains("\nUP 2 2\nDRAIN\nMAINT\nUP\n5\n10\nTrue True True True\n"),
        "{text}"
    );
    site.expect_state("mb1", AdminState::Ready)
}

#[test]
fn haproxytool_does_what_its_help_says() -> Result<()> {
    let site = Site::start("tooltool")?;
    let program = python_program("haproxytool")?;
    let tool = |arguments: &[&str]| -> Result<String> {
        let mut command = site.command(&program);
        command.arg(arguments[0]).arg("-F").arg(site.socket());
        said(&command.args(&arguments[1..]).output()?)
    };
    let text = tool(&["server", "-s"])?;
    ensure!(text.contains("mb1") && text.contains("UP"), "{text}");
    tool(&["server", "-t", "-f", "--backend=smtp", "mb1"])?;
    site.expect_state("mb1", AdminState::Maint)?;
    tool(&["server", "-e", "--backend=smtp", "mb1"])?;
    site.expect_state("mb1", AdminState::Ready)?;
    tool(&["server", "-n", "-f", "--backend=smtp", "mb2"])?;
    site.expect_state("mb2", AdminState::Drain)?;
    tool(&["server", "-R", "--backend=smtp", "mb2"])?;
    site.expect_state("mb2", AdminState::Ready)?;
    tool(&["server", "-w", "7", "--backend=smtp", "mb2"])?;
    ensure!(site.server("mb2")?.weight == 7);
    for (arguments, word) in [
        (&["backend", "-s"][..], "UP"),
        (&["backend", "-S"], "mb2"),
        (&["frontend", "-s"], "OPEN"),
        (&["frontend", "-l"], "smtp"),
        (&["haproxy", "-i"], "Uptime"),
        (&["haproxy", "-V"], "2.6"),
        (&["haproxy", "-p"], ""),
    ] {
        let text = tool(arguments)?;
        ensure!(text.contains(word), "{arguments:?}: {text}");
    }
    Ok(())
}
