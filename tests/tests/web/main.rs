//! The page, the API and metrics of the real daemon, as people and tools use them: curl, Chromium, promtool,
//! prometheus-haproxy-exporter. And what is shipped for Prometheus and Grafana.

mod browser;
mod listener;
mod readers;
mod shipped;
mod tools;

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::cluster::Service;
use mb_lb_tests::{Cluster, Director, Lab, try_wait_until};

const SOON: Duration = Duration::from_secs(30);
const PASSWORD: &str = "c0rrect horse:ä";

/// A cluster of three servers, and the page on port 8404 of its director.
struct Page {
    cluster: Cluster,
}

/// What `curl` got.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Page {
    fn start(name: &str) -> Result<Self> {
        let cluster = Cluster::start_unready(name, 3, |lab| {
            let director = &lab.directors()[0];
            fs::write(password_file(director.directory()), format!("{PASSWORD}\n"))
                .expect("the lab's directory can be written");
            configuration(lab, 8404)
        })?;
        cluster.wait_usable()?;
        let page = Self { cluster };
        try_wait_until("the page", SOON, || {
            let health = page.curl(&[&page.url("/health")])?;
            ensure!(health.status == 200, "{health:?}");
            Ok(())
        })?;
        Ok(page)
    }

    fn director(&self) -> &Director {
        &self.cluster.director
    }

    fn host(&self) -> String {
        format!("{}:8404", self.director().machine().ipv4())
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.host())
    }

    /// From the client's machine.
    fn curl(&self, arguments: &[&str]) -> Result<Answer> {
        let output = self
            .cluster
            .lab
            .client()
            .command("curl")
            .args(["--silent", "--show-error", "--max-time", "20", "--include"])
            .args(arguments)
            .output()
            .context("cannot start curl")?;
        let text = String::from_utf8(output.stdout)?;
        let said = String::from_utf8_lossy(&output.stderr);
        let (head, body) = text
            .split_once("\r\n\r\n")
            .with_context(|| format!("{said}{text:?}"))?;
        let status = head.split(' ').nth(1).context("a status")?;
        Ok(Answer {
            status: status.parse()?,
            head: head.to_lowercase(),
            body: body.to_owned(),
        })
    }

    /// With the password.
    fn get(&self, path: &str) -> Result<Answer> {
        self.curl(&["--user", &format!("admin:{PASSWORD}"), &self.url(path)])
    }
}

fn password_file(directory: &std::path::Path) -> std::path::PathBuf {
    directory.join("stats.password")
}

/// What stands behind `[admin]`, and the service.
fn configuration(lab: &Lab, port: u16) -> String {
    let director = &lab.directors()[0];
    format!(
        "http = \"{}:{port}\"\nuser = \"admin\"\npassword_file = {:?}\n\n{}",
        director.ipv4(),
        password_file(director.directory()),
        Service::smtp(lab, &[10, 10, 10]).toml()
    )
}
