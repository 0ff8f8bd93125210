//! `top`: services and servers as they change, and keys to change them.
//!
//! ```text
//! keyboard (thread) --\                                /--> screen
//! signals (thread) ----+--> one channel --> State -----+--> quit
//! daemon (thread) ----/                                \--> daemon (thread): ask, change
//! ```
//!
//! Only `run` and what it spawns do I/O; [`State`] and [`render`] are pure.

mod draw;
mod history;
mod model;
mod paint;
mod pane;
mod question;
mod rows;
mod screen;

use std::io::{self, IsTerminal as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use nix::sys::signal::{self, SigSet, Signal};
use ratatui::crossterm::event::{self, Event as Terminal};

use crate::cli::args::{self, Global};
use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::style_of_stdout;
use crate::snapshot::{EventView, Snapshot};

pub use draw::render;
pub use model::{Effect, Event, State};
pub use screen::Screen;

/// As many as a screen, or a few of them, may show.
const EVENTS: usize = 200;

/// What comes from outside.
enum Message {
    Terminal(Terminal),
    /// The keyboard is gone.
    Deaf(io::Error),
    Signal(Signal),
    Daemon(Event),
}

/// What the thread that speaks with the daemon is to do.
enum Job {
    Refresh,
    Change(Vec<String>),
}

pub fn run(global: &Global, args: &args::Top) -> Result<Exit, Failure> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            "top needs a terminal for what it shows and for its keys",
        )
        .next("mb-lb-ctl status, or mb-lb-ctl list servers --watch"));
    }
    let client = Client::new(global);
    let (snapshot, events) = fetch(&client)?;
    let read_only = match args.read_only {
        true => Some("nothing is changed from here: --read-only".to_owned()),
        false => forbidden(&client)?,
    };
    let mut state = State::new(snapshot, events, read_only);
    match watch(&mut state, Client::changing(global), global, args)? {
        None => Ok(Exit::Ok),
        // The terminal is as it was: end as if nobody had caught it, so that whoever waits for us sees what happened.
        Some(ending) => {
            let unblocked = endings().thread_unblock();
            unblocked
                .and_then(|()| signal::raise(ending))
                .map_err(|error| Failure::failed(format!("ended by {ending}: {error}")))?;
            Ok(Exit::Failed)
        }
    }
}

/// Until somebody quits, or a signal says so.
fn watch(
    state: &mut State,
    client: Client,
    global: &Global,
    args: &args::Top,
) -> Result<Option<Signal>, Failure> {
    let style = style_of_stdout(global.color);
    // Before any thread is there: each inherits it, and only the one for signals takes them.
    endings()
        .thread_block()
        .map_err(|error| Failure::failed(format!("cannot block signals: {error}")))?;
    // Unbounded: a person types, and the daemon is asked for one thing at a time.
    let (messages, inbox) = channel();
    let (jobs, todo) = channel();
    let threads = [
        keyboard(messages.clone()),
        signals(messages.clone()),
        daemon(client, todo, messages),
    ];
    let mut screen = Screen::enter().map_err(|error| lost(&error))?;
    let mut asked = false;
    let mut next = Instant::now() + args.interval;
    loop {
        screen
            .draw(|frame| render(state, style, frame))
            .map_err(|error| lost(&error))?;
        let patience = next.saturating_duration_since(Instant::now());
        let effects = match inbox.recv_timeout(patience) {
            Ok(Message::Terminal(Terminal::Key(key))) => state.update(Event::Key(key)),
            // Another size: the next round draws for it.
            Ok(Message::Terminal(_)) => Vec::new(),
            Ok(Message::Daemon(event)) => {
                asked = asked && matches!(event, Event::Done(_));
                state.update(event)
            }
            Ok(Message::Signal(signal)) => return Ok(Some(signal)),
            Ok(Message::Deaf(error)) => return Err(lost(&error)),
            Err(RecvTimeoutError::Timeout) => {
                next = Instant::now() + args.interval;
                vec![Effect::Refresh]
            }
            Err(RecvTimeoutError::Disconnected) => return Err(broken()),
        };
        // A thread ends by a panic only, which has taken the screen from us.
        if threads.iter().any(JoinHandle::is_finished) {
            return Err(broken());
        }
        for effect in effects {
            let job = match effect {
                Effect::Quit => return Ok(None),
                // One answer is on its way.
                Effect::Refresh if asked => continue,
                Effect::Refresh => {
                    asked = true;
                    Job::Refresh
                }
                Effect::Change(commands) => Job::Change(commands),
            };
            jobs.send(job).map_err(|_| broken())?;
        }
    }
}

fn keyboard(messages: Sender<Message>) -> JoinHandle<()> {
    thread::spawn(move || {
        loop {
            let (message, ends) = match event::read() {
                Ok(event) => (Message::Terminal(event), false),
                Err(error) => (Message::Deaf(error), true),
            };
            // Nobody listens: top ends.
            if messages.send(message).is_err() || ends {
                return;
            }
        }
    })
}

fn signals(messages: Sender<Message>) -> JoinHandle<()> {
    thread::spawn(move || {
        while let Ok(signal) = endings().wait() {
            if messages.send(Message::Signal(signal)).is_err() {
                return;
            }
        }
    })
}

fn daemon(client: Client, todo: Receiver<Job>, messages: Sender<Message>) -> JoinHandle<()> {
    thread::spawn(move || {
        for job in todo {
            let event = match job {
                Job::Refresh => match fetch(&client) {
                    Ok((snapshot, events)) => Event::Fresh(Box::new(snapshot), events),
                    Err(failure) => Event::Silent(failure.message),
                },
                Job::Change(commands) => Event::Done(change(&client, &commands)),
            };
            if messages.send(Message::Daemon(event)).is_err() {
                return;
            }
        }
    })
}

fn fetch(client: &Client) -> Result<(Snapshot, Vec<EventView>), Failure> {
    let snapshot = client.snapshot()?;
    let (_, events) = client.ask(&format!("mb-lb events {EVENTS}"))?;
    Ok((snapshot, events))
}

/// What was done; where one fails, what was done before it is said too.
fn change(client: &Client, commands: &[String]) -> Result<String, String> {
    let mut done = Vec::new();
    for command in commands {
        match client.tell(command) {
            Ok(text) if text.is_empty() => {}
            Ok(text) => done.push(text),
            Err(failure) => {
                let mut said = vec![failure.message];
                said.extend(done);
                return Err(said.join("; done before: "));
            }
        }
    }
    Ok(match done.as_slice() {
        [] => "done".to_owned(),
        texts => texts.join("; "),
    })
}

/// Why this connection may change nothing, where that is so.
fn forbidden(client: &Client) -> Result<Option<String>, Failure> {
    let level = client.level()?;
    Ok((level != "admin").then(|| {
        format!("nothing is changed from here: the socket lets nobody do more than `{level}` (admin.socket_level)")
    }))
}

fn endings() -> SigSet {
    SigSet::from_iter([
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
    ])
}

fn lost(error: &io::Error) -> Failure {
    Failure::failed(format!("the terminal does not work any more: {error}"))
}

fn broken() -> Failure {
    Failure::failed("a part of top has ended; nothing more is shown").next("mb-lb-ctl status")
}

#[cfg(test)]
mod tests;
