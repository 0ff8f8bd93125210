//! A short name for what a configuration says.

use sha2::{Digest, Sha256};

use super::{Config, Secret};
use crate::vrrp::packet::PASSWORD;

impl Config {
    /// 12 hex digits (48 bits of SHA-256) that are equal where the configuration means the same: comments,
    /// formatting, defaults written out, and the order of services, servers, `listen`, interfaces, VRRP instances, their
    /// peers and what they track, and targets do not matter. Passwords take part by a digest of the bytes that count.
    pub fn hash(&self) -> String {
        let mut canonical = self.clone();
        canonical.director.interfaces.sort();
        canonical.services.sort_by(|a, b| a.name.cmp(&b.name));
        for service in &mut canonical.services {
            service.listen.sort();
            service.servers.sort_by(|a, b| a.name.cmp(&b.name));
        }
        canonical.vrrps.sort_by(|a, b| a.name.cmp(&b.name));
        for vrrp in &mut canonical.vrrps {
            vrrp.unicast_peers.sort();
            vrrp.track_interfaces
                .sort_by(|a, b| a.interface.cmp(&b.interface));
            vrrp.track_services
                .sort_by(|a, b| a.service.cmp(&b.service));
            vrrp.track_scripts.sort_by(|a, b| a.name.cmp(&b.name));
        }
        canonical.config_syncs.sort_by(|a, b| a.name.cmp(&b.name));
        for sync in &mut canonical.config_syncs {
            sync.targets.sort();
        }
        let json = serde_json::to_vec(&canonical)
            .expect("no map with keys other than strings, and paths come from UTF-8 text");
        let mut hasher = Sha256::new_with_prefix(&json);
        // What is serialized says only that there is a password, and whose.
        for secret in canonical.vrrps.iter().filter_map(|v| v.auth_pass.as_ref()) {
            if let Secret::Text(text) = secret {
                let counts = text.len().min(PASSWORD);
                hasher.update(Sha256::digest(&text.as_bytes()[..counts]));
            }
        }
        let digest = hasher.finalize();
        digest
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}
