//! Virtual routers and the peer, as plain values.

use std::net::SocketAddr;

use crate::engine::Now;
use crate::engine::core::Engine;
use crate::engine::routers::RouterState;
use crate::snapshot::{ActiveView, PeerRoleView, PeerView, RejectionView, TrackView, VrrpView};
use crate::vrrp::machine::Role;

impl Engine {
    pub(super) fn vrrp_views(&self, now: Now) -> Vec<VrrpView> {
        self.routers
            .iter()
            .map(|router| self.vrrp_view(router, now))
            .collect()
    }

    fn vrrp_view(&self, router: &RouterState, now: Now) -> VrrpView {
        let vrrp = &router.config;
        let view = router.view.as_ref();
        VrrpView {
            name: vrrp.name.clone(),
            interface: vrrp.interface.clone(),
            virtual_router_id: router.vrid(),
            version: vrrp.version.number(),
            addresses: vrrp.addresses.iter().map(ToString::to_string).collect(),
            role: router.role.name().to_owned(),
            since: now.since_start.saturating_sub(router.since).as_secs(),
            cause: router.cause.clone(),
            base_priority: vrrp.priority,
            priority: view.map_or(vrrp.priority, |(view, _)| view.priority),
            source: view.and_then(|(view, _)| view.source),
            active: view
                .filter(|_| router.role != Role::Active)
                .and_then(|(view, at)| {
                    let (heard, heard_at) = view.master?;
                    let age = at.saturating_sub(heard_at);
                    Some(ActiveView {
                        address: Some(heard.source),
                        priority: heard.priority,
                        age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
                    })
                }),
            leaving: router.is_leaving(),
            aside: view.is_some_and(|(view, _)| view.stands_aside),
            fault: router.problem.clone().or_else(|| self.fault_now(router)),
            tracks: self
                .tracks(vrrp)
                .into_iter()
                .map(|track| TrackView {
                    what: track.what,
                    weight: track.weight,
                    failed: track.failed,
                })
                .collect(),
            rejections: view.map_or_else(Vec::new, |(view, at)| {
                view.rejections
                    .iter()
                    .map(|rejected| RejectionView {
                        reason: rejected.rejection.name().to_owned(),
                        text: rejected.rejection.to_string(),
                        count: rejected.count,
                        source: Some(rejected.source),
                        age: at.saturating_sub(rejected.at).as_secs(),
                    })
                    .collect()
            }),
            turns: router.turns,
            takeovers: router.takeovers.iter().cloned().collect(),
        }
    }

    pub(super) fn peer_view(&self, now: Now) -> Option<PeerView> {
        let config = self.config.peer.as_ref()?;
        let peer = &self.peer;
        let report = &peer.report;
        let status = peer.status.as_ref().map(|(status, _)| status);
        Some(PeerView {
            address: SocketAddr::to_string(&config.address),
            connected: peer.hello.is_some(),
            since: now.since_start.saturating_sub(peer.since).as_secs(),
            name: peer
                .hello
                .as_ref()
                .map_or_else(String::new, |hello| hello.name.clone()),
            build: peer
                .hello
                .as_ref()
                .map_or_else(String::new, |hello| hello.build.clone()),
            why: match &peer.hello {
                Some(_) => None,
                None => peer
                    .trouble
                    .as_ref()
                    .map(|(text, _)| text.clone())
                    .or_else(|| peer.why.clone()),
            },
            in_sync: peer.hello.is_some() && self.in_sync(),
            peer_in_sync: status.is_some_and(|status| status.in_sync),
            config_hash: self.shared_hash.clone(),
            peer_config_hash: status.map(|status| status.config_hash.clone()),
            roles: status.map_or_else(Vec::new, |status| {
                status
                    .roles
                    .iter()
                    .map(|role| PeerRoleView {
                        name: role.name.clone(),
                        role: role.role.name().to_owned(),
                        priority: role.priority,
                    })
                    .collect()
            }),
            sent: report.sent,
            received: report.received,
            applied: report.applied,
            unplaced: report.unplaced,
            full: report.full,
            lost: report.lost,
            peer_unplaced: report.peer_unplaced,
            round_trip_us: report.link.round_trip_us,
            clock_ahead_ms: peer.clock.ahead_ms(report.link.round_trip_us),
            refused: report
                .link
                .refused
                .iter()
                .filter(|(_, count)| **count > 0)
                .map(|(reason, count)| (word(*reason), *count))
                .collect(),
            error: report.error.clone().or_else(|| report.send_error.clone()),
        })
    }
}

/// As in JSON.
fn word(reason: crate::peer::RefusedReason) -> String {
    match serde_json::to_value(reason) {
        Ok(serde_json::Value::String(word)) => word,
        _ => format!("{reason:?}"),
    }
}
