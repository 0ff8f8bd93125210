use std::time::Duration;

use http::{Method, StatusCode};
use proptest::prelude::*;

use super::*;
use crate::config::{SameSite, Upstream};

const NOW: u64 = 1_800_000_000;

fn server(cookie: Option<&str>) -> ProxyServer {
    ProxyServer {
        name: "s".to_owned(),
        address: "127.0.0.1:18413".parse().unwrap(),
        tls: None,
        http: Upstream::Http1,
        cookie: cookie.map(str::to_owned),
        weight: 1,
        max_connections: None,
        backup: false,
        send_proxy: None,
    }
}

fn cookie() -> Cookie {
    Cookie {
        name: "SERVERID".to_owned(),
        indirect: true,
        nocache: true,
        preserve: false,
        http_only: false,
        secure: false,
        same_site: None,
        domain: None,
        max_idle: None,
        max_life: None,
        dynamic_key: None,
    }
}

/// Three servers, the third cannot be used; the fourth has no cookie.
fn stickiness(cookie: &Cookie) -> Stickiness {
    let servers = [Some("mb1"), Some("mb2"), Some("mb3"), None].map(server);
    Stickiness::new(cookie, &servers)
}

fn request(sticky: &Stickiness, lines: &[&str]) -> (Asked, Option<String>) {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(COOKIE, line.parse().unwrap());
    }
    let asked = sticky.on_request(&mut headers, NOW, |server| server != 2);
    assert!(headers.get_all(COOKIE).iter().count() <= 1);
    let rest = headers.get(COOKIE);
    (asked, rest.map(|line| line.to_str().unwrap().to_owned()))
}

fn response(
    sticky: &Stickiness,
    asked: &Asked,
    served_by: usize,
    fields: &[(&'static str, &str)],
) -> (char, Vec<String>, Vec<String>) {
    let facts = RequestFacts::of(&Method::GET);
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().unwrap());
    }
    let letter = sticky.on_response(asked, served_by, &facts, StatusCode::OK, &mut headers, NOW);
    let all = |name| {
        let lines = headers.get_all(name).iter();
        lines
            .map(|line| line.to_str().unwrap().to_owned())
            .collect()
    };
    (letter, all(SET_COOKIE), all(CACHE_CONTROL))
}

/// What Debian's HAProxy 2.6.12 did with the same lines: what the server saw, and whether the cookie was good.
#[test]
fn lines_of_requests_become_what_haproxy_makes_of_them() {
    let sticky = stickiness(&cookie());
    let rows: &[(&[&str], Option<&str>, char)] = &[
        (&[], None, 'N'),
        (&["a=1; SERVERID=mb2; b=2"], Some("a=1; b=2"), 'V'),
        (&["SERVERID=mb2"], None, 'V'),
        (&["SERVERID=mb2; b=2"], Some("b=2"), 'V'),
        (&["SERVERID=mb2;b=2"], Some("b=2"), 'V'),
        (&["a=1; SERVERID=mb2"], Some("a=1"), 'V'),
        (&["a=1;SERVERID=mb2;b=2"], Some("a=1; b=2"), 'V'),
        (&["a=1 ; SERVERID = mb2 ; b=2"], Some("a=1; b=2"), 'V'),
        (&["SERVERID=\"mb2\""], None, 'I'),
        (&["SERVERID=mb2; SERVERID=mb1"], None, 'V'),
        (&["SERVERID=zz; SERVERID=mb1; x=1"], Some("x=1"), 'V'),
        (&["SERVERID=mb3; SERVERID=mb1; x=1"], Some("x=1"), 'V'),
        (&["SERVERID=mb3"], None, 'D'),
        (&["serverid=mb1"], Some("serverid=mb1"), 'N'),
        (&["SERVERID="], None, 'I'),
        (&["SERVERID"], Some("SERVERID"), 'N'),
        (&["SERVERID; a=1"], Some("SERVERID; a=1"), 'N'),
        (&["a; SERVERID=mb1; b"], Some("a; b"), 'V'),
        (
            &["$Version=1; SERVERID=mb1; $Path=/; a=1"],
            Some("$Version=1; a=1"),
            'V',
        ),
        (&["$Version=1; SERVERID=mb1; $Path=/"], None, 'V'),
        (&["SERVERID=mb1,a=1"], Some("a=1"), 'V'),
        (&["a=1,SERVERID=mb1,b=2"], Some("a=1, b=2"), 'V'),
        (
            &["a=\"x;SERVERID=mb1\"; b=1"],
            Some("a=\"x;SERVERID=mb1\"; b=1"),
            'N',
        ),
        (&["a=1; SERVERID=mb1;"], Some("a=1; "), 'V'),
        (&["a=1; SERVERID=mb1; "], Some("a=1; "), 'V'),
        (&["SERVERID=mb1;"], None, 'V'),
        (&["; SERVERID=mb1"], None, 'V'),
        (&["a=1;; SERVERID=mb1;;b=2"], Some("a=1;; ;b=2"), 'V'),
        (&["a=1; SERVERID=mb1|AAAAA"], Some("a=1"), 'V'),
        (&["SERVERID=mb1|AAAAA|AAAAA"], None, 'V'),
        (&["SERVERID=mb2;SERVERID=mb1;SERVERID=x"], None, 'V'),
        (&["SERVERID=mb1; $Path=/"], None, 'V'),
        (&["a=1;  SERVERID=mb2;  b=2"], Some("a=1; b=2"), 'V'),
        (&["a=1\t;\tSERVERID=mb2\t;\tb=2"], Some("a=1; b=2"), 'V'),
        (&["SERVERID=mb1x"], None, 'I'),
        (&["SERVERID=zz; SERVERID=mb3"], None, 'D'),
        (&["SERVERID=mb3; SERVERID=zz"], None, 'D'),
        (&["=x; SERVERID=mb1"], Some("=x"), 'V'),
        (&["SERVERID=mb1; =x"], Some("=x"), 'V'),
        // HTTP/2: one cookie a line. HAProxy joins those of HTTP/2 only.
        (&["a=1", "SERVERID=mb1", "b=2"], Some("a=1; b=2"), 'V'),
        (&["SERVERID=mb1", "SERVERID=mb2"], None, 'V'),
        (&["a=1", "b=2"], Some("a=1; b=2"), 'N'),
        // Blanks around the `=` of others stay; HAProxy takes them out.
        (&["a = 1; SERVERID=mb1"], Some("a = 1"), 'V'),
    ];
    for (lines, rest, letter) in rows {
        let (asked, left) = request(&sticky, lines);
        assert_eq!(left.as_deref(), *rest, "{lines:?}");
        assert_eq!(asked.letter(), *letter, "{lines:?}");
    }
}

#[test]
fn first_valid_cookie_wins() {
    let sticky = stickiness(&cookie());
    assert_eq!(
        request(&sticky, &["SERVERID=mb2; SERVERID=mb1"]).0.server(),
        Some(1)
    );
}

#[test]
fn of_servers_with_one_value_the_first_usable_serves() {
    let servers = [Some("x"), Some("x"), Some("x")].map(server);
    let sticky = Stickiness::new(&cookie(), &servers);
    let mut headers = HeaderMap::new();
    headers.append(COOKIE, "SERVERID=x".parse().unwrap());
    let asked = sticky.on_request(&mut headers, NOW, |server| server > 0);
    assert_eq!(asked.server(), Some(1));
}

#[test]
fn not_indirect_lets_the_server_see_it() {
    let sticky = stickiness(&Cookie {
        indirect: false,
        ..cookie()
    });
    let (asked, rest) = request(&sticky, &["a=1; SERVERID=mb2"]);
    assert_eq!(asked.server(), Some(1));
    assert_eq!(rest.as_deref(), Some("a=1; SERVERID=mb2"));
}

#[test]
fn cookie_is_given_only_where_it_is_needed() {
    let sticky = stickiness(&cookie());
    let set = |lines: &[&str], served_by| {
        let asked = request(&sticky, lines).0;
        let (letter, lines, _) = response(&sticky, &asked, served_by, &[]);
        (letter, lines.join("\n"))
    };
    let new = "SERVERID=mb1; path=/".to_owned();
    assert_eq!(set(&[], 0), ('I', new.clone()));
    assert_eq!(set(&["SERVERID=mb1"], 0), ('N', String::new()));
    assert_eq!(set(&["SERVERID=zz"], 0), ('I', new.clone()));
    assert_eq!(set(&["SERVERID=mb3"], 0), ('I', new.clone()));
    assert_eq!(set(&["SERVERID=mb2"], 0), ('I', new));
    assert_eq!(
        set(&["SERVERID=mb3"], 3).1,
        "SERVERID=; Expires=Thu, 01-Jan-1970 00:00:01 GMT; path=/"
    );
}

#[test]
fn redispatched_request_counts_as_one_whose_server_is_down() {
    let sticky = stickiness(&cookie());
    let mut asked = request(&sticky, &["SERVERID=mb1"]).0;
    asked.redispatch();
    assert_eq!((asked.letter(), asked.server()), ('D', None));
    assert_eq!(response(&sticky, &asked, 1, &[]).0, 'I');
}

#[test]
fn attributes_stand_in_haproxys_order() {
    let sticky = stickiness(&Cookie {
        domain: Some("example.org".to_owned()),
        http_only: true,
        secure: true,
        same_site: Some(SameSite::Strict),
        ..cookie()
    });
    assert_eq!(
        response(&sticky, &Asked::NONE, 0, &[]).1,
        ["SERVERID=mb1; path=/; domain=example.org; HttpOnly; Secure; SameSite=Strict"]
    );
}

#[test]
fn servers_own_cookie_is_deleted_or_preserved() {
    let sticky = stickiness(&cookie());
    let own = [
        ("set-cookie", "a=1"),
        ("set-cookie", "SERVERID=own; path=/"),
        ("set-cookie", "b=2"),
        ("set-cookie", "x=1; SERVERID=3"),
    ];
    let asked = request(&sticky, &["SERVERID=mb1"]).0;
    let (letter, lines, _) = response(&sticky, &asked, 0, &own);
    assert_eq!(
        (letter, lines),
        (
            'D',
            ["a=1", "b=2", "x=1; SERVERID=3"].map(str::to_owned).into()
        )
    );
    let (letter, lines, _) = response(&sticky, &Asked::NONE, 0, &own);
    assert_eq!(letter, 'I');
    assert_eq!(lines.last().unwrap(), "SERVERID=mb1; path=/");
    assert_eq!(lines.len(), 4);

    let sticky = stickiness(&Cookie {
        preserve: true,
        ..cookie()
    });
    let (letter, lines, _) = response(&sticky, &Asked::NONE, 0, &own);
    assert_eq!((letter, lines.len()), ('P', 4));
    assert_eq!(response(&sticky, &Asked::NONE, 0, &own[..1]).0, 'I');
}

#[test]
fn cache_control_is_added_where_a_cache_might_keep_the_cookie() {
    let etag = ("etag", "\"x\"");
    type Row<'a> = (&'a [(&'static str, &'a str)], &'a [&'a str]);
    let rows: &[Row<'_>] = &[
        (&[], &[]),
        (&[etag], &["private"]),
        (&[("last-modified", "x")], &["private"]),
        (&[("expires", "x")], &["private"]),
        (&[("cache-control", "max-age=5")], &["max-age=5", "private"]),
        (&[("cache-control", "max-age=0"), etag], &["max-age=0"]),
        (&[("cache-control", "s-maxage=0"), etag], &["s-maxage=0"]),
        (
            &[("cache-control", "max-age=0, s-maxage=9")],
            &["max-age=0, s-maxage=9", "private"],
        ),
        (&[("cache-control", "Private"), etag], &["Private"]),
        (&[("cache-control", "x, no-store"), etag], &["x, no-store"]),
        (
            &[("cache-control", "no-cache=\"a,b\""), etag],
            &["no-cache=\"a,b\""],
        ),
        (&[("pragma", "no-cache"), etag], &[]),
        (&[("cache-control", "public")], &["public"]),
        (&[("cache-control", "public"), etag], &["public", "private"]),
    ];
    for (fields, wanted) in rows {
        let (_, _, lines) = response(&stickiness(&cookie()), &Asked::NONE, 0, fields);
        assert_eq!(&lines, wanted, "{fields:?}");
        let without = stickiness(&Cookie {
            nocache: false,
            ..cookie()
        });
        let (_, _, lines) = response(&without, &Asked::NONE, 0, fields);
        assert!(!lines.contains(&"private".to_owned()));
    }
}

#[test]
fn cacheable_is_a_matter_of_the_method_too() {
    let mut response = HeaderMap::new();
    response.insert(http::header::ETAG, "\"x\"".parse().unwrap());
    for (method, status, wanted) in [
        (Method::GET, 200, true),
        (Method::HEAD, 404, true),
        (Method::POST, 200, false),
        (Method::GET, 302, false),
    ] {
        let facts = RequestFacts::of(&method);
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(
            facts.is_cacheable(status, &response),
            wanted,
            "{method} {status}"
        );
    }
}

fn dated(value: &str, last: u64, first: Option<u64>) -> String {
    let text = |date| String::from_utf8(date::encode(date).into()).unwrap();
    let first = first.map(|first| format!("|{}", text(first)));
    format!(
        "SERVERID={value}|{}{}",
        text(last),
        first.unwrap_or_default()
    )
}

#[test]
fn dates_void_a_cookie_and_are_renewed() {
    let idle = Cookie {
        max_idle: Some(Duration::from_secs(1000)),
        ..cookie()
    };
    let life = Cookie {
        max_life: Some(Duration::from_secs(5000)),
        ..cookie()
    };
    let both = Cookie {
        max_life: life.max_life,
        ..idle.clone()
    };
    // Cookie; the client's; letters of request and response; the new one.
    let rows = [
        (
            &idle,
            "SERVERID=mb1".to_owned(),
            "VU",
            dated("mb1", NOW, None),
        ),
        (&idle, dated("mb1", NOW, None), "VN", String::new()),
        (
            &idle,
            dated("mb1", NOW - 4, None),
            "VU",
            dated("mb1", NOW, None),
        ),
        (
            &idle,
            dated("mb1", NOW - 1000, None),
            "VU",
            dated("mb1", NOW, None),
        ),
        (
            &idle,
            dated("mb1", NOW - 1004, None),
            "EI",
            dated("mb1", NOW, None),
        ),
        (&idle, dated("mb1", NOW + 86_400, None), "VN", String::new()),
        (
            &idle,
            dated("mb1", NOW + 86_404, None),
            "EI",
            dated("mb1", NOW, None),
        ),
        (
            &idle,
            dated("mb1", NOW, Some(NOW)),
            "VU",
            dated("mb1", NOW, None),
        ),
        (
            &idle,
            "SERVERID=mb1|!!!!!".to_owned(),
            "VU",
            dated("mb1", NOW, None),
        ),
        (
            &life,
            "SERVERID=mb1".to_owned(),
            "VU",
            dated("mb1", NOW, Some(NOW)),
        ),
        (&life, dated("mb1", NOW, Some(NOW - 4)), "VN", String::new()),
        (
            &life,
            dated("mb1", NOW - 8, Some(NOW - 12)),
            "VU",
            dated("mb1", NOW, Some(NOW - 12)),
        ),
        (
            &life,
            dated("mb1", NOW, Some(NOW - 5000)),
            "VN",
            String::new(),
        ),
        (
            &life,
            dated("mb1", NOW, Some(NOW - 5004)),
            "OI",
            dated("mb1", NOW, Some(NOW)),
        ),
        (
            &life,
            dated("mb1", NOW, Some(NOW + 86_404)),
            "OI",
            dated("mb1", NOW, Some(NOW)),
        ),
        (
            &both,
            dated("mb1", NOW - 2000, Some(NOW - 6000)),
            "OI",
            dated("mb1", NOW, Some(NOW)),
        ),
        (
            &both,
            dated("mb1", NOW - 2000, Some(NOW - 4000)),
            "EI",
            dated("mb1", NOW, Some(NOW)),
        ),
        // To another server, but the client is as old as it was.
        (
            &both,
            dated("mb3", NOW, Some(NOW - 4000)),
            "DI",
            dated("mb1", NOW, Some(NOW - 4000)),
        ),
        (
            &cookie(),
            dated("mb1", NOW - 4, None),
            "VU",
            "SERVERID=mb1".to_owned(),
        ),
    ];
    for (cookie, line, letters, wanted) in rows {
        let sticky = stickiness(cookie);
        let asked = request(&sticky, &[&line]).0;
        let (letter, lines, _) = response(&sticky, &asked, 0, &[]);
        assert_eq!(
            [asked.letter(), letter].iter().collect::<String>(),
            letters,
            "{line}"
        );
        let wanted: Vec<String> = Some(wanted)
            .filter(|value| !value.is_empty())
            .map(|value| value + "; path=/")
            .into_iter()
            .collect();
        assert_eq!(lines, wanted, "{line}");
    }
}

#[test]
fn dates_are_five_digits_of_four_seconds() {
    assert_eq!(&date::encode(0), b"AAAAA");
    assert_eq!(&date::encode(1), b"AAAAB");
    assert_eq!(&date::encode(4 * 63), b"AAAA/");
    assert_eq!(&date::encode(4 * 64), b"AAABA");
    assert_eq!(
        date::split(b"x|AAABA|AAAAB"),
        (&b"x"[..], Some(256), Some(4))
    );
    assert_eq!(date::split(b"x|AAAB"), (&b"x"[..], None, None));
    assert_eq!(date::split(b"x|AAAB=|AAAAB"), (&b"x"[..], None, Some(4)));
    assert_eq!(date::split(b"x|AAAAA"), (&b"x"[..], None, None));
    assert_eq!(date::split(b"|"), (&b""[..], None, None));
}

/// Value taken from HAProxy 2.6.12 with this key and address.
#[test]
fn dynamic_value_is_haproxys() {
    let address = "127.0.0.1:18413".parse().unwrap();
    assert_eq!(dynamic::value("MYKEY", address), "cd1e4b81019003d0");
}

proptest! {
    #[test]
    fn any_line_is_read_and_ours_is_gone(line in "[aS=;, \t\"\\\\$1|]{0,24}", extra in "[;, ]{0,2}SERVERID=mb1[;, ]{0,2}") {
        let sticky = stickiness(&cookie());
        let line = format!("{line}{extra}{line}");
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, line.parse().unwrap());
        sticky.on_request(&mut headers, NOW, |_| true);
        if let Some(rest) = headers.get(COOKIE) {
            let ours = crumbs::Crumbs::new(rest.as_bytes())
                .any(|crumb| matches!(crumb, Crumb::Pair { name: b"SERVERID", .. }));
            prop_assert!(!ours, "{line:?} -> {rest:?}");
        }
    }

    #[test]
    fn dates_come_back(seconds in 1u64..(1 << 32) - 4) {
        let value = [b"x|".as_slice(), &date::encode(seconds)].concat();
        let (_, last, _) = date::split(&value);
        prop_assert_eq!(last, Some(seconds.div_ceil(4) * 4));
    }
}
