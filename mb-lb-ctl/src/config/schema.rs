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
}

impl Section {
    /// The key that was probably meant by one that does not exist.
    pub fn nearest(&self, unknown: &str) -> Option<&'static str> {
        let unknown = unknown.to_ascii_lowercase().replace('-', "_");
        if let Some((_, key)) = self.foreign.iter().find(|(name, _)| *name == unknown) {
            return Some(key);
        }
        nearest(&unknown, self.keys.iter().chain(self.later).copied())
    }
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
pub static ALL: [&Section; 7] = [
    &ROOT,
    &DIRECTOR,
    &FLOW_TIMEOUTS,
    &ADMIN,
    &SERVICE,
    &CHECK,
    &SERVER,
];

pub static ROOT: Section = Section {
    title: "the file's top level",
    keys: &["director", "admin", "service"],
    later: &[
        "vrrp",
        "peer",
        "proxy",
        "galera",
        "sentinel",
        "storage",
        "config_sync",
    ],
    foreign: &[
        ("global", "director"),
        ("services", "service"),
        ("backend", "service"),
        ("frontend", "service"),
        ("listen", "service"),
        ("stats", "admin"),
        ("vrrp_instance", "vrrp"),
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
};

pub static FLOW_TIMEOUTS: Section = Section {
    title: "director.flow_timeouts",
    keys: &["established", "half_closed", "closing", "reset"],
    later: &[],
    foreign: &[("fin", "half_closed"), ("client", "established")],
};

pub static ADMIN: Section = Section {
    title: "[admin]",
    keys: &["socket", "socket_mode"],
    later: &["http", "user", "password", "password_file"],
    foreign: &[("mode", "socket_mode"), ("listen", "http")],
};

pub static SERVICE: Section = Section {
    title: "[service.NAME]",
    keys: &[
        "listen",
        "forward",
        "scheduler",
        "check",
        "on_down",
        "no_server",
        "slow_start",
        "servers",
    ],
    later: &[],
    foreign: &[
        ("bind", "listen"),
        ("vip", "listen"),
        ("balance", "scheduler"),
        ("algorithm", "scheduler"),
        ("lb_algo", "scheduler"),
        ("mode", "forward"),
        ("lb_kind", "forward"),
        ("server", "servers"),
        ("backends", "servers"),
        ("real_server", "servers"),
        ("health_check", "check"),
        ("slowstart", "slow_start"),
    ],
};

pub static CHECK: Section = Section {
    title: "service.NAME.check",
    keys: &[
        "type",
        "port",
        "interval",
        "fast_interval",
        "down_interval",
        "timeout",
        "rise",
        "fall",
        "helo",
    ],
    later: &["path", "expect", "tls", "verify"],
    foreign: &[
        ("inter", "interval"),
        ("fastinter", "fast_interval"),
        ("downinter", "down_interval"),
        ("delay_loop", "interval"),
        ("connect_timeout", "timeout"),
        ("ehlo", "helo"),
    ],
};

pub static SERVER: Section = Section {
    title: "service.NAME.servers.NAME",
    keys: &["address", "weight", "max_connections", "backup"],
    later: &[],
    foreign: &[
        ("ip", "address"),
        ("host", "address"),
        ("maxconn", "max_connections"),
    ],
};
