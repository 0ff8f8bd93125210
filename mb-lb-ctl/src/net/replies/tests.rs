use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU8, Ordering};

use super::*;

const PORT: u16 = 2525;
const BUSY: &str = "421 4.3.2 Service not available, try again later";

/// A loopback address that nothing else of this machine uses.
fn fresh() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, 128 | high, low, NEXT.fetch_add(1, Ordering::Relaxed));
    SocketAddr::new(IpAddr::V4(address), PORT)
}

/// What a client hears that says `words` first and reads afterwards, to the orderly end.
async fn hear(address: SocketAddr, words: &'static [u8]) -> String {
    let client = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        stream.write_all(words).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    });
    client.await.unwrap()
}

#[tokio::test]
async fn client_hears_the_text_and_an_orderly_end() {
    let address = fresh();
    let mut replies = Replies::default();
    assert!(replies.set(vec![(address, BUSY.into())]).is_empty());
    assert_eq!(hear(address, b"").await, format!("{BUSY}\r\n"));
    // Words that came before the text was read must not turn into a reset.
    assert_eq!(
        hear(address, b"EHLO mx.example\r\nMAIL FROM:<a@b>\r\n").await,
        format!("{BUSY}\r\n")
    );
}

#[tokio::test]
async fn listeners_follow_the_set() {
    let [stays, goes, comes] = [fresh(), fresh(), fresh()];
    let mut replies = Replies::default();
    assert!(
        replies
            .set(vec![(stays, "421 a".into()), (goes, "421 b".into())])
            .is_empty()
    );
    let task = replies.speakers[&stays].task.id();
    assert!(
        replies
            .set(vec![(stays, "421 c".into()), (comes, "421 d".into())])
            .is_empty()
    );
    assert_eq!(
        replies.speakers[&stays].task.id(),
        task,
        "it was not bound anew"
    );
    assert_eq!(hear(stays, b"").await, "421 c\r\n");
    assert_eq!(hear(comes, b"").await, "421 d\r\n");
    // The task that holds the listener ends soon after the call, not within it.
    let closed = async {
        while TcpStream::connect(goes).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), closed)
        .await
        .expect("it is closed");
}

#[tokio::test]
async fn address_in_use_is_reported_and_tried_again() {
    let address = fresh();
    let taken = std::net::TcpListener::bind(address).unwrap();
    let mut replies = Replies::default();
    let failed = replies.set(vec![(address, BUSY.into())]);
    let [error] = failed.as_slice() else {
        panic!("one failure is due: {failed:?}");
    };
    assert_eq!(
        (error.address, error.source.kind()),
        (address, io::ErrorKind::AddrInUse)
    );
    drop(taken);
    assert!(replies.set(vec![(address, BUSY.into())]).is_empty());
    assert_eq!(hear(address, b"").await, format!("{BUSY}\r\n"));
}

#[tokio::test]
async fn addresses_that_this_host_does_not_have_can_be_listened_on() {
    let vips = ["192.0.2.25:2525", "[2001:db8::25]:2525"].map(|vip| vip.parse().unwrap());
    let mut replies = Replies::default();
    let failed = replies.set(vips.map(|vip| (vip, BUSY.to_owned())).to_vec());
    assert!(failed.is_empty(), "{failed:?}");
}

#[tokio::test]
async fn silent_clients_do_not_keep_others_waiting_for_ever() {
    let address = fresh();
    let mut replies = Replies::default();
    assert!(replies.set(vec![(address, BUSY.into())]).is_empty());
    // They neither read nor close, as many as are served at a time.
    let mut silent = Vec::new();
    for _ in 0..CONCURRENCY {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    assert_eq!(hear(address, b"").await, format!("{BUSY}\r\n"));
    assert_eq!(silent.len(), CONCURRENCY);
}
