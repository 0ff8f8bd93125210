//! Services with `forward = "proxy"`: a connection of the client, one to the server, and bytes both ways. For servers that
//! the XDP program cannot reach, because a router is in between.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::admitted::{Admitted, Descriptors};
use super::exchange::canonical;
use super::io::reset;
use super::queue::Place;
use super::table::{InForce, Listen, Relay};
use super::worker::Worker;
use super::{proxy_header, tunnel};
use crate::config::OnDown;

/// For the text that is said where no server is.
const SAY: Duration = Duration::from_secs(2);

/// Serves what was accepted.
pub async fn connection(
    mut client: TcpStream,
    peer: SocketAddr,
    listen: Listen,
    worker: Rc<Worker>,
) {
    let peer = canonical(peer);
    let in_force = listen.proxy.in_force.load_full();
    let Some(relay) = &in_force.relay else {
        return;
    };
    let local = client.local_addr().unwrap_or(listen.address);
    let Some(admitted) = Admitted::new(&listen, &worker, (peer, local)) else {
        reset(&client);
        return;
    };
    let session = admitted.session();
    // Without it the last bytes of a word wait for the acknowledgement of the first.
    let _set = client.set_nodelay(true);
    keep_alive(&client);
    let reached = tokio::select! {
        biased;
        () = session.ends() => {
            reset(&client);
            return;
        }
        reached = reach(&listen, &in_force, &worker, peer, local) => reached,
    };
    let Some((at, place, server, _held)) = reached else {
        listen.proxy.stats.refuse("no_server");
        refuse(&mut client, relay).await;
        return;
    };
    let proxy = Arc::clone(&listen.proxy);
    let at = &in_force.servers[at];
    let visit = session.visit(at);
    let gone = async {
        let keeps = relay.on_down == OnDown::Keep;
        let mut turns = proxy.turns();
        while keeps || proxy.serves(at) {
            if turns.changed().await.is_err() {
                return;
            }
        }
    };
    let retired = async {
        if !relay.is_tier {
            return std::future::pending().await;
        }
        proxy.retired().await;
    };
    let stop = async {
        tokio::select! {
            () = gone => {}
            // An operator has had enough of it, or of all that its server has.
            () = session.ends() => {}
            // Nobody would say any more which server is the right one.
            () = retired => {}
            // A mail that is under way has until then.
            () = worker.closing() => {}
        }
    };
    let carried = tunnel::carry(&client, &server, relay.silence, &worker, stop).await;
    at.stats.bytes.add(carried.to_client + carried.to_server);
    if carried.is_cut {
        // So that a client that waits for an answer tries again at once.
        reset(&client);
        reset(&server);
    }
    drop((place, visit));
}

/// A server that takes the connection.
async fn reach(
    listen: &Listen,
    in_force: &InForce,
    worker: &Rc<Worker>,
    peer: SocketAddr,
    local: SocketAddr,
) -> Option<(usize, Place, TcpStream, Descriptors)> {
    let servers = &in_force.servers;
    let mut tried = Vec::new();
    for _ in 0..=usize::from(in_force.config.retries) {
        let balance = in_force.balance.load_full();
        let at = balance.choose(
            peer.ip(),
            || fastrand::u64(..),
            |at| servers[at].stats.load(),
            |at| {
                let has_room = || {
                    listen
                        .proxy
                        .queue
                        .has_room(&servers[at].stats, balance.most(at), true)
                };
                !tried.contains(&at) && has_room()
            },
        )?;
        let server = &servers[at];
        let most = balance.most(at);
        let Some(place) = Place::take(&server.stats, &listen.proxy.queue, most) else {
            continue;
        };
        let mut address = server.config.address;
        if address.port() == 0 {
            address.set_port(local.port());
        }
        let Some(held) = Descriptors::take(worker, 1) else {
            listen.proxy.stats.refuse("descriptors");
            return None;
        };
        let limit = in_force.config.timeouts.connect;
        if let Ok(Ok(mut stream)) = timeout(limit, TcpStream::connect(address)).await {
            let _set = stream.set_nodelay(true);
            keep_alive(&stream);
            let said = match server.config.send_proxy {
                Some(version) => {
                    let header = proxy_header::encode(version, peer, local);
                    stream.write_all(&header).await
                }
                None => Ok(()),
            };
            if said.is_ok() {
                return Some((at, place, stream, held));
            }
        }
        server.stats.connect_errors.add(1);
        server.stats.retries.add(1);
        tried.push(at);
    }
    None
}

/// Who is gone without a word is noticed after two minutes of silence.
fn keep_alive(stream: &TcpStream) {
    let how = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    let _set = SockRef::from(stream).set_tcp_keepalive(&how);
}

async fn refuse(client: &mut TcpStream, relay: &Relay) {
    match &relay.no_server {
        Some(text) => {
            let line = format!("{text}\r\n");
            // Who does not listen does not hear it.
            let _said = timeout(SAY, client.write_all(line.as_bytes())).await;
            tunnel::close(client, SAY).await;
        }
        None => reset(client),
    }
}
