//! `peer diff` and `peer push`: the configuration files of the two directors, compared and carried over.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Director;
use crate::cli::config_source;
use crate::config;
use crate::engine::{self, Engine, Event};
use crate::peer::{Message, PeerEvent};

/// The peer answers within this time, or it is said that it did not.
const PATIENCE: Duration = Duration::from_secs(10);
pub const LATE: &str = "the peer did not answer in time";
const LOST: &str = "the connection to the peer was lost";
const NOT_IN_FORCE: &str =
    "the file here says something else than what is in force: mb-lb-ctl reload first";

/// Lines for people, or why there are none.
pub type Answer = Result<Vec<String>, String>;

/// Why what the peer sent is not taken, as the peer is told.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error("it takes no pushes (accept_push = false in its [peer])")]
    NotAccepted,
    #[error(
        "{0} was edited there and is not in force: mb-lb-ctl reload there first, or take the edit back"
    )]
    Edited(String),
    #[error(transparent)]
    Adopt(#[from] config::AdoptError),
    #[error("with what is its own in it, the file has errors\n{0}")]
    Bad(String),
}

/// Questions to the peer that have no answer yet.
#[derive(Default)]
pub struct Asked {
    diffs: Vec<(oneshot::Sender<Answer>, Instant)>,
    pushes: Vec<(u64, oneshot::Sender<Answer>, Instant)>,
    last_push: u64,
}

impl Asked {
    /// Answers what waits for too long, or all of it.
    pub fn give_up(&mut self, why: &str, all: bool) {
        let late = |at: &Instant| all || at.elapsed() >= PATIENCE;
        // Those who asked may have gone, here and below.
        for (reply, _) in self.diffs.extract_if(.., |(_, at)| late(at)) {
            let _sent = reply.send(Err(why.to_owned()));
        }
        for (_, reply, _) in self.pushes.extract_if(.., |(_, _, at)| late(at)) {
            let _sent = reply.send(Err(why.to_owned()));
        }
    }
}

impl Director {
    pub(super) fn peer_diff(&mut self, reply: oneshot::Sender<Answer>) {
        if let Err(why) = self.engine.has_peer() {
            let _sent = reply.send(Err(why));
            return;
        }
        self.asked.diffs.push((reply, Instant::now()));
        self.peering.send(Message::ConfigAsk);
    }

    pub(super) fn peer_push(&mut self, by: String, reply: oneshot::Sender<Answer>) {
        let text = self
            .engine
            .has_peer()
            .and_then(|()| self.own_text())
            .and_then(|text| {
                let config = self.own_config(&text)?;
                match self.engine.runs(&config) {
                    true => Ok(text),
                    false => Err(NOT_IN_FORCE.to_owned()),
                }
            });
        match text {
            Err(why) => {
                let _sent = reply.send(Err(format!("not sent: {why}")));
            }
            Ok(text) => {
                self.asked.last_push += 1;
                let id = self.asked.last_push;
                self.asked.pushes.push((id, reply, Instant::now()));
                self.peering.send(Message::ConfigPush { id, text, by });
            }
        }
    }

    /// Deals with what is said about files. False: it is something else.
    pub(super) fn on_peer_file(&mut self, event: &Event) -> bool {
        let Event::Peer(event) = event else {
            return false;
        };
        let message = match event {
            PeerEvent::Message(message) => &**message,
            PeerEvent::Disconnected { .. } => {
                self.asked.give_up(LOST, true);
                return false;
            }
            _ => return false,
        };
        match message {
            Message::ConfigAsk => {
                // Nothing to tell is told as nothing.
                let text = self.own_text().unwrap_or_default();
                self.peering.send(Message::Config {
                    text,
                    hash: String::new(),
                });
            }
            Message::Config { text, .. } => {
                let answer = self.compare(text);
                for (reply, _) in self.asked.diffs.drain(..) {
                    let _sent = reply.send(answer.clone());
                }
            }
            Message::ConfigPush { id, text, by } => {
                let name = self.engine.director_name().to_owned();
                let result = self.take_over_file(text, by).map_err(|why| {
                    let first = engine::summary(&why);
                    tracing::warn!(by, "what the peer sent was not taken: {first}");
                    format!("{name} has not taken it: {why}")
                });
                let (id, peering) = (*id, self.peering.sender());
                // When the kernel has it, as with a reload.
                self.owe(move |refused| {
                    let result = match refused {
                        Some(why) => result.and(Err(format!(
                            "the kernel of {name} did not take all of it: {why}"
                        ))),
                        None => result,
                    };
                    // The connection may have gone; the other side gives up by itself.
                    let _sent = peering.try_send(Message::ConfigPushed { id, result });
                });
            }
            Message::ConfigPushed { id, result } => {
                let asked = self
                    .asked
                    .pushes
                    .iter()
                    .position(|(known, _, _)| known == id);
                if let Some(at) = asked {
                    let (_, reply, _) = self.asked.pushes.remove(at);
                    let lines = |text: &String| text.lines().map(str::to_owned).collect();
                    let _sent = reply.send(result.as_ref().map(lines).map_err(Clone::clone));
                }
            }
            _ => return false,
        }
        true
    }

    fn own_text(&self) -> Result<String, String> {
        config_source::read(&self.options.config).map_err(|failure| failure.message)
    }

    fn own_config(&self, text: &str) -> Result<config::Config, String> {
        parsed(text, &self.options.config).map_err(|why| format!("the file here has errors\n{why}"))
    }

    fn compare(&self, theirs: &str) -> Answer {
        let own = self.own_text().and_then(|text| self.own_config(&text))?;
        let theirs = super::parse(theirs, "the peer's configuration")
            .map_err(|why| format!("the peer's file has errors\n{why}"))?
            .0;
        Ok(engine::changes(&own.shared(), &theirs.shared()))
    }

    /// Puts what the peer sent in the place of our file, with what is this director's own kept, if that is a good
    /// configuration. The file before it stays beside.
    fn take_over_file(&mut self, pushed: &str, by: &str) -> Result<String, String> {
        let own = self.own_text()?;
        let merged = merged(&self.engine, &self.options.config, &own, pushed)
            .map_err(|error| error.to_string())?;
        // Nor does what was there before this one go.
        if merged == own {
            return Ok(engine::advice::SAME_FILE.to_owned());
        }
        // Where it is a link, what it leads to is written.
        let path =
            &std::fs::canonicalize(&self.options.config).map_err(|error| error.to_string())?;
        let before = path.with_extension("toml.before-push");
        std::fs::copy(path, &before)
            .map_err(|error| format!("{} cannot be written: {error}", before.display()))?;
        let new = path.with_extension("toml.new");
        let written = std::fs::copy(path, &new)
            // The copy has the permissions of the file.
            .and_then(|_| {
                let mut file = std::fs::File::create(&new)?;
                std::io::Write::write_all(&mut file, merged.as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| std::fs::rename(&new, path))
            .and_then(|()| match path.parent() {
                Some(dir) => std::fs::File::open(dir)?.sync_all(),
                None => Ok(()),
            });
        written.map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        tracing::info!(by, "the peer has sent its configuration");
        let done = self.reload()?;
        let mut lines = done.changes;
        if lines.is_empty() {
            lines.push("nothing has changed there".to_owned());
        }
        Ok(lines.join("\n"))
    }
}

/// The file that takes the place of `own`, which is what `path` says now.
fn merged(engine: &Engine, path: &Path, own: &str, pushed: &str) -> Result<String, NotTaken> {
    if !engine.accepts_push() {
        return Err(NotTaken::NotAccepted);
    }
    // Somebody works on it there, and would not see his work go.
    if !parsed(own, path).is_ok_and(|own| engine.runs(&own)) {
        return Err(NotTaken::Edited(path.display().to_string()));
    }
    let merged = config::adopt(own, pushed)?;
    parsed(&merged, path).map_err(NotTaken::Bad)?;
    Ok(merged)
}

fn parsed(text: &str, path: &Path) -> Result<config::Config, String> {
    super::parse(text, &path.display().to_string()).map(|(config, _)| config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::Adopted;
    use crate::engine::{Identity, Now, SavedState, advice};

    const OWN: &str = "[director]\nname = \"lb2\"\n[peer]\nlisten = \"192.0.2.11:8405\"\naddress = \"192.0.2.10:8405\"\n\
         key_file = \"/k\"\n[service.smtp]\nlisten = \"192.0.2.100:25\"\n\
         servers = { mb1 = \"192.0.2.1\", mb2 = \"192.0.2.2\" }\n";

    fn pushed() -> String {
        let text = OWN.replace("mb2 = \"192.0.2.2\"", "mb3 = \"192.0.2.3\"");
        text.replace("lb2", "lb1")
    }

    /// A push to a director on which `running` is in force and `own` is in the file.
    fn push(running: &str, own: &str, pushed: &str) -> Result<String, NotTaken> {
        let path = Path::new("/etc/mb-lb/mb-lb.toml");
        let config = parsed(running, path).expect("valid");
        let nothing = (Adopted::default(), SavedState::default());
        let mut engine = Engine::new(Identity::default(), &nothing.0, nothing.1, config.clone());
        engine.handle(Event::Config(Box::new(config)), Now::default());
        merged(&engine, path, own, pushed)
    }

    #[test]
    fn what_is_in_force_is_replaced_also_by_one_push_after_the_other() {
        let first = push(OWN, OWN, &pushed()).expect("taken");
        assert!(first.contains("lb2") && first.contains("mb3"), "{first}");
        let again = push(&first, &first, &pushed()).expect("taken");
        assert_eq!(again, first);
        let commented = format!("# by hand\n{OWN}");
        assert!(push(OWN, &commented, &pushed()).is_ok(), "it says the same");
    }

    #[test]
    fn what_was_edited_there_and_is_not_in_force_is_not_replaced() {
        let edited = OWN.replace("192.0.2.2\"", "192.0.2.4\"");
        for own in [edited.as_str(), "[service.smtp]\nlisten = 5\n", "= 1", ""] {
            let error = push(OWN, own, &pushed()).expect_err("edited");
            assert!(matches!(error, NotTaken::Edited(_)), "{error}");
            assert!(
                error
                    .to_string()
                    .starts_with("/etc/mb-lb/mb-lb.toml was edited there")
            );
        }
        assert!(push(&edited, &edited, &pushed()).is_ok(), "reloaded");
    }

    #[test]
    fn who_accepts_no_push_gets_none() {
        let key = "key_file = \"/k\"\n";
        let refusing = OWN.replace(key, &format!("{key}accept_push = false\n"));
        let error = push(&refusing, &refusing, &pushed()).expect_err("refused");
        assert!(matches!(error, NotTaken::NotAccepted), "{error}");
        // What the other side says of itself is no matter here.
        let theirs = pushed().replace(key, &format!("{key}accept_push = false\n"));
        assert!(push(OWN, OWN, &theirs).is_ok());
    }

    #[test]
    fn what_does_not_fit_there_is_not_taken() {
        let bad = pushed().replace("192.0.2.100:25", "192.0.2.11:25");
        let error = push(OWN, OWN, &bad).expect_err("its own address as a VIP");
        assert!(matches!(error, NotTaken::Bad(_)), "{error}");
        let vrrp = "[vrrp.VI_1]\ninterface = \"eth0\"\nvirtual_router_id = 51\naddresses = \"192.0.2.100/24\"\n";
        let error = push(OWN, OWN, &format!("{}{vrrp}", pushed())).expect_err("new there");
        assert!(matches!(error, NotTaken::Adopt(_)), "{error}");
    }

    #[test]
    fn every_refusal_has_its_next_step() {
        let path = "/etc/mb-lb/mb-lb.toml".to_owned();
        let new = || config::AdoptError::NewInstance("VI_1".to_owned());
        for (why, expected) in [
            (LATE.to_owned(), "mb-lb-ctl status"),
            (LOST.to_owned(), "mb-lb-ctl status"),
            (
                NOT_IN_FORCE.to_owned(),
                "mb-lb-ctl diff, then mb-lb-ctl reload",
            ),
            (NotTaken::NotAccepted.to_string(), "by hand"),
            (NotTaken::Edited(path).to_string(), "reload there"),
            (NotTaken::Adopt(new()).to_string(), "write it there"),
            (NotTaken::Bad("error".to_owned()).to_string(), "check there"),
        ] {
            let step = advice::push(&why).unwrap_or_default();
            assert!(step.contains(expected), "{why}: {step}");
        }
        let config = parsed(OWN, Path::new("x")).expect("valid");
        let nothing = (Adopted::default(), SavedState::default());
        let mut engine = Engine::new(Identity::default(), &nothing.0, nothing.1, config.clone());
        let mut step = |config: config::Config| {
            engine.handle(Event::Config(Box::new(config)), Now::default());
            let why = engine.has_peer().expect_err("none, or not connected");
            advice::push(&why).unwrap_or_default()
        };
        assert_eq!(step(config.clone()), "mb-lb-ctl status");
        let alone = config::Config {
            peer: None,
            ..config
        };
        assert!(step(alone).starts_with("write [peer]"));
    }
}
