//! Checks of type `exec` with real programs.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(700);

struct Scripts(tempfile::TempDir);

impl Scripts {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        self.put(name, format!("#!/bin/sh\n{text}\n").as_bytes())
    }

    /// Written by another process: one that is forked here meanwhile would hold the file open, and it could not be run.
    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        let mut writer = std::process::Command::new("sh")
            .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
            .arg(&path)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("sh is there");
        let mut stdin = writer.stdin.take().expect("it is piped");
        stdin.write_all(bytes).expect("it reads");
        drop(stdin);
        assert!(writer.wait().expect("it is ours").success());
        path
    }
}

fn exec(command: &[&str], timeout: Duration) -> CheckTask {
    let mut task = task("mb1", 10025, HOUR);
    task.vip = Some(([192, 0, 2, 100], 25).into());
    task.check.kind = CheckKind::Exec {
        command: command.iter().map(|word| (*word).to_owned()).collect(),
    };
    task.check.timeout = timeout;
    task
}

async fn once(path: &Path, arguments: &[&str], timeout: Duration) -> CheckResult {
    let words: Vec<_> = [path.to_str().expect("text")]
        .into_iter()
        .chain(arguments.iter().copied())
        .collect();
    let (result, line) = Probe::new(&exec(&words, timeout)).run().await;
    assert!(line.is_none());
    result
}

#[tokio::test]
async fn each_end_has_its_code_and_its_words() {
    let scripts = Scripts::new();
    for (text, outcome, code, detail) in [
        ("exit 0", Outcome::Success, "PROCOK", "exit code 0"),
        (
            "echo 'queue: 17 mails'; echo more",
            Outcome::Success,
            "PROCOK",
            "queue: 17 mails",
        ),
        ("exit 3", Outcome::Failure, "PROCERR", "exit code 3"),
        (
            "printf 'no \\033[31mdisk' >&2; exit 255",
            Outcome::Failure,
            "PROCERR",
            "exit code 255: no ?[31mdisk",
        ),
        (
            "kill -SEGV $$",
            Outcome::Failure,
            "PROCERR",
            "killed by SIGSEGV",
        ),
        (
            "head -c 3000000 /dev/zero | tr '\\0' y; exit 4",
            Outcome::Failure,
            "PROCERR",
            "exit code 4: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
        ),
        (
            // Who reads nothing is not asked anything either.
            "read line && exit 1; echo done",
            Outcome::Success,
            "PROCOK",
            "done",
        ),
        (
            // A child that holds the pipe is none of the check.
            "sleep 30 & echo left; exit 0",
            Outcome::Success,
            "PROCOK",
            "left",
        ),
    ] {
        let path = scripts.write("check", text);
        let result = once(&path, &[], PATIENCE).await;
        assert_eq!(
            (result.outcome, result.code, result.detail.as_str()),
            (outcome, code, detail),
            "{text}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_run_says_nothing_about_the_server() {
    let scripts = Scripts::new();
    let plain = scripts.write("plain", "exit 1");
    std::fs::set_permissions(&plain, std::fs::Permissions::from_mode(0o644)).expect("set");
    let odd = scripts.put("odd", b"#!/nowhere/sh\n");
    let bytes = scripts.put("bytes", &[0x7f, 0, 1]);
    for (path, why) in [
        (
            scripts.path("gone"),
            "No such file or directory (os error 2)",
        ),
        (plain, "Permission denied (os error 13)"),
        (odd, "No such file or directory (os error 2)"),
        (bytes, "Exec format error (os error 8)"),
    ] {
        let result = once(&path, &[], PATIENCE).await;
        let shown = path.display().to_string();
        let shown: String = shown.chars().take(120).collect();
        assert_eq!(
            (result.outcome, result.code, result.detail),
            (
                Outcome::Inconclusive,
                "SOCKERR",
                format!("the director cannot run {shown}: {why}")
            )
        );
    }
}

#[tokio::test]
async fn it_is_told_what_haproxy_tells() {
    let scripts = Scripts::new();
    let told = scripts.path("told");
    let text = format!(
        "{{ printf '%s|' \"$@\"; echo; env | sort; pwd; }} > {}",
        told.display()
    );
    let path = scripts.write("check", &text);
    let result = once(&path, &["-v", "a b", "$HOME"], PATIENCE).await;
    assert_eq!(result.code, "PROCOK", "{}", result.detail);
    let told = std::fs::read_to_string(&told).expect("it was written");
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines[0], "-v|a b|$HOME|192.0.2.100|25|127.0.0.1|10025|");
    let known: Vec<_> = lines[1..]
        .iter()
        // A shell adds some of its own.
        .filter(|line| {
            !["PWD=", "_=", "OLDPWD=", "SHLVL="]
                .iter()
                .any(|own| line.starts_with(own))
        })
        .copied()
        .collect();
    assert_eq!(
        known,
        [
            "HAPROXY_PROXY_ADDR=192.0.2.100",
            "HAPROXY_PROXY_NAME=smtp",
            "HAPROXY_PROXY_PORT=25",
            "HAPROXY_SERVER_ADDR=127.0.0.1",
            "HAPROXY_SERVER_NAME=mb1",
            "HAPROXY_SERVER_PORT=10025",
            "MB_LB_ADDRESS=127.0.0.1",
            "MB_LB_PORT=10025",
            "MB_LB_SERVER=mb1",
            "MB_LB_SERVICE=smtp",
            "MB_LB_VIP=192.0.2.100",
            "MB_LB_VIP_PORT=25",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "/",
        ]
    );
    let mut nowhere = exec(&[path.to_str().expect("text")], PATIENCE);
    nowhere.vip = None;
    let (result, _) = Probe::new(&nowhere).run().await;
    assert_eq!(result.code, "PROCOK");
    let told = std::fs::read_to_string(scripts.path("told")).expect("it was written");
    assert!(
        told.starts_with("NOT_USED|NOT_USED|127.0.0.1|10025|\n"),
        "{told}"
    );
}

/// The process whose number is in the file, as soon as it is written.
async fn pid(path: &Path) -> nix::unistd::Pid {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if let (true, Ok(pid)) = (text.ends_with('\n'), text.trim().parse()) {
            return nix::unistd::Pid::from_raw(pid);
        }
        assert!(Instant::now() < deadline, "nothing in {}", path.display());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn gone(pid: nix::unistd::Pid) {
    let deadline = Instant::now() + PATIENCE;
    let stat = format!("/proc/{pid}/stat");
    // A zombie that nobody has waited for yet runs no more.
    let runs = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
    while runs() {
        assert!(Instant::now() < deadline, "{pid} still runs");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn who_hangs_is_killed_with_all_that_it_started() {
    let scripts = Scripts::new();
    let child = scripts.path("child");
    let hanging = format!(
        "echo 'asking mb1'; sh -c 'sleep 1000 & echo $! > {}; wait' & wait",
        child.display()
    );
    let path = scripts.write("check", &hanging);
    let result = once(&path, &[], SHORT).await;
    assert_eq!(
        (result.outcome, result.code, result.detail.as_str()),
        (
            Outcome::Failure,
            "PROCTOUT",
            "no end within 700ms: asking mb1"
        )
    );
    gone(pid(&child).await).await;

    // So is one whose check is taken away.
    std::fs::remove_file(&child).expect("it was there");
    let (sender, _events) = mpsc::channel(1);
    let mut prober = Prober::new(sender);
    prober.set(vec![exec(&[path.to_str().expect("text")], PATIENCE)]);
    let grandchild = pid(&child).await;
    prober.set(Vec::new());
    gone(grandchild).await;
}

#[tokio::test]
async fn a_flood_is_read_until_time_is_up() {
    let scripts = Scripts::new();
    let path = scripts.write("check", "exec yes flood");
    let result = once(&path, &[], SHORT).await;
    assert_eq!(
        (result.code, result.detail.as_str()),
        ("PROCTOUT", "no end within 700ms: flood")
    );
}

#[tokio::test]
async fn no_more_than_so_many_run_at_a_time() {
    let scripts = Scripts::new();
    let text = format!(
        "touch {0}/run.$$; ls {0} | grep -c '^run'; sleep 0.05; rm {0}/run.$$",
        scripts.0.path().display()
    );
    let path = scripts.write("check", &text);
    let (sender, mut events) = mpsc::channel(8);
    let mut prober = Prober::new(sender);
    let total = PROGRAMS * 3;
    let tasks = (0..total).map(|n| {
        let mut task = exec(&[path.to_str().expect("text")], PATIENCE);
        task.server.server = format!("mb{n}");
        task
    });
    prober.set(tasks.collect());
    let mut most = 0;
    for _ in 0..total {
        let (name, result) = next(&mut events).await;
        assert_eq!(result.code, "PROCOK", "{name}: {}", result.detail);
        most = most.max(result.detail.parse().expect("a number"));
    }
    assert!((1..=PROGRAMS).contains(&most), "{most} at a time");
}
