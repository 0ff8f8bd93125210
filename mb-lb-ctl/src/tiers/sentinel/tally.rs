//! Votes, counted.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{Named, Round, Vote};

/// Votes that decide among this many configured Sentinels, of which some may not have answered.
pub const fn majority(configured: usize) -> usize {
    configured / 2 + 1
}

/// How the votes of the configured Sentinels are divided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    configured: usize,
    parties: BTreeMap<Named, Party>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Party {
    votes: usize,
    /// Of Sentinels in tilt.
    tilted: usize,
    epoch: u64,
}

impl Tally {
    pub fn of(round: &Round, configured: &[SocketAddr]) -> Self {
        let mut tally = Self {
            configured: configured.len(),
            parties: BTreeMap::new(),
        };
        for address in configured {
            let answer = round.sentinels.get(address).map(|seen| &seen.answer);
            if let Some(Ok(vote)) = answer {
                tally.add(vote);
            }
        }
        tally
    }

    fn add(&mut self, vote: &Vote) {
        let party = self.parties.entry(vote.names.clone()).or_default();
        party.votes += 1;
        party.tilted += usize::from(vote.tilt == Some(true));
        party.epoch = party.epoch.max(vote.epoch);
    }

    /// Sentinels that answered.
    pub fn answered(&self) -> usize {
        self.parties.values().map(|party| party.votes).sum()
    }

    pub const fn configured(&self) -> usize {
        self.configured
    }

    /// There are enough of them for a failover.
    pub fn has_majority(&self) -> bool {
        self.answered() >= majority(self.configured)
    }

    /// What a majority of the configured Sentinels names.
    pub fn winner(&self) -> Option<&Named> {
        self.parties
            .iter()
            .find(|(_, party)| party.votes >= majority(self.configured))
            .map(|(named, _)| named)
    }

    /// So does a majority of Sentinels that trust their clocks: what one in tilt says may be old.
    pub fn is_fresh(&self, named: &Named) -> bool {
        self.parties
            .get(named)
            .is_some_and(|party| party.votes - party.tilted >= majority(self.configured))
    }

    pub fn votes(&self, named: &Named) -> usize {
        self.parties.get(named).map_or(0, |party| party.votes)
    }

    /// The highest epoch with which it is named.
    pub fn epoch(&self, named: &Named) -> Option<u64> {
        self.parties.get(named).map(|party| party.epoch)
    }

    /// Everything that is named, with its epoch.
    pub fn named(&self) -> impl Iterator<Item = (&Named, u64)> {
        self.parties
            .iter()
            .map(|(named, party)| (named, party.epoch))
    }
}
