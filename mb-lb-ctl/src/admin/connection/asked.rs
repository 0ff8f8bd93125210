//! Answers of HAProxy's dialect that are not in the snapshot: flows, certificates, counters, variables.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{Connection, unix_millis};
use crate::admin::certificates::Outcome;
use crate::admin::{AdminHandle, Request};
use crate::command::sessions::{self, Sessions, client};
use crate::command::ssl::Ssl;
use crate::proxy::{Info, is_session};
use crate::snapshot::Snapshot;

/// Bytes of a long list that are sent at once.
const CHUNK: usize = 64 * 1024;
/// A certificate that was written is in force after two looks at its file; a disk may be slow.
const IN_FORCE: Duration = Duration::from_secs(10);

impl Connection {
    /// `show sess`: one text for the whole list would be large, so it goes out as it is made.
    pub(super) async fn sessions(&mut self, id: Option<u64>) -> io::Result<String> {
        let Sessions {
            flows,
            more,
            clients,
            timeouts,
        } = match self.flows(id).await {
            Ok(sessions) => sessions,
            Err(text) => return Ok(format!("{text}\n")),
        };
        if id.is_some() {
            let snapshot = self.snapshot();
            return Ok(match (flows.first(), clients.first()) {
                (Some(flow), _) => sessions::describe(flow, &timeouts, &snapshot, unix_millis()),
                (None, Some(client)) => client::describe(client, &snapshot, unix_millis()),
                (None, None) => "Session not found.\n".to_owned(),
            });
        }
        let mut text = String::new();
        let lines = flows.iter().map(|flow| sessions::line(flow, &timeouts));
        for line in lines.chain(clients.iter().map(client::line)) {
            text += &line;
            if text.len() >= CHUNK {
                self.send(&text).await?;
                text.clear();
            }
        }
        if more {
            text += &format!(
                "# The first {} flows. There are more: 'mb-lb flows SERVICE limit N' lists those of one service.\n",
                flows.len()
            );
        }
        Ok(text)
    }

    /// `shutdown session`.
    pub(super) async fn cut_session(&self, id: u64) -> String {
        if is_session(id) {
            let by = self.peer().await;
            let request = |reply| Request::CutSession { id, by, reply };
            return match self.ask(request).await {
                Ok(true) => String::new(),
                Ok(false) => "No such session (use 'show sess').\n".to_owned(),
                Err(text) => format!("{text}\n"),
            };
        }
        match self.flows(Some(id)).await {
            Ok(found) if found.flows.is_empty() => {
                "No such session (use 'show sess').\n".to_owned()
            }
            Ok(_) => "Not done: a single flow of the kernel cannot be ended; 'shutdown sessions server' ends those of a server.\n"
                .to_owned(),
            Err(text) => format!("{text}\n"),
        }
    }

    async fn flows(&self, id: Option<u64>) -> Result<Sessions, String> {
        self.ask(|reply| Request::Sessions { id, reply }).await?
    }

    pub(super) async fn ssl(&self, command: Ssl) -> String {
        let paths = match self.ask(|reply| Request::CertificatePaths { reply }).await {
            Ok(paths) => paths,
            Err(text) => return format!("{text}\n"),
        };
        let snapshot = self.shared.handle.snapshot.borrow().clone();
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || {
            shared.certificates.run(command, &snapshot, &paths)
        });
        match done.await {
            Ok(Outcome::Said(text)) => text,
            Ok(Outcome::Written { info, said }) => match self.in_force(&info).await {
                true => said,
                false => format!(
                    "{} is written, and not in force after {} seconds: 'mb-lb-ctl status' says why.\n",
                    info.file.display(),
                    IN_FORCE.as_secs()
                ),
            },
            Err(error) => format!("Not done: {error}.\n"),
        }
    }

    /// Waits until a proxy serves the certificate. Scripts that pipe into `socat` wait for half a second, so that the next
    /// look at files would come too late.
    async fn in_force(&self, info: &Info) -> bool {
        let asked = self
            .shared
            .handle
            .requests
            .send(Request::LookAtCertificates);
        if asked.await.is_err() {
            return false;
        }
        let AdminHandle { snapshot, .. } = &self.shared.handle;
        let mut snapshot = snapshot.clone();
        let file = info.file.display().to_string();
        let is_served = |snapshot: &Arc<Snapshot>| {
            let services = snapshot.services.iter();
            let mut served = services.flat_map(|service| &service.certificates);
            served.any(|known| known.file == file && known.fingerprint == info.fingerprint)
        };
        let waited = tokio::time::timeout(IN_FORCE, snapshot.wait_for(is_served));
        matches!(waited.await, Ok(Ok(_)))
    }

    /// `show env`.
    pub(super) fn environment(name: Option<&str>) -> String {
        let all = std::env::vars_os().map(|(name, value)| {
            let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
            (name.into_owned(), value.into_owned())
        });
        let wanted = all.filter(|(known, _)| name.is_none_or(|name| name == known));
        let text: String = wanted
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect();
        match text.is_empty() && name.is_some() {
            true => "Variable not found\n".to_owned(),
            false => text,
        }
    }
}
