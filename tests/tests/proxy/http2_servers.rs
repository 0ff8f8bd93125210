//! Servers that are asked in HTTP/2.

use anyhow::{Context as _, Result, ensure};

use crate::Https;
use crate::load::{Load, with_a_server_that_dies};

fn start(name: &str) -> Result<Https> {
    Https::start_to(name, "", 8443, "http = \"2\",")
}

/// Requests that servers have had in HTTP/2, checks and all. Nothing else may have come to `path` in another way.
fn requests(https: &Https, path: &str) -> Result<usize> {
    let mut count = 0;
    for nginx in &https.servers {
        let log = nginx.log()?;
        for line in log
            .lines()
            .filter(|line| line.contains(&format!(" {path} ")))
        {
            ensure!(line.contains(" HTTP/2.0\""), "{line}");
            count += 1;
        }
    }
    Ok(count)
}

#[test]
fn requests_of_both_versions_go_there_with_bodies_and_trailers() -> Result<()> {
    let https = start("pxh2up")?;
    let file = https.client().directory().join("body");
    std::fs::write(&file, "x".repeat(1_000_000))?;
    let body = format!("@{}", file.display());
    for http in ["--http1.1", "--http2"] {
        let page = https.get("/", &[http])?;
        ensure!(page.status == "200", "{page:?}");
        ensure!(Some(page.body.as_str()) == page.one("x-server"), "{page:?}");
        let page = https.get("/big", &[http])?;
        ensure!(page.body.len() == 2_000_000, "{}", page.body.len());
        let page = https.get("/seen", &[http, "-b", "SERVERID=mb2; a=b"])?;
        let client = https.client().ipv4();
        ensure!(
            page.body == format!("a=b|{client}|https|mail.example.com"),
            "{page:?}"
        );
        ensure!(page.one("x-server") == Some("mb2"), "{page:?}");
        let page = https.get("/upload", &[http, "-H", "Expect:", "--data-binary", &body])?;
        ensure!(page.status == "200", "{page:?}");
        let page = https.get(
            "/upload",
            &[http, "-H", "Expect:", "-T", file.to_str().context("text")?],
        )?;
        ensure!(page.status == "200", "{page:?}");
    }
    let url = format!("https://{}/trailer", https.lab.vip4());
    let text = https
        .client()
        .run("nghttp", &["-nv", "--no-verify-peer", &url])?;
    ensure!(text.contains("x-sum: abc"), "{text}");
    ensure!(requests(&https, "/upload")? == 4);
    ensure!(requests(&https, "/big")? == 2);
    Ok(())
}

#[test]
fn a_hundred_requests_at_a_time_are_answered() -> Result<()> {
    const REQUESTS: u32 = 20_000;
    let https = start("pxh2load")?;
    // The last of two options holds.
    for arguments in [["-c", "1", "-m", "100"].as_slice(), &["-c", "100", "--h1"]] {
        Load::start(&https, REQUESTS, arguments)?.expect_all(REQUESTS)?;
    }
    ensure!(requests(&https, "/")? == 2 * REQUESTS as usize);
    Ok(())
}

#[test]
fn a_server_that_dies_costs_no_request() -> Result<()> {
    with_a_server_that_dies(start("pxh2kill")?, 120_000)
}
