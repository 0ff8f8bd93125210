//! Checks that go through the VIP: by which mark, and whether the kernel is ready for them.

use std::net::{IpAddr, SocketAddr};

use mb_lb_common::VIA_MARK;

use super::core::{Engine, ServiceState};
use super::server::ServerState;
use super::{Action, Now, ThroughVip};
use crate::config::{Check, Via};

/// VIPs, and names and indices of interfaces.
type Asked = (Vec<IpAddr>, Vec<(String, u32)>);

/// What the kernel was asked for, and what it said.
#[derive(Clone, Debug, Default)]
pub struct Vias {
    /// In the order of their marks. Nothing is ever taken out or moved: a check that is under way keeps its VIP.
    vips: Vec<IpAddr>,
    sent: Option<Asked>,
    ready: usize,
    pub error: Option<String>,
}

impl Vias {
    /// What was refused may be taken now.
    pub fn ask_again(&mut self) {
        self.sent = None;
    }
}

/// How a check goes.
pub enum Way {
    Direct,
    Through(ThroughVip),
    /// Through the VIP, as soon as the kernel is ready.
    NotYet,
}

/// The VIP that clients of a server use, of the family of its address: a packet cannot change its family.
pub fn vip_of(listen: &[SocketAddr], server: IpAddr) -> Option<IpAddr> {
    let mut vips = listen.iter().map(SocketAddr::ip);
    vips.find(|vip| vip.is_ipv4() == server.is_ipv4())
}

impl Engine {
    pub(super) fn way_of_check(
        &self,
        service: &ServiceState,
        server: &ServerState,
        check: &Check,
    ) -> Way {
        let elsewhere = server.by_hand.check_address.is_some();
        let vip = match check.via {
            Via::Vip if !elsewhere => vip_of(&service.config.listen, server.config.address),
            Via::Vip | Via::Server => None,
        };
        let Some(vip) = vip.filter(|_| self.vias.error.is_none()) else {
            return Way::Direct;
        };
        let mut vips = self.vias.vips[..self.vias.ready].iter();
        match vips.position(|known| *known == vip) {
            Some(at) => Way::Through(ThroughVip {
                vip,
                mark: VIA_MARK | u32::try_from(at).unwrap_or(0),
            }),
            None => Way::NotYet,
        }
    }

    /// Asks for the VIPs that checks are to go through, on the interfaces that lead to servers.
    pub(super) fn settle_vias(&mut self, actions: &mut Vec<Action>) {
        if !self.attach_known {
            return;
        }
        for vip in self.wanted_vips() {
            if !self.vias.vips.contains(&vip) {
                self.vias.vips.push(vip);
            }
        }
        if self.vias.vips.is_empty() {
            return;
        }
        let interfaces = self.attached.iter();
        let interfaces = interfaces.map(|attached| (attached.name.clone(), attached.ifindex));
        let wanted = (self.vias.vips.clone(), interfaces.collect::<Vec<_>>());
        if self.vias.sent.as_ref() != Some(&wanted) {
            let (vips, interfaces) = wanted.clone();
            actions.push(Action::Vias { vips, interfaces });
            self.vias.sent = Some(wanted);
        }
    }

    fn wanted_vips(&self) -> Vec<IpAddr> {
        let mut vips = Vec::new();
        for service in self.kernel_services() {
            if service
                .config
                .check
                .as_ref()
                .is_none_or(|check| check.via != Via::Vip)
            {
                continue;
            }
            for server in &service.servers {
                vips.extend(vip_of(&service.config.listen, server.config.address));
            }
        }
        vips
    }

    pub(super) fn on_vias(
        &mut self,
        vips: &[IpAddr],
        error: Option<String>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        if let Some(why) = error.as_ref().filter(|_| self.vias.error != error) {
            let text = format!("checks cannot go through the VIP: {why}");
            self.record(now, "", "via-failed", text, actions);
        }
        if error.is_none() {
            self.vias.ready = self.vias.vips.len().min(vips.len());
        }
        self.vias.error = error;
    }
}
