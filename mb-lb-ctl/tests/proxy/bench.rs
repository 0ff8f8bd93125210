//! A proxy with servers behind it.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mb_lb_ctl::config;
use mb_lb_ctl::proxy::log::Writer;
use mb_lb_ctl::proxy::{Counted, Keeper, Log, Plan, Proxies, Steering, Target};
use mb_lb_ctl::snapshot::{AdminState, HealthState};
use socket2::{Domain, Socket, Type};

/// A guard against hanging, not a condition.
pub const SOON: Duration = Duration::from_secs(20);

/// What a server does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// These bytes.
    Bytes(Vec<u8>),
    /// These bytes, and the end.
    Cut(Vec<u8>),
    /// Closes without a word.
    Close,
    /// Says nothing for as long as the connection lasts.
    Silence,
    /// Everything that the client says comes back, after this.
    Echo(Vec<u8>),
}

impl Reply {
    pub fn ok(body: &str) -> Self {
        Self::with("200 OK", "", body)
    }

    pub fn with(status: &str, fields: &str, body: &str) -> Self {
        let length = body.len();
        let text = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {length}\r\n\r\n{body}");
        Self::Bytes(text.into_bytes())
    }
}

/// A server of HTTP/1.1 that answers as it is told, in order, and with its name when nothing is left.
#[derive(Clone, Debug)]
pub struct Server {
    pub name: String,
    pub address: SocketAddr,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    seen: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
}

impl Server {
    pub fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let server = Self {
            name: name.to_owned(),
            address: listener.local_addr().expect("an address"),
            replies: Arc::default(),
            seen: Arc::default(),
            connections: Arc::default(),
        };
        let own = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                *own.connections.lock().expect("whole") += 1;
                let own = own.clone();
                // A client that goes away ends it.
                std::thread::spawn(move || own.serve(stream).ok());
            }
        });
        server
    }

    pub fn will(&self, reply: Reply) {
        self.replies.lock().expect("whole").push_back(reply);
    }

    /// Heads of requests, with the bodies behind them, since it was last asked.
    pub fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().expect("whole"))
    }

    /// How many there were.
    pub fn connections(&self) -> usize {
        *self.connections.lock().expect("whole")
    }

    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head)? == 0 {
                    return Ok(());
                }
            }
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                (name == "content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            let mut body = vec![0; length.unwrap_or(0)];
            reader.read_exact(&mut body)?;
            let text = head + &String::from_utf8_lossy(&body);
            self.seen.lock().expect("whole").push(text);
            let reply = self.replies.lock().expect("whole").pop_front();
            match reply.unwrap_or_else(|| Reply::ok(&self.name)) {
                Reply::Bytes(bytes) => writer.write_all(&bytes)?,
                Reply::Cut(bytes) => {
                    writer.write_all(&bytes)?;
                    writer.shutdown(std::net::Shutdown::Both)?;
                    return Ok(());
                }
                Reply::Close => {
                    writer.shutdown(std::net::Shutdown::Both)?;
                    return Ok(());
                }
                Reply::Silence => {
                    let mut rest = Vec::new();
                    reader.read_to_end(&mut rest)?;
                    return Ok(());
                }
                Reply::Echo(bytes) => {
                    writer.write_all(&bytes)?;
                    std::io::copy(&mut reader, &mut writer)?;
                    writer.shutdown(std::net::Shutdown::Write)?;
                    return Ok(());
                }
            }
        }
    }
}

/// Waits for a condition.
pub fn wait_until(is_so: impl Fn() -> bool) {
    let begin = std::time::Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < SOON, "it does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A server on which nothing of HTTP is: a listening socket, and its address.
pub fn bare() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// Counts the listening sockets that were to be kept.
#[derive(Default)]
pub struct Kept(pub AtomicUsize);

impl Keeper for Kept {
    fn keep(&self, _: SocketAddr, _: BorrowedFd<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn forget(&self, _: SocketAddr) {}
}

/// The proxy with its servers. `mb1` to `mb3` are up.
pub struct Bench {
    pub proxies: Proxies,
    pub servers: Vec<Server>,
    pub at: SocketAddr,
    pub kept: Arc<Kept>,
    config: config::Proxy,
    targets: Vec<Target>,
    most_clients: Option<u32>,
    log: Option<Log>,
    _port: Socket,
}

/// A port that nobody else is given as long as the socket is there; the proxy can listen on it.
pub fn reserve() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("an option");
    socket.set_reuse_port(true).expect("an option");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).expect("a free port");
    let at = socket.local_addr().expect("an address");
    (socket, at.as_socket().expect("of IPv4"))
}

impl Bench {
    /// `keys` are lines of `[proxy.web]`, `each` what every server has besides its address.
    pub fn new(keys: &str, each: &str) -> Self {
        let servers = ["mb1", "mb2", "mb3"].map(Server::start).to_vec();
        let (port, at) = reserve();
        let mut text = format!("[proxy.web]\nlisten = \"{at}\"\n{keys}\n[proxy.web.servers]\n");
        for server in &servers {
            text += &format!(
                "{} = {{ address = \"{}\"{each} }}\n",
                server.name, server.address
            );
        }
        let parsed = config::parse(&text, "lb1");
        let config = parsed
            .config
            .unwrap_or_else(|| panic!("{:?}", parsed.diagnostics));
        let config = config.proxies.into_iter().next().expect("a proxy");
        let targets = servers
            .iter()
            .map(|server| Target {
                name: server.name.clone(),
                admin: AdminState::Ready,
                health: HealthState::Up,
                weight: 1,
                most: config
                    .servers
                    .iter()
                    .find(|known| known.name == server.name)
                    .and_then(|known| known.max_connections),
                ended: 0,
                percent: 100,
            })
            .collect();
        let log = config.access_log.as_ref().map(|log| Log {
            format: log.format,
            writer: Arc::new(Writer::start(log.file.clone()).expect("a log")),
        });
        let kept = Arc::new(Kept::default());
        let keeper = Arc::clone(&kept);
        let bench = Self {
            kept,
            _port: port,
            log,
            proxies: Proxies::start(2, Vec::new(), keeper).expect("threads"),
            servers,
            at,
            config,
            targets,
            most_clients: None,
        };
        bench.put_in_force();
        bench.steer();
        bench.wait_listening();
        bench
    }

    fn put_in_force(&self) {
        let plan = Plan {
            config: self.config.clone(),
            tls: None,
            relay: None,
            log: self.log.clone(),
        };
        self.proxies.configure(vec![plan], &[]);
    }

    pub fn reload(&mut self, change: impl FnOnce(&mut config::Proxy)) {
        change(&mut self.config);
        self.put_in_force();
    }

    fn steer(&self) {
        self.proxies.steer(&[Steering {
            proxy: self.config.name.clone(),
            most_clients: self.most_clients,
            targets: self.targets.clone(),
        }]);
    }

    pub fn set(&mut self, server: usize, change: impl FnOnce(&mut Target)) {
        change(&mut self.targets[server]);
        self.steer();
    }

    /// As the engine says it; `None`: as configured.
    pub fn cap_clients(&mut self, most: Option<u32>) {
        self.most_clients = most;
        self.steer();
    }

    fn wait_listening(&self) {
        let begin = std::time::Instant::now();
        while TcpStream::connect(self.at).is_err() {
            assert!(begin.elapsed() < SOON, "nobody listens");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.at).expect("it listens");
        stream.set_read_timeout(Some(SOON)).expect("a time");
        Connection {
            reader: BufReader::new(stream),
        }
    }

    /// One request on a connection of its own.
    pub fn get(&self, path: &str, fields: &str) -> Response {
        self.connect().get(path, fields)
    }

    /// Requests that came to servers, since it was last asked.
    pub fn seen(&self) -> Vec<String> {
        self.servers.iter().flat_map(Server::seen).collect()
    }

    pub fn refused(&self, word: &str) -> u64 {
        let readings = self.proxies.readings();
        readings["web"].refused.get(word).copied().unwrap_or(0)
    }

    pub fn counted(&self, server: usize) -> Counted {
        self.proxies.readings()["web"].servers[&self.servers[server].name]
    }
}

/// A client's.
pub struct Connection {
    reader: BufReader<TcpStream>,
}

#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// In small letters.
    pub head: String,
    pub body: String,
}

impl Response {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            (found == name).then(|| value.trim())
        })
    }
}

impl Connection {
    pub fn send(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).expect("it is taken");
    }

    /// Nothing comes for a while, and it does not end.
    pub fn expect_silence(&mut self) {
        let stream = self.reader.get_ref();
        let a_while = Some(Duration::from_millis(300));
        stream.set_read_timeout(a_while).expect("a time");
        let error = self.reader.fill_buf().expect_err("silence");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        let stream = self.reader.get_ref();
        stream.set_read_timeout(Some(SOON)).expect("a time");
    }

    /// For another thread.
    pub fn writer(&self) -> TcpStream {
        self.reader.get_ref().try_clone().expect("a descriptor")
    }

    /// Reads to the end, whichever way the other side ends it.
    pub fn wait_end(&mut self) {
        let mut rest = Vec::new();
        if let Err(error) = self.reader.read_to_end(&mut rest) {
            assert_ne!(
                error.kind(),
                std::io::ErrorKind::WouldBlock,
                "it does not end"
            );
        }
    }

    /// As much as the other side takes.
    pub fn try_send(&mut self, bytes: &[u8]) {
        let stream = self.reader.get_mut();
        stream.set_write_timeout(Some(SOON)).expect("a time");
        let _sent = stream.write_all(bytes);
    }

    pub fn get(&mut self, path: &str, fields: &str) -> Response {
        self.send(
            format!("GET {path} HTTP/1.1\r\nHost: mail.example.com\r\n{fields}\r\n").as_bytes(),
        );
        self.receive()
    }

    pub fn receive(&mut self) -> Response {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = self.reader.read_line(&mut head).expect("a head in time");
            assert_ne!(read, 0, "the connection ended: {head:?}");
        }
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        let response = Response {
            status: status.unwrap_or_else(|| panic!("{head:?}")),
            head,
            body: String::new(),
        };
        let length = response
            .field("content-length")
            .map_or(0, |length| length.parse::<usize>().expect("a number"));
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body).expect("the body");
        Response {
            body: String::from_utf8(body).expect("text"),
            ..response
        }
    }

    /// The next bytes.
    pub fn take(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes).expect("as many bytes");
        bytes
    }

    /// All that comes until the end; `Err` is a reset.
    pub fn rest(mut self) -> std::io::Result<String> {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest)?;
        Ok(String::from_utf8_lossy(&rest).into_owned())
    }
}
