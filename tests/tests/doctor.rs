//! `mb-lb-ctl doctor` on a director that is well, and with one fault at a time; and `mb-lb-ctl server-setup`, whose lines are
//! run on servers that know nothing of dsr.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::snapshot::HealthState;
use mb_lb_tests::cluster::{Service, expect_code};
use mb_lb_tests::nginx::make_certificate;
use mb_lb_tests::{Cluster, Director, Lab, Machine, PairSetup, Session, Topology, try_wait_until};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);

/// A check that sees what clients see.
const THROUGH_VIP: &str =
    r#"{ type = "smtp", via = "vip", interval = "200ms", timeout = "2s", rise = 2, fall = 2 }"#;

fn config(lab: &Lab) -> String {
    Service::smtp(lab, &[10, 10]).check(THROUGH_VIP).toml()
}

/// Exit code and findings of `doctor ARGUMENTS -o json`.
fn findings(director: &Director, arguments: &[&str]) -> Result<(i32, Vec<Value>)> {
    let mut all = vec!["doctor", "-o", "json"];
    all.extend(arguments);
    let answer = director.ctl(&all)?;
    let json: Value =
        serde_json::from_str(&answer.stdout).with_context(|| answer.stderr.clone())?;
    ensure!(json["version"] == 1, "{json}");
    let found = json["findings"].as_array().context("no findings")?.clone();
    let problems = found.iter().filter(|one| one["level"] == "problem").count();
    ensure!(json["problems"] == problems, "{json}");
    ensure!(
        answer.code == if problems > 0 { 10 } else { 0 },
        "{answer:?}"
    );
    Ok((answer.code, found))
}

fn text(finding: &Value, key: &str) -> String {
    finding[key].as_str().unwrap_or_default().to_owned()
}

/// The one problem, which says this, and whose fix is this.
fn expect_problem(found: &[Value], group: &str, says: &str, fix: &str) -> Result<Value> {
    let problem = found
        .iter()
        .find(|one| {
            one["level"] == "problem" && one["group"] == group && text(one, "text").contains(says)
        })
        .with_context(|| format!("no problem of {group} says {says:?}: {found:#?}"))?;
    ensure!(text(problem, "next").contains(fix), "{problem:#}");
    ensure!(!text(problem, "means").is_empty(), "{problem:#}");
    Ok(problem.clone())
}

/// Waits until nothing is a problem any more.
fn expect_well(director: &Director) -> Result<Vec<Value>> {
    try_wait_until("doctor to find no problem", SOON, || {
        let (code, found) = findings(director, &[])?;
        ensure!(code == 0, "{found:#?}");
        Ok(found)
    })
}

#[test]
fn all_is_well_and_then_a_server_answers_arp_and_an_mtu_differs() -> Result<()> {
    let cluster = Cluster::start("doctor", 2, config)?;
    let director = &cluster.director;
    let found = expect_well(director)?;
    let ok = |group: &str, says: &str| {
        found.iter().any(|one| {
            one["level"] == "ok" && one["group"] == group && text(one, "text").contains(says)
        })
    };
    for (group, says) in [
        ("interfaces", "eth0 carries the program of mb-lb"),
        ("interfaces", "XDP is native on eth0"),
        ("neighbours", "smtp/mb1 is 10.77.0.101 at 02:77:00:00:00:65"),
        (
            "vips",
            "nobody but this director answers ARP for 10.77.0.100",
        ),
        ("servers", "smtp/mb2 answers for 10.77.0.100"),
        ("leftovers", "keepalived does not run here"),
        ("daemon", "the daemon answers"),
    ] {
        ensure!(ok(group, says), "{group}: {says}: {found:#?}");
    }
    let plain = director.expect(&["doctor"])?;
    ensure!(
        plain.contains("\n0 problems, ") && !plain.contains("  problem "),
        "{plain}"
    );

    let mb2 = cluster.lab.machine("mb2");
    mb2.sysctl("ipv4.conf.all.arp_ignore", "0")?;
    let (code, found) = findings(director, &[])?;
    let problem = expect_problem(
        &found,
        "vips",
        "smtp/mb2 answers ARP for 10.77.0.100 (02:77:00:00:00:66)",
        "net.ipv4.conf.all.arp_ignore=1",
    )?;
    ensure!(code == 10 && problem["server"] == "smtp/mb2", "{problem:#}");
    let (code, found) = findings(director, &["--server", "mb2"])?;
    ensure!(
        code == 10 && found.iter().all(|one| one["server"] == "smtp/mb2"),
        "{found:#?}"
    );
    let (code, found) = findings(director, &["--server", "smtp/mb1"])?;
    ensure!(code == 0 && !found.is_empty(), "{found:#?}");
    expect_code(
        &director.ctl(&["doctor", "--server", "mb9"])?,
        6,
        &["no server mb9"],
    );
    mb2.sysctl("ipv4.conf.all.arp_ignore", "1")?;
    expect_well(director)?;

    let lb1 = director.machine();
    lb1.run("ip", &["link", "set", "dev", "eth0", "mtu", "1400"])?;
    let (_, found) = findings(director, &[])?;
    expect_problem(
        &found,
        "interfaces",
        "eth0 has an MTU of 1400",
        "ip link set dev eth0 mtu 1500",
    )?;
    lb1.run("ip", &["link", "set", "dev", "eth0", "mtu", "1500"])?;
    expect_well(director)?;
    Ok(())
}

/// Of IPv6 it is asked by neighbour discovery: a server answers nothing for what is on its `lo`, whatever is set.
#[test]
fn who_else_has_an_ipv6_vip_is_named() -> Result<()> {
    let cluster = Cluster::start("doctor-v6", 2, |lab| {
        let mut service = Service::smtp(lab, &[10, 10]);
        service.listen = lab.smtp6();
        service.servers = lab
            .servers()
            .iter()
            .map(|server| (server.name().to_owned(), server.ipv6().into(), 10))
            .collect();
        service.toml()
    })?;
    let director = &cluster.director;
    let vip = cluster.lab.vip6();
    let found = expect_well(director)?;
    let alone = format!("nobody but this director answers neighbour discovery for {vip}");
    ensure!(
        found.iter().any(|one| text(one, "text") == alone),
        "{found:#?}"
    );
    let stranger = "02:77:00:00:00:0a answers neighbour discovery for fd77::100 as well";
    let server = "smtp/mb2 answers neighbour discovery for fd77::100 (02:77:00:00:00:66)";
    for (machine, says, fix) in [
        ("client", stranger, "take the VIP from it"),
        ("mb2", server, "ip address del fd77::100/128 dev DEVICE"),
    ] {
        let machine = cluster.lab.machine(machine);
        machine.add_addresses("eth0", [(vip.into(), 128)])?;
        let (_, found) = findings(director, &[])?;
        expect_problem(&found, "vips", says, fix)?;
        let address = format!("{vip}/128");
        machine.run("ip", &["address", "del", &address, "dev", "eth0"])?;
        expect_well(director)?;
    }
    // With the VIP alone there is no address to ask from.
    let lb1 = director.machine();
    let shown = lb1.run("ip", &["-br", "-6", "address", "show", "dev", "eth0"])?;
    for own in shown.split_whitespace().skip(2) {
        if !own.starts_with(&format!("{vip}/")) {
            lb1.run("ip", &["address", "del", own, "dev", "eth0"])?;
        }
    }
    let (_, found) = findings(director, &[])?;
    let says = format!("who answers for {vip}: no interface has an IPv6 address of its own");
    expect_not_known(&found, &[("vips", &says)])
}

#[test]
fn the_clocks_of_two_directors_are_compared() -> Result<()> {
    let pair = PairSetup::default().start("doctor-clocks")?;
    for (at, other) in [(0, "lb2"), (1, "lb1")] {
        let says = format!("the clock of {other} differs from this one's by ");
        try_wait_until("the clocks to be compared", SOON, || {
            let (_, found) = findings(&pair.directors[at], &[])?;
            let alike = found.iter().any(|one| {
                one["group"] == "clock"
                    && one["level"] == "ok"
                    && text(one, "text").starts_with(&says)
            });
            ensure!(alike, "{found:#?}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn another_xdp_program_is_named() -> Result<()> {
    let lab = Lab::with(
        "doctor-xdp",
        Topology {
            directors: 1,
            servers: 2,
        },
    )?;
    lab.occupy("lb1")?;
    let director = Director::start(&lab, "lb1", &config(&lab))?;
    let (_, found) = findings(&director, &[])?;
    expect_problem(
        &found,
        "interfaces",
        "eth0 carries another XDP program",
        "ip link set dev eth0 xdp off",
    )?;
    lab.vacate()?;
    try_wait_until("the daemon to attach", SOON, || {
        let (_, found) = findings(&director, &[])?;
        let ours = found
            .iter()
            .any(|one| text(one, "text") == "eth0 carries the program of mb-lb");
        ensure!(ours, "{found:#?}");
        Ok(())
    })
}

#[test]
fn without_a_daemon_a_server_and_what_was_forgotten_are_named() -> Result<()> {
    let lab = Lab::with(
        "doctor-kept",
        Topology {
            directors: 1,
            servers: 2,
        },
    )?;
    let director = Director::new(&lab, "lb1")?;
    let vip = lab.vip4();
    director.write_config(&format!(
        "[vrrp.VI_1]\ninterface = \"eth0\"\nvirtual_router_id = 51\naddresses = \"{vip}/32\"\n{}",
        config(&lab)
    ))?;
    // Nobody but the server itself says whose MAC address that is.
    let mb2 = lab.machine("mb2");
    mb2.sysctl("ipv4.conf.all.arp_ignore", "0")?;
    let (_, found) = findings(&director, &["--server", "smtp/mb2"])?;
    expect_problem(
        &found,
        "vips",
        "smtp/mb2 answers ARP for 10.77.0.100",
        "arp_ignore=1",
    )?;
    mb2.sysctl("ipv4.conf.all.arp_ignore", "1")?;

    let machine = director.machine();
    let path = machine.directory().join("keepalived.conf");
    fs::write(
        &path,
        format!(
            "vrrp_instance VI_1 {{\n interface eth0\n virtual_router_id 51\n priority 100\n virtual_ipaddress {{\n  {vip}/32 dev eth0\n }}\n}}\n"
        ),
    )?;
    let mut command = machine.command("keepalived");
    command.args(["-n", "-l", "-P", "-f"]).arg(&path);
    command
        .arg("-p")
        .arg(machine.directory().join("keepalived.pid"));
    command.arg("-r").arg(machine.directory().join("vrrp.pid"));
    let mut keepalived = machine.spawn("keepalived", &mut command)?;
    let seen = try_wait_until("keepalived to be found", SOON, || -> Result<_> {
        let (_, found) = findings(&director, &[])?;
        expect_problem(
            &found,
            "leftovers",
            "virtual_router_id 51",
            "systemctl disable --now keepalived",
        )?;
        Ok(found)
    })?;
    let proxy = machine.directory().join("haproxy.cfg");
    fs::write(
        &proxy,
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 5s\n timeout server 5s\nfrontend smtp\n bind 0.0.0.0:25\n",
    )?;
    let mut command = machine.command("haproxy");
    command.args(["-db", "-f"]).arg(&proxy);
    let mut haproxy = machine.spawn("haproxy", &mut command)?;
    try_wait_until("HAProxy to be found", SOON, || {
        let (_, found) = findings(&director, &[])?;
        let says = format!("listens on {vip}:25, which mb-lb serves");
        expect_problem(
            &found,
            "leftovers",
            &says,
            "systemctl disable --now haproxy",
        )
        .map(drop)
    })?;
    haproxy.kill()?;
    expect_problem(
        &seen,
        "daemon",
        "the daemon does not answer",
        "systemctl start mb-lb",
    )?;
    keepalived.kill()?;
    try_wait_until("keepalived to be gone", SOON, || {
        let (_, found) = findings(&director, &[])?;
        let left = found
            .iter()
            .filter(|one| one["group"] == "leftovers" && one["level"] == "problem");
        ensure!(left.count() == 0, "{found:#?}");
        Ok(())
    })
}

#[test]
fn a_certificate_that_has_expired_is_named() -> Result<()> {
    let lab = Lab::with(
        "doctor-cert",
        Topology {
            directors: 1,
            servers: 1,
        },
    )?;
    let path = lab.dir().join("web.pem");
    let key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new(vec!["web.test".to_owned()])?;
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2020, 3, 1);
    let certificate = params.self_signed(&key)?;
    fs::write(&path, certificate.pem() + &key.serialize_pem())?;
    let director = Director::start(
        &lab,
        "lb1",
        &format!(
            "[proxy.web]\nlisten = \"{}:443\"\ncertificate = {path:?}\nservers = {{ mb1 = \"10.77.0.101:80\" }}\n",
            lab.vip4()
        ),
    )?;
    try_wait_until("the certificate to be named", SOON, || {
        let (_, found) = findings(&director, &[])?;
        expect_problem(&found, "certificates", "web.pem has expired", "renew it").map(drop)
    })?;
    make_certificate(lab.client(), &path, "web.test")?;
    try_wait_until("the new one to be taken", SOON, || {
        let (_, found) = findings(&director, &[])?;
        let good = found
            .iter()
            .any(|one| one["group"] == "certificates" && one["level"] == "ok");
        ensure!(good, "{found:#?}");
        Ok(())
    })
}

/// The lines that take effect at once; the others write into /etc, which the machines of a lab share with this one.
fn now(printed: &str) -> String {
    let lines = printed.lines().skip_while(|line| *line != "# now:").skip(1);
    let lines = lines.take_while(|line| !line.starts_with('#'));
    lines.collect::<Vec<_>>().join("\n")
}

fn addresses(server: &Machine) -> Result<String> {
    server.run("ip", &["-br", "address", "show", "dev", "lo"])
}

#[test]
fn what_server_setup_prints_makes_a_bare_server_serve_and_undo_takes_it_back() -> Result<()> {
    let mut cluster = Cluster::start_unready("doctor-setup", 2, |lab| {
        Service::smtp(lab, &[10, 10]).check(THROUGH_VIP).toml()
    })?;
    cluster.director.stop()?;
    let vip = cluster.lab.vip4().to_string();
    for server in cluster.lab.servers() {
        server.run("ip", &["address", "del", &format!("{vip}/32"), "dev", "lo"])?;
        server.sysctl("ipv4.conf.all.arp_ignore", "0")?;
        server.sysctl("ipv4.conf.all.arp_announce", "0")?;
    }
    // The daemon is not needed for it.
    for server in cluster.lab.servers() {
        let name = format!("smtp/{}", server.name());
        let lines = now(&cluster.director.expect(&["server-setup", &name])?);
        server.run("sh", &["-ec", &lines])?;
        // Whoever does it twice breaks nothing.
        server.run("sh", &["-ec", &lines])?;
        ensure!(addresses(server)?.contains(&vip), "{lines}");
    }
    cluster.director.run()?;
    cluster.wait_usable()?;
    expect_well(&cluster.director)?;
    for mut session in Session::open_many(cluster.lab.client(), cluster.lab.smtp4(), 4)? {
        session.send_message()?;
    }

    let mb2 = cluster.lab.machine("mb2");
    let lines = now(&cluster
        .director
        .expect(&["server-setup", "smtp/mb2", "--undo"])?);
    mb2.run("sh", &["-ec", &lines])?;
    ensure!(!addresses(mb2)?.contains(&vip), "{lines}");
    let ignore = mb2.run("sysctl", &["-n", "net.ipv4.conf.all.arp_ignore"])?;
    ensure!(ignore.trim() == "0", "{ignore}");
    try_wait_until("mb2 to be down", SOON, || {
        let server = cluster.server("smtp/mb2")?;
        ensure!(server.health == HealthState::Down, "{server:?}");
        Ok(())
    })?;
    let (_, found) = findings(&cluster.director, &[])?;
    expect_problem(
        &found,
        "servers",
        "the VIP is not on its lo",
        "mb-lb-ctl server-setup smtp/mb2",
    )?;
    Ok(())
}

/// What `doctor` finds as user `nobody` in this group, after `first` was run in a mount namespace of its own.
fn as_nobody(director: &Director, program: &Path, group: &str, first: &str) -> Result<Vec<Value>> {
    let script = format!(
        "{first} exec setpriv --reuid 65534 --regid {group} --clear-groups \"$0\" doctor -o json"
    );
    let mut command = director.machine().command("unshare");
    command.args(["--mount", "sh", "-ec", &script]).arg(program);
    let output = command.envs(director.environment()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let json: Value = serde_json::from_slice(&output.stdout).context(said.into_owned())?;
    Ok(json["findings"].as_array().context("no findings")?.clone())
}

/// Each of these is said once, to be not known, and with a way to know it.
fn expect_not_known(found: &[Value], what: &[(&str, &str)]) -> Result<()> {
    for (group, says) in what {
        let all: Vec<_> = found
            .iter()
            .filter(|one| one["group"] == *group && text(one, "text").contains(says))
            .collect();
        ensure!(all.len() == 1, "{group}: {says}: {found:#?}");
        ensure!(all[0]["level"] == "not known", "{:#}", all[0]);
        ensure!(!text(all[0], "next").is_empty(), "{:#}", all[0]);
    }
    Ok(())
}

#[test]
fn what_cannot_be_read_is_not_known_and_never_good() -> Result<()> {
    const NOBODY: &str = "65534";
    const ROOT: &str = "0";
    let cluster = Cluster::start("doctor-nobody", 2, config)?;
    let director = &cluster.director;
    expect_well(director)?;
    let machine = director.machine();
    // Neither the program nor the way to it is a secret; what it looks at is.
    let program = machine.directory().join("mb-lb-ctl");
    fs::copy(director.program(), &program)?;
    let mut way = machine.directory().to_owned();
    while way.starts_with(cluster.lab.dir()) {
        fs::set_permissions(&way, fs::Permissions::from_mode(0o755))?;
        way.pop();
    }
    for closed in [director.state_dir().as_path(), director.bpf_root()] {
        fs::set_permissions(closed, fs::Permissions::from_mode(0o700))?;
    }
    let path = machine.directory().join("haproxy.cfg");
    fs::write(
        &path,
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 5s\n timeout server 5s\nfrontend x\n bind 127.0.0.1:2525\n",
    )?;
    let mut command = machine.command("haproxy");
    command.args(["-db", "-f"]).arg(&path);
    let _haproxy = machine.spawn("haproxy", &mut command)?;
    let found = try_wait_until("HAProxy to be found", SOON, || {
        let found = as_nobody(director, &program, NOBODY, "")?;
        let runs = |one: &Value| text(one, "text").contains("haproxy runs here");
        ensure!(found.iter().any(runs), "{found:#?}");
        Ok(found)
    })?;
    let hidden = [
        ("daemon", "state.json"),
        ("kernel", "what is pinned"),
        ("interfaces", "which XDP programs are on the interfaces"),
        ("vips", "who answers for the VIPs on eth0"),
        ("leftovers", "what it listens on cannot be read"),
    ];
    expect_not_known(&found, &hidden)?;
    let of_the_daemon = [
        ("daemon", "not allowed to connect to the daemon"),
        ("servers", "whether smtp/mb1 has 10.77.0.100 on its lo"),
        ("servers", "whether smtp/mb2 has 10.77.0.100 on its lo"),
    ];
    expect_not_known(&found, &of_the_daemon)?;

    // The group of the socket may ask the daemon, and still not look at these.
    let found = as_nobody(director, &program, ROOT, "")?;
    let answers = |one: &Value| text(one, "text").contains("the daemon answers");
    ensure!(found.iter().any(answers), "{found:#?}");
    expect_not_known(&found, &hidden)?;

    // HAProxy runs as ever; who does not see that must not say that it does not.
    let hide = "mount -t proc -o hidepid=2 proc /proc;";
    let found = as_nobody(director, &program, NOBODY, hide)?;
    let unseen = [
        ("leftovers", "whether haproxy runs here"),
        ("leftovers", "whether keepalived runs here"),
    ];
    expect_not_known(&found, &unseen)?;

    // Without the tools it cannot be told what they would say.
    let mut command = machine.command(director.program());
    command.args(["doctor", "-o", "json"]);
    command.envs(director.environment()).env("PATH", "/nowhere");
    let json: Value = serde_json::from_slice(&command.output()?.stdout)?;
    let found = json["findings"].as_array().context("no findings")?;
    expect_not_known(found, &[("interfaces", "offloads of eth0: ethtool")])?;

    // What follows from a file that cannot be read is not looked at.
    fs::set_permissions(director.config_path(), fs::Permissions::from_mode(0o600))?;
    let found = as_nobody(director, &program, NOBODY, "")?;
    expect_not_known(&found, &[("configuration", "permission denied")])?;
    let follows = |one: &&Value| {
        let group = text(one, "group");
        ["interfaces", "vips", "servers", "leftovers"].contains(&group.as_str())
    };
    ensure!(found.iter().find(follows).is_none(), "{found:#?}");
    Ok(())
}
