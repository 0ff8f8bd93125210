//! Clients that an operator counts, and those that he ends.

use mb_lb_ctl::proxy::OpenSession;
use mb_lb_ctl::snapshot::AdminState;

use crate::{Bench, Connection, Reply, wait_until};

/// In place of what is configured, at run time.
#[test]
fn no_more_clients_are_served_than_an_operator_says() {
    let mut bench = Bench::new("limits = { connections = 3 }", "");
    // The one that saw that it listens.
    wait_until(|| {
        let web = &bench.proxies.readings()["web"];
        (web.connections, web.open) == (1, 0)
    });
    bench.cap_clients(Some(1));
    let mut first = bench.connect();
    assert_eq!(first.get("/", "").status, 200);
    bench.connect().wait_end();
    wait_until(|| bench.refused("connections") == 1);
    assert_eq!(first.get("/", "").status, 200, "who is there stays");

    // 0: as many as come; `None`: as configured.
    for (most, are_served) in [(Some(0), 5), (None, 2)] {
        bench.cap_clients(most);
        let mut clients: Vec<_> = (0..are_served).map(|_| bench.connect()).collect();
        for client in &mut clients {
            assert_eq!(client.get("/", "").status, 200);
        }
        if most.is_none() {
            bench.connect().wait_end();
            wait_until(|| bench.refused("connections") == 2);
        }
        drop(clients);
        wait_until(|| bench.proxies.readings()["web"].open == 1);
    }
}

/// What is known of the client.
fn session(bench: &Bench, client: &Connection) -> Option<OpenSession> {
    let address = client.writer().local_addr().expect("an address");
    let mut sessions = bench.proxies.sessions().into_iter();
    sessions.find(|session| session.client == address)
}

#[test]
fn a_client_that_an_operator_ends_is_gone_and_no_other_is() {
    let bench = Bench::new("", "");
    let mut clients: Vec<_> = (0..3).map(|_| bench.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/", "").status, 200);
    }
    // Those that came before them have gone.
    wait_until(|| bench.proxies.sessions().len() == clients.len());
    // Neither the first nor the last of the table.
    let known = bench.proxies.sessions().swap_remove(1);
    let at = clients
        .iter()
        .position(|client| session(&bench, client).map(|session| session.id) == Some(known.id));
    let mut ended = clients.remove(at.expect("it is one of them"));
    assert_eq!((known.proxy.as_str(), known.local), ("web", bench.at));
    wait_until(|| session(&bench, &ended).is_some_and(|idle| idle.server.is_none()));
    assert_eq!(ended.get("/", "").status, 200);
    let again = session(&bench, &ended).map(|session| session.id);
    assert_eq!(again, Some(known.id), "as long as it is open");

    let cut = bench.proxies.cut(known.id).expect("it is open");
    assert_eq!(cut.client, known.client);
    let address = known.client;
    ended.wait_end();
    wait_until(|| {
        let sessions = bench.proxies.sessions();
        sessions.iter().all(|session| session.client != address)
    });
    assert_eq!(bench.proxies.cut(known.id), None);
    for client in &mut clients {
        assert_eq!(client.get("/", "").status, 200);
    }
    drop(clients);
    wait_until(|| bench.proxies.sessions().is_empty());
}

/// Who waits for an answer of it is cut off; who has a connection and nothing under way is not.
#[test]
fn what_a_server_has_under_way_ends_with_its_sessions() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("access.log");
    let mut bench = Bench::new(
        &format!(
            "access_log = {{ format = \"httplog\", file = \"{}\" }}",
            file.display()
        ),
        "",
    );
    let mut idle = bench.connect();
    for other in [1, 2] {
        bench.set(other, |target| target.admin = AdminState::Drain);
    }
    assert_eq!(idle.get("/", "").body, "mb1");
    bench.servers[0].will(Reply::Silence);
    let mut waiting = bench.connect();
    waiting.send(b"GET /waits HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_until(|| {
        let known = session(&bench, &waiting).and_then(|session| session.server);
        known.is_some_and(|(name, address)| {
            (name.as_str(), address) == ("mb1", bench.servers[0].address)
        })
    });
    wait_until(|| session(&bench, &idle).is_some_and(|idle| idle.server.is_none()));
    bench.set(1, |target| target.ended += 1);
    waiting.expect_silence();
    bench.set(0, |target| target.ended += 1);
    waiting.wait_end();
    wait_until(|| bench.counted(0).active == 0);
    assert_eq!(idle.get("/", "").body, "mb1", "and new ones come as before");
    wait_until(|| {
        let log = std::fs::read_to_string(&file).unwrap_or_default();
        let mut lines = log.lines();
        lines.any(|line| line.contains("/waits") && line.contains(" KH"))
    });
}
