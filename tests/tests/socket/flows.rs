//! `show sess` and `clear counters` over connections that are really open.

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::cluster::{Service, expect_all_alive};
use mb_lb_tests::{Cluster, try_wait_until};

use crate::ask;
use crate::rig::SOON;

#[test]
fn each_flow_is_a_session_and_can_be_asked_for() -> Result<()> {
    let cluster = Cluster::start("socksess", 2, |lab| Service::smtp(lab, &[10, 10]).toml())?;
    let socket = cluster.director.socket();
    let _sessions = cluster.open(6)?;
    let client = cluster.lab.client().ipv4();
    let list = try_wait_until("six flows", SOON, || {
        let list = ask(&socket, "show sess\n")?;
        ensure!(list.lines().count() == 7, "{list}");
        Ok(list)
    })?;
    let mut servers = Vec::new();
    for line in list.lines().filter(|line| !line.is_empty()) {
        let (id, rest) = line.split_once(": ").context("an id")?;
        let field = |name: &str| {
            let mut words = rest.split(' ');
            words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        };
        ensure!(
            field("proto") == Some("tcpv4") && field("fe") == Some("smtp"),
            "{line}"
        );
        ensure!(
            field("src").is_some_and(|src| src.starts_with(&format!("{client}:"))),
            "{line}"
        );
        ensure!(
            field("exp").is_some_and(|exp| exp.starts_with("14m") || exp == "15m"),
            "{line}"
        );
        servers.push(field("srv").context("a server")?.to_owned());
        let one = ask(&socket, format!("show sess {id}\n"))?;
        let source = format!("source={}", field("src").context("a source")?);
        ensure!(
            one.starts_with(&format!("{id}: [")) && one.contains(&source),
            "{one}"
        );
        ensure!(one.contains("state=established"), "{one}");
        let cut = ask(&socket, format!("shutdown session {id}\n"))?;
        ensure!(
            cut.starts_with("Not done: a single flow of the kernel cannot be ended"),
            "{cut}"
        );
    }
    servers.sort();
    ensure!(
        servers == ["mb1", "mb1", "mb1", "mb2", "mb2", "mb2"],
        "{servers:?}"
    );
    Ok(())
}

/// What the controller carries itself, and can therefore end.
#[test]
fn sessions_in_user_mode_are_listed_and_ended_one_by_one_or_all_of_a_server() -> Result<()> {
    let cluster = Cluster::start("sockuser", 2, |lab| {
        let service = Service::smtp(lab, &[10, 10]).toml();
        service.replace("\"dsr\"", "\"proxy\"")
    })?;
    let socket = cluster.director.socket();
    let mut sessions = cluster.open(4)?;
    // Sessions of the sink's names, by the id that `show sess` has.
    let listed = || -> Result<Vec<(String, String)>> {
        let list = ask(&socket, "show sess\n")?;
        let lines = list.lines().filter(|line| !line.is_empty());
        lines
            .map(|line| {
                let (id, rest) = line.split_once(": ").context("an id")?;
                let mut words = rest.split(' ');
                let source = words.find_map(|word| word.strip_prefix("src="));
                ensure!(rest.contains(" fe=smtp be=smtp srv=mb"), "{line}");
                Ok((id.to_owned(), source.context("a source")?.to_owned()))
            })
            .collect()
    };
    let list = listed()?;
    ensure!(list.len() == 4, "{list:?}");
    // Neither the first nor the last of the table.
    let (id, source) = &list[1];
    let at = sessions
        .iter()
        .position(|session| session.local().to_string() == *source);
    let mut meant = sessions.remove(at.context("it is one of them")?);
    let one = ask(&socket, format!("show sess {id}\n"))?;
    let server = format!("server={} (id=", meant.server());
    ensure!(
        one.starts_with(&format!("{id}: [")) && one.contains(&server),
        "{one}"
    );
    ensure!(ask(&socket, format!("shutdown session {id}\n"))? == "\n");
    ensure!(meant.command("NOOP").is_err(), "it goes on");
    try_wait_until("it to be forgotten", SOON, || {
        let again = ask(&socket, format!("shutdown session {id}\n"))?;
        ensure!(again == "No such session (use 'show sess').\n\n", "{again}");
        Ok(())
    })?;
    expect_all_alive(&mut sessions)?;
    let told = cluster.director.expect(&["events"])?;
    ensure!(told.contains("1 session ended by root"), "{told}");

    ensure!(ask(&socket, "shutdown sessions server smtp/mb1\n")? == "\n");
    let (mut ended, mut others): (Vec<_>, Vec<_>) = sessions
        .into_iter()
        .partition(|session| session.server() == "mb1");
    for session in &mut ended {
        ensure!(session.command("NOOP").is_err(), "it goes on");
    }
    ensure!(!ended.is_empty() && !others.is_empty());
    expect_all_alive(&mut others)?;
    try_wait_until("the others to be listed", SOON, || {
        let list = listed()?;
        ensure!(list.len() == others.len(), "{list:?}");
        Ok(())
    })?;
    Ok(())
}

/// Of one server's row.
fn column(socket: &std::path::Path, server: &str, name: &str) -> Result<String> {
    let stat = ask(socket, "show stat\n")?;
    let mut lines = stat.lines();
    let header = lines.next().context("a header")?.trim_start_matches("# ");
    let at = header.split(',').position(|column| column == name);
    let row = lines.find(|line| line.split(',').nth(1) == Some(server));
    let cell = row
        .context("a row")?
        .split(',')
        .nth(at.context("a column")?);
    Ok(cell.context("a cell")?.to_owned())
}

#[test]
fn counters_are_shown_since_they_were_cleared_and_go_on_elsewhere() -> Result<()> {
    let cluster = Cluster::start("sockclear", 2, |lab| Service::smtp(lab, &[10, 10]).toml())?;
    let socket = cluster.director.socket();
    let is = |name: &str, expected: &str| {
        try_wait_until(&format!("{name} {expected}"), SOON, || {
            let found = column(&socket, "mb1", name)?;
            ensure!(found == expected, "{found}");
            Ok(())
        })
    };
    let sessions = cluster.open(8)?;
    is("scur", "4")?;
    is("smax", "4")?;
    is("stot", "4")?;
    drop(sessions);
    is("scur", "0")?;
    is("smax", "4")?;
    // Maxima only.
    ensure!(ask(&socket, "clear counters\n")? == "\n");
    is("smax", "0")?;
    is("stot", "4")?;
    ensure!(ask(&socket, "clear counters all\n")? == "\n");
    is("stot", "0")?;
    ensure!(column(&socket, "BACKEND", "stot")? == "0");
    let _sessions = cluster.open(2)?;
    is("stot", "1")?;
    is("smax", "1")?;
    ensure!(cluster.server("smtp/mb1")?.opened == 5);
    Ok(())
}
