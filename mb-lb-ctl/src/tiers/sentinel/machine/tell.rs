//! What is told of, once.

use super::{Election, Known, Machine, Quorum, Why};
use crate::tiers::Told;
use crate::tiers::sentinel::Tally;

/// Rounds in a row until it is told that more, or fewer, Sentinels answer.
const NEWS: u32 = 3;

impl Machine {
    /// What differs from what was told last.
    pub(super) fn tell(&mut self) -> Vec<Told> {
        let Some(round) = &self.round else {
            return Vec::new();
        };
        let tally = Tally::of(round, &self.config.sentinels);
        let masters = self.masters_now(round);
        let refusing = self.refusing(round);
        let elected = self.elected().map(ToOwned::to_owned);
        // Operators know what they asked for.
        let no_master =
            matches!(&self.election, Election::Nobody(why) if !matches!(why, Why::Withheld(_)));
        // One answer that is late is no news.
        let quorum = self.quorum(&tally);
        let otherwise = match quorum == self.told.sentinels {
            true => 0,
            false => self.otherwise.saturating_add(1),
        };
        let sentinels = match otherwise >= NEWS {
            true => quorum,
            false => self.told.sentinels,
        };
        // Who answered with a refusal, and does not answer now, has not changed his mind.
        let is_good = |address: &std::net::SocketAddr| {
            let server = round.servers.get(address).map(|seen| seen.answer.is_ok());
            let sentinel = || round.sentinels.get(address).map(|seen| seen.answer.is_ok());
            server.or_else(sentinel).unwrap_or(true)
        };
        let before = self.told.refusing.iter().copied();
        let before = before.filter(|address| !is_good(address));
        let now = Known {
            elected: elected.clone().or_else(|| self.told.elected.clone()),
            no_master,
            two_masters: masters.len() > 1,
            sentinels,
            refusing: before
                .chain(refusing.iter().map(|(address, _, _)| *address))
                .collect(),
        };
        let mut told = Vec::new();
        let mut say = |kind, text| told.push(Told { kind, text });
        if let Some(to) = &elected
            && (self.told.elected.as_ref() != Some(to) || self.told.no_master)
        {
            let what = match &self.told.elected {
                Some(from) if from == to => format!("{to} is the master again"),
                Some(from) => format!("the master moved from {from} to {to}"),
                None => format!("{to} is the master"),
            };
            let summary = self.verdict.summary.as_str();
            let how = summary.strip_prefix(&format!("master {to}, "));
            say("switch", format!("{what}, {}", how.unwrap_or(summary)));
        }
        if no_master && !self.told.no_master {
            let text = format!("{}; clients are refused", self.verdict.summary);
            say("no-master", text);
        }
        if now.two_masters && !self.told.two_masters {
            say("two-masters", self.masters_in_words(&masters));
        }
        if now.sentinels != self.told.sentinels {
            let text = match now.sentinels {
                Quorum::All => format!("all {} Sentinels answer", tally.configured()),
                _ => self.few_sentinels_in_words(round, &tally),
            };
            say("sentinels", text);
        }
        for (address, kind, trouble) in &refusing {
            if !self.told.refusing.contains(address) {
                let advice = self.advice(kind, *address, trouble);
                say(
                    "password",
                    format!("{kind} at {address}: {trouble}; {advice}"),
                );
            }
        }
        (self.told, self.otherwise) = (now, otherwise);
        told
    }
}
