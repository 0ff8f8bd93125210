//! What the kernel has counted, taken in.

use std::time::Duration;

use super::core::Engine;
use super::suspect::is_silent;
use super::{Action, Now};
use crate::dataplane::Report;

impl Engine {
    pub(super) fn on_counted(&mut self, report: Report, now: Now, actions: &mut Vec<Action>) {
        let seconds = self
            .counted_at
            .map_or(0.0, |at| now.since_start.saturating_sub(at).as_secs_f64());
        let mut told = Vec::new();
        let mut suspects = Vec::new();
        let services = self.services.iter_mut();
        for service in services.filter(|service| service.config.forward.is_in_kernel()) {
            let is_checked = service.config.check.is_some();
            for server in &mut service.servers {
                let Some(&reading) = report.servers.get(&server.slot.index) else {
                    continue;
                };
                let opened = reading.opened.saturating_sub(server.reading.opened);
                if std::mem::replace(&mut server.counted, true) && seconds > 0.0 {
                    server.rate = (opened as f64 / seconds).round() as u64;
                    server.rate_max = server.rate_max.max(server.rate);
                    if opened > 0 {
                        server.last_flow = Some(now.since_start);
                    }
                }
                if is_silent(&server.reading, &reading)
                    && server.suspect(is_checked, now.since_start)
                {
                    suspects.push(format!("{}/{}", service.config.name, server.config.name));
                }
                server.active_max = server.active_max.max(reading.active);
                if reading.drift != 0 {
                    server.drift += reading.drift;
                    told.push((
                        format!("{}/{}", service.config.name, server.config.name),
                        put_right(reading.drift),
                    ));
                }
                server.reading = reading;
            }
        }
        for (index, record) in self.indices.retired() {
            let drift = report.servers.get(&index).map_or(0, |server| server.drift);
            if drift != 0 {
                let name = self.name_of(record).map_or_else(
                    || format!("#{index}"),
                    |name| format!("{}/{}", name.service, name.server),
                );
                told.push((name, put_right(drift)));
            }
        }
        for (subject, text) in told {
            self.record(now, &subject, "drift", text, actions);
        }
        self.tell_suspects(suspects, now, actions);
        let retired: Vec<u32> = self
            .indices
            .retired()
            .map(|(index, _)| index)
            .filter(|_| report.swept)
            .collect();
        for index in retired {
            if let Some(reading) = report.servers.get(&index) {
                let flows = u64::from(reading.audited)
                    + u64::from(reading.uncounted)
                    + reading.pending
                    + reading.active.unsigned_abs();
                self.indices.swept(index, flows);
            }
        }
        for repaired in &report.repaired {
            self.record(
                now,
                "",
                "repair",
                format!("a map differed from what it should be: {repaired}"),
                actions,
            );
        }
        if report.table_full > self.report.table_full && self.counted_at.is_some() {
            if self.table_full_at.is_none() {
                let text = "the flow table is full: new flows are steered without state".to_owned();
                self.record(now, "", "table-full", text, actions);
            }
            self.table_full_at = Some(now.since_start);
        } else if self
            .table_full_at
            .is_some_and(|at| now.since_start.saturating_sub(at) > Duration::from_secs(60))
        {
            self.table_full_at = None;
        }
        if self.vias.error.is_some() {
            // A module may have been loaded meanwhile.
            self.vias.ask_again();
        }
        if !self.mute.is_empty() {
            // What listens there may have gone.
            self.sent.replies = None;
        }
        if self.apply_error.is_some() {
            // Tried again with every report, which comes once a second.
            self.sent.desired = None;
        }
        if self.attach_error.is_some() || report.detached {
            // What is in the way may have gone, or what was there is.
            actions.push(Action::Attach(Box::new(self.config.clone())));
        }
        self.counted_at = Some(now.since_start);
        self.report = report;
    }

    /// The flow table refused an insert within the last minute.
    pub(super) const fn table_is_full(&self) -> bool {
        self.table_full_at.is_some()
    }
}

fn put_right(drift: i64) -> String {
    format!("the count was off by {drift} and was put right")
}
