//! Who gets what.

use mb_lb_ctl::command::stat::{self, Selection};
use mb_lb_ctl::snapshot::{AdminState, Alarm, Severity};
use serde_json::Value;

use super::{Site, basic};
use crate::fixtures;

#[test]
fn each_path_has_its_form() {
    let site = Site::open(fixtures::well());
    for (path, kind) in [
        ("/stats", "text/html; charset=utf-8"),
        ("/stats/", "text/html; charset=utf-8"),
        ("/stats;norefresh", "text/html; charset=utf-8"),
        ("/stats;csv", "text/plain; charset=utf-8"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/health", "application/json"),
        ("/api/v1/status", "application/json"),
    ] {
        let answer = site.get(path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert_eq!(answer.field("content-type"), Some(kind), "{path}");
        assert_eq!(answer.field("cache-control"), Some("no-cache"), "{path}");
        assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));

        let head = site.request("HEAD", path, "", "");
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        assert!(head.field("content-length").is_some(), "{path}");
    }
    let root = site.get("/");
    assert_eq!((root.status, root.field("location")), (302, Some("/stats")));
}

#[test]
fn csv_is_what_the_socket_prints() {
    let site = Site::open(fixtures::one_down());
    for (path, words) in [
        ("/stats;csv", &[][..]),
        ("/stats/;csv", &[]),
        ("/stats;csv;norefresh", &[]),
        ("/stats%3Bcsv", &[]),
        ("/stats;csv;up", &["up"]),
        ("/stats;typed", &["typed"]),
    ] {
        let selection = Selection::parse(words).unwrap();
        let expected = stat::render(&site.daemon.snapshot.borrow(), &selection);
        assert_eq!(site.get(path).body, expected, "{path}");
    }
}

#[test]
fn the_api_says_what_the_command_line_says() {
    let site = Site::open(fixtures::tiers());
    let json = |path: &str| -> Value {
        let answer = site.get(path);
        assert_eq!(answer.status, 200, "{answer:?}");
        let value: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(value["version"], 1, "{path}");
        value
    };
    assert_eq!(json("/api/v1/status")["director"], "lb1");
    let rows = |path: &str, key: &str| json(path)[key].as_array().map(Vec::len);
    assert_eq!(rows("/api/v1/services", "services"), Some(2));
    assert_eq!(rows("/api/v1/servers", "servers"), Some(6));
    assert_eq!(
        rows("/api/v1/servers?service=smtp_backend", "servers"),
        Some(3)
    );
    assert_eq!(rows("/api/v1/flows", "flows"), Some(3));
    assert_eq!(rows("/api/v1/flows?limit=2", "flows"), Some(2));
    assert_eq!(rows("/api/v1/checks", "checks"), Some(9));
    assert_eq!(rows("/api/v1/vips", "vips"), Some(2));
    assert_eq!(rows("/api/v1/events", "events"), Some(3));
    assert_eq!(rows("/api/v1/events?limit=1", "events"), Some(1));
    assert_eq!(rows("/api/v1/tiers", "tiers"), Some(2));
    assert_eq!(rows("/api/v1/syncs", "syncs"), Some(0));
}

#[test]
fn what_is_wrong_is_said_in_a_line() {
    let site = Site::open(fixtures::well());
    for (path, status, text) in [
        ("/favicon.ico", 404, "There is nothing here. See /stats.\n"),
        ("/stats/x", 404, "There is nothing here. See /stats.\n"),
        (
            "/../etc/passwd",
            404,
            "There is nothing here. See /stats.\n",
        ),
        (
            "/api/v1/x",
            404,
            "There is status, services, servers, flows, checks, vips, events, syncs and tiers.\n",
        ),
        (
            "/api/v1/servers?service=smtp_backnd",
            404,
            "no service smtp_backnd; did you mean smtp_backend?\n",
        ),
        (
            "/api/v1/flows?limit=0",
            400,
            "limit is a whole number from 1 to 10000.\n",
        ),
        (
            "/api/v1/flows?x=1",
            400,
            "The query has service=NAME and limit=N, and nothing else.\n",
        ),
    ] {
        let answer = site.get(path);
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (status, text),
            "{path}"
        );
    }
    for (method, path, allowed) in [
        ("POST", "/metrics", "GET, HEAD"),
        ("DELETE", "/stats", "GET, HEAD, POST"),
        ("POST", "/health", "GET, HEAD"),
        ("PUT", "/api/v1/servers", "GET, HEAD"),
        ("OPTIONS", "/stats;csv", "GET, HEAD, POST"),
    ] {
        let answer = site.request(method, path, "", "");
        assert_eq!(answer.status, 405, "{method} {path}");
        assert_eq!(answer.field("allow"), Some(allowed), "{method} {path}");
    }
}

#[test]
fn nothing_but_health_is_shown_without_the_password() {
    let site = Site::locked(fixtures::well());
    for path in [
        "/",
        "/stats",
        "/stats;csv",
        "/metrics",
        "/api/v1/flows",
        "/nothing",
    ] {
        for credentials in [
            "",
            &basic("admin:s3cre"),
            &basic("root:s3cret"),
            "authorization: Bearer x\r\n",
        ] {
            let answer = site.request("GET", path, credentials, "");
            assert_eq!(answer.status, 401, "{path} {credentials}");
            assert_eq!(
                answer.field("www-authenticate"),
                Some("Basic realm=\"mb-lb\", charset=\"UTF-8\"")
            );
            assert_eq!(answer.body, "User and password are wanted here.\n");
        }
    }
    for path in ["/stats", "/metrics", "/api/v1/flows"] {
        assert_eq!(site.get_as_admin(path).status, 200, "{path}");
    }
    let health = site.get("/health");
    assert_eq!(health.status, 200);
    assert_eq!(health.body, "{\"version\":1,\"status\":\"ok\"}\n");
    site.daemon.snapshot.send_modify(|snapshot| {
        std::sync::Arc::make_mut(snapshot).alarms.push(Alarm {
            severity: Severity::Critical,
            text: "a secret".into(),
            next: String::new(),
        });
    });
    let health = site.get("/health");
    assert_eq!(health.status, 503);
    assert_eq!(health.body, "{\"version\":1,\"status\":\"degraded\"}\n");
}

#[test]
fn a_form_changes_a_server() {
    let site = Site::locked(fixtures::well());
    let admin = basic("admin:s3cret");
    let same = format!("{admin}origin: http://lb1:8404\r\nsec-fetch-site: same-origin\r\n");
    let form = "s=mb2&action=drain&b=smtp_backend&reason=kernel+upgrade";
    let answer = site.post(&same, form);
    assert_eq!(answer.status, 303, "{answer:?}");
    assert_eq!(answer.field("location"), Some("/stats;st=DONE"));
    let server = site.daemon.server(2);
    assert_eq!(server.admin, AdminState::Drain);
    assert_eq!(server.admin_by, "admin (page)");
    assert_eq!(server.admin_reason, "kernel upgrade");

    // As HAProxy's scripts do it.
    let answer = site.post(&admin, "s=mb1&s=mb2&action=maint&b=%232");
    assert_eq!(answer.field("location"), Some("/stats;st=DONE"));
    assert_eq!(site.daemon.server(1).admin, AdminState::Maint);
    for (form, word) in [
        ("s=mb9&action=ready&b=smtp_backend", "ERRP"),
        ("s=mb1&action=shutdown&b=smtp_backend", "ERRP"),
        ("action=ready&b=smtp_backend", "NONE"),
    ] {
        let answer = site.post(&admin, form);
        let expected = format!("/stats;st={word}");
        assert_eq!(answer.field("location"), Some(expected.as_str()), "{form}");
    }
    assert_eq!(site.daemon.server(1).admin, AdminState::Maint);
    let page = site.get_as_admin("/stats;st=ERRP").body;
    assert!(page.contains("there is no such service or server: nothing was changed"));
}

#[test]
fn a_form_of_somebody_else_changes_nothing() {
    let form = "s=mb2&action=drain&b=smtp_backend";
    let site = Site::locked(fixtures::well());
    let admin = basic("admin:s3cret");
    for fields in [
        "origin: http://evil.example\r\n",
        "origin: null\r\n",
        "origin: http://lb1\r\n",
        "sec-fetch-site: cross-site\r\n",
        "sec-fetch-site: same-site\r\norigin: http://lb1:8404\r\n",
        "referer: http://evil.example/\r\n",
    ] {
        let answer = site.post(&format!("{admin}{fields}"), form);
        assert_eq!(answer.status, 403, "{fields}");
        assert!(
            answer
                .body
                .starts_with("refused: this form was sent from another site"),
            "{answer:?}"
        );
    }
    assert_eq!(site.post("origin: http://lb1:8404\r\n", form).status, 401);
    assert_eq!(site.post(&basic("admin:wrong"), form).status, 401);
    assert_eq!(site.daemon.server(2).admin, AdminState::Ready);

    let site = Site::open(fixtures::well());
    let answer = site.post("origin: http://lb1:8404\r\n", form);
    assert_eq!(answer.field("location"), Some("/stats;st=DENY"));
    assert_eq!(site.daemon.server(2).admin, AdminState::Ready);
    assert!(
        site.get("/stats;st=DENY")
            .body
            .contains("This page is read-only")
    );
}
