//! Check `exec`: a program of the operator's, called as HAProxy's `external-check` calls it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::process::Command;

use super::Finding;
use super::finding::quote;
use crate::config::CheckKind;
use crate::engine::CheckTask;
use crate::script::{self, Ended, Keep};

/// Scripts rarely name programs by their paths. The controller's own environment has nothing for them, and what
/// systemd tells it is nobody else's business.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What HAProxy says in place of an address that there is not.
const NOT_USED: &str = "NOT_USED";

/// What is called, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// The program and its arguments, those that are added among them.
    words: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

impl Program {
    /// `None` where the check is of another type.
    pub(super) fn of(task: &CheckTask) -> Option<Self> {
        let CheckKind::Exec { command } = &task.check.kind else {
            return None;
        };
        let (vip, vip_port) = task.vip.map_or_else(
            || (NOT_USED.to_owned(), NOT_USED.to_owned()),
            |vip: SocketAddr| (vip.ip().to_string(), vip.port().to_string()),
        );
        let address = task.address.ip().to_string();
        let port = task.address.port().to_string();
        let mut environment = vec![("PATH", PATH.to_owned())];
        for (ours, haproxys, value) in [
            ("MB_LB_SERVICE", "HAPROXY_PROXY_NAME", &task.server.service),
            ("MB_LB_SERVER", "HAPROXY_SERVER_NAME", &task.server.server),
            ("MB_LB_VIP", "HAPROXY_PROXY_ADDR", &vip),
            ("MB_LB_VIP_PORT", "HAPROXY_PROXY_PORT", &vip_port),
            ("MB_LB_ADDRESS", "HAPROXY_SERVER_ADDR", &address),
            ("MB_LB_PORT", "HAPROXY_SERVER_PORT", &port),
        ] {
            environment.push((ours, value.clone()));
            environment.push((haproxys, value.clone()));
        }
        let mut words = command.clone();
        words.extend([vip, vip_port, address, port]);
        Some(Self { words, environment })
    }

    pub(super) async fn check(&self, timeout: Duration) -> Finding {
        let Some((program, arguments)) = self.words.split_first() else {
            return Finding::inconclusive("SOCKERR", "there is no program to run");
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/");
        match script::run(command, Keep::All, timeout).await {
            Ok(ended) => judge(&ended, timeout),
            // A file that is missing here says nothing about servers, and would take all of them out.
            Err(error) => {
                let program = quote(program.as_bytes());
                let detail = format!("the director cannot run {program}: {error}");
                Finding::inconclusive("SOCKERR", detail)
            }
        }
    }
}

fn judge(ended: &Ended, timeout: Duration) -> Finding {
    let said = quote(ended.first_line());
    let with = |how: String| match said.as_str() {
        "" => how,
        said => format!("{how}: {said}"),
    };
    if ended.status.is_none() {
        return Finding::failure("PROCTOUT", with(format!("no end within {timeout:?}")));
    }
    match ended.failure() {
        Some(how) => Finding::failure("PROCERR", with(how)),
        None if said.is_empty() => Finding::success("PROCOK", "exit code 0"),
        None => Finding::success("PROCOK", said),
    }
}
