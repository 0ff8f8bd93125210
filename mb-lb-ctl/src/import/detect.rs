//! Whose configuration a file is, by what stands in it.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    HaProxy,
    Keepalived,
    Mailborder,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::HaProxy => "HAProxy",
            Self::Keepalived => "keepalived",
            Self::Mailborder => "Mailborder",
        }
    }
}

const HAPROXY: [&str; 15] = [
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "peers",
    "resolvers",
    "mailers",
    "userlist",
    "program",
    "cache",
    "ring",
    "http-errors",
    "fcgi-app",
    "log-forward",
];

const KEEPALIVED: [&str; 24] = [
    "global_defs",
    "vrrp_instance",
    "vrrp_script",
    "vrrp_sync_group",
    "vrrp_track_process",
    "vrrp_track_file",
    "track_group",
    "track_file",
    "linkbeat_interfaces",
    "garp_group",
    "virtual_server",
    "virtual_server_group",
    "real_server",
    "static_ipaddress",
    "static_routes",
    "static_rules",
    "bfd_instance",
    "net_namespace",
    "instance",
    "include",
    "includea",
    "includer",
    "SSL",
    "local_address_group",
];

/// The first line that gives it away decides.
pub(super) fn kind(text: &str) -> Option<Kind> {
    text.lines().find_map(|line| {
        let mut words = line
            .split(|c: char| c.is_whitespace() || c == '{')
            .filter(|word| !word.is_empty());
        let mut first = words.next()?;
        if first.starts_with('@') {
            first = words.next()?;
        }
        if KEEPALIVED.contains(&first) || (first.starts_with('$') && first.contains('=')) {
            return Some(Kind::Keepalived);
        }
        if HAPROXY.contains(&first) {
            return Some(Kind::HaProxy);
        }
        let line = line.trim();
        let titled = line.starts_with('[') && line.ends_with(']') && line.len() > 2;
        titled.then_some(Kind::Mailborder)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_telling_line_decides() {
        for (text, expected) in [
            ("# x\nglobal\n", Some(Kind::HaProxy)),
            ("\n  listen a\n", Some(Kind::HaProxy)),
            ("! x\nvrrp_instance A {\n", Some(Kind::Keepalived)),
            ("@lb1 net_namespace x\n", Some(Kind::Keepalived)),
            ("global_defs{\n}\n", Some(Kind::Keepalived)),
            ("$VIP=192.0.2.1\n", Some(Kind::Keepalived)),
            ("; x\n[database]\nhost = a\n", Some(Kind::Mailborder)),
            ("", None),
            ("[]\n", None),
            ("server { listen 80; }\n", None),
        ] {
            assert_eq!(kind(text), expected, "{text:?}");
        }
    }
}
