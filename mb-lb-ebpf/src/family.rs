//! IPv4 and IPv6 differ in their keys and in the maps that the keys open; everything else is written once.

use aya_ebpf::bindings::BPF_NOEXIST;
use mb_lb_common::{
    Flow, FlowKey4, FlowKey6, Half, ServiceKey, TCP, flow_hash4, flow_hash6, source_hash,
};

use crate::maps::{FLOWS4, FLOWS6, HALF4, HALF6};

/// Kernel error for an element that exists (BPF_NOEXIST).
pub const EEXIST: i32 = -17;
/// Kernel error of a full hash map.
pub const E2BIG: i32 = -7;

/// A key and its two tables.
pub trait Key: Copy {
    fn flow(&self) -> Option<*mut Flow>;
    /// Fails with [`EEXIST`], or with another code when the table is full.
    fn insert_flow(&self, flow: &Flow) -> Result<(), i32>;
    fn remove_flow(&self);
    fn half(&self) -> Option<*mut Half>;
    /// Only ever a new element: updating in place makes an LRU map evict others.
    fn insert_half(&self, half: &Half);
    fn remove_half(&self);
    fn hash(&self) -> u64;
    fn source_hash(&self) -> u64;
    fn service(&self) -> ServiceKey;
    /// Writes client, VIP and both ports as [`mb_lb_common::FlowEvent`] has them.
    ///
    /// # Safety
    /// `to` is the field `client` of one.
    unsafe fn write_ends(&self, to: *mut [u8; 16]);
}

macro_rules! key {
    ($key:ty, $flows:ident, $halves:ident, $hash:ident, $mapped:expr) => {
        impl Key for $key {
            #[inline(always)]
            fn flow(&self) -> Option<*mut Flow> {
                $flows.get_ptr_mut(self)
            }
            #[inline(always)]
            fn insert_flow(&self, flow: &Flow) -> Result<(), i32> {
                $flows.insert(self, flow, BPF_NOEXIST.into())
            }
            #[inline(always)]
            fn remove_flow(&self) {
                // The caller has won the compare-and-swap to `Dead`: nobody else removes the element.
                let _removed = $flows.remove(self);
            }
            #[inline(always)]
            fn half(&self) -> Option<*mut Half> {
                $halves.get_ptr_mut(self)
            }
            #[inline(always)]
            fn insert_half(&self, half: &Half) {
                // A lost race or a busy LRU list: this connection is steered by consistent hash instead.
                let _inserted = $halves.insert(self, half, BPF_NOEXIST.into());
            }
            #[inline(always)]
            fn remove_half(&self) {
                // It may have been evicted meanwhile.
                let _removed = $halves.remove(self);
            }
            #[inline(always)]
            fn hash(&self) -> u64 {
                $hash(self)
            }
            #[inline(always)]
            fn source_hash(&self) -> u64 {
                source_hash($mapped(self.client))
            }
            #[inline(always)]
            fn service(&self) -> ServiceKey {
                ServiceKey {
                    address: $mapped(self.vip),
                    port: self.vip_port,
                    protocol: TCP,
                    zero: 0,
                }
            }
            #[inline(always)]
            unsafe fn write_ends(&self, to: *mut [u8; 16]) {
                // SAFETY: the caller's; client, VIP and ports follow each other there.
                unsafe {
                    to.write($mapped(self.client));
                    to.add(1).write($mapped(self.vip));
                    let ports = to.add(2).cast::<[u8; 2]>();
                    ports.write(self.client_port);
                    ports.add(1).write(self.vip_port);
                }
            }
        }
    };
}

key!(FlowKey4, FLOWS4, HALF4, flow_hash4, v4_mapped);
key!(FlowKey6, FLOWS6, HALF6, flow_hash6, core::convert::identity);

/// `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2).
#[inline(always)]
const fn v4_mapped(a: [u8; 4]) -> [u8; 16] {
    [
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a[0], a[1], a[2], a[3],
    ]
}
