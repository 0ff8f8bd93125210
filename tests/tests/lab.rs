//! The lab itself: before a test may blame the director, the network has to carry mail without one.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use mb_lb_tests::{Lab, Session, Sink, SinkOptions, Source, Topology, try_wait_until, wait_until};

const SOON: Duration = Duration::from_secs(10);

fn namespaces() -> Result<String> {
    let output = Command::new("ip").args(["netns", "list"]).output()?;
    Ok(String::from_utf8(output.stdout)?)
}

/// What is left of a lab, by its directory: namespaces, directory, mount.
fn remains(directory: &Path) -> Result<Vec<String>> {
    let name = directory
        .file_name()
        .context("a lab's directory has a name")?
        .to_string_lossy()
        .into_owned();
    let mut found: Vec<_> = namespaces()?
        .lines()
        .filter(|line| line.contains(&name))
        .map(str::to_owned)
        .collect();
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    found.extend(
        mounts
            .lines()
            .filter(|line| line.contains(&name))
            .map(str::to_owned),
    );
    if directory.exists() {
        found.push(directory.display().to_string());
    }
    Ok(found)
}

fn expect_gone(directory: &Path) {
    wait_until("the lab to be gone", SOON, || match remains(directory) {
        Ok(found) if found.is_empty() => Ok(()),
        Ok(found) => Err(format!("left: {found:?}")),
        Err(error) => Err(format!("{error:#}")),
    });
}

fn smtp(address: impl Into<IpAddr>) -> SocketAddr {
    SocketAddr::new(address.into(), 25)
}

#[test]
fn every_machine_reaches_every_server_by_both_families() -> Result<()> {
    let lab = Lab::with(
        "reach",
        Topology {
            directors: 2,
            servers: 4,
        },
    )?;
    assert_eq!(
        lab.names(),
        ["client", "lb1", "lb2", "mb1", "mb2", "mb3", "mb4"]
    );
    let sinks = lab
        .servers()
        .iter()
        .map(Sink::start)
        .collect::<Result<Vec<_>>>()?;
    for name in ["client", "lb1", "lb2"] {
        for sink in &sinks {
            let server = sink.machine();
            for to in [smtp(server.ipv4()), smtp(server.ipv6())] {
                let session = Session::open(lab.machine(name), to)?;
                assert_eq!(session.server(), server.name());
                session.quit()?;
            }
        }
    }
    Ok(())
}

/// The servers hold the VIP and must not answer for it on the wire: that is the director's to do.
#[test]
fn only_the_director_answers_for_the_vip() -> Result<()> {
    let lab = Lab::new("vip")?;
    let sinks = lab
        .servers()
        .iter()
        .map(Sink::start)
        .collect::<Result<Vec<_>>>()?;
    for to in [lab.smtp4(), lab.smtp6()] {
        // lb1 has the address, and nobody listens there.
        let error = Session::open(lab.client(), to).expect_err("nobody serves the VIP yet");
        assert!(format!("{error:#}").contains("refused"), "{to}: {error:#}");
        let vip = to.ip().to_string();
        let neighbour = lab.client().run("ip", &["neigh", "show", &vip])?;
        let mac = lab.machine("lb1").mac().map(|byte| format!("{byte:02x}"));
        assert!(neighbour.contains(&mac.join(":")), "{neighbour}");
    }
    // Handed the frame, a server takes it as its own: that is what DSR does.
    for sink in &sinks {
        let server = sink.machine();
        let mac = server.mac().map(|byte| format!("{byte:02x}")).join(":");
        for to in [lab.smtp4(), lab.smtp6()] {
            let vip = to.ip().to_string();
            lab.client().run(
                "ip",
                &["neigh", "replace", &vip, "lladdr", &mac, "dev", "eth0"],
            )?;
            assert_eq!(Session::open(lab.client(), to)?.server(), server.name());
        }
    }
    Ok(())
}

#[test]
fn smtp_source_delivers_and_the_sink_saw_who_sent() -> Result<()> {
    let lab = Lab::new("mail")?;
    let sink = Sink::start(lab.machine("mb1"))?;
    let server = sink.machine();
    for (messages, to) in [(500, smtp(server.ipv4())), (300, smtp(server.ipv6()))] {
        Source::new(to)
            .messages(messages)
            .sessions(20)
            .run(lab.client())?
            .expect_all(messages.into())?;
    }
    wait_until("the sink to count all", SOON, || {
        let (messages, sessions) = (sink.messages()?, sink.sessions()?);
        anyhow::ensure!(
            (messages, sessions) == (800, 800),
            "{messages} messages, {sessions} sessions"
        );
        Ok(())
    });
    let expected: BTreeMap<IpAddr, u64> = [
        (lab.client().ipv4().into(), 500),
        (lab.client().ipv6().into(), 300),
    ]
    .into();
    assert_eq!(sink.clients()?, expected);
    Ok(())
}

#[test]
fn an_undelivered_message_is_told() -> Result<()> {
    let lab = Lab::new("refused")?;
    let to = smtp(lab.machine("mb1").ipv4());
    let sent = Source::new(to).messages(5).run(lab.client())?;
    assert!(!sent.success);
    let error = sent.expect_all(5).expect_err("nobody listens");
    assert!(error.to_string().contains("refused"), "{error:#}");

    let options = SinkOptions {
        arguments: vec!["-f".into(), "DATA".into()],
        ..SinkOptions::default()
    };
    let sink = Sink::with(lab.machine("mb1"), &options)?;
    let sent = Source::new(to).messages(5).run(lab.client())?;
    assert_eq!((sent.success, sent.delivered), (false, 0));
    assert_eq!(sink.messages()?, 0);
    Ok(())
}

#[test]
fn a_sink_that_cannot_start_says_why() -> Result<()> {
    let lab = Lab::new("taken")?;
    let _sink = Sink::start(lab.machine("mb1"))?;
    let error = Sink::start(lab.machine("mb1")).expect_err("the port is taken");
    assert_eq!(error.to_string(), "port 25 of mb1 is in use");

    let options = SinkOptions {
        arguments: vec!["-Z".into()],
        ..SinkOptions::default()
    };
    let error = Sink::with(lab.machine("mb2"), &options).expect_err("there is no -Z");
    let text = error.to_string();
    assert!(text.contains("it ended: exit status: 1; "), "{text}");
    assert!(text.contains("usage: smtp-sink"), "{text}");
    Ok(())
}

#[test]
fn sessions_are_held_and_each_end_is_seen_by_the_server() -> Result<()> {
    let lab = Lab::new("sessions")?;
    let sink = Sink::start(lab.machine("mb2"))?;
    let to = smtp(sink.machine().ipv4());
    let mut sessions = Session::open_many(lab.client(), to, 12)?;
    let mut seen: Vec<_> = sink.connections()?.iter().map(|c| c.peer).collect();
    let mut opened: Vec<_> = sessions.iter().map(Session::local).collect();
    seen.sort();
    opened.sort();
    assert_eq!(seen, opened);

    sessions[0].send_message()?;
    assert_eq!(sink.messages()?, 1);
    sessions.pop().context("twelve are open")?.quit()?;
    sessions.pop().context("eleven are open")?.reset()?;
    drop(sessions.pop().context("ten are open")?);
    expect_connections(&sink, 9)?;
    // Nothing tells the server of this one.
    sessions.pop().context("nine are open")?.vanish()?;
    for session in &mut sessions {
        session.expect_alive()?;
    }
    assert_eq!(sink.connections()?.len(), 9);
    Ok(())
}

#[test]
fn a_frozen_sink_accepts_and_says_nothing_and_a_killed_one_resets() -> Result<()> {
    let lab = Lab::new("frozen")?;
    let mut sink = Sink::start(lab.machine("mb1"))?;
    let to = smtp(sink.machine().ipv4());
    let mut session = Session::open(lab.client(), to)?;
    sink.freeze()?;
    let raw = lab
        .client()
        .enter(|| std::net::TcpStream::connect_timeout(&to, SOON))?;
    raw.set_nonblocking(true)?;
    expect_connections(&sink, 2)?;
    let silent = std::io::Read::read(&mut &raw, &mut [0; 8]).expect_err("no greeting");
    assert_eq!(silent.kind(), std::io::ErrorKind::WouldBlock);
    sink.thaw()?;
    session.expect_alive()?;
    sink.kill()?;
    // FIN or RST, by whether the server had unread data.
    if let Err(error) = session.wait_for_end() {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    let error = Session::open(lab.client(), to).expect_err("nobody listens");
    assert!(format!("{error:#}").contains("refused"), "{error:#}");
    Ok(())
}

#[test]
fn a_thousand_addresses_fit_on_one_machine() -> Result<()> {
    let lab = Lab::with(
        "many",
        Topology {
            directors: 1,
            servers: 1,
        },
    )?;
    let server = lab.machine("mb1");
    let addresses: Vec<IpAddr> = (0..1000u16)
        .map(|n| IpAddr::from([10, 77, 1 + (n / 250) as u8, (n % 250) as u8]))
        .collect();
    server.add_addresses("eth0", addresses.iter().map(|&address| (address, 16)))?;
    let _sink = Sink::start(server)?;
    for address in [addresses[0], addresses[499], addresses[999]] {
        let session = Session::open(lab.client(), smtp(address))?;
        assert_eq!(session.server(), "mb1");
    }
    let from = "10.77.9.9".parse()?;
    lab.client().add_addresses("eth0", [(from, 16)])?;
    let session = Session::open_from(lab.client(), Some(from), smtp(server.ipv4()))?;
    assert_eq!(session.local().ip(), from);
    Ok(())
}

/// Frames that a director would bounce back into its cable arrive: its other end runs XDP.
#[test]
fn the_switch_runs_xdp_on_directors_ports_only() -> Result<()> {
    let lab = Lab::new("xdp")?;
    let name = lab.client().namespace().replace("client", "switch");
    let links = Command::new("ip")
        .args(["-n", &name, "-o", "link", "show"])
        .output()?;
    let links = String::from_utf8(links.stdout)?;
    let with_xdp: Vec<_> = links
        .lines()
        .filter(|line| line.contains(" xdp "))
        .map(|line| line.split_whitespace().nth(1).unwrap_or_default())
        .collect();
    assert_eq!(with_xdp.len(), 1, "{links}");
    assert!(with_xdp[0].starts_with("lb1@"), "{links}");
    Ok(())
}

#[test]
fn two_labs_do_not_meet_and_leave_nothing() -> Result<()> {
    let one = Lab::new("twin")?;
    let other = Lab::new("twin")?;
    let (one_dir, other_dir) = (one.dir(), other.dir());
    assert_ne!(one_dir, other_dir);
    let sink = Sink::start(one.machine("mb1"))?;
    let to = smtp(one.machine("mb1").ipv4());
    Session::open(one.client(), to)?.quit()?;
    Session::open(other.client(), to).expect_err("the other lab's server has no sink");
    assert!(!remains(&one_dir)?.is_empty());
    // The keeper kills what still runs.
    one.down()?;
    expect_gone(&one_dir);
    drop(sink);
    Sink::start(other.machine("mb1"))?;
    drop(other);
    expect_gone(&other_dir);
    Ok(())
}

#[test]
fn a_panic_takes_the_lab_with_it() -> Result<()> {
    let lab = Lab::new("panic")?;
    let directory = lab.dir();
    let panicked = std::thread::spawn(move || {
        let _sink = Sink::start(lab.machine("mb1")).expect("smtp-sink starts");
        lab.machine("mb9");
    })
    .join();
    let message = panicked.expect_err("there is no mb9");
    let message = message
        .downcast_ref::<String>()
        .context("a panic with a message")?;
    assert!(message.contains("client, lb1, mb1"), "{message}");
    expect_gone(&directory);
    Ok(())
}

#[test]
fn a_killed_owner_takes_the_lab_with_it() -> Result<()> {
    let runner = Lab::new("runner")?;
    for signal in [
        nix::sys::signal::Signal::SIGKILL,
        nix::sys::signal::Signal::SIGINT,
        nix::sys::signal::Signal::SIGTERM,
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mb-lb-lab"));
        command.arg("hold");
        let mut victim = runner.client().spawn("victim", &mut command)?;
        let directory = try_wait_until("the victim's lab", SOON, || {
            if let Some(status) = victim.exited()? {
                anyhow::bail!("it ended: {status}; {}", victim.tail());
            }
            let output = victim.output()?;
            anyhow::ensure!(output.ends_with('\n'), "it prints {output:?}");
            Ok(PathBuf::from(output.trim_end()))
        })?;
        assert!(!remains(&directory)?.is_empty());
        victim.signal(signal)?;
        victim.wait(SOON)?;
        expect_gone(&directory);
    }
    Ok(())
}

#[test]
fn a_detached_lab_stays_until_it_is_taken_down() -> Result<()> {
    let lab = Lab::new("detached")?;
    let server = lab.machine("mb1").clone();
    Sink::start(&server)?.release();
    let directory = lab.detach()?;
    Lab::clean_leftovers()?;
    let lab = Lab::attach(&directory)?;
    let session = Session::open(lab.client(), smtp(server.ipv4()))?;
    assert_eq!(session.server(), "mb1");
    drop(lab);
    Lab::attach(&directory)?.down()?;
    expect_gone(&directory);
    Ok(())
}

/// Whose keeper was killed together with the owner.
#[test]
fn leftovers_are_removed_by_the_next_lab() -> Result<()> {
    let lab = Lab::new("left")?;
    let directory = lab.dir();
    // As if the owner were a process that is gone: this pid is beyond the kernel's.
    lab.detach()?;
    std::fs::write(directory.join("owner"), "4194305 1")?;
    Lab::clean_leftovers()?;
    expect_gone(&directory);
    Ok(())
}

fn expect_connections(sink: &Sink, count: usize) -> Result<()> {
    try_wait_until("connections at the server", SOON, || {
        let found = sink.connections()?.len();
        anyhow::ensure!(found == count, "{found} of {count}");
        Ok(())
    })
}
