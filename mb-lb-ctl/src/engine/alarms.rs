//! What an operator has to know now, and what to do about it.

mod pair;

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::advice;
use super::core::{Engine, ServiceState};
use super::server::{ServerState, Standing};
use super::{Now, ServerRef};
use crate::command::info::date;
use crate::proxy::Trouble;
use crate::snapshot::{AdminState, Alarm, Severity};

impl Engine {
    /// Worst first.
    pub(super) fn alarms(&self, now: Now) -> Vec<Alarm> {
        let mut alarms = self.director_alarms();
        self.pair_alarms(now, &mut alarms);
        for service in &self.services {
            self.service_alarms(service, &mut alarms);
        }
        self.removed_alarms(&mut alarms);
        self.sync_alarms(&mut alarms);
        self.tier_alarms(now, &mut alarms);
        self.certificate_alarms(now, &mut alarms);
        alarms.sort_by_key(|alarm| alarm.severity);
        alarms
    }

    fn director_alarms(&self) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        let mut critical =
            |text: String, next: &str| alarms.push(alarm(Severity::Critical, text, next));
        if let Some(why) = &self.attach_error {
            critical(why.clone(), advice::attach(why));
        } else if self.attach_known
            && self.attached.is_empty()
            && (self.services.is_empty() || self.kernel_services().next().is_some())
        {
            critical(
                "the XDP program is on no interface: nothing is balanced".to_owned(),
                "set director.interfaces, then mb-lb-ctl reload",
            );
        }
        if let Some(why) = &self.apply_error {
            critical(
                format!("the kernel did not take the last change: {why}"),
                "mb-lb-ctl reload",
            );
        }
        if let Some(why) = &self.report.error {
            critical(why.clone(), "journalctl -u mb-lb");
        }
        for (what, trouble) in &self.unserved {
            if let Trouble::Unserved(why) = trouble {
                critical(
                    format!("{what} is not served: {why}"),
                    "correct that: it is tried again every few seconds",
                );
            }
        }
        let mut warn = |text: String, next: &str| alarms.push(alarm(Severity::Warning, text, next));
        for (what, trouble) in &self.unserved {
            if let Trouble::Limited(why) = trouble {
                warn(
                    format!("{what}: {why}"),
                    "correct that: it is tried again every few seconds",
                );
            }
        }
        if let Some(why) = &self.reload_error {
            warn(
                format!(
                    "the last reload was refused, the configuration before it is in force: {}",
                    summary(why)
                ),
                "correct the file (mb-lb-ctl check shows where), then mb-lb-ctl reload",
            );
        }
        if self.table_is_full() {
            warn(
                "the flow table was full within the last minute: new flows were steered without state".to_owned(),
                "raise director.max_flows, then in a maintenance window: stop, mb-lb-ctl detach, start (ends all flows)",
            );
        }
        let wanted = self.config.director.max_flows;
        if wanted != self.identity.max_flows && self.identity.max_flows != 0 {
            warn(
                format!(
                    "director.max_flows is {wanted}, but the pinned flow table has room for {}",
                    self.identity.max_flows
                ),
                "in a maintenance window: stop, mb-lb-ctl detach, start (ends all flows)",
            );
        }
        for interface in self
            .attached
            .iter()
            .filter(|interface| interface.mode == "generic")
        {
            if self.config.director.xdp == crate::config::XdpMode::Auto {
                warn(
                    format!(
                        "{} has no native XDP: the program runs in generic mode, which is slower",
                        interface.name
                    ),
                    "set director.xdp = \"generic\" to accept this",
                );
            }
        }
        for vip in self.missing_vips() {
            warn(
                format!(
                    "the VIP {vip} is not on this director: who does not know its MAC address finds nobody there"
                ),
                &self.next_for_vip(vip),
            );
        }
        if let Some(why) = &self.vias.error {
            warn(
                format!(
                    "checks cannot go through the VIP, and go to the servers' own addresses: {why}"
                ),
                "check without via = \"vip\", or see to it that the kernel has cls_bpf and sch_ingress (modprobe)",
            );
        }
        for (listen, why) in &self.mute {
            warn(
                format!(
                    "no_server text cannot be said on {listen} ({why}): RST is answered instead"
                ),
                "stop what listens there on the director",
            );
        }
        alarms
    }

    fn certificate_alarms(&self, now: Now, alarms: &mut Vec<Alarm>) {
        let unix = i64::try_from(now.wall_ms / 1000).unwrap_or(i64::MAX);
        for (proxy, infos) in &self.certificates {
            for info in infos {
                let file = info.file.display();
                let left = info.not_after - unix;
                let (severity, text) = match expiry(left) {
                    Some(text) if left <= 0 => (Severity::Critical, text),
                    _ if info.not_before > unix => {
                        (Severity::Critical, "is not valid yet".to_owned())
                    }
                    Some(text) => (Severity::Warning, text),
                    None => continue,
                };
                let text = format!("proxy {proxy}: the certificate in {file} {text}");
                let next = "renew it: a new file is taken within seconds";
                alarms.push(alarm(severity, text, next));
            }
        }
        for service in &self.services {
            for server in &service.servers {
                let Some(end) = server.certificate() else {
                    continue;
                };
                let Some(text) = expiry(end.saturating_sub(unix)) else {
                    continue;
                };
                let target = format!("{}/{}", service.config.name, server.config.name);
                // Who believes it or not is not known here: mail goes on with one that has expired, browsers do not.
                alarms.push(alarm(
                    Severity::Warning,
                    format!(
                        "{target}: the certificate of the server {text} ({})",
                        date(end)
                    ),
                    &format!("renew it on the server; mb-lb-ctl describe {target} shows it after the next check"),
                ));
            }
        }
    }

    /// VIPs that this host does not have and no virtual router moves; none before its addresses are known.
    fn missing_vips(&self) -> BTreeSet<IpAddr> {
        let Some(addresses) = &self.addresses else {
            return BTreeSet::new();
        };
        self.vips()
            .filter(|vip| !addresses.contains(vip))
            .filter(|vip| {
                let moved = self.config.vrrps.iter().flat_map(|vrrp| &vrrp.addresses);
                !moved.into_iter().any(|moved| moved.address == *vip)
            })
            .collect()
    }

    fn next_for_vip(&self, vip: IpAddr) -> String {
        let by_hand = || {
            let length = if vip.is_ipv4() { 32 } else { 128 };
            let interface = self
                .attached
                .first()
                .map_or("INTERFACE", |interface| &interface.name);
            format!("ip address add {vip}/{length} dev {interface}")
        };
        advice::vip(vip, &self.config.vrrps).unwrap_or_else(by_hand)
    }

    fn service_alarms(&self, service: &ServiceState, alarms: &mut Vec<Alarm>) {
        let name = &service.config.name;
        if let Some(by) = &service.paused {
            let enable = format!("enable frontend {name}, on the admin socket");
            let (did, next) = match service.shut {
                true => ("shut it down", format!("restart mb-lb, then {enable}")),
                false => ("disabled it", enable),
            };
            let text = format!("{name} takes no new clients: {by} {did}");
            alarms.push(alarm(Severity::Warning, text, &next));
        }
        if let Some(cap) = &service.cap {
            alarms.push(alarm(
                Severity::Warning,
                format!("{name}: {}, set by {}", cap.words(), cap.by),
                &format!(
                    "set maxconn frontend {name} {}, on the admin socket",
                    cap.file
                ),
            ));
        }
        if self.is_tier(name) {
            // Its machine knows better what to say.
            return;
        }
        for (other, member) in self.unnamed_members(service) {
            alarms.push(alarm(
                Severity::Warning,
                format!("{name} follows {member} of {other}, and the health pages there say nothing of it"),
                &format!("correct `follows`, or the page; mb-lb-ctl list checks {other}"),
            ));
        }
        let standings: Vec<Standing> = service
            .servers
            .iter()
            .map(|server| self.standing(service, server))
            .collect();
        if service.paused.is_none() && !standings.contains(&Standing::Usable) {
            let does = if self.is_proxy(service) {
                "a page with 503"
            } else if self.service_flags(service) == 0 {
                "a reset"
            } else {
                "the no_server text"
            };
            let withheld = service
                .servers
                .iter()
                .zip(&standings)
                .find(|(_, standing)| **standing == Standing::Withheld);
            let taken_out = service.servers.iter().find_map(|server| {
                let why = server.taken_out.as_deref()?;
                Some(taken_out_next(why))
            });
            let next = match withheld {
                None if taken_out.is_some() => taken_out.unwrap_or_default(),
                Some((server, _)) if server.admin != AdminState::Ready => {
                    format!("mb-lb-ctl ready {name}/{}", server.config.name)
                }
                Some((server, _)) if server.wish() != AdminState::Ready => {
                    format!(
                        "ask its agent why: mb-lb-ctl describe {name}/{}",
                        server.config.name
                    )
                }
                Some((server, _)) => format!("mb-lb-ctl weight {name}/{} 1", server.config.name),
                None => format!("mb-lb-ctl list checks; start a server of {name}"),
            };
            alarms.push(alarm(
                Severity::Critical,
                format!("{name} has no server for new connections: clients get {does}"),
                &next,
            ));
        }
        self.few_alarm(service, alarms);
        for (server, standing) in service.servers.iter().zip(&standings) {
            let target = format!("{name}/{}", server.config.name);
            if let Standing::Down(why) | Standing::CutOff(why) = standing
                && server.wish() != AdminState::Maint
            {
                let code = server.bad.as_ref().map(|bad| bad.code);
                let at = service.config.address_of(&server.config);
                let check = service.config.check.as_ref();
                let port = check.map_or(0, |check| check.address(at).port());
                alarms.push(alarm(
                    Severity::Warning,
                    format!("{target} is down: {why}"),
                    &match &server.taken_out {
                        Some(out) if out == why => taken_out_next(why),
                        _ => advice::server(why, code, port),
                    },
                ));
            }
            self.hand_alarms(service, server, alarms);
            if server.drift != 0 {
                alarms.push(alarm(
                    Severity::Warning,
                    format!("{target}: audits found the count of flows off by {} in all, and put it right", server.drift),
                    "report this: counts should never drift",
                ));
            }
        }
    }
}

impl Engine {
    /// Fewer servers than the operator wants. None at all has an alarm of its own.
    fn few_alarm(&self, service: &ServiceState, alarms: &mut Vec<Alarm>) {
        let (name, min_up) = (&service.config.name, service.config.min_up);
        let takers = self.takers(service).count();
        if takers == 0 || takers >= min_up as usize {
            return;
        }
        let servers = service.servers.len();
        alarms.push(alarm(
            Severity::Warning,
            format!(
                "{name} has {takers} of {servers} servers for new clients, and min_up is {min_up}"
            ),
            &format!("mb-lb-ctl list servers {name} shows which are missing, and why"),
        ));
    }

    /// What somebody set and has not undone: the file says otherwise, and the next one to look does not know it.
    fn hand_alarms(&self, service: &ServiceState, server: &ServerState, alarms: &mut Vec<Alarm>) {
        let name = format!("{}/{}", service.config.name, server.config.name);
        let hand = &server.by_hand;
        for said in hand.said() {
            let text = format!("{name}: {}, set by {}", said.words, hand.by);
            alarms.push(alarm(Severity::Warning, text, &said.next(&name)));
        }
        let target = ServerRef {
            service: service.config.name.clone(),
            server: server.config.name.clone(),
        };
        if let Some(amendment) = self.amendments.get(&target) {
            alarms.push(alarm(
                Severity::Warning,
                format!("{name} {}", amendment.words()),
                "write it into the file, then mb-lb-ctl reload; or undo it on the admin socket",
            ));
        }
    }

    /// Servers of the file that somebody has taken out.
    fn removed_alarms(&self, alarms: &mut Vec<Alarm>) {
        for (name, amendment) in &self.amendments {
            if !self.places.contains_key(name) {
                alarms.push(alarm(
                    Severity::Warning,
                    format!("{}/{} {}", name.service, name.server, amendment.words()),
                    "take it out of the file too, then mb-lb-ctl reload; or add it again on the admin socket",
                ));
            }
        }
    }
}

/// What is to be said of a certificate that ends in so many seconds. `None`: nothing yet.
fn expiry(left: i64) -> Option<String> {
    /// Let's Encrypt renews 30 days before the end: two weeks later something is wrong.
    const SOON: i64 = 14 * DAY;
    const DAY: i64 = 86_400;
    let days = |seconds: i64| match seconds / DAY {
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    Some(if left <= -DAY {
        format!("has expired {} ago", days(left.saturating_neg()))
    } else if left <= 0 {
        "has expired within the last day".to_owned()
    } else if left < DAY {
        "expires within a day".to_owned()
    } else if left < SOON {
        format!("expires in {}", days(left))
    } else {
        return None;
    })
}

/// What to look at, where a server is out for reasons that are not its own.
fn taken_out_next(why: &str) -> String {
    let storage = why.strip_prefix("storage ");
    match storage.and_then(|rest| rest.split(' ').next()) {
        Some(name) => format!("mb-lb-ctl describe {name}"),
        None => match why.split_once('/') {
            Some((service, _)) => {
                format!("mb-lb-ctl list checks {service}: what its health page says")
            }
            None => "mb-lb-ctl list checks".to_owned(),
        },
    }
}

fn alarm(severity: Severity, text: String, next: &str) -> Alarm {
    Alarm {
        severity,
        text,
        next: next.to_owned(),
    }
}

/// What is wrong with a file, on one line: the first error with its place, and how many more there are.
pub fn summary(why: &str) -> String {
    let mut lines = why.lines().map(str::trim);
    let mut text = lines.next().unwrap_or_default().to_owned();
    if let Some(place) = lines.find_map(|line| line.strip_prefix("--> ")) {
        text.push_str(&format!(" ({place})"));
    }
    let errors = why.lines().filter(|line| line.starts_with("error"));
    match errors.count() {
        0 | 1 => {}
        2 => text.push_str(", and 1 more error"),
        many => text.push_str(&format!(", and {} more errors", many - 1)),
    }
    text
}
