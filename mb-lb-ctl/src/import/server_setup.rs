//! What a mail server needs for direct server return, and how to undo it, as lines of shell.

use std::fmt::Write as _;
use std::net::IpAddr;

use serde::Serialize;

/// One server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerSetup {
    /// Its names, in the order in which they came.
    pub names: Vec<String>,
    pub address: IpAddr,
    /// What is put on its loopback interface.
    pub vips: Vec<IpAddr>,
}

/// Settings that keep a server from answering ARP for the VIP.
const SYSCTL: &str = "/etc/sysctl.d/60-mb-lb.conf";
/// Puts the VIPs back after a reboot, whatever configures the network: ifupdown, netplan or systemd-networkd.
const UNIT: &str = "/etc/systemd/system/mb-lb-vip.service";

impl ServerSetup {
    pub(crate) fn new(name: &str, address: IpAddr, vips: impl Iterator<Item = IpAddr>) -> Self {
        let mut setup = Self {
            names: vec![name.to_owned()],
            address,
            vips: Vec::new(),
        };
        setup.add(vips);
        setup
    }

    pub(crate) fn add(&mut self, vips: impl IntoIterator<Item = IpAddr>) {
        for vip in vips {
            if !self.vips.contains(&vip) {
                self.vips.push(vip);
            }
        }
    }

    /// What holds until a reboot, line by line. May be run again.
    pub fn now(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.vips.iter().any(IpAddr::is_ipv4) {
            // Before the address: it must not be heard of.
            lines.push("sysctl -w net.ipv4.conf.all.arp_ignore=1".to_owned());
            lines.push("sysctl -w net.ipv4.conf.all.arp_announce=2".to_owned());
        }
        lines.extend(
            self.vips
                .iter()
                .map(|vip| format!("ip address replace {}", on_lo(*vip))),
        );
        lines
    }

    /// Takes back what [`ServerSetup::now`] does.
    pub fn undo(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for vip in &self.vips {
            let length = if vip.is_ipv4() { 32 } else { 128 };
            lines.push(format!("ip address del {vip}/{length} dev lo"));
        }
        if self.vips.iter().any(IpAddr::is_ipv4) {
            lines.push("sysctl -w net.ipv4.conf.all.arp_ignore=0".to_owned());
            lines.push("sysctl -w net.ipv4.conf.all.arp_announce=0".to_owned());
        }
        lines
    }

    /// Keeps it over a reboot, on Debian and Ubuntu.
    pub fn permanent(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.vips.iter().any(IpAddr::is_ipv4) {
            let settings = "net.ipv4.conf.all.arp_ignore=1\\nnet.ipv4.conf.all.arp_announce=2\\n";
            lines.push(format!("printf '{settings}' > {SYSCTL}"));
        }
        let starts = self
            .vips
            .iter()
            .map(|vip| format!("ExecStart=/usr/sbin/ip address replace {}", on_lo(*vip)));
        let starts: Vec<String> = starts.collect();
        lines.push(format!(
            "printf '[Unit]\\nBefore=network-pre.target\\nWants=network-pre.target\\n[Service]\\nType=oneshot\\nRemainAfterExit=yes\\n{}\\n[Install]\\nWantedBy=multi-user.target\\n' > {UNIT}",
            starts.join("\\n")
        ));
        lines
            .push("systemctl daemon-reload && systemctl enable --now mb-lb-vip.service".to_owned());
        lines
    }

    /// Takes back what [`ServerSetup::permanent`] does.
    pub fn temporary(&self) -> Vec<String> {
        vec![
            "systemctl disable --now mb-lb-vip.service".to_owned(),
            format!("rm -f {UNIT} {SYSCTL}"),
            "systemctl daemon-reload".to_owned(),
        ]
    }

    fn title(&self) -> String {
        format!("{} ({})", self.names.join(", "), self.address)
    }
}

/// For people: servers with the same lines together. Each line can be pasted into a shell of root.
pub(super) fn text(setups: &[ServerSetup]) -> String {
    let mut text = String::new();
    let mut told: Vec<&[IpAddr]> = Vec::new();
    for setup in setups {
        if told.contains(&setup.vips.as_slice()) {
            continue;
        }
        told.push(&setup.vips);
        let same = setups.iter().filter(|other| other.vips == setup.vips);
        let names: Vec<String> = same.map(ServerSetup::title).collect();
        let _ = write!(
            text,
            "\n# Set-up for dsr, before the change-over, on each of: {}\n\
             # HAProxy notices nothing of it. What these servers send to the VIP goes to themselves from then on.\n",
            names.join(", ")
        );
        let parts = [
            ("", setup.now()),
            ("# to keep it over a reboot:\n", setup.permanent()),
            ("# undo:\n", setup.undo()),
            ("# undo what was kept:\n", setup.temporary()),
        ];
        for (title, lines) in parts {
            text.push_str(title);
            for line in lines {
                let _ = writeln!(text, "{line}");
            }
        }
    }
    text
}

fn on_lo(vip: IpAddr) -> String {
    match vip {
        IpAddr::V4(_) => format!("{vip}/32 dev lo"),
        // Not the source of the server's own connections.
        IpAddr::V6(_) => format!("{vip}/128 dev lo nodad preferred_lft 0"),
    }
}

/// One for each address.
pub(super) fn merged(setups: Vec<ServerSetup>) -> Vec<ServerSetup> {
    let mut merged: Vec<ServerSetup> = Vec::new();
    for setup in setups {
        match merged
            .iter_mut()
            .find(|known| known.address == setup.address)
        {
            Some(known) => {
                known.add(setup.vips);
                for name in setup.names {
                    if !known.names.contains(&name) {
                        known.names.push(name);
                    }
                }
            }
            None => merged.push(setup),
        }
    }
    merged
}
