//! Virtual routers and the other director.

use std::collections::BTreeMap;

use super::exposition::{families, one_hot};
use super::{Exposition, bit, timestamp};
use crate::snapshot::{PeerView, Snapshot};

families! {
    ROLE = Gauge "mb_lb_vrrp_role" ["vrrp", "role"]
        "1 for the role of the virtual router: active, backup, fault or init; 0 for the others.";
    PRIORITY = Gauge "mb_lb_vrrp_priority" ["vrrp"]
        "Priority with tracking.";
    CONFIGURED = Gauge "mb_lb_vrrp_configured_priority" ["vrrp"]
        "Priority as the file has it.";
    TURNS = Counter "mb_lb_vrrp_role_changes_total" ["vrrp"]
        "Changes of role since the controller started.";
    CHANGED = Gauge "mb_lb_vrrp_last_change_timestamp_seconds" ["vrrp"]
        "When the role began, in Unix time.";
    REJECTED = Counter "mb_lb_vrrp_rejected_adverts_total" ["vrrp", "reason"]
        "Adverts of the virtual router that were not as they should be.";
    CONNECTED = Gauge "mb_lb_peer_connected" []
        "1 while there is a link to the other director.";
    IN_SYNC = Gauge "mb_lb_peer_in_sync" ["flows"]
        "1 while the peer's flows are held here (flows=received), and ours there (flows=sent).";
    SAME = Gauge "mb_lb_peer_config_equal" []
        "1 where both directors have the same configuration; not there before the peer said what it has.";
    ROUND_TRIP = Gauge "mb_lb_peer_round_trip_seconds" []
        "Round trip on the link.";
    SENT = Counter "mb_lb_peer_flows_sent_total" []
        "Changes of flows and flows of snapshots that were sent.";
    RECEIVED = Counter "mb_lb_peer_flows_received_total" []
        "Changes of flows and flows of snapshots that were received.";
    APPLIED = Counter "mb_lb_peer_flows_applied_total" []
        "Received ones that changed the flow table.";
    UNPLACED = Counter "mb_lb_peer_flows_unplaced_total" []
        "Received ones that name what is not configured here.";
    FULL = Counter "mb_lb_peer_flows_table_full_total" []
        "Received ones that found the flow table full.";
    LOST = Counter "mb_lb_peer_flows_lost_total" []
        "Changes that found the ring buffer full; each time all flows are sent anew.";
    REFUSED = Counter "mb_lb_peer_refused_total" ["reason"]
        "Connections and messages of the link that were refused.";
}

const ROLES: &[&str] = &["active", "backup", "fault", "init"];

pub(super) fn write(snapshot: &Snapshot, text: &mut Exposition) {
    let routers = || snapshot.vrrp.iter();
    text.family(
        &ROLE,
        routers().flat_map(|router| {
            one_hot(ROLES, &router.role).map(|(role, is)| ([&*router.name, role], is))
        }),
    );
    text.family(
        &PRIORITY,
        routers().map(|router| ([&*router.name], router.priority)),
    );
    text.family(
        &CONFIGURED,
        routers().map(|router| ([&*router.name], router.base_priority)),
    );
    text.family(
        &TURNS,
        routers().map(|router| ([&*router.name], router.turns)),
    );
    text.family(
        &CHANGED,
        routers().map(|router| ([&*router.name], timestamp(snapshot, router.since))),
    );
    // One reason may have come from several addresses.
    let mut rejected: BTreeMap<[&str; 2], u64> = BTreeMap::new();
    for router in routers() {
        for rejection in &router.rejections {
            *rejected
                .entry([&router.name, &rejection.reason])
                .or_default() += rejection.count;
        }
    }
    text.family(&REJECTED, rejected);

    let peer = snapshot.peer.as_ref();
    let is = |of: fn(&PeerView) -> bool| peer.map(|peer| ([], bit(of(peer))));
    text.family(&CONNECTED, is(|peer| peer.connected));
    text.family(
        &IN_SYNC,
        peer.into_iter().flat_map(|peer| {
            [
                (["received"], bit(peer.in_sync)),
                (["sent"], bit(peer.peer_in_sync)),
            ]
        }),
    );
    let same = peer.and_then(|peer| {
        let theirs = peer.peer_config_hash.as_ref()?;
        Some(([], bit(*theirs == peer.config_hash)))
    });
    text.family(&SAME, same);
    let round_trip = peer.and_then(|peer| Some(([], peer.round_trip_us? as f64 / 1e6)));
    text.family(&ROUND_TRIP, round_trip);
    let count = |of: fn(&PeerView) -> u64| peer.map(|peer| ([], of(peer)));
    text.family(&SENT, count(|peer| peer.sent));
    text.family(&RECEIVED, count(|peer| peer.received));
    text.family(&APPLIED, count(|peer| peer.applied));
    text.family(&UNPLACED, count(|peer| peer.unplaced));
    text.family(&FULL, count(|peer| peer.full));
    text.family(&LOST, count(|peer| peer.lost));
    text.family(
        &REFUSED,
        peer.into_iter().flat_map(|peer| {
            let refused = peer.refused.iter();
            refused.map(|(reason, count)| ([&**reason], count))
        }),
    );
}
