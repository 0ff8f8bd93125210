//! Directors on loopback addresses of their own, and what stands between them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::peer::handshake::{self, Established, seal};
use crate::peer::{Hello, Incoming, Key, Link, Message, Settings, Timing, Why, spawn};

const PORT: u16 = 8405;
/// For what has to happen at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// Three addresses that no other test has: of the lower director, of the upper one and of a stranger.
pub struct Net {
    pub lower: SocketAddr,
    pub upper: SocketAddr,
    pub stranger: IpAddr,
}

pub fn net() -> Net {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let own = NEXT.fetch_add(1, Ordering::Relaxed);
    // Another process of tests has another number, at least in its lowest bits.
    let ip = |last| IpAddr::V4(Ipv4Addr::new(127, low | 1, own, last | (high & 1) << 5));
    Net {
        lower: SocketAddr::new(ip(1), PORT),
        upper: SocketAddr::new(ip(2), PORT),
        stranger: ip(3),
    }
}

pub fn key(seed: u8) -> Key {
    Key::parse(&format!("{seed:02x}").repeat(32)).expect("64 digits")
}

pub fn hello(name: &str) -> Hello {
    static BOOT: AtomicU64 = AtomicU64::new(1);
    Hello {
        name: name.to_owned(),
        build: "0.1.0".to_owned(),
        boot: BOOT.fetch_add(1, Ordering::Relaxed),
        knows: "0123456789ab".to_owned(),
        started_ms: 1,
    }
}

pub fn settings(listen: SocketAddr, address: SocketAddr) -> Settings {
    Settings {
        listen,
        address,
        key: key(1),
        timing: Timing::default(),
    }
}

pub struct Director {
    pub link: Link,
    pub incoming: mpsc::Receiver<Incoming>,
}

impl Director {
    pub fn new(name: &str, settings: Settings) -> Self {
        let (_, hello) = watch::channel(hello(name));
        let (link, incoming) = spawn(settings, hello);
        Self { link, incoming }
    }

    pub async fn next(&mut self) -> Incoming {
        within(self.incoming.recv()).await.expect("the link lives")
    }

    /// The first that `pick` takes; what comes before is let go.
    pub async fn find<T>(&mut self, mut pick: impl FnMut(Incoming) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(self.next().await) {
                return found;
            }
        }
    }

    pub async fn connected(&mut self) -> Hello {
        self.find(|incoming| match incoming {
            Incoming::Connected { hello, .. } => Some(hello),
            _ => None,
        })
        .await
    }

    pub async fn disconnected(&mut self) -> Why {
        self.find(|incoming| match incoming {
            Incoming::Disconnected { why } => Some(why),
            _ => None,
        })
        .await
    }

    pub async fn message(&mut self) -> Message {
        self.find(|incoming| match incoming {
            Incoming::Message(message) => Some(message),
            _ => None,
        })
        .await
    }
}

pub async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what)
        .await
        .expect("it happens within the patience of a test")
}

/// Looks again and again, for what no event tells.
pub async fn until(mut is: impl FnMut() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(2));
    within(async {
        while !is() {
            looks.tick().await;
        }
    })
    .await;
}

pub fn pair(net: &Net) -> (Director, Director) {
    (
        Director::new("lower", settings(net.lower, net.upper)),
        Director::new("upper", settings(net.upper, net.lower)),
    )
}

/// A plain connection from one address, as soon as somebody listens.
pub async fn connect(from: IpAddr, to: SocketAddr) -> TcpStream {
    within(async {
        loop {
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.bind(SocketAddr::new(from, 0)).expect("bound");
            match socket.connect(to).await {
                Ok(stream) => return stream,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await
}

pub async fn listen(at: SocketAddr) -> TcpListener {
    TcpListener::bind(at).await.expect("the address is free")
}

/// Reads until the other side has closed.
pub async fn drain(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    // A reset is an end as well.
    let _ = within(stream.read_to_end(&mut all)).await;
    all
}

/// A peer that knows the key and does only what the test says.
pub struct Puppet {
    pub connection: Established<TcpStream>,
}

impl Puppet {
    pub async fn dial(from: IpAddr, to: SocketAddr, hello: Hello) -> Self {
        let stream = connect(from, to).await;
        let connection = within(handshake::dial(stream, &key(1), hello)).await;
        Self {
            connection: connection.unwrap_or_else(|error| panic!("{error}")),
        }
    }

    /// The bytes of a message, which count as sent.
    pub fn seal(&mut self, message: &[u8]) -> Vec<u8> {
        let mut wire = Vec::new();
        let noise = &self.connection.noise;
        seal(noise, &mut self.connection.nonces.0, message, &mut wire);
        wire
    }

    pub async fn send(&mut self, message: &Message) {
        let wire = self.seal(&message.encode().expect("short"));
        self.write(&wire).await;
    }

    pub async fn write(&mut self, wire: &[u8]) {
        let written = within(self.connection.stream.write_all(wire)).await;
        written.expect("written");
    }

    /// The next message that fits into one frame, but for pings.
    pub async fn receive(&mut self) -> Message {
        loop {
            let stream = &mut self.connection.stream;
            let length = within(stream.read_u16()).await.expect("a frame");
            let mut frame = vec![0; usize::from(length)];
            within(stream.read_exact(&mut frame)).await.expect("whole");
            let mut content = vec![0; frame.len()];
            let nonce = &mut self.connection.nonces.1;
            let noise = &self.connection.noise;
            let length = noise.read_message(*nonce, &frame, &mut content);
            *nonce += 1;
            let length = length.expect("it is meant for us");
            let message = Message::decode(&content[1..length]).expect("a message");
            if message != Message::Ping {
                return message;
            }
        }
    }
}

/// Stands between the lower director and the upper one, listens where the lower one dials, and hands every chunk to
/// `alter` with the number of bytes before it.
pub async fn between(
    at: TcpListener,
    from: IpAddr,
    to: SocketAddr,
    mut alter: impl FnMut(u64, &mut Vec<u8>) + Send + 'static,
) {
    loop {
        let (mut near, _) = at.accept().await.expect("a connection");
        let mut far = connect(from, to).await;
        let (mut near_in, mut near_out) = near.split();
        let (mut far_in, mut far_out) = far.split();
        let there = async {
            let mut before = 0;
            let mut chunk = vec![0; 65536];
            while let Ok(bytes @ 1..) = near_in.read(&mut chunk).await {
                let mut altered = chunk[..bytes].to_vec();
                alter(before, &mut altered);
                before += bytes as u64;
                if far_out.write_all(&altered).await.is_err() {
                    break;
                }
            }
        };
        let back = tokio::io::copy(&mut far_in, &mut near_out);
        tokio::select! {
            () = there => {}
            _ = back => {}
        }
    }
}
