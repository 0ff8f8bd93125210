//! Servers that answer strangely.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::Lab;

use super::site::{FAST, Site};

/// A server on the client's machine. It goes with the test's process.
pub struct Strange {
    pub port: u16,
    connections: Arc<AtomicUsize>,
}

impl Strange {
    /// Each connection is served by `serve` on a thread of its own.
    pub fn start(lab: &Lab, serve: fn(TcpStream)) -> Result<Self> {
        let address = lab.client().ipv4();
        let listener = lab
            .client()
            .enter(|| TcpListener::bind((address, 0)))
            .context("cannot listen")?;
        let port = listener.local_addr()?.port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                counted.fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || serve(connection));
            }
        });
        Ok(Self { port, connections })
    }

    /// It reads and says nothing.
    pub fn silent(lab: &Lab) -> Result<Self> {
        Self::start(lab, |mut stream| {
            let mut bytes = [0; 512];
            while stream.read(&mut bytes).is_ok_and(|length| length > 0) {}
        })
    }

    pub fn count(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// After the question comes this.
fn say(mut stream: TcpStream, answer: impl FnOnce(&[u8]) -> Vec<u8>) {
    let mut question = [0; 44];
    if stream.read_exact(&mut question).is_ok() {
        // The director may have had enough of it.
        let _ = stream.write_all(&answer(&question[4..8]));
        let _ = stream.read(&mut question);
    }
}

/// A whole reply: the number of the question and these words.
fn reply(xid: &[u8], words: &[u32]) -> Vec<u8> {
    let mut body = xid.to_vec();
    body.extend(words.iter().flat_map(|word| word.to_be_bytes()));
    let mark = 0x8000_0000 | u32::try_from(body.len()).expect("short");
    [&mark.to_be_bytes()[..], &body].concat()
}

fn drip(mut stream: TcpStream) {
    // A record of 64 KiB that comes for ever.
    let mut bytes = 0x8001_0000_u32.to_be_bytes().to_vec();
    bytes.push(0);
    while stream.write_all(&bytes).is_ok() {
        bytes = vec![0];
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn flood(mut stream: TcpStream) {
    // Fragments without an end.
    let fragment = [&1024_u32.to_be_bytes()[..], &[7; 1024]].concat();
    while stream.write_all(&fragment).is_ok() {}
}

/// Name, what serves, and the word for it.
type Case = (&'static str, fn(TcpStream), &'static str);

#[test]
fn strange_answers_are_named_and_do_no_harm() -> Result<()> {
    let mut site = Site::new("st-strange", 1)?;
    let cases: [Case; 12] = [
        (
            "text",
            |s| say(s, |_| b"220 mail ESMTP\r\n".to_vec()),
            "garbage",
        ),
        ("huge", |s| say(s, |_| vec![0xff; 64]), "garbage"),
        ("zeros", |s| say(s, |_| vec![0; 4096]), "garbage"),
        (
            "other",
            |s| say(s, |_| reply(&[1, 2, 3, 4], &[1, 0, 0, 0, 0])),
            "garbage",
        ),
        ("short", |s| say(s, |xid| reply(xid, &[1, 0])), "garbage"),
        (
            "verifier",
            |s| say(s, |xid| reply(xid, &[1, 0, 0, u32::MAX])),
            "garbage",
        ),
        (
            "absent",
            |s| say(s, |xid| reply(xid, &[1, 0, 0, 0, 1])),
            "rejected",
        ),
        (
            "old",
            |s| say(s, |xid| reply(xid, &[1, 0, 0, 0, 2, 2, 3])),
            "wrong_version",
        ),
        (
            "denied",
            |s| say(s, |xid| reply(xid, &[1, 1, 1, 5])),
            "rejected",
        ),
        ("closes", drop, "not_answering"),
        ("drips", drip, "not_answering"),
        ("floods", flood, "garbage"),
    ];
    let mut config = String::new();
    for (name, serve, _) in cases {
        let server = Strange::start(&site.lab, serve)?;
        config += &format!(
            "[storage.{name}]\ntype = \"nfs\"\nserver = \"{}\"\nport = {}\nversion = \"4\"\n{FAST}\n",
            site.lab.client().ipv4(),
            server.port
        );
    }
    config += &format!(
        "[storage.gluster]\ntype = \"glusterfs\"\nservers = [\"{0}\"]\nport = {1}\nvolume = \"q\"\n{FAST}\n\
         [storage.nobody]\ntype = \"nfs\"\nserver = \"{0}\"\nport = 9\n{FAST}\n\
         [storage.nowhere]\ntype = \"nfs\"\nserver = \"10.77.0.254\"\nversion = \"4\"\n{FAST}\n",
        site.lab.client().ipv4(),
        Strange::start(&site.lab, |s| say(s, |xid| reply(
            xid,
            &[1, 0, 0, 0, 0, 9, 9]
        )))?
        .port
    );
    site.run(&config)?;
    for (name, _, word) in cases {
        let alarm = site.wait_failed(name, "nfs", word)?;
        ensure!(!alarm.next.is_empty(), "{alarm:?}");
    }
    site.wait_failed("gluster", "glusterd", "not_answering")?;
    site.wait_failed("nobody", "nfs", "refused")?;
    site.wait_state("nowhere", "failed")?;
    site.director.stop()
}
