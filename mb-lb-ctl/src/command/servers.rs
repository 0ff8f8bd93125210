//! `show servers state`, HAProxy's state file, version 1; and `show servers conn`.

use std::fmt::Write as _;

use crate::command::{find_service, proxy_id};
use crate::snapshot::{AdminState, HealthState, ServerView, ServiceView, Snapshot};

const HEADER: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight \
     srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state \
     srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port \
     srv_check_addr srv_agent_addr srv_agent_port\n";

const CONNECTIONS: &str = "# bkname/svname bkid/svid addr port - purge_delay used_cur used_max need_est unsafe_nb safe_nb \
     idle_lim idle_cur idle_per_thr[1]\n";

/// All services, or one.
pub fn render(snapshot: &Snapshot, service: Option<&str>) -> String {
    of_servers(snapshot, service, HEADER, line)
}

/// Connections to servers. mb-lb keeps no count of idle ones for each server: those columns are 0, and the limit is none.
pub fn connections(snapshot: &Snapshot, service: Option<&str>) -> String {
    of_servers(snapshot, service, CONNECTIONS, |text, service, server| {
        let address = server
            .address
            .map_or_else(|| "-".to_owned(), |address| address.to_string());
        let _ = writeln!(
            text,
            "{}/{} {}/{} {address} {} - 0 {} {} {} 0 0 -1 0 0",
            service.name,
            server.name,
            proxy_id(service),
            server.position,
            server.port,
            server.active.max(0),
            server.active_max.max(0),
            server.active.max(0),
        );
    })
}

fn of_servers(
    snapshot: &Snapshot,
    service: Option<&str>,
    header: &str,
    line: impl Fn(&mut String, &ServiceView, &ServerView),
) -> String {
    let services = match service {
        None => &snapshot.services[..],
        Some(name) => match find_service(snapshot, name) {
            Some(position) => &snapshot.services[position..=position],
            None => return "Can't find backend.\n".to_owned(),
        },
    };
    let mut text = header.to_owned();
    for service in services {
        for server in &service.servers {
            line(&mut text, service, server);
        }
    }
    text
}

fn line(text: &mut String, service: &ServiceView, server: &ServerView) {
    let check = server.check.as_ref();
    let code = check.map_or("", |check| check.code.as_str());
    let address = server
        .address
        .map_or_else(|| "-".to_owned(), |address| address.to_string());
    // No forced ids, no host name, no SRV record, no TLS: these columns never say more than that.
    let hand = server.by_hand.clone().unwrap_or_default();
    let agent = server.agent.as_ref();
    let check_address = hand
        .check_address
        .map_or_else(|| "-".to_owned(), |address| address.to_string());
    let _ = writeln!(
        text,
        "{} {} {} {} {address} {} {} {} {} {} {} {} {} {} {} 0 0 - {} - 0 {} {check_address} - {}",
        proxy_id(service),
        service.name,
        server.position,
        server.name,
        operational_state(server),
        match server.wish() {
            AdminState::Ready => 0,
            AdminState::Maint => 1,
            AdminState::Drain => 8,
        },
        server.weight,
        server.initial_weight,
        server.since,
        check_status(code),
        check_result(code),
        check.map_or(0, |check| check.level),
        match (check, server.wish()) {
            (None, _) => 0,
            // Configured, and not enabled.
            (Some(_), _) if hand.check_off => 2,
            // Configured and enabled; paused too in maintenance.
            (Some(_), AdminState::Maint) => 14,
            (Some(_), _) => 6,
        },
        match agent {
            None => 0,
            // Configured, and an agent; enabled.
            Some(agent) if agent.off => 18,
            Some(_) => 22,
        },
        server.port,
        check.map_or(0, |check| check.port),
        agent.map_or(0, |agent| agent.port),
    );
}

/// 0 stopped, 1 starting (slow start), 2 running, 3 stopping.
fn operational_state(server: &ServerView) -> u8 {
    let stops = server.by_hand.as_ref().is_some_and(|hand| hand.stopping);
    match (server.wish(), server.health) {
        (AdminState::Maint, _) | (_, HealthState::Down | HealthState::Unknown) => 0,
        _ if stops => 3,
        _ if server.ramp_percent < 100 => 1,
        _ => 2,
    }
}

/// Numbers of HAProxy's check statuses.
fn check_status(code: &str) -> u8 {
    match code {
        "INI" => 1,
        "SOCKERR" => 5,
        "L4OK" => 6,
        "L4TOUT" => 7,
        "L4CON" => 8,
        "L6OK" => 9,
        "L6TOUT" => 10,
        "L6RSP" => 11,
        "L7TOUT" => 12,
        "L7RSP" => 13,
        "L7OK" => 15,
        "L7STS" => 17,
        _ => 0,
    }
}

/// 0 unknown, 2 failed, 3 passed.
fn check_result(code: &str) -> u8 {
    match code {
        "" | "INI" => 0,
        code if code.ends_with("OK") => 3,
        _ => 2,
    }
}
