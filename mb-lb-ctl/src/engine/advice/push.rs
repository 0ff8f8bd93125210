//! What to do where `peer push` or `peer diff` was refused.

/// Part of a refusal, and what to do about it. `there` is on the peer.
const STEPS: [(&str, &str); 13] = [
    (
        "no [peer] is configured",
        "write [peer] on both directors, then mb-lb-ctl reload",
    ),
    ("no connection to the peer", "mb-lb-ctl status"),
    (
        "the connection to the peer was lost",
        "mb-lb-ctl status, then mb-lb-ctl peer diff",
    ),
    (
        "the peer did not answer in time",
        "mb-lb-ctl status, then mb-lb-ctl peer diff",
    ),
    (
        "the file here says something else than what is in force",
        "mb-lb-ctl diff, then mb-lb-ctl reload",
    ),
    (
        "the file here has errors",
        "correct it (mb-lb-ctl check shows where), then mb-lb-ctl reload",
    ),
    ("the peer's file has errors", "mb-lb-ctl check there"),
    (
        "it takes no pushes",
        "mb-lb-ctl peer diff there, and write it into the file there by hand",
    ),
    (
        "was edited there and is not in force",
        "mb-lb-ctl diff there, then mb-lb-ctl reload there",
    ),
    (
        "it has no [vrrp.",
        "write it there, mb-lb-ctl reload there, then mb-lb-ctl peer push",
    ),
    (
        "with what is its own in it, the file has errors",
        "correct the file here, mb-lb-ctl reload, then mb-lb-ctl peer push; what is its own, there (mb-lb-ctl check there)",
    ),
    (
        "cannot be written",
        "look at the disk there, then mb-lb-ctl peer push",
    ),
    ("did not take all of it", "mb-lb-ctl status there"),
];

/// What is answered to a push that changes nothing.
pub const SAME_FILE: &str = "the file there says this already";

/// By the refusal; `None`: it says none of those that are known.
pub fn push(why: &str) -> Option<&'static str> {
    let step = STEPS.iter().find(|(part, _)| why.contains(part));
    step.map(|(_, step)| *step)
}
