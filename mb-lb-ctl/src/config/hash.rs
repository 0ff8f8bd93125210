//! A short name for what a configuration says.

use sha2::{Digest, Sha256};

use super::Config;

impl Config {
    /// 12 hex digits (48 bits of SHA-256) that are equal where the configuration means the same: comments,
    /// formatting, defaults written out, and the order of services, servers, `listen` and interfaces do not matter.
    pub fn hash(&self) -> String {
        let mut canonical = self.clone();
        canonical.director.interfaces.sort();
        canonical.services.sort_by(|a, b| a.name.cmp(&b.name));
        for service in &mut canonical.services {
            service.listen.sort();
            service.servers.sort_by(|a, b| a.name.cmp(&b.name));
        }
        let json = serde_json::to_vec(&canonical)
            .expect("no map with keys other than strings, and paths come from UTF-8 text");
        let digest = Sha256::digest(&json);
        digest
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}
