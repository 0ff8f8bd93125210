//! What to do where there is no connection to the peer.

/// A next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub next: &'static str,
    /// It may end by itself, as where the peer only starts. Everything else waits for somebody.
    pub may_pass: bool,
}

/// Part of a reason, and what follows from it.
const STEPS: [(&str, Step); 9] = [
    (
        "Cannot assign requested address",
        waits(
            "correct `listen` of [peer]: it is no address of this machine; then mb-lb-ctl reload",
        ),
    ),
    (
        "Address already in use",
        waits("stop what listens there (ss -tlnp), or write another port on both directors"),
    ),
    (
        "cannot listen on",
        waits("correct `listen` of [peer], then mb-lb-ctl reload"),
    ),
    ("the key in", waits(NO_KEY)),
    ("the key has", waits(NO_KEY)),
    (
        "it has another key",
        waits("give both the same key file (sha256sum on both), then mb-lb-ctl reload on both"),
    ),
    (
        "it speaks another version",
        waits("install the same version of mb-lb on both"),
    ),
    (
        "Connection refused",
        passes("start mb-lb there; if it runs, its `listen` has to be what is `address` here"),
    ),
    (
        "did not say in time",
        passes("let the port pass in both directions, on both hosts and between them"),
    ),
];

const NO_KEY: &str = "copy the key file of the peer, or make one with mb-lb-ctl peer-key and copy it there; then mb-lb-ctl reload";

const OTHER: Step = passes(
    "start mb-lb there; see that `address` of [peer] here is `listen` there, and the other way round; let the port pass in both directions; and give both the same key_file",
);

/// By the reason why there is no connection, where one is known.
pub fn peer(why: Option<&str>) -> Step {
    STEPS
        .into_iter()
        .find(|(part, _)| why.is_some_and(|why| why.contains(part)))
        .map_or(OTHER, |(_, step)| step)
}

const fn waits(next: &'static str) -> Step {
    Step {
        next,
        may_pass: false,
    }
}

const fn passes(next: &'static str) -> Step {
    Step {
        next,
        may_pass: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use crate::peer::{Key, RefusedReason};

    fn os(number: i32) -> String {
        let error = std::io::Error::from_raw_os_error(number);
        format!("cannot connect to 192.0.2.11:8405: {error}")
    }

    /// In the words of those who say it.
    #[test]
    fn every_reason_has_its_step() {
        let nowhere = Key::load(&Secret::File("/nowhere".into()), None).expect_err("not there");
        let short = Key::parse("00").expect_err("too short");
        let odd = Key::parse("hunter2").expect_err("no digits");
        for (why, expected, may_pass) in [
            (os(libc::EADDRNOTAVAIL), "`listen` of [peer]", false),
            (os(libc::EADDRINUSE), "ss -tlnp", false),
            (nowhere.to_string(), "peer-key", false),
            (short.to_string(), "peer-key", false),
            (odd.to_string(), "peer-key", false),
            (RefusedReason::WrongKey.to_string(), "same key file", false),
            (
                RefusedReason::WrongVersion.to_string(),
                "same version",
                false,
            ),
            (os(libc::ECONNREFUSED), "start mb-lb there; if", true),
            (
                RefusedReason::Timeout.to_string(),
                "the port pass in both directions, on",
                true,
            ),
            (os(libc::EHOSTUNREACH), OTHER.next, true),
            (RefusedReason::WrongAddress.to_string(), OTHER.next, true),
        ] {
            let step = peer(Some(&why));
            assert!(step.next.contains(expected), "{why}: {step:?}");
            assert_eq!(step.may_pass, may_pass, "{why}");
        }
        assert_eq!(peer(None), OTHER);
    }
}
