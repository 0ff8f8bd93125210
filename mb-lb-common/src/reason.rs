//! Why the program did with a packet what it did: one row per reason, one counter per row.

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To the kernel, untouched.
    Pass,
    /// Out to a server.
    Forward,
    /// An answer that the program made, back to the client.
    Answer,
    /// Nowhere.
    Drop,
}

impl Verdict {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Forward => "forward",
            Self::Answer => "answer",
            Self::Drop => "drop",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $verdict:ident, $text:literal;)*) => {
        /// Why the program did with a packet what it did. The discriminant is the index of its counter.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* #[doc = $text] $variant),* }

        impl Reason {
            pub const ALL: &'static [Reason] = &[$(Reason::$variant),*];

            /// The reason with this counter; the first where there is none.
            #[inline(always)]
            pub const fn from_index(index: u32) -> Self {
                // Not a look-up in `ALL`: that would be a table in memory, which an eBPF program cannot index freely.
                $(if index == Reason::$variant as u32 { return Reason::$variant; })*
                Reason::NotIp
            }

            /// Stable name, as in metrics and JSON.
            pub const fn name(self) -> &'static str {
                match self { $(Reason::$variant => $name),* }
            }
            pub const fn verdict(self) -> Verdict {
                match self { $(Reason::$variant => Verdict::$verdict),* }
            }
            /// One line for people.
            pub const fn text(self) -> &'static str {
                match self { $(Reason::$variant => $text),* }
            }
        }
    };
}

reasons! {
    NotIp = "not_ip", Pass, "neither IPv4 nor IPv6 (ARP and others)";
    NotForUs = "not_for_us", Pass, "frame for another MAC address, or from an interface that is not ours";
    Truncated = "truncated", Pass, "shorter than its headers say";
    BadHeader = "bad_header", Pass, "a header that contradicts itself (version, lengths)";
    VlanDepth = "vlan_depth", Pass, "more than two VLAN tags";
    ExtensionHeaders = "extension_headers", Pass, "an IPv6 extension header chain that is too long or opaque";
    Fragment = "fragment", Pass, "an IP fragment";
    Icmp = "icmp", Pass, "ICMP or ICMPv6";
    NotTcp = "not_tcp", Pass, "a protocol other than TCP";
    NoService = "no_service", Pass, "no service listens there";
    TtlExpired = "ttl_expired", Pass, "TTL or hop limit is used up";
    Established = "established", Forward, "packet of an established flow";
    Scheduled = "scheduled", Forward, "SYN, a server was chosen";
    SynRetransmitted = "syn_retransmitted", Forward, "SYN seen before, same server";
    Promoted = "promoted", Forward, "the handshake's ACK: the flow is established";
    FinSeen = "fin_seen", Forward, "the client's FIN: the flow is closing";
    RstSeen = "rst_seen", Forward, "the client's RST: the flow is reset";
    RstIgnored = "rst_ignored", Forward, "RST far outside the window: forwarded, not believed";
    Closing = "closing", Forward, "packet of a flow that is closing or reset";
    Remembered = "remembered", Forward, "straggler of a flow that ended, to the server that knows it";
    Recovered = "recovered", Forward, "flow without state, steered by consistent hash";
    Handshake = "handshake", Forward, "packet of a half-open flow that does not complete it";
    TableFull = "table_full", Forward, "flow table full: steered without state";
    NoServerLocal = "no_server_local", Pass, "no server: the director itself answers";
    NoServerReset = "no_server_reset", Answer, "no server: RST";
    ServerDownReset = "server_down_reset", Answer, "its server failed: RST, so that the client tries again at once";
    ServerGone = "server_gone", Answer, "its server's record is gone: RST";
    RstUnplaced = "rst_unplaced", Drop, "RST that belongs to nothing: never answered";
    RewriteFailed = "rewrite_failed", Drop, "the answer could not be written";
    LeaseOver = "lease_over", Drop, "ARP or ND asks for a VIP that this director may have lost: not answered";
    AwaitsPeer = "awaits_peer", Drop, "this director has just taken over: the peer may still tell whose flow it is";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_in_counter_order() {
        let mut names: Vec<_> = Reason::ALL.iter().map(|r| r.name()).collect();
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
        assert!(Reason::ALL.len() <= crate::MAX_REASONS as usize);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
    }
}
