//! What a check found, before it is known how long it took.

use std::time::Duration;

use super::{CheckResult, Outcome};
use crate::engine::{AgentReply, HealthPage};

/// Longest piece of a server's own words that is shown, in characters.
const QUOTE: usize = 120;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    outcome: Outcome,
    code: &'static str,
    reply: Option<u16>,
    detail: String,
    page: Option<HealthPage>,
    agent: Option<AgentReply>,
    certificate: Option<i64>,
}

impl Finding {
    pub(super) fn success(code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Success,
            code,
            reply: None,
            detail: detail.into(),
            page: None,
            agent: None,
            certificate: None,
        }
    }

    pub(super) fn failure(code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Failure,
            ..Self::success(code, detail)
        }
    }

    pub(super) fn refused(code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Refused,
            ..Self::success(code, detail)
        }
    }

    pub(super) fn inconclusive(code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Inconclusive,
            ..Self::success(code, detail)
        }
    }

    pub(super) fn with_reply(self, reply: u16) -> Self {
        Self {
            reply: Some(reply),
            ..self
        }
    }

    /// What the health page said of its members.
    pub(super) fn with_page(self, page: Option<HealthPage>) -> Self {
        Self { page, ..self }
    }

    /// What an agent asks for.
    pub(super) fn with_agent(self, agent: AgentReply) -> Self {
        Self {
            agent: Some(agent),
            ..self
        }
    }

    pub(super) fn is_success(&self) -> bool {
        self.outcome == Outcome::Success
    }

    /// When the certificate ends that the server showed, in Unix seconds.
    pub(super) fn with_certificate(self, certificate: Option<i64>) -> Self {
        Self {
            certificate,
            ..self
        }
    }

    pub(super) fn into_result(self, duration: Duration) -> CheckResult {
        CheckResult {
            outcome: self.outcome,
            code: self.code,
            reply: self.reply,
            detail: self.detail,
            duration,
            page: self.page,
            certificate: self.certificate,
            agent: self.agent,
        }
    }
}

/// A server's words made fit for logs and terminals: printable ASCII, at most 120 characters, `?` for the rest.
pub(super) fn quote(bytes: &[u8]) -> String {
    let text = bytes.trim_ascii();
    let shown = text.iter().take(QUOTE).map(|byte| match byte {
        b' '..=b'~' => char::from(*byte),
        b'\t' | b'\r' | b'\n' => ' ',
        _ => '?',
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(
            quote(b" mx1 \x1b[2J\xc3\xa9\tready \r\n"),
            "mx1 ?[2J?? ready"
        );
    }

    proptest! {
        #[test]
        fn quotes_are_short_and_printable(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            let text = quote(&bytes);
            prop_assert!(text.len() <= QUOTE);
            prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
    }
}
