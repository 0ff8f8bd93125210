//! What it costs to check many servers, against HAProxy that checks the same ones as often.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Result, ensure};
use mb_lb_tests::cluster::sink;
use mb_lb_tests::wait::try_wait_until;
use mb_lb_tests::{Director, Lab};

use crate::Effort;
use crate::report::{Report, Spread};
use crate::tiers::{cost, haproxy};

const SOON: Duration = Duration::from_secs(120);
/// Servers of each service, of which there are five; a service may have 1,024.
const EACH: u16 = 1000;
const SERVICES: u8 = 5;

pub fn measure(report: &mut Report, effort: Effort) -> Result<()> {
    let lab = Lab::new("bench-checks")?;
    let vip = format!("{}/32", lab.vip4());
    let director = lab.machine("lb1");
    director.run("ip", &["address", "replace", &vip, "dev", "eth0"])?;
    // A mail server with thousands of addresses: each is a server to whoever checks it.
    let machine = &lab.servers()[0];
    machine.run(
        "ip",
        &["route", "add", "local", "10.78.0.0/16", "dev", "lo"],
    )?;
    let through = machine.ipv4().to_string();
    director.run("ip", &["route", "add", "10.78.0.0/16", "via", &through])?;
    let _sink = sink(&lab, machine.name(), 25)?;
    let time = Duration::from_secs(if effort.quick { 6 } else { 30 });
    let total = usize::from(SERVICES) * usize::from(EACH);

    let costs = |config: &str, servers: usize| -> Result<(f64, f64)> {
        let mut director = Director::start(&lab, "lb1", config)?;
        try_wait_until("all servers to be up", SOON, || {
            let status = director.status()?;
            let servers_up = status.services.iter().flat_map(|service| &service.servers);
            let up = servers_up.filter(|server| server.usable).count();
            ensure!(up == servers, "{up} of {servers}");
            Ok(())
        })?;
        let cost = cost(director.running()?.pid(), time)?;
        director.stop()?;
        Ok(cost)
    };
    let one = format!(
        "[service.one]\nlisten = \"{}:7000\"\nforward = \"proxy\"\ncheck = {{ type = \"none\" }}\nservers = {{ mb1 = \"10.78.0.1\" }}\n",
        lab.vip4()
    );
    let (idle, base) = costs(&one, 1)?;
    let (busy, memory) = costs(&ours(&lab), total)?;
    let rival = haproxy(&lab, &theirs(&lab))?;
    // Until its first checks are over.
    std::thread::sleep(Duration::from_secs(4));
    let (rival_busy, rival_memory) = cost(rival.pid(), time)?;
    drop(rival);
    let mut row = |what: String, unit, value: f64, note: &str| {
        report.row("checks", what, unit, Spread::of([value]), note);
    };
    let own = format!("mb-lb, {total} servers checked by tcp every 2 s");
    let note = format!("without any: {idle:.2} %, {base:.0} MB");
    row(format!("{own}: CPU"), "% of a core", busy, &note);
    row(format!("{own}: memory"), "MB", memory, &note);
    let other = format!("HAProxy, {total} servers checked by tcp every 2 s");
    row(format!("{other}: CPU"), "% of a core", rival_busy, "");
    row(format!("{other}: memory"), "MB", rival_memory, "");
    report.ratio(
        format!("CPU to check {total} servers, to HAProxy"),
        busy / rival_busy,
        "",
    );
    report.ratio(
        format!("memory with {total} servers, to HAProxy"),
        memory / rival_memory,
        "",
    );
    lab.down()
}

/// Addresses of the servers of a service.
fn addresses(service: u8) -> impl Iterator<Item = String> {
    (0..EACH).map(move |at| {
        format!(
            "10.78.{}.{}",
            u16::from(service) * 8 + at / 250,
            at % 250 + 1
        )
    })
}

fn ours(lab: &Lab) -> String {
    let mut text = String::new();
    for service in 0..SERVICES {
        // Writing into a String cannot fail, here and below.
        let _ = writeln!(
            text,
            "[service.s{service}]\nlisten = \"{}:{}\"\nforward = \"proxy\"\n\
             check = {{ type = \"tcp\", port = 25, interval = \"2s\", timeout = \"1s\", rise = 2, fall = 3 }}\n\
             [service.s{service}.servers]",
            lab.vip4(),
            7001 + u16::from(service)
        );
        for (at, address) in addresses(service).enumerate() {
            let _ = writeln!(text, "m{at} = \"{address}\"");
        }
    }
    text
}

fn theirs(lab: &Lab) -> String {
    let mut text = String::new();
    for service in 0..SERVICES {
        let _ = writeln!(
            text,
            "listen s{service}\n bind {}:{}\n default-server check inter 2s fall 3 rise 2",
            lab.vip4(),
            7001 + u16::from(service)
        );
        for (at, address) in addresses(service).enumerate() {
            let _ = writeln!(text, " server m{at} {address}:25");
        }
    }
    text
}
