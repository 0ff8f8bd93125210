//! Tools that read the page.

use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::admin::http::metrics;
use mb_lb_tests::try_wait_until;

use super::{PASSWORD, Page, SOON};

/// Debian's exporter, with the URL that it had for HAProxy.
#[test]
fn the_haproxy_exporter_reads_the_page() -> Result<()> {
    let page = Page::start("webexporter")?;
    let client = page.cluster.lab.client();
    let password = PASSWORD
        .replace(' ', "%20")
        .replace('ä', "%C3%A4")
        .replace(':', "%3A");
    let url = format!("http://admin:{password}@{}/stats;csv", page.host());
    let mut command = client.command("prometheus-haproxy-exporter");
    command.arg(format!("--haproxy.scrape-uri={url}"));
    command.arg("--web.listen-address=127.0.0.1:9101");
    let exporter = client.spawn("exporter", &mut command)?;
    try_wait_until("the exporter to have read the page", SOON, || {
        let read = page.curl(&["http://127.0.0.1:9101/metrics"])?.body;
        for line in [
            "haproxy_up 1",
            "haproxy_exporter_csv_parse_failures_total 0",
            "haproxy_server_up{backend=\"smtp\",server=\"mb1\"} 1",
            "haproxy_server_up{backend=\"smtp\",server=\"mb3\"} 1",
            "haproxy_server_weight{backend=\"smtp\",server=\"mb2\"} 10",
            "haproxy_backend_up{backend=\"smtp\"} 1",
        ] {
            ensure!(
                read.lines().any(|known| known == line),
                "no {line:?}; {}; {}",
                read.lines()
                    .filter(|line| line.starts_with("haproxy_"))
                    .collect::<Vec<_>>()
                    .join("\n"),
                exporter.tail()
            );
        }
        Ok(())
    })
}

/// Prometheus's own opinion of the text, and every metric that the code names is in it.
#[test]
fn promtool_has_no_objection_to_the_metrics() -> Result<()> {
    let page = Page::start("webmetrics")?;
    let _sessions = page.cluster.open(3)?;
    let answer = page.get("/metrics")?;
    assert!(
        answer
            .head
            .contains("content-type: text/plain; version=0.0.4"),
        "{}",
        answer.head
    );
    let client = page.cluster.lab.client();
    let mut promtool = client
        .command("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start promtool")?;
    let mut stdin = promtool.stdin.take().context("promtool's input")?;
    stdin.write_all(answer.body.as_bytes())?;
    drop(stdin);
    let output = promtool.wait_with_output()?;
    let said = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
    assert!(output.status.success() && said.is_empty(), "{said}");
    for family in metrics::families() {
        let line = format!("# TYPE {} {}", family.name, family.kind.name());
        assert!(answer.body.lines().any(|known| known == line), "{line}");
    }
    try_wait_until("three flows in the metrics", SOON, || {
        let text = page.get("/metrics")?.body;
        let flows: u64 = text
            .lines()
            .filter(|line| line.starts_with("mb_lb_server_flows{"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum();
        ensure!(flows == 3, "{flows}");
        Ok(())
    })
}
