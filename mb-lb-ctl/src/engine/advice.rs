//! What to do about a server that is down, an interface that could not be had, or a VIP that is not here. By the reason, in
//! the words of the manual's troubleshooting table; the same for alarms, `describe` and `check`.

mod peer;
mod push;

use std::net::IpAddr;

use crate::config::Vrrp;
pub use peer::peer;
pub use push::{SAME_FILE, push};

/// Next step for a server that is down for `why`. `code`: HAProxy's word for the last check, where it was one that
/// failed; `port`: what is checked.
pub fn server(why: &str, code: Option<&str>, port: u16) -> String {
    if let Some(text) = path(why) {
        return text;
    }
    if why.starts_with("its certificate ") && why.contains(" expire") {
        return "renew the certificate on the server".to_owned();
    }
    if let Some((before, _)) = why.split_once(": the VIP is not on its lo") {
        let mut words = before.split(' ');
        let vip = words.find_map(|word| word.parse::<IpAddr>().ok());
        let length = if vip.is_some_and(|vip| vip.is_ipv6()) {
            128
        } else {
            32
        };
        let vip = vip.map_or_else(|| "VIP".to_owned(), |vip| vip.to_string());
        return format!(
            "on the server: ip address add {vip}/{length} dev lo, with arp_ignore 1 and arp_announce 2"
        );
    }
    if why.ends_with(": its service is not bound to the VIP") {
        return "on the server: have the service listen on all addresses, or on the VIP too (`ss -tln` shows where it does)".to_owned();
    }
    if why.starts_with("its agent says down") {
        return "its agent takes it out: see to what it names, on the server".to_owned();
    }
    if why.starts_with("the agent") {
        return format!(
            "ask the agent yourself: socat - TCP:ADDRESS:{port}, and look at what it looks at"
        );
    }
    match code {
        Some("PROCERR" | "PROCTOUT") => {
            "run the program of the check yourself: it ends with 0 where all is well".to_owned()
        }
        Some("L4CON") => format!(
            "nothing listens on port {port} at the server's own address: `ss -tln` on the server"
        ),
        Some("L4TOUT") => format!(
            "the server hangs, or a firewall drops connections to port {port}: look at the server"
        ),
        Some("L6TOUT" | "L6RSP") => format!(
            "see what TLS the server speaks: openssl s_client -connect ADDRESS:{port}, and compare `tls` of the check"
        ),
        Some("L7TOUT") => {
            "look at the mail daemon, or whether it waits for DNS before it greets: then raise `timeout`"
                .to_owned()
        }
        Some("L7STS" | "L7RSP") => {
            "the port answers, but not as it should: look at the log of the mail daemon".to_owned()
        }
        _ => "mb-lb-ctl list checks".to_owned(),
    }
}

/// Next step where packets cannot get to a server; `None`: that is not what `why` says.
pub fn path(why: &str) -> Option<String> {
    let through = |after: &str| {
        let (before, _) = why.split_once(after)?;
        before.split(' ').next_back()
    };
    if let Some(interface) = through(", which the XDP program is not attached to") {
        return Some(format!(
            "add {interface} to director.interfaces, then mb-lb-ctl reload"
        ));
    }
    if why.contains(" is reached through the router") {
        return Some(
            "move the server, or the director, so that both are on one segment".to_owned(),
        );
    }
    if why.contains(", which has no MAC addresses") {
        return Some(
            "reach the server through an Ethernet interface: look at the director's routes"
                .to_owned(),
        );
    }
    if why.ends_with(" is an address of this director itself") {
        return Some("write the server's own address into the file".to_owned());
    }
    if let Some(interface) = through(" is down, so ") {
        return Some(format!(
            "look at the director's own link: ip -br link show {interface}"
        ));
    }
    if let Some(address) = why.strip_prefix("no route to ") {
        return Some(format!(
            "look at the director's own addresses and routes: ip route get {address}"
        ));
    }
    why.starts_with("no answer to ").then(|| {
        "is the server on, is its cable in, is it in this network? On it: ip -br address".to_owned()
    })
}

/// Next step where the program could not be attached for `why`.
pub fn attach(why: &str) -> &'static str {
    let steps = [
        (
            "no interface for the VIP",
            "add the VIP's address to an interface, or set director.interfaces, then mb-lb-ctl reload",
        ),
        (
            "there is no interface",
            "ip -br link shows those that are; correct director.interfaces, then mb-lb-ctl reload",
        ),
        (
            "is not an Ethernet interface",
            "name an Ethernet interface in director.interfaces, then mb-lb-ctl reload",
        ),
        (
            "already carries another XDP program",
            "take that program off, if nobody needs it; mb-lb tries again by itself",
        ),
        (
            "forbids generic",
            "set director.xdp = \"auto\", then mb-lb-ctl reload",
        ),
        (
            "another director.xdp takes effect",
            "in a maintenance window: stop, mb-lb-ctl detach, start (ends all flows)",
        ),
        (
            "cannot be used beside",
            "recreate one of the two interfaces",
        ),
    ];
    steps
        .into_iter()
        .find(|(part, _)| why.contains(part))
        .map_or("journalctl -u mb-lb -n 50", |(_, step)| step)
}

/// Next step for a VIP that no virtual router has, where there are any; `None`: there is none. By hand it would be on both
/// directors, or stay on the one that fails.
pub fn vip(vip: IpAddr, vrrps: &[Vrrp]) -> Option<String> {
    if vrrps.is_empty() {
        return None;
    }
    let of_family = |vrrp: &&Vrrp| {
        let first = vrrp.addresses.first();
        first.is_some_and(|first| first.address.is_ipv4() == vip.is_ipv4())
    };
    let names: Vec<String> = vrrps
        .iter()
        .filter(of_family)
        .map(|vrrp| format!("[vrrp.{}]", vrrp.name))
        .collect();
    let step = match names.is_empty() {
        true => format!("write a [vrrp.NAME] with {vip} in its `addresses` on both directors"),
        false => format!(
            "add {vip} to `addresses` of {} on both directors",
            names.join(" or ")
        ),
    };
    Some(format!("{step}, then mb-lb-ctl reload"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vip_belongs_to_a_virtual_router_of_its_family() {
        let vrrps = |text: &str| {
            let text = format!(
                "{text}[service.smtp]\nlisten = \"192.0.2.100:25\"\nservers = {{ a = \"192.0.2.1\", b = \"192.0.2.2\" }}\n"
            );
            crate::config::parse(&text, "lb1")
                .config
                .expect("valid")
                .vrrps
        };
        let one = "[vrrp.VI_1]\ninterface = \"eth0\"\nvirtual_router_id = 51\naddresses = \"192.0.2.9/24\"\n";
        let two = one
            .replace("VI_1", "VI_2")
            .replace("51", "52")
            .replace(".9/", ".8/");
        let four = IpAddr::from([192, 0, 2, 100]);
        assert_eq!(vip(four, &vrrps("")), None);
        assert_eq!(
            vip(four, &vrrps(one)).as_deref(),
            Some(
                "add 192.0.2.100 to `addresses` of [vrrp.VI_1] on both directors, then mb-lb-ctl reload"
            )
        );
        let either = vip(four, &vrrps(&format!("{one}{two}"))).expect("some");
        assert!(
            either.contains(" of [vrrp.VI_1] or [vrrp.VI_2] on"),
            "{either}"
        );
        let six = vip("2001:db8::9".parse().expect("an address"), &vrrps(one)).expect("some");
        assert!(
            six.starts_with("write a [vrrp.NAME] with 2001:db8::9"),
            "{six}"
        );
    }

    #[test]
    fn every_reason_has_its_step() {
        let cases = [
            (
                "10.0.0.1 is reached through eth1, which the XDP program is not attached to",
                "add eth1 to",
            ),
            (
                "10.0.0.1 is reached through the router 10.0.0.9, but dsr needs it on the same segment",
                "one segment",
            ),
            (
                "10.0.0.1 is reached through tun0, which has no MAC addresses, but dsr needs Ethernet",
                "Ethernet",
            ),
            (
                "10.0.0.1 is an address of this director itself",
                "own address",
            ),
            (
                "eth0 is down, so 10.0.0.1 cannot be reached",
                "link show eth0",
            ),
            ("no route to 10.0.0.1", "ip route get 10.0.0.1"),
            ("no answer to ARP for 10.0.0.1 on eth0", "cable"),
        ];
        for (why, expected) in cases {
            // An old result must not decide.
            let step = server(why, Some("L4CON"), 25);
            assert!(step.contains(expected), "{why}: {step}");
        }
        for (code, expected) in [
            (Some("L4CON"), "port 25"),
            (Some("L4TOUT"), "firewall"),
            (Some("L6RSP"), "s_client -connect ADDRESS:25"),
            (Some("L7TOUT"), "waits for DNS"),
            (Some("L7STS"), "log of the mail daemon"),
            (None, "list checks"),
        ] {
            let step = server("whatever", code, 25);
            assert!(step.contains(expected), "{code:?}: {step}");
        }
    }

    #[test]
    fn what_cannot_be_attached_has_its_step() {
        use crate::dataplane::LoadError;
        use crate::net::Error;
        let eth9 = || "eth9".to_owned();
        for (why, expected) in [
            (Error::NoSuchInterface(eth9()).to_string(), "ip -br link"),
            (
                Error::NotEthernet(eth9()).to_string(),
                "an Ethernet interface",
            ),
            (
                LoadError::Busy { interface: eth9() }.to_string(),
                "take that program off",
            ),
            (
                LoadError::NoNative {
                    interface: eth9(),
                    error: String::new(),
                }
                .to_string(),
                "\"auto\"",
            ),
            ("out of luck".to_owned(), "journalctl"),
        ] {
            assert!(attach(&why).contains(expected), "{why}");
        }
    }
}
