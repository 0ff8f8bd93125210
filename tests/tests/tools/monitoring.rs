//! Debian's prometheus-haproxy-exporter and check_haproxy_stats.

use anyhow::{Result, ensure};
use mb_lb_tests::try_wait_until;

use crate::Site;
use crate::site::SOON;

#[test]
fn the_exporter_reads_the_socket() -> Result<()> {
    let site = Site::start("toolprom")?;
    let machine = site.cluster.director.machine();
    let mut command = machine.command("prometheus-haproxy-exporter");
    command
        .arg(format!(
            "--haproxy.scrape-uri=unix:{}",
            site.socket().display()
        ))
        .arg("--web.listen-address=127.0.0.1:9101");
    let exporter = machine.spawn("exporter", &mut command)?;
    let _sessions = site.cluster.open(6)?;
    let wanted = [
        "haproxy_up 1",
        "haproxy_exporter_csv_parse_failures_total 0",
        "haproxy_server_up{backend=\"smtp\",server=\"mb1\"} 1",
        "haproxy_server_weight{backend=\"smtp\",server=\"mb2\"} 20",
        "haproxy_backend_up{backend=\"smtp\"} 1",
        "haproxy_frontend_sessions_total{frontend=\"smtp\"} 6",
        "haproxy_backend_current_sessions{backend=\"smtp\"} 6",
    ];
    let scrape = || machine.run("curl", &["-s", "http://127.0.0.1:9101/metrics"]);
    try_wait_until("the exporter's metrics", SOON, || {
        let metrics = scrape()?;
        for line in wanted {
            ensure!(
                metrics.lines().any(|found| found == line),
                "{line}: {metrics} {}",
                exporter.tail()
            );
        }
        Ok(())
    })?;
    site.cluster
        .director
        .admin("set server smtp/mb1 state maint")?;
    let metrics = scrape()?;
    ensure!(
        metrics.contains("haproxy_server_up{backend=\"smtp\",server=\"mb1\"} 0\n"),
        "{metrics}"
    );
    // What it says of the process comes from `show info`.
    ensure!(metrics.contains("haproxy_version_info{"), "{metrics}");
    Ok(())
}

#[test]
fn the_check_of_icinga_sees_what_is_out() -> Result<()> {
    let site = Site::start("toolcheck")?;
    let socket = site.socket();
    let check = |more: &[&str]| -> Result<(i32, String)> {
        let mut command = site.command("/usr/lib/nagios/plugins/check_haproxy_stats");
        let output = command.arg("--sock").arg(&socket).args(more).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok((output.status.code().unwrap_or(-1), text))
    };
    let (code, text) = check(&[])?;
    ensure!(code == 0 && text.contains("OK"), "{code}: {text}");
    site.cluster
        .director
        .admin("set server smtp/mb1 state maint")?;
    let (code, text) = check(&[])?;
    ensure!(code == 2 && text.contains("mb1"), "{code}: {text}");
    let (code, text) = check(&["--ignore-maint"])?;
    ensure!(code == 0, "{code}: {text}");
    site.cluster
        .director
        .admin("set server smtp/mb1 state drain")?;
    // It is drained and up when a check says so.
    try_wait_until("a drained server to be ignored", SOON, || {
        let (code, text) = check(&["--ignore-drain"])?;
        ensure!(code == 0, "{code}: {text}");
        Ok(())
    })?;
    Ok(())
}
