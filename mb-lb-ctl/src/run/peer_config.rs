//! `peer diff` and `peer push`: the configuration files of the two directors, compared and carried over.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Director;
use crate::cli::config_source;
use crate::config;
use crate::engine::{self, Event};
use crate::peer::{Message, PeerEvent};

/// The peer answers within this time, or it is said that it did not.
const PATIENCE: Duration = Duration::from_secs(10);

/// Lines for people, or why there are none.
pub type Answer = Result<Vec<String>, String>;

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
                let config = self.parsed(&text)?;
                match self.engine.runs(&config) {
                    true => Ok(text),
                    false => Err(
                        "the file here says something else than what is in force: mb-lb-ctl reload first"
                            .to_owned(),
                    ),
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
                self.asked
                    .give_up("the connection to the peer was lost", true);
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
                let result = self.take_over_file(text, by);
                let (id, peering) = (*id, self.peering.sender());
                // When the kernel has it, as with a reload.
                self.owe(move |refused| {
                    let result = match refused {
                        Some(why) => {
                            result.and(Err(format!("the kernel did not take all of it: {why}")))
                        }
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

    fn parsed(&self, text: &str) -> Result<config::Config, String> {
        super::parse(text, &self.options.config.display().to_string()).map(|(config, _)| config)
    }

    fn compare(&self, theirs: &str) -> Answer {
        let own = self.own_text().and_then(|text| self.parsed(&text))?;
        let theirs = super::parse(theirs, "the peer's configuration")
            .map_err(|why| format!("the peer's file has errors\n{why}"))?
            .0;
        Ok(engine::changes(&own.shared(), &theirs.shared()))
    }

    /// Puts what the peer sent in the place of our file, with what is this director's own kept, if that is a good
    /// configuration. The file before it stays beside.
    fn take_over_file(&mut self, pushed: &str, by: &str) -> Result<String, String> {
        let own = self.own_text()?;
        let merged = config::adopt(&own, pushed).map_err(|error| error.to_string())?;
        self.parsed(&merged)?;
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
