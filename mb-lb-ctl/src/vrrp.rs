//! Who of the directors has the VIPs: the Virtual Router Redundancy Protocol, with what keepalived adds to it.

pub mod machine;
pub mod packet;
