//! stub
use http::HeaderMap;
use std::net::SocketAddr;
pub fn prepare_request(
    h: &mut HeaderMap,
    client: SocketAddr,
    _trusted: bool,
    tls: bool,
    _host: &str,
    _f: bool,
) {
    h.remove("x-forwarded-for");
    h.insert(
        "x-forwarded-for",
        client.ip().to_string().parse().expect("x"),
    );
    h.insert(
        "x-forwarded-proto",
        http::HeaderValue::from_static(if tls { "https" } else { "http" }),
    );
}
pub fn remove_hop_by_hop(h: &mut HeaderMap) {
    for n in [
        "connection",
        "keep-alive",
        "transfer-encoding",
        "upgrade",
        "te",
    ] {
        h.remove(n);
    }
}
