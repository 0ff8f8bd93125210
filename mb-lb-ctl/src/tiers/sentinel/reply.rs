//! What is read from replies of Sentinels and servers. Nothing in them is believed to be what it should be.

use std::net::{IpAddr, SocketAddr};

use redis::Value;

use super::trouble::quoted;
use super::{Named, Says, Trouble};

/// Fields of `SENTINEL MASTER`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Master {
    pub epoch: u64,
    pub flags: Vec<String>,
    pub others: u64,
    pub quorum: u64,
}

/// Reads `SENTINEL GET-MASTER-ADDR-BY-NAME`.
///
/// # Errors
/// No such master, or no address.
pub fn named(value: &Value) -> Result<Named, Trouble> {
    let value = own(value)?;
    let parts = match value {
        Value::Nil => return Err(Trouble::UnknownMaster),
        Value::Array(parts) => parts,
        _ => return Err(garbage("no address of a master")),
    };
    let [host, port] = parts.as_slice() else {
        return Err(garbage("no address of a master"));
    };
    let port = number(port).and_then(|port| u16::try_from(port).ok());
    let (Some(host), Some(port)) = (text(host), port) else {
        return Err(garbage("no address of a master"));
    };
    Ok(match host.parse::<IpAddr>() {
        Ok(address) => Named::Address(SocketAddr::new(address, port)),
        Err(_) => Named::Host(quoted(&format!("{host}:{port}"))),
    })
}

/// Reads `SENTINEL MASTER`: names and values in turn.
///
/// # Errors
/// A field is missing or no number.
pub fn master(value: &Value) -> Result<Master, Trouble> {
    let mut fields = Vec::new();
    match own(value)? {
        Value::Array(parts) => {
            for pair in parts.chunks_exact(2) {
                fields.push((&pair[0], &pair[1]));
            }
        }
        Value::Map(pairs) => fields.extend(pairs.iter().map(|(name, value)| (name, value))),
        _ => return Err(garbage("SENTINEL MASTER without fields")),
    }
    let find = |wanted: &str| {
        fields
            .iter()
            .find(|(name, _)| text(name) == Some(wanted))
            .map(|(_, value)| *value)
    };
    let count = |wanted: &str| {
        let found = find(wanted).and_then(number);
        found
            .and_then(|number| u64::try_from(number).ok())
            .ok_or_else(|| garbage(&format!("SENTINEL MASTER without {wanted}")))
    };
    let flags = find("flags").and_then(text).unwrap_or_default();
    Ok(Master {
        epoch: count("config-epoch")?,
        flags: flags.split(',').take(16).map(quoted).collect(),
        others: count("num-other-sentinels")?,
        quorum: count("quorum")?,
    })
}

/// Whether `INFO sentinel` tells of a tilt.
pub fn tilt(value: &Value) -> Option<bool> {
    match field(text(value)?, "sentinel_tilt")? {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

/// Reads `SENTINEL CKQUORUM`. `None`: it does not say.
pub fn quorum(value: &Value) -> Option<Result<(), String>> {
    match own(value) {
        Ok(_) => Some(Ok(())),
        Err(Trouble::Error(why)) => Some(Err(why)),
        Err(_) => None,
    }
}

/// Reads `PING`: an error reply that says why a server serves nobody. That a user may not give the command says nothing.
///
/// # Errors
/// It serves nobody.
pub fn pong(value: &Value) -> Result<(), Trouble> {
    match own(value) {
        Ok(_) | Err(Trouble::NoPermission(_)) => Ok(()),
        Err(trouble) => Err(trouble),
    }
}

/// Reads `ROLE`.
///
/// # Errors
/// It is not the role of a server.
pub fn role(value: &Value) -> Result<Says, Trouble> {
    let Value::Array(parts) = own(value)? else {
        return Err(garbage("ROLE without a role"));
    };
    let whole = |part: &Value| number(part).unwrap_or_default();
    match (parts.first().and_then(text), parts.as_slice()) {
        (Some("master"), [_, offset, Value::Array(replicas)]) => Ok(Says::Master {
            replicas: replicas.len(),
            offset: whole(offset),
        }),
        (Some("slave"), [_, host, port, link, offset]) => {
            let host = text(host).unwrap_or_default();
            Ok(Says::Replica {
                of: quoted(&join(host, whole(port))),
                link: quoted(text(link).unwrap_or_default()),
                offset: whole(offset),
            })
        }
        (Some("sentinel"), _) => Err(garbage("this is a Sentinel, not a server")),
        (Some(other), _) => Err(garbage(&format!("ROLE \"{other}\" in no known form"))),
        (None, _) => Err(garbage("ROLE without a role")),
    }
}

/// Reads `INFO replication`, for users that may not give `ROLE`.
///
/// # Errors
/// It has no role.
pub fn info_replication(value: &Value) -> Result<Says, Trouble> {
    let info = text(own(value)?).ok_or_else(|| garbage("INFO without text"))?;
    let whole = |name: &str| field(info, name).and_then(|value| value.parse::<i64>().ok());
    match field(info, "role") {
        Some("master") => Ok(Says::Master {
            replicas: whole("connected_slaves")
                .and_then(|count| usize::try_from(count).ok())
                .unwrap_or_default(),
            offset: whole("master_repl_offset").unwrap_or_default(),
        }),
        Some("slave") => {
            let host = field(info, "master_host").unwrap_or_default();
            // As ROLE has it.
            let link = match field(info, "master_link_status") {
                Some("up") => "connected",
                _ => "connect",
            };
            Ok(Says::Replica {
                of: quoted(&join(host, whole("master_port").unwrap_or_default())),
                link: link.to_owned(),
                offset: whole("slave_repl_offset").unwrap_or_default(),
            })
        }
        _ => Err(garbage("INFO replication without a role")),
    }
}

/// What kind of error reply it is, if it is one.
fn own(value: &Value) -> Result<&Value, Trouble> {
    match value {
        Value::ServerError(error) => Err(Trouble::from_reply(
            error.code(),
            error.details().unwrap_or_default(),
        )),
        other => Ok(other),
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        _ => None,
    }
}

fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        other => text(other)?.parse().ok(),
    }
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines()
        .find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
}

fn join(host: &str, port: i64) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]:{port}"),
        _ => format!("{host}:{port}"),
    }
}

fn garbage(what: &str) -> Trouble {
    Trouble::Garbage(quoted(what))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn parse(bytes: &str) -> Value {
        redis::parse_redis_value(bytes.as_bytes()).expect("RESP")
    }

    #[test]
    fn addresses_of_masters() {
        let of = |bytes: &str| named(&parse(bytes));
        assert_eq!(
            of("*2\r\n$9\r\n10.77.2.1\r\n$4\r\n6379\r\n"),
            Ok(Named::Address("10.77.2.1:6379".parse().expect("valid")))
        );
        assert_eq!(
            of("*2\r\n$7\r\nfd00::1\r\n$4\r\n6379\r\n"),
            Ok(Named::Address("[fd00::1]:6379".parse().expect("valid")))
        );
        assert_eq!(
            of("*2\r\n$3\r\nmb1\r\n$4\r\n6379\r\n"),
            Ok(Named::Host("mb1:6379".into()))
        );
        assert_eq!(of("*-1\r\n"), Err(Trouble::UnknownMaster));
        assert_eq!(
            of("-NOAUTH Authentication required.\r\n"),
            Err(Trouble::NoAuth)
        );
        for bytes in [
            "*2\r\n$3\r\nmb1\r\n$5\r\n66379\r\n",
            "*1\r\n$3\r\nmb1\r\n",
            ":1\r\n",
        ] {
            assert_eq!(of(bytes), Err(garbage("no address of a master")), "{bytes}");
        }
    }

    #[test]
    fn masters_as_sentinels_see_them() {
        let value = parse(
            "*10\r\n+name\r\n+mymaster\r\n+flags\r\n+s_down,master\r\n+config-epoch\r\n+7\r\n\
             +num-other-sentinels\r\n+2\r\n+quorum\r\n:2\r\n",
        );
        let seen = master(&value).expect("whole");
        assert_eq!((seen.epoch, seen.others, seen.quorum), (7, 2, 2));
        assert_eq!(seen.flags, ["s_down", "master"]);
        let less = master(&parse("*2\r\n+config-epoch\r\n+-1\r\n"));
        assert_eq!(less, Err(garbage("SENTINEL MASTER without config-epoch")));
        let unknown = master(&parse("-ERR No such master with that name\r\n"));
        assert_eq!(unknown, Err(Trouble::UnknownMaster));
    }

    #[test]
    fn roles() {
        let of = |bytes: &str| role(&parse(bytes));
        assert_eq!(
            of("*3\r\n$6\r\nmaster\r\n:14\r\n*1\r\n*3\r\n$1\r\na\r\n$1\r\n1\r\n$2\r\n14\r\n"),
            Ok(Says::Master {
                replicas: 1,
                offset: 14
            })
        );
        assert_eq!(
            of("*5\r\n$5\r\nslave\r\n$9\r\n10.77.2.1\r\n:6379\r\n$9\r\nconnected\r\n:14\r\n"),
            Ok(Says::Replica {
                of: "10.77.2.1:6379".into(),
                link: "connected".into(),
                offset: 14
            })
        );
        assert_eq!(
            of("-NOPERM this user has no permissions to run the 'role' command\r\n"),
            Err(Trouble::NoPermission(
                "this user has no permissions to run the 'role' command".into()
            ))
        );
        assert_eq!(
            of("*2\r\n$8\r\nsentinel\r\n*0\r\n"),
            Err(garbage("this is a Sentinel, not a server"))
        );
        assert!(matches!(
            of("*1\r\n$6\r\nmaster\r\n"),
            Err(Trouble::Garbage(_))
        ));
        assert_eq!(of("+PONG\r\n"), Err(garbage("ROLE without a role")));
    }

    #[test]
    fn roles_from_info() {
        let of = |text: &str| {
            info_replication(&Value::BulkString(text.replace('\n', "\r\n").into_bytes()))
        };
        assert_eq!(
            of("# Replication\nrole:master\nconnected_slaves:2\nmaster_repl_offset:99\n"),
            Ok(Says::Master {
                replicas: 2,
                offset: 99
            })
        );
        assert_eq!(
            of(
                "role:slave\nmaster_host:fd00::1\nmaster_port:6379\nmaster_link_status:down\nslave_repl_offset:3\n"
            ),
            Ok(Says::Replica {
                of: "[fd00::1]:6379".into(),
                link: "connect".into(),
                offset: 3
            })
        );
        assert!(matches!(of("# Server\n"), Err(Trouble::Garbage(_))));
    }

    #[test]
    fn a_tilt() {
        let of = |text: &str| tilt(&Value::BulkString(text.as_bytes().to_vec()));
        assert_eq!(
            of("sentinel_masters:1\r\nsentinel_tilt:1\r\nsentinel_tilt_since_seconds:3\r\n"),
            Some(true)
        );
        assert_eq!(of("sentinel_tilt:0\r\n"), Some(false));
        assert_eq!(of("sentinel_masters:1\r\n"), None);
    }

    #[test]
    fn peers_words_are_shown_short_and_clean() {
        let trouble = Trouble::from_reply("ERR", &format!("\x1b[2J{}", "x".repeat(5000)));
        let shown = trouble.to_string();
        assert!(shown.len() < 200 && shown.is_ascii(), "{shown}");
        assert!(!shown.contains('\x1b'), "{shown}");
    }

    /// Nothing in a reply is too odd to be read, and what is shown of it is short and printable.
    fn look(value: &Value) -> Result<(), TestCaseError> {
        let shown = |text: &str| {
            prop_assert!(text.len() <= 200, "{}", text);
            prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            Ok(())
        };
        match named(value) {
            Ok(named) => shown(&named.to_string())?,
            Err(trouble) => shown(&trouble.to_string())?,
        }
        match master(value) {
            Ok(master) => master.flags.iter().try_for_each(|flag| shown(flag))?,
            Err(trouble) => shown(&trouble.to_string())?,
        }
        for says in [role(value), info_replication(value)] {
            match says {
                Ok(Says::Replica { of, link, .. }) => shown(&of).and_then(|()| shown(&link))?,
                Ok(Says::Master { .. }) => {}
                Err(trouble) => shown(&trouble.to_string())?,
            }
        }
        if let Some(Err(why)) = quorum(value) {
            shown(&why)?;
        }
        if let Err(trouble) = pong(value) {
            shown(&trouble.to_string())?;
        }
        tilt(value);
        Ok(())
    }

    fn any_text() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("master".to_owned()),
            Just("slave".to_owned()),
            Just("sentinel".to_owned()),
            Just("config-epoch".to_owned()),
            Just("flags".to_owned()),
            Just("num-other-sentinels".to_owned()),
            Just("quorum".to_owned()),
            Just("6379".to_owned()),
            Just("fd00::1".to_owned()),
            Just("role:slave\r\nmaster_host:\u{1b}[2J\r\nmaster_port:-1\r\n".to_owned()),
            "\\PC{0,300}",
            any::<i64>().prop_map(|number| number.to_string()),
        ]
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            any::<i64>().prop_map(Value::Int),
            any_text().prop_map(Value::SimpleString),
            any_text().prop_map(|text| Value::BulkString(text.into_bytes())),
            any::<Vec<u8>>().prop_map(Value::BulkString),
            "[A-Z]{0,12} \\PC{0,300}".prop_map(|line| {
                let line = line.replace(['\r', '\n'], " ");
                parse(&format!("-{line}\r\n"))
            }),
        ];
        leaf.prop_recursive(3, 64, 12, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..12).prop_map(Value::Array),
                vec((inner.clone(), inner), 0..6).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn replies_are_not_trusted(value in any_value()) {
            look(&value)?;
        }

        #[test]
        fn nor_are_bytes(bytes in any::<Vec<u8>>()) {
            if let Ok(value) = redis::parse_redis_value(&bytes) {
                look(&value)?;
            }
        }
    }
}
