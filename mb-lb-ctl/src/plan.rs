//! Desired state of the kernel.
/// Desired state.
#[derive(Clone, Debug, Default)]
pub struct Desired {}
