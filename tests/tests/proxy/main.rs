//! The HTTPS proxy in the lab: real nginx behind it, real clients in front, Debian's HAProxy beside it.

mod browser;
mod certificates;
mod clients;
mod frames;
mod haproxy;
mod http2_servers;
mod load;
mod script;
mod setup;
mod slow;
mod tls;
mod users;
mod websocket;

pub use setup::{Answer, Https};
