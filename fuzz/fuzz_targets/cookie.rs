//! Cookie and Set-Cookie fields: nothing panics, the session cookie does not reach a server and comes back as one that is
//! valid, and what other cookies say is not touched.
#![no_main]

use std::time::Duration;

use http::header::{COOKIE, HeaderMap, HeaderValue, SET_COOKIE};
use http::{Method, StatusCode};
use libfuzzer_sys::fuzz_target;
use mb_lb_ctl::config::{Cookie, ProxyServer, Upstream};
use mb_lb_ctl::proxy::cookie::{RequestFacts, Stickiness, Verdict};

const NAME: &[u8] = b"S";

fn server(value: &str) -> ProxyServer {
    ProxyServer {
        name: value.to_owned(),
        address: ([192, 0, 2, 1], 443).into(),
        tls: None,
        http: Upstream::Http1,
        cookie: Some(value.to_owned()),
        weight: 1,
        max_connections: None,
        backup: false,
        send_proxy: None,
    }
}

/// Cookies of all fields but the session cookie.
fn others(headers: &HeaderMap) -> Vec<Vec<u8>> {
    let fields = headers.get_all(COOKIE).iter();
    let parts = fields.flat_map(|field| field.as_bytes().split(|&byte| byte == b';'));
    parts
        .map(<[u8]>::trim_ascii)
        .filter(|part| !part.is_empty() && !is_ours(part))
        .map(<[u8]>::to_vec)
        .collect()
}

fn is_ours(part: &[u8]) -> bool {
    let equals = part.iter().position(|&byte| byte == b'=');
    equals.is_some_and(|equals| part[..equals].trim_ascii() == NAME)
}

fuzz_target!(|input: (u8, u32, Vec<Vec<u8>>, Vec<Vec<u8>>)| {
    let (flags, now_s, given, set) = input;
    // After it the dates do not fit.
    let now_s = u64::from(now_s.clamp(4, u32::MAX - 4));
    let flag = |bit: u8| flags & 1 << bit != 0;
    let cookie = Cookie {
        name: "S".to_owned(),
        indirect: true,
        nocache: true,
        preserve: flag(0),
        http_only: false,
        secure: false,
        same_site: None,
        domain: None,
        max_idle: flag(1).then_some(Duration::from_secs(100)),
        max_life: flag(2).then_some(Duration::from_secs(1000)),
        dynamic_key: None,
    };
    let stickiness = Stickiness::new(&cookie, &[server("a"), server("b"), server("b")]);
    let mut headers = HeaderMap::new();
    for field in given
        .iter()
        .filter_map(|field| HeaderValue::from_bytes(field).ok())
    {
        headers.append(COOKIE, field);
    }
    let before = others(&headers);
    let present = headers.contains_key(COOKIE);
    let asked = stickiness.on_request(&mut headers, now_s, |server| {
        server != usize::from(flags >> 6)
    });
    assert_eq!(others(&headers), before);
    assert!(headers.get_all(COOKIE).iter().count() <= 1);
    if let Some(field) = headers.get(COOKIE) {
        assert!(!field.as_bytes().split(|&byte| byte == b';').any(is_ours));
    } else {
        assert!(!present || asked.verdict != Verdict::None);
    }
    let again = stickiness.on_request(&mut headers.clone(), now_s, |_| true);
    assert_eq!(again.verdict, Verdict::None);

    let mut response = HeaderMap::new();
    for field in set
        .iter()
        .filter_map(|field| HeaderValue::from_bytes(field).ok())
    {
        response.append(SET_COOKIE, field);
    }
    let request = RequestFacts::of(&Method::GET);
    let served_by = usize::from(flags >> 4 & 1);
    let letter = stickiness.on_response(
        &asked,
        served_by,
        &request,
        StatusCode::OK,
        &mut response,
        now_s,
    );
    let ours: Vec<&HeaderValue> = response
        .get_all(SET_COOKIE)
        .iter()
        .filter(|field| {
            is_ours(
                field
                    .as_bytes()
                    .split(|&byte| byte == b';')
                    .next()
                    .unwrap_or_default(),
            )
        })
        .collect();
    match letter {
        'I' | 'U' => {
            assert_eq!(ours.len(), 1);
            let pair = ours[0]
                .as_bytes()
                .split(|&byte| byte == b';')
                .next()
                .unwrap_or_default();
            let mut next = HeaderMap::new();
            next.insert(
                COOKIE,
                HeaderValue::from_bytes(pair).expect("part of a value"),
            );
            let asked = stickiness.on_request(&mut next, now_s, |_| true);
            assert_eq!(asked.server(), Some(served_by), "{pair:?} {asked:?}");
        }
        'N' | 'D' => assert!(ours.is_empty()),
        'P' => assert!(!ours.is_empty() && cookie.preserve),
        _ => panic!("{letter}"),
    }
});
