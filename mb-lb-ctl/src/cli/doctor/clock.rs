//! Whether the clock is right: certificates, logs and whoever compares those of two directors depend on it.

use super::finding::Finding;
use crate::snapshot::{PeerView, Snapshot};

const GROUP: &str = "clock";

/// Two directors that differ by less are told apart by no log that has whole seconds.
const APART_MS: u64 = 2_000;

/// State and status bits of adjtimex(2), or why they could not be had.
pub fn look() -> Finding {
    // SAFETY: plain integers, for which zero is a value; with `modes` zero nothing is set.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is that of a live structure.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    match state {
        -1 => judge(Err(std::io::Error::last_os_error().to_string())),
        state => judge(Ok((state, timex.status))),
    }
}

fn judge(read: Result<(libc::c_int, libc::c_int), String>) -> Finding {
    match read {
        Err(why) => Finding::not_known(GROUP, &format!("the clock: {why}"), "timedatectl"),
        Ok((state, status)) if state == libc::TIME_ERROR || status & libc::STA_UNSYNC != 0 => {
            Finding::warning(
                GROUP,
                "nobody keeps the clock right: the kernel says that it is not synchronised",
                "certificates seem to expire too early or too late, and the events of the two directors cannot be put in order",
                "apt-get install chrony (a guest that has its time from the host may leave it; timedatectl says what is so)",
            )
        }
        Ok(_) => Finding::ok(GROUP, "the clock is synchronised"),
    }
}

/// The other director's clock beside this one's, where there is to be one.
pub fn peer(expected: bool, snapshot: Option<&Snapshot>) -> Option<Finding> {
    match snapshot {
        Some(snapshot) => snapshot.peer.as_ref().map(beside),
        None => expected.then(|| {
            let why = "whether the clocks of the two directors are alike: the daemon compares them, and does not answer";
            Finding::not_known(GROUP, why, "systemctl start mb-lb")
        }),
    }
}

fn beside(peer: &PeerView) -> Finding {
    let name = match peer.name.is_empty() {
        true => &peer.address,
        false => &peer.name,
    };
    let Some(ahead) = peer.clock_ahead_ms.filter(|_| peer.connected) else {
        let why = format!(
            "whether the clock of the peer {name} is as this one's: nothing has been heard of it"
        );
        return Finding::not_known(GROUP, &why, "mb-lb-ctl status");
    };
    // Half of the round trip: the message may have taken all of it on its way here, or nothing.
    let unsure = peer.round_trip_us.unwrap_or_default().div_ceil(2_000);
    let by = format!("{} (give or take {unsure} ms)", time(ahead.unsigned_abs()));
    if ahead.unsigned_abs().saturating_sub(unsure) < APART_MS {
        let text = format!("the clock of {name} differs from this one's by {by}");
        return Finding::ok(GROUP, &text);
    }
    let where_it_is = if ahead > 0 { "ahead of" } else { "behind" };
    Finding::warning(
        GROUP,
        &format!("the clock of {name} is {where_it_is} this one's by {by}"),
        "events and logs of the two directors cannot be put in order, and a certificate may be good on one of them only",
        "on both: apt-get install chrony; chronyc tracking says which of the two is wrong",
    )
}

fn time(ms: u64) -> String {
    match ms {
        short if short < 10_000 => format!("{short} ms"),
        long => format!("{} s", long / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Level;

    #[test]
    fn clocks_of_two_directors() {
        type Case = (Option<i64>, Option<u64>, Level, &'static str);
        let cases: [Case; 9] = [
            (
                Some(0),
                Some(400),
                Level::Ok,
                "differs from this one's by 0 ms (give or take 1 ms)",
            ),
            (
                Some(1_999),
                None,
                Level::Ok,
                "by 1999 ms (give or take 0 ms)",
            ),
            (Some(-1_999), None, Level::Ok, "by 1999 ms"),
            (
                Some(2_000),
                None,
                Level::Warning,
                "the clock of lb2 is ahead of this one's by 2000 ms",
            ),
            (
                Some(-2_000),
                None,
                Level::Warning,
                "is behind this one's by 2000 ms",
            ),
            // Not sure of it.
            (
                Some(2_400),
                Some(1_000_000),
                Level::Ok,
                "by 2400 ms (give or take 500 ms)",
            ),
            (
                Some(2_500),
                Some(1_000_000),
                Level::Warning,
                "by 2500 ms (give or take 500 ms)",
            ),
            (
                Some(i64::MIN),
                Some(u64::MAX),
                Level::Warning,
                "is behind this one's by",
            ),
            (None, None, Level::NotKnown, "nothing has been heard of it"),
        ];
        for (ahead, round_trip, level, says) in cases {
            let peer = PeerView {
                name: "lb2".to_owned(),
                connected: true,
                clock_ahead_ms: ahead,
                round_trip_us: round_trip,
                ..PeerView::default()
            };
            let found = beside(&peer);
            assert_eq!(found.level, level, "{found:?}");
            assert!(found.text.contains(says), "{found:?}");
            assert_eq!(
                found.next.contains("chrony"),
                level == Level::Warning,
                "{found:?}"
            );
        }
        let year = PeerView {
            address: "192.0.2.2:8405".to_owned(),
            connected: true,
            clock_ahead_ms: Some(-31_536_000_000),
            ..PeerView::default()
        };
        assert_eq!(
            beside(&year).text,
            "the clock of 192.0.2.2:8405 is behind this one's by 31536000 s (give or take 0 ms)"
        );
        let gone = PeerView {
            connected: false,
            ..year
        };
        assert_eq!(beside(&gone).level, Level::NotKnown);
    }

    #[test]
    fn only_where_there_is_another_director() {
        assert_eq!(peer(false, None), None);
        assert_eq!(peer(true, Some(&Snapshot::default())), None);
        assert_eq!(
            peer(true, None).map(|found| found.level),
            Some(Level::NotKnown)
        );
    }

    #[test]
    fn states() {
        for (read, level) in [
            (Ok((libc::TIME_OK, libc::STA_PLL)), Level::Ok),
            (Ok((libc::TIME_OK, libc::STA_UNSYNC)), Level::Warning),
            (Ok((libc::TIME_ERROR, 0)), Level::Warning),
            (Err("denied".to_owned()), Level::NotKnown),
        ] {
            assert_eq!(judge(read).level, level);
        }
    }
}
