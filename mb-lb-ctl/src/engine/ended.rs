//! Sessions of a server that an operator ends.
//!
//! In the kernel a flow belongs to an index of a generation. To end the flows of a server it gets another index, and what it had
//! stays behind as that of a removed server whose flows are reset: the next packet of each is answered with RST, and its count
//! goes with it, as everywhere.

use mb_lb_common::{SERVER_RESET, Server as Record};

use super::core::Engine;
use super::server::{full_name, name_hash};
use super::{Action, Now, Refusal, ServerRef};
use crate::dataplane::ServerReading;

impl Engine {
    /// Ends the sessions that a server has now, whatever state it is in; new ones come as before.
    ///
    /// # Errors
    /// There is no such server, or the kernel has no room for another index.
    pub(super) fn end_sessions(
        &mut self,
        target: &ServerRef,
        by: &str,
        now: Now,
        actions: &mut Vec<Action>,
    ) -> Result<String, Refusal> {
        let position = self.places.get(target).copied();
        let (at, server) = position.ok_or(Refusal::NoSuchServer)?;
        let what = match self.is_proxy(&self.services[at]) {
            true => "requests",
            false => "sessions",
        };
        let had = self.services[at].servers[server].reading.active.max(0);
        if self.services[at].config.forward.is_in_kernel() {
            self.renew(at, server)?;
        }
        let state = &mut self.services[at].servers[server];
        state.ended += 1;
        let subject = format!("{}/{}", target.service, target.server);
        let text = format!("{had} {what} ended by {by}");
        self.record(now, &subject, "ended", text.clone(), actions);
        Ok(format!("{subject}: {text}"))
    }

    /// A connection of a client has ended because an operator wanted that.
    pub(super) fn on_session_ended(
        &mut self,
        subject: &str,
        by: &str,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        self.record(
            now,
            subject,
            "ended",
            format!("1 session ended by {by}"),
            actions,
        );
    }

    /// Gives a server another index, and has the flows of the old one reset.
    fn renew(&mut self, at: usize, server: usize) -> Result<(), Refusal> {
        let service = &self.services[at];
        let state = &service.servers[server];
        let mut record = self.last_record(service, state);
        let flags = Record::flags_of(record.link) | SERVER_RESET;
        record.link = Record::link(Record::mac_of(record.link), flags);
        // Under another name, so that neither a reload nor the next process takes it for the server itself.
        let name = full_name(&service.config, &state.config);
        let old = format!("{name}@{}.{}", state.slot.index, state.slot.generation);
        record.name_hash = name_hash(&old);
        let (index, hash) = (state.slot.index, state.name_hash);
        let (slot, _) = self.indices.take(hash).ok_or(Refusal::NoRoom)?;
        self.indices.retire(index, record);
        self.full_names.insert(record.name_hash, old);
        let state = &mut self.services[at].servers[server];
        state.slot = slot;
        state.reading = ServerReading::default();
        state.counted = false;
        Ok(())
    }
}
