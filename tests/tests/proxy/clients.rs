//! Old and plain clients of HTTP/1.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use crate::Https;

/// The number behind `label`.
fn number(text: &str, label: &str) -> Result<u64> {
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(label))
        .with_context(|| format!("no {label:?}: {text}"))?;
    let digits: String = line.chars().filter(char::is_ascii_digit).collect();
    digits.parse().with_context(|| line.to_owned())
}

/// `ab` speaks HTTP/1.0, and asks for connections to be kept.
#[test]
fn ab_keeps_its_connections_and_its_server() -> Result<()> {
    const REQUESTS: u64 = 20_000;
    let https = Https::start("pxab", "")?;
    let (count, url) = (
        REQUESTS.to_string(),
        format!("https://{}/", https.lab.vip4()),
    );
    let ab = |arguments: &[&str]| {
        let all = [&["-q", "-n", &count, "-c", "16"], arguments, &[&url]].concat();
        https.client().run("ab", &all)
    };
    let text = ab(&["-k", "-C", "other=1; SERVERID=mb2"])?;
    ensure!(number(&text, "Complete requests:")? == REQUESTS, "{text}");
    ensure!(number(&text, "Failed requests:")? == 0, "{text}");
    ensure!(!text.contains("Non-2xx"), "{text}");
    ensure!(number(&text, "Keep-Alive requests:")? == REQUESTS, "{text}");
    let served = |at: usize| -> Result<usize> {
        let log = https.servers[at].log()?;
        Ok(log.lines().filter(|line| line.contains("GET / ")).count())
    };
    ensure!((served(0)?, served(2)?) == (0, 0));
    ensure!(served(1)? as u64 == REQUESTS);
    Ok(())
}

/// Each user of `siege` has a jar of cookies and stays where it first was.
#[test]
fn users_of_siege_stay_where_they_were_first() -> Result<()> {
    const USERS: u64 = 9;
    const VISITS: u64 = 400;
    let mut https = Https::start("pxsiege", "access_log = \"json\"")?;
    let directory = https.client().directory().to_owned();
    let settings = directory.join("siegerc");
    fs::write(
        &settings,
        "cookies = true\nparser = false\nprotocol = HTTP/1.1\nconnection = keep-alive\nbenchmark = true\n\
         json_output = true\nverbose = false\ncolor = off\n",
    )?;
    let url = format!("https://{}/seen", https.lab.vip4());
    let (users, visits) = (USERS.to_string(), VISITS.to_string());
    let output = https
        .client()
        .command("siege")
        .env("HOME", &directory)
        .arg("-R")
        .arg(&settings)
        .args(["-c", &users, "-r", &visits, &url])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        number(&text, "\"successful_transactions\":")? == USERS * VISITS,
        "{text}"
    );
    ensure!(number(&text, "\"failed_transactions\":")? == 0, "{text}");
    let log = https.access_log()?;
    let with = |cookie: &str| log.iter().filter(|line| line["cookie"] == cookie).count() as u64;
    ensure!(with("NI") == USERS, "{} were given a cookie", with("NI"));
    ensure!(with("VN") == USERS * (VISITS - 1), "{} kept it", with("VN"));
    Ok(())
}
