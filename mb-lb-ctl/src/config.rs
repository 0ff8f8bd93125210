//! Text to [`Config`], or all that is wrong with it, each with line, column and what to write instead.
//!
//! The table is walked by hand rather than by serde, which stops at the first error. Each step puts a default in
//! the place of what it refused and goes on; a [`Config`] is given only when nothing was refused.

mod address;
mod admin_http;
mod adopt;
mod check;
mod config_sync;
mod crosscheck;
mod diagnostic;
mod director;
mod fields;
mod follows;
mod hash;
mod mask;
mod model;
mod peer;
mod proxy;
mod render;
pub mod schema;
mod service;
mod syntax;
#[cfg(test)]
mod tests;
mod tiers;
mod tls;
mod values;
mod vrrp;

pub use adopt::{AdoptError, adopt};
pub use diagnostic::{Code, Diagnostic, Location, Related, Severity};
pub use model::*;
pub use render::render;

use toml::de::DeValue;

use diagnostic::{Finding, Reporter};
use fields::{Field, Fields};

/// Whether servers and services can be called so.
///
/// # Errors
/// What is wrong with it: `is empty`.
pub fn check_name(text: &str) -> Result<(), String> {
    values::name(text).map_err(|fault| fault.phrase)
}

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// `None` where there is at least one error.
    pub config: Option<Config>,
    /// Errors and warnings in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parsed {
    pub fn errors(&self) -> usize {
        self.count(Severity::Error)
    }
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }
    fn count(&self, severity: Severity) -> usize {
        let of = |diagnostic: &&Diagnostic| diagnostic.severity == severity;
        self.diagnostics.iter().filter(of).count()
    }
}

/// Reads a whole file. `host_name` is the name of the director where the file gives none.
pub fn parse(source: &str, host_name: &str) -> Parsed {
    let mut reporter = Reporter::new(source);
    let (table, damage) = syntax::read(source, &mut reporter);
    let root = Fields::open(&schema::ROOT, String::new(), &table, &mut reporter);
    let director = director::director(root.get("director").as_ref(), host_name, &mut reporter);
    let (admin, http) = director::admin(root.get("admin").as_ref(), &mut reporter);
    let section = root.get("service");
    let drafts = service::services(section.as_ref(), &director.name, &mut reporter);
    let proxy_section = root.get("proxy");
    let proxies = proxy::proxies(proxy_section.as_ref(), &director.name, &mut reporter);
    let vrrps = vrrp::vrrps(root.get("vrrp").as_ref(), &mut reporter);
    let config_syncs = config_sync::config_syncs(root.get("config_sync").as_ref(), &mut reporter);
    let peer = peer::peer(root.get("peer").as_ref(), &mut reporter);
    let tiers = tiers::tiers(&root, &mut reporter);
    let all = crosscheck::Drafts {
        services: &drafts,
        proxies: &proxies,
        tiers: &tiers,
        vrrps: &vrrps,
        peer: peer.as_ref(),
        http: http.as_ref(),
    };
    crosscheck::crosscheck(&all, &mut reporter);
    let is_empty = |section: Option<&Field<'_>>| {
        section.is_none_or(|section| match section.value {
            DeValue::Table(table) => table.is_empty(),
            _ => false,
        })
    };
    let served = ["galera", "sentinel"];
    let no_service = is_empty(section.as_ref())
        && is_empty(proxy_section.as_ref())
        && served.iter().all(|key| is_empty(root.get(key).as_ref()));
    // Under a name that is nearly right there may be some.
    let misnamed = table.iter().any(|(key, _)| {
        let key = key.get_ref().as_ref();
        let near = schema::ROOT.nearest(key);
        let unknown = !schema::ROOT.keys.contains(&key);
        section.is_none() && unknown && matches!(near, Some("service" | "proxy"))
    });
    // A file that was cut off while it was written must not take every service away.
    if no_service && !misnamed {
        let span = section.map_or(0..0, |section| section.key_span);
        let finding = Finding::new(Code::NoService, span, "there is no service");
        reporter
            .push(finding.help("add [service.NAME] or [proxy.NAME] with `listen` and `servers`"));
    }
    reporter.retain(|finding| !damage.explains(finding));

    let config = (!reporter.has_errors()).then(|| Config {
        director,
        admin,
        services: drafts.into_iter().map(|draft| draft.service).collect(),
        proxies: proxies.into_iter().map(|draft| draft.proxy).collect(),
        vrrps: vrrps.into_iter().map(|draft| draft.vrrp).collect(),
        peer: peer.and_then(peer::Draft::peer),
        config_syncs,
        galeras: tiers.galeras.into_iter().map(|draft| draft.tier).collect(),
        sentinels: tiers
            .sentinels
            .into_iter()
            .map(|draft| draft.tier)
            .collect(),
        storages: tiers.storages.into_iter().map(|draft| draft.tier).collect(),
    });
    Parsed {
        config,
        diagnostics: reporter.finish(),
    }
}

/// A small file to start from; it has no errors and no warnings.
pub const fn example() -> &'static str {
    include_str!("config/example.toml")
}
