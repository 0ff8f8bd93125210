//! The programs of checks through the VIP, at the traffic control hooks of the interfaces that lead to servers.
//!
//! From kernel 6.6 on their links end with the process. Before, filters stay behind a process that is killed; they touch
//! nothing by themselves, and the next process, or `detach`, takes them away.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use aya::Ebpf;
use aya::maps::Array;
use aya::programs::tc::{NlOptions, SchedClassifierLinkId, TcAttachOptions};
use aya::programs::{SchedClassifier, TcAttachType, tc};
use aya::util::KernelVersion;
use mb_lb_common::{MAX_VIAS, Via, maps};

use super::load::chain;
use crate::plan::mapped;

const OUT: &str = "mb_lb_via_out";
const BACK: &str = "mb_lb_via_in";

/// Program, interface and its index: one that was made anew has another.
type Place = (&'static str, String, u32);

/// What is attached, and for whom.
#[derive(Debug, Default)]
pub struct Vias {
    attached: BTreeMap<Place, SchedClassifierLinkId>,
    loaded: BTreeSet<&'static str>,
}

impl Vias {
    /// Has checks go through these VIPs, each by the mark of its place in the list, on these interfaces and no others.
    ///
    /// # Errors
    /// What the kernel refused; then checks must not use a mark, for nothing would be done with it.
    pub fn set(
        &mut self,
        ebpf: &mut Ebpf,
        vips: &[IpAddr],
        interfaces: &[(String, u32)],
    ) -> Result<(), String> {
        if vips.len() > MAX_VIAS as usize {
            return Err(format!("checks go through {MAX_VIAS} VIPs at most"));
        }
        let map = ebpf.map_mut(maps::VIAS);
        let map = map.ok_or_else(|| "the map of VIPs is not in the object".to_owned())?;
        let mut map: Array<_, Wire> = Array::try_from(map).map_err(|error| chain(&error))?;
        for (index, vip) in vips.iter().enumerate() {
            let via = Wire(Via::new(mapped(*vip)));
            let index = u32::try_from(index).map_err(|error| error.to_string())?;
            map.set(index, via, 0).map_err(|error| chain(&error))?;
        }
        let interfaces = if vips.is_empty() { &[] } else { interfaces };
        self.keep(ebpf, interfaces);
        if vips.is_empty() {
            return Ok(());
        }
        // Both, before the first is attached.
        for name in [OUT, BACK] {
            if !self.loaded.contains(name) {
                let loaded = program(ebpf, name)?.load();
                loaded.map_err(|error| refused(name, &error))?;
                self.loaded.insert(name);
            }
        }
        for (interface, index) in interfaces {
            for (name, hook) in [(OUT, TcAttachType::Egress), (BACK, TcAttachType::Ingress)] {
                let place = (name, interface.clone(), *index);
                if self.attached.contains_key(&place) {
                    continue;
                }
                let program = program(ebpf, name)?;
                let link = attach(program, interface, name, hook)
                    .map_err(|why| format!("{interface}: {why}"))?;
                self.attached.insert(place, link);
            }
        }
        Ok(())
    }

    /// Takes the programs off all other interfaces: where one is left, it cannot be attached again.
    fn keep(&mut self, ebpf: &mut Ebpf, interfaces: &[(String, u32)]) {
        let others = self.attached.extract_if(.., |(_, name, index), _| {
            !interfaces.contains(&(name.clone(), *index))
        });
        for ((name, interface, _), link) in others {
            let detached = program(ebpf, name)
                .and_then(|program| program.detach(link).map_err(|error| chain(&error)));
            if let Err(why) = detached {
                // Where the interface is gone, so is what was on it.
                tracing::debug!(name, interface, why, "not taken off");
            }
        }
    }
}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct Wire(Via);

// SAFETY: plain bytes without padding, as `Pod` of bytemuck has proved.
unsafe impl aya::Pod for Wire {}

/// The verifier's log is for the journal.
fn refused(name: &str, error: &dyn std::error::Error) -> String {
    let whole = chain(error);
    tracing::debug!(name, why = whole, "refused");
    let (short, _) = whole
        .split_once(". Verifier output")
        .unwrap_or((&whole, ""));
    format!("the kernel does not take the program: {short}")
}

fn program<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut SchedClassifier, String> {
    let program = ebpf.program_mut(name);
    let program = program.ok_or_else(|| format!("{name} is not in the object"))?;
    program.try_into().map_err(|error| chain(&error))
}

fn attach(
    program: &mut SchedClassifier,
    interface: &str,
    name: &str,
    hook: TcAttachType,
) -> Result<SchedClassifierLinkId, String> {
    if KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 6, 0)) {
        return program
            .attach(interface, hook)
            .map_err(|error| chain(&error));
    }
    match tc::qdisc_add_clsact(interface) {
        Ok(()) | Err(tc::TcError::AlreadyAttached) => {}
        Err(tc::TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => {}
        Err(error) => return Err(chain(&error)),
    }
    take_off(interface, name, hook);
    let options = TcAttachOptions::Netlink(NlOptions::default());
    program
        .attach_with_options(interface, hook, options)
        .map_err(|error| chain(&error))
}

/// What an earlier process left.
fn take_off(interface: &str, name: &str, hook: TcAttachType) {
    // That there is nothing is the rule.
    let _gone = tc::qdisc_detach_program(interface, hook, name);
}

/// Takes the filters off an interface that a process left there (kernels before 6.6).
pub fn detach(interface: &str) {
    for (name, hook) in [(OUT, TcAttachType::Egress), (BACK, TcAttachType::Ingress)] {
        take_off(interface, name, hook);
    }
}
