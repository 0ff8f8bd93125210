use proptest::prelude::*;

use super::*;

/// Of MariaDB 10.11.
fn greeting() -> Vec<u8> {
    let mut packet = vec![10];
    packet.extend(b"5.5.5-10.11.19-MariaDB-0+deb12u1\0");
    packet.extend([7, 0, 0, 0]);
    packet.extend(b"abcdefgh\0");
    packet.extend([0xfe, 0xf7, 45, 2, 0, 0xff, 0x81, 21]);
    packet.extend([0; 6]);
    packet.extend([0x1d, 0, 0, 0]);
    packet.extend(b"ijklmnopqrst\0");
    packet.extend(b"mysql_native_password\0");
    packet
}

#[test]
fn a_greeting() {
    let greeting = read_greeting(&greeting()).expect("MariaDB's");
    assert_eq!(&greeting.scramble, b"abcdefghijklmnopqrst");
    assert_eq!(greeting.plugin, "mysql_native_password");
    assert!(!greeting.tls());
}

#[test]
fn a_greeting_cut_anywhere_is_none() {
    let whole = greeting();
    for length in 0..whole.len() {
        let trouble = read_greeting(&whole[..length]).expect_err("cut");
        assert!(
            matches!(trouble, Trouble::Garbage(_)),
            "{length}: {trouble}"
        );
    }
}

#[test]
fn errors_have_a_meaning() {
    let error = |code: u16, text: &str| {
        let mut packet = vec![ERROR];
        packet.extend(code.to_le_bytes());
        packet.extend(text.as_bytes());
        read_greeting(&packet).expect_err("an error")
    };
    assert_eq!(
        error(1040, "#08004Too many connections"),
        Trouble::TooManyConnections("Too many connections".to_owned())
    );
    assert_eq!(
        error(1129, "Host '10.0.0.1' is blocked"),
        Trouble::HostBlocked("Host '10.0.0.1' is blocked".to_owned())
    );
    assert_eq!(
        error(1045, "#28000Access denied"),
        Trouble::WrongPassword {
            code: 1045,
            text: "Access denied".to_owned()
        }
    );
    assert_eq!(
        error(1130, "Host is not allowed"),
        Trouble::Server {
            code: 1130,
            text: "Host is not allowed".to_owned()
        }
    );
    assert!(matches!(read_error(&[ERROR, 1]), Trouble::Garbage(_)));
}

#[test]
fn rows() {
    let row = b"\x08wsrep_on\x02ON";
    assert_eq!(read_row(row), Ok(("wsrep_on".to_owned(), "ON".to_owned())));
    let row = b"\x08wsrep_on\xfb";
    assert_eq!(read_row(row), Ok(("wsrep_on".to_owned(), String::new())));
    let mut row = b"\x01a\xfc\x2c\x01".to_vec();
    row.extend([b'x'; 300]);
    assert_eq!(read_row(&row), Ok(("a".to_owned(), "x".repeat(300))));
    for bad in [
        &b""[..],
        b"\x08wsrep_on",
        b"\x01a\x05b",
        b"\x01a\xfd\xff\xff\xff",
        b"\x01a\xfe\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x01a\x01b\x01c",
    ] {
        assert!(read_row(bad).is_err(), "{bad:?}");
    }
}

/// A server that wants a file of ours gets none.
#[test]
fn only_columns_are_taken() {
    assert_eq!(read_columns(&[2]), Ok(2));
    for bad in [&b""[..], b"\x00\x00\x00", b"\xfb/etc/shadow", b"\xfe"] {
        assert!(read_columns(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_login_cannot_hold_another() {
    let greeting = read_greeting(&greeting()).expect("MariaDB's");
    let packet = login(
        &greeting,
        false,
        "mb\0-lb",
        "mysql_native_password",
        &[1; 20],
    );
    let mut expected = b"mb-lb\0\x14".to_vec();
    expected.extend([1; 20]);
    expected.extend(b"mysql_native_password\0");
    assert_eq!(packet[32..], expected);
    assert_eq!(packet[..4], (0xa200_u32 | 0x8_0000).to_le_bytes());
}

proptest! {
    #[test]
    fn nothing_panics(packet in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_greeting(&packet);
        let _ = read_error(&packet);
        let _ = read_switch(&packet);
        let _ = read_columns(&packet);
        let _ = read_row(&packet);
    }
}
