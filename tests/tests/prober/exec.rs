//! Programs: HAProxy's `external-check` and ours call the same script alike.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::haproxy::Haproxy;
use super::*;

/// A script that writes down how it is called, into a file beside it, all at once.
fn script(directory: &Path) -> PathBuf {
    let path = directory.join("check");
    let text = "#!/bin/sh\n\
                { echo \"$# $*\"; env | grep -E '^(HAPROXY_(PROXY|SERVER)_(NAME|ADDR|PORT)|PATH)=' | sort; } > \"$0.$$\"\n\
                mv \"$0.$$\" \"$0.told\"\necho fine\n";
    let mut writer = Command::new("sh")
        .args(["-c", "cat > \"$0\""])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    // Another process writes it: one that is forked here meanwhile would hold it open, and it could not be run.
    writer
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    assert!(writer.wait().unwrap().success());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn told(path: &Path) -> String {
    let file = path.with_extension("told");
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(text) = std::fs::read_to_string(&file) {
            std::fs::remove_file(&file).unwrap();
            return text;
        }
        assert!(
            Instant::now() < deadline,
            "nobody has called {}",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn a_script_is_called_as_haproxy_calls_it() {
    const SEARCHED: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let directory = tempfile::tempdir().unwrap();
    let path = script(directory.path());
    let (vip, server) = (fresh_address(), fresh_address());
    let section = format!(
        "listen smtp\n    bind {vip}:{PORT}\n    option external-check\n    external-check path \"{SEARCHED}\"\n    \
         external-check command {}\n    server mb1 {server}:{PORT} check inter 100\n",
        path.display()
    );
    let haproxy = Haproxy::start("    external-check\n", &section);
    let theirs = told(&path);
    assert!(
        theirs.starts_with(&format!("4 {vip} {PORT} {server} {PORT}\n")),
        "{theirs}"
    );
    assert_eq!(theirs.lines().count(), 8, "{theirs}");
    drop(haproxy);

    let kind = CheckKind::Exec {
        command: vec![path.display().to_string()],
    };
    // One that was on its way when HAProxy ended may have written again: it is as they wrote it, too.
    let mut asked = task(server.into(), kind, PATIENCE);
    asked.vip = Some((vip, PORT).into());
    let second = tempfile::tempdir().unwrap();
    let own = script(second.path());
    let CheckKind::Exec { command } = &mut asked.check.kind else {
        unreachable!("it is one")
    };
    command[0] = own.display().to_string();
    let result = Checking::start(asked).next().await;
    assert_eq!(
        (result.outcome, result.code, result.detail.as_str()),
        (OK, "PROCOK", "fine")
    );
    assert_eq!(told(&own), theirs);
}
