//! Configurations of HAProxy, keepalived and Mailborder to one of mb-lb, and what became of each of their lines.
//!
//! ```text
//!   text -> words -> sections -> blocks of our file, each with the lines that it comes from
//!                                   |  each is tried: `config::parse` of all blocks so far
//!                                   v
//!       accepted: its lines are mapped     refused: its lines are unsupported, in the parser's words
//! ```
//!
//! A line that nothing has claimed in the end is unsupported: nothing is left out in silence. Text goes in, text and a
//! report come out; files are read by the command.

mod block;
mod detect;
mod haproxy;
mod keepalived;
mod mailborder;
mod report;
mod server_setup;
#[cfg(test)]
mod tests;
mod text;
mod value;

use std::net::IpAddr;

use crate::config::{self, Code, Forward, Severity};

pub use detect::Kind;
pub use report::{FileReport, Report, Row, Verdict};
pub use server_setup::ServerSetup;

use block::Output;
use report::{At, Ledger};

/// One file.
#[derive(Clone, Copy, Debug)]
pub struct Input<'t> {
    /// As the comments of the result name it: `haproxy.cfg`.
    pub name: &'t str,
    pub text: &'t str,
}

/// What the files do not say.
#[derive(Clone, Debug)]
pub struct Options {
    /// Of services: [`Forward::Dsr`] wants the servers prepared, [`Forward::Proxy`] touches none of them.
    pub forward: Forward,
    /// What `bind *` stands for, besides the addresses of keepalived.
    pub vips: Vec<IpAddr>,
    /// Where databases and session stores are listened for. Default: the first VIP.
    pub tier_vip: Option<IpAddr>,
    /// Name of this director, which decides lines such as `@lb1` of keepalived. Its part before the first dot counts.
    pub name: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            forward: Forward::Dsr,
            vips: Vec::new(),
            tier_vip: None,
            name: String::new(),
        }
    }
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Imported {
    /// `None` where no service of the files can be served.
    pub config: Option<String>,
    pub report: Report,
}

/// Why nothing came out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{file} is no configuration of HAProxy or keepalived, and no mailborder.conf")]
    UnknownKind { file: String },
    #[error("{file}:{line}: {why}")]
    Syntax {
        file: String,
        line: usize,
        why: String,
    },
    /// What was written is not what our own parser takes.
    #[error(
        "what was written has errors, which is a fault of the import and not of your files: {why}"
    )]
    Fault { why: String },
}

/// Translates the files, which may come in any order.
///
/// # Errors
/// A file that is of no known kind or cannot be read at all, or a fault of this module.
pub fn import(inputs: &[Input<'_>], options: &Options) -> Result<Imported, Error> {
    let mut import = Import {
        ledger: Ledger::default(),
        output: Output::new(),
        options,
        vips: Vec::new(),
        setups: Vec::new(),
    };
    let (mut haproxy, mut keepalived, mut mailborder) = (Vec::new(), Vec::new(), Vec::new());
    for input in inputs {
        let kind = detect::kind(input.text).ok_or_else(|| Error::UnknownKind {
            file: input.name.to_owned(),
        })?;
        let file = import.ledger.open(input, kind);
        match kind {
            Kind::HaProxy => haproxy.push(haproxy::read(file, input, &mut import.ledger)?),
            Kind::Keepalived => {
                let name = options.name.split('.').next().unwrap_or_default();
                keepalived.push(keepalived::read(file, input, name, &mut import.ledger)?);
            }
            Kind::Mailborder => mailborder.push(mailborder::read(file, input, &mut import.ledger)),
        }
    }
    import
        .vips
        .extend(options.vips.iter().map(|vip| (*vip, None)));
    let name = keepalived.iter().find_map(keepalived::router_id);
    for files in &keepalived {
        import.vips.extend(keepalived::vips(files));
    }
    haproxy::process(&haproxy, name, &mut import);
    for file in &keepalived {
        keepalived::vrrp(file, &mut import);
    }
    for file in &haproxy {
        haproxy::proxies(file, &mut import);
    }
    for file in &keepalived {
        keepalived::virtual_servers(file, &mut import);
    }
    for file in &mailborder {
        mailborder::tiers(file, &mut import);
    }
    import.finish()
}

/// The work in progress.
struct Import<'o> {
    ledger: Ledger,
    output: Output,
    options: &'o Options,
    /// Each with the line that gives it.
    vips: Vec<(IpAddr, Option<At>)>,
    setups: Vec<ServerSetup>,
}

impl Import<'_> {
    fn finish(self) -> Result<Imported, Error> {
        let names: Vec<String> = self.ledger.names().map(text::plain).collect();
        let config = self.output.finish(&names);
        let parsed = config::parse(&config, "director");
        let mut errors = parsed.diagnostics.iter();
        let mut empty = false;
        let fault = errors.find(|diagnostic| {
            empty |= diagnostic.code == Code::NoService;
            diagnostic.severity == Severity::Error && diagnostic.code != Code::NoService
        });
        if let Some(fault) = fault {
            return Err(Error::Fault {
                why: format!("line {}: {}", fault.location.line, fault.message),
            });
        }
        let (files, notices) = self.ledger.finish();
        Ok(Imported {
            config: (!empty).then_some(config),
            report: Report {
                files,
                notices,
                setups: server_setup::merged(self.setups),
            },
        })
    }

    /// VIPs that a wildcard of one family stands for.
    fn vips_of(&self, v4: bool, v6: bool) -> Vec<(IpAddr, Option<At>)> {
        let wanted = |vip: &&(IpAddr, Option<At>)| match vip.0 {
            IpAddr::V4(_) => v4,
            // One per link; nobody connects to it from further away.
            IpAddr::V6(address) => v6 && !address.is_unicast_link_local(),
        };
        let mut vips: Vec<(IpAddr, Option<At>)> = Vec::new();
        for vip in self.vips.iter().filter(wanted) {
            if !vips.iter().any(|(address, _)| *address == vip.0) {
                vips.push(*vip);
            }
        }
        vips
    }
}
