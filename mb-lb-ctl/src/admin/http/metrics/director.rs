//! The director as a whole: build, configuration, alarms, data plane.

use super::exposition::families;
use super::{Exposition, bit};
use crate::snapshot::{Severity, Snapshot};

families! {
    BUILD = Gauge "mb_lb_build_info" ["version", "director"]
        "1; the version of the controller and the name of the director.";
    CONFIG = Gauge "mb_lb_config_info" ["hash"]
        "1; the hash of the configuration in force.";
    RELOAD = Gauge "mb_lb_config_last_reload_successful" []
        "1 unless the last reload was refused and an older configuration is in force.";
    START = Gauge "mb_lb_start_time_seconds" []
        "When the controller started, in Unix time.";
    ALARMS = Gauge "mb_lb_alarms" ["severity"]
        "Alarms that status shows now.";
    ATTACHED = Gauge "mb_lb_xdp_attach_info" ["interface", "mode"]
        "1 for each interface that the XDP program is on, and how: native or generic.";
    DATAPLANE = Gauge "mb_lb_dataplane_up" []
        "1 unless the controller cannot read or write the maps of the kernel.";
    PACKETS = Counter "mb_lb_xdp_packets_total" ["reason", "verdict"]
        "Packets that the XDP program has seen, by reason and by what became of them.";
    FLOWS = Gauge "mb_lb_flow_table_entries" []
        "Flows in the table, IPv4 and IPv6 together, counted or not.";
    ACTIVE = Gauge "mb_lb_flow_table_active" []
        "Flows in a counted state.";
    CAPACITY = Gauge "mb_lb_flow_table_capacity_entries" []
        "Room for flows of one address family.";
    FULL = Counter "mb_lb_flow_table_full_total" []
        "Flows that found the table full and were steered without state.";
    REPAIRS = Counter "mb_lb_drift_repairs_total" []
        "Map entries that differed from what they should be and were repaired.";
    SWEEPS = Counter "mb_lb_sweeps_total" []
        "Passes over the flow table that expire and recount flows.";
    SWEEP_TIME = Gauge "mb_lb_sweep_duration_seconds" []
        "How long the last pass over the flow table took.";
    REMOVED = Gauge "mb_lb_removed_server_flows" []
        "Flows of servers that are in the file no more.";
}

pub(super) fn write(snapshot: &Snapshot, text: &mut Exposition) {
    let dataplane = &snapshot.dataplane;
    text.family(&BUILD, [([&*snapshot.build, &*snapshot.director], 1)]);
    text.family(&CONFIG, [([&*snapshot.config_hash], 1)]);
    text.single(&RELOAD, bit(snapshot.reload_error.is_none()));
    text.single(&START, snapshot.started_ms as f64 / 1000.0);
    let alarms = |severity| {
        let alarms = snapshot.alarms.iter();
        alarms.filter(|alarm| alarm.severity == severity).count()
    };
    text.family(
        &ALARMS,
        [
            (["critical"], alarms(Severity::Critical)),
            (["warning"], alarms(Severity::Warning)),
        ],
    );
    let interfaces = dataplane.interfaces.iter();
    text.family(
        &ATTACHED,
        interfaces.map(|interface| ([&*interface.name, &*interface.mode], 1)),
    );
    text.single(&DATAPLANE, bit(dataplane.error.is_none()));
    let reasons = dataplane.reasons.iter();
    text.family(
        &PACKETS,
        reasons.map(|reason| ([&*reason.name, &*reason.verdict], reason.packets)),
    );
    text.single(&FLOWS, dataplane.flows);
    text.single(&ACTIVE, dataplane.active);
    text.single(&CAPACITY, dataplane.max_flows);
    text.single(&FULL, dataplane.table_full);
    text.single(&REPAIRS, dataplane.repairs);
    text.single(&SWEEPS, dataplane.sweeps);
    text.single(&SWEEP_TIME, dataplane.sweep_micros as f64 / 1e6);
    let removed = snapshot.removed.iter();
    text.single(&REMOVED, removed.map(|server| server.flows).sum::<u64>());
}
