//! Checks through the VIP (`via = "vip"`).
//!
//! A server with direct server return gets clients' packets with the VIP as their destination. To check that it takes them, a
//! check has to send it such packets; but on the director that has the VIP, the VIP is the director itself. So the check
//! connects to the server's own address, on a socket with a mark, and these two programs at the traffic control hooks of the
//! interface put the VIP in the place of that address on the way out, and the address in the place of the VIP on the way back.
//! To the kernel it is a connection with the server.
//!
//! They touch no packet of anybody else: the one looks at the mark, the other at connections that the first has noted.

use aya_ebpf::{
    bindings::{BPF_F_PSEUDO_HDR, TC_ACT_SHOT, TC_ACT_UNSPEC},
    helpers::generated::{bpf_csum_diff, bpf_ktime_get_ns},
    macros::classifier,
    programs::TcContext,
};
use mb_lb_common::{
    VIA_LASTS, VIA_MARK, VIA_MASK, ViaAddress, ViaKey, ViaServer, ipv4_of_via, via_ipv4,
};

use crate::maps::{VIA_FLOWS, VIAS};

const ETHERNET: usize = 14;
const ETHERTYPE: usize = 12;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const TCP: u8 = 6;
const RST: u8 = 0x04;
/// Offset and "more fragments", as they stand in the header.
const FRAGMENT: [u8; 2] = [0x3f, 0xff];

/// Towards the server.
#[classifier]
pub fn mb_lb_via_out(ctx: TcContext) -> i32 {
    // SAFETY: a field of the context.
    let mark = unsafe { (*ctx.skb.skb).mark };
    if mark & VIA_MASK == VIA_MARK {
        // A check that went to the server's own address would prove nothing.
        return match out(&ctx, mark & !VIA_MASK) {
            Ok(()) => TC_ACT_UNSPEC,
            Err(()) => TC_ACT_SHOT,
        };
    }
    TC_ACT_UNSPEC
}

/// From the server.
#[classifier]
pub fn mb_lb_via_in(ctx: TcContext) -> i32 {
    let _done = back(&ctx);
    TC_ACT_UNSPEC
}

/// Where addresses and TCP are in a packet.
struct Place {
    is_ipv4: bool,
    source: usize,
    destination: usize,
    tcp: usize,
}

#[inline(always)]
fn place(ctx: &TcContext) -> Result<Place, ()> {
    let kind: [u8; 2] = load(ctx, ETHERTYPE)?;
    if kind == IPV4 {
        let first: u8 = load(ctx, ETHERNET)?;
        let protocol: u8 = load(ctx, ETHERNET + 9)?;
        let fragment: [u8; 2] = load(ctx, ETHERNET + 6)?;
        let is_part = fragment[0] & FRAGMENT[0] != 0 || fragment[1] & FRAGMENT[1] != 0;
        if protocol != TCP || is_part {
            return Err(());
        }
        return Ok(Place {
            is_ipv4: true,
            source: ETHERNET + 12,
            destination: ETHERNET + 16,
            tcp: ETHERNET + usize::from(first & 0x0f) * 4,
        });
    }
    let protocol: u8 = load(ctx, ETHERNET + 6)?;
    if kind != IPV6 || protocol != TCP {
        return Err(());
    }
    Ok(Place {
        is_ipv4: false,
        source: ETHERNET + 8,
        destination: ETHERNET + 24,
        tcp: ETHERNET + 40,
    })
}

#[inline(always)]
fn out(ctx: &TcContext, index: u32) -> Result<(), ()> {
    let vip = VIAS.get(index).ok_or(())?.vip;
    let place = place(ctx)?;
    let server = address(ctx, &place, place.destination)?;
    let ports: u32 = load(ctx, place.tcp)?;
    let flags: u8 = load(ctx, place.tcp + 13)?;
    let key = ViaKey {
        vip,
        ports: u64::from(ports.rotate_left(16)),
    };
    if flags & RST != 0 {
        // The end of it: the port may be another one's from now on.
        let _gone = VIA_FLOWS.remove(key);
    } else {
        // SAFETY: a helper without arguments.
        let seen = unsafe { bpf_ktime_get_ns() };
        let value = ViaServer {
            address: server,
            seen,
        };
        VIA_FLOWS.insert(key, value, 0).map_err(|_| ())?;
    }
    replace(ctx, &place, place.destination, &server, &vip)
}

#[inline(always)]
fn back(ctx: &TcContext) -> Result<(), ()> {
    let place = place(ctx)?;
    let vip = address(ctx, &place, place.source)?;
    let ports: u32 = load(ctx, place.tcp)?;
    let key = ViaKey {
        vip,
        ports: u64::from(ports),
    };
    let server = VIA_FLOWS.get_ptr(key).ok_or(())?;
    // SAFETY: inside the map value; an entry that is replaced meanwhile is that of another check.
    let server = unsafe { *server };
    // SAFETY: a helper without arguments.
    if unsafe { bpf_ktime_get_ns() }.wrapping_sub(server.seen) > VIA_LASTS {
        return Err(());
    }
    let server = server.address;
    replace(ctx, &place, place.source, &vip, &server)
}

#[inline(always)]
fn load<T>(ctx: &TcContext, offset: usize) -> Result<T, ()> {
    ctx.load(offset).map_err(|_| ())
}

#[inline(always)]
fn address(ctx: &TcContext, place: &Place, at: usize) -> Result<ViaAddress, ()> {
    if !place.is_ipv4 {
        return load(ctx, at);
    }
    Ok(via_ipv4(load(ctx, at)?))
}

/// Puts an address in the place of another, and mends the checksums (RFC 1624), also where the card is to finish them.
#[inline(always)]
fn replace(
    ctx: &TcContext,
    place: &Place,
    at: usize,
    from: &ViaAddress,
    to: &ViaAddress,
) -> Result<(), ()> {
    let checksum = place.tcp + 16;
    let pseudo = u64::from(BPF_F_PSEUDO_HDR);
    if !place.is_ipv4 {
        // SAFETY: both are 16 bytes on the stack.
        let difference = unsafe {
            bpf_csum_diff(
                from.as_ptr().cast_mut().cast(),
                16,
                to.as_ptr().cast_mut().cast(),
                16,
                0,
            )
        };
        ctx.l4_csum_replace(checksum, 0, difference as u64, pseudo)
            .map_err(|_| ())?;
        return ctx.store(at, to, 0).map_err(|_| ());
    }
    let (from, to) = (ipv4_of_via(from), ipv4_of_via(to));
    let (old, new) = (u64::from(from), u64::from(to));
    ctx.l4_csum_replace(checksum, old, new, pseudo | 4)
        .map_err(|_| ())?;
    ctx.l3_csum_replace(ETHERNET + 10, old, new, 4)
        .map_err(|_| ())?;
    ctx.store(at, &to, 0).map_err(|_| ())
}
