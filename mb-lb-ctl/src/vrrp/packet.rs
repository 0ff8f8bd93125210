//! Adverts as they are on the wire: version 2 (RFC 3768, with the plain text password of RFC 2338 as keepalived uses
//! it) and version 3 (RFC 9568 with its errata). Pure: bytes in, values out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU8;
use std::time::Duration;

/// IP protocol number of VRRP.
pub const PROTOCOL: u8 = 112;
/// Who listens for IPv4 adverts (RFC 9568 section 5.1.1.2).
pub const GROUP4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// Who listens for IPv6 adverts (RFC 9568 section 5.1.2.2).
pub const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
/// TTL and hop limit of multicast adverts: nothing off the link can have it (RFC 9568 section 5.1.1.3).
pub const TTL: u8 = 255;
/// Bytes of a version 2 password that count.
pub const PASSWORD: usize = 8;

const ADVERTISEMENT: u8 = 1;
const HEADER: usize = 8;
const CENTISECOND: Duration = Duration::from_millis(10);

/// What is after the interval: the two versions differ in more than a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The interval is in whole seconds, the checksum covers the message alone.
    V2(Auth),
    /// The interval is in centiseconds.
    V3,
}

impl Kind {
    /// 2 or 3.
    pub const fn number(self) -> u8 {
        match self {
            Self::V2(_) => 2,
            Self::V3 => 3,
        }
    }
}

/// Authentication of version 2.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    None,
    /// In plain text, padded with zeros.
    Password([u8; PASSWORD]),
    /// Another type, which is not spoken here (2 is an IPsec header).
    Other(u8),
}

impl Auth {
    /// The first eight bytes count.
    pub fn password(text: &str) -> Self {
        let mut bytes = [0; PASSWORD];
        let length = text.len().min(PASSWORD);
        bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
        Self::Password(bytes)
    }

    const fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Password(_) => 1,
            Self::Other(other) => other,
        }
    }
}

/// A password is not for logs.
impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Password(_) => "password",
            Self::Other(_) => "other",
        })
    }
}

/// What the checksum of a version 3 advert over IPv4 covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coverage {
    /// The message behind a pseudo-header, as most implementations do it; over IPv6 always.
    PseudoHeader,
    /// The message alone, as RFC 9568 section 5.2.8 has it for IPv4; in version 2 always.
    Message,
}

/// One advertisement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert {
    pub kind: Kind,
    pub vrid: NonZeroU8,
    /// 0: the sender gives the addresses up. 255: they are its own.
    pub priority: u8,
    pub interval: Duration,
    pub addresses: Vec<IpAddr>,
}

/// Why bytes are no advert. Everything else that can be wrong depends on who listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Malformed {
    /// Shorter or longer than its own count of addresses says.
    Length,
    Version,
    /// No advertisement, the only type there is.
    Type,
    Checksum,
    /// VRID 0, no address (erratum 8299), or an interval of 0 (erratum 8301).
    Value,
    /// Over IPv6 the first address is a link-local one (erratum 8300).
    NotLinkLocal,
}

/// The two ends of a packet: the checksum of version 3 covers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub source: IpAddr,
    pub destination: IpAddr,
}

impl Advert {
    /// The message, with its checksum. `coverage` matters only for version 3 over IPv4.
    ///
    /// The interval is rounded down to what the version can say, but never to 0.
    pub fn encode(&self, ends: Ends, coverage: Coverage) -> Vec<u8> {
        let count = u8::try_from(self.addresses.len()).unwrap_or(u8::MAX);
        let mut bytes = vec![
            self.kind.number() << 4 | ADVERTISEMENT,
            self.vrid.get(),
            self.priority,
            count,
        ];
        match self.kind {
            Kind::V2(auth) => {
                let seconds = self.interval.as_secs().clamp(1, u64::from(u8::MAX));
                bytes.extend([auth.number(), seconds as u8]);
            }
            Kind::V3 => bytes.extend(centiseconds(self.interval).to_be_bytes()),
        }
        bytes.extend([0, 0]);
        for address in self.addresses.iter().take(usize::from(count)) {
            match address {
                IpAddr::V4(v4) => bytes.extend(v4.octets()),
                IpAddr::V6(v6) => bytes.extend(v6.octets()),
            }
        }
        if let Kind::V2(auth) = self.kind {
            bytes.extend(match auth {
                Auth::Password(password) => password,
                Auth::None | Auth::Other(_) => [0; PASSWORD],
            });
        }
        let sum = checksum(&bytes, self.covered(ends, coverage));
        bytes[6..8].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    fn covered(&self, ends: Ends, coverage: Coverage) -> Option<Ends> {
        let pseudo = match self.kind {
            Kind::V2(_) => false,
            Kind::V3 => ends.source.is_ipv6() || coverage == Coverage::PseudoHeader,
        };
        pseudo.then_some(ends)
    }

    /// Reads a message (without IP header). Both forms of the checksum are right; which one it was is told.
    ///
    /// # Errors
    /// It is no advert.
    pub fn decode(message: &[u8], ends: Ends) -> Result<(Self, Coverage), Malformed> {
        let header: &[u8; HEADER] = message.first_chunk().ok_or(Malformed::Length)?;
        let [first, vrid, priority, count, four, five, ..] = *header;
        let version = first >> 4;
        let (kind, interval, trailer) = match version {
            2 => {
                let auth = match four {
                    0 => Auth::None,
                    1 => Auth::Password(*message.last_chunk().ok_or(Malformed::Length)?),
                    other => Auth::Other(other),
                };
                (Kind::V2(auth), Duration::from_secs(five.into()), PASSWORD)
            }
            3 => {
                let interval = CENTISECOND * u32::from(u16::from_be_bytes([four & 0x0f, five]));
                (Kind::V3, interval, 0)
            }
            _ => return Err(Malformed::Version),
        };
        let size = match (ends.source, version) {
            (IpAddr::V4(_), _) => 4,
            (IpAddr::V6(_), 3) => 16,
            // Version 2 knows IPv4 only.
            (IpAddr::V6(_), _) => return Err(Malformed::Version),
        };
        if first & 0x0f != ADVERTISEMENT {
            return Err(Malformed::Type);
        }
        let list = HEADER..HEADER + usize::from(count) * size;
        if message.len() != list.end + trailer {
            return Err(Malformed::Length);
        }
        let coverage = coverage_of(message, ends, kind).ok_or(Malformed::Checksum)?;
        let vrid = NonZeroU8::new(vrid).ok_or(Malformed::Value)?;
        if count == 0 || interval.is_zero() {
            return Err(Malformed::Value);
        }
        let addresses: Vec<IpAddr> = message[list].chunks_exact(size).map(address).collect();
        if let Some(IpAddr::V6(first)) = addresses.first()
            && !first.is_unicast_link_local()
        {
            return Err(Malformed::NotLinkLocal);
        }
        let advert = Self {
            kind,
            vrid,
            priority,
            interval,
            addresses,
        };
        Ok((advert, coverage))
    }
}

/// As version 3 says it: 1 to 4095.
pub fn centiseconds(interval: Duration) -> u16 {
    let centiseconds = interval.as_millis() / CENTISECOND.as_millis();
    centiseconds.clamp(1, 0xfff) as u16
}

/// Four or sixteen bytes.
fn address(bytes: &[u8]) -> IpAddr {
    match bytes.first_chunk::<16>() {
        Some(v6) => IpAddr::from(*v6),
        None => IpAddr::from(bytes.first_chunk::<4>().copied().unwrap_or_default()),
    }
}

fn coverage_of(message: &[u8], ends: Ends, kind: Kind) -> Option<Coverage> {
    let holds = |covered| checksum(message, covered) == 0;
    match (kind, ends.source) {
        (Kind::V2(_), _) => holds(None).then_some(Coverage::Message),
        (Kind::V3, IpAddr::V6(_)) => holds(Some(ends)).then_some(Coverage::PseudoHeader),
        (Kind::V3, IpAddr::V4(_)) if holds(Some(ends)) => Some(Coverage::PseudoHeader),
        (Kind::V3, IpAddr::V4(_)) => holds(None).then_some(Coverage::Message),
    }
}

/// RFC 1071 over the message, behind the pseudo-header of `ends` where there is one. 0 over a message whose own
/// checksum is right.
fn checksum(message: &[u8], ends: Option<Ends>) -> u16 {
    let mut sum = 0u32;
    let mut add = |bytes: &[u8]| {
        for pair in bytes.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u32::from(u16::from_be_bytes([pair[0], low]));
        }
    };
    if let Some(Ends {
        source,
        destination,
    }) = ends
    {
        for end in [source, destination] {
            match end {
                IpAddr::V4(v4) => add(&v4.octets()),
                IpAddr::V6(v6) => add(&v6.octets()),
            }
        }
        add(&[0, PROTOCOL]);
        // Messages are shorter than 64 KiB: the upper half of an IPv6 length is 0.
        add(&(message.len() as u16).to_be_bytes());
    }
    add(message);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// What the IPv4 header of a received packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header4 {
    pub ends: Ends,
    pub ttl: u8,
}

/// Header and payload of an IPv4 packet as a raw socket gives it. What follows the packet's own length is padding.
///
/// # Errors
/// [`Malformed::Length`].
pub fn ipv4(packet: &[u8]) -> Result<(Header4, &[u8]), Malformed> {
    let header: &[u8; 20] = packet.first_chunk().ok_or(Malformed::Length)?;
    let start = usize::from(header[0] & 0x0f) * 4;
    let end = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let payload = packet.get(start..end).filter(|_| start >= 20);
    let octets =
        |at: usize| IpAddr::from([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let header = Header4 {
        ends: Ends {
            source: octets(12),
            destination: octets(16),
        },
        ttl: header[8],
    };
    Ok((header, payload.ok_or(Malformed::Length)?))
}

#[cfg(test)]
mod tests;
