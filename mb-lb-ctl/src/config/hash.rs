//! A short name for what a configuration says.

use sha2::{Digest, Sha256};

use super::{CheckKind, Config, Secret, SmtpCheck};
use crate::vrrp::packet::PASSWORD;

impl Config {
    /// As [`Config::hash`], of what both directors of a pair ought to have alike: not who they are, where they listen for
    /// each other, and which of them is preferred.
    pub fn shared_hash(&self) -> String {
        self.shared().hash()
    }

    /// With what is a director's own taken out.
    pub fn shared(&self) -> Self {
        let mut shared = self.clone();
        shared.director.name.clear();
        shared.director.interfaces.clear();
        shared.admin.socket.clear();
        shared.admin.socket_mode = 0;
        shared.admin.http = None;
        shared.admin.socket_level = super::SocketLevel::Admin;
        shared.peer = None;
        for vrrp in &mut shared.vrrps {
            vrrp.priority = 0;
            vrrp.interface.clear();
            vrrp.source = None;
            vrrp.unicast_peers.clear();
            vrrp.track_interfaces.clear();
        }
        // What they say in EHLO is the director's name, unless the file has something else.
        let services = shared.services.iter_mut().map(|service| &mut service.check);
        let proxies = shared.proxies.iter_mut().map(|proxy| &mut proxy.check);
        for check in services.chain(proxies) {
            if let Some(check) = check
                && let CheckKind::Smtp(SmtpCheck { helo, .. }) = &mut check.kind
                && *helo == self.director.name
            {
                helo.clear();
            }
        }
        shared
    }

    /// 12 hex digits (48 bits of SHA-256) that are equal where the configuration means the same: comments,
    /// formatting, defaults written out, and the order of services, proxies, tiers, servers, `listen`, networks, interfaces, VRRP
    /// instances, their peers and what they track, and targets do not matter. Passwords take part by a digest of the bytes that count.
    pub fn hash(&self) -> String {
        let mut canonical = self.clone();
        canonical.director.interfaces.sort();
        canonical.services.sort_by(|a, b| a.name.cmp(&b.name));
        for service in &mut canonical.services {
            service.listen.sort();
            service.servers.sort_by(|a, b| a.name.cmp(&b.name));
        }
        canonical.proxies.sort_by(|a, b| a.name.cmp(&b.name));
        for proxy in &mut canonical.proxies {
            proxy.listen.sort();
            proxy.redirect_http.sort();
            proxy.trusted_proxies.sort();
            proxy.accept_proxy.sort();
            proxy.servers.sort_by(|a, b| a.name.cmp(&b.name));
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
        canonical.galeras.sort_by(|a, b| a.name.cmp(&b.name));
        for galera in &mut canonical.galeras {
            galera.listen.sort();
            galera.servers.sort_by(|a, b| a.name.cmp(&b.name));
        }
        canonical.sentinels.sort_by(|a, b| a.name.cmp(&b.name));
        for sentinel in &mut canonical.sentinels {
            sentinel.listen.sort();
            sentinel.sentinels.sort();
            sentinel.servers.sort_by(|a, b| a.name.cmp(&b.name));
        }
        canonical.storages.sort_by(|a, b| a.name.cmp(&b.name));
        for storage in &mut canonical.storages {
            storage.takes_out.sort();
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
        if let Some(Secret::Text(key)) = canonical.peer.as_ref().map(|peer| &peer.key) {
            hasher.update(Sha256::digest(key));
        }
        let http = canonical.admin.http.as_ref();
        let login = http.and_then(|http| http.login.as_ref());
        if let Some(Secret::Text(password)) = login.map(|login| &login.password) {
            hasher.update(Sha256::digest(password));
        }
        let cookies = canonical
            .proxies
            .iter()
            .filter_map(|proxy| proxy.cookie.as_ref());
        for key in cookies.filter_map(|cookie| cookie.dynamic_key.as_deref()) {
            hasher.update(Sha256::digest(key));
        }
        let galeras = canonical.galeras.iter().map(|galera| &galera.password);
        let sentinels = canonical
            .sentinels
            .iter()
            .flat_map(|sentinel| [&sentinel.password, &sentinel.sentinel_password]);
        for secret in galeras.chain(sentinels).flatten() {
            if let Secret::Text(text) = secret {
                hasher.update(Sha256::digest(text));
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
