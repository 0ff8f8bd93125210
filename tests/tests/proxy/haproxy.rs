//! The same requests to Debian's HAProxy and to us: the same answers.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Result, ensure};
use mb_lb_tests::{Process, try_wait_until};

use crate::Https;
use crate::setup::{Answer, SOON};

const PORT: u16 = 8443;

/// HAProxy on the director, with the deployment's lines, in front of the same servers.
fn start(https: &Https) -> Result<Process> {
    let machine = https.director.machine();
    let mut text = format!(
        "global\n    stats socket {}/haproxy.sock level admin\ndefaults\n    mode http\n    timeout connect 5s\n    timeout client 50s\n    \
         timeout server 50s\nfrontend https\n    bind {}:{PORT} ssl crt {} alpn h2,http/1.1\n    option forwardfor\n    \
         default_backend https_backend\nbackend https_backend\n    balance roundrobin\n    cookie SERVERID insert indirect nocache\n",
        machine.directory().display(),
        https.lab.vip4(),
        https.certificate().display()
    );
    for server in https.lab.servers() {
        let (name, address) = (server.name(), server.ipv4());
        text += &format!("    server {name} {address}:443 ssl verify none cookie {name}\n");
    }
    let path = machine.directory().join("haproxy.cfg");
    fs::write(&path, text)?;
    let mut command = machine.command("haproxy");
    command.args(["-db", "-f"]).arg(&path);
    let process = machine.spawn("haproxy", &mut command)?;
    try_wait_until("HAProxy", SOON, || {
        let answer = https.curl(PORT, "/", &[])?;
        ensure!(answer.status == "200", "{answer:?}");
        Ok(())
    })?;
    Ok(process)
}

/// What of an answer users' stickiness depends on. Where a cookie is given out, a scheduler has chosen the server: then it
/// is `ANY`.
fn essence(answer: &Answer) -> String {
    let cookies = answer.all("set-cookie");
    let server = answer.one("x-server").unwrap_or("-");
    let server = match cookies.is_empty() || server == "-" {
        true => None,
        false => Some(server),
    };
    let blank = |text: &str| match server {
        Some(server) => text.replace(server, "ANY"),
        None => text.to_owned(),
    };
    // Our own pages have other words.
    let body = match answer.one("x-server") {
        // The page that says what the server sees has the port in Host.
        Some(_) => blank(&answer.body.replace(&format!(":{PORT}"), "")),
        None => String::new(),
    };
    let cookies: Vec<_> = cookies.into_iter().map(blank).collect();
    let caching = answer.all("cache-control");
    format!("{} {cookies:?} {caching:?} {body}", answer.status)
}

/// Of a request.
const COOKIES: [&str; 26] = [
    "",
    "SERVERID=mb2",
    "SERVERID=mb3",
    "a=1; SERVERID=mb2; b=2",
    "SERVERID=mb2; b=2",
    "a=1; SERVERID=mb2",
    "a=1; b=2",
    "SERVERID=unknown",
    "SERVERID=",
    "SERVERID",
    "SERVERID; a=1",
    "serverid=mb2",
    "SERVERID=MB2",
    "SERVERID=\"mb2\"",
    "SERVERID=mb2; SERVERID=mb3",
    "SERVERID=mb3; SERVERID=mb2; c=4",
    "SERVERID=nobody; SERVERID=mb3",
    "XSERVERID=mb2; c=3",
    "a=1;SERVERID=mb2;b=2",
    "  a=1 ;  SERVERID=mb2  ; b=2 ",
    "SERVERID = mb2; b=2",
    "a=1, SERVERID=mb2, b=2",
    "a=\"x; SERVERID=mb3\"; SERVERID=mb2",
    "$Version=1; SERVERID=mb2; $Path=/; b=2",
    "a = 1; SERVERID=mb2; b = 2",
    "SERVERID=mb2|abcde|abcde; z=26",
];

/// Other requests: what they are, path, arguments of curl.
const REQUESTS: [(&str, &str, &[&str]); 14] = [
    ("HEAD", "/etag", &["-I"]),
    ("POST", "/etag", &["-d", "x=1"]),
    ("PUT", "/etag", &["-X", "PUT", "-d", "x=1"]),
    ("OPTIONS", "/etag", &["-X", "OPTIONS"]),
    ("another method", "/etag", &["-X", "PURGE"]),
    (
        "Authorization",
        "/etag",
        &["-H", "Authorization: Basic eDp5"],
    ),
    ("no-store", "/etag", &["-H", "Cache-Control: no-store"]),
    ("no-cache", "/etag", &["-H", "Pragma: no-cache"]),
    ("HTTP/1.0", "/etag", &["--http1.0"]),
    (
        "two lines of cookies",
        "/",
        &["-H", "Cookie: a=1", "-H", "Cookie: SERVERID=mb2"],
    ),
    ("a path that is not there", "/health/none", &[]),
    ("a quotation mark in the query", "/etag?q=\"x\"", &[]),
    (
        "X-Forwarded-For of the client",
        "/seen",
        &["-H", "X-Forwarded-For: 1.2.3.4", "-b", "SERVERID=mb2"],
    ),
    ("X-Forwarded-Proto", "/seen", &["-b", "SERVERID=mb2"]),
];

/// What differs on purpose, and why. Each must occur.
const ACCEPTED: [(&str, &str); 4] = [
    (
        "a quotation mark in the query",
        "the HTTP library knows no such target; browsers send %22",
    ),
    (
        "X-Forwarded-For of the client",
        "what a client says of itself is not believed; HAProxy passes it on in front of its own",
    ),
    (
        "X-Forwarded-Proto",
        "it is always set; HAProxy wants a rule for it",
    ),
    (
        "seen \"a = 1; SERVERID=mb2; b = 2\"",
        "other cookies go on byte for byte; HAProxy takes out blanks around `=`",
    ),
];

#[test]
fn cookies_are_read_and_given_out_as_haproxy_does() -> Result<()> {
    let https = Https::start("pxcookies", "")?;
    let _haproxy = start(&https)?;
    let mut differences = BTreeMap::new();
    let mut compare = |what: String, ask: &dyn Fn(u16) -> Result<String>| -> Result<()> {
        let (theirs, ours) = (ask(PORT)?, ask(443)?);
        if theirs != ours {
            differences.insert(what, format!("HAProxy {theirs}\n    ours    {ours}"));
        }
        Ok(())
    };
    let cookie = |port, path: &str, cookie: &str, http| -> Result<Answer> {
        match cookie {
            "" => https.curl(port, path, &[http]),
            cookie => https.curl(port, path, &[http, "-H", &format!("Cookie: {cookie}")]),
        }
    };
    for path in ["/", "/etag", "/private", "/age", "/own"] {
        for value in COOKIES {
            let ask = |port| Ok(essence(&cookie(port, path, value, "--http1.1")?));
            compare(format!("{path} {value:?}"), &ask)?;
        }
    }
    for value in COOKIES {
        let ask = |port| Ok(essence(&cookie(port, "/etag", value, "--http2")?));
        compare(format!("HTTP/2 {value:?}"), &ask)?;
    }
    for (what, path, arguments) in REQUESTS {
        let ask = |port| {
            let answer = https.curl(port, path, arguments);
            Ok(answer.map_or_else(|_| "broken off".to_owned(), |answer| essence(&answer)))
        };
        compare(what.to_owned(), &ask)?;
    }
    // What the server sees of the cookies.
    for value in COOKIES {
        let ask = |port| -> Result<String> {
            let answer = cookie(port, "/seen", value, "--http1.1")?;
            Ok(answer.body.split('|').next().unwrap_or_default().to_owned())
        };
        compare(format!("seen {value:?}"), &ask)?;
    }
    // By what a server in a state does with who has its cookie.
    let socket = https.director.machine().directory().join("haproxy.sock");
    let set = |server: &str, state: &str| -> Result<()> {
        let line = format!(
            "echo 'set server https_backend/{server} state {state}' | socat stdio {}",
            socket.display()
        );
        https.director.machine().run("sh", &["-c", &line])?;
        let name = format!("https_backend/{server}");
        https.director.expect(&[state, &name])?;
        https.wait_usable(server, state == "ready")
    };
    for state in ["drain", "maint", "ready"] {
        set("mb2", state)?;
        for value in COOKIES {
            let ask = |port| Ok(essence(&cookie(port, "/etag", value, "--http1.1")?));
            compare(format!("mb2 {state} {value:?}"), &ask)?;
        }
    }
    for state in ["drain", "maint"] {
        for server in ["mb1", "mb2", "mb3"] {
            set(server, state)?;
        }
        for value in ["", "SERVERID=mb2", "SERVERID=unknown"] {
            let ask = |port| Ok(essence(&cookie(port, "/etag", value, "--http1.1")?));
            compare(format!("all {state} {value:?}"), &ask)?;
        }
    }
    let mut wrong = Vec::new();
    for (what, why) in ACCEPTED {
        if differences.remove(what).is_none() {
            wrong.push(format!("{what} is not different any more: {why}"));
        }
    }
    wrong.extend(
        differences
            .iter()
            .map(|(what, how)| format!("{what}\n    {how}")),
    );
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
