//! What the network says: next hops of servers, and the interfaces that carry the program.

use std::net::IpAddr;

use super::core::Engine;
use super::{Action, Attached, Neighbour, Now};

impl Engine {
    pub(super) fn on_neighbour(
        &mut self,
        address: IpAddr,
        neighbour: &Neighbour,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let before = self.standings();
        self.neighbours.insert(address, neighbour.clone());
        let mut moved = Vec::new();
        for service in &mut self.services {
            if !service.config.forward.is_in_kernel() {
                continue;
            }
            for server in &mut service.servers {
                if server.config.address != address {
                    continue;
                }
                let old = server.mac;
                server.on_neighbour(neighbour.clone());
                if old != [0; 6] && old != server.mac {
                    moved.push(format!("{}/{}", service.config.name, server.config.name));
                }
            }
        }
        if let Neighbour::Resolved { mac, ifindex, .. } = neighbour {
            self.indices.follow(address, *mac, *ifindex);
            for subject in moved {
                let text = format!("{address} is now at {}", super::view::mac(*mac));
                self.record(now, &subject, "mac", text, actions);
            }
        }
        self.tell_changes(&before, true, now, actions);
    }

    pub(super) fn on_interfaces(
        &mut self,
        mut attached: Vec<Attached>,
        error: Option<String>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let before = self.standings();
        if error.is_some() {
            // What could not be looked up or attached anew still carries the program: only a look without error
            // takes an interface away.
            for known in &self.attached {
                if !attached.iter().any(|now| now.ifindex == known.ifindex) {
                    attached.push(known.clone());
                }
            }
        }
        let error = self.refuse_collisions(&mut attached).or(error);
        for interface in &attached {
            if !self
                .attached
                .iter()
                .any(|known| known.ifindex == interface.ifindex && known.mode == interface.mode)
            {
                let text = format!("XDP program on {} ({})", interface.name, interface.mode);
                self.record(now, "", "attach", text, actions);
            }
        }
        if let Some(why) = error.as_ref().filter(|_| self.attach_error != error) {
            self.record(now, "", "attach-failed", why.clone(), actions);
        }
        self.attached = attached;
        self.attach_known = true;
        self.attach_error = error;
        self.tell_changes(&before, true, now, actions);
    }

    /// The kernel finds an interface by the last bits of its index. Of two that share them, the one that was there stays.
    fn refuse_collisions(&self, attached: &mut Vec<Attached>) -> Option<String> {
        let slot = |interface: &Attached| interface.ifindex % mb_lb_common::MAX_PORTS;
        let known = |interface: &Attached| {
            self.attached
                .iter()
                .any(|known| known.ifindex == interface.ifindex)
        };
        attached.sort_by_key(|interface| (!known(interface), interface.ifindex));
        let mut kept: Vec<Attached> = Vec::new();
        let mut refused = None;
        for interface in attached.drain(..) {
            match kept.iter().find(|other| slot(other) == slot(&interface)) {
                Some(other) => {
                    refused = Some(format!(
                        "{} (index {}) cannot be used beside {} (index {}): their indices are equal modulo {}; \
                         recreate one of them",
                        interface.name,
                        interface.ifindex,
                        other.name,
                        other.ifindex,
                        mb_lb_common::MAX_PORTS
                    ));
                }
                None => kept.push(interface),
            }
        }
        kept.sort_by_key(|interface| interface.ifindex);
        *attached = kept;
        refused
    }
}
