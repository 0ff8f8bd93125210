//! The command lines. Everything is passed as arguments; what ends up before a shell (the configuration lets only plain
//! texts through to there) is quoted once more.

use std::path::Path;

use super::Run;
use super::output::OUT_FORMAT;
use crate::config::{ConfigSync, SyncMethod, SyncTarget};

/// A program of this director, with what is different in its environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Invocation {
    pub program: &'static str,
    pub arguments: Vec<String>,
    pub environment: Vec<(&'static str, String)>,
}

/// Where a push puts the commits: no branch, so nothing that is checked out there changes by it.
pub(super) const INCOMING: &str = "refs/mb-lb/incoming";

/// Brings the branch that is checked out in `$1` forward to `$3`, or, where that is empty, to that of its own `origin`.
/// `$2`: the branch that has to be checked out, or nothing. Says `mb-lb OLD NEW COMMITS` and the files where something
/// has changed. A failure is explained on standard error.
const PULL: &str = r#"
cd -- "$1" || exit 1
LC_ALL=C GIT_TERMINAL_PROMPT=0
export LC_ALL GIT_TERMINAL_PROMPT
git rev-parse --git-dir >/dev/null || exit 1
here=$(git symbolic-ref --quiet --short HEAD) || { echo "mb-lb: no branch is checked out in $1" >&2; exit 1; }
if [ -n "$2" ] && [ "$2" != "$here" ]; then
  echo "mb-lb: branch $here is checked out in $1, not $2" >&2
  exit 1
fi
if [ -n "$3" ]; then
  new=$(git rev-parse --verify --quiet "$3^{commit}")
else
  GIT_SSH_COMMAND="ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=10" \
    git fetch --quiet origin "$here" || exit 1
  new=$(git rev-parse --verify --quiet "FETCH_HEAD^{commit}")
fi
[ -n "$new" ] || { echo "mb-lb: nothing was fetched" >&2; exit 1; }
old=$(git rev-parse --verify --quiet HEAD)
[ "$old" != "$new" ] || exit 0
if [ -n "$old" ] && ! git merge-base --is-ancestor "$old" "$new"; then
  own=$(git rev-list --count "$new..$old")
  theirs=$(git rev-list --count "$old..$new")
  echo "mb-lb: diverged: commits that only the target has: $own, that it lacks: $theirs" >&2
  exit 1
fi
git merge --ff-only --quiet "$new" >&2 || exit 1
if [ -n "$old" ]; then count=$(git rev-list --count "$old..$new"); else
  count=$(git rev-list --count "$new")
  old=$(git hash-object -t tree /dev/null)
fi
echo "mb-lb $old $new $count"
git diff --name-status --no-renames "$old" "$new"
"#;

/// One word of a POSIX shell that stands for `text`, whatever is in it.
pub(super) fn shell_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// One word of rsync's `--rsh`, which knows quotes but no backslash, and a doubled quote for one.
fn rsync_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// What ssh is told. Nobody is there to answer questions, and a host key that is not known is a refusal.
fn ssh_options(sync: &ConfigSync, target: &SyncTarget) -> Vec<String> {
    let mut options = vec!["-T".to_owned(), "-x".to_owned(), "-a".to_owned()];
    let mut set = |option: String| options.extend(["-o".to_owned(), option]);
    for option in [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
        "VerifyHostKeyDNS=no",
        "PermitLocalCommand=no",
        "ClearAllForwardings=yes",
        "ControlMaster=no",
        "ControlPath=none",
        // A connection that another ssh holds open would outlive ours.
        "ControlPersist=no",
        "ConnectTimeout=10",
        "ServerAliveInterval=5",
        "ServerAliveCountMax=3",
        "LogLevel=ERROR",
    ] {
        set(option.to_owned());
    }
    if let Some(path) = &sync.known_hosts {
        set(format!("UserKnownHostsFile={}", path.display()));
        set("GlobalKnownHostsFile=/dev/null".to_owned());
    }
    if let Some(path) = &sync.identity_file {
        set(format!("IdentityFile={}", path.display()));
        set("IdentitiesOnly=yes".to_owned());
    }
    options.extend(["-p".to_owned(), target.port.to_string()]);
    options.extend(["-l".to_owned(), target.user.clone()]);
    options
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn environment() -> Vec<(&'static str, String)> {
    // What is read out of their messages is English.
    vec![
        ("LC_ALL", "C".to_owned()),
        ("GIT_TERMINAL_PROMPT", "0".to_owned()),
    ]
}

/// Brackets tell an IPv6 address from `host:path`.
fn bracketed(host: &str) -> String {
    match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}

/// rsync(1) from the source to the target.
pub(super) fn rsync(run: &Run, source: &Path, exclude: &[String], delete: bool) -> Invocation {
    let shell: Vec<String> = std::iter::once("ssh".to_owned())
        .chain(ssh_options(&run.sync, &run.target))
        .map(|word| rsync_word(&word))
        .collect();
    let mut arguments = words(&[
        "--archive",
        // A directory whose time differs is no difference that anybody reloads for.
        "--omit-dir-times",
        "--itemize-changes",
        // Each file is put in place whole, and all of them at the end.
        "--delay-updates",
        // Errors of the other side come in order. By ssh's own way they are lost when rsync ends ssh before it has
        // handed them on.
        "--stderr=client",
    ]);
    arguments.push(format!("--out-format={OUT_FORMAT}"));
    arguments.push(format!("--rsh={}", shell.join(" ")));
    if delete {
        arguments.push("--delete-delay".to_owned());
    }
    arguments.extend(exclude.iter().map(|pattern| format!("--exclude={pattern}")));
    arguments.push("--".to_owned());
    // With a slash at the end: what is in it, and not the directory itself.
    arguments.push(format!("{}/", source.display()));
    arguments.push(format!(
        "{}:{}/",
        bracketed(&run.target.host),
        run.target.path
    ));
    Invocation {
        program: "rsync",
        arguments,
        environment: environment(),
    }
}

/// git-push(1) of the source's branch to [`INCOMING`] of the target.
pub(super) fn push(run: &Run, source: &Path, branch: Option<&str>) -> Invocation {
    let SyncTarget {
        host,
        port,
        user,
        path,
    } = &run.target;
    let shell: Vec<String> = std::iter::once("ssh".to_owned())
        .chain(ssh_options(&run.sync, &run.target))
        .map(|word| shell_word(&word))
        .collect();
    let from = branch.map_or_else(
        || "HEAD".to_owned(),
        |branch| format!("refs/heads/{branch}"),
    );
    let mut arguments = vec!["-C".to_owned(), source.display().to_string()];
    arguments.extend(words(&["push", "--quiet", "--no-verify", "--force", "--"]));
    arguments.push(format!("ssh://{user}@{}:{port}{path}", bracketed(host)));
    arguments.push(format!("{from}:{INCOMING}"));
    let mut environment = environment();
    environment.push(("GIT_SSH_COMMAND", shell.join(" ")));
    environment.push(("GIT_SSH_VARIANT", "ssh".to_owned()));
    Invocation {
        program: "git",
        arguments,
        environment,
    }
}

/// Brings the work tree of the target forward, by [`PULL`].
pub(super) fn pull(run: &Run) -> Invocation {
    let (branch, incoming) = match &run.sync.method {
        SyncMethod::Git { source, branch } => (
            branch.as_deref().unwrap_or_default(),
            source.as_ref().map_or("", |_| INCOMING),
        ),
        SyncMethod::Rsync { .. } => ("", ""),
    };
    let arguments: Vec<String> = [PULL, "mb-lb", &run.target.path, branch, incoming]
        .into_iter()
        .map(shell_word)
        .collect();
    ssh(run, &format!("exec sh -c {}", arguments.join(" ")))
}

/// A command for the target's shell.
pub(super) fn ssh(run: &Run, command: &str) -> Invocation {
    let mut arguments = ssh_options(&run.sync, &run.target);
    arguments.extend(["--".to_owned(), run.target.host.clone(), command.to_owned()]);
    Invocation {
        program: "ssh",
        arguments,
        environment: environment(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(sync: &str) -> Run {
        let text = format!(
            "[service.smtp]\nlisten = \"192.0.2.100:25\"\nservers = {{ a = \"192.0.2.1\", b = \"192.0.2.2\" }}\n[config_sync.x]\n{sync}"
        );
        let config = crate::config::parse(&text, "lb1").config.expect("valid");
        let sync = config.config_syncs.into_iter().next().expect("one");
        Run {
            id: 1,
            target: sync.targets[0].clone(),
            sync,
            reload_owed: false,
        }
    }

    fn shown(invocation: &Invocation) -> String {
        let mut lines = vec![invocation.program.to_owned()];
        lines.extend(invocation.arguments.iter().map(|a| format!("  {a:?}")));
        lines.extend(
            invocation
                .environment
                .iter()
                .map(|(k, v)| format!("  {k}={v:?}")),
        );
        lines.join("\n")
    }

    #[test]
    fn command_lines() {
        let by_rsync = run(
            "source = \"/etc/mail border\"\ntargets = [{ host = \"fd77::2\", port = 2222, user = \"sync\", path = \"/srv/x\" }]\n\
             exclude = [\"*.bak\", \"it's\"]\ndelete = true\nidentity_file = \"/etc/mb-lb/id\"\nknown_hosts = \"/etc/mb-lb/known\"\n\
             reload = \"systemctl reload 'x'\"\n",
        );
        let SyncMethod::Rsync {
            source,
            exclude,
            delete,
        } = &by_rsync.sync.method
        else {
            panic!("another method");
        };
        let by_git =
            run("method = \"git\"\nsource = \"/etc/x\"\nbranch = \"main\"\ntargets = \"mb2\"\n");
        let mut text = shown(&rsync(&by_rsync, source, exclude, *delete));
        text.push('\n');
        text += &shown(&ssh(
            &by_rsync,
            by_rsync.sync.reload.as_deref().expect("given"),
        ));
        text.push('\n');
        text += &shown(&push(&by_git, Path::new("/etc/x"), Some("main")));
        insta::assert_snapshot!(text);
    }

    #[test]
    fn the_script_reads_its_arguments_and_nothing_else() {
        let invocation = pull(&run("method = \"git\"\ntargets = \"mb2:/etc/x\"\n"));
        let command = invocation.arguments.last().expect("a command");
        assert!(
            command.starts_with("exec sh -c '\ncd -- \"$1\""),
            "{command}"
        );
        assert!(command.ends_with("\n' 'mb-lb' '/etc/x' '' ''"), "{command}");
    }

    #[test]
    fn quotes_hold() {
        for text in ["", "a b", "it's", "$(reboot) `x` \"y\" \\ *"] {
            let output = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", shell_word(text))])
                .output()
                .expect("a shell");
            assert_eq!(String::from_utf8_lossy(&output.stdout), text);
        }
    }
}
