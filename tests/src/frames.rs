//! Frames as they go over the wire: a packet socket (packet(7)) on a machine's `eth0`, and TCP segments without a
//! connection behind them.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::net::if_::if_nametoindex;

use crate::machine::Machine;
use crate::wait::try_wait_until;

pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

/// Ethernet, IPv4 and TCP headers without options.
pub const SEGMENT_LENGTH: usize = 14 + 20 + 20;

/// A TCP segment over IPv4 without payload.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub from: SocketAddrV4,
    pub to: SocketAddrV4,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
}

impl Segment {
    /// The frame, with correct checksums (RFC 9293 section 3.1, RFC 791 section 3.1) and TTL 64.
    pub fn frame(&self, from_mac: [u8; 6], to_mac: [u8; 6]) -> [u8; SEGMENT_LENGTH] {
        let mut frame = [0; SEGMENT_LENGTH];
        frame[..6].copy_from_slice(&to_mac);
        frame[6..12].copy_from_slice(&from_mac);
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        let (ip, tcp) = frame[14..].split_at_mut(20);
        ip[..12].copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0]);
        ip[12..16].copy_from_slice(&self.from.ip().octets());
        ip[16..].copy_from_slice(&self.to.ip().octets());
        let sum = !fold(sum(ip));
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        tcp[..2].copy_from_slice(&self.from.port().to_be_bytes());
        tcp[2..4].copy_from_slice(&self.to.port().to_be_bytes());
        tcp[4..8].copy_from_slice(&self.seq.to_be_bytes());
        tcp[8..12].copy_from_slice(&self.ack.to_be_bytes());
        tcp[12..16].copy_from_slice(&[0x50, self.flags, 0xff, 0xff]);
        // The pseudo header: addresses, protocol 6, length 20.
        let sum = !fold(sum_of_tcp(&ip[12..], tcp));
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        frame
    }
}

fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum()
}

fn sum_of_tcp(addresses: &[u8], tcp: &[u8]) -> u32 {
    sum(addresses) + 6 + 20 + sum(tcp)
}

fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

/// A packet socket on one interface: sends any frame, sees every frame that comes in.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
    name: String,
}

impl Wire {
    /// On `eth0` of a machine.
    ///
    /// # Errors
    /// The kernel refuses; it needs CAP_NET_RAW.
    pub fn open(machine: &Machine) -> Result<Self> {
        let socket = machine
            .enter(|| packet_socket("eth0"))
            .with_context(|| format!("cannot open a packet socket on {}", machine.name()))?;
        Ok(Self {
            socket,
            name: machine.name().to_owned(),
        })
    }

    /// On an interface of the calling thread's network namespace.
    ///
    /// # Errors
    /// There is no such interface, or the kernel refuses; it needs CAP_NET_RAW.
    pub fn here(interface: &str) -> Result<Self> {
        let socket = packet_socket(interface)
            .with_context(|| format!("cannot open a packet socket on {interface}"))?;
        Ok(Self {
            socket,
            name: interface.to_owned(),
        })
    }

    /// # Errors
    /// The kernel refuses.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        // SAFETY: pointer and length are those of a live slice.
        let sent = unsafe {
            libc::send(
                self.socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
            )
        };
        if usize::try_from(sent) != Ok(frame.len()) {
            return Err(io::Error::last_os_error())
                .with_context(|| format!("cannot send a frame of {} bytes", frame.len()));
        }
        Ok(())
    }

    /// Sends frames by one system call, and returns how many of them went out.
    ///
    /// # Errors
    /// The kernel takes none.
    pub fn send_many(&self, frames: &[[u8; SEGMENT_LENGTH]]) -> Result<usize> {
        let mut vectors: Vec<libc::iovec> = frames
            .iter()
            .map(|frame| libc::iovec {
                iov_base: frame.as_ptr().cast_mut().cast(),
                iov_len: frame.len(),
            })
            .collect();
        let mut messages: Vec<libc::mmsghdr> = vectors
            .iter_mut()
            .map(|vector| {
                // SAFETY: all zeroes is a message without name, data and control data.
                let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
                message.msg_hdr.msg_iov = vector;
                message.msg_hdr.msg_iovlen = 1;
                message
            })
            .collect();
        let count = u32::try_from(messages.len()).context("too many frames at once")?;
        // SAFETY: `messages`, the vectors that they point to and the frames that those point to outlive the call,
        // which only reads frames.
        let sent =
            unsafe { libc::sendmmsg(self.socket.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
        usize::try_from(sent)
            .map_err(|_| io::Error::last_os_error())
            .context("cannot send frames")
    }

    /// Waits for a frame for which `wanted` finds something; others are thrown away.
    ///
    /// # Errors
    /// None comes within ten seconds; the message names `what`.
    pub fn wait_for<T>(&self, what: &str, wanted: impl Fn(&[u8]) -> Option<T>) -> Result<T> {
        let what = format!("{what} at {}", self.name);
        try_wait_until(&what, Duration::from_secs(10), || {
            let mut seen = 0;
            let mut buffer = [0; 2048];
            while let Some(length) = self.receive(&mut buffer)? {
                seen += 1;
                if let Some(found) = wanted(&buffer[..length]) {
                    return Ok(found);
                }
            }
            bail!("{seen} others")
        })
    }

    /// `None`: nothing is there now.
    fn receive(&self, buffer: &mut [u8]) -> Result<Option<usize>> {
        // SAFETY: pointer and length are those of a live, exclusive slice.
        let length = unsafe {
            libc::recv(
                self.socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
            )
        };
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                error => Err(error).context("cannot receive a frame"),
            },
        }
    }
}

fn packet_socket(interface: &str) -> io::Result<OwnedFd> {
    let protocol = u16::try_from(libc::ETH_P_ALL).expect("it is 3").to_be();
    // SAFETY: a plain system call.
    let fd = unsafe {
        libc::socket(
            libc::AF_PACKET,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            protocol.into(),
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all zeroes is a valid address of this kind.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol;
    address.sll_ifindex = if_nametoindex(interface)? as i32;
    // SAFETY: pointer and length are those of a live address.
    let bound = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    if bound != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_cover_their_headers() {
        let frame = Segment {
            from: "198.51.100.7:40000".parse().expect("an address"),
            to: "10.77.0.100:25".parse().expect("an address"),
            seq: 0xdead_beef,
            ack: 7,
            flags: SYN,
        }
        .frame([2; 6], [4; 6]);
        // With its checksum in it, the sum of what is covered is all ones.
        assert_eq!(fold(sum(&frame[14..34])), 0xffff);
        assert_eq!(fold(sum_of_tcp(&frame[26..34], &frame[34..])), 0xffff);
    }
}
