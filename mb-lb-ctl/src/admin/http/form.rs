//! The form that changes servers, with HAProxy's fields: `b` a service, `s` a server, once or more, and `action`. Ours
//! is `reason`.

use crate::command::{find_service, parse_admin_state};
use crate::engine::{Change, ServerRef};
use crate::snapshot::Snapshot;

/// Longest reason, in characters.
const MAX_REASON: usize = 200;

/// How it went, in HAProxy's words, which stand in the address that the browser is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Nothing was selected.
    None,
    /// Some of the servers were changed.
    Part,
    /// Not understood, or no such service or server.
    Error,
    /// The page is read-only.
    Denied,
    /// The controller did not do it.
    Unknown,
}

impl Outcome {
    const ALL: [Self; 6] = [
        Self::Done,
        Self::None,
        Self::Part,
        Self::Error,
        Self::Denied,
        Self::Unknown,
    ];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Done => "DONE",
            Self::None => "NONE",
            Self::Part => "PART",
            Self::Error => "ERRP",
            Self::Denied => "DENY",
            Self::Unknown => "UNKN",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.word() == word)
    }

    /// For people, and whether it is as they wanted.
    pub const fn text(self) -> (&'static str, bool) {
        match self {
            Self::Done => ("Done.", true),
            Self::None => ("Nothing was selected, so nothing was changed.", false),
            Self::Part => (
                "Some of the servers were changed, and some were not: see below.",
                false,
            ),
            Self::Error => (
                "The request was not understood, or there is no such service or server: nothing was changed.",
                false,
            ),
            Self::Denied => (
                "This page is read-only: set user and password_file in [admin]. Nothing was changed.",
                false,
            ),
            Self::Unknown => (
                "The controller did not say that it is done: see below how it is now.",
                false,
            ),
        }
    }
}

/// The changes that are asked for, or what to answer without asking anybody.
///
/// # Errors
/// [`Outcome::None`] and [`Outcome::Error`].
pub fn read(body: &[u8], snapshot: &Snapshot) -> Result<Vec<Change>, Outcome> {
    let (mut service, mut action, mut reason) = (None, None, String::new());
    let mut servers = Vec::new();
    for (key, value) in form_urlencoded::parse(body) {
        match &*key {
            "b" => service = Some(value),
            "s" => servers.push(value),
            "action" => action = Some(value),
            "reason" => reason = cleaned(&value),
            // HAProxy ignores others as well.
            _ => {}
        }
    }
    let (Some(service), Some(action)) = (service, action) else {
        return Err(Outcome::Error);
    };
    let state = parse_admin_state(&action).ok_or(Outcome::Error)?;
    let service = find_service(snapshot, &service).ok_or(Outcome::Error)?;
    let service = &snapshot.services[service];
    if servers.is_empty() {
        return Err(Outcome::None);
    }
    let changes = servers.into_iter().map(|name| {
        let known = service.servers.iter().find(|server| server.name == *name);
        let server = ServerRef {
            service: service.name.clone(),
            server: known.ok_or(Outcome::Error)?.name.clone(),
        };
        Ok(Change::Admin {
            server,
            state,
            reason: reason.clone(),
            guarded: false,
        })
    });
    changes.collect()
}

/// On one line, and not longer than anybody reads.
fn cleaned(reason: &str) -> String {
    let words: Vec<_> = reason
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ").chars().take(MAX_REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{AdminState, ServerView, ServiceView};

    fn snapshot() -> Snapshot {
        let server = |name: &str| ServerView {
            name: name.into(),
            ..ServerView::default()
        };
        Snapshot {
            services: vec![ServiceView {
                name: "https_backend".into(),
                servers: vec![server("mb1"), server("mb2")],
                ..ServiceView::default()
            }],
            ..Snapshot::default()
        }
    }

    fn change(server: &str, state: AdminState, reason: &str) -> Change {
        Change::Admin {
            server: ServerRef {
                service: "https_backend".into(),
                server: server.into(),
            },
            state,
            reason: reason.into(),
            guarded: false,
        }
    }

    #[test]
    fn haproxys_fields_are_understood() {
        let read = |body: &str| read(body.as_bytes(), &snapshot());
        assert_eq!(
            read("s=mb2&action=drain&b=https_backend"),
            Ok(vec![change("mb2", AdminState::Drain, "")])
        );
        assert_eq!(
            read("b=%232&action=maint&s=mb1&s=mb2&reason=kernel+upgrade%0D%0A%1b[31mnow&x=1"),
            Ok(vec![
                change("mb1", AdminState::Maint, "kernel upgrade [31mnow"),
                change("mb2", AdminState::Maint, "kernel upgrade [31mnow"),
            ])
        );
        let long = format!(
            "s=mb1&action=ready&b=https_backend&reason={}",
            "x".repeat(999)
        );
        assert_eq!(
            read(&long),
            Ok(vec![change(
                "mb1",
                AdminState::Ready,
                &"x".repeat(MAX_REASON)
            )])
        );
    }

    #[test]
    fn what_is_not_understood_changes_nothing() {
        for (body, outcome) in [
            ("", Outcome::Error),
            ("s=mb1&b=https_backend", Outcome::Error),
            ("s=mb1&action=ready", Outcome::Error),
            ("s=mb1&action=shutdown&b=https_backend", Outcome::Error),
            ("s=mb1&action=ready&b=other", Outcome::Error),
            ("s=mb9&action=ready&b=https_backend", Outcome::Error),
            ("s=mb1&s=mb9&action=ready&b=https_backend", Outcome::Error),
            ("action=ready&b=https_backend", Outcome::None),
            ("\u{0}%zz=&&=", Outcome::Error),
        ] {
            assert_eq!(read(body.as_bytes(), &snapshot()), Err(outcome), "{body}");
        }
    }

    #[test]
    fn outcomes_have_haproxys_words() {
        for outcome in Outcome::ALL {
            assert_eq!(Outcome::from_word(outcome.word()), Some(outcome));
        }
        assert_eq!(Outcome::from_word("done"), None);
    }
}
