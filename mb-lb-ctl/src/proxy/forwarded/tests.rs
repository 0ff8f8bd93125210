use std::net::SocketAddr;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::{prepare_request, remove_hop_by_hop};

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// Sorted.
fn fields(headers: &HeaderMap) -> Vec<(&str, &str)> {
    let mut fields: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    fields.sort();
    fields
}

struct Row<'a> {
    given: &'a [(&'a str, &'a str)],
    client: &'a str,
    trusted: bool,
    tls: bool,
    host: &'a str,
    forwarded: bool,
    left: &'a [(&'a str, &'a str)],
}

const PLAIN: Row<'_> = Row {
    given: &[],
    client: "192.0.2.1:5000",
    trusted: false,
    tls: true,
    host: "example.org",
    forwarded: false,
    left: &[],
};

const OTHERS: [(&str, &str); 4] = [
    ("x-forwarded-for", "203.0.113.9"),
    ("x-forwarded-proto", "http"),
    ("x-forwarded-host", "other.example"),
    ("forwarded", "for=203.0.113.9"),
];

#[test]
fn who_asks() {
    let rows = [
        Row {
            left: &[
                ("x-forwarded-for", "192.0.2.1"),
                ("x-forwarded-host", "example.org"),
                ("x-forwarded-proto", "https"),
            ],
            ..PLAIN
        },
        // What a client says is not believed.
        Row {
            given: &OTHERS,
            tls: false,
            left: &[
                ("x-forwarded-for", "192.0.2.1"),
                ("x-forwarded-host", "example.org"),
                ("x-forwarded-proto", "http"),
            ],
            ..PLAIN
        },
        Row {
            given: &OTHERS,
            host: "",
            forwarded: true,
            left: &[
                ("forwarded", "for=192.0.2.1;proto=https"),
                ("x-forwarded-for", "192.0.2.1"),
                ("x-forwarded-proto", "https"),
            ],
            ..PLAIN
        },
        Row {
            given: &[
                ("x_forwarded_for", "1"),
                ("X_Forwarded-Proto", "2"),
                ("x-forwarded_host", "3"),
                ("x_forwarded_port", "4"),
            ],
            left: &[
                ("x-forwarded-for", "192.0.2.1"),
                ("x-forwarded-host", "example.org"),
                ("x-forwarded-proto", "https"),
                ("x_forwarded_port", "4"),
            ],
            ..PLAIN
        },
        // A proxy before this one.
        Row {
            given: &OTHERS,
            trusted: true,
            forwarded: true,
            left: &[
                (
                    "forwarded",
                    "for=203.0.113.9, for=192.0.2.1;proto=https;host=example.org",
                ),
                ("x-forwarded-for", "203.0.113.9, 192.0.2.1"),
                ("x-forwarded-host", "other.example"),
                ("x-forwarded-proto", "http"),
            ],
            ..PLAIN
        },
        Row {
            given: &OTHERS,
            trusted: true,
            left: &[
                ("forwarded", "for=203.0.113.9"),
                ("x-forwarded-for", "203.0.113.9, 192.0.2.1"),
                ("x-forwarded-host", "other.example"),
                ("x-forwarded-proto", "http"),
            ],
            ..PLAIN
        },
        Row {
            given: &[
                ("x-forwarded-for", "203.0.113.9, 203.0.113.8"),
                ("x-forwarded-for", ""),
                ("x-forwarded-for", "203.0.113.7"),
            ],
            trusted: true,
            left: &[
                (
                    "x-forwarded-for",
                    "203.0.113.9, 203.0.113.8, 203.0.113.7, 192.0.2.1",
                ),
                ("x-forwarded-host", "example.org"),
                ("x-forwarded-proto", "https"),
            ],
            ..PLAIN
        },
        Row {
            client: "[2001:db8::1]:5000",
            host: "[2001:db8::2]:8443",
            forwarded: true,
            left: &[
                (
                    "forwarded",
                    "for=\"[2001:db8::1]\";proto=https;host=\"[2001:db8::2]:8443\"",
                ),
                ("x-forwarded-for", "2001:db8::1"),
                ("x-forwarded-host", "[2001:db8::2]:8443"),
                ("x-forwarded-proto", "https"),
            ],
            ..PLAIN
        },
        Row {
            client: "[::ffff:192.0.2.1]:5000",
            host: "a\"b\\",
            forwarded: true,
            left: &[
                ("forwarded", "for=192.0.2.1;proto=https;host=\"a\\\"b\\\\\""),
                ("x-forwarded-for", "192.0.2.1"),
                ("x-forwarded-host", "a\"b\\"),
                ("x-forwarded-proto", "https"),
            ],
            ..PLAIN
        },
        // Cannot be written.
        Row {
            host: "a\nb",
            forwarded: true,
            left: &[
                ("forwarded", "for=192.0.2.1;proto=https"),
                ("x-forwarded-for", "192.0.2.1"),
                ("x-forwarded-proto", "https"),
            ],
            ..PLAIN
        },
    ];
    for (at, row) in rows.iter().enumerate() {
        let mut headers = headers(row.given);
        let client: SocketAddr = row.client.parse().unwrap();
        let Row {
            trusted, tls, host, ..
        } = *row;
        prepare_request(&mut headers, client, trusted, tls, host, row.forwarded);
        assert_eq!(fields(&headers), row.left, "row {at}");
    }
}

#[test]
fn one_hop_only() {
    type Fields = &'static [(&'static str, &'static str)];
    let rows: &[(Fields, Fields)] = &[
        (&[("a", "1")], &[("a", "1")]),
        (
            &[
                ("connection", "keep-alive"),
                ("keep-alive", "timeout=5"),
                ("a", "1"),
            ],
            &[("a", "1")],
        ),
        (
            &[
                ("connection", "close, X-Hop"),
                ("x-hop", "1"),
                ("x-hop", "2"),
                ("a", "1"),
            ],
            &[("a", "1")],
        ),
        (
            &[
                ("connection", "x-a"),
                ("connection", ",x-b , x-c"),
                ("x-a", "1"),
                ("x-b", "1"),
                ("x-c", "1"),
            ],
            &[],
        ),
        (&[("connection", "Upgrade"), ("upgrade", "websocket")], &[]),
        (
            &[
                ("upgrade", "h2c"),
                ("connection", "upgrade, http2-settings"),
                ("http2-settings", "x"),
            ],
            &[],
        ),
        (
            &[
                ("transfer-encoding", "chunked"),
                ("proxy-connection", "keep-alive"),
            ],
            &[],
        ),
        (
            &[("proxy-authenticate", "Basic"), ("trailer", "a")],
            &[("proxy-authenticate", "Basic"), ("trailer", "a")],
        ),
        (&[("te", "trailers")], &[("te", "trailers")]),
        (
            &[("connection", "te"), ("te", "trailers")],
            &[("te", "trailers")],
        ),
        (&[("te", "gzip, Trailers;q=1")], &[("te", "trailers")]),
        (&[("te", "gzip"), ("te", "trailers")], &[("te", "trailers")]),
        (&[("te", "trailers"), ("te", "gzip")], &[("te", "trailers")]),
        (&[("te", "gzip;q=0.5")], &[]),
        // Nobody loses these.
        (
            &[
                (
                    "connection",
                    "Host, content-length, X-Forwarded-For, cookie, bad name",
                ),
                ("host", "a"),
                ("content-length", "1"),
                ("cookie", "a=1"),
                ("x-forwarded-for", "b"),
            ],
            &[
                ("content-length", "1"),
                ("cookie", "a=1"),
                ("host", "a"),
                ("x-forwarded-for", "b"),
            ],
        ),
    ];
    for (given, left) in rows {
        let mut headers = headers(given);
        remove_hop_by_hop(&mut headers);
        assert_eq!(fields(&headers), *left, "{given:?}");
    }
}
