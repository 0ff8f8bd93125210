//! Headless Chromium: a login, pages, and a WebSocket over the same HTTP/2.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::{Process, try_wait_until};

use crate::Https;
use crate::setup::SOON;
use crate::websocket::echo;

fn start(https: &Https, path: &str) -> Result<Process> {
    let client = https.client();
    let home = client.directory().join("chromium");
    let mut command = client.command("chromium");
    command
        .env("HOME", client.directory())
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
        ])
        .args(["--disable-dev-shm-usage", "--disable-background-networking"])
        .arg("--ignore-certificate-errors")
        .arg(format!(
            "--host-resolver-rules=MAP mail.example.com {}",
            https.lab.vip4()
        ))
        .arg(format!("--user-data-dir={}", home.display()))
        .arg("--remote-debugging-port=0")
        .arg(format!("https://mail.example.com{path}"));
    client.spawn("chromium", &mut command)
}

/// What the pages say that they saw, in order.
fn reports(https: &mut Https) -> Result<Vec<String>> {
    let log = https.access_log()?;
    let targets = log.iter().filter_map(|line| line["target"].as_str());
    let reports = targets.filter_map(|target| target.strip_prefix("/report?"));
    Ok(reports.map(str::to_owned).collect())
}

fn wait_for(https: &mut Https, chromium: &Process, report: &str) -> Result<()> {
    try_wait_until(report, SOON, || {
        let seen = reports(https)?;
        ensure!(
            seen.iter().any(|seen| seen == report),
            "{seen:?}; {}",
            chromium.tail()
        );
        Ok(())
    })
}

#[test]
fn a_user_of_chromium_stays_logged_in_at_a_server() -> Result<()> {
    let mut https = Https::start("pxchrome", "access_log = \"json\"")?;
    let _echo = echo(&https)?;
    for (nginx, server) in https.servers.iter().zip(https.lab.servers()) {
        let inbox = include_str!("scripts/inbox.html").replace("SERVER", server.name());
        nginx.publish("inbox.html", &inbox)?;
        nginx.publish("login.html", include_str!("scripts/login.html"))?;
    }
    let mut chromium = start(&https, "/pages/login.html")?;
    let own = try_wait_until("the page", SOON, || {
        let seen = reports(&mut https)?;
        let page = seen.iter().find_map(|seen| seen.strip_prefix("page="));
        page.map(str::to_owned)
            .with_context(|| format!("{seen:?}; {}", chromium.tail()))
    })?;
    for report in [
        format!("servers={own}"),
        "cookies=SESSION".to_owned(),
        format!("message={own}+3"),
    ] {
        wait_for(&mut https, &chromium, &report)?;
    }

    // The socket stays: through reloads, a new certificate and a drained server.
    https.renew_certificate()?;
    https.director.expect(&["reload"])?;
    https
        .director
        .expect(&["drain", &format!("https_backend/{own}")])?;
    let count = |seen: &[String]| {
        let messages = seen.iter().filter(|seen| seen.starts_with("message="));
        messages.count()
    };
    let next = count(&reports(&mut https)?) + 5;
    wait_for(&mut https, &chromium, &format!("message={own}+{next}"))?;
    chromium.kill()?;

    try_wait_until("the socket's line", SOON, || {
        let log = https.access_log()?;
        let sockets: Vec<_> = log.iter().filter(|line| line["target"] == "/ws").collect();
        let [socket] = sockets.as_slice() else {
            anyhow::bail!("{sockets:?}");
        };
        ensure!(socket["method"] == "CONNECT", "over HTTP/2: {socket}");
        let of = |key: &str| {
            let values = log.iter().filter_map(|line| line[key].as_str());
            values.map(str::to_owned).collect::<BTreeSet<_>>()
        };
        ensure!(of("server") == BTreeSet::from([own.clone()]), "{log:?}");
        ensure!(of("version") == BTreeSet::from(["HTTP/2.0".to_owned()]));
        ensure!(!of("target").contains("/report?closed=1006"), "{log:?}");
        Ok(())
    })
}
