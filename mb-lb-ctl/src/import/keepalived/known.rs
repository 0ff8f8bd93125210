//! A word for every statement, which holds where nothing better is said of it.

use super::Node;
use crate::import::report::{Ledger, Verdict};

use Verdict::{NotNeeded, Unsupported};

type Row = (&'static str, Verdict, &'static str);

const MAIL: &str = "no mail is sent; `notify` and `mb-lb-ctl events` tell of changes";
const GARP: &str = "announcements are sent in bursts and refreshed by themselves";
const USERS: &str = "programs run as the user of the daemon";
const INSIDE: &str = "it is how keepalived works inside";
const FILES: &str = "only interfaces, services and programs are tracked";
const ROUTES: &str =
    "routes and rules do not move with the VIP: set them on both directors, or have `notify` do it";
const STATIC: &str =
    "addresses and routes that do not move belong into the network configuration of the machine";
const NOTIFY: &str =
    "there is one program for all changes, `notify`, which is told the old and the new role";
const VMAC: &str = "VIPs go with the interface's own MAC address, and are announced";

/// Longer ones before shorter ones: the first that fits counts. A `*` at the end stands for any rest.
const GLOBAL: [Row; 22] = [
    ("notification_email*", Unsupported, MAIL),
    ("smtp_*", Unsupported, MAIL),
    ("router_id", NotNeeded, "director.name is the host name"),
    ("enable_script_security", NotNeeded, USERS),
    ("script_user", NotNeeded, USERS),
    ("vrrp_version", NotNeeded, "each instance says it"),
    ("vrrp_garp_*", NotNeeded, GARP),
    ("vrrp_gna_*", NotNeeded, GARP),
    (
        "vrrp_strict",
        NotNeeded,
        "adverts are judged as the RFC says",
    ),
    (
        "vrrp_mcast_group4",
        Unsupported,
        "adverts go to the group of the RFC, or to unicast_peers",
    ),
    (
        "vrrp_mcast_group6",
        Unsupported,
        "adverts go to the group of the RFC, or to unicast_peers",
    ),
    ("vrrp_iptables", NotNeeded, INSIDE),
    ("vrrp_ipsets", NotNeeded, INSIDE),
    (
        "vrrp_check_unicast_src",
        NotNeeded,
        "adverts of others than the peers are not taken",
    ),
    ("vrrp_skip_check_adv_addr", NotNeeded, INSIDE),
    ("vrrp_*", NotNeeded, INSIDE),
    ("checker_*", NotNeeded, INSIDE),
    ("bfd_*", NotNeeded, INSIDE),
    ("lvs_*", NotNeeded, "IPVS is not used"),
    ("snmp_*", Unsupported, "there is no SNMP"),
    ("enable_*", Unsupported, "there is no SNMP and no D-Bus"),
    (
        "dynamic_interfaces",
        NotNeeded,
        "interfaces may come and go",
    ),
];

const INSTANCE: [Row; 45] = [
    (
        "state",
        NotNeeded,
        "every director begins as backup, and the priority decides",
    ),
    ("garp_*", NotNeeded, GARP),
    ("gna_*", NotNeeded, GARP),
    ("smtp_alert", Unsupported, MAIL),
    ("use_vmac", Unsupported, VMAC),
    ("use_vmac_addr", Unsupported, VMAC),
    ("vmac_xmit_base", Unsupported, VMAC),
    ("use_ipvlan", Unsupported, VMAC),
    ("native_ipv6", NotNeeded, "the addresses say it"),
    ("accept", NotNeeded, "packets to the VIP are taken"),
    ("no_accept", NotNeeded, "packets to the VIP are taken"),
    (
        "strict_mode",
        NotNeeded,
        "adverts are judged as the RFC says",
    ),
    (
        "lvs_sync_daemon*",
        NotNeeded,
        "IPVS is not used; [peer] syncs flows",
    ),
    ("track_file", Unsupported, FILES),
    ("track_process", Unsupported, FILES),
    ("track_bfd", Unsupported, FILES),
    (
        "track_src_ip",
        NotNeeded,
        "without its address an instance is at fault",
    ),
    ("virtual_routes", Unsupported, ROUTES),
    ("virtual_rules", Unsupported, ROUTES),
    ("notify_master", Unsupported, NOTIFY),
    ("notify_backup", Unsupported, NOTIFY),
    ("notify_fault", Unsupported, NOTIFY),
    ("notify_stop", Unsupported, NOTIFY),
    ("notify_deleted", Unsupported, NOTIFY),
    ("notify_*", NotNeeded, NOTIFY),
    ("lower_prio_no_advert", NotNeeded, INSIDE),
    ("higher_prio_send_advert", NotNeeded, INSIDE),
    (
        "check_unicast_src",
        NotNeeded,
        "adverts of others than the peers are not taken",
    ),
    ("unicast_ttl", NotNeeded, "the TTL is 255, as the RFC says"),
    ("unicast_fault_no_peer", NotNeeded, INSIDE),
    (
        "unicast_src_ip",
        NotNeeded,
        "adverts come from the interface's own address",
    ),
    (
        "mcast_src_ip",
        NotNeeded,
        "adverts come from the interface's own address",
    ),
    (
        "mcast_dst_ip",
        Unsupported,
        "adverts go to the group of the RFC, or to unicast_peers",
    ),
    (
        "old_unicast_checksum",
        Unsupported,
        "`checksum` of [vrrp.NAME] says which form is sent with version 3",
    ),
    (
        "down_timer_adverts",
        Unsupported,
        "three adverts, as the RFC says",
    ),
    ("kernel_rx_buf_size", NotNeeded, INSIDE),
    ("debug", NotNeeded, INSIDE),
    ("skip_check_adv_addr", NotNeeded, INSIDE),
    (
        "promote_secondaries",
        NotNeeded,
        "addresses of the interface itself are left alone",
    ),
    (
        "linkbeat_use_polling",
        NotNeeded,
        "the kernel tells of links",
    ),
    ("thread_timer_expired", NotNeeded, INSIDE),
    ("vrf", Unsupported, "there are no VRFs"),
    ("rotary_*", NotNeeded, INSIDE),
    (
        "global_tracking",
        NotNeeded,
        "instances of a group move together",
    ),
    (
        "sync_group_tracking_weight",
        NotNeeded,
        "instances of a group move together",
    ),
];

const ROOT: [Row; 13] = [
    ("static_*", Unsupported, STATIC),
    ("track_group", Unsupported, STATIC),
    ("track_file", Unsupported, FILES),
    ("vrrp_track_file", Unsupported, FILES),
    ("vrrp_track_process", Unsupported, FILES),
    ("bfd_instance", Unsupported, "there is no BFD"),
    (
        "virtual_server_group",
        Unsupported,
        "groups are not imported: write `listen` of a [service.NAME], which takes many",
    ),
    (
        "net_namespace*",
        NotNeeded,
        "the systemd unit says where the daemon runs (NetworkNamespacePath=)",
    ),
    ("namespace_*", NotNeeded, INSIDE),
    ("instance", NotNeeded, INSIDE),
    ("use_pid_dir", NotNeeded, INSIDE),
    ("linkbeat_*", NotNeeded, "the kernel tells of links"),
    ("garp_group", NotNeeded, GARP),
];

/// Says it of a statement and of all below it.
pub(super) fn word(node: &Node, ledger: &mut Ledger) {
    node.each(&mut |node| {
        if node.is("auth_pass") || node.is("password") {
            ledger.hide(node.at, node.word(1).unwrap_or_default());
        }
    });
    match node.word(0).unwrap_or_default() {
        "global_defs" => {
            ledger.otherwise(node.at, NotNeeded, "settings of the process");
            rows(&node.children, &GLOBAL, ledger);
        }
        "vrrp_instance" | "vrrp_sync_group" => rows(&node.children, &INSTANCE, ledger),
        "vrrp_script" => {
            for child in &node.children {
                let (verdict, note) = match child.word(0).unwrap_or_default() {
                    "user" => (NotNeeded, USERS),
                    "init_fail" => (NotNeeded, "a script counts from its first run on"),
                    _ => continue,
                };
                ledger.otherwise(child.at, verdict, note);
            }
        }
        _ => rows(std::slice::from_ref(node), &ROOT, ledger),
    }
}

fn rows(nodes: &[Node], rows: &[Row], ledger: &mut Ledger) {
    for node in nodes {
        let key = node.word(0).unwrap_or_default();
        let fits = |row: &&Row| match row.0.strip_suffix('*') {
            Some(start) => key.starts_with(start),
            None => key == row.0,
        };
        if let Some((_, verdict, note)) = rows.iter().find(fits) {
            node.each(&mut |node| ledger.otherwise(node.at, *verdict, *note));
        }
    }
}
