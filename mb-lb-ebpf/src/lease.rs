//! Who asks for a VIP whose lease is over gets no answer from this director.
//!
//! The kernel takes an address away by itself when nobody renews it, but its lifetimes are whole seconds, and a peer
//! with fast adverts takes over in a fraction of one. In between the controller, dead or frozen, cannot say anything:
//! this program can.

use aya_ebpf::{bindings::xdp_md, helpers::generated::bpf_ktime_get_boot_ns, programs::XdpContext};

use mb_lb_common::{LeaseKey, Reason};

use crate::{
    maps::{LEASES, REASONS},
    packet, rewrite,
};

/// 1 where an untagged frame asks by ARP or neighbour discovery for an address whose lease is over; it is counted then. A
/// global function: the verifier looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn mb_lb_asked(ctx: *mut xdp_md) -> u32 {
    if !is_over(&XdpContext::new(ctx)) {
        return 0;
    }
    if let Some(counter) = REASONS.get_ptr_mut(Reason::LeaseOver as u32) {
        // SAFETY: this CPU's own value.
        unsafe { *counter += 1 };
    }
    1
}

#[inline(always)]
fn is_over(ctx: &XdpContext) -> bool {
    let Ok(address) = packet::asked(rewrite::frame(ctx)) else {
        return false;
    };
    let key = LeaseKey {
        address,
        ifindex: ctx.ingress_ifindex() as u64,
    };
    let Some(lease) = LEASES.get_ptr(key) else {
        return false;
    };
    // SAFETY: inside the map value, and a helper without arguments (5.8).
    unsafe { (*lease).is_over(bpf_ktime_get_boot_ns()) }
}
