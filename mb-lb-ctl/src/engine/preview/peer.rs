//! Changes of the peer.

use crate::config::{Peer, Secret};

/// One line where the peer comes or goes, else one for each key that changes. The key itself is not shown.
pub(super) fn changes(old: Option<&Peer>, new: Option<&Peer>, lines: &mut Vec<String>) {
    let (old, new) = match (old, new) {
        (None, None) => return,
        (Some(old), None) => return lines.push(format!("- peer {}", old.address)),
        (None, Some(new)) => return lines.push(format!("+ peer {}", new.address)),
        (Some(old), Some(new)) => (old, new),
    };
    let mut differ = |key: &str, value: &dyn Fn(&Peer) -> String| {
        let (before, after) = (value(old), value(new));
        if before != after {
            lines.push(format!("~ peer {key} {before} -> {after}"));
        }
    };
    differ("listen", &|peer| peer.listen.to_string());
    differ("address", &|peer| peer.address.to_string());
    differ("key_file", &|peer| match &peer.key {
        Secret::File(path) => path.display().to_string(),
        Secret::Text(_) => "none".to_owned(),
    });
    differ("accept_push", &|peer| peer.accept_push.to_string());
    let text = |peer: &Peer| match &peer.key {
        Secret::Text(text) => Some(text.clone()),
        Secret::File(_) => None,
    };
    if text(old) != text(new) {
        lines.push("~ peer key changed".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::super::changes;
    use crate::config::{self, Config, schema};

    fn parse(peer: &str) -> Config {
        let source = format!(
            "[service.smtp]\nlisten = \"192.0.2.100:25\"\nservers = {{ mb1 = \"192.0.2.1\", mb2 = \"192.0.2.2\" }}\n{peer}\n"
        );
        config::parse(&source, "lb1").config.expect("valid")
    }

    fn peer(listen: u8, address: u8, key: &str) -> Config {
        parse(&format!(
            "[peer]\nlisten = \"192.0.2.{listen}:8405\"\naddress = \"192.0.2.{address}:8405\"\n{key}"
        ))
    }

    #[test]
    fn every_change_is_said_but_for_the_key_itself() {
        let file = "key_file = \"/etc/mb-lb/peer.key\"";
        let (one, two) = ("ab".repeat(32), "cd".repeat(32));
        let (one, two) = (format!("key = \"{one}\""), format!("key = \"{two}\""));
        let none = parse("");
        let old = peer(10, 11, file);
        assert_eq!(changes(&none, &old), ["+ peer 192.0.2.11:8405"]);
        assert_eq!(changes(&old, &none), ["- peer 192.0.2.11:8405"]);
        assert_eq!(changes(&old, &old), Vec::<String>::new());
        let refusing = format!("{one}\naccept_push = false");
        let lines = changes(&old, &peer(12, 13, &refusing));
        assert_eq!(
            lines,
            [
                "~ peer listen 192.0.2.10:8405 -> 192.0.2.12:8405",
                "~ peer address 192.0.2.11:8405 -> 192.0.2.13:8405",
                "~ peer key_file /etc/mb-lb/peer.key -> none",
                "~ peer accept_push true -> false",
                "~ peer key changed",
            ]
        );
        for key in schema::PEER.keys {
            let said = format!(" {key} ");
            assert!(lines.iter().any(|line| line.contains(&said)), "{key}");
        }
        let rotated = changes(&peer(10, 11, &one), &peer(10, 11, &two));
        assert_eq!(rotated, ["~ peer key changed"]);
    }
}
