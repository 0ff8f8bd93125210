//! Checks through the VIP: the socket that they use, and what it means when they fail.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout_at;

use super::Finding;
use super::line::Limit;
use crate::engine::ThroughVip;

/// Connects to the server's address by packets that carry the VIP in its place.
///
/// Bound first, to a port that the kernel picks: ports that it gives when it connects may be shared by connections to other
/// servers, and by its port an answer is known.
pub(super) async fn connect(address: SocketAddr, via: ThroughVip) -> io::Result<TcpStream> {
    let (socket, any): (_, SocketAddr) = match address {
        SocketAddr::V4(_) => (TcpSocket::new_v4()?, ([0, 0, 0, 0], 0).into()),
        SocketAddr::V6(_) => (TcpSocket::new_v6()?, ([0_u16; 8], 0).into()),
    };
    let options = SockRef::from(&socket);
    options.set_mark(via.mark)?;
    // Ended by RST: the port is one of few that can be bound, and would wait for a minute otherwise.
    options.set_linger(Some(Duration::ZERO))?;
    socket.bind(any)?;
    socket.connect(address).await
}

/// Why there was no connection through the VIP: the server itself, or only what belongs to the VIP. Half of the time that was
/// given is for this.
pub(super) async fn explain(
    found: Finding,
    address: SocketAddr,
    via: ThroughVip,
    limit: Limit,
) -> Finding {
    if found.is_inconclusive() {
        return found;
    }
    let own = timeout_at(limit.deadline, TcpStream::connect(address)).await;
    let (ip, port, vip) = (address.ip(), address.port(), via.vip);
    match own {
        // It is the server as a whole.
        Err(_) | Ok(Err(_)) => found,
        Ok(Ok(_)) if found.is_refused() => Finding::refused(
            "L4CON",
            format!(
                "refuses {vip} port {port} and accepts {ip}: its service is not bound to the VIP"
            ),
        ),
        Ok(Ok(_)) => Finding::failure(
            "L4TOUT",
            format!(
                "does not answer for {vip} port {port}, and accepts {ip}: the VIP is not on its lo"
            ),
        ),
    }
}
