//! stub
#[derive(Clone, Debug)]
pub struct GateHandle;
pub struct GateLimits {
    pub header_bytes: usize,
    pub fields: usize,
}
pub struct GateStream<S>(S);
#[derive(Debug)]
pub struct Violation {
    pub reason: &'static str,
}
impl GateHandle {
    pub fn violation(&self) -> Option<Violation> {
        None
    }
    pub fn switch(&self) {}
}
impl<S> GateStream<S> {
    pub fn new(s: S, _l: GateLimits) -> (S, GateHandle) {
        (s, GateHandle)
    }
}
