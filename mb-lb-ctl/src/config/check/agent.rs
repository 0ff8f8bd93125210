//! `agent = { ... }`, and what a check of type `agent` has in common with it.

use std::time::Duration;

use super::{INTERVAL, TIMEOUT};
use crate::config::diagnostic::{Code, Finding, Reporter, quote};
use crate::config::fields::{Field, Fields};
use crate::config::values::Fault;
use crate::config::{AgentCheck, schema};

/// `None` was refused.
pub(in crate::config) fn agent(
    field: &Field<'_>,
    reporter: &mut Reporter<'_>,
) -> Option<AgentCheck> {
    let table = field.table("a table such as { port = 9707 }", reporter)?;
    let fields = Fields::open(&schema::AGENT, field.path.clone(), table, reporter);
    require_port(field, &fields, reporter);
    let port = fields
        .get("port")
        .and_then(|f| f.integer(1..=65535, reporter));
    let interval = fields.get("interval");
    let interval = interval.and_then(|f| f.duration(INTERVAL, reporter));
    let timeout = fields.get("timeout");
    let timeout = timeout.and_then(|f| f.duration(TIMEOUT, reporter));
    let send = send(&fields, reporter);
    Some(AgentCheck {
        port: port?,
        interval: interval.unwrap_or(Duration::from_secs(2)),
        timeout: timeout.unwrap_or(Duration::from_secs(1)),
        send,
    })
}

/// An agent never listens where its server does.
pub(super) fn require_port(field: &Field<'_>, fields: &Fields<'_>, reporter: &mut Reporter<'_>) {
    if fields.get("port").is_some() {
        return;
    }
    let message = format!("{} has no `port`", quote(&field.path));
    let finding = Finding::new(Code::MissingKey, field.key_span.clone(), message);
    reporter.push(finding.help("add the port where the agent listens, such as port = 9707"));
}

pub(super) fn send(fields: &Fields<'_>, reporter: &mut Reporter<'_>) -> Option<String> {
    let field = fields.get("send")?;
    field.parsed("text such as \"state\\n\"", text, reporter)
}

fn text(text: &str) -> Result<String, Fault> {
    /// HAProxy sends no more than fits into a buffer; nobody needs a thousand bytes for a question.
    const LONGEST: usize = 1024;
    if text.is_empty() {
        return Err(Fault::new(Code::Empty, "is empty").help("remove the key"));
    }
    if text.len() > LONGEST {
        let phrase = format!("has {} bytes, the most is {LONGEST}", text.len());
        return Err(Fault::new(Code::BadText, phrase));
    }
    Ok(text.to_owned())
}
