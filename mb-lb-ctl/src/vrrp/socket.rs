//! The sockets of one virtual router: adverts in and out, on one interface.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;

use super::packet::{self, Advert, Coverage, Ends, GROUP4, GROUP6, PROTOCOL};

/// Longest packet that is read: 255 addresses of IPv6 do not fit a frame, so no advert is longer.
const LONGEST: usize = 2048;
/// Class selector 6, as for other protocols that keep the network going (RFC 9568 says nothing of it).
const CLASS: u32 = 0xc0;

/// A packet of protocol 112, whatever it holds.
#[derive(Clone, Debug)]
pub struct Received {
    pub message: Vec<u8>,
    pub ends: Ends,
    /// TTL or hop limit.
    pub ttl: u8,
}

/// Two raw sockets: one hears, the other speaks, so that what is spoken is never heard.
#[derive(Debug)]
pub struct Sockets {
    receiver: AsyncFd<Socket>,
    sender: Socket,
    source: IpAddr,
    destinations: Vec<IpAddr>,
    /// Scope of link-local addresses.
    ifindex: u32,
}

impl Sockets {
    /// On the interface of that name and index. `source` is an address of it, link-local where it is IPv6. Without
    /// `unicast_peers` adverts go to the group. To be called within a tokio runtime.
    ///
    /// # Errors
    /// The kernel's; raw sockets need CAP_NET_RAW.
    pub fn open(
        interface: &str,
        ifindex: u32,
        source: IpAddr,
        unicast_peers: &[IpAddr],
    ) -> io::Result<Self> {
        let domain = match source {
            IpAddr::V4(_) => Domain::IPV4,
            IpAddr::V6(_) => Domain::IPV6,
        };
        let protocol = Some(Protocol::from(i32::from(PROTOCOL)));
        let raw = || -> io::Result<Socket> {
            let socket = Socket::new(domain, Type::RAW.nonblocking(), protocol)?;
            socket.bind_device(Some(interface.as_bytes()))?;
            Ok(socket)
        };
        let receiver = raw()?;
        let sender = raw()?;
        // It only speaks: nothing is to wait in it.
        sender.set_recv_buffer_size(0)?;
        let destinations = match source {
            IpAddr::V4(v4) => {
                open4(&receiver, &sender, ifindex, v4)?;
                vec![GROUP4.into()]
            }
            IpAddr::V6(v6) => {
                open6(&receiver, &sender, ifindex, v6)?;
                vec![GROUP6.into()]
            }
        };
        // SAFETY: the socket owns its descriptor and keeps it open as long as it lives.
        let receiver = unsafe { AsyncFd::register(receiver) }?;
        Ok(Self {
            receiver,
            sender,
            source,
            destinations: if unicast_peers.is_empty() {
                destinations
            } else {
                unicast_peers.to_vec()
            },
            ifindex,
        })
    }

    /// Sends an advert to the group, or to each unicast peer.
    ///
    /// # Errors
    /// Of the first peer that it could not be sent to; the others have it.
    pub fn send(&self, advert: &Advert, coverage: Coverage) -> io::Result<()> {
        let mut failed = None;
        for &destination in &self.destinations {
            let ends = Ends {
                source: self.source,
                destination,
            };
            let to = match destination {
                IpAddr::V4(v4) => SocketAddr::from((v4, 0)),
                IpAddr::V6(v6) => SocketAddrV6::new(v6, 0, 0, self.ifindex).into(),
            };
            if let Err(error) = self
                .sender
                .send_to(&advert.encode(ends, coverage), &to.into())
            {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The next packet. Safe to cancel. One that is no IP packet is skipped.
    ///
    /// # Errors
    /// The kernel's, e.g. `ENETDOWN` when the interface goes down.
    pub async fn receive(&self) -> io::Result<Received> {
        loop {
            let mut ready = self.receiver.readable().await?;
            let read = ready.try_io(|socket| match self.source {
                IpAddr::V4(_) => receive4(socket.get_ref()),
                IpAddr::V6(_) => receive6(socket.get_ref()),
            });
            match read {
                Ok(Ok(Some(received))) => return Ok(received),
                Ok(Err(error)) => return Err(error),
                Ok(Ok(None)) | Err(_) => {}
            }
        }
    }
}

fn open4(receiver: &Socket, sender: &Socket, ifindex: u32, source: Ipv4Addr) -> io::Result<()> {
    // Only the groups joined here: by default a socket hears those that anybody on this host has joined.
    receiver.set_multicast_all_v4(false)?;
    receiver.join_multicast_v4_n(&GROUP4, &InterfaceIndexOrAddress::Index(ifindex))?;
    sender.set_multicast_if_v4(&source)?;
    sender.set_multicast_loop_v4(false)?;
    sender.set_multicast_ttl_v4(u32::from(packet::TTL))?;
    sender.set_ttl_v4(u32::from(packet::TTL))?;
    sender.set_tos_v4(CLASS)?;
    // Bound: a VIP that an earlier process left could be the first address otherwise.
    sender.bind(&SocketAddr::from((source, 0)).into())
}

fn open6(receiver: &Socket, sender: &Socket, ifindex: u32, source: Ipv6Addr) -> io::Result<()> {
    receiver.join_multicast_v6(&GROUP6, ifindex)?;
    receiver.set_recv_hoplimit_v6(true)?;
    nix::sys::socket::setsockopt(
        receiver,
        nix::sys::socket::sockopt::Ipv6RecvPacketInfo,
        &true,
    )?;
    sender.set_multicast_if_v6(ifindex)?;
    sender.set_multicast_loop_v6(false)?;
    sender.set_multicast_hops_v6(u32::from(packet::TTL))?;
    sender.set_unicast_hops_v6(u32::from(packet::TTL))?;
    sender.set_tclass_v6(CLASS)?;
    sender.bind(&SocketAddr::from(SocketAddrV6::new(source, 0, 0, ifindex)).into())
}

/// `None`: not a whole IP packet.
fn receive4(socket: &Socket) -> io::Result<Option<Received>> {
    let mut buffer = [0; LONGEST];
    // SAFETY: `u8` is as large as `MaybeUninit<u8>`, and the kernel only writes initialised bytes.
    let room = unsafe { &mut *(&raw mut buffer).cast::<[std::mem::MaybeUninit<u8>; LONGEST]>() };
    let (length, _) = socket.recv_from(room)?;
    let Ok((header, message)) = packet::ipv4(&buffer[..length]) else {
        return Ok(None);
    };
    Ok(Some(Received {
        message: message.to_vec(),
        ends: header.ends,
        ttl: header.ttl,
    }))
}

/// `None`: the kernel did not say where it came to.
fn receive6(socket: &Socket) -> io::Result<Option<Received>> {
    let mut buffer = [0; LONGEST];
    let mut control = nix::cmsg_space!(libc::in6_pktinfo, libc::c_int);
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let read = recvmsg::<SockaddrIn6>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::empty(),
    )?;
    let (mut destination, mut ttl) = (None, None);
    for message in read.cmsgs()? {
        match message {
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                destination = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr));
            }
            ControlMessageOwned::Ipv6HopLimit(hops) => ttl = u8::try_from(hops).ok(),
            _ => {}
        }
    }
    let (source, length) = (read.address.map(|from| from.ip()), read.bytes);
    let (Some(source), Some(destination), Some(ttl)) = (source, destination, ttl) else {
        return Ok(None);
    };
    Ok(Some(Received {
        message: buffer[..length].to_vec(),
        ends: Ends {
            source: source.into(),
            destination: destination.into(),
        },
        ttl,
    }))
}
