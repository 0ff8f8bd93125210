//! What is asked in a round.

use std::future::Future;
use std::time::Duration;

use redis::{Cmd, cmd};
use tokio::time::{Instant, timeout};

use super::line::Line;
use super::{Says, Seen, Trouble, Vote, reply};

/// `CKQUORUM` is asked once in this many rounds: what it says changes seldom.
const QUORUM_ROUNDS: u32 = 10;

/// A Sentinel.
#[derive(Debug)]
pub(super) struct Voter {
    line: Line,
    rounds: u32,
    can_fail_over: Option<Result<(), String>>,
}

impl Voter {
    pub(super) const fn new(line: Line) -> Self {
        Self {
            line,
            rounds: 0,
            can_fail_over: None,
        }
    }

    pub(super) async fn ask(&mut self, master: &str, limit: Duration) -> Seen<Vote> {
        seen(limit, self.vote(master)).await
    }

    async fn vote(&mut self, master: &str) -> Result<Vote, Trouble> {
        let mut commands = vec![
            sentinel("GET-MASTER-ADDR-BY-NAME", master),
            sentinel("MASTER", master),
            info("sentinel"),
        ];
        if self.rounds.is_multiple_of(QUORUM_ROUNDS) {
            commands.push(sentinel("CKQUORUM", master));
        }
        self.rounds = self.rounds.wrapping_add(1);
        let values = self.line.ask(&commands).await?;
        let [named, seen, info, rest @ ..] = values.as_slice() else {
            return Err(Trouble::Garbage("fewer replies than questions".to_owned()));
        };
        let names = reply::named(named)?;
        let seen = reply::master(seen)?;
        if let [quorum] = rest {
            self.can_fail_over = reply::quorum(quorum);
        }
        Ok(Vote {
            names,
            epoch: seen.epoch,
            flags: seen.flags,
            others: seen.others,
            quorum: seen.quorum,
            tilt: reply::tilt(info),
            can_fail_over: self.can_fail_over.clone(),
        })
    }
}

/// What a server says that it is, within this time.
pub(super) async fn role(line: &mut Line, limit: Duration) -> Seen<Says> {
    let asking = async {
        // A server that loads its data set tells its role, and serves nobody: PING finds it.
        let values = line.ask(&[cmd("PING"), cmd("ROLE")]).await?;
        let [pong, role] = values.as_slice() else {
            return Err(Trouble::Garbage("fewer replies than questions".to_owned()));
        };
        reply::pong(pong)?;
        let Err(Trouble::NoPermission(what)) = reply::role(role) else {
            return reply::role(role);
        };
        let values = line.ask(&[info("replication")]).await?;
        match values.first().map(reply::info_replication) {
            // The advice is for the command that is cheaper.
            None | Some(Err(Trouble::NoPermission(_))) => Err(Trouble::NoPermission(what)),
            Some(said) => said,
        }
    };
    seen(limit, asking).await
}

async fn seen<T>(limit: Duration, asking: impl Future<Output = Result<T, Trouble>>) -> Seen<T> {
    let began = Instant::now();
    let answer = timeout(limit, asking).await;
    Seen {
        answer: answer.unwrap_or(Err(Trouble::NotAnswering)),
        took: began.elapsed(),
    }
}

fn sentinel(what: &str, master: &str) -> Cmd {
    let mut command = cmd("SENTINEL");
    command.arg(what).arg(master);
    command
}

fn info(section: &str) -> Cmd {
    let mut command = cmd("INFO");
    command.arg(section);
    command
}
