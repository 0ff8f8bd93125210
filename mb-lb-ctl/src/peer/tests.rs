//! The link over loopback, with real sockets: between two of its own, and with peers that misbehave.

mod flow;
mod refused;
mod rig;
mod upkeep;
