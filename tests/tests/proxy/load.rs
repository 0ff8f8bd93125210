//! Nothing is lost under load: not by reloads, not by new certificates, not by a server that dies.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::try_wait_until;

use crate::Https;
use crate::setup::SOON;

/// An `h2load` that runs.
pub struct Load(std::process::Child);

impl Load {
    pub fn start(https: &Https, requests: u32, arguments: &[&str]) -> Result<Self> {
        let url = format!("https://{}/", https.lab.vip4());
        let mut command: Command = https.client().command("h2load");
        command
            .args(["-n", &requests.to_string(), "-c", "8"])
            .args(arguments)
            .arg(url)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Ok(Self(command.spawn().context("h2load")?))
    }

    fn has_ended(&mut self) -> Result<bool> {
        Ok(self.0.try_wait()?.is_some())
    }

    /// All were answered, with 2xx.
    pub fn expect_all(self, requests: u32) -> Result<()> {
        let output = self.0.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let all = format!(
            "requests: {requests} total, {requests} started, {requests} done, {requests} succeeded, 0 failed, 0 errored, 0 timeout"
        );
        ensure!(text.contains(&all), "{text}");
        let codes = format!("status codes: {requests} 2xx, 0 3xx, 0 4xx, 0 5xx");
        ensure!(text.contains(&codes), "{text}");
        Ok(())
    }
}

fn reloads_and_certificates(name: &str, requests: u32, arguments: &[&str]) -> Result<()> {
    let https = Https::start(name, "")?;
    let mut load = Load::start(&https, requests, arguments)?;
    let before = https.fingerprint()?;
    for round in 0..24 {
        if round % 4 == 0 {
            https.renew_certificate()?;
        }
        // Something is different each time.
        let text = https.config().replace(
            "cookie = { name",
            &format!("retries = {}\ncookie = {{ name", round % 5 + 1),
        );
        https.director.write_config(&text)?;
        https.director.expect(&["reload"])?;
    }
    ensure!(!load.has_ended()?, "the load was over before the reloads");
    let after = https.fingerprint()?;
    ensure!(before != after, "the certificate is the old one");
    load.expect_all(requests)
}

#[test]
fn reloads_and_certificates_cost_no_request_of_http_1() -> Result<()> {
    reloads_and_certificates("pxreload1", 300_000, &["--h1"])
}

#[test]
fn reloads_and_certificates_cost_no_request_of_http_2() -> Result<()> {
    reloads_and_certificates("pxreload2", 400_000, &["-m", "16"])
}

#[test]
fn a_server_that_dies_costs_no_request() -> Result<()> {
    with_a_server_that_dies(Https::start("pxkill", "")?, 240_000)
}

pub fn with_a_server_that_dies(mut https: Https, requests: u32) -> Result<()> {
    let mut load = Load::start(&https, requests, &["-m", "4"])?;
    try_wait_until("mb2 to be at work", SOON, || {
        ensure!(https.server("mb2")?.opened > 100);
        Ok(())
    })?;
    https.servers[1].kill()?;
    https.wait_usable("mb2", false)?;
    https.servers[1].again()?;
    https.wait_usable("mb2", true)?;
    ensure!(!load.has_ended()?, "the load was over too soon");
    load.expect_all(requests)
}
