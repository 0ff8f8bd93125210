//! An application that writes numbered rows by way of the VIP.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::galera::{APPLICATION, PORT};
use mb_lb_tests::{Galera, Machine, try_wait_until};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};

use super::site::SOON;
use crate::writers::{self, Acked, Pen};

/// As an application has it: what takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub struct Ack {
    /// As the node says its name.
    node: String,
    number: u32,
}

impl Acked for Ack {
    fn by(&self) -> String {
        self.node.clone()
    }
}

pub type Writers = writers::Writers<Ack, String>;
pub type Written = writers::Written<Ack, String>;

pub fn start(machine: &Machine, vip: IpAddr, count: usize) -> Writers {
    let machine = machine.clone();
    Writers::start(count, SOON, move |writer, pen| {
        machine.enter(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(write(vip, writer, pen));
        });
    })
}

impl Writers {
    /// Until each has been turned away at once, from now on.
    pub fn wait_refused(&self) -> Result<()> {
        self.wait_error("connections that are reset", |error| {
            error.contains("reset by peer")
        })
    }
}

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
        for nodes in self.places() {
            ensure!(nodes == expected, "written to {nodes:?} in turn");
        }
        Ok(())
    }
}

async fn write(vip: IpAddr, writer: usize, pen: &Pen<Ack, String>) {
    let mut number = 0;
    while pen.goes_on() {
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
            while pen.goes_on() {
                // A number whose fate is unknown is not used again.
                number += 1;
                let insert = format!("INSERT INTO mail.sent VALUES ({writer}, {number})");
                within(connection.query_drop(insert)).await?;
                pen.ack(Ack {
                    node: node.clone(),
                    number,
                });
                // Two cores are shared with the cluster.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            within(connection.disconnect()).await
        };
        let outcome: Result<(), String> = work.await;
        if let Err(error) = outcome {
            pen.error(error);
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
