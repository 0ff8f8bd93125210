//! Listening on addresses that may come later: on the standby the VIP is not there (ip(7), IP_FREEBIND).

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// A socket that does not block. `shared`: others may listen there too, and the kernel divides the clients between them
/// (SO_REUSEPORT, socket(7)).
///
/// # Errors
/// The address cannot be had: somebody else listens there, most likely.
pub fn listen(address: SocketAddr, backlog: i32, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    match address {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}
