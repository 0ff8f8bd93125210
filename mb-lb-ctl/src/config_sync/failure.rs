//! Why a run failed, in words that say where to look; and what to do about it.

use crate::config::{ConfigSync, SyncTarget};

use super::output::clean;

/// Why a target is not in step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: Kind,
    /// One line, e.g. `connection refused on port 22`.
    pub why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nobody answers.
    Unreachable,
    /// Its host key is not known here.
    UnknownHostKey,
    /// It shows another host key than is known here.
    ChangedHostKey,
    /// It does not let us in.
    LoginRefused,
    NoSpace,
    ReadOnly,
    /// A program is missing, here or there.
    NoProgram,
    /// The target has commits of its own.
    Diverged,
    /// Files at the target differ from its last commit.
    LocalChanges,
    /// What is to be sent is not there.
    Source,
    /// Not done in time.
    TimedOut,
    /// All has arrived, but the reload command failed.
    Reload,
    Other,
}

impl Kind {
    /// For scripts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::UnknownHostKey => "unknown_host_key",
            Self::ChangedHostKey => "changed_host_key",
            Self::LoginRefused => "login_refused",
            Self::NoSpace => "no_space",
            Self::ReadOnly => "read_only",
            Self::NoProgram => "no_program",
            Self::Diverged => "diverged",
            Self::LocalChanges => "local_changes",
            Self::Source => "source",
            Self::TimedOut => "timed_out",
            Self::Reload => "reload",
            Self::Other => "other",
        }
    }
}

impl Failure {
    pub(super) fn new(kind: Kind, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { kind, why }
    }

    /// From what a program wrote to standard error; `ended` says how it ended, for those that said nothing.
    pub(super) fn from_stderr(stderr: &str, ended: &str) -> Self {
        let found = SIGNS.iter().find_map(|(sign, kind, words)| {
            let line = stderr.lines().find(|line| line.contains(sign))?;
            let why = match words {
                Some(words) => (*words).to_owned(),
                None => tidy(line),
            };
            Some(Self::new(*kind, why))
        });
        found.unwrap_or_else(|| {
            let said = stderr.lines().map(str::trim).find(|line| !is_noise(line));
            Self::new(Kind::Other, said.map_or_else(|| ended.to_owned(), tidy))
        })
    }

    /// The next step.
    pub fn next(&self, sync: &ConfigSync, target: &SyncTarget) -> String {
        let SyncTarget {
            host,
            port,
            user,
            path,
        } = target;
        let known = sync.known_hosts.as_ref().map_or_else(
            || "/root/.ssh/known_hosts".to_owned(),
            |path| path.display().to_string(),
        );
        let number = match port {
            22 => String::new(),
            port => format!(" -p {port}"),
        };
        let again = format!("then mb-lb-ctl sync {}", sync.name);
        match self.kind {
            Kind::Unreachable => format!("is {host} on, and does sshd run there? It is tried again by itself"),
            Kind::TimedOut => format!("look at {host}: something hangs there, or `timeout` is too short"),
            Kind::UnknownHostKey => format!(
                "ssh-keyscan{number} {host} >> {known}, after comparing it with ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub on {host}; {again}"
            ),
            Kind::ChangedHostKey => format!(
                "if {host} was installed anew: ssh-keygen -f {known} -R {host}, and take the new key; if not, somebody is in between"
            ),
            Kind::LoginRefused => {
                let key = sync.identity_file.as_ref().map_or_else(
                    || "the public key of root".to_owned(),
                    |path| format!("{}.pub", path.display()),
                );
                format!("add {key} to the authorized_keys of {user} on {host}; {again}")
            }
            Kind::NoSpace => format!("df {path} on {host}"),
            Kind::ReadOnly => format!("on {host}: findmnt -T {path}"),
            Kind::NoProgram => format!("install {} (and openssh-client) here and on {host}", sync.method.name()),
            Kind::Diverged => format!(
                "on {host}: git -C {path} log; bring its commits to the source, or git -C {path} reset --hard refs/mb-lb/incoming"
            ),
            Kind::LocalChanges => format!("on {host}: git -C {path} status; commit it at the source, or git -C {path} stash"),
            Kind::Source => match sync.source() {
                Some(source) => format!("ls -la {}", source.display()),
                None => "look at `source`".to_owned(),
            },
            Kind::Reload => format!("run it by hand on {host}: {}; {again}", sync.reload.as_deref().unwrap_or_default()),
            Kind::Other if self.why.contains("dubious ownership") => {
                "git config --system --add safe.directory with the path that is named, where it was said".to_owned()
            }
            Kind::Other => format!("mb-lb-ctl list syncs; {again}"),
        }
    }
}

/// What is looked for in standard error, in this order; the words to say instead, where its own are worse.
const SIGNS: &[(&str, Kind, Option<&str>)] = &[
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        Kind::ChangedHostKey,
        Some("it shows another host key than the one that is known"),
    ),
    (
        "host key is known for",
        Kind::UnknownHostKey,
        Some("its host key is not known here"),
    ),
    (
        "Host key verification failed",
        Kind::UnknownHostKey,
        Some("its host key could not be verified"),
    ),
    ("Permission denied (13)", Kind::Other, None),
    ("Permission denied (", Kind::LoginRefused, None),
    ("Too many authentication failures", Kind::LoginRefused, None),
    ("Identity file", Kind::LoginRefused, None),
    ("No space left on device", Kind::NoSpace, None),
    ("Disk quota exceeded", Kind::NoSpace, None),
    ("Read-only file system", Kind::ReadOnly, None),
    ("mb-lb: diverged: ", Kind::Diverged, None),
    (
        "would be overwritten by merge",
        Kind::LocalChanges,
        Some("files there were changed by hand, and a commit would overwrite them"),
    ),
    (
        "Connection timed out during banner exchange",
        Kind::TimedOut,
        Some("sshd accepts the connection and says nothing"),
    ),
    ("not responding", Kind::TimedOut, None),
    ("Connection refused", Kind::Unreachable, None),
    ("Connection timed out", Kind::Unreachable, None),
    ("No route to host", Kind::Unreachable, None),
    ("Network is unreachable", Kind::Unreachable, None),
    ("Could not resolve hostname", Kind::Unreachable, None),
    ("Connection closed by", Kind::Unreachable, None),
    ("Connection reset by", Kind::Unreachable, None),
    ("command not found", Kind::NoProgram, None),
    ("rsync: not found", Kind::NoProgram, None),
    ("git: not found", Kind::NoProgram, None),
    ("git-receive-pack: not found", Kind::NoProgram, None),
];

/// Lines that only follow from another one.
fn is_noise(line: &str) -> bool {
    line.is_empty()
        || line.starts_with('@')
        || line.starts_with("rsync error:")
        || line.starts_with("Warning: Permanently added")
        || line.starts_with("hint:")
}

/// One line without the name of the program that said it, and without what cannot be shown.
fn tidy(line: &str) -> String {
    let line = line.trim();
    let names = [
        "mb-lb: ",
        "rsync: [receiver] ",
        "rsync: [sender] ",
        "rsync: [generator] ",
        "rsync: ",
        "ssh: ",
        "fatal: ",
        "error: ",
    ];
    let line = names
        .iter()
        .find_map(|name| line.strip_prefix(name))
        .unwrap_or(line);
    clean(line).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_rsync_and_git_say_is_understood() {
        for (stderr, kind, why) in [
            (
                "ssh: connect to host 10.77.0.102 port 22: Connection refused\r\nrsync: connection unexpectedly closed (0 bytes received so far) [sender]\nrsync error: unexplained error (code 255) at io.c(231) [sender=3.2.7]\n",
                Kind::Unreachable,
                "connect to host 10.77.0.102 port 22: Connection refused",
            ),
            (
                "@@@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@@@@\nHost key verification failed.\r\n",
                Kind::ChangedHostKey,
                "it shows another host key than the one that is known",
            ),
            (
                "No ED25519 host key is known for 10.77.0.102 and you have requested strict checking.\r\nHost key verification failed.\r\n",
                Kind::UnknownHostKey,
                "its host key is not known here",
            ),
            (
                "root@10.77.0.102: Permission denied (publickey).\r\n",
                Kind::LoginRefused,
                "root@10.77.0.102: Permission denied (publickey).",
            ),
            (
                "rsync: [receiver] write failed on \"/x/a\": No space left on device (28)\nrsync error: error in file IO (code 11)",
                Kind::NoSpace,
                "write failed on \"/x/a\": No space left on device (28)",
            ),
            (
                "mb-lb: diverged: it has 1 commit that the source lacks\n",
                Kind::Diverged,
                "diverged: it has 1 commit that the source lacks",
            ),
            (
                "rsync error: x\nrsync: [sender] something odd \u{1b}[1m\n",
                Kind::Other,
                "something odd ?[1m",
            ),
            ("\n", Kind::Other, "ended with 3"),
        ] {
            let failure = Failure::from_stderr(stderr, "ended with 3");
            assert_eq!((failure.kind, &*failure.why), (kind, why), "{stderr}");
        }
    }
}
