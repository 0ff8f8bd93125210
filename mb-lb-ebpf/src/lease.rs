//! Who asks for a VIP whose lease is over gets no answer from this director.
//!
//! The kernel takes an address away by itself when nobody renews it, but its lifetimes are whole seconds, and a peer
//! with fast adverts takes over in a fraction of one. In between the controller, dead or frozen, cannot say anything:
//! this program can.

use aya_ebpf::{bindings::xdp_md, helpers::generated::bpf_ktime_get_boot_ns, programs::XdpContext};

use crate::{maps::LEASES, packet, rewrite};

/// 1 where a frame asks by ARP or neighbour discovery for an address whose lease is over. A global function: the
/// verifier looks at it once, whatever ways lead here.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn mb_lb_lease_over(ctx: *mut xdp_md) -> u32 {
    let frame = rewrite::frame(&XdpContext::new(ctx));
    let Ok(asked) = packet::asked(frame) else {
        return 0;
    };
    let Some(lease) = LEASES.get_ptr(&asked) else {
        return 0;
    };
    // SAFETY: inside the map value, and a helper without arguments (5.8).
    u32::from(unsafe { (*lease).is_over(bpf_ktime_get_boot_ns()) })
}
