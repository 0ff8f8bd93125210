//! Services in user mode.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mb_lb_ctl::config;
use mb_lb_ctl::proxy::{NoKeeper, Plan, Proxies, Steering, Target};
use mb_lb_ctl::snapshot::{AdminState, HealthState};

use socket2::Socket;

use crate::{SOON, reserve, wait_until};

/// Says its name, and then back what it hears.
fn server(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || -> std::io::Result<()> {
                stream.write_all(format!("220 {name}\r\n").as_bytes())?;
                let mut reader = stream.try_clone()?;
                std::io::copy(&mut reader, &mut stream)?;
                stream.shutdown(std::net::Shutdown::Write)
            });
        }
    });
    address
}

struct Relay {
    proxies: Proxies,
    at: SocketAddr,
    targets: Vec<Target>,
    service: config::Service,
    silence: Duration,
    _port: Socket,
}

impl Relay {
    fn new(keys: &str) -> Self {
        let (port, at) = reserve();
        let mut text = format!(
            "[service.smtp]\nlisten = \"192.0.2.1:25\"\nforward = \"proxy\"\n{keys}\n[service.smtp.servers]\n"
        );
        let mut targets = Vec::new();
        for name in ["mb1", "mb2"] {
            let port = server(name).port();
            text += &format!("{name} = {{ address = \"192.0.2.9\", port = {port} }}\n");
            targets.push(Target {
                name: name.to_owned(),
                admin: AdminState::Ready,
                health: HealthState::Up,
                weight: 1,
                most: None,
                ended: 0,
                percent: 100,
            });
        }
        let parsed = config::parse(&text, "lb1");
        let config = parsed
            .config
            .unwrap_or_else(|| panic!("{:?}", parsed.diagnostics));
        let silence = config.director.flow_timeouts.established;
        // No service is on the loopback, where this test is.
        let mut service = config.services[0].clone();
        service.listen = vec![at];
        for server in &mut service.servers {
            server.address = at.ip();
        }
        let relay = Self {
            _port: port,
            service,
            silence,
            proxies: Proxies::start(1, Vec::new(), Arc::new(NoKeeper)).expect("threads"),
            at,
            targets,
        };
        relay.put_in_force();
        relay.steer();
        let begin = Instant::now();
        while TcpStream::connect(at).is_err() {
            assert!(begin.elapsed() < SOON, "nobody listens");
            std::thread::sleep(Duration::from_millis(5));
        }
        relay
    }

    fn put_in_force(&self) {
        let plan = Plan::relay(&self.service, self.silence);
        self.proxies.configure(vec![plan], &[]);
    }

    fn steer(&self) {
        self.proxies.steer(&[Steering {
            proxy: "smtp".to_owned(),
            most_clients: None,
            targets: self.targets.clone(),
        }]);
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.at).expect("it listens");
        stream.set_read_timeout(Some(SOON)).expect("a time");
        stream
    }
}

fn hear(stream: &mut TcpStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).expect("as many bytes");
    String::from_utf8(bytes).expect("text")
}

#[test]
fn connections_are_carried_both_ways_to_their_ends() {
    let relay = Relay::new("scheduler = \"leastconn\"");
    let mut clients: Vec<_> = (0..10).map(|_| relay.connect()).collect();
    let mut greetings: Vec<_> = clients
        .iter_mut()
        .map(|client| hear(client, "220 mb1\r\n".len()))
        .collect();
    greetings.sort();
    assert_eq!(
        greetings.iter().filter(|text| text.contains("mb1")).count(),
        5
    );
    for client in &mut clients {
        client.write_all(b"QUIT\r\n").expect("it is taken");
        assert_eq!(hear(client, 6), "QUIT\r\n");
        client
            .shutdown(std::net::Shutdown::Write)
            .expect("it is open");
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).expect("a proper end");
        assert!(rest.is_empty());
    }
    let begin = Instant::now();
    loop {
        let readings = relay.proxies.readings();
        let sum: u64 = readings["smtp"]
            .servers
            .values()
            .map(|server| server.closed)
            .sum();
        let active: u64 = readings["smtp"]
            .servers
            .values()
            .map(|server| server.active)
            .sum();
        // The one that found out whether anybody listens, too.
        if sum >= 10 && active == 0 {
            break;
        }
        assert!(begin.elapsed() < SOON, "{readings:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A session that goes on whatever `change` does to its server, and is reset when that fails.
fn outlives(change: impl FnOnce(&mut Relay, usize)) {
    let mut relay = Relay::new("");
    let mut client = relay.connect();
    let name = hear(&mut client, 9);
    let at = usize::from(name.contains("mb2"));
    change(&mut relay, at);
    relay.steer();
    client.write_all(b"NOOP\r\n").expect("it is taken");
    assert_eq!(hear(&mut client, 6), "NOOP\r\n");
    relay.targets[at].health = HealthState::Down;
    relay.steer();
    let error = client.read(&mut [0; 16]).expect_err("a reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn what_a_server_that_fails_has_is_reset_and_a_draining_one_keeps_it() {
    outlives(|relay, at| relay.targets[at].admin = AdminState::Drain);
}

/// A server whose weight is another one now is the same server.
#[test]
fn connections_that_are_older_than_an_edit_are_reset_too() {
    outlives(|relay, at| {
        relay.service.servers[at].weight = 7;
        relay.put_in_force();
    });
}

/// By hand at first, and by the kernel when it gets long.
#[test]
fn what_is_long_comes_whole() {
    let relay = Relay::new("");
    let mut client = relay.connect();
    hear(&mut client, 9);
    let mut random = fastrand::Rng::with_seed(1);
    let long: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
        .take(5_000_000)
        .collect();
    let mut writer = client.try_clone().expect("a descriptor");
    let sent = long.clone();
    let sender = std::thread::spawn(move || {
        writer.write_all(&sent).expect("it is taken");
        writer
            .shutdown(std::net::Shutdown::Write)
            .expect("it is open");
    });
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).expect("a proper end");
    sender.join().expect("no panic");
    assert!(heard == long, "{} of {} bytes", heard.len(), long.len());
}

#[test]
fn where_no_server_is_the_text_is_said_or_the_connection_reset() {
    let mut relay = Relay::new("no_server = \"421 4.3.2 try again later\"");
    for target in &mut relay.targets {
        target.health = HealthState::Down;
    }
    relay.steer();
    let mut said = String::new();
    relay.connect().read_to_string(&mut said).expect("text");
    assert_eq!(said, "421 4.3.2 try again later\r\n");
    let mut relay = Relay::new("no_server = \"reset\"");
    relay.targets.clear();
    relay.steer();
    let error = relay.connect().read(&mut [0; 16]).expect_err("a reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

/// A server that leaves a service keeps its connections. One that leaves a tier would be a second writer.
#[test]
fn who_leaves_a_tier_loses_its_connections() {
    let mut relay = Relay::new("scheduler = \"leastconn\"");
    relay.targets[1].health = HealthState::Down;
    relay.steer();
    let mut client = relay.connect();
    assert_eq!(hear(&mut client, "220 mb1\r\n".len()), "220 mb1\r\n");
    let all = relay.service.clone();
    relay.service.servers.remove(0);
    relay.put_in_force();
    client.write_all(b"still here\r\n").expect("open");
    assert_eq!(hear(&mut client, "still here\r\n".len()), "still here\r\n");

    relay.service = all;
    let tier = |service: &config::Service| {
        let plan = Plan::tier(service, Duration::from_secs(3600));
        relay.proxies.configure(vec![plan], &[]);
        relay.steer();
    };
    tier(&relay.service);
    let mut removed = relay.connect();
    assert_eq!(hear(&mut removed, "220 mb1\r\n".len()), "220 mb1\r\n");
    let mut rest = relay.service.clone();
    rest.servers.remove(0);
    tier(&rest);
    let mut byte = [0];
    let end = removed.read(&mut byte).expect_err("an end").kind();
    assert_eq!(end, std::io::ErrorKind::ConnectionReset);

    // The whole of it goes.
    tier(&relay.service);
    let mut retired = relay.connect();
    assert_eq!(hear(&mut retired, "220 mb1\r\n".len()), "220 mb1\r\n");
    relay.proxies.configure(Vec::new(), &[]);
    let end = retired.read(&mut byte).expect_err("an end").kind();
    assert_eq!(end, std::io::ErrorKind::ConnectionReset);
}

#[test]
fn who_an_operator_ends_is_reset_alone_or_with_all_that_the_server_has() {
    let mut relay = Relay::new("scheduler = \"roundrobin\"");
    let mut clients: Vec<_> = (0..4).map(|_| relay.connect()).collect();
    let mut names: Vec<_> = clients
        .iter_mut()
        .map(|client| hear(client, 9)[4..7].to_owned())
        .collect();
    let is_reset = |client: &mut TcpStream| {
        let error = client.read(&mut [0; 16]).expect_err("a reset");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    };
    let goes_on = |client: &mut TcpStream| {
        client.write_all(b"still").expect("it is taken");
        assert_eq!(hear(client, 5), "still");
    };
    // Those that came before them have gone.
    wait_until(|| relay.proxies.sessions().len() == clients.len());
    // Neither the first nor the last of the table.
    let session = relay.proxies.sessions().swap_remove(1);
    let meant = clients
        .iter()
        .position(|client| client.local_addr().ok() == Some(session.client));
    let meant = meant.expect("it is one of them");
    let (mut alone, name) = (clients.remove(meant), names.remove(meant));
    let (server, at) = session.server.clone().expect("it has one");
    assert_eq!((server, at.ip()), (name, relay.at.ip()));
    assert_eq!((session.proxy.as_str(), session.local), ("smtp", relay.at));
    assert!(relay.proxies.cut(session.id).is_some());
    is_reset(&mut alone);
    for client in &mut clients {
        goes_on(client);
    }

    let ended = relay
        .targets
        .iter_mut()
        .find(|target| target.name == names[0]);
    ended.expect("it is there").ended += 1;
    relay.steer();
    for (client, name) in clients.iter_mut().zip(&names) {
        match *name == names[0] {
            true => is_reset(client),
            false => goes_on(client),
        }
    }
    let mut again = relay.connect();
    assert!(
        hear(&mut again, 9).starts_with("220 mb"),
        "new ones come as before"
    );
}
