//! One connection per request, with a full handshake or a resumed one.

use anyhow::{Context as _, Result, anyhow};
use rustls::HandshakeKind;

use super::client::{Client, Group};
use super::rig::{Front, Rig, Side};

/// At a time.
const CLIENTS: u32 = 8;

/// CPU seconds of a side for so many connections; [`CLIENTS`] must divide `count`.
pub fn seconds(
    rig: &mut Rig<'_>,
    side: Side,
    front: Front,
    group: Group,
    kind: HandshakeKind,
    count: u32,
) -> Result<f64> {
    let to = rig.address(side, front);
    let resumes = kind == HandshakeKind::Resumed;
    let clients = (0..CLIENTS)
        .map(|_| Client::new(to, group, resumes))
        .collect::<Result<Vec<_>>>()?;
    // What is resumed has to be begun, and then every connection brings the ticket of the next.
    rig.lab.client().enter(|| {
        clients
            .iter()
            .try_for_each(|client| client.visit(HandshakeKind::Full))
    })?;
    rig.seconds(side, |rig| {
        rig.lab
            .client()
            .enter(|| all(&clients, kind, count / CLIENTS))
    })
}

fn all(clients: &[Client], kind: HandshakeKind, each: u32) -> Result<()> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = clients
            .iter()
            .map(|client| scope.spawn(move || (0..each).try_for_each(|_| client.visit(kind))))
            .collect();
        threads.into_iter().try_for_each(|thread| {
            thread
                .join()
                .map_err(|_| anyhow!("a client has panicked"))?
                .context("a connection")
        })
    })
}
