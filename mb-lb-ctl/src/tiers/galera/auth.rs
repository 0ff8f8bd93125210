//! Proofs that a password is known, without saying it.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};

pub(super) const NATIVE: &str = "mysql_native_password";
pub(super) const CACHING: &str = "caching_sha2_password";

/// `None`: a plugin that is not known here. Without a password the proof is empty.
pub(super) fn proof(plugin: &str, password: &str, scramble: &[u8; 20]) -> Option<Vec<u8>> {
    match plugin {
        NATIVE | CACHING if password.is_empty() => Some(Vec::new()),
        NATIVE => Some(native(password.as_bytes(), scramble)),
        CACHING => Some(caching(password.as_bytes(), scramble)),
        _ => None,
    }
}

/// SHA1(password) xor SHA1(scramble, SHA1(SHA1(password)))
fn native(password: &[u8], scramble: &[u8]) -> Vec<u8> {
    let sha1 = |parts: &[&[u8]]| digest(&SHA1_FOR_LEGACY_USE_ONLY, &parts.concat());
    let once = sha1(&[password]);
    let twice = sha1(&[once.as_ref()]);
    xor(once.as_ref(), sha1(&[scramble, twice.as_ref()]).as_ref())
}

/// SHA256(password) xor SHA256(SHA256(SHA256(password)), scramble)
fn caching(password: &[u8], scramble: &[u8]) -> Vec<u8> {
    let sha256 = |parts: &[&[u8]]| digest(&SHA256, &parts.concat());
    let once = sha256(&[password]);
    let twice = sha256(&[once.as_ref()]);
    xor(once.as_ref(), sha256(&[twice.as_ref(), scramble]).as_ref())
}

fn xor(left: &[u8], right: &[u8]) -> Vec<u8> {
    left.iter().zip(right).map(|(a, b)| a ^ b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Worked out with Python's hashlib.
    #[test]
    fn proofs() {
        let scramble = b"abcdefghijklmnopqrst";
        let proof = |plugin, password| proof(plugin, password, scramble).map(|proof| hex(&proof));
        assert_eq!(
            proof(NATIVE, "check").as_deref(),
            Some("e92ef7faf0e167dcd9c9002bad0328be3a07a8cc")
        );
        assert_eq!(
            proof(CACHING, "check").as_deref(),
            Some("8ff59a5cce39386dd354ac334351891d888db381a6aefde0103920fc7a55d2fd")
        );
        assert_eq!(proof(NATIVE, "").as_deref(), Some(""));
        assert_eq!(proof("client_ed25519", "check"), None);
    }
}
