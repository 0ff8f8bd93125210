//! Changes of VRRP instances.

use super::span;
use crate::config::{Secret, TrackInterface, TrackScript, TrackService, Vrrp};
use crate::vrrp::packet::Coverage;

/// One line for each instance that comes or goes, and for each key that changes. A password is not shown.
pub(super) fn changes(old: &[Vrrp], new: &[Vrrp], lines: &mut Vec<String>) {
    for vrrp in old {
        if !new.iter().any(|other| other.name == vrrp.name) {
            lines.push(format!("- vrrp {} with {}", vrrp.name, addresses(vrrp)));
        }
    }
    for vrrp in new {
        match old.iter().find(|other| other.name == vrrp.name) {
            Some(known) => keys(known, vrrp, lines),
            None => lines.push(format!(
                "+ vrrp {} with {}{}",
                vrrp.name,
                addresses(vrrp),
                place(vrrp)
            )),
        }
    }
}

fn keys(old: &Vrrp, new: &Vrrp, lines: &mut Vec<String>) {
    let mut differ = |key: &str, value: &dyn Fn(&Vrrp) -> String| {
        let (before, after) = (value(old), value(new));
        if before != after {
            lines.push(format!("~ vrrp {} {key} {before} -> {after}", new.name));
        }
    };
    differ("interface", &|v| v.interface.clone());
    differ("virtual_router_id", &|v| v.virtual_router_id.to_string());
    differ("priority", &|v| v.priority.to_string());
    differ("advert_interval", &|v| span(v.advert_interval));
    differ("version", &|v| v.version.number().to_string());
    differ("auth_pass_file", &|v| match &v.auth_pass {
        Some(Secret::File(path)) => path.display().to_string(),
        Some(Secret::Text(_)) | None => "none".to_owned(),
    });
    differ("addresses", &addresses);
    differ("preempt", &|v| v.preempt.to_string());
    differ("preempt_delay", &|v| span(v.preempt_delay));
    differ("unicast_peers", &|v| {
        let mut peers: Vec<_> = v.unicast_peers.iter().map(ToString::to_string).collect();
        peers.sort_unstable();
        listed(peers)
    });
    differ("source_address", &|v| {
        v.source
            .map_or_else(|| "the interface's own".to_owned(), |s| s.to_string())
    });
    differ("checksum", &|v| {
        match v.checksum {
            Coverage::PseudoHeader => "pseudo-header",
            Coverage::Message => "message",
        }
        .to_owned()
    });
    differ("sync_group", &|v| {
        v.sync_group.clone().unwrap_or_else(|| "none".to_owned())
    });
    differ("lease", &|v| v.lease.to_string());
    differ("track_interfaces", &|v| {
        sorted(v.track_interfaces.iter().map(interface))
    });
    differ("track_services", &|v| {
        sorted(v.track_services.iter().map(service))
    });
    differ("track_scripts", &|v| {
        sorted(v.track_scripts.iter().map(script))
    });
    differ("notify", &|v| {
        v.notify
            .as_ref()
            .map_or_else(|| "none".to_owned(), |path| path.display().to_string())
    });
    let text = |vrrp: &Vrrp| match &vrrp.auth_pass {
        Some(Secret::Text(text)) => Some(text.clone()),
        Some(Secret::File(_)) | None => None,
    };
    if text(old) != text(new) {
        lines.push(format!("~ vrrp {} auth_pass changed", new.name));
    }
}

/// Of what two directors have in common, the interface is none.
fn place(vrrp: &Vrrp) -> String {
    match vrrp.interface.as_str() {
        "" => String::new(),
        interface => format!(" on {interface}"),
    }
}

fn listed(items: Vec<String>) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    items.join(", ")
}

fn sorted(items: impl Iterator<Item = String>) -> String {
    let mut items: Vec<_> = items.collect();
    items.sort_unstable();
    listed(items)
}

fn addresses(vrrp: &Vrrp) -> String {
    listed(vrrp.addresses.iter().map(ToString::to_string).collect())
}

fn interface(track: &TrackInterface) -> String {
    format!("{} (weight {})", track.interface, track.weight)
}

fn service(track: &TrackService) -> String {
    format!(
        "{} (min_up {}, weight {})",
        track.service, track.min_up, track.weight
    )
}

fn script(track: &TrackScript) -> String {
    format!(
        "{} (`{}` every {}, timeout {}, rise {}, fall {}, weight {})",
        track.name,
        track.command,
        span(track.interval),
        span(track.timeout),
        track.rise,
        track.fall,
        track.weight
    )
}

#[cfg(test)]
mod tests {
    use super::super::changes;
    use crate::config::{Config, schema};

    const SERVICE: &str = "[service.smtp]\nlisten = \"192.0.2.100:25\"\nservers = { mb1 = \"192.0.2.1\", mb2 = \"192.0.2.2\" }\n";

    fn parse(vrrps: &str) -> Config {
        let source = format!("{SERVICE}{vrrps}");
        let parsed = crate::config::parse(&source, "lb1");
        parsed.config.expect("valid")
    }

    #[test]
    fn every_key_that_changes_is_said_but_for_the_password() {
        let old = parse(
            "[vrrp.VI_1]\ninterface = \"eth0\"\nvirtual_router_id = 51\npriority = 101\nauth_pass = \"hunter2\"\n\
             addresses = \"192.0.2.100/24\"\n\
             [vrrp.VI_2]\ninterface = \"eth0\"\nvirtual_router_id = 52\nauth_pass_file = \"/etc/mb-lb/a\"\n\
             addresses = \"192.0.2.101/24\"\n\
             [vrrp.VI_3]\ninterface = \"eth0\"\nvirtual_router_id = 53\naddresses = \"192.0.2.102/24\"\n",
        );
        let new = parse(
            "[vrrp.VI_4]\ninterface = \"eth1\"\nvirtual_router_id = 54\n\
             addresses = [\"192.0.2.102/24\", \"192.0.2.103/24\"]\n\
             [vrrp.VI_2]\ninterface = \"eth0\"\nvirtual_router_id = 52\n\
             addresses = \"192.0.2.101/24\"\nauth_pass_file = \"/etc/mb-lb/b\"\npreempt_delay = \"5s\"\n\
             [vrrp.VI_1]\ninterface = \"eth1\"\nvirtual_router_id = 55\npriority = 100\nversion = 3\n\
             advert_interval = \"100ms\"\naddresses = [\"192.0.2.100/32\", \"192.0.2.99\"]\npreempt = false\n\
             unicast_peers = [\"192.0.2.12\", \"192.0.2.11\"]\nsource_address = \"192.0.2.10\"\nchecksum = \"message\"\n\
             sync_group = \"mail\"\nlease = false\ntrack_interfaces = [\"eth1\", \"eth0\"]\n\
             track_services = { smtp = { min_up = 2 } }\n\
             track_scripts = { x = { command = \"/bin/x 1\", interval = \"2s\" } }\nnotify = \"/bin/n\"\n",
        );
        let lines = changes(&old, &new).join("\n");
        assert!(!lines.contains("hunter"));
        for key in schema::VRRP.keys {
            assert!(lines.contains(&format!(" {key} ")), "{key}");
        }
        insta::assert_snapshot!(lines);
        assert_eq!(changes(&new, &new), Vec::<String>::new());
    }

    #[test]
    fn a_new_password_is_said_to_be_new() {
        let with = |auth: &str| {
            parse(&format!(
                "[vrrp.VI_1]\ninterface = \"eth0\"\nvirtual_router_id = 51\naddresses = \"192.0.2.100/24\"\n\
                 preempt_delay = \"0s\"\n{auth}\n"
            ))
        };
        let said = |old: &str, new: &str| changes(&with(old), &with(new));
        let changed = "~ vrrp VI_1 auth_pass changed";
        let (one, two) = ("auth_pass = \"1\"", "auth_pass = \"2\"");
        assert_eq!(said(one, two), [changed]);
        assert_eq!(said("", one), [changed]);
        assert_eq!(said(one, ""), [changed]);
        assert_eq!(
            said(one, "auth_pass_file = \"x\""),
            ["~ vrrp VI_1 auth_pass_file none -> x", changed]
        );
    }
}
