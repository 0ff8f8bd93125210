//! Tools that were made for HAProxy's socket, as they come, at ours.

mod ansible;
mod hatop;
mod monitoring;
mod python;
mod scripts;
mod site;

pub use site::Site;
