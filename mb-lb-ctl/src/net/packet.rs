//! Packet sockets (packet(7)) on one interface, and the checksum of ICMPv6.

use std::io;
use std::net::Ipv6Addr;
use std::os::fd::AsRawFd as _;

use socket2::{Domain, SockAddr, SockFilter, Socket, Type};

/// A socket that sends and receives nothing.
pub(super) fn sender(ifindex: u32) -> io::Result<Socket> {
    let socket = open()?;
    bind(&socket, ifindex, 0)?;
    Ok(socket)
}

/// A socket that receives the whole frames that the filter lets through, and none that this host sends.
pub(super) fn listener(ifindex: u32, filter: &[SockFilter]) -> io::Result<Socket> {
    let socket = open()?;
    ignore_outgoing(&socket)?;
    // Before it is bound: from then on it receives.
    socket.attach_filter(filter)?;
    bind(&socket, ifindex, libc::ETH_P_ALL as u16)?;
    Ok(socket)
}

/// Protocol 0 receives nothing: with another one the socket would get frames of all interfaces until it is
/// bound to one.
fn open() -> io::Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn bind(socket: &Socket, ifindex: u32, protocol: u16) -> io::Result<()> {
    let ifindex = i32::try_from(ifindex).map_err(io::Error::other)?;
    let fill = |storage: *mut socket2::SockAddrStorage, length: *mut libc::socklen_t| {
        let address = storage.cast::<libc::sockaddr_ll>();
        // SAFETY: `storage` and `length` are valid for writing, and the storage is large enough and aligned
        // for addresses of every family.
        unsafe {
            (*address).sll_family = libc::AF_PACKET as u16;
            (*address).sll_protocol = protocol.to_be();
            (*address).sll_ifindex = ifindex;
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        }
        Ok(())
    };
    // SAFETY: `fill` makes it an address of the family AF_PACKET, with its length.
    let ((), address) = unsafe { SockAddr::try_init(fill) }?;
    socket.bind(&address)
}

/// Otherwise the kernel would clone every packet that leaves by the interface. Kernel 4.20.
fn ignore_outgoing(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: pointer and length are those of a live integer.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_IGNORE_OUTGOING,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    (result == 0)
        .then_some(())
        .ok_or_else(io::Error::last_os_error)
}

/// Frames that found the socket's queue full since the last call.
pub(super) fn missed(socket: &Socket) -> io::Result<u32> {
    let mut counts = libc::tpacket_stats {
        tp_packets: 0,
        tp_drops: 0,
    };
    let mut length = size_of_val(&counts) as libc::socklen_t;
    // SAFETY: pointer and length are those of a live structure of two integers.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut counts).cast(),
            &raw mut length,
        )
    };
    (result == 0)
        .then_some(counts.tp_drops)
        .ok_or_else(io::Error::last_os_error)
}

/// The checksum of an ICMPv6 message with its pseudo header (RFC 4443 section 2.3, RFC 8200 section 8.1): to
/// be sent, where the checksum in the message is zero; zero, where the one in it is right.
pub(super) fn icmpv6_checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u64 {
        let words = bytes.chunks(2).map(|pair| {
            let low = pair.get(1).copied().unwrap_or(0);
            u64::from(u16::from_be_bytes([pair[0], low]))
        });
        words.sum()
    };
    let mut sum = words(&source.octets())
        + words(&destination.octets())
        + message.len() as u64
        + libc::IPPROTO_ICMPV6 as u64
        + words(message);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
