//! WebSocket through the director to nginx, and from there to a server of WebSocket.

use anyhow::{Result, ensure};
use mb_lb_tests::{Process, try_wait_until};

use crate::Https;
use crate::script::{self, Dialogue};
use crate::setup::SOON;

const ECHO: &str = include_str!("scripts/echo.py");
const CLIENTS: [(&str, &str); 2] = [
    ("websocket1.py", include_str!("scripts/websocket1.py")),
    ("websocket2.py", include_str!("scripts/websocket2.py")),
];
/// More than any window or buffer on the way.
const LONG: u32 = 3_000_000;

/// One on each server.
pub fn echo(https: &Https) -> Result<Vec<Process>> {
    let start = |server: &mb_lb_tests::Machine| {
        let mut command = script::command(server, "echo.py", ECHO)?;
        let process = server.spawn("echo", command.arg(server.name()))?;
        try_wait_until("the server of WebSocket", SOON, || {
            let listed = server.run("ss", &["-Hltn", "sport = :9000"])?;
            ensure!(!listed.trim().is_empty(), "{}", process.tail());
            Ok(())
        })?;
        Ok(process)
    };
    https.lab.servers().iter().map(start).collect()
}

fn client(https: &Https, (name, script): (&str, &str), server: &str) -> Result<Dialogue> {
    let address = https.lab.vip4().to_string();
    let mut command = script::command(https.client(), name, script)?;
    command.args([address, format!("SERVERID={server}")]);
    let mut client = Dialogue::start(&mut command)?;
    ensure!(client.line()? == "open");
    Ok(client)
}

#[test]
fn messages_go_both_ways_whatever_the_director_is_told() -> Result<()> {
    let mut https = Https::start("pxsocket", "access_log = \"json\"")?;
    let _echo = echo(&https)?;
    let mut clients = Vec::new();
    for which in CLIENTS {
        clients.push(client(&https, which, "mb2")?);
    }
    let active = |https: &Https, expected: i64| {
        try_wait_until("the tunnels to be counted", SOON, || {
            let active = https.server("mb2")?.active;
            ensure!(active == expected, "{active}");
            Ok(())
        })
    };
    active(&https, 2)?;
    let mut say = |when: &str| -> Result<()> {
        for client in &mut clients {
            for at in 0..20 {
                let message = format!("{when} {at}");
                let answer = client.ask(&message)?;
                ensure!(answer == format!("mb2 {message}"), "{answer}");
            }
            // Its own name comes in front.
            let answer = client.ask(&format!("long {LONG}"))?;
            ensure!(answer == (LONG + 4).to_string(), "{answer}");
            let answer = client.ask(&format!("send {LONG}"))?;
            ensure!(answer == LONG.to_string(), "{answer}");
        }
        Ok(())
    };
    say("before")?;
    let retries = https
        .config()
        .replace("cookie = { name", "retries = 1\ncookie = { name");
    https.director.write_config(&retries)?;
    https.director.expect(&["reload"])?;
    https.renew_certificate()?;
    https.director.expect(&["reload"])?;
    say("after reloads")?;
    https.director.expect(&["drain", "https_backend/mb2"])?;
    say("drained")?;
    for which in CLIENTS {
        let mut later = client(&https, which, "mb2")?;
        ensure!(later.ask("hello")? == "mb2 hello", "a user of its own");
        ensure!(later.end()? == "closed 1000");
    }
    https.director.expect(&["maint", "https_backend/mb2"])?;
    say("in maintenance")?;
    for which in CLIENTS {
        let mut later = client(&https, which, "mb2")?;
        let answer = later.ask("hello")?;
        ensure!(
            answer == "mb1 hello" || answer == "mb3 hello",
            "elsewhere: {answer}"
        );
        ensure!(later.end()? == "closed 1000");
    }
    active(&https, 2)?;
    for client in clients {
        ensure!(client.end()? == "closed 1000");
    }
    active(&https, 0)?;
    try_wait_until("the lines of all six", SOON, || {
        let log = https.access_log()?;
        let tunnels = log.iter().filter(|line| line["target"] == "/ws");
        let mut seen: Vec<_> = tunnels
            .map(|line| format!("{} {}", line["version"], line["method"]))
            .collect();
        seen.sort();
        let one = "\"HTTP/1.1\" \"GET\"";
        let two = "\"HTTP/2.0\" \"CONNECT\"";
        ensure!(seen == [one, one, one, two, two, two], "{seen:?}");
        Ok(())
    })
}
