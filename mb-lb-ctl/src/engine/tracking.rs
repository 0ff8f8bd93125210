//! From what a virtual router tracks to its effective priority, by keepalived's rules. Pure, and without state.

use crate::config::Vrrp;
use crate::vrrp::machine::OWNER;

/// Something tracked, and how it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// `interface eth1`, `service smtp_backend`, `script check_x`.
    pub what: String,
    pub weight: i16,
    /// Why it has failed; `None`: it has not, or nothing is known yet.
    pub failed: Option<String>,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// 1 to 255.
    pub priority: u8,
    /// Something with weight 0 has failed: the addresses cannot be had.
    pub fault: Option<String>,
    /// Anything has failed.
    pub failing: Option<String>,
}

/// Positive weights are added while there is no failure, negative ones while there is; the sum stays within 1 to 254. 255
/// is not changed.
pub fn judge(vrrp: &Vrrp, tracks: &[Track]) -> Tracked {
    let mut sum = i32::from(vrrp.priority);
    let mut fault = None;
    let mut failing = None;
    for track in tracks {
        let says = |why: &String| format!("{}: {why}", track.what);
        match &track.failed {
            Some(why) => {
                failing.get_or_insert_with(|| says(why));
                if track.weight == 0 {
                    fault.get_or_insert_with(|| says(why));
                }
                sum += i32::from(track.weight.min(0));
            }
            None => sum += i32::from(track.weight.max(0)),
        }
    }
    let priority = match vrrp.priority {
        OWNER => OWNER,
        _ => u8::try_from(sum.clamp(1, i32::from(OWNER) - 1)).unwrap_or(1),
    };
    Tracked {
        priority,
        fault,
        failing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn vrrp(priority: u8) -> Vrrp {
        let text = format!(
            "[vrrp.VI_1]\ninterface = \"eth0\"\nvirtual_router_id = 51\npriority = {priority}\n\
             addresses = [\"192.0.2.100/32\"]\n[service.smtp]\nlisten = \"192.0.2.100:25\"\nservers = {{ mb1 = \"192.0.2.1\" }}"
        );
        let config = config::parse(&text, "lb1").config.expect("valid");
        config.vrrps[0].clone()
    }

    fn track(weight: i16, failed: bool) -> Track {
        Track {
            what: "script x".to_owned(),
            weight,
            failed: failed.then(|| "exit code 1".to_owned()),
        }
    }

    fn priority(base: u8, tracks: &[Track]) -> u8 {
        judge(&vrrp(base), tracks).priority
    }

    #[test]
    fn weights_are_keepaliveds() {
        // The usual pair: 101 + 2 against 100 + 2, and one of them fails.
        assert_eq!(priority(101, &[track(2, false)]), 103);
        assert_eq!(priority(101, &[track(2, true)]), 101);
        assert_eq!(priority(100, &[track(-20, false)]), 100);
        assert_eq!(priority(100, &[track(-20, true)]), 80);
        assert_eq!(priority(100, &[track(-20, true), track(5, false)]), 85);
    }

    #[test]
    fn the_sum_stays_within_bounds_and_an_owner_is_one() {
        assert_eq!(priority(10, &[track(-253, true)]), 1);
        assert_eq!(priority(250, &[track(253, false)]), 254);
        assert_eq!(priority(255, &[track(-20, true)]), 255);
    }

    #[test]
    fn weight_0_is_a_fault_and_names_what_failed() {
        let judged = judge(&vrrp(100), &[track(0, true), track(-5, true)]);
        assert_eq!(judged.fault.as_deref(), Some("script x: exit code 1"));
        assert_eq!(judged.priority, 95);
        let judged = judge(&vrrp(100), &[track(0, false), track(-5, true)]);
        assert_eq!(judged.fault, None);
        assert_eq!(judged.failing.as_deref(), Some("script x: exit code 1"));
        assert_eq!(judge(&vrrp(100), &[track(0, false)]).failing, None);
    }
}
