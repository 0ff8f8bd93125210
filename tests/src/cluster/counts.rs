//! What is counted, seen from all sides: the kernel's records, the flow table, the audit, the sessions.

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::snapshot::{ServerView, Snapshot};

use super::{Cluster, SOON};
use crate::director::Record;
use crate::session::Session;
use crate::wait::try_wait_until;

/// Of a cluster whose service is called `smtp`.
impl Cluster {
    /// What the kernel holds of each server at this moment.
    ///
    /// # Errors
    /// The controller does not answer.
    pub fn records(&self) -> Result<Vec<Record>> {
        self.lab
            .servers()
            .iter()
            .map(|server| self.director.record(&format!("smtp/{}", server.name())))
            .collect()
    }

    /// Active flows of each server, in the kernel, at this moment.
    ///
    /// # Errors
    /// The controller does not answer.
    pub fn all_active(&self) -> Result<Vec<i64>> {
        Ok(self.records()?.iter().map(|record| record.active).collect())
    }

    /// Waits until the kernel counts exactly so many active flows of each server.
    ///
    /// # Errors
    /// It does not come to that in time.
    pub fn wait_active(&self, expected: &[i64]) -> Result<()> {
        try_wait_until(&format!("active {expected:?}"), SOON, || {
            let active = self.all_active()?;
            ensure!(active == expected, "{active:?}");
            Ok(())
        })
    }

    /// Waits until counts, flow table and audit agree that each server has so many flows, with no drift ever
    /// found. While flows come and go they cannot be compared, as they are not read at the same moment.
    ///
    /// # Errors
    /// They do not agree in time, or there was drift.
    pub fn wait_agree(&self, expected: &[i64]) -> Result<()> {
        self.wait_active(expected)?;
        try_wait_until(&format!("all to agree on {expected:?}"), SOON, || {
            let flows = self.flows()?;
            let status = self.director.status()?;
            for (server, &expected) in servers(&status)?.iter().zip(expected) {
                let name = format!("smtp/{}", server.name);
                let listed = flows.values().filter(|&server| *server == name).count();
                ensure!(
                    (server.active, server.audited, listed)
                        == (
                            expected,
                            u64::try_from(expected)?,
                            usize::try_from(expected)?
                        ),
                    "{} has {} active, {} audited, {listed} in the table",
                    server.name,
                    server.active,
                    server.audited
                );
            }
            Ok(())
        })?;
        self.expect_no_drift()
    }

    /// Waits until there is no flow at all, counted or not.
    ///
    /// # Errors
    /// As [`Cluster::wait_agree`].
    pub fn wait_empty(&self) -> Result<()> {
        self.wait_agree(&[0, 0, 0])?;
        try_wait_until("an empty flow table", SOON, || {
            let (listed, counted) = (
                self.director.flows()?.len(),
                self.director.status()?.dataplane.flows,
            );
            ensure!((listed, counted) == (0, 0), "{listed} listed, {counted}");
            Ok(())
        })
    }

    /// # Errors
    /// An audit of this controller has found a count that was wrong.
    pub fn expect_no_drift(&self) -> Result<()> {
        for server in servers(&self.director.status()?)? {
            ensure!(server.drift == 0, "{}: drift {}", server.name, server.drift);
        }
        let events = self.director.expect(&["events", "-n", "1000"])?;
        ensure!(!events.contains("was put right"), "{events}");
        Ok(())
    }

    /// Packets so far with this reason.
    ///
    /// # Errors
    /// The controller does not answer, or knows no such reason.
    pub fn packets(&self, reason: &str) -> Result<u64> {
        let status = self.director.status()?;
        let count = status
            .dataplane
            .reasons
            .iter()
            .find(|count| count.name == reason);
        Ok(count
            .with_context(|| format!("there is no reason {reason}"))?
            .packets)
    }

    /// Servers of the service `smtp` as `status` has them.
    ///
    /// # Errors
    /// The controller does not answer.
    pub fn servers(&self) -> Result<Vec<ServerView>> {
        servers(&self.director.status()?)
    }
}

/// Position of the server that a session is with: `mb1` is 0.
///
/// # Errors
/// Its greeting names no server.
pub fn place(session: &Session) -> Result<usize> {
    let number = session.server().strip_prefix("mb");
    let number: usize = number
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("{session} is with none of the servers"))?;
    Ok(number - 1)
}

/// Sessions of each server.
///
/// # Errors
/// As [`place`].
pub fn places<'a>(sessions: impl IntoIterator<Item = &'a Session>) -> Result<[i64; 3]> {
    let mut counts = [0; 3];
    for session in sessions {
        counts[place(session)?] += 1;
    }
    Ok(counts)
}

fn servers(status: &Snapshot) -> Result<Vec<ServerView>> {
    let service = status
        .services
        .iter()
        .find(|service| service.name == "smtp");
    Ok(service
        .context("status has no service smtp")?
        .servers
        .clone())
}
