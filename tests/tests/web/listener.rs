//! Who may do what, and where the page is.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::snapshot::{AdminState, Severity};
use mb_lb_tests::cluster::shares;
use mb_lb_tests::try_wait_until;

use super::{PASSWORD, Page, SOON, configuration, password_file};

#[test]
fn a_server_is_drained_by_the_page() -> Result<()> {
    let page = Page::start("webdrain")?;
    let refused = page.curl(&[&page.url("/stats")])?;
    assert_eq!(refused.status, 401);
    assert!(
        refused
            .head
            .contains("www-authenticate: basic realm=\"mb-lb\""),
        "{refused:?}"
    );
    let shown = page.get("/stats")?;
    assert_eq!(shown.status, 200);
    for word in ["10.77.0.100:25", "smtp", "mb1", "mb2", "mb3", "all well"] {
        assert!(shown.body.contains(word), "{word}");
    }

    let post = |site: &str, action: &str| {
        page.curl(&[
            "--user",
            &format!("admin:{PASSWORD}"),
            "--header",
            &format!("Origin: {site}"),
            "--data",
            &format!("s=mb2&action={action}&b=smtp&reason=new+kernel"),
            &page.url("/stats"),
        ])
    };
    let foreign = post("http://evil.example", "maint")?;
    assert_eq!(foreign.status, 403, "{foreign:?}");
    assert_eq!(page.cluster.server("smtp/mb2")?.admin, AdminState::Ready);

    let own = format!("http://{}", page.host());
    let drained = post(&own, "drain")?;
    assert_eq!(drained.status, 303);
    assert!(
        drained.head.contains("location: /stats;st=done"),
        "{drained:?}"
    );
    let server = page.cluster.server("smtp/mb2")?;
    assert_eq!(
        (
            server.admin,
            server.admin_by.as_str(),
            server.admin_reason.as_str()
        ),
        (AdminState::Drain, "admin (page)", "new kernel")
    );
    assert_eq!(shares(&page.cluster.open(6)?).get("mb2"), None);
    let events = page.get("/api/v1/events?limit=5")?.body;
    assert!(
        events.contains("ready -> drain by admin (page): new kernel"),
        "{events}"
    );
    let shown = page.get("/stats;st=DONE")?.body;
    assert!(
        shown.contains("ready -&gt; drain by admin (page): new kernel"),
        "{shown}"
    );

    post(&own, "ready")?;
    assert_eq!(page.cluster.server("smtp/mb2")?.admin, AdminState::Ready);
    Ok(())
}

#[test]
fn an_address_that_is_taken_is_an_alarm_until_it_is_free() -> Result<()> {
    let mut page = Page::start("webtaken")?;
    let machine = page.director().machine().clone();
    let mut other = machine.command("socat");
    other.args(["TCP-LISTEN:8406,reuseaddr,fork", "SYSTEM:cat"]);
    let mut other = machine.spawn("socat", &mut other)?;
    try_wait_until("socat to listen", SOON, || {
        let listening = machine.run("ss", &["-Hltn", "sport = :8406"])?;
        ensure!(!listening.is_empty(), "it does not yet");
        Ok(())
    })?;

    // It leaves the old address at once, and says why it is not at the new one.
    page.director()
        .write_config(&configuration(&page.cluster.lab, 8406))?;
    page.director().expect(&["reload"])?;
    let alarm = try_wait_until("the alarm", SOON, || {
        let alarms = page.director().status()?.alarms;
        let alarm = alarms
            .iter()
            .find(|alarm| alarm.text.starts_with("admin.http"));
        alarm.cloned().with_context(|| format!("{alarms:?}"))
    })?;
    assert_eq!(
        alarm.text,
        format!(
            "admin.http {}:8406: cannot listen: Address already in use (os error 98); page, API and metrics are not served",
            machine.ipv4()
        )
    );
    assert_eq!(alarm.severity, Severity::Warning);
    assert_eq!(
        alarm.next,
        "correct that: it is tried again every few seconds"
    );
    assert!(
        page.curl(&[&page.url("/health")]).is_err(),
        "the old address is left"
    );

    other.kill()?;
    let url = format!("http://{}:8406/health", machine.ipv4());
    try_wait_until("the page at its new address", SOON, || {
        let health = page.curl(&[&url])?;
        ensure!(health.status == 200, "{health:?}");
        ensure!(page.director().status()?.alarms.is_empty(), "an alarm");
        Ok(())
    })?;

    // And no page at all.
    let plain = configuration(&page.cluster.lab, 8406);
    let service = plain.find("[service").context("a service")?;
    page.director().write_config(&plain[service..])?;
    page.director().expect(&["reload"])?;
    try_wait_until("the page to go", SOON, || {
        ensure!(page.curl(&[&url]).is_err(), "it is still there");
        Ok(())
    })?;
    page.cluster.director.stop()
}

#[test]
fn the_password_is_read_again_at_a_reload() -> Result<()> {
    let mut page = Page::start("webpassword")?;
    let file = password_file(page.director().machine().directory());
    fs::write(&file, "another one\n")?;
    assert_eq!(page.get("/stats")?.status, 200, "nothing was reloaded yet");
    page.director().expect(&["reload"])?;
    try_wait_until("the new password", SOON, || {
        let old = page.get("/stats")?;
        ensure!(old.status == 401, "{}", old.status);
        Ok(())
    })?;
    let new = page.curl(&["--user", "admin:another one", &page.url("/stats")])?;
    assert_eq!(new.status, 200);

    // One that cannot be read refuses the reload, and at the start there is no page, rather than an open one.
    fs::remove_file(&file)?;
    let answer = page.director().ctl(&["reload"])?;
    assert_eq!(answer.code, 3, "{answer:?}");
    assert!(
        answer
            .stderr
            .contains("the password of admin.user cannot be read"),
        "{answer:?}"
    );
    assert_eq!(
        page.curl(&["--user", "admin:another one", &page.url("/stats")])?
            .status,
        200
    );
    page.cluster.director.restart()?;
    try_wait_until("the alarm", SOON, || {
        let alarms = page.director().status()?.alarms;
        ensure!(
            alarms.iter().any(|alarm| alarm
                .text
                .contains("the password of admin.user cannot be read")),
            "{alarms:?}"
        );
        Ok(())
    })?;
    assert!(
        page.curl(&[&page.url("/health")]).is_err(),
        "nothing is served"
    );
    fs::write(&file, format!("{PASSWORD}\n"))?;
    try_wait_until("the page, with no reload", SOON, || {
        let shown = page.get("/stats")?;
        ensure!(shown.status == 200, "{}", shown.status);
        Ok(())
    })
}

/// The page survives what the controller survives: killed, it is there again with the next one.
#[test]
fn the_next_controller_has_the_page_again() -> Result<()> {
    let mut page = Page::start("webagain")?;
    page.cluster.director.kill()?;
    page.cluster.director.run()?;
    try_wait_until("the page", SOON, || {
        let shown = page.get("/stats;csv")?;
        ensure!(shown.body.starts_with("# pxname,svname"), "{shown:?}");
        Ok(())
    })
}

/// Whoever asks for much and reads none of it cannot fill the controller's memory.
#[test]
fn answers_that_nobody_reads_have_so_much_memory_and_no_more() -> Result<()> {
    const MIB: usize = 1024 * 1024;
    let page = Page::start("webunread")?;
    let director = page.director();
    let mut text = configuration(&page.cluster.lab, 8404);
    let (http, service) = text.split_once("user = ").context("a password")?;
    let (_, service) = service.split_once("\n\n").context("a service")?;
    text = format!("{http}\n{service}\n");
    for many in 0..4 {
        let port = 2600 + many;
        writeln!(
            text,
            "[service.many{many}]\nlisten = \"10.77.0.100:{port}\"\nforward = \"proxy\"\ncheck = {{ type = \"none\" }}\n\
             [service.many{many}.servers]"
        )?;
        for n in 0..1000 {
            writeln!(text, "server{n} = \"10.90.{}.{}\"", n / 250, n % 250 + 1)?;
        }
    }
    director.write_config(&text)?;
    director.expect(&["reload"])?;
    let whole = try_wait_until("the page without a password", SOON, || {
        let answer = page.curl(&[&page.url("/api/v1/servers")])?;
        ensure!(answer.status == 200, "{}", answer.status);
        Ok(answer.body.len())
    })?;
    ensure!(whole > 2 * MIB, "{whole} bytes fit into the sockets");

    // Only the first word of each is read.
    let mut open = Vec::new();
    let mut answers = Vec::new();
    for _ in 0..40 {
        let (stream, status) = page.cluster.lab.client().enter(|| -> Result<_> {
            let mut stream = TcpStream::connect(page.host())?;
            stream.write_all(b"GET /api/v1/servers HTTP/1.1\r\nHost: page\r\n\r\n")?;
            let mut status = [0; 12];
            stream.read_exact(&mut status)?;
            Ok((stream, String::from_utf8_lossy(&status).into_owned()))
        })?;
        open.push(stream);
        answers.push(status);
        // The first ones have so much time to be read, and not for ever.
        if answers
            .iter()
            .filter(|answer| answer.ends_with("503"))
            .count()
            == 3
        {
            break;
        }
    }
    let given = answers.iter().filter(|answer| *answer == "HTTP/1.1 200");
    let given = given.count();
    let room = 32 * MIB / whole;
    ensure!(
        (1..=room).contains(&given),
        "{given} of {room}: {answers:?}"
    );
    let refused = answers.iter().filter(|answer| *answer == "HTTP/1.1 503");
    ensure!(refused.count() == answers.len() - given, "{answers:?}");
    // Meanwhile it tells how it is, and what is short.
    ensure!(page.curl(&[&page.url("/health")])?.status == 200);
    let refused = page.curl(&[&page.url("/api/v1/servers")])?;
    ensure!(
        refused.status == 503
            && refused.head.contains("retry-after: 5")
            && refused.body
                == "Answers that others have asked for are not read yet: try it again.\n",
        "{refused:?}"
    );

    drop(open);
    try_wait_until("room again", SOON, || {
        let answer = page.curl(&[&page.url("/api/v1/servers")])?;
        ensure!(answer.status == 200, "{}", answer.status);
        Ok(())
    })
}
