//! Users stay on their server as long as it can be, and are served all the while.

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::{Director, try_wait_until};

use crate::Https;
use crate::script::Dialogue;
use crate::setup::{SOON, wait_usable};

#[test]
fn a_session_stays_through_drain_and_moves_at_maint_kill_and_return() -> Result<()> {
    let mut https = Https::start("pxusers", "")?;
    let jar = https.client().directory().join("cookies.txt");
    let jar = jar.to_str().context("a path of text")?.to_owned();
    let login = https.get("/login", &["-c", &jar])?;
    ensure!(login.status == "200", "{login:?}");
    let own = login.body.clone();
    ensure!(
        login.all("set-cookie") == [format!("SERVERID={own}; path=/")],
        "{login:?}"
    );
    let visit = |https: &Https| https.get("/", &["-b", &jar, "-c", &jar]);
    for http in ["--http1.1", "--http2"] {
        for _ in 0..6 {
            let page = https.get("/", &["-b", &jar, http])?;
            ensure!(
                page.body == own && page.one("set-cookie").is_none(),
                "{page:?}"
            );
        }
    }
    // Without a cookie they go round.
    let mut others: Vec<_> = (0..6)
        .map(|_| Ok(https.get("/", &[])?.body))
        .collect::<Result<_>>()?;
    others.sort();
    others.dedup();
    ensure!(others == ["mb1", "mb2", "mb3"], "{others:?}");

    // Drained on every service at once, it keeps its users and takes no others.
    let drained = https
        .director
        .expect(&["drain", &own, "--all", "--reason", "new kernel"])?;
    ensure!(
        drained.contains(&format!("https_backend/{own}")),
        "{drained}"
    );
    for _ in 0..6 {
        ensure!(visit(&https)?.body == own);
        ensure!(https.get("/", &[])?.body != own);
    }
    // In maintenance they move, once.
    https
        .director
        .expect(&["maint", &format!("https_backend/{own}")])?;
    let moved = visit(&https)?;
    ensure!(
        moved.body != own && moved.one("set-cookie").is_some(),
        "{moved:?}"
    );
    let second = moved.body.clone();
    for _ in 0..4 {
        let page = visit(&https)?;
        ensure!(
            page.body == second && page.one("set-cookie").is_none(),
            "{page:?}"
        );
    }
    https.director.expect(&["ready", &own, "--all"])?;
    https.wait_usable(&own, true)?;
    ensure!(visit(&https)?.body == second, "who has moved stays");

    // Killed: not one request fails, whether the checks know of it or not.
    let at = https
        .lab
        .servers()
        .iter()
        .position(|server| server.name() == second);
    let at = at.context("one of them")?;
    https.servers[at].kill()?;
    let third = visit(&https)?;
    ensure!(third.status == "200" && third.body != second, "{third:?}");
    https.wait_usable(&second, false)?;
    https.servers[at].again()?;
    https.wait_usable(&second, true)?;
    ensure!(visit(&https)?.body == third.body);
    Ok(())
}

/// What an operator does to renew a server and then the director, as a user who has logged in sees it.
#[test]
fn a_login_lasts_while_servers_and_directors_are_renewed() -> Result<()> {
    let mut https = Https::start("pxlogin", "")?;
    let jar = https.client().directory().join("cookies.txt");
    let jar = jar.to_str().context("a path of text")?.to_owned();
    let login = https.get("/session", &["-c", &jar, "-d", "name=user"])?;
    let own = login.body.clone();
    ensure!(login.all("set-cookie").len() == 2, "{login:?}");
    let cookies = login.all("set-cookie");
    let session = cookies.iter().find(|cookie| cookie.starts_with("SESSION="));
    let session = session.and_then(|cookie| cookie.split(';').next());
    let session = session.context("a session")?;
    // Where the user is; the application sees its session and no other cookie.
    let visit = |https: &Https| -> Result<String> {
        let page = https.get("/seen", &["-b", &jar, "-c", &jar])?;
        ensure!(page.body.split('|').next() == Some(session), "{page:?}");
        Ok(page.one("x-server").unwrap_or_default().to_owned())
    };
    ensure!(visit(&https)? == own);

    // An upload goes on through drain and maintenance.
    let mut curl = https.client().command("curl");
    let resolve = format!("mail.example.com:443:{}", https.lab.vip4());
    curl.args(["-k", "-sS", "-b", &jar, "--resolve", &resolve])
        .args(["-T", "-", "https://mail.example.com/upload"]);
    let mut upload = Dialogue::start(&mut curl)?;
    upload.tell(&"x".repeat(100_000))?;
    let at_work = |https: &Https, requests: i64| {
        try_wait_until("requests at the server", SOON, || {
            let active = https.server(&own)?.active;
            ensure!(active == requests, "{active}");
            Ok(())
        })
    };
    at_work(&https, 1)?;
    let own_server = format!("https_backend/{own}");
    https.director.expect(&["drain", &own_server])?;
    ensure!(visit(&https)? == own);
    https.director.expect(&["maint", &own_server])?;
    let second = visit(&https)?;
    ensure!(second != own);
    at_work(&https, 1)?;
    upload.tell(&"x".repeat(100_000))?;
    ensure!(upload.end()? == own);
    at_work(&https, 0)?;
    https.director.expect(&["ready", &own_server])?;
    https.wait_usable(&own, true)?;
    ensure!(visit(&https)? == second, "who has moved stays");

    // The other director knows the cookie, and so does the first one after a restart.
    let address = https.lab.machine("lb2").ipv4();
    let text = https
        .config()
        .replace("\"lb1\"", "\"lb2\"")
        .replace(&https.lab.vip4().to_string(), &address.to_string());
    let other = Director::start(&https.lab, "lb2", &text)?;
    wait_usable(&other, &second, true)?;
    for _ in 0..4 {
        let page = https.curl_at(address, 443, "/seen", &["-b", &jar])?;
        ensure!(page.one("x-server") == Some(&second), "{page:?}");
        ensure!(page.one("set-cookie").is_none(), "{page:?}");
    }
    drop(other);
    https.director.restart()?;
    https.wait_usable(&second, true)?;
    ensure!(visit(&https)? == second);
    Ok(())
}

#[test]
fn a_health_page_takes_a_server_out_and_its_failed_members_are_the_reason() -> Result<()> {
    let https = Https::start("pxhealth", "")?;
    https.servers[1].lose_health()?;
    https.wait_usable("mb2", false)?;
    for _ in 0..6 {
        ensure!(https.get("/", &[])?.body != "mb2");
    }
    let shown = https.director.expect(&["describe", "https_backend/mb2"])?;
    ensure!(shown.contains("503"), "{shown}");
    https.servers[1].set_health("degraded", "no connection")?;
    https.wait_usable("mb2", true)?;
    try_wait_until("the members to be shown", SOON, || {
        let shown = https.director.expect(&["describe", "https_backend/mb2"])?;
        ensure!(shown.contains("database"), "{shown}");
        Ok(())
    })
}

#[test]
fn plain_http_is_sent_to_https_and_the_proxy_is_shown() -> Result<()> {
    let https = Https::start("pxplain", "hsts = \"1h\"")?;
    let url = format!("http://{}/a?b=c", https.lab.vip4());
    let text = https
        .client()
        .run("curl", &["-s", "-i", "-H", "Host: mail.example.com", &url])?;
    let answer = crate::Answer::parse(&text)?;
    ensure!(answer.status == "301", "{answer:?}");
    ensure!(
        answer.one("location") == Some("https://mail.example.com/a?b=c"),
        "{answer:?}"
    );
    let page = https.get("/", &[])?;
    ensure!(
        page.one("strict-transport-security") == Some("max-age=3600"),
        "{page:?}"
    );
    let seen = https.get(
        "/seen",
        &[
            "-H",
            "X-Forwarded-For: 1.2.3.4",
            "-b",
            "a=1; SERVERID=x; b=2",
        ],
    )?;
    let client = https.client().ipv4();
    ensure!(
        seen.body == format!("a=1; b=2|{client}|https|mail.example.com"),
        "{seen:?}"
    );
    let status = https.director.expect(&["status"])?;
    ensure!(
        status.contains("https_backend") && status.contains("mb3"),
        "{status}"
    );
    let listed = https.director.expect(&["list", "checks"])?;
    ensure!(listed.contains("http"), "{listed}");
    Ok(())
}
