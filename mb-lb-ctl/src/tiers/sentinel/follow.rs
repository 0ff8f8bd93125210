//! The task that asks: all Sentinels and all servers at once, once per interval.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::ask::{Voter, role};
use super::line::{Access, Line};
use super::subscribe::subscribe;
use super::{Named, Round, Says, Tally};
use crate::config;
use crate::tiers::{self, Reports};

/// From one round to the next while the master that a majority names does not say that it is one, or they are at odds.
const HASTE: Duration = Duration::from_millis(100);

/// From one round to the next at the least, whatever Sentinels publish.
const BREATH: Duration = Duration::from_millis(50);

/// Asks once per interval, at once when a Sentinel publishes something, and every 100 ms while there is no master. Until
/// it is aborted, or nobody wants its rounds.
pub async fn follow(config: config::Sentinel, reports: Reports) {
    let to_sentinels = Access {
        user: config.sentinel_user.clone(),
        password: config.sentinel_password.clone(),
        tls: config.sentinel_tls.clone(),
    };
    let to_servers = Access {
        user: config.user.clone(),
        password: config.password.clone(),
        tls: config.tls.clone(),
    };
    let heard = Arc::new(Notify::new());
    // Dropped with this task, and they end with it.
    let mut subscriptions = JoinSet::new();
    for address in &config.sentinels {
        subscriptions.spawn(subscribe(
            *address,
            to_sentinels.clone(),
            config.timeout,
            Arc::clone(&heard),
        ));
    }
    let voter = |address: &SocketAddr| {
        let line = Line::new(*address, to_sentinels.clone());
        (*address, Voter::new(line))
    };
    let mut voters: BTreeMap<SocketAddr, Voter> = config.sentinels.iter().map(voter).collect();
    let line = |server: &config::TierServer| {
        let line = Line::new(server.address, to_servers.clone());
        (server.address, line)
    };
    let mut servers: BTreeMap<SocketAddr, Line> = config.servers.iter().map(line).collect();
    loop {
        let began = Instant::now();
        let round = ask(&config, &mut voters, &mut servers).await;
        let interval = match is_settled(&round, &config) {
            true => config.interval,
            false => config.interval.min(HASTE),
        };
        if !reports.send(tiers::Round::Sentinel(round)).await {
            return;
        }
        sleep(BREATH).await;
        tokio::select! {
            () = sleep_until(began + interval) => {}
            () = heard.notified() => {}
        }
    }
}

async fn ask(
    config: &config::Sentinel,
    voters: &mut BTreeMap<SocketAddr, Voter>,
    servers: &mut BTreeMap<SocketAddr, Line>,
) -> Round {
    let votes =
        join_all(voters.iter_mut().map(async |(address, voter)| {
            (*address, voter.ask(&config.master, config.timeout).await)
        }));
    let roles = join_all(
        servers
            .iter_mut()
            .map(async |(address, line)| (*address, role(line, config.timeout).await)),
    );
    let (votes, roles) = tokio::join!(votes, roles);
    Round {
        sentinels: votes.into_iter().collect(),
        servers: roles.into_iter().collect(),
    }
}

/// Whether the next round can wait: a majority names a master, and it says so.
fn is_settled(round: &Round, config: &config::Sentinel) -> bool {
    let tally = Tally::of(round, &config.sentinels);
    match tally.winner() {
        Some(Named::Address(address)) => {
            let seen = round.servers.get(address).map(|seen| &seen.answer);
            matches!(seen, Some(Ok(Says::Master { .. })))
        }
        Some(Named::Host(_)) => true,
        // With too few that answer, asking again soon changes nothing.
        None => !tally.has_majority(),
    }
}
