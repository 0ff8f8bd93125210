//! Packets through the real XDP program, by BPF_PROG_TEST_RUN: what comes in, which `Reason` counts it, what goes out.
//!
//! Each test has the program and its maps for itself ([`rig::Rig`]), in a mount namespace that goes with the test.
//! What the program should do is written down a second time, from the RFCs and the design: [`model`] for a packet's
//! structure, the references in `choice` for schedulers, the machine in `leaks` for connections. Root is needed.

mod answers;
mod capacity;
mod choice;
mod expiry;
mod flood;
mod frame;
mod full;
mod headers;
mod leaks;
mod lease;
mod lifecycle;
mod many;
mod model;
mod noise;
mod peer;
mod races;
mod reasons;
mod rig;
mod soundness;
mod states;
mod takeover;
mod truncation;
