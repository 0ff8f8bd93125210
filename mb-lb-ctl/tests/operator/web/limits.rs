//! Slow and huge clients.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use mb_lb_ctl::admin::http::{MAX_BODY, MAX_CONNECTIONS, MAX_HEADER};
use mb_lb_ctl::snapshot::AdminState;

use super::{PATIENCE, Site, answer, basic};
use crate::fixtures;

/// What the other side does until it closes.
fn until_closed(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// The admin socket's word for the state of the daemon.
fn ask_socket(site: &Site) -> String {
    let mut stream = UnixStream::connect(site.daemon.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"show version\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn heads_and_bodies_have_an_end() {
    let site = Site::locked(fixtures::well());
    let long = format!("x-long: {}\r\n", "x".repeat(MAX_HEADER));
    assert_eq!(site.request("GET", "/stats", &long, "").status, 431);
    let many: String = (0..65).map(|number| format!("x-{number}: x\r\n")).collect();
    assert_eq!(site.request("GET", "/stats", &many, "").status, 431);
    let target = format!("/{}", "x".repeat(MAX_HEADER));
    assert!(matches!(site.get(&target).status, 414 | 431));

    let admin = basic("admin:s3cret");
    let form = "s=mb2&action=drain&b=smtp_backend&reason=";
    let fits = format!("{form}{}", "x".repeat(MAX_BODY - form.len()));
    assert_eq!(
        site.post(&admin, &fits).field("location"),
        Some("/stats;st=DONE")
    );
    assert_eq!(site.daemon.server(2).admin_reason, "x".repeat(200));
    let answer = site.post(&admin, &format!("{}x", fits.replace("mb2", "mb1")));
    assert_eq!(answer.status, 413);
    assert_eq!(
        answer.body,
        "The form has more than 16384 bytes. Nothing was changed.\n"
    );
    assert_eq!(site.daemon.server(1).admin, AdminState::Ready);
}

#[test]
fn nonsense_is_refused() {
    let site = Site::open(fixtures::well());
    for request in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET\r\n\r\n",
        b"GET /stats HTTP/9.9\r\n\r\n",
        b"GET /stats HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /st\0ats HTTP/1.1\r\n\r\n",
        b"POST /stats HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut stream = site.connect();
        stream.write_all(request).unwrap();
        let text = until_closed(&mut stream);
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 400"),
            "{text}"
        );
    }
    assert_eq!(site.get("/health").status, 200);
}

/// A head and a body that never come to their end take a place for some seconds, and no longer.
#[test]
fn who_says_nothing_is_cut_off() {
    let site = Site::locked(fixtures::well());
    let mut silent = site.connect();
    let mut half = site.connect();
    half.write_all(b"GET /stats HTTP/1.1\r\nhost: x\r\nx-slow")
        .unwrap();
    assert_eq!(until_closed(&mut half), "");
    assert_eq!(until_closed(&mut silent), "");

    let mut body = site.connect();
    let head = format!(
        "POST /stats HTTP/1.1\r\nhost: lb1:8404\r\n{}content-length: 100\r\n\r\ns=mb1",
        basic("admin:s3cret")
    );
    body.write_all(head.as_bytes()).unwrap();
    let answer = answer(&mut body);
    assert_eq!(answer.status, 408);
    assert_eq!(
        answer.body,
        "The form did not come in time. Nothing was changed.\n"
    );
}

/// 500 clients that drip: neither the admin socket nor those who know what they want notice.
#[test]
fn five_hundred_who_drip_do_no_harm() {
    let site = Site::open(fixtures::thousand());
    let mut dripping: Vec<_> = (0..500).map(|_| site.connect()).collect();
    for byte in "GET /stats HTTP/1.1\r\nx-drip: ".bytes() {
        for stream in &mut dripping {
            // Most have lost their place to the next by now.
            let _ = stream.write_all(&[byte]);
        }
        assert!(ask_socket(&site).starts_with("2.6.0-mb-lb"));
        assert_eq!(
            site.get("/health").body,
            "{\"version\":1,\"status\":\"ok\"}\n"
        );
    }
    assert_eq!(site.get("/stats").status, 200);
    // All of them are cut off, though none has said what it wants.
    for stream in &mut dripping {
        assert_eq!(until_closed(stream), "");
    }
}

/// Where all places are taken by requests that have begun, the next client is told so, and the socket answers.
#[test]
fn too_many_requests_at_once_are_refused() {
    let site = Site::locked(fixtures::well());
    let head = format!(
        "POST /stats HTTP/1.1\r\nhost: lb1:8404\r\n{}content-length: 100\r\n\r\ns=mb1",
        basic("admin:s3cret")
    );
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        let mut slow: Vec<_> = (0..MAX_CONNECTIONS).map(|_| site.connect()).collect();
        for stream in &mut slow {
            stream.write_all(head.as_bytes()).unwrap();
        }
        let refused = site.get("/health");
        assert!(ask_socket(&site).starts_with("2.6.0-mb-lb"));
        if refused.status == 503 {
            assert_eq!(
                refused.body,
                "Too many connections to the page are open: try it again.\n"
            );
            assert_eq!(refused.field("retry-after"), Some("5"));
            for stream in &mut slow {
                assert_eq!(answer(stream).status, 408);
            }
            break;
        }
        // Some of them had not been heard yet when this one came.
        assert!(std::time::Instant::now() < until, "never full");
    }
    assert_eq!(site.get("/health").status, 200);
}
