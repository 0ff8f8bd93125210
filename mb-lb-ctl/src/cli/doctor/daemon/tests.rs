use super::*;
use crate::cli::doctor::finding::Level;
use crate::cli::exit::Exit;
use crate::snapshot::{Alarm, ServerView, ServiceView};

#[test]
fn whether_it_answers() {
    assert_eq!(answers(&Ok(Snapshot::default())).level, Level::Ok);
    let failure = |text: &str| Err(Failure::new(Exit::Unreachable, text).next("start it"));
    let silent = answers(&failure(
        "the daemon does not answer at /x\nand nothing is balanced",
    ));
    assert_eq!(silent.level, Level::Problem);
    assert_eq!(silent.means, "and nothing is balanced");
    assert_eq!(
        answers(&failure("not allowed to connect")).level,
        Level::NotKnown
    );
}

#[test]
fn what_it_may_do() {
    let of = |capabilities: u64| {
        let found = capabilities_of(capabilities);
        found
            .into_iter()
            .map(|found| (found.level, found.text))
            .collect::<Vec<_>>()
    };
    assert_eq!(of(u64::MAX).len(), 1);
    assert_eq!(of(1 << 12 | 1 << 13 | 1 << 10 | 1 << 39)[0].0, Level::Ok);
    let without = of(1 << 12 | 1 << 10);
    assert_eq!(without.len(), 2, "{without:?}");
    assert!(without[0].1.ends_with("CAP_NET_RAW") && without[1].1.ends_with("CAP_BPF"));
    assert_eq!(capabilities("")[0].level, Level::NotKnown);
}

fn capabilities_of(has: u64) -> Vec<Finding> {
    capabilities(&format!("Name:\tmb-lb-ctl\nCapEff:\t{has:016x}\n"))
}

#[test]
fn open_files() {
    for (limits, level) in [
        (
            "Max open files            262144               262144               files\n",
            Level::Ok,
        ),
        (
            "Max open files            1024                 4096                 files\n",
            Level::Warning,
        ),
        (
            "Max open files            unlimited            unlimited            files\n",
            Level::Ok,
        ),
        ("", Level::NotKnown),
    ] {
        assert_eq!(files(limits).level, level, "{limits}");
    }
}

#[test]
fn what_it_complains_of() {
    let alarm = |severity, text: &str| Alarm {
        severity,
        text: text.to_owned(),
        next: "do".to_owned(),
    };
    let server = ServerView {
        name: "mb2".to_owned(),
        ..ServerView::default()
    };
    let service = ServiceView {
        name: "smtp".to_owned(),
        servers: vec![server],
        ..ServiceView::default()
    };
    let snapshot = Snapshot {
        services: vec![service],
        alarms: vec![
            alarm(Severity::Critical, "smtp/mb2 is down: refused"),
            alarm(Severity::Warning, "director: odd"),
            alarm(
                Severity::Critical,
                "proxy web: the certificate in /x has expired",
            ),
        ],
        ..Snapshot::default()
    };
    let found: Vec<_> = alarms(&snapshot)
        .into_iter()
        .map(|found| (found.level, found.server))
        .collect();
    assert_eq!(
        found,
        [
            (Level::Problem, Some("smtp/mb2".to_owned())),
            (Level::Warning, None)
        ]
    );
}

#[test]
fn the_state_file() {
    let saved = serde_json::to_string(&crate::engine::SavedState::default()).unwrap();
    let error = |kind| Err(io::Error::from(kind));
    for (read, level) in [
        (Ok(saved), Level::Ok),
        (Ok("{".to_owned()), Level::Problem),
        (error(io::ErrorKind::NotFound), Level::Ok),
        (error(io::ErrorKind::PermissionDenied), Level::NotKnown),
        (error(io::ErrorKind::IsADirectory), Level::Problem),
    ] {
        assert_eq!(state(Path::new("/s"), read).level, level);
    }
}

#[test]
fn the_unit() {
    for (word, level) in [
        ("enabled", Level::Ok),
        ("disabled", Level::Warning),
        ("masked", Level::Warning),
        ("", Level::Warning),
    ] {
        assert_eq!(enabled(word).level, level, "{word}");
    }
}

#[test]
fn whether_it_is_started_at_boot_is_known_where_systemd_says_so() {
    let says = |word: &str| {
        let word = word.to_owned().into_bytes();
        move || {
            Ok(Output {
                status: std::process::ExitStatus::default(),
                stdout: word,
                stderr: Vec::new(),
            })
        }
    };
    assert_eq!(started(true, says("enabled\n")).level, Level::Ok);
    assert_eq!(started(true, says("disabled\n")).level, Level::Warning);
    assert_eq!(started(false, says("enabled\n")).level, Level::NotKnown);
    let none = || Err(io::Error::from(io::ErrorKind::NotFound));
    assert_eq!(started(true, none).level, Level::NotKnown);
}
