//! What an operator has to know of virtual routers and the peer.

use super::alarm;
use crate::engine::Now;
use crate::engine::advice;
use crate::engine::core::Engine;
use crate::engine::routers::{REMEMBERED, RouterState};
use crate::snapshot::{Alarm, Severity};

/// A peer that starts, or that is started anew, is no alarm yet.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

impl Engine {
    pub(super) fn pair_alarms(&self, now: Now, alarms: &mut Vec<Alarm>) {
        for router in &self.routers {
            self.router_alarms(router, now, alarms);
        }
        self.peer_alarms(now, alarms);
    }

    fn router_alarms(&self, router: &RouterState, now: Now, alarms: &mut Vec<Alarm>) {
        let name = &router.config.name;
        let mut push =
            |severity, text: String, next: &str| alarms.push(alarm(severity, text, next));
        let recent = |at: std::time::Duration| now.since_start.saturating_sub(at) < REMEMBERED;
        if let Some(why) = &router.problem {
            push(
                Severity::Critical,
                format!("VRRP instance {name} does not run: {why}"),
                "correct that, then mb-lb-ctl reload",
            );
        }
        if let Some(why) = self.fault_now(router) {
            push(
                Severity::Warning,
                format!("{name} is at fault, this director cannot have its addresses: {why}"),
                "correct that: the instance comes back by itself",
            );
        } else if let Some(failing) = self.tracked(&router.config).failing {
            push(
                Severity::Warning,
                format!("{name} has a lower priority than it should: {failing}"),
                "correct that: the priority comes back by itself",
            );
        }
        let lately = router.view.iter().flat_map(|(view, at)| {
            let lately = router.config.advert_interval * 3 + PATIENCE;
            let rejections = view.rejections.iter();
            rejections.filter(move |rejected| at.saturating_sub(rejected.at) < lately)
        });
        let lately: Vec<_> = lately.collect();
        if router.split_since.is_some() || router.withheld {
            let unheard = lately
                .iter()
                .find(|rejected| !rejected.rejection.is_heard());
            let (why, next) = match unheard {
                Some(rejected) => (
                    "adverts come, and do not fit".to_owned(),
                    rejected.rejection.remedy(),
                ),
                None => (
                    format!(
                        "adverts get lost between {} here and the peer",
                        router.config.interface
                    ),
                    "let IP protocol 112 pass on both hosts and switches: tcpdump -ni INTERFACE vrrp",
                ),
            };
            push(
                Severity::Critical,
                format!("{name}: both directors were active at once: {why}"),
                next,
            );
        }
        for rejected in lately {
            let severity = if rejected.rejection.is_heard() {
                Severity::Warning
            } else {
                Severity::Critical
            };
            push(
                severity,
                format!(
                    "{name}: adverts of {} do not fit ({}, {} so far)",
                    rejected.source, rejected.rejection, rejected.count
                ),
                rejected.rejection.remedy(),
            );
        }
        if let Some((address, mac, _)) = router.claimed.filter(|(_, _, at)| recent(*at)) {
            push(
                Severity::Critical,
                format!(
                    "{name}: {} claims {address}, which is this director's; it is contradicted",
                    crate::engine::view::mac(mac)
                ),
                "find the machine with that MAC address; if it is the other director, look why it does not hear this one",
            );
        }
        if let Some((address, _)) = router.restored.filter(|(_, at)| recent(*at)) {
            push(
                Severity::Warning,
                format!("{name}: another program takes {address} away; it is put back each time"),
                "stop what manages the addresses of that interface (systemd-networkd: KeepConfiguration=yes)",
            );
        }
        if let Some((text, _)) = router.trouble.as_ref().filter(|(_, at)| recent(*at)) {
            push(
                Severity::Warning,
                format!("{name}: {text}"),
                "journalctl -u mb-lb",
            );
        }
    }

    fn peer_alarms(&self, now: Now, alarms: &mut Vec<Alarm>) {
        let Some(config) = &self.config.peer else {
            return;
        };
        let peer = &self.peer;
        let patient = now.since_start.saturating_sub(peer.since) < PATIENCE;
        let mut warn = |text: String, next: &str| alarms.push(alarm(Severity::Warning, text, next));
        if let Some(error) = peer
            .report
            .error
            .as_ref()
            .or(peer.report.send_error.as_ref())
        {
            warn(format!("flow sync: {error}"), "journalctl -u mb-lb");
        }
        if peer.hello.is_none() {
            // What was so before the link was up says nothing of now.
            let trouble = peer.trouble.as_ref().filter(|(_, at)| *at >= peer.since);
            let why = trouble.map(|(text, _)| text);
            let why = why.or(peer.why.as_ref());
            let step = advice::peer(why.map(String::as_str));
            if !patient || !step.may_pass {
                let why = why.map_or_else(String::new, |why| format!(": {why}"));
                warn(
                    format!(
                        "no connection to the peer {}{why}; sessions would be lost if this director failed",
                        config.address
                    ),
                    step.next,
                );
            }
            return;
        }
        let status = peer.status.as_ref().map(|(status, _)| status);
        if !patient && (!self.in_sync() || status.is_some_and(|status| !status.in_sync)) {
            warn(
                "flows of the two directors are not in sync yet".to_owned(),
                "wait; if it lasts: mb-lb-ctl events -f on both",
            );
        }
        if status.is_some_and(|status| status.config_hash != self.shared_hash) {
            warn(
                "the peer has another configuration".to_owned(),
                "mb-lb-ctl peer diff, then mb-lb-ctl peer push on the one that is right",
            );
        }
        if peer.report.peer_unplaced > 0 {
            warn(
                format!(
                    "the peer cannot place {} flows of this director: it has not the same services and servers, or no room",
                    peer.report.peer_unplaced
                ),
                "mb-lb-ctl peer diff",
            );
        }
    }
}
