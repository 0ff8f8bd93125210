//! An application that writes numbered rows by way of the VIP.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use mb_lb_tests::galera::{APPLICATION, PORT};
use mb_lb_tests::{Galera, Machine, try_wait_until};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};

use super::site::SOON;

/// As an application has it: what takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub struct Ack {
    /// As the node says its name.
    pub node: String,
    pub number: u32,
}

#[derive(Debug, Default)]
pub struct Log {
    pub acks: Vec<Ack>,
    pub errors: Vec<String>,
}

pub struct Writers {
    stop: Arc<AtomicBool>,
    logs: Vec<Arc<Mutex<Log>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    pub fn start(machine: &Machine, vip: IpAddr, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let logs: Vec<_> = (0..count).map(|_| Arc::new(Mutex::default())).collect();
        let threads = logs.iter().enumerate().map(|(writer, log)| {
            let (machine, stop, log) = (machine.clone(), Arc::clone(&stop), Arc::clone(log));
            std::thread::spawn(move || {
                machine.enter(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .expect("a runtime");
                    runtime.block_on(write(vip, writer, &stop, &log));
                });
            })
        });
        Self {
            threads: threads.collect(),
            stop,
            logs,
        }
    }

    fn look<T>(&self, what: impl Fn(&Log) -> T) -> Vec<T> {
        let logs = self.logs.iter();
        logs.map(|log| what(&log.lock().unwrap_or_else(PoisonError::into_inner)))
            .collect()
    }

    /// Until each has written some more.
    pub fn wait_more(&self) -> Result<()> {
        let before = self.look(|log| log.acks.len());
        try_wait_until("writes", SOON, || {
            let now = self.look(|log| log.acks.len());
            let errors = self.look(|log| log.errors.last().cloned());
            let more = before
                .iter()
                .zip(&now)
                .all(|(before, now)| *now >= before + 10);
            ensure!(more, "{before:?}, {now:?}, {errors:?}");
            Ok(())
        })
    }

    /// Until each writes to this node.
    pub fn wait_on(&self, node: &str) -> Result<()> {
        try_wait_until(&format!("writes on {node}"), SOON, || {
            let last = self.look(|log| log.acks.last().map(|ack| ack.node.clone()));
            let errors = self.look(|log| log.errors.last().cloned());
            let there = last.iter().all(|last| last.as_deref() == Some(node));
            ensure!(there, "{last:?}, {errors:?}");
            Ok(())
        })
    }

    /// Until each has been turned away at once, from now on.
    pub fn wait_refused(&self) -> Result<()> {
        let before = self.look(|log| log.errors.len());
        try_wait_until("connections that are reset", SOON, || {
            let refused = |log: &Log, before: usize| {
                let new = &log.errors[before..];
                new.iter().any(|error| error.contains("reset by peer"))
            };
            let logs = self.logs.iter().zip(&before);
            for (log, before) in logs {
                let log = log.lock().unwrap_or_else(PoisonError::into_inner);
                ensure!(refused(&log, *before), "{:?}", log.errors.last());
            }
            Ok(())
        })
    }

    /// Ends all of them.
    pub fn stop(self) -> Result<Written> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| anyhow!("a writer panicked"))?;
        }
        let logs = self.logs.iter();
        let take = |log: &Arc<Mutex<Log>>| {
            std::mem::take(&mut *log.lock().unwrap_or_else(PoisonError::into_inner))
        };
        Ok(Written(logs.map(take).collect()))
    }
}

/// What each writer has seen.
pub struct Written(Vec<Log>);

impl Written {
    /// Everything that was acknowledged is at this node.
    pub fn expect_all_at(&self, galera: &Galera, at: usize) -> Result<()> {
        for (writer, log) in self.0.iter().enumerate() {
            ensure!(!log.acks.is_empty(), "writer {writer} has written nothing");
            let last = log.acks.last().context("no write")?.number;
            let rows = try_wait_until("the last write to arrive", SOON, || {
                let query = format!("SELECT number FROM mail.sent WHERE writer = {writer}");
                let rows: BTreeSet<u32> = galera
                    .sql(at, &query)?
                    .lines()
                    .map(str::parse)
                    .collect::<Result<_, _>>()?;
                ensure!(rows.contains(&last), "{last} is not there");
                anyhow::Ok(rows)
            })?;
            let lost: Vec<_> = log
                .acks
                .iter()
                .filter(|ack| !rows.contains(&ack.number))
                .collect();
            ensure!(lost.is_empty(), "writer {writer} has lost {lost:?}");
        }
        Ok(())
    }

    /// Each wrote to these nodes in turn, and never to one of them again.
    pub fn expect_nodes(&self, expected: &[&str]) -> Result<()> {
        for log in &self.0 {
            let mut nodes: Vec<_> = log.acks.iter().map(|ack| ack.node.as_str()).collect();
            nodes.dedup();
            ensure!(nodes == expected, "written to {nodes:?} in turn");
        }
        Ok(())
    }
}

async fn write(vip: IpAddr, writer: usize, stop: &AtomicBool, log: &Mutex<Log>) {
    let note = |work: &mut dyn FnMut(&mut Log)| {
        work(&mut log.lock().unwrap_or_else(PoisonError::into_inner));
    };
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let work = async {
            let options = OptsBuilder::default()
                .ip_or_hostname(vip.to_string())
                .tcp_port(PORT)
                .user(Some(APPLICATION.0))
                .pass(Some(APPLICATION.1))
                .prefer_socket(false);
            let mut connection = within(Conn::new(options)).await?;
            let node: Option<String> =
                within(connection.query_first("SELECT @@wsrep_node_name")).await?;
            let node = node.unwrap_or_default();
            while !stop.load(Ordering::Relaxed) {
                // A number whose fate is unknown is not used again.
                number += 1;
                let insert = format!("INSERT INTO mail.sent VALUES ({writer}, {number})");
                within(connection.query_drop(insert)).await?;
                let ack = Ack {
                    node: node.clone(),
                    number,
                };
                note(&mut |log| log.acks.push(ack.clone()));
                // Two cores are shared with the cluster.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            within(connection.disconnect()).await
        };
        let outcome: Result<(), String> = work.await;
        if let Err(error) = outcome {
            note(&mut |log| log.errors.push(error.clone()));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn within<T>(work: impl Future<Output = Result<T, mysql_async::Error>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}
