//! Servers that are none, or not the ones that they should be.

use std::future::Future;

use tokio::net::TcpListener;

use super::*;
use crate::tiers::galera::status::tests::pairs;

/// Of those that answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of those that do not.
const SHORT: Duration = Duration::from_millis(500);

/// One connection to a server that does `script` with it.
async fn asked<F: Future<Output = ()> + Send>(
    timeout: Duration,
    password: &str,
    script: impl FnOnce(TcpStream) -> F,
) -> Answer {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let question = Question {
        address: listener.local_addr().expect("bound"),
        user: "mb-lb".to_owned(),
        tls: None,
        timeout,
    };
    let server = async {
        let (stream, _) = listener.accept().await.expect("asked");
        script(stream).await;
    };
    let asking = ask(question, Some(password));
    tokio::pin!(asking);
    // A script that never ends goes with the answer.
    tokio::select! {
        answer = &mut asking => answer,
        () = server => asking.await,
    }
}

fn packet(number: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_le_bytes();
    let mut packet = vec![length[0], length[1], length[2], number];
    packet.extend(payload);
    packet
}

fn greeting() -> Vec<u8> {
    let mut payload = vec![10];
    payload.extend(b"10.11.19-MariaDB\0\x01\0\0\0abcdefgh\0");
    payload.extend([0xfe, 0xf7, 45, 2, 0, 0x0f, 0, 21]);
    payload.extend([0; 10]);
    payload.extend(b"ijklmnopqrst\0mysql_native_password\0");
    packet(0, &payload)
}

async fn read(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await.expect("a head");
    let length = u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize;
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.expect("a payload");
    payload
}

async fn say(stream: &mut TcpStream, bytes: &[u8]) {
    // Whoever asked may have gone, which is the point of some tests.
    if stream.write_all(bytes).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn rows(pairs: &[(String, String)]) -> Vec<u8> {
    let mut all = packet(1, &[2]);
    all.extend(packet(2, b"\x03def"));
    all.extend(packet(3, b"\x03def"));
    all.extend(packet(4, &[0xfe, 0, 0, 2, 0]));
    let mut number = 5;
    for (name, value) in pairs {
        let mut row = vec![u8::try_from(name.len()).expect("short")];
        row.extend(name.bytes());
        row.push(u8::try_from(value.len()).expect("short"));
        row.extend(value.bytes());
        all.extend(packet(number, &row));
        number += 1;
    }
    all.extend(packet(number, &[0xfe, 0, 0, 2, 0]));
    all
}

#[tokio::test]
async fn a_node_that_answers() {
    let answer = asked(PATIENCE, "check", |mut stream| async move {
        say(&mut stream, &greeting()).await;
        let login = read(&mut stream).await;
        let proof = auth::proof(auth::NATIVE, "check", b"abcdefghijklmnopqrst").expect("known");
        assert!(login.windows(20).any(|part| part == proof));
        // The user has another plugin, and then the first again.
        let switch = [
            &b"\xfecaching_sha2_password\0"[..],
            b"tsrqponmlkjihgfedcba\0",
        ]
        .concat();
        say(&mut stream, &packet(2, &switch)).await;
        let proof = auth::proof(auth::CACHING, "check", b"tsrqponmlkjihgfedcba");
        assert_eq!(Some(read(&mut stream).await), proof);
        say(&mut stream, &packet(4, &[1, 3])).await;
        say(&mut stream, &packet(5, &[0, 0, 0, 2, 0, 0, 0])).await;
        assert!(
            read(&mut stream)
                .await
                .starts_with(b"\x03SHOW GLOBAL STATUS")
        );
        say(&mut stream, &rows(&pairs(&[]))).await;
        assert!(
            read(&mut stream)
                .await
                .starts_with(b"\x03SHOW GLOBAL VARIABLES")
        );
        say(&mut stream, &rows(&[])).await;
        assert_eq!(read(&mut stream).await, [1]);
    })
    .await;
    assert_eq!(answer.said, status::parse(pairs(&[])));
    assert!(answer.said.is_ok());
}

#[tokio::test]
async fn nothing_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let question = Question {
        address,
        user: "mb-lb".to_owned(),
        tls: None,
        timeout: PATIENCE,
    };
    assert_eq!(ask(question, None).await.said, Err(Trouble::Refused));
}

/// What is said at once, and what is made of it.
#[tokio::test]
async fn no_greeting() {
    type Is = fn(&Trouble) -> bool;
    let cases: [(Vec<u8>, Is); 8] = [
        (Vec::new(), |trouble| *trouble == Trouble::NoGreeting(SHORT)),
        (greeting()[..20].to_vec(), |trouble| {
            *trouble == Trouble::NoGreeting(SHORT)
        }),
        (packet(0, &greeting()[4..30]), |trouble| {
            matches!(trouble, Trouble::Garbage(_))
        }),
        (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), |trouble| {
            matches!(trouble, Trouble::Garbage(_))
        }),
        (vec![0xff; 70_000], |trouble| {
            matches!(trouble, Trouble::Garbage(_))
        }),
        (packet(0, &[]), |trouble| {
            matches!(trouble, Trouble::Garbage(_))
        }),
        (packet(0, b"\xff\x10\x04Too many connections"), |trouble| {
            matches!(trouble, Trouble::TooManyConnections(_))
        }),
        (packet(0, b"\xff\x69\x04Host is blocked"), |trouble| {
            matches!(trouble, Trouble::HostBlocked(_))
        }),
    ];
    for (said, expected) in cases {
        let shown = said.clone();
        let answer = asked(SHORT, "check", |mut stream| async move {
            say(&mut stream, &said).await;
            std::future::pending().await
        })
        .await;
        let trouble = answer.said.expect_err("no node");
        assert!(expected(&trouble), "{shown:?}: {trouble}");
    }
}

#[tokio::test]
async fn closed_before_all_was_said() {
    let answer = asked(PATIENCE, "check", |mut stream| async move {
        say(&mut stream, &greeting()).await;
        read(&mut stream).await;
    })
    .await;
    assert!(matches!(answer.said, Err(Trouble::Broken(_))), "{answer:?}");
}

#[tokio::test]
async fn after_the_login() {
    let file = packet(1, b"\xfb/etc/shadow");
    let endless: Vec<u8> = rows(&vec![("a".to_owned(), "b".to_owned()); 200]);
    let three = packet(1, &[3]);
    for (said, expected) in [
        (file, "no answer with columns"),
        (endless, "rows without an end"),
        (three, "an answer without name and value"),
        (packet(7, &[2]), "packets out of order"),
    ] {
        let answer = asked(PATIENCE, "check", |mut stream| async move {
            say(&mut stream, &greeting()).await;
            read(&mut stream).await;
            say(&mut stream, &packet(2, &[0, 0, 0, 2, 0, 0, 0])).await;
            read(&mut stream).await;
            say(&mut stream, &said).await;
            std::future::pending().await
        })
        .await;
        assert_eq!(answer.said, Err(Trouble::Garbage(expected)));
    }
}

/// Byte by byte, never done.
#[tokio::test]
async fn a_drip() {
    let answer = asked(SHORT, "check", |mut stream| async move {
        say(&mut stream, &greeting()).await;
        read(&mut stream).await;
        say(&mut stream, &[200, 0, 0, 2]).await;
        loop {
            say(&mut stream, &[0]).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(answer.said, Err(Trouble::Slow(SHORT)));
}

#[tokio::test]
async fn passwords_that_are_not_said() {
    for (asked_for, name) in [
        (&b"\xfe"[..], "mysql_old_password"),
        (b"\xfemysql_clear_password\0", "mysql_clear_password"),
        (
            b"\xfeclient_ed25519\0abcdefghijklmnopqrst\0",
            "client_ed25519",
        ),
        (b"\x01\x04", "mysql_native_password"),
    ] {
        let answer = asked(PATIENCE, "s3cret", |mut stream| async move {
            say(&mut stream, &greeting()).await;
            read(&mut stream).await;
            say(&mut stream, &packet(2, asked_for)).await;
            // Nothing more comes.
            let mut rest = Vec::new();
            if stream.read_to_end(&mut rest).await.is_ok() {
                assert_eq!(rest, b"");
            }
        })
        .await;
        assert_eq!(answer.said, Err(Trouble::Authentication(name.to_owned())));
    }
    // Full authentication of caching_sha2_password: not in clear.
    let answer = asked(PATIENCE, "s3cret", |mut stream| async move {
        say(&mut stream, &greeting()).await;
        read(&mut stream).await;
        let switch = b"\xfecaching_sha2_password\0tsrqponmlkjihgfedcba\0";
        say(&mut stream, &packet(2, switch)).await;
        read(&mut stream).await;
        say(&mut stream, &packet(4, &[1, 4])).await;
        std::future::pending().await
    })
    .await;
    assert_eq!(
        answer.said,
        Err(Trouble::Authentication(auth::CACHING.to_owned()))
    );
}

#[tokio::test]
async fn tls_that_is_not_offered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let question = Question {
        address: listener.local_addr().expect("bound"),
        user: "mb-lb".to_owned(),
        tls: Some(ServerTls {
            verify: crate::config::Verify::None,
            sni: None,
        }),
        timeout: PATIENCE,
    };
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("asked");
        say(&mut stream, &greeting()).await;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.expect("closed");
        rest
    });
    let answer = ask(question, Some("s3cret")).await;
    assert!(matches!(answer.said, Err(Trouble::Tls(_))), "{answer:?}");
    assert_eq!(server.await.expect("no panic"), b"", "no login in clear");
}
