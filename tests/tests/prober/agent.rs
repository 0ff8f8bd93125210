//! Agents: the same lines to HAProxy and to us, and the same state of the server.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use mb_lb_ctl::engine::{AgentReply, Weight};
use mb_lb_ctl::snapshot::AdminState;

use super::haproxy::Haproxy;
use super::*;

const WEIGHT: u32 = 100;
const CONNECTIONS: u32 = 50;

/// An agent that says this to everybody, and counts to whom it has.
struct Agent {
    address: Ipv4Addr,
    told: Arc<AtomicUsize>,
}

impl Agent {
    fn start(line: &'static str) -> Self {
        let address = fresh_address();
        let listener = TcpListener::bind((address, PORT)).unwrap();
        let told = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&told);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                // Whoever has heard enough may be gone.
                let _ = stream.write_all(line.as_bytes());
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = stream.read_to_end(&mut Vec::new());
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { address, told }
    }

    fn told(&self) -> usize {
        self.told.load(Ordering::SeqCst)
    }
}

/// What a server has come to: state, weight, cap of connections.
type State = (&'static str, String, String);

fn ours(reply: &AgentReply) -> State {
    let weight = match reply.weight {
        None => WEIGHT,
        Some(Weight::Absolute(weight)) => weight.into(),
        Some(Weight::Percent(percent)) => (WEIGHT * percent / 100).min(256),
    };
    let state = match (reply.admin, reply.up) {
        (Some(AdminState::Maint), _) => "MAINT",
        (_, Some(false)) => "DOWN",
        (Some(AdminState::Drain), _) => "DRAIN",
        _ => "UP",
    };
    let connections = match reply.max_connections.unwrap_or(CONNECTIONS) {
        0 => String::new(),
        connections => connections.to_string(),
    };
    (state, weight.to_string(), connections)
}

fn haproxys(row: &std::collections::BTreeMap<String, String>) -> State {
    let states = ["MAINT", "DOWN", "DRAIN", "UP"];
    let state = states
        .iter()
        .find(|state| row["status"].starts_with(**state));
    let state = state.unwrap_or_else(|| panic!("{}", row["status"]));
    (state, row["weight"].clone(), row["slim"].clone())
}

/// `weight:` came after the HAProxy that Debian has, so it is not here.
const LINES: &[&str] = &[
    "\n",
    "up\n",
    "UP\r\n",
    "down\n",
    "fail\n",
    "Stopped\n",
    "down # disk full, soon\n",
    "down #\n",
    "stopped#glued\n",
    "#down\n",
    "ready\n",
    "drain\n",
    "maint\n",
    "MAINT up\n",
    "drain ready\n",
    "ready drain\n",
    "drain down\n",
    "maint down\n",
    "down up\n",
    "up down\n",
    "75%\n",
    "0%\n",
    "100%\n",
    "300%\n",
    "007%\n",
    "50% 25%\n",
    "50% 7x%\n",
    "7%x\n",
    "75\n",
    "-75%\n",
    "%\n",
    "99999999999999999999%\n",
    "0% up\n",
    "maxconn:30\n",
    "MaxConn:7\n",
    "maxconn:0\n",
    "maxconn:\n",
    "maxconn:x\n",
    "maxconn:3x\n",
    "maxconn:5 maxconn:6\n",
    "maxconn:5,25%\tup ready\n",
    ",, 25% ,\tdrain,,maxconn:9\n",
    "hello\n",
    "hello up\n",
    "up;down\n",
    "up\ndown\n",
    "\rdown\n",
    "75%",
    "down",
    "",
];

#[tokio::test]
async fn haproxy_and_we_hear_the_same() {
    let checked = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = checked.local_addr().unwrap().port();
    std::thread::spawn(move || checked.incoming().for_each(drop));
    let agents: Vec<_> = LINES.iter().map(|line| Agent::start(line)).collect();
    let mut section = String::from("backend agents\n    balance roundrobin\n");
    for (at, Agent { address, .. }) in agents.iter().enumerate() {
        section += &format!(
            "    server s{at} {address}:{PORT} weight {WEIGHT} maxconn {CONNECTIONS} check addr 127.0.0.1 port {port} inter 100 \
             agent-check agent-addr {address} agent-port {PORT} agent-inter 100\n"
        );
    }
    let haproxy = Haproxy::start("", &section);

    for (at, (line, agent)) in LINES.iter().zip(&agents).enumerate() {
        let kind = CheckKind::Agent { send: None };
        let result = once(agent.address.into(), kind, PATIENCE).await;
        let reply = result.agent.clone().unwrap_or_default();
        let ours = ours(&reply);
        let deadline = Instant::now() + PATIENCE;
        let row = loop {
            let rows = haproxy.servers();
            let row = rows.get(&format!("s{at}"));
            // We were told once; when HAProxy is told again, it has made of the first time what it makes.
            let heard = row.filter(|row| agent.told() >= 3 || row["status"].starts_with("MAINT"));
            // While it asks again, its words are not shown.
            let heard = heard.filter(|row| !row["agent_status"].starts_with('*'));
            match heard {
                Some(row) if haproxys(row) == ours => break row.clone(),
                _ => {}
            }
            assert!(
                Instant::now() < deadline,
                "{line:?}: we hear {reply:?}, HAProxy {:?}",
                row.map(haproxys)
            );
            std::thread::sleep(Duration::from_millis(20));
        };
        let outcome = match reply.up {
            Some(false) => BAD,
            _ if result.agent.is_none() => BAD,
            _ => OK,
        };
        assert_eq!(result.outcome, outcome, "{line:?}");
        // The words that people see.
        if let (Some(up), false) = (reply.up, row["status"].starts_with("MAINT")) {
            let code = if up { "L7OK" } else { "L7STS" };
            assert_eq!((result.code, row["agent_status"].as_str()), (code, code));
            if let Some(reason) = &reply.reason {
                assert!(
                    row["last_agt"].contains(reason.as_str()),
                    "{line:?}: {}",
                    row["last_agt"]
                );
                assert!(result.detail.ends_with(reason), "{}", result.detail);
            }
        }
    }
}
