//! The admin socket of the real controller, beside that of Debian's HAProxy: the same words to both.

mod by_hand;
mod certificates;
mod clients;
mod differential;
mod flows;

mod rig;
mod structure;

pub use rig::{Rig, ask};
