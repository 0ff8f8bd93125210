//! The forms that VRRP comes in, as both sides have them in their configuration.

use std::net::IpAddr;
use std::num::NonZeroU8;
use std::time::Duration;

use mb_lb_ctl::vrrp::Instance;
use mb_lb_ctl::vrrp::packet::{Auth, Coverage, Kind};
use mb_lb_tests::lab::Lab;

use crate::{VIP4, VIP6};

pub const VRID: u8 = 51;
/// Longer than what counts.
const PASSWORD: &str = "secure_password";

#[derive(Clone, Copy, Debug)]
pub struct Form {
    pub version: u8,
    pub password: Option<&'static str>,
    pub six: bool,
    pub unicast: bool,
    pub milliseconds: u64,
}

pub const V2: Form = Form {
    version: 2,
    password: None,
    six: false,
    unicast: false,
    milliseconds: 1000,
};
pub const V2_PASS: Form = Form {
    password: Some(PASSWORD),
    ..V2
};
pub const V2_UNICAST: Form = Form {
    unicast: true,
    ..V2_PASS
};
pub const V3: Form = Form {
    version: 3,
    milliseconds: 300,
    ..V2
};
pub const V3_UNICAST: Form = Form {
    unicast: true,
    ..V3
};
pub const V3_IPV6: Form = Form { six: true, ..V3 };

impl Form {
    pub const fn vip(self) -> &'static str {
        if self.six { VIP6 } else { VIP4 }
    }

    const fn prefix(self) -> u8 {
        if self.six { 64 } else { 32 }
    }

    /// `10.77.0.200/32`
    pub fn vip_with_prefix(self) -> String {
        format!("{}/{}", self.vip(), self.prefix())
    }

    /// For the router on `lb1`.
    pub fn ours(self, lab: &Lab, priority: u8) -> Instance {
        let peer = IpAddr::from(lab.machine("lb2").ipv4());
        Instance {
            name: "VI_1".to_owned(),
            interface: "eth0".to_owned(),
            vrid: NonZeroU8::new(VRID).expect("not 0"),
            priority,
            kind: match (self.version, self.password) {
                (2, Some(password)) => Kind::V2(Auth::password(password)),
                (2, None) => Kind::V2(Auth::None),
                _ => Kind::V3,
            },
            interval: Duration::from_millis(self.milliseconds),
            addresses: vec![(self.vip().parse().expect("an address"), self.prefix())],
            preempt: true,
            preempt_delay: Duration::ZERO,
            unicast_peers: if self.unicast { vec![peer] } else { Vec::new() },
            source: None,
            coverage: Coverage::PseudoHeader,
            lease: true,
            sync_group: None,
        }
    }

    /// Lines of `vrrp_instance` for the keepalived on `lb2`.
    pub fn theirs(self, lab: &Lab, priority: u8) -> String {
        let mut lines = vec![
            format!("version {}", self.version),
            format!("virtual_router_id {VRID}"),
            format!("priority {priority}"),
            format!("advert_int {}", self.milliseconds as f64 / 1000.0),
            format!(
                "virtual_ipaddress {{\n  {} dev eth0\n }}",
                self.vip_with_prefix()
            ),
        ];
        if let Some(password) = self.password {
            lines.push(format!(
                "authentication {{\n  auth_type PASS\n  auth_pass {password}\n }}"
            ));
        }
        if self.unicast {
            lines.push(format!("unicast_src_ip {}", lab.machine("lb2").ipv4()));
            lines.push(format!(
                "unicast_peer {{\n  {}\n }}",
                lab.machine("lb1").ipv4()
            ));
        }
        lines.join("\n ")
    }
}
