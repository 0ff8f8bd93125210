//! What may stand in the file: every section with its keys, as data.
//!
//! The parser takes from here which keys are unknown, and the tests take from here which keys need a case, so a
//! key that is added without its errors being looked at does not pass.

/// A table of the file.
#[derive(Debug)]
pub struct Section {
    /// As people write it: `[service.NAME]`.
    pub title: &'static str,
    pub keys: &'static [&'static str],
    /// Keys that have a meaning which this build does not implement. They are refused, never skipped.
    pub later: &'static [&'static str],
    /// What other load balancers call a key of this section, and what it is called here.
    pub foreign: &'static [(&'static str, &'static str)],
    /// What to do about other programs' keys that are no key here. A `*` at the end stands for any rest.
    pub advice: &'static [(&'static str, &'static str)],
}

impl Section {
    /// The key that was probably meant by one that does not exist.
    pub fn nearest(&self, unknown: &str) -> Option<&'static str> {
        let unknown = folded(unknown);
        if let Some((_, key)) = self.foreign.iter().find(|(name, _)| *name == unknown) {
            return Some(key);
        }
        nearest(&unknown, self.keys.iter().chain(self.later).copied())
    }

    /// What to do about a key of another program.
    pub fn advice(&self, unknown: &str) -> Option<&'static str> {
        let unknown = folded(unknown);
        let is = |name: &str| match name.strip_suffix('*') {
            Some(start) => unknown.starts_with(start),
            None => unknown == name,
        };
        let found = self.advice.iter().find(|(name, _)| is(name));
        found.map(|(_, advice)| *advice)
    }
}

/// Small letters and underscores.
pub fn folded(key: &str) -> String {
    key.to_ascii_lowercase().replace('-', "_")
}

/// The candidate that is at most a third of the word's letters away, transpositions counted once.
pub fn nearest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    // The distance takes time in proportion to both lengths; no candidate is near a word of this size.
    if word.len() > 64 {
        return None;
    }
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Every section, for looking up where a misplaced key belongs.
pub static ALL: [&Section; 26] = [
    &ROOT,
    &DIRECTOR,
    &FLOW_TIMEOUTS,
    &ADMIN,
    &SERVICE,
    &CHECK,
    &AGENT,
    &SERVER,
    &PROXY,
    &COOKIE,
    &TIMEOUTS,
    &LIMITS,
    &ACCESS_LOG,
    &PROXY_SERVER,
    &SERVER_TLS,
    &VRRP,
    &TRACK_INTERFACE,
    &TRACK_SERVICE,
    &TRACK_SCRIPT,
    &PEER,
    &CONFIG_SYNC,
    &SYNC_TARGET,
    &GALERA,
    &SENTINEL,
    &TIER_SERVER,
    &STORAGE,
];

mod proxy;
mod tiers;

pub use proxy::{ACCESS_LOG, COOKIE, LIMITS, PROXY, PROXY_SERVER, SERVER_TLS, TIMEOUTS};
pub use tiers::{GALERA, SENTINEL, STORAGE, TIER_SERVER};

pub static ROOT: Section = Section {
    title: "the file's top level",
    keys: &[
        "director",
        "admin",
        "service",
        "proxy",
        "vrrp",
        "peer",
        "config_sync",
        "galera",
        "sentinel",
        "storage",
    ],
    later: &[],
    foreign: &[
        ("global", "director"),
        ("services", "service"),
        ("backend", "service"),
        ("frontend", "service"),
        ("listen", "service"),
        ("stats", "admin"),
        ("global_defs", "director"),
        ("virtual_server", "service"),
        ("proxies", "proxy"),
        ("https", "proxy"),
        ("http", "proxy"),
        ("upstream", "proxy"),
        ("vrrp_instance", "vrrp"),
        ("peers", "peer"),
        ("cluster", "peer"),
        ("lvs_sync_daemon", "peer"),
        ("sync", "config_sync"),
        ("rsync", "config_sync"),
        ("mysql", "galera"),
        ("mariadb", "galera"),
        ("database", "galera"),
        ("redis", "sentinel"),
        ("nfs", "storage"),
        ("glusterfs", "storage"),
        ("gluster", "storage"),
    ],
    advice: &[
        (
            "vrrp_script",
            "scripts belong to an instance: `track_scripts` in [vrrp.NAME]",
        ),
        (
            "vrrp_sync_group",
            "write sync_group = \"NAME\" in each [vrrp.NAME] of the group",
        ),
    ],
};

pub static DIRECTOR: Section = Section {
    title: "[director]",
    keys: &["name", "interfaces", "xdp", "max_flows", "flow_timeouts"],
    later: &[],
    foreign: &[
        ("interface", "interfaces"),
        ("maxconn", "max_flows"),
        ("timeouts", "flow_timeouts"),
        ("router_id", "name"),
    ],
    advice: &[],
};

pub static FLOW_TIMEOUTS: Section = Section {
    title: "director.flow_timeouts",
    keys: &["established", "half_closed", "closing", "reset"],
    later: &[],
    foreign: &[("fin", "half_closed"), ("client", "established")],
    advice: &[],
};

pub static ADMIN: Section = Section {
    title: "[admin]",
    keys: &[
        "socket",
        "socket_mode",
        "socket_level",
        "http",
        "user",
        "password",
        "password_file",
    ],
    later: &[],
    foreign: &[
        ("mode", "socket_mode"),
        ("level", "socket_level"),
        ("listen", "http"),
        ("bind", "http"),
        ("stats", "http"),
        ("auth_pass", "password"),
    ],
    advice: &[],
};

pub static SERVICE: Section = Section {
    title: "[service.NAME]",
    keys: &[
        "listen",
        "forward",
        "scheduler",
        "check",
        "agent",
        "on_down",
        "no_server",
        "slow_start",
        "min_up",
        "follows",
        "servers",
    ],
    later: &[],
    foreign: &[
        ("bind", "listen"),
        ("vip", "listen"),
        ("quorum", "min_up"),
        ("balance", "scheduler"),
        ("algorithm", "scheduler"),
        ("lb_algo", "scheduler"),
        ("mode", "forward"),
        ("lb_kind", "forward"),
        ("server", "servers"),
        ("backends", "servers"),
        ("real_server", "servers"),
        ("health_check", "check"),
        ("agent_check", "agent"),
        ("slowstart", "slow_start"),
    ],
    advice: &[],
};

pub static CHECK: Section = Section {
    title: "service.NAME.check",
    keys: &[
        "type",
        "via",
        "port",
        "interval",
        "fast_interval",
        "down_interval",
        "timeout",
        "rise",
        "fall",
        "helo",
        "capabilities",
        "starttls",
        "min_certificate",
        "method",
        "path",
        "host",
        "expect",
        "body",
        "body_regex",
        "tls",
        "verify",
        "members",
        "send",
        "command",
    ],
    later: &[],
    foreign: &[
        ("inter", "interval"),
        ("fastinter", "fast_interval"),
        ("downinter", "down_interval"),
        ("delay_loop", "interval"),
        ("connect_timeout", "timeout"),
        ("ehlo", "helo"),
        ("capability", "capabilities"),
        ("extensions", "capabilities"),
        ("keywords", "capabilities"),
        ("start_tls", "starttls"),
        ("certificate_days", "min_certificate"),
        ("external_check", "command"),
        ("script", "command"),
        ("program", "command"),
        ("misc_path", "command"),
        ("uri", "path"),
        ("url", "path"),
        ("status", "expect"),
        ("status_code", "expect"),
        ("expect_status", "expect"),
        ("hostname", "host"),
        ("vhost", "host"),
        ("virtualhost", "host"),
        ("string", "body"),
        ("rstring", "body_regex"),
        ("regex", "body_regex"),
        ("ssl", "tls"),
        ("check_ssl", "tls"),
    ],
    advice: &[
        (
            "sni",
            "write it into a table: tls = { verify = \"none\", sni = \"NAME\" }",
        ),
        (
            "check_sni",
            "write it into a table: tls = { verify = \"none\", sni = \"NAME\" }",
        ),
    ],
};

pub static AGENT: Section = Section {
    title: "service.NAME.agent",
    keys: &["port", "interval", "timeout", "send"],
    later: &[],
    foreign: &[
        ("agent_port", "port"),
        ("inter", "interval"),
        ("agent_inter", "interval"),
        ("agent_send", "send"),
    ],
    advice: &[
        (
            "rise",
            "what an agent says holds at once; `rise` and `fall` are keys of `check`",
        ),
        (
            "fall",
            "what an agent says holds at once; `rise` and `fall` are keys of `check`",
        ),
    ],
};

pub static SERVER: Section = Section {
    title: "service.NAME.servers.NAME",
    keys: &[
        "address",
        "port",
        "weight",
        "max_connections",
        "backup",
        "send_proxy",
    ],
    later: &[],
    foreign: &[
        ("send_proxy_v2", "send_proxy"),
        ("proxy_protocol", "send_proxy"),
        ("ip", "address"),
        ("host", "address"),
        ("maxconn", "max_connections"),
    ],
    advice: &[],
};

pub static VRRP: Section = Section {
    title: "[vrrp.NAME]",
    keys: &[
        "interface",
        "virtual_router_id",
        "priority",
        "advert_interval",
        "version",
        "auth_pass",
        "auth_pass_file",
        "addresses",
        "preempt",
        "preempt_delay",
        "unicast_peers",
        "source_address",
        "checksum",
        "sync_group",
        "lease",
        "track_interfaces",
        "track_services",
        "track_scripts",
        "notify",
    ],
    later: &[],
    foreign: &[
        ("advert_int", "advert_interval"),
        ("vrid", "virtual_router_id"),
        ("virtual_ipaddress", "addresses"),
        ("virtual_ipaddress_excluded", "addresses"),
        ("vip", "addresses"),
        ("vrrp_version", "version"),
        ("password", "auth_pass"),
        ("unicast_peer", "unicast_peers"),
        ("unicast_src_ip", "source_address"),
        ("mcast_src_ip", "source_address"),
        ("track_interface", "track_interfaces"),
        ("track_script", "track_scripts"),
        ("notify_master", "notify"),
        ("notify_backup", "notify"),
        ("notify_fault", "notify"),
        ("notify_stop", "notify"),
    ],
    advice: &[
        (
            "auth_type",
            "remove it: `auth_pass` says it all, type PASS is the only one",
        ),
        (
            "authentication",
            "write auth_pass = \"PASSWORD\" in [vrrp.NAME] itself",
        ),
        (
            "state",
            "remove it: nobody starts as active, `priority` decides",
        ),
        ("nopreempt", "write preempt = false"),
        ("garp_*", "not needed: remove it"),
        (
            "dont_track_primary",
            "not needed: give `track_interfaces` without `interface` in it",
        ),
    ],
};

pub static TRACK_INTERFACE: Section = Section {
    title: "vrrp.NAME.track_interfaces.NAME",
    keys: &["weight"],
    later: &[],
    foreign: &[],
    advice: &[],
};

pub static TRACK_SERVICE: Section = Section {
    title: "vrrp.NAME.track_services.NAME",
    keys: &["min_up", "weight"],
    later: &[],
    foreign: &[("quorum", "min_up")],
    advice: &[],
};

pub static TRACK_SCRIPT: Section = Section {
    title: "vrrp.NAME.track_scripts.NAME",
    keys: &["command", "interval", "timeout", "rise", "fall", "weight"],
    later: &[],
    foreign: &[("script", "command")],
    advice: &[],
};

pub static PEER: Section = Section {
    title: "[peer]",
    keys: &["listen", "address", "key", "key_file", "accept_push"],
    later: &[],
    foreign: &[
        ("bind", "listen"),
        ("local", "listen"),
        ("remote", "address"),
        ("peer", "address"),
        ("host", "address"),
        ("server", "address"),
        ("psk", "key"),
        ("secret", "key"),
        ("password", "key"),
        ("secret_file", "key_file"),
        ("password_file", "key_file"),
        ("keyfile", "key_file"),
    ],
    advice: &[
        ("port", "the port belongs to `listen` and `address`"),
        ("name", "not needed: the other director says its name"),
    ],
};
pub static CONFIG_SYNC: Section = Section {
    title: "[config_sync.NAME]",
    keys: &[
        "source",
        "targets",
        "method",
        "interval",
        "on_change",
        "exclude",
        "delete",
        "branch",
        "reload",
        "identity_file",
        "known_hosts",
        "timeout",
    ],
    later: &[],
    foreign: &[
        ("src", "source"),
        ("from", "source"),
        ("directory", "source"),
        ("to", "targets"),
        ("destinations", "targets"),
        ("servers", "targets"),
        ("hosts", "targets"),
        ("nodes", "targets"),
        ("secondary_nodes", "targets"),
        ("every", "interval"),
        ("watch", "on_change"),
        ("ignore", "exclude"),
        ("command", "reload"),
        ("post_command", "reload"),
        ("key_file", "identity_file"),
        ("ssh_key", "identity_file"),
    ],
    advice: &[
        (
            "strict_host_key_checking",
            "remove it: host keys are always checked; put those of the targets into `known_hosts`",
        ),
        (
            "password*",
            "nobody is there to type it: make a key with ssh-keygen and name it by `identity_file`",
        ),
        (
            "user",
            "it belongs to a target: { host = \"192.168.1.102\", user = \"root\" }",
        ),
        (
            "path",
            "it belongs to a target: { host = \"192.168.1.102\", path = \"/etc/mailborder\" }",
        ),
    ],
};

pub static SYNC_TARGET: Section = Section {
    title: "config_sync.NAME.targets",
    keys: &["host", "port", "user", "path"],
    later: &[],
    foreign: &[
        ("address", "host"),
        ("ip", "host"),
        ("login", "user"),
        ("directory", "path"),
        ("dest", "path"),
    ],
    advice: &[],
};
