//! Three servers behind the service `smtp` on both VIPs.

use std::fmt::Write as _;
use std::net::SocketAddr;

use anyhow::Result;

use super::{Cluster, SOON};
use crate::lab::Lab;
use crate::session::Session;
use crate::sink::SinkOptions;
use crate::wait::try_wait_until;

/// What differs from a cluster of three equal servers, least connections, no checks.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// Further lines of `[director]`.
    pub director: &'a str,
    /// Lines of `[service.smtp]` that replace `check = { type = "none" }`. Without checks a stall of this machine
    /// cannot take a server out in the middle of a test that counts choices.
    pub service: &'a str,
    /// Further keys of `mb1`, `mb2`, `mb3`, e.g. `weight = 10`.
    pub servers: [&'a str; 3],
    /// Further tables.
    pub more: &'a str,
    pub sink: SinkOptions,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self {
            director: "",
            service: r#"check = { type = "none" }"#,
            servers: ["weight = 10", "weight = 10", "weight = 10"],
            more: "",
            sink: SinkOptions {
                record: false,
                ..SinkOptions::default()
            },
        }
    }
}

/// Weights 10, 10 and 5.
pub const TEN_TEN_FIVE: [&str; 3] = ["weight = 10", "weight = 10", "weight = 5"];

impl Setup<'_> {
    /// Starts all, and returns when every server takes new flows in the kernel.
    ///
    /// # Errors
    /// Something does not start.
    pub fn start(&self, name: &str) -> Result<Cluster> {
        let cluster = Cluster::start_with(name, 3, &self.sink, |lab| self.config(lab))?;
        cluster.wait_usable()?;
        try_wait_until("all servers to take new flows", SOON, || {
            let records = cluster.records()?;
            anyhow::ensure!(records.iter().all(|record| record.accepts), "{records:?}");
            Ok(())
        })?;
        Ok(cluster)
    }

    fn config(&self, lab: &Lab) -> String {
        let mut text = format!(
            "[director]\nname = \"lb1\"\n{}\n\n[service.smtp]\nlisten = [\"{}\", \"{}\"]\n{}\n\n\
             [service.smtp.servers]\n",
            self.director,
            lab.smtp4(),
            lab.smtp6(),
            self.service
        );
        for (server, keys) in lab.servers().iter().zip(self.servers) {
            // Writing into a String cannot fail.
            let _ = writeln!(
                text,
                "{} = {{ address = \"{}\", {keys} }}",
                server.name(),
                server.ipv4()
            );
        }
        text.push_str(self.more);
        text
    }
}

impl Cluster {
    /// A session from the client to the IPv4 VIP.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub fn open_one(&self) -> Result<Session> {
        Session::open(self.lab.client(), self.lab.smtp4())
    }

    /// Both VIPs with the port of SMTP.
    pub fn vips(&self) -> [SocketAddr; 2] {
        [self.lab.smtp4(), self.lab.smtp6()]
    }
}
