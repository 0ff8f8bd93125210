//! The XDP program: steers TCP connections to servers, and passes everything else to the kernel untouched.
//!
//! A packet's way is `parse -> service -> flow -> (schedule) -> server -> rewrite -> XDP_TX`. Every way out is one
//! [`Reason`], which has one counter and one row in `mb_lb_common::Reason`. The program needs nobody: it goes on
//! while no controller runs.
//!
//! Kernel 5.15 or newer (atomics with fetch 5.12, `bpf_for_each_map_elem` 5.13, SYSCALL programs 5.14).
#![cfg_attr(
    target_arch = "bpf",
    no_std,
    no_main,
    feature(core_intrinsics, asm_experimental_arch)
)]
#![cfg_attr(target_arch = "bpf", allow(internal_features))]

mod atomic;
mod events;
mod family;
mod lease;
mod maps;
mod packet;
mod pending;
mod rewrite;
mod select;
mod steer;
mod sweep;
mod sync;
mod via;

use aya_ebpf::{
    bindings::xdp_action, helpers::generated::bpf_jiffies64, macros::xdp, programs::XdpContext,
};
use aya_log_ebpf::warn;
use mb_lb_common::Reason;

use crate::{
    maps::{REASONS, SERVER_STATS, TABLE},
    packet::{Network, Segment},
    steer::{Action, Family},
};

/// The entry point, attached to each interface of the director.
#[xdp]
pub fn mb_lb(ctx: XdpContext) -> u32 {
    // First, while there is nothing to keep meanwhile: what there is afterwards makes the frame of this function too large
    // for kernel 6.1 ("combined stack size of 4 calls").
    if packet::may_ask(rewrite::frame(&ctx)) && lease::mb_lb_asked(ctx.ctx) != 0 {
        return xdp_action::XDP_DROP;
    }
    let (reason, action) = match run(&ctx) {
        Ok(done) => done,
        Err(reason) => (reason, xdp_action::XDP_PASS),
    };
    if let Some(counter) = REASONS.get_ptr_mut(reason as u32) {
        // SAFETY: this CPU's own value.
        unsafe { *counter += 1 };
    }
    action
}

/// An error is a packet that is not ours: it goes to the kernel.
#[inline(always)]
fn run(ctx: &XdpContext) -> Result<(Reason, u32), Reason> {
    let frame = rewrite::frame(ctx);
    let link = packet::link(frame)?;
    let network = packet::network(&link)?;
    let ifindex = ctx.ingress_ifindex() as u32;
    let Some(own_mac) = rewrite::port_mac(ifindex) else {
        return Err(Reason::NotForUs);
    };
    if own_mac != link.destination {
        return Err(Reason::NotForUs);
    }
    match network {
        Network::V4 => act(
            ctx,
            network,
            packet::ipv4(frame, link.l3)?,
            link.l3,
            ifindex,
        ),
        Network::V6 => act(
            ctx,
            network,
            packet::ipv6(frame, link.l3)?,
            link.l3,
            ifindex,
        ),
    }
}

/// Steers a segment and does what comes out.
#[inline(always)]
fn act<K: Family>(
    ctx: &XdpContext,
    network: Network,
    segment: Segment<K>,
    l3: usize,
    ifindex: u32,
) -> Result<(Reason, u32), Reason> {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_jiffies64() };
    let step = steer::steer(ctx, &segment, now);
    let action = match step.action {
        Action::Pass | Action::Further => return Err(step.reason),
        Action::Drop => Some(xdp_action::XDP_DROP),
        Action::Reset => {
            rewrite::answer_reset(ctx, network, l3, &segment.tcp).then_some(xdp_action::XDP_TX)
        }
        Action::Forward => {
            count_traffic(step.target.server, ctx.data_end() - ctx.data());
            if let Reason::TableFull = step.reason {
                say_once_that_the_table_is_full(ctx);
            }
            rewrite::forward(ctx, network, l3, ifindex, &step.target)
        }
    };
    match action {
        Some(action) => Ok((step.reason, action)),
        None => Ok((Reason::RewriteFailed, xdp_action::XDP_DROP)),
    }
}

#[inline(always)]
fn count_traffic(server: u32, bytes: usize) {
    if let Some(stats) = SERVER_STATS.get_ptr_mut(server) {
        // SAFETY: this CPU's own value.
        unsafe {
            (*stats).packets += 1;
            (*stats).bytes += bytes as u64;
        }
    }
}

#[inline(never)]
fn say_once_that_the_table_is_full(ctx: &XdpContext) -> u32 {
    let Some(table) = TABLE.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: inside the map value.
    if unsafe { atomic::compare_and_swap(&raw mut (*table).said, 0, 1) } {
        warn!(
            ctx,
            "flow table full: new flows are steered without state; raise director.max_flows"
        );
    }
    0
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // Unreachable: the verifier accepts no program that could get here.
    loop {}
}

/// `bpf_for_each_map_elem` and the jiffies helper are GPL-only.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(target_arch = "bpf"))]
fn main() {
    eprintln!(
        "This is the host build of an eBPF program, for tests. `cargo xtask build-ebpf` builds the program."
    );
}
