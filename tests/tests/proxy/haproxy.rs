//! The same requests to Debian's HAProxy and to us: the same answers.

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
         timeout server 50s\nfrontend https\n    bind {}:{PORT} ssl crt {}\n    option forwardfor\n    default_backend https_backend\n\
         backend https_backend\n    balance roundrobin\n    cookie SERVERID insert indirect nocache\n",
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

/// What of an answer users' stickiness depends on; `choice` is whether the server was named by the request.
fn essence(answer: &Answer, choice: bool) -> (String, Vec<String>, Vec<String>, String) {
    let server = answer.one("x-server").unwrap_or_default().to_owned();
    let blank = |text: &str| match choice {
        true => text.to_owned(),
        false if server.is_empty() => text.to_owned(),
        false => text.replace(&server, "ANY"),
    };
    (
        answer.status.clone(),
        answer.all("set-cookie").into_iter().map(blank).collect(),
        answer
            .all("cache-control")
            .into_iter()
            .map(str::to_owned)
            .collect(),
        blank(&answer.body),
    )
}

/// Cookie of the request, and whether it names a server that can be used.
const COOKIES: [(&str, bool); 16] = [
    ("", false),
    ("SERVERID=mb2", true),
    ("SERVERID=mb3", true),
    ("a=1; SERVERID=mb2; b=2", true),
    ("SERVERID=mb2; b=2", true),
    ("a=1; SERVERID=mb2", true),
    ("SERVERID=unknown", false),
    ("SERVERID=", false),
    ("SERVERID", false),
    ("serverid=mb2", false),
    ("SERVERID=\"mb2\"", true),
    ("SERVERID=mb2; SERVERID=mb3", true),
    ("SERVERID=nobody; SERVERID=mb3", true),
    ("XSERVERID=mb2; c=3", false),
    ("a=1;SERVERID=mb2;b=2", true),
    ("  a=1 ;  SERVERID=mb2  ; b=2 ", true),
];

#[test]
fn cookies_are_read_and_given_out_as_haproxy_does() -> Result<()> {
    let https = Https::start("pxcookies", "")?;
    let _haproxy = start(&https)?;
    let mut differences = Vec::new();
    let mut compare = |what: &str, path: &str, cookie: &str, choice: bool| -> Result<()> {
        let arguments: &[&str] = match cookie {
            "" => &[],
            cookie => &["-H", &format!("Cookie: {cookie}")],
        };
        let [theirs, ours] = [PORT, 443].map(|port| https.curl(port, path, arguments));
        let [theirs, ours] = [essence(&theirs?, choice), essence(&ours?, choice)];
        if theirs != ours {
            differences.push(format!(
                "{what} {path} {cookie:?}: HAProxy {theirs:?}, ours {ours:?}"
            ));
        }
        Ok(())
    };
    for path in ["/", "/etag", "/private", "/age", "/own"] {
        for (cookie, choice) in COOKIES {
            compare("up", path, cookie, choice)?;
        }
    }
    // By what a server in a state does with who has its cookie.
    let socket = https.director.machine().directory().join("haproxy.sock");
    for state in ["drain", "maint", "ready"] {
        let line = format!(
            "echo 'set server https_backend/mb2 state {state}' | socat stdio {}",
            socket.display()
        );
        https.director.machine().run("sh", &["-c", &line])?;
        https.director.expect(&[state, "https_backend/mb2"])?;
        if state == "ready" {
            https.wait_usable("mb2", true)?;
        }
        for (cookie, choice) in COOKIES {
            let honoured = choice && (state != "maint" || !cookie.contains("mb2"));
            compare(state, "/etag", cookie, honoured)?;
        }
    }
    // What the server sees of the cookies.
    for (cookie, _) in COOKIES {
        let arguments: &[&str] = match cookie {
            "" => &[],
            cookie => &["-H", &format!("Cookie: {cookie}")],
        };
        let of = |port| -> Result<String> {
            let answer = https.curl(port, "/seen", arguments)?;
            Ok(answer.body.split('|').next().unwrap_or_default().to_owned())
        };
        let (theirs, ours) = (of(PORT)?, of(443)?);
        if theirs != ours {
            differences.push(format!(
                "the server sees of {cookie:?}: HAProxy {theirs:?}, ours {ours:?}"
            ));
        }
    }
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}
