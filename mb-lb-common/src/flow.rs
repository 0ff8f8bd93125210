//! Flows: keys, values, and the state word whose compare-and-swap owns every count.

use bytemuck::{Pod, Zeroable};

/// An IPv4 TCP connection as the client's packets name it.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct FlowKey4 {
    pub client: [u8; 4],
    pub vip: [u8; 4],
    pub client_port: [u8; 2],
    pub vip_port: [u8; 2],
}

/// An IPv6 TCP connection as the client's packets name it.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct FlowKey6 {
    pub client: [u8; 16],
    pub vip: [u8; 16],
    pub client_port: [u8; 2],
    pub vip_port: [u8; 2],
}

/// Value of the flow table: one cache line.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Flow {
    /// A [`FlowWord`]; changed only by compare-and-swap.
    pub word: u64,
    /// Low 32 bits of jiffies at the client's last packet.
    pub last_seen: u32,
    /// Sequence number that the client's next byte will have; a RST far from it is not believed.
    pub client_next: u32,
    /// Jiffies when the flow was inserted.
    pub created: u64,
    /// [`Flow::from_peer`] of what `client_next` was when flow sync made this flow, else 0. While the two agree, the
    /// client has not been heard here, and any RST or FIN of it is believed.
    pub synced: u64,
    pub reserved: [u64; 4],
}

impl Flow {
    /// See `synced`.
    #[inline(always)]
    pub const fn from_peer(client_next: u32) -> u64 {
        1 << 32 | client_next as u64
    }
}

/// What a flow is in. Discriminants are kernel layout.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowState {
    /// Given up by the sweep or by a new SYN: whoever made it dead deletes it, everybody else sees no flow.
    Dead = 0,
    /// Counted. Left by FIN, RST, expiry, or the fall of its server.
    Established = 1,
    /// Counted: one side has sent FIN. Reached only by forward methods that see both sides.
    HalfClosed = 2,
    /// Not counted: the client has sent FIN (and the server too, where that can be seen).
    Closing = 3,
    /// Not counted: the client has sent RST, or the director has answered one for a failed server.
    Reset = 4,
}

impl FlowState {
    /// The state of a word's low bits; a value that is no state reads as [`FlowState::Dead`].
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        match bits & 0xf {
            1 => Self::Established,
            2 => Self::HalfClosed,
            3 => Self::Closing,
            4 => Self::Reset,
            _ => Self::Dead,
        }
    }

    /// Whether flows in this state are in their server's `active` count.
    #[inline(always)]
    pub const fn is_counted(self) -> bool {
        matches!(self, Self::Established | Self::HalfClosed)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Established => "established",
            Self::HalfClosed => "half-closed",
            Self::Closing => "closing",
            Self::Reset => "reset",
        }
    }
}

/// Low bits of a server's generation that a word carries.
#[inline(always)]
pub const fn generation_bits(generation: u32) -> u64 {
    (generation as u64) & 0xfff
}

/// State, owner and identity of a flow in one word:
/// bits 0..4 [`FlowState`], 8..24 server index, 24..36 server generation, 36..64 nonce.
///
/// The server stands in the word so that the winner of a compare-and-swap knows whose count it moves.
/// The nonce tells one use of a hash table element from the next: preallocated elements are reused while
/// another CPU may still hold a pointer to them, and its compare-and-swap must then fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowWord(pub u64);

impl FlowWord {
    #[inline(always)]
    pub const fn new(state: FlowState, server: u32, generation: u32, nonce: u32) -> Self {
        Self(
            state as u64
                | ((server as u64 & 0xffff) << 8)
                | (generation_bits(generation) << 24)
                | ((nonce as u64 & 0xfff_ffff) << 36),
        )
    }
    #[inline(always)]
    pub const fn state(self) -> FlowState {
        FlowState::from_bits(self.0)
    }
    #[inline(always)]
    pub const fn server(self) -> u32 {
        ((self.0 >> 8) & 0xffff) as u32
    }
    /// To be compared with [`generation_bits`] of the server's record.
    #[inline(always)]
    pub const fn generation(self) -> u64 {
        (self.0 >> 24) & 0xfff
    }
    #[inline(always)]
    pub const fn with_state(self, state: FlowState) -> Self {
        Self((self.0 & !0xf) | state as u64)
    }
    /// Dead, and seen dead by a sweep. Reads as [`FlowState::Dead`].
    #[inline(always)]
    pub const fn condemned(self) -> Self {
        Self(self.0 | 0xf)
    }
    #[inline(always)]
    pub const fn is_condemned(self) -> bool {
        self.0 & 0xf == 0xf
    }
}

/// What an entry of the half-open table stands for. Discriminants are kernel layout.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfKind {
    /// Taken back by whoever won the compare-and-swap.
    Gone = 0,
    /// A SYN was steered; counted in its server's pending window until that window ages out.
    Pending = 1,
    /// A packet without SYN came for a flow nobody knows: steered by consistent hash, not counted.
    Recovered = 2,
    /// A flow that ended or fell idle: its stragglers still go to the server that knows it.
    Remembered = 3,
    /// Handed to the director's own TCP stack, which says the `no_server` text.
    Local = 4,
}

impl HalfKind {
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        match bits & 0xf {
            1 => Self::Pending,
            2 => Self::Recovered,
            3 => Self::Remembered,
            4 => Self::Local,
            _ => Self::Gone,
        }
    }
}

/// As [`FlowWord`], with a [`HalfKind`] in the low bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HalfWord(pub u64);

impl HalfWord {
    #[inline(always)]
    pub const fn new(kind: HalfKind, server: u32, generation: u32, nonce: u32) -> Self {
        Self(
            kind as u64
                | ((server as u64 & 0xffff) << 8)
                | (generation_bits(generation) << 24)
                | ((nonce as u64 & 0xfff_ffff) << 36),
        )
    }
    #[inline(always)]
    pub const fn kind(self) -> HalfKind {
        HalfKind::from_bits(self.0)
    }
    #[inline(always)]
    pub const fn server(self) -> u32 {
        ((self.0 >> 8) & 0xffff) as u32
    }
    #[inline(always)]
    pub const fn generation(self) -> u64 {
        (self.0 >> 24) & 0xfff
    }
    #[inline(always)]
    pub const fn with_kind(self, kind: HalfKind) -> Self {
        Self((self.0 & !0xf) | kind as u64)
    }
}

/// Value of the half-open table.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Half {
    /// A [`HalfWord`].
    pub word: u64,
    /// Window (see [`crate::PendingWindow`]) that this SYN was counted in.
    pub epoch: u32,
    /// Sequence number of the SYN.
    pub isn: u32,
    /// Low 32 bits of jiffies when the entry got its present kind.
    pub since: u32,
    pub reserved: [u32; 3],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_round_trips_every_field() {
        for state in [
            FlowState::Dead,
            FlowState::Established,
            FlowState::HalfClosed,
            FlowState::Closing,
            FlowState::Reset,
        ] {
            for server in [0, 1, 16383, 65535] {
                for generation in [0u32, 1, 4095, 4096, u32::MAX] {
                    let word = FlowWord::new(state, server, generation, 0xabc_def0);
                    assert_eq!(word.state(), state);
                    assert_eq!(word.server(), server);
                    assert_eq!(word.generation(), generation_bits(generation));
                    let closed = word.with_state(FlowState::Closing);
                    assert_eq!(closed.state(), FlowState::Closing);
                    assert_eq!(closed.server(), server);
                    assert_eq!(closed.0 >> 36, 0xabc_def0);
                }
            }
        }
    }

    #[test]
    fn only_live_states_are_counted() {
        let counted: Vec<_> = (0..16)
            .filter(|&bits| FlowState::from_bits(bits).is_counted())
            .collect();
        assert_eq!(counted, [1, 2]);
    }
}
