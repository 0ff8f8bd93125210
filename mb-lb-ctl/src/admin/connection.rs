//! One connection: lines in, answers out.

mod asked;
mod reader;

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::sync::{broadcast, oneshot};

use super::{IDLE_TIMEOUT, MAX_LINE, MAX_PAYLOAD, Request, Shared, WRITE_TIMEOUT, process};
use crate::command::line::{self, MAX_PATTERN};
use crate::command::native::{self, Code, Native};
use crate::command::{self, Answer, Context};
use crate::config::SocketLevel;
use crate::engine::{Change, ServerRef};
use crate::snapshot::{EventView, Snapshot};

use reader::{Read, Reader};

/// Serves one client until it has what it wanted, quits, or is silent for too long.
pub(super) async fn serve(stream: UnixStream, shared: Arc<Shared>) {
    let connection = Connection {
        reader: Reader::new(stream),
        level: shared.handle.level,
        shared,
        prompt: false,
        idle: IDLE_TIMEOUT,
    };
    if let Err(error) = connection.run().await {
        // A client that goes away in the middle is its own business.
        tracing::debug!(%error, "admin connection closed");
    }
}

/// Says why the client is not served, and waits until it has gone: closing with unread input would reset the
/// connection, and the client would see that in the place of the text.
pub(super) async fn farewell(stream: UnixStream, text: &str) -> io::Result<()> {
    let mut reader = Reader::new(stream);
    reader.stream.write_all(text.as_bytes()).await?;
    reader.stream.shutdown().await?;
    reader.gone().await
}

struct Connection {
    reader: Reader,
    shared: Arc<Shared>,
    level: SocketLevel,
    /// Interactive: a prompt after each answer, and the connection stays open.
    prompt: bool,
    idle: Duration,
}

/// Whether the connection goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Continue,
    Close,
}

impl Connection {
    async fn run(mut self) -> io::Result<()> {
        loop {
            let text = match self.reader.line(MAX_LINE, self.idle).await? {
                Read::Line(text) => text,
                Read::Closed | Read::Idle => return Ok(()),
                Read::TooLong => return self.too_long("Line", MAX_LINE).await,
            };
            if self.line(&text).await? == Next::Close {
                return Ok(());
            }
            // Without a prompt one line is all; but lines that were sent together are answered together.
            if !self.prompt && !self.reader.has_more()? {
                return self.reader.stream.shutdown().await;
            }
        }
    }

    async fn line(&mut self, text: &str) -> io::Result<Next> {
        let line = line::split(text);
        let mut payload = None;
        if let Some(pattern) = &line.payload_until {
            if pattern.len() > MAX_PATTERN {
                let text = format!(
                    "The pattern that ends the payload is longer than {MAX_PATTERN} bytes.\n"
                );
                self.refuse(&text).await?;
                return Ok(Next::Close);
            }
            match self.payload(pattern).await? {
                Some(text) => payload = Some(text),
                None => return Ok(Next::Close),
            }
        }
        let last = line.commands.len() - 1;
        for (index, words) in line.commands.iter().enumerate() {
            let payload = payload.take_if(|_| index == last);
            let text = match self.respond(words, payload) {
                Answer::Quit => return Ok(Next::Close),
                Answer::Text(text) => text,
                Answer::Prompt => {
                    self.prompt = !self.prompt;
                    String::new()
                }
                Answer::Timeout(timeout) => {
                    self.idle = timeout;
                    String::new()
                }
                Answer::Level(level) => {
                    self.level = level;
                    String::new()
                }
                Answer::Clear { all } => {
                    let snapshot = self.snapshot();
                    self.shared.cleared().clear(&snapshot, all);
                    String::new()
                }
                Answer::Change { change, done } => self.change(change, done).await,
                Answer::Sessions(id) => self.sessions(id).await?,
                Answer::CutSession(id) => self.cut_session(id).await,
                Answer::Ssl(command) => self.ssl(command).await,
                Answer::Environment(name) => Self::environment(name.as_deref()),
                Answer::Native(Native::Follow(count)) => {
                    return self.follow(count).await.map(|()| Next::Close);
                }
                Answer::Native(native) => self.native(native).await,
            };
            self.answer(&text).await?;
        }
        Ok(Next::Continue)
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.handle.snapshot.borrow().clone()
    }

    fn respond(&self, words: &[String], payload: Option<String>) -> Answer {
        let snapshot = self.snapshot();
        let since = self.shared.cleared().since(&snapshot);
        let context = Context {
            snapshot: &since,
            now_ms: unix_millis(),
            level: self.level,
            socket: (&self.shared.path, self.shared.handle.level),
            process: process::facts(snapshot.uptime),
        };
        command::respond(words, payload, &context)
    }

    /// The lines up to the one that equals `pattern`; `None` when they did not come, and nothing must be done.
    async fn payload(&mut self, pattern: &str) -> io::Result<Option<String>> {
        let mut payload = String::new();
        loop {
            if self.prompt {
                self.send("+ ").await?;
            }
            let room = MAX_PAYLOAD.saturating_sub(payload.len());
            match self.reader.line(room, self.idle).await? {
                Read::Line(text) if text.trim_end_matches('\r') == pattern => {
                    return Ok(Some(payload));
                }
                Read::Line(text) => {
                    payload.push_str(&text);
                    payload.push('\n');
                }
                Read::TooLong => {
                    self.too_long("Payload", MAX_PAYLOAD).await?;
                    return Ok(None);
                }
                Read::Closed | Read::Idle => return Ok(None),
            }
        }
    }

    async fn too_long(&mut self, what: &str, limit: usize) -> io::Result<()> {
        self.refuse(&format!(
            "{what} too long: at most {limit} bytes are read. Nothing of it was done.\n\n"
        ))
        .await
    }

    /// The last words to a client that may still be sending: as [`farewell`].
    async fn refuse(&mut self, text: &str) -> io::Result<()> {
        self.send(text).await?;
        self.reader.stream.shutdown().await?;
        self.reader.discard().await
    }

    /// A text and what separates it from the next.
    async fn answer(&mut self, text: &str) -> io::Result<()> {
        let end = if self.prompt { "\n> " } else { "\n" };
        self.send(&format!("{text}{end}")).await
    }

    async fn send(&mut self, text: &str) -> io::Result<()> {
        tokio::time::timeout(WRITE_TIMEOUT, self.reader.stream.write_all(text.as_bytes())).await?
    }

    /// A change in HAProxy's dialect: silence is success.
    async fn change(&mut self, change: Change, done: String) -> String {
        let by = self.peer().await;
        let request = |reply| Request::Change { change, by, reply };
        match self.ask(request).await {
            Ok(Ok(_)) => done,
            Ok(Err(refusal)) => format!("{refusal}\n"),
            Err(text) => format!("{text}\n"),
        }
    }

    async fn native(&mut self, native: Native) -> String {
        self.try_native(native)
            .await
            .unwrap_or_else(|text| native::complaint(Code::Failed, &text))
    }

    /// The answer; the error is that there was none.
    async fn try_native(&mut self, native: Native) -> Result<String, String> {
        let snapshot = self.snapshot();
        Ok(match native {
            Native::Misused(text) => native::complaint(Code::Usage, &text),
            Native::Snapshot => native::reply(Code::Ok, "", &*snapshot),
            Native::Change(change) => {
                let server = server_of(&change).cloned();
                if let Some(server) = &server
                    && let Err(text) = native::check_server(&snapshot, server)
                {
                    return Ok(native::complaint(Code::NotFound, &text));
                }
                let by = self.peer().await;
                let request = |reply| Request::Change { change, by, reply };
                match self.ask(request).await? {
                    Ok(text) => native::complaint(Code::Ok, &text),
                    Err(refusal) => native::refusal(&refusal, server.as_ref(), &snapshot),
                }
            }
            Native::Reload => match self.ask(|reply| Request::Reload { reply }).await? {
                Ok(done) => native::reply(Code::Ok, &done.warnings, &done.changes),
                Err(text) => native::complaint(Code::ConfigErrors, &text),
            },
            Native::Diff { text, name } => match self
                .ask(|reply| Request::Diff { text, name, reply })
                .await?
            {
                Ok(lines) if lines.is_empty() => native::reply(Code::Ok, "", &lines),
                Ok(lines) => native::reply(Code::Pending, "", &lines),
                Err(text) => native::complaint(Code::ConfigErrors, &text),
            },
            Native::PeerDiff => match self.ask(|reply| Request::PeerDiff { reply }).await? {
                Ok(lines) if lines.is_empty() => native::reply(Code::Ok, "", &lines),
                Ok(lines) => native::reply(Code::Pending, "", &lines),
                Err(text) => native::complaint(Code::Failed, &text),
            },
            Native::PeerPush => {
                let by = self.peer().await;
                match self.ask(|reply| Request::PeerPush { by, reply }).await? {
                    Ok(lines) => native::reply(Code::Ok, "", &lines),
                    Err(text) => native::complaint(Code::Failed, &text),
                }
            }
            Native::Events(count) => native::reply(Code::Ok, "", &self.last_events(count).await?),
            Native::Flows { service, limit } => {
                if let Some(name) = &service
                    && let Err(text) = native::check_service(&snapshot, name)
                {
                    return Ok(native::complaint(Code::NotFound, &text));
                }
                let request = |reply| Request::Flows {
                    service,
                    limit,
                    reply,
                };
                match self.ask(request).await? {
                    Ok(flows) => native::reply(Code::Ok, "", &flows),
                    Err(text) => native::complaint(Code::Failed, &text),
                }
            }
            Native::Record(server) => {
                if let Err(text) = native::check_server(&snapshot, &server) {
                    return Ok(native::complaint(Code::NotFound, &text));
                }
                match self.ask(|reply| Request::Record { server, reply }).await? {
                    Ok(record) => native::reply(Code::Ok, "", &record),
                    Err(text) => native::complaint(Code::Failed, &text),
                }
            }
            Native::Sync(name) => {
                if let Err(text) = native::check_sync(&snapshot, &name) {
                    return Ok(native::complaint(Code::NotFound, &text));
                }
                match self.ask(|reply| Request::Sync { name, reply }).await? {
                    Ok(text) => native::complaint(Code::Ok, &text),
                    Err(refusal) => native::complaint(Code::Refused, &refusal.to_string()),
                }
            }
            // Taken care of by the caller, because it has no one answer.
            Native::Follow(_) => String::new(),
        })
    }

    async fn last_events(&self, count: usize) -> Result<Vec<EventView>, String> {
        let mut events = self
            .ask(|reply| Request::Events { after: 0, reply })
            .await?;
        events.drain(..events.len().saturating_sub(count));
        Ok(events)
    }

    /// The last `count` events and all that come, a line each, until the client goes.
    async fn follow(&mut self, count: usize) -> io::Result<()> {
        // Subscribed first, so that no event falls between the old ones and the new ones.
        let followed = match self.ask(|reply| Request::Follow { reply }).await {
            Ok(receiver) => self.last_events(count).await.map(|old| (receiver, old)),
            Err(text) => Err(text),
        };
        let (mut receiver, old) = match followed {
            Ok(followed) => followed,
            Err(text) => return self.answer(&native::complaint(Code::Failed, &text)).await,
        };
        let mut seen = 0;
        for event in old {
            self.send(&native::reply(Code::Ok, "", &event)).await?;
            seen = event.seq;
        }
        loop {
            let text = tokio::select! {
                gone = self.reader.gone() => return gone,
                event = receiver.recv() => match event {
                    Ok(event) if event.seq <= seen => continue,
                    Ok(event) => native::reply(Code::Ok, "", &event),
                    Err(broadcast::error::RecvError::Lagged(lost)) => native::complaint(
                        Code::Ok,
                        &format!("{lost} events were skipped: they came faster than they were read"),
                    ),
                    Err(broadcast::error::RecvError::Closed) => return Ok(()),
                },
            };
            self.send(&text).await?;
        }
    }

    /// Asks the controller; the error is what to tell the client.
    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, String> {
        self.shared.handle.ask(request).await
    }

    /// Name of the user at the other end.
    async fn peer(&self) -> String {
        let Ok(credentials) = self.reader.stream.peer_cred() else {
            return "unknown".to_owned();
        };
        let uid = credentials.uid();
        // The name may come from a directory server far away, so this must not hold up the runtime.
        let name = tokio::task::spawn_blocking(move || {
            nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid))
        });
        match tokio::time::timeout(Duration::from_secs(2), name).await {
            Ok(Ok(Ok(Some(user)))) => user.name,
            _ => format!("uid {uid}"),
        }
    }
}

fn server_of(change: &Change) -> Option<&ServerRef> {
    match change {
        Change::Admin { server, .. }
        | Change::Weight { server, .. }
        | Change::Set { server, .. }
        | Change::Move { server, .. }
        | Change::Add { server, .. }
        | Change::Remove { server }
        | Change::EndSessions { server } => Some(server),
        Change::Failover { .. }
        | Change::Frontend { .. }
        | Change::ShutFrontend { .. }
        | Change::ClientCap { .. } => None,
    }
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // Before 1970 the date shown is the least of the machine's problems.
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
