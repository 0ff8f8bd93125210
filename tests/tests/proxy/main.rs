//! The HTTPS proxy in the lab: real nginx behind it, real clients in front, Debian's HAProxy beside it.

mod certificates;
mod haproxy;
mod load;
mod setup;
mod users;

pub use setup::{Answer, Https};
