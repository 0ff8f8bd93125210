//! What is told of, once.

use super::{Election, Known, Machine, Quorum, Why};
use crate::tiers::Told;
use crate::tiers::sentinel::Tally;

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
        let now = Known {
            elected: elected.clone().or_else(|| self.told.elected.clone()),
            no_master,
            two_masters: masters.len() > 1,
            sentinels: self.quorum(&tally),
            refusing: refusing.iter().map(|(address, _, _)| *address).collect(),
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
        self.told = now;
        told
    }
}
