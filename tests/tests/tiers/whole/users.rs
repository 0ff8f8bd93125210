//! Who uses the deployment all the while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow, ensure};
use mb_lb_tests::redis::RedisClient;
use mb_lb_tests::{Machine, galera, try_wait_until};

use super::deployment::{Deployment, INNER, SOON};

/// Sessions of PHP: database 1 of Redis, through the VIP, from every mail node.
pub struct Sessions {
    nodes: Vec<Machine>,
    at: std::net::SocketAddr,
    written: u64,
}

impl Sessions {
    pub fn open(all: &Deployment) -> Result<Self> {
        Ok(Self {
            nodes: all.lab.servers()[..3].to_vec(),
            at: all.inner(6379),
            written: 0,
        })
    }

    /// What one node writes, all others read.
    pub fn expect_shared(&mut self) -> Result<()> {
        self.written += 1;
        let (key, value) = (
            format!("PHPREDIS_SESSION:{}", self.written),
            format!("user {}", self.written),
        );
        let first = self.written as usize % self.nodes.len();
        self.ask(first, &["SET", &key, &value])?;
        for at in 0..self.nodes.len() {
            let read = self.ask(at, &["GET", &key])?;
            ensure!(read == value, "node {at} reads {read:?}");
        }
        Ok(())
    }

    /// As a request of the web server does: connect, choose the database, ask.
    fn ask(&self, at: usize, command: &[&str]) -> Result<String> {
        try_wait_until("Redis to answer through the VIP", SOON, || {
            let mut client = RedisClient::connect(&self.nodes[at], self.at)?;
            client.ask(&["SELECT", "1"])?;
            anyhow::Ok(client.ask(command)?)
        })
    }
}

#[derive(Debug, Default)]
struct Counted {
    stop: AtomicBool,
    done: AtomicU64,
    failed: AtomicU64,
}

/// One request of the web interface after the other.
pub struct Web {
    counted: Arc<Counted>,
    thread: JoinHandle<Result<()>>,
}

#[derive(Debug)]
pub struct WebSeen {
    pub refused: u64,
}

impl Web {
    pub fn start(all: &Deployment) -> Self {
        let counted = Arc::new(Counted::default());
        let (client, url, shared) = (all.lab.client().clone(), all.url(), Arc::clone(&counted));
        let thread = std::thread::spawn(move || {
            while !shared.stop.load(Ordering::Relaxed) {
                // A director that dies takes its connections with it: such a request is made anew, as a browser does.
                let arguments = [
                    "-sk",
                    "--max-time",
                    "30",
                    "--retry",
                    "5",
                    "--retry-connrefused",
                    "--retry-all-errors",
                    "-o",
                    "/dev/null",
                    "-w",
                    "%{http_code}",
                    &url,
                ];
                let code = client.run("curl", &arguments)?;
                match code.as_str() {
                    "200" => shared.done.fetch_add(1, Ordering::Relaxed),
                    _ => shared.failed.fetch_add(1, Ordering::Relaxed),
                };
            }
            Ok(())
        });
        Self { counted, thread }
    }

    pub fn expect_more(&self, requests: u64) -> Result<()> {
        let until = self.counted.done.load(Ordering::Relaxed) + requests;
        try_wait_until("more requests to be answered", SOON, || {
            let done = self.counted.done.load(Ordering::Relaxed);
            ensure!(done >= until, "{done} of {until}");
            Ok(())
        })
    }

    pub fn finish(self) -> Result<WebSeen> {
        self.counted.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("it panicked"))??;
        Ok(WebSeen {
            refused: self.counted.failed.load(Ordering::Relaxed),
        })
    }
}

/// A mail node that writes rows to the database through the VIP, each over a connection of its own, and remembers which were
/// acknowledged.
pub struct Writes {
    counted: Arc<Counted>,
    thread: JoinHandle<Vec<u64>>,
}

impl Writes {
    pub fn start(all: &Deployment) -> Self {
        let counted = Arc::new(Counted::default());
        let (node, shared) = (all.lab.servers()[0].clone(), Arc::clone(&counted));
        let thread = std::thread::spawn(move || {
            let mut written = Vec::new();
            let mut next = 0;
            while !shared.stop.load(Ordering::Relaxed) {
                next += 1;
                if write(&node, next).is_ok() {
                    written.push(next);
                    shared.done.fetch_add(1, Ordering::Relaxed);
                }
            }
            written
        });
        Self { counted, thread }
    }

    pub fn expect_more(&self, rows: u64) -> Result<()> {
        let until = self.counted.done.load(Ordering::Relaxed) + rows;
        try_wait_until("more rows to be written", SOON, || {
            let done = self.counted.done.load(Ordering::Relaxed);
            ensure!(done >= until, "{done} of {until}");
            Ok(())
        })
    }

    pub fn finish(self) -> Result<Vec<u64>> {
        self.counted.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("it panicked"))
    }
}

fn write(node: &Machine, number: u64) -> Result<String> {
    let (user, password) = galera::APPLICATION;
    let (user, password) = (format!("--user={user}"), format!("--password={password}"));
    let (host, statement) = (
        format!("--host={INNER}"),
        format!(
            "CREATE TABLE IF NOT EXISTS walked (n BIGINT PRIMARY KEY); INSERT INTO walked VALUES ({number})"
        ),
    );
    let arguments = [
        "--no-defaults",
        &user,
        &password,
        &host,
        "--connect-timeout=10",
        "-NBe",
        &statement,
        "mail",
    ];
    node.run("mariadb", &arguments).context("not written")
}
