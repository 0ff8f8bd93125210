//! Notices who else claims a VIP: every ARP packet and neighbour discovery message that says an address is at
//! another MAC address.
//!
//! One socket and one task per interface. The socket's filter lets only ARP and neighbour discovery through,
//! and the listener looks at no other bytes. What a flood can cost is bounded three times: frames are read in
//! batches with pauses, the kernel's queue drops the rest; equal claims are told ten times a second; and
//! a claim that finds the channel full is dropped. All three are counted.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use socket2::{SockFilter, Socket};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::kernel::Mac;
use super::packet;

/// Equal claims that are told per [`WINDOW`].
const TOLD: u32 = 10;
const WINDOW: Duration = Duration::from_secs(1);

/// Different claims that are told per [`WINDOW`]; whoever makes MAC addresses up must not fill our memory.
const DIFFERENT: usize = 256;

/// Frames that are read at once. More are a flood: the next batch waits for [`PAUSE`].
const BATCH: usize = 256;
const PAUSE: Duration = Duration::from_millis(10);

/// Longer frames do not pass the decoder: their length says more than is there.
const FRAME: usize = 2048;

/// Types of Ethernet, of the header after IPv6's, and of ICMPv6 (RFC 4861 sections 4.3, 4.4).
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// Somebody says that a watched address is at a MAC address that is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    pub address: IpAddr,
    pub mac: [u8; 6],
    /// Where it was heard.
    pub ifindex: u32,
}

/// What was not told, since the guardian began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Claims beyond ten of a kind, or 256 kinds, within a second.
    pub coalesced: u64,
    /// Claims for which the channel had no room.
    pub dropped: u64,
    /// Frames that the kernel's queue had no room for, claims or not.
    pub missed: u64,
}

/// Handle of the task of an interface; the task ends when it is dropped.
pub struct Guardian {
    watched: watch::Sender<Watched>,
    tally: Arc<Tally>,
}

#[derive(Default)]
struct Watched {
    own: Mac,
    addresses: BTreeSet<IpAddr>,
}

#[derive(Default)]
struct Tally {
    coalesced: AtomicU64,
    dropped: AtomicU64,
    missed: AtomicU64,
}

impl Guardian {
    /// Listens on an interface of the network namespace of the calling thread, at first for nothing. An
    /// interface that goes down and up is listened to again. One that was removed and made anew has another
    /// index and needs another guardian; nothing comes from the old one.
    ///
    /// # Errors
    /// No such interface (ENODEV), no CAP_NET_RAW (EPERM). The task's error: the socket cannot be read.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(
        ifindex: u32,
        claims: mpsc::Sender<Claim>,
    ) -> io::Result<(Self, JoinHandle<io::Result<()>>)> {
        let socket = packet::listener(ifindex, &filter())?;
        // SAFETY: the socket owns its descriptor and keeps it open as long as it lives.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        let (watched, receiver) = watch::channel(Watched::default());
        let tally = Arc::<Tally>::default();
        let listener = Listener {
            socket,
            ifindex,
            claims,
            limiter: Limiter::default(),
            tally: Arc::clone(&tally),
        };
        let task = tokio::spawn(listener.run(receiver));
        Ok((Self { watched, tally }, task))
    }

    /// Watches exactly these addresses from now on; `own` is the MAC address of the interface, whose claims
    /// are ours.
    pub fn set(&self, own: [u8; 6], addresses: BTreeSet<IpAddr>) {
        self.watched.send_replace(Watched { own, addresses });
    }

    pub fn counts(&self) -> Counts {
        Counts {
            coalesced: self.tally.coalesced.load(Ordering::Relaxed),
            dropped: self.tally.dropped.load(Ordering::Relaxed),
            missed: self.tally.missed.load(Ordering::Relaxed),
        }
    }
}

struct Listener {
    socket: AsyncFd<Socket>,
    ifindex: u32,
    claims: mpsc::Sender<Claim>,
    limiter: Limiter,
    tally: Arc<Tally>,
}

impl Listener {
    async fn run(mut self, mut watched: watch::Receiver<Watched>) -> io::Result<()> {
        loop {
            tokio::select! {
                changed = watched.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
                ready = self.socket.readable() => {
                    // Cleared first: what arrives while the batch is read sets it again.
                    ready?.clear_ready();
                    loop {
                        let drained = self.read_batch(&watched.borrow())?;
                        let missed = packet::missed(self.socket.get_ref())?;
                        self.tally.missed.fetch_add(missed.into(), Ordering::Relaxed);
                        if drained {
                            break;
                        }
                        tokio::time::sleep(PAUSE).await;
                        if watched.has_changed().is_err() {
                            return Ok(());
                        }
                    }
                }
            }
        }
    }

    /// True: nothing is left to be read.
    fn read_batch(&mut self, watched: &Watched) -> io::Result<bool> {
        let mut buffer = [0; FRAME];
        for _ in 0..BATCH {
            match self.socket.get_ref().read(&mut buffer) {
                Ok(length) => self.on_frame(&buffer[..length], watched),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                // Told once when the interface goes down.
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    fn on_frame(&mut self, frame: &[u8], watched: &Watched) {
        let Some((address, mac)) = decode(frame) else {
            return;
        };
        if mac == watched.own || !watched.addresses.contains(&address) {
            return;
        }
        let claim = Claim {
            address,
            mac,
            ifindex: self.ifindex,
        };
        let count = if !self.limiter.admits((address, mac), Instant::now()) {
            &self.tally.coalesced
        } else if self.claims.try_send(claim).is_err() {
            &self.tally.dropped
        } else {
            return;
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts within one window after the other, so that over the boundary of two up to twice as many can pass.
#[derive(Default)]
struct Limiter {
    since: Option<Instant>,
    seen: BTreeMap<(IpAddr, Mac), u32>,
}

impl Limiter {
    fn admits(&mut self, kind: (IpAddr, Mac), now: Instant) -> bool {
        if self
            .since
            .is_none_or(|since| now.duration_since(since) >= WINDOW)
        {
            self.since = Some(now);
            self.seen.clear();
        }
        if self.seen.len() >= DIFFERENT && !self.seen.contains_key(&kind) {
            return false;
        }
        let count = self.seen.entry(kind).or_default();
        *count = count.saturating_add(1);
        *count <= TOLD
    }
}

/// Lets ARP and neighbour solicitations and advertisements through. The kernel takes a VLAN tag out of the
/// frame before a packet socket sees it, so frames of other VLANs can only be told here; identifier 0 is a
/// priority without a VLAN.
fn filter() -> [SockFilter; 13] {
    const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
    const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    const VLAN: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_VLAN_TAG) as u32;
    [
        SockFilter::new(LOAD_HALF, 0, 0, VLAN),
        SockFilter::new(AND, 0, 0, 0x0fff),
        SockFilter::new(EQUAL, 0, 9, 0),
        SockFilter::new(LOAD_HALF, 0, 0, 12),
        SockFilter::new(EQUAL, 6, 0, ARP.into()),
        SockFilter::new(EQUAL, 0, 6, IPV6.into()),
        SockFilter::new(LOAD_BYTE, 0, 0, 20),
        SockFilter::new(EQUAL, 0, 4, ICMPV6.into()),
        SockFilter::new(LOAD_BYTE, 0, 0, 54),
        SockFilter::new(EQUAL, 1, 0, SOLICITATION.into()),
        SockFilter::new(EQUAL, 0, 1, ADVERTISEMENT.into()),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

/// The address that a frame claims, and the MAC address that neighbours would believe it to be at:
///
/// - ARP of either operation: the sender's two addresses (RFC 826). A probe (RFC 5227), whose sender has no
///   address yet, claims nothing; the kernel answers it where it holds the address.
/// - A neighbour advertisement: its target, at the link-layer address in its option, or that of the frame.
/// - A neighbour solicitation: its source in the same way; or the target where the source is unspecified,
///   which is how a host tells that it is about to take the address (RFC 4862 section 5.4.2).
///
/// `None` for all else: other protocols, VLAN tags, truncated frames, and what a host would not believe
/// (RFC 4861 section 7.1), as with a wrong checksum or from beyond the link.
pub fn decode(frame: &[u8]) -> Option<(IpAddr, [u8; 6])> {
    match u16::from_be_bytes(array(frame, 12)?) {
        ARP => decode_arp(frame.get(14..)?),
        IPV6 => decode_discovery(array(frame, 6)?, frame.get(14..)?),
        _ => None,
    }
}

fn decode_arp(packet: &[u8]) -> Option<(IpAddr, Mac)> {
    // Ethernet, IPv4, the lengths of their addresses.
    let kind: [u8; 6] = array(packet, 0)?;
    let operation = u16::from_be_bytes(array(packet, 6)?);
    let sender = Ipv4Addr::from(array::<4>(packet, 14)?);
    let whole = packet.len() >= 28;
    let believed = whole && kind == [0, 1, 0x08, 0x00, 6, 4] && matches!(operation, 1 | 2);
    if !believed || sender.is_unspecified() {
        return None;
    }
    Some((sender.into(), array(packet, 8)?))
}

fn decode_discovery(from: Mac, packet: &[u8]) -> Option<(IpAddr, Mac)> {
    let length = usize::from(u16::from_be_bytes(array(packet, 4)?));
    let [next_header, hop_limit] = array(packet, 6)?;
    let source = Ipv6Addr::from(array::<16>(packet, 8)?);
    let destination = Ipv6Addr::from(array::<16>(packet, 24)?);
    let message = packet.get(40..)?.get(..length)?;
    let [kind, code] = array(message, 0)?;
    let target = Ipv6Addr::from(array::<16>(message, 8)?);
    let believed = packet[0] >> 4 == 6
        && next_header == ICMPV6
        && hop_limit == u8::MAX
        && code == 0
        && !target.is_multicast()
        && packet::icmpv6_checksum(source, destination, message) == 0;
    if !believed {
        return None;
    }
    let options = &message[24..];
    match kind {
        ADVERTISEMENT => Some((target.into(), link_layer(options, 2)?.unwrap_or(from))),
        SOLICITATION if source.is_unspecified() => Some((target.into(), from)),
        SOLICITATION => Some((source.into(), link_layer(options, 1)?.unwrap_or(from))),
        _ => None,
    }
}

/// The link-layer address in the options (RFC 4861 section 4.6.1): of the source in those of kind 1, of the
/// target in those of kind 2. The outer `None`: they are damaged, which makes the whole message void.
fn link_layer(mut options: &[u8], wanted: u8) -> Option<Option<Mac>> {
    let mut found = None;
    while !options.is_empty() {
        let [kind, eights] = array(options, 0)?;
        let option = options.get(..usize::from(eights) * 8)?;
        if kind == wanted && eights == 1 {
            found = array(option, 2);
        }
        if option.is_empty() {
            return None;
        }
        options = &options[option.len()..];
    }
    Some(found)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests;
