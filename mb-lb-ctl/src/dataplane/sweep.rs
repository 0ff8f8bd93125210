//! Expiry and audit: runs the sweep program, and judges what it found.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use mb_lb_common::{SKIP4, SKIP6, ServerCount, ServiceKey, Settings, SweepArgs};

use super::{sys, syscall};
use crate::config::FlowTimeouts;

/// Drift is believed when so many passes in a row prove the same.
const PASSES_TO_BELIEVE: u32 = 3;

/// The loaded program.
#[derive(Debug)]
pub struct Sweeper {
    program: OwnedFd,
    hz: u32,
    pass: u64,
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Swept {
    pub pass: u64,
    pub flows: u32,
    pub took: Duration,
}

/// Tables in which no flow can be: none was in them at the last passes, and no service can have brought one since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Empty {
    /// Passes in a row that found none while nothing was served.
    ipv4: u8,
    ipv6: u8,
}

/// One pass might come between a packet's look at the services and the flow that it makes.
const PASSES_WITHOUT: u8 = 2;

impl Empty {
    /// `listens` are VIPs of the kernel.
    pub fn serve<'a>(&mut self, listens: impl IntoIterator<Item = &'a ServiceKey>) {
        for key in listens {
            match Ipv6Addr::from(key.address).to_canonical() {
                IpAddr::V4(_) => self.ipv4 = 0,
                IpAddr::V6(_) => self.ipv6 = 0,
            }
        }
    }

    fn skip(self) -> u32 {
        let of = |passes: u8, skip| if passes < PASSES_WITHOUT { 0 } else { skip };
        of(self.ipv4, SKIP4) | of(self.ipv6, SKIP6)
    }

    /// After a pass.
    fn learn<'a>(&mut self, args: &SweepArgs, listens: impl IntoIterator<Item = &'a ServiceKey>) {
        let next = |passes: u8, flows| {
            if flows == 0 {
                passes.saturating_add(1)
            } else {
                0
            }
        };
        self.ipv4 = next(self.ipv4, args.flows - args.flows6);
        self.ipv6 = next(self.ipv6, args.flows6);
        self.serve(listens);
    }
}

impl Sweeper {
    /// Loads the sweep out of the object, with its maps at `map_fd`.
    ///
    /// # Errors
    /// Where the kernel refuses the program or its BTF (5.15 or newer is needed).
    pub fn load(object: &[u8], map_fd: impl Fn(&str) -> io::Result<OwnedFd>) -> io::Result<Self> {
        let program = syscall::load(object, "sweep", "mb_lb_sweep", map_fd)?;
        let mut sweeper = Self {
            program,
            hz: 0,
            pass: 0,
        };
        sweeper.hz = sweeper.measure_hz()?;
        Ok(sweeper)
    }

    /// Jiffies per second: one of the values that Linux can be built with, the nearest to what is measured.
    fn measure_hz(&self) -> io::Result<u32> {
        const BUILT_WITH: [u32; 9] = [24, 48, 100, 128, 250, 256, 300, 1000, 1024];
        let first = self.clocks()?;
        let mut last = first;
        while last.nanoseconds - first.nanoseconds < 200_000_000 {
            std::thread::sleep(Duration::from_millis(20));
            last = self.clocks()?;
        }
        let measured = (last.jiffies - first.jiffies) as f64 * 1e9
            / (last.nanoseconds - first.nanoseconds) as f64;
        let distance = |hz: u32| (f64::from(hz) / measured).ln().abs();
        Ok(BUILT_WITH
            .into_iter()
            .min_by(|a, b| distance(*a).total_cmp(&distance(*b)))
            .unwrap_or(250))
    }

    fn clocks(&self) -> io::Result<SweepArgs> {
        let mut args = SweepArgs::default();
        sys::run_syscall_program(self.program.as_fd(), &mut args)?;
        Ok(args)
    }

    pub const fn hz(&self) -> u32 {
        self.hz
    }

    /// Jiffies now.
    pub fn jiffies(&self) -> io::Result<u64> {
        Ok(self.clocks()?.jiffies)
    }

    /// What the XDP program needs to know of time.
    pub fn settings(&self) -> Settings {
        Settings {
            // The power of two nearest to a second.
            window_shift: f64::from(self.hz).log2().round() as u32,
            pending_floor: 64,
            recover_after: self.hz,
            full_for: self.hz,
            events: 0,
            reserved: [0; 11],
        }
    }

    fn jiffies_of(&self, time: Duration) -> u32 {
        let jiffies = time.as_millis() * u128::from(self.hz) / 1000;
        u32::try_from(jiffies)
            .unwrap_or(i32::MAX as u32)
            .clamp(1, i32::MAX as u32)
    }

    /// One pass over what is not `empty`, while `listens` are served.
    pub fn sweep<'a>(
        &mut self,
        timeouts: &FlowTimeouts,
        empty: &mut Empty,
        listens: impl IntoIterator<Item = &'a ServiceKey>,
    ) -> io::Result<Swept> {
        if self.pass == 0 {
            // The audit cells still hold pass numbers of an earlier controller; jiffies are above them all.
            self.pass = self.jiffies()?;
        }
        self.pass += 1;
        let mut args = SweepArgs {
            pass: self.pass,
            established: self.jiffies_of(timeouts.established),
            half_closed: self.jiffies_of(timeouts.half_closed),
            closing: self.jiffies_of(timeouts.closing),
            reset: self.jiffies_of(timeouts.reset),
            skip: empty.skip(),
            ..SweepArgs::default()
        };
        let start = Instant::now();
        sys::run_syscall_program(self.program.as_fd(), &mut args)?;
        empty.learn(&args, listens);
        Ok(Swept {
            pass: self.pass,
            flows: args.flows,
            took: start.elapsed(),
        })
    }

    /// Takes proven drift out of a server's count.
    pub fn correct(&self, server: u32, correction: i32) -> io::Result<()> {
        let mut args = SweepArgs {
            server,
            correction,
            ..SweepArgs::default()
        };
        sys::run_syscall_program(self.program.as_fd(), &mut args)
    }
}

/// How far a server's count is from the flows in the table, judged over passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    seen: i64,
    passes: u32,
}

impl Drift {
    /// Judges one pass: `before` and `after` are the server's counts on either side of it, `counted` the flows that
    /// it found. While flows come and go, any number between the bounds that they allow is right; what is outside
    /// is drift, and believed once [`PASSES_TO_BELIEVE`] passes in a row have found the same.
    pub fn judge(
        &mut self,
        before: &ServerCount,
        after: &ServerCount,
        counted: u32,
    ) -> Option<i64> {
        let moved =
            |field: fn(&ServerCount) -> u64| field(after).wrapping_sub(field(before)) as i64;
        let least = before.active - moved(|c| c.closed) - moved(|c| c.expired);
        let most = before.active + moved(|c| c.opened);
        let counted = i64::from(counted);
        // Positive: more is counted than there is.
        let drift = if counted < least {
            least - counted
        } else if counted > most {
            most - counted
        } else {
            0
        };
        if drift == self.seen {
            self.passes = self.passes.saturating_add(1);
        } else {
            *self = Self {
                seen: drift,
                passes: 1,
            };
        }
        (drift != 0 && self.passes >= PASSES_TO_BELIEVE).then_some(drift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(active: i64, opened: u64, closed: u64, expired: u64) -> ServerCount {
        ServerCount {
            active,
            opened,
            closed,
            expired,
            ..ServerCount::default()
        }
    }

    #[test]
    fn a_table_is_skipped_when_no_flow_can_be_in_it() {
        let key = |ip: IpAddr| {
            let address = match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            ServiceKey {
                address: address.octets(),
                port: [0, 25],
                protocol: 6,
                zero: 0,
            }
        };
        let vip4 = key([192, 0, 2, 1].into());
        let vip6 = key("2001:db8::1".parse().expect("an address"));
        let found = |flows, flows6| SweepArgs {
            flows,
            flows6,
            ..SweepArgs::default()
        };
        let mut empty = Empty::default();
        for _ in 0..3 {
            empty.learn(&found(0, 0), [&vip4]);
        }
        assert_eq!(empty.skip(), SKIP6, "IPv4 is served");
        // Its service is gone, and its flows are not yet.
        empty.learn(&found(5, 0), []);
        empty.learn(&found(0, 0), []);
        assert_eq!(empty.skip(), SKIP6, "once is not enough");
        empty.learn(&found(0, 0), []);
        assert_eq!(empty.skip(), SKIP4 | SKIP6);
        empty.serve([&vip6]);
        assert_eq!(empty.skip(), SKIP4);
        empty.learn(&found(3, 3), [&vip6]);
        assert_eq!(empty.skip(), SKIP4);
    }

    #[test]
    fn quiet_and_equal_is_no_drift() {
        let mut drift = Drift::default();
        for _ in 0..10 {
            assert_eq!(drift.judge(&count(5, 9, 4, 0), &count(5, 9, 4, 0), 5), None);
        }
    }

    #[test]
    fn what_traffic_explains_is_no_drift() {
        let before = count(5, 10, 5, 0);
        // Three opened, one closed, one expired during the pass.
        let after = count(6, 13, 6, 1);
        for counted in 3..=8 {
            for _ in 0..5 {
                assert_eq!(Drift::default().judge(&before, &after, counted), None);
            }
        }
        let mut drift = Drift::default();
        let judged: Vec<_> = (0..3).map(|_| drift.judge(&before, &after, 2)).collect();
        assert_eq!(judged, [None, None, Some(1)]);
    }

    #[test]
    fn drift_must_persist() {
        let leaked = count(7, 10, 3, 0);
        let mut drift = Drift::default();
        assert_eq!(drift.judge(&leaked, &leaked, 6), None);
        assert_eq!(drift.judge(&leaked, &leaked, 6), None);
        // Another value starts anew.
        assert_eq!(drift.judge(&leaked, &leaked, 5), None);
        assert_eq!(drift.judge(&leaked, &leaked, 5), None);
        assert_eq!(drift.judge(&leaked, &leaked, 5), Some(2));
        assert_eq!(drift.judge(&leaked, &leaked, 5), Some(2));
        // Too few counted is negative.
        let mut drift = Drift::default();
        let judged: Vec<_> = (0..3).map(|_| drift.judge(&leaked, &leaked, 9)).collect();
        assert_eq!(judged, [None, None, Some(-2)]);
    }
}
