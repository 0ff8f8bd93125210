//! Loads, pins and attaches the program; applies plans; sweeps and audits.

/// What the data plane counts.
#[derive(Clone, Debug, Default)]
pub struct Report {}

/// Why the data plane could not be taken away.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    #[error("the data plane is not part of this build; nothing under {0} was touched")]
    NotBuilt(std::path::PathBuf),
}

/// Takes program, links and maps away from below `bpf_root`; says what was removed, a line each.
///
/// # Errors
/// See [`DetachError`].
pub fn detach(bpf_root: &std::path::Path) -> Result<Vec<String>, DetachError> {
    Err(DetachError::NotBuilt(bpf_root.to_owned()))
}
