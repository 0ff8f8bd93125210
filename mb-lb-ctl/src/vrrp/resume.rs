//! Whether a process begins with the role of the one before it. Pure.

use std::time::Duration;

use super::Instance;
use super::machine::lease;
use crate::net::Held;

/// What is known of an earlier process of this director.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// It was active so long ago, by [`clock`](super::clock::clock).
    pub ago: Duration,
    /// It handed over, and nobody came: the addresses are nowhere.
    pub alone: bool,
}

/// True: the earlier process was active, and no peer can have taken over since. `left` are the VIPs that are on the
/// interface.
///
/// Adverts a second or more apart: the lease tells all, for it ends before any peer takes over. Faster ones have leases
/// that are longer than peers wait, because the kernel counts them in seconds; there the earlier process must have said
/// when it was last active. A peer waits for three intervals and its Skew_Time, so two leave one for the start.
pub fn resumes(instance: &Instance, earlier: Option<Resume>, left: &[Held]) -> bool {
    // A longer lifetime is not of ours: a DHCP client puts them on as well.
    let is_leased = |held: &Held| {
        held.valid
            .is_some_and(|left| left <= lease(instance.interval))
    };
    if instance.interval >= Duration::from_secs(1) && left.iter().any(is_leased) {
        return true;
    }
    let are_left = !left.is_empty() && left.iter().all(|held| held.tagged);
    earlier.is_some_and(|Resume { ago, alone }| ago < instance.interval * 2 && (are_left || alone))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Vip;
    use crate::vrrp::packet::{Coverage, Kind};
    use std::num::NonZeroU8;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn instance(interval: Duration) -> Instance {
        Instance {
            name: "VI_1".to_owned(),
            interface: "eth0".to_owned(),
            vrid: NonZeroU8::new(51).expect("not 0"),
            priority: 100,
            kind: Kind::V3,
            interval,
            addresses: ["192.0.2.100", "192.0.2.101"]
                .map(|address| (address.parse().expect("an address"), 32))
                .to_vec(),
            preempt: true,
            preempt_delay: Duration::ZERO,
            unicast_peers: Vec::new(),
            source: None,
            coverage: Coverage::PseudoHeader,
            lease: true,
            sync_group: None,
        }
    }

    fn left(tagged: bool, valid: Option<u64>) -> Vec<Held> {
        instance(ms(1000))
            .addresses
            .iter()
            .map(|&(address, prefix)| Held {
                vip: Vip {
                    address,
                    prefix,
                    ifindex: 2,
                },
                tagged,
                valid: valid.map(Duration::from_secs),
            })
            .collect()
    }

    #[test]
    fn one_that_nobody_took_over_from_goes_on_wherever_it_is() {
        let earlier = |time, alone| {
            Some(Resume {
                ago: ms(time),
                alone,
            })
        };
        let instance = instance(ms(1000));
        assert!(resumes(&instance, earlier(1999, true), &[]));
        assert!(!resumes(&instance, earlier(2000, true), &[]));
        assert!(!resumes(&instance, earlier(0, false), &[]));
    }

    #[test]
    fn a_lease_that_runs_is_enough_where_adverts_are_a_second_apart() {
        let slow = instance(ms(1000));
        assert!(resumes(&slow, None, &left(true, Some(2))));
        // A kernel that knows no tags.
        assert!(resumes(&slow, None, &left(false, Some(1))));
        // One address of the two is left.
        assert!(resumes(&slow, None, &left(true, Some(1))[..1]));
        assert!(!resumes(&slow, None, &[]));
        assert!(!resumes(&slow, None, &left(true, None)));
        assert!(!resumes(&slow, None, &left(false, Some(3600))));
        assert!(!resumes(&instance(ms(990)), None, &left(true, Some(2))));
    }

    #[test]
    fn faster_adverts_want_the_word_of_the_earlier_process() {
        let fast = instance(ms(100));
        let ago = |time| {
            Some(Resume {
                ago: ms(time),
                alone: false,
            })
        };
        let all = left(true, Some(2));
        assert!(resumes(&fast, ago(0), &all));
        assert!(resumes(&fast, ago(199), &all));
        assert!(!resumes(&fast, ago(200), &all));
        assert!(!resumes(&fast, ago(10), &[]));
        // An address was added to it.
        assert!(resumes(&fast, ago(10), &all[..1]));
        assert!(!resumes(&fast, ago(10), &left(false, Some(2))));
        // Without leases, at any interval.
        assert!(resumes(&fast, ago(10), &left(true, None)));
        assert!(resumes(&instance(ms(1000)), ago(1999), &left(true, None)));
        assert!(!resumes(&instance(ms(1000)), ago(2000), &left(true, None)));
    }
}
