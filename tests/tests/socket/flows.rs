//! `show sess` and `clear counters` over connections that are really open.

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::cluster::Service;
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
            cut.starts_with("Not done: a single flow cannot be ended"),
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
