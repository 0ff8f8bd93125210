//! HTTP/2 in raw frames (RFC 9113): what no well-behaved library would send.

use std::io::Write as _;

use mb_lb_ctl::snapshot::AdminState;

use crate::stalls::{read_head, with_bare};
use crate::{Bench, Connection, Reply, wait_until};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("a short one")
        .to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Literal fields without indexing and without Huffman (RFC 7541 section 6.2.2); each part is shorter than 127 bytes.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for part in [name, value] {
            block.push(u8::try_from(part.len()).expect("a short one"));
            block.extend(part.as_bytes());
        }
    }
    block
}

fn open(bench: &Bench) -> Connection {
    let mut client = bench.connect();
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.send(&frame(SETTINGS, 0, 0, &[]));
    client
}

/// How stream 1 ends: the status of its response, or `None` where it or the connection is broken off.
fn outcome(client: &mut Connection) -> Option<u16> {
    loop {
        let head = client.take(9);
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let payload = client.take(length);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        match head[3] {
            HEADERS if stream == 1 => return Some(status(&payload)),
            RESET if stream == 1 => return None,
            GO_AWAY => return None,
            _ => {}
        }
    }
}

/// `:status` comes first, out of the static table (RFC 7541 appendix A), or as a literal in Huffman code.
fn status(block: &[u8]) -> u16 {
    let known = [200, 204, 206, 304, 400, 404, 500];
    match block {
        // A change of the dynamic table's size comes before it.
        [size, rest @ ..] if size & 0xe0 == 0x20 => status(rest),
        [index @ 0x88..=0x8e, ..] => known[usize::from(index - 0x88)],
        // `4` is 011010, `0` is 00000, `5` is 011011, `3` is 011001, `1` is 00001.
        [0x48, 0x83, 0x68, 0x0d, 0xff, ..] => 405,
        [0x48, 0x83, 0x69, 0x90, 0xff, ..] => 431,
        [0x48, 0x82, 0x6c, 0x02, ..] => 502,
        [0x48, 0x83, 0x6c, 0x0d, 0x7f, ..] => 504,
        _ => panic!("{block:02x?}"),
    }
}

/// A client that asks on several streams.
pub struct Http2 {
    connection: Connection,
    /// What has come: stream and status.
    heads: Vec<(u32, u16)>,
}

impl Http2 {
    pub fn new(mut connection: Connection) -> Self {
        connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        connection.send(&frame(SETTINGS, 0, 0, &[]));
        Self {
            connection,
            heads: Vec::new(),
        }
    }

    pub fn ask(&mut self, stream: u32, path: &str) {
        let fields = [&GET[..3], &[(":path", path)]].concat();
        let head = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&fields));
        self.connection.send(&head);
    }

    pub fn wait_for(&mut self, stream: u32, expected: u16) {
        loop {
            let found = self.heads.iter().find(|(of, _)| *of == stream);
            if let Some((_, found)) = found {
                assert_eq!(*found, expected);
                return;
            }
            let (of, block) = next(&mut self.connection, HEADERS);
            self.heads.push((of, status(&block)));
        }
    }
}

const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "h"),
    (":path", "/"),
];

fn ask(bench: &Bench, fields: &[(&str, &str)]) -> Option<u16> {
    let mut client = open(bench);
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields)));
    outcome(&mut client)
}

#[test]
fn good_ones_are_served() {
    let bench = Bench::new("", "");
    assert_eq!(ask(&bench, &GET), Some(200));
    let fields = [
        GET.as_slice(),
        &[("host", "h"), ("te", "trailers"), ("a", "b")],
    ]
    .concat();
    assert_eq!(ask(&bench, &fields), Some(200));
    let seen = bench.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen[1].starts_with("GET / HTTP/1.1\r\n"), "{}", seen[1]);
    assert_eq!(seen[1].matches("\r\nhost: h\r\n").count(), 1, "{}", seen[1]);
}

/// The library does not give it out; no server sees it.
#[test]
fn a_fragment_is_dropped() {
    let bench = Bench::new("", "");
    let fields = [&GET[..3], &[(":path", "/a#b")]].concat();
    assert_eq!(ask(&bench, &fields), Some(200));
    assert!(bench.seen()[0].starts_with("GET /a HTTP/1.1\r\n"));
}

#[test]
fn what_would_be_another_request_in_http_1_comes_to_no_server() {
    let bench = Bench::new("", "");
    let path = |path| vec![GET[0], GET[1], GET[2], (":path", path)];
    let authority = |name| vec![GET[0], GET[1], (":authority", name), GET[3]];
    let with = |name, value| [GET.as_slice(), &[(name, value)]].concat();
    let rows = [
        // Of the connection (RFC 9113 section 8.2.2).
        with("connection", "close"),
        with("connection", "keep-alive, x-a"),
        with("transfer-encoding", "chunked"),
        with("keep-alive", "timeout=5"),
        with("upgrade", "websocket"),
        with("proxy-connection", "keep-alive"),
        with("te", "gzip"),
        // Names and values.
        with("a\r\nb", "c"),
        with("a\nb", "c"),
        with("a\0b", "c"),
        with("a:b", "c"),
        with("a b", "c"),
        with("A", "c"),
        with("", "c"),
        with("a", "b\r\nc: d"),
        with("a", "b\nc"),
        with("a", "b\rc"),
        with("a", "b\0c"),
        // Host and authority.
        with("host", "other"),
        with("host", ""),
        [with("host", "h"), vec![("host", "h")]].concat(),
        authority(""),
        authority("a b"),
        authority("h\r\nx: y"),
        authority("h/path"),
        authority("user@h"),
        // Targets.
        path(""),
        path("nothing"),
        path("*"),
        path("/a b"),
        path("/ HTTP/1.1\r\nX: y"),
        path("/a\0"),
        path("/a\u{7f}"),
        // Pseudo-fields.
        vec![GET[0], GET[1], GET[2]],
        vec![GET[1], GET[2], GET[3]],
        vec![(":method", "GET /x HTTP/1.1\r\nA:"), GET[1], GET[2], GET[3]],
        vec![(":method", "CONNECT"), (":authority", "h:443")],
        [GET.as_slice(), &[GET[3]]].concat(),
        with(":unknown", "a"),
        [vec![("a", "b")], GET.to_vec()].concat(),
        // Content that is announced and does not come.
        with("content-length", "5"),
        with("content-length", "+0"),
        with("content-length", "0, 0"),
    ];
    for fields in rows {
        let status = ask(&bench, &fields);
        assert!(
            matches!(status, None | Some(400 | 405)),
            "{fields:?}: {status:?}"
        );
        assert_eq!(bench.seen(), Vec::<String>::new(), "{fields:?}");
    }
}

#[test]
fn too_many_fields_are_refused() {
    let bench = Bench::new("limits = { fields = 20 }", "");
    let fields = |count| [GET.as_slice(), &vec![("a", "b"); count]].concat();
    assert_eq!(ask(&bench, &fields(20)), Some(200));
    assert_eq!(ask(&bench, &fields(21)), Some(431));
    assert_eq!(bench.refused("field_count"), 1);
}

/// The server sees the head, and never an end.
#[test]
fn content_of_another_length_than_announced_is_no_request() {
    let bench = Bench::new("", "");
    for (length, data) in [("5", "abc"), ("3", "abcde")] {
        let fields = [
            &[(":method", "POST")],
            &GET[1..],
            &[("content-length", length)],
        ]
        .concat();
        let mut client = open(&bench);
        client.send(&frame(HEADERS, END_HEADERS, 1, &block(&fields)));
        client.send(&frame(0, END_STREAM, 1, data.as_bytes()));
        let status = outcome(&mut client);
        assert!(matches!(status, None | Some(400)), "{length}: {status:?}");
        assert_eq!(bench.seen(), Vec::<String>::new(), "{length}");
    }
}

/// Streams that are opened and reset at once (CVE-2023-44487), heads that do not end (CVE-2024-27316), pings: such a
/// connection is broken off, and others are served.
#[test]
fn floods_end_the_connection_and_nothing_else() {
    // The connection does not end by itself.
    let bench = Bench::new("timeouts = { keep_alive = \"1h\", client = \"1h\" }", "");
    let get = block(&GET);
    let reset = |stream| {
        let mut bytes = frame(HEADERS, END_HEADERS | END_STREAM, stream, &get);
        bytes.extend(frame(RESET, 0, stream, &[0, 0, 0, 8]));
        bytes
    };
    let resets: Vec<u8> = (0..20_000).flat_map(|at| reset(2 * at + 1)).collect();
    let mut heads = frame(HEADERS, END_STREAM, 1, &get);
    for _ in 0..5_000 {
        heads.extend(frame(9, 0, 1, &block(&[("a", "b")]).repeat(10)));
    }
    for flood in [resets, heads] {
        let mut client = open(&bench);
        // It may end in the middle.
        client.try_send(&flood);
        client.wait_end();
        assert_eq!(ask(&bench, &GET), Some(200));
    }
}

/// The next frame of this kind: its stream and its payload.
fn next(client: &mut Connection, kind: u8) -> (u32, Vec<u8>) {
    loop {
        let head = client.take(9);
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let payload = client.take(length);
        if head[3] == kind {
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            return (stream, payload);
        }
    }
}

/// A client whose window stays closed does not hold a place at the server.
#[test]
fn a_closed_window_is_given_up() {
    const INITIAL_WINDOW: [u8; 6] = [0, 4, 0, 0, 0, 0];
    let bench = Bench::new("timeouts = { client = \"100ms\" }", ", max_connections = 1");
    for server in &bench.servers {
        server.will(Reply::ok(&"x".repeat(4 << 20)));
    }
    let mut client = bench.connect();
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.send(&frame(SETTINGS, 0, 0, &INITIAL_WINDOW));
    for stream in [1, 3, 5] {
        client.send(&frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            stream,
            &block(&GET),
        ));
    }
    for _ in 0..3 {
        next(&mut client, HEADERS);
    }
    // All places are taken, and are free again.
    assert_eq!(bench.get("/", "").status, 200);
    wait_until(|| (0..3).all(|at| bench.counted(at).active == 0));
    // There is nothing else in the connection.
    client.wait_end();
}

/// Others on the connection are served to their end, and the client hears of it when it wants the rest.
#[test]
fn a_stream_that_is_given_up_ends_no_other() {
    const LENGTH: usize = 3 << 20;
    let (bench, listener) = with_bare("timeouts = { client = \"3s\" }");
    let mut client = bench.connect();
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    let mut servers = Vec::new();
    for stream in [1, 3, 5] {
        let get = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&GET));
        client.send(&get);
        let (mut server, _) = listener.accept().expect("a connection");
        read_head(&mut server);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
        server.write_all(head.as_bytes()).expect("it is taken");
        servers.push(server);
    }
    let piece = vec![b'x'; LENGTH];
    for server in &mut servers[..2] {
        server.set_nonblocking(true).expect("an option");
        // As much as fits.
        let _some = server.write(&piece);
    }
    wait_until(|| bench.counted(0).active == 1);
    let more = (1_u32 << 24).to_be_bytes();
    client.send(&frame(WINDOW_UPDATE, 0, 0, &more));
    client.send(&frame(WINDOW_UPDATE, 0, 5, &more));
    let mut last = servers.pop().expect("the third");
    let sender = std::thread::spawn(move || last.write_all(&piece));
    let mut left = LENGTH;
    while left > 0 {
        let (stream, data) = next(&mut client, DATA);
        if stream == 5 {
            left -= data.len();
        }
    }
    sender.join().expect("no panic").expect("it is taken");
    client.send(&frame(WINDOW_UPDATE, 0, 1, &more));
    assert_eq!(next(&mut client, RESET).0, 1);
}

/// One that takes a frame within its patience is served to the end, however much its server sends at a time.
#[test]
fn a_slow_window_is_not_given_up() {
    const LENGTH: u32 = 600_000;
    let bench = Bench::new("timeouts = { client = \"2s\" }", "");
    for server in &bench.servers {
        server.will(Reply::ok(&"x".repeat(LENGTH as usize)));
    }
    let mut client = bench.connect();
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0x40, 0]));
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&GET)));
    // The first pauses are far shorter than the patience each, and far longer together, also for the 64 KiB that are read of a
    // server at a time.
    let (mut left, mut pauses) = (LENGTH, 8);
    while left > 0 {
        let (_, data) = next(&mut client, DATA);
        let length = u32::try_from(data.len()).expect("a frame");
        left -= length;
        if pauses > 0 {
            pauses -= 1;
            std::thread::sleep(std::time::Duration::from_millis(700));
        }
        if length > 0 {
            client.send(&frame(WINDOW_UPDATE, 0, 0, &length.to_be_bytes()));
            client.send(&frame(WINDOW_UPDATE, 0, 1, &length.to_be_bytes()));
        }
    }
}

/// RFC 8441: what a server answers that does not switch would be taken for the tunnel.
#[test]
fn an_answer_that_is_no_switch_opens_no_tunnel() {
    let bench = Bench::new("", "");
    let connect = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "h"),
    ];
    let mut client = open(&bench);
    client.send(&frame(HEADERS, END_HEADERS, 1, &block(&connect)));
    assert_eq!(outcome(&mut client), Some(502));
    assert_eq!(bench.seen().len(), 1);
}

/// With all that is under way on it, at whichever server.
#[test]
fn a_connection_that_an_operator_ends_ends_with_all_of_its_streams() {
    let mut bench = Bench::new("", "");
    bench.set(2, |target| target.admin = AdminState::Drain);
    for server in &bench.servers[..2] {
        server.will(Reply::Silence);
    }
    let active = || (0..3).map(|at| bench.counted(at).active).sum::<u64>();
    let mut client = open(&bench);
    for stream in [1, 3] {
        let get = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&GET));
        client.send(&get);
    }
    wait_until(|| active() == 2);
    let sessions = bench.proxies.sessions();
    let mut busy = sessions.iter().filter(|session| session.server.is_some());
    let session = busy.next().expect("it is open");
    assert_eq!(busy.next(), None, "one for both");
    assert!(bench.proxies.cut(session.id).is_some());
    client.wait_end();
    wait_until(|| active() == 0);
    wait_until(|| bench.proxies.sessions().is_empty());
    assert_eq!(ask(&bench, &GET), Some(200), "others are served");
}
