//! Lines of the admin socket, from anybody who may write to it: nothing panics, what is said is text, and little words do not
//! make long answers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mb_lb_ctl::command::line::{MAX_WORDS, quote, split};
use mb_lb_ctl::command::ssl::{Served, Ssl, Store};
use mb_lb_ctl::command::{Answer, Context, Cleared, respond};
use mb_lb_ctl::config::SocketLevel;
use mb_lb_ctl::snapshot::{AdminState, CheckView, HealthState, ServerView, ServiceView, Snapshot};

/// Of all commands over this snapshot.
const LONGEST: usize = 256 * 1024;

fn snapshot() -> Snapshot {
    let server = |position: u32| ServerView {
        name: format!("mb{position}"),
        position,
        address: Some([192, 0, 2, position as u8].into()),
        port: 25,
        admin: AdminState::Maint,
        health: HealthState::Up,
        check: (position > 1).then(CheckView::default),
        ..ServerView::default()
    };
    Snapshot {
        services: vec![ServiceView {
            name: "smtp".to_owned(),
            layer: 7,
            servers: vec![server(1), server(2)],
            ..ServiceView::default()
        }],
        ..Snapshot::default()
    }
}

fuzz_target!(|input: (u8, String)| {
    let (level, text) = input;
    let snapshot = snapshot();
    let mut cleared = Cleared::default();
    cleared.clear(&snapshot, true);
    let since = cleared.since(&snapshot);
    let level = match level % 3 {
        0 => SocketLevel::User,
        1 => SocketLevel::Operator,
        _ => SocketLevel::Admin,
    };
    let context = Context {
        snapshot: &since,
        now_ms: u64::MAX,
        level,
        socket: ("/run/mb-lb/admin.sock", SocketLevel::Admin),
        process: Default::default(),
    };
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let line = split(first);
    assert!(!line.commands.is_empty());
    let payload = line.payload_until.is_some();
    let payload = payload.then(|| lines.collect::<Vec<_>>().join("\n"));
    for words in &line.commands {
        // What was cut can be put together again.
        let quoted: Vec<_> = words.iter().map(|word| quote(word)).collect();
        if words.len() <= MAX_WORDS && words.iter().all(|word| !word.chars().any(char::is_control)) {
            let again = split(&quoted.join(" "));
            assert!(words.iter().any(String::is_empty) || again.commands == [words.clone()]);
        }
        match respond(words, payload.clone(), &context) {
            Answer::Text(text) => assert!(text.len() <= LONGEST),
            Answer::Change { .. } => assert_eq!(level, SocketLevel::Admin),
            Answer::Ssl(command) => certificates(command),
            _ => {}
        }
    }
});

fn certificates(command: Ssl) {
    let served = Served {
        directories: ["/d".to_owned()].into(),
        files: ["/d/a.pem".to_owned()].into(),
    };
    let mut store = Store::new(&served);
    match command {
        Ssl::Set { path, pem } => {
            let said = store.set(path.clone(), pem, &served, true);
            assert_eq!(said.starts_with("Transaction created"), store.commit(&path, &served).is_ok());
        }
        Ssl::New(path) => {
            store.create(path.clone(), &served);
            store.delete(&path, &served);
        }
        Ssl::AddToList { list, path } => assert!(store.add(&list, &path, &served).is_err()),
        _ => {}
    }
}
