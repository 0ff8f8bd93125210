//! stub
use std::net::SocketAddr;
pub enum Decoded {
    Incomplete,
    Header {
        length: usize,
        addresses: Option<(SocketAddr, SocketAddr)>,
    },
}
#[derive(Debug, thiserror::Error)]
#[error("bad")]
pub struct Error;
pub fn decode(_b: &[u8]) -> Result<Decoded, Error> {
    Err(Error)
}
pub fn encode(_v: crate::config::ProxyHeader, _a: SocketAddr, _b: SocketAddr) -> Vec<u8> {
    Vec::new()
}
