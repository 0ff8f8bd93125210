use std::fs;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{
    Connections, Queue, Record, RequestLine, Times, Tls, Writer, write_httplog, write_json,
};

const fn ms(ms: u64) -> Option<Duration> {
    Some(Duration::from_millis(ms))
}

fn record() -> Record<'static> {
    Record {
        start_ms: 1_793_145_600_007,
        times: Times {
            request: ms(0),
            queue: ms(1),
            connect: ms(2),
            response: Some(Duration::from_micros(3999)),
            total: Duration::from_millis(1007),
        },
        client: "192.0.2.1:5000".parse().unwrap(),
        proxy: "www",
        server: Some("mb1"),
        termination: ['-', '-'],
        cookie: ['V', 'N'],
        status: Some(200),
        bytes_out: 2750,
        bytes_in: 310,
        connections: Connections {
            all: 5,
            proxy: 4,
            servers: 3,
            server: 2,
            retries: 0,
            redispatched: false,
        },
        queue: Queue {
            server: 6,
            proxy: 7,
        },
        request: Some(RequestLine {
            method: "GET",
            target: "/a?b=c",
            version: "HTTP/1.1",
        }),
        host: Some("example.org"),
        request_id: Some("0198"),
        tls: Some(Tls {
            version: "TLSv1.3",
            cipher: "TLS13_AES_256_GCM_SHA384",
            sni: Some("example.org"),
            resumed: true,
        }),
    }
}

/// Nothing came.
fn bare() -> Record<'static> {
    Record {
        times: Times {
            total: Duration::from_secs(10),
            ..Times::default()
        },
        client: "[2001:db8::1]:5000".parse().unwrap(),
        server: None,
        termination: ['C', 'R'],
        cookie: ['-', '-'],
        status: None,
        bytes_out: 0,
        bytes_in: 12,
        connections: Connections {
            retries: 3,
            redispatched: true,
            ..Connections::default()
        },
        queue: Queue::default(),
        request: None,
        host: None,
        request_id: None,
        tls: None,
        ..record()
    }
}

fn written(write: fn(&Record<'_>, &mut String), record: &Record<'_>) -> String {
    let mut line = String::new();
    write(record, &mut line);
    line
}

#[test]
fn httplog() {
    assert_eq!(
        written(write_httplog, &record()),
        "192.0.2.1:5000 [28/Oct/2026:00:00:00.007] www~ www/mb1 0/1/2/3/1007 200 2750 - - --VN 5/4/3/2/0 6/7 \
         \"GET /a?b=c HTTP/1.1\"\n"
    );
    assert_eq!(
        written(write_httplog, &bare()),
        "2001:db8::1:5000 [28/Oct/2026:00:00:00.007] www www/<NOSRV> -1/-1/-1/-1/10000 -1 0 - - CR-- 0/0/0/0/+3 0/0 \
         \"<BADREQ>\"\n"
    );
}

#[test]
fn json() {
    assert_eq!(
        written(write_json, &record()),
        "{\"time\":\"2026-10-28T00:00:00.007Z\",\"client\":\"192.0.2.1\",\"client_port\":5000,\"proxy\":\"www\",\
         \"server\":\"mb1\",\"method\":\"GET\",\"host\":\"example.org\",\"target\":\"/a?b=c\",\"version\":\"HTTP/1.1\",\
         \"status\":200,\"bytes_in\":310,\"bytes_out\":2750,\"request_ms\":0.000,\"queue_ms\":1.000,\"connect_ms\":2.000,\
         \"response_ms\":3.999,\"total_ms\":1007.000,\"termination\":\"--\",\"cookie\":\"VN\",\"connections\":5,\
         \"proxy_connections\":4,\"servers_requests\":3,\"server_requests\":2,\"retries\":0,\"redispatched\":false,\
         \"server_queue\":6,\"proxy_queue\":7,\"request_id\":\"0198\",\"tls_version\":\"TLSv1.3\",\
         \"tls_cipher\":\"TLS13_AES_256_GCM_SHA384\",\"tls_sni\":\"example.org\",\"tls_resumed\":true}\n"
    );
    let line = written(write_json, &bare());
    let read: serde_json::Value = serde_json::from_str(&line).unwrap();
    for name in [
        "server",
        "method",
        "host",
        "status",
        "queue_ms",
        "tls_version",
        "tls_resumed",
    ] {
        assert_eq!(read[name], serde_json::Value::Null, "{name}");
    }
    assert_eq!(read["client"], "2001:db8::1");
    assert_eq!(read["total_ms"], 10_000.0);
    let with = |record| serde_json::from_str::<serde_json::Value>(&written(write_json, &record));
    let members = |record| with(record).unwrap().as_object().unwrap().len();
    assert_eq!(members(record()), members(bare()));
}

#[test]
fn a_mapped_address_is_ipv4() {
    let mapped = Record {
        client: "[::ffff:192.0.2.1]:5000".parse().unwrap(),
        ..record()
    };
    assert_eq!(
        written(write_httplog, &mapped),
        written(write_httplog, &record())
    );
    assert_eq!(written(write_json, &mapped), written(write_json, &record()));
}

fn of(target: &str) -> Record<'_> {
    Record {
        request: Some(RequestLine {
            method: "GET",
            target,
            version: "HTTP/1.1",
        }),
        host: Some(target),
        ..record()
    }
}

#[test]
fn what_clients_send_is_escaped() {
    let line = written(write_httplog, &of("/\"#\n\x1b\u{e9}\u{9b}{}|\\"));
    assert!(
        line.ends_with("\"GET /#22#23#0A#1B#C3#A9#C2#9B{}|\\ HTTP/1.1\"\n"),
        "{line}"
    );
    let line = written(write_json, &of("/\"\\\n\x1b\u{7f}\u{e9}\u{9b}"));
    let text = "\"target\":\"/\\\"\\\\\\u000a\\u001b\\u007f\u{e9}\\u009b\"";
    assert!(line.contains(text), "{line}");
}

proptest! {
    #[test]
    fn a_record_is_one_line(target: String) {
        for write in [write_httplog, write_json] {
            let line = written(write, &of(&target));
            let controls = line.chars().filter(|c| c.is_control()).count();
            prop_assert_eq!(controls, 1, "{:?}", line);
        }
        let line = written(write_json, &of(&target));
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(&read["target"], &target);
    }
}

#[test]
fn lines_reach_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    fs::write(&path, "0\n").unwrap();
    let writer = Writer::start(Some(path.clone())).unwrap();
    let mut expected = "0\n".to_owned();
    for number in 1..=1000 {
        let line = format!("{number}\n");
        expected += &line;
        writer.write(line);
    }
    assert_eq!(writer.dropped(), 0);
    drop(writer);
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
}

#[test]
fn a_renamed_file_is_left_at_reopen() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let old = directory.path().join("access.log.1");
    let writer = Writer::start(Some(path.clone())).unwrap();
    wait_until("it is made", || path.exists());
    writer.write("1\n".to_owned());
    fs::rename(&path, &old).unwrap();
    writer.write("2\n".to_owned());
    let both = || fs::read_to_string(&old).unwrap() == "1\n2\n";
    wait_until("both lines are in the old file", both);
    writer.reopen();
    wait_until("it is made at once, not at the next request", || {
        path.exists()
    });
    writer.write("3\n".to_owned());
    drop(writer);
    assert_eq!(fs::read_to_string(&path).unwrap(), "3\n");
}

#[test]
fn nobody_waits_for_the_disk() {
    let (writer, lines) = Writer::stuck(2);
    for number in 0..5 {
        writer.write(format!("{number}\n"));
    }
    writer.reopen();
    assert_eq!(writer.dropped(), 3);
    drop(writer);
    assert_eq!(lines.iter().collect::<Vec<_>>(), ["0\n", "1\n"]);
}

#[test]
fn what_cannot_be_written_is_counted() {
    let full = std::path::PathBuf::from("/dev/full");
    let writer = Writer::start(Some(full)).unwrap();
    writer.write("1\n".to_owned());
    writer.write("2\n".to_owned());
    wait_until("both lines were dropped", || writer.dropped() == 2);
    let why = "/dev/full cannot be written: No space left on device (os error 28)";
    assert_eq!(writer.trouble().as_deref(), Some(why));
}

#[test]
fn a_file_that_cannot_be_opened_is_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("logs/access.log");
    let writer = Writer::start(Some(path.clone())).unwrap();
    wait_until("it says why", || writer.trouble().is_some());
    let why = format!(
        "{} cannot be opened: No such file or directory (os error 2)",
        path.display()
    );
    assert_eq!(writer.trouble(), Some(why));
    writer.write("1\n".to_owned());
    wait_until("the line was dropped", || writer.dropped() == 1);
    fs::create_dir(directory.path().join("logs")).unwrap();
    wait_until("it is made without any line", || path.exists());
    wait_until("it is well", || writer.trouble().is_none());
    writer.write("2\n".to_owned());
    // It cannot be opened anew, so what there is goes on.
    let gone = directory.path().join("gone");
    fs::rename(directory.path().join("logs"), &gone).unwrap();
    writer.reopen();
    wait_until("it says so", || writer.trouble().is_some());
    let why = writer.trouble().unwrap();
    assert!(why.contains("anew, the old file is written: "), "{why}");
    writer.write("3\n".to_owned());
    let both = || fs::read_to_string(gone.join("access.log")).unwrap() == "2\n3\n";
    wait_until("the line is in the old file", both);
    assert!(writer.trouble().is_some());
    assert_eq!(writer.dropped(), 1);
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
