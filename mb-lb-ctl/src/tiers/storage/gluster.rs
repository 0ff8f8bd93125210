//! GlusterFS without its command line, which takes a lock of the whole cluster: glusterd tells where the bricks are, and
//! each brick answers for itself.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::nfs::timed;
use super::rpc::{Failure, Procedure, Reader, Writer};
use super::seen::{Kind, Part, Role, Round, Seen, Trouble};
use super::volfile::{self, Volume};
use super::wire::{Connection, Problem};

/// Bricks come and go seldom.
const REFRESH: Duration = Duration::from_secs(60);
const PORTMAP: (u32, u32) = (34_123_456, 1);
const HANDSHAKE: (u32, u32) = (14_398_633, 2);
const LONGEST_VOLFILE: usize = super::rpc::LONGEST;

/// What is kept from one round to the next.
#[derive(Debug, Default)]
pub(super) struct Known {
    volume: Option<Volume>,
    /// Of the hosts of bricks that are not given as addresses.
    addresses: BTreeMap<String, IpAddr>,
    /// Where each brick was last: it serves also while its glusterd does not.
    ports: BTreeMap<String, u16>,
    at: Option<Instant>,
}

pub(super) async fn ask(
    servers: &[IpAddr],
    port: u16,
    name: &str,
    known: &mut Known,
    limit: Duration,
) -> Round {
    let due = known.at.is_none_or(|at| at.elapsed() >= REFRESH);
    let glusterds = join_all(servers.iter().map(|&server| async move {
        let at = SocketAddr::new(server, port);
        let (seen, took) =
            timed(limit, &format!("glusterd at {at}"), glusterd(at, name, due)).await;
        (at, seen, took)
    }));
    let (glusterds, asked) = match &known.volume {
        // Who is not there does not delay the others.
        Some(volume) => {
            let (glusterds, bricks) = tokio::join!(glusterds, bricks(known, volume, port, limit));
            (glusterds, Some(bricks))
        }
        None => (glusterds.await, None),
    };
    let mut parts = Vec::new();
    let mut fresh = None;
    for (at, seen, took) in glusterds {
        let seen = seen.map(|volume| {
            fresh = fresh.take().or(volume);
            answers()
        });
        parts.push(Part {
            role: Role::Glusterd,
            name: at.ip().to_string(),
            address: at.to_string(),
            seen,
            took,
        });
    }
    let sets = |known: &Known| known.volume.as_ref().map(|volume| volume.sets.clone());
    // Of the volume whose bricks were asked.
    let (found, sets) = match asked {
        Some(found) => {
            let sets = sets(known);
            refresh(known, fresh, limit).await;
            (found, sets)
        }
        None => {
            refresh(known, fresh, limit).await;
            let found = match &known.volume {
                Some(volume) => bricks(known, volume, port, limit).await,
                None => Vec::new(),
            };
            (found, sets(known))
        }
    };
    for (part, port) in found {
        known
            .ports
            .extend(port.map(|port| (part.name.clone(), port)));
        parts.push(part);
    }
    Round {
        parts,
        sets: sets.unwrap_or_default(),
    }
}

async fn refresh(known: &mut Known, fresh: Option<Volume>, limit: Duration) {
    let Some(fresh) = fresh else {
        return;
    };
    known.at = Some(Instant::now());
    let names: Vec<_> = fresh
        .bricks
        .iter()
        .map(|brick| brick.host.as_str())
        .filter(|host| host.parse::<IpAddr>().is_err())
        .collect();
    let found = join_all(names.into_iter().map(|host| async move {
        let found = tokio::time::timeout(limit, tokio::net::lookup_host((host, 0))).await;
        let address = found.ok()?.ok()?.next()?.ip();
        Some((host.to_owned(), address))
    }));
    known.addresses.extend(found.await.into_iter().flatten());
    let there = |name: &String| fresh.bricks.iter().any(|brick| brick.name() == *name);
    known.ports.retain(|name, _| there(name));
    known.volume = Some(fresh);
}

/// Whether it answers, and the volume, if that was asked for.
async fn glusterd(at: SocketAddr, name: &str, due: bool) -> Result<Option<Volume>, Trouble> {
    let who = format!("glusterd at {at}");
    let trouble = |problem: Problem| problem.trouble(&who);
    let mut connection = Connection::open(at).await.map_err(|e| trouble(e.into()))?;
    alive(connection.null(PORTMAP.0, PORTMAP.1).await).map_err(trouble)?;
    if !due {
        return Ok(None);
    }
    let what = Procedure {
        program: HANDSHAKE.0,
        version: HANDSHAKE.1,
        procedure: 2,
    };
    let answer = connection
        .call(what, &getspec(name))
        .await
        .map_err(trouble)?;
    match volume(&answer).ok_or_else(|| trouble(Problem::Rpc(Failure::Garbage)))? {
        Ok(text) => match volfile::parse(&String::from_utf8_lossy(text)) {
            Some(volume) => Ok(Some(volume)),
            None => Err(Trouble::new(
                Kind::Garbage,
                format!("{who} tells of no brick of volume {name}"),
            )),
        },
        Err(errno) => Err(Trouble::new(
            Kind::NoVolume,
            format!("{who} knows of no volume {name} that is started (error {errno})"),
        )),
    }
}

/// Question GETSPEC, with the range of feature levels that whoever asks understands: all. Without one, glusterd takes it
/// for a client of its first days, and gives it nothing.
fn getspec(name: &str) -> Vec<u8> {
    let mut range = 2_u32.to_be_bytes().to_vec();
    for (key, value) in [("min-op-version", "1"), ("max-op-version", "2147483647")] {
        for length in [key.len(), value.len() + 1] {
            let length = u32::try_from(length).expect("these are short");
            range.extend(length.to_be_bytes());
        }
        range.extend(key.bytes().chain([0]).chain(value.bytes()).chain([0]));
    }
    Writer::default()
        .u32(0)
        .opaque(name.as_bytes())
        .opaque(&range)
        .bytes()
}

/// Whoever says that it does not do that is there.
fn alive(answer: Result<(), Problem>) -> Result<(), Problem> {
    match answer {
        Err(Problem::Rpc(failure)) if failure.is_reply() => Ok(()),
        answer => answer,
    }
}

/// Answer to GETSPEC.
fn volume(answer: &[u8]) -> Option<Result<&[u8], u32>> {
    let mut reader = Reader::new(answer);
    let length = i32::from_be_bytes(reader.u32()?.to_be_bytes());
    let errno = reader.u32()?;
    match length < 0 {
        true => Some(Err(errno)),
        false => reader.opaque(LONGEST_VOLFILE).map(Ok),
    }
}

/// All bricks at once, and the ports that they were found at.
async fn bricks(
    known: &Known,
    volume: &Volume,
    port: u16,
    limit: Duration,
) -> Vec<(Part, Option<u16>)> {
    let asked = volume.bricks.iter().map(|brick| async move {
        let name = brick.name();
        let who = format!("brick {name}");
        let ip = brick.host.parse().ok();
        let Some(ip) = ip.or_else(|| known.addresses.get(&brick.host).copied()) else {
            let text = format!("{who}: the name {} does not resolve", brick.host);
            let part = Part {
                role: Role::Brick,
                name,
                address: brick.host.clone(),
                seen: Err(Trouble::new(Kind::Unreachable, text)),
                took: Duration::ZERO,
            };
            return (part, None);
        };
        let glusterd = SocketAddr::new(ip, port);
        let asking = format!("{who}: its glusterd at {glusterd}");
        let (found, asked) = timed(limit, &asking, brick_port(glusterd, &brick.path, &who)).await;
        let last = known.ports.get(&name).copied();
        let port = match (&found, last) {
            (Ok(port), _) => Some(*port),
            (Err(trouble), _) if trouble.kind == Kind::NotRegistered => None,
            (Err(_), last) => last,
        };
        let (address, seen, took) = match (port, found) {
            (Some(port), _) => {
                let at = SocketAddr::new(ip, port);
                let who = format!("{who} at {at}");
                let (seen, took) = timed(limit, &who, brick_answer(at, &who)).await;
                (at.to_string(), seen, took)
            }
            (None, found) => (glusterd.to_string(), found.map(|_| answers()), asked),
        };
        let part = Part {
            role: Role::Brick,
            name,
            address,
            seen,
            took,
        };
        (part, port)
    });
    join_all(asked).await
}

fn answers() -> Seen {
    Seen::Answers("answers".to_owned())
}

/// Where its glusterd says that a brick is.
async fn brick_port(at: SocketAddr, path: &str, who: &str) -> Result<u16, Trouble> {
    let glusterd = format!("{who}: its glusterd at {at}");
    let trouble = |problem: Problem| problem.trouble(&glusterd);
    let mut connection = Connection::open(at).await.map_err(|e| trouble(e.into()))?;
    let what = Procedure {
        program: PORTMAP.0,
        version: PORTMAP.1,
        procedure: 1,
    };
    let question = Writer::default().opaque(path.as_bytes()).bytes();
    let answer = connection.call(what, &question).await.map_err(trouble)?;
    match port_of(&answer).ok_or_else(|| trouble(Problem::Rpc(Failure::Garbage)))? {
        Some(port) => Ok(port),
        None => Err(Trouble::new(
            Kind::NotRegistered,
            format!("{who} is not running, says its glusterd"),
        )),
    }
}

async fn brick_answer(at: SocketAddr, who: &str) -> Result<Seen, Trouble> {
    let trouble = |problem: Problem| problem.trouble(who);
    let mut connection = Connection::open(at).await.map_err(|e| trouble(e.into()))?;
    alive(connection.null(HANDSHAKE.0, HANDSHAKE.1).await).map_err(trouble)?;
    Ok(answers())
}

/// Answer to PORTBYBRICK. `None` inside: it has none.
fn port_of(answer: &[u8]) -> Option<Option<u16>> {
    let mut reader = Reader::new(answer);
    let failed = reader.u32()? != 0;
    let _errno = reader.u32()?;
    let _status = reader.u32()?;
    let port = u16::try_from(reader.u32()?).ok()?;
    Some((!failed && port != 0).then_some(port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn answers_of_glusterd_are_read() {
        let good = Writer::default()
            .u32(6)
            .u32(0)
            .opaque(b"volume")
            .opaque(&[])
            .bytes();
        assert_eq!(volume(&good), Some(Ok(&b"volume"[..])));
        let bad = Writer::default()
            .u32(u32::MAX)
            .u32(2)
            .opaque(&[])
            .opaque(&[])
            .bytes();
        assert_eq!(volume(&bad), Some(Err(2)));
        let port = |failed: u32, port: u32| {
            port_of(
                &Writer::default()
                    .u32(failed)
                    .u32(0)
                    .u32(1)
                    .u32(port)
                    .bytes(),
            )
        };
        assert_eq!(port(0, 49_152), Some(Some(49_152)));
        assert_eq!(port(0, 0), Some(None));
        assert_eq!(port(u32::MAX, 0), Some(None));
        assert_eq!(port(0, 70_000), None);
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = (volume(&bytes), port_of(&bytes));
        }
    }
}
