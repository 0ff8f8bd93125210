//! What top knows, and what keys and answers make of it. Pure: what is to be done goes out as effects.

use std::collections::{BTreeMap, BTreeSet};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::cli::state;
use crate::cli::top::history::History;
use crate::cli::top::rows::{Place, Row, Sort, rows};
use crate::command::line::quote;
use crate::command::native::state_word;
use crate::snapshot::{AdminState, EventView, ServerView, ServiceView, Snapshot};

/// HAProxy's and ours.
pub const MAX_WEIGHT: u16 = 256;
const PAGE: isize = 10;

#[derive(Clone, Debug)]
pub enum Event {
    Key(KeyEvent),
    /// What the daemon answered.
    Fresh(Box<Snapshot>, Vec<EventView>),
    /// Why it did not.
    Silent(String),
    /// A change was made: what was said, or why nothing was done.
    Done(Result<String, String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Quit,
    /// Ask the daemon now.
    Refresh,
    /// Send these commands, in order, until one fails.
    Change(Vec<String>),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    #[default]
    Tree,
    Events,
    Help,
}

/// What the pane below the tree says of the selected server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    #[default]
    State,
    Check,
}

/// What keys are written into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Filter,
    Admin {
        state: AdminState,
        servers: Vec<Place>,
        reason: String,
    },
    /// Each server with its new weight.
    Weight {
        servers: Vec<(Place, u16)>,
    },
}

/// The last word, until the next key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub text: String,
    pub bad: bool,
}

#[derive(Clone, Debug, Default)]
pub struct State {
    pub snapshot: Snapshot,
    pub events: Vec<EventView>,
    pub rates: BTreeMap<String, History>,
    pub selected: Option<Place>,
    pub marks: BTreeSet<Place>,
    pub filter: String,
    pub sort: Sort,
    pub view: View,
    pub detail: Detail,
    /// Lines of events that are above the screen.
    pub scroll: usize,
    pub input: Option<Input>,
    pub said: Option<Said>,
    /// Why nothing can be changed from here.
    pub read_only: Option<String>,
    /// Why the daemon does not answer.
    pub silent: Option<String>,
}

impl State {
    pub fn new(snapshot: Snapshot, events: Vec<EventView>, read_only: Option<String>) -> Self {
        let mut state = Self {
            read_only,
            ..Self::default()
        };
        state.take(snapshot, events);
        state
    }

    pub fn update(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Key(key) if key.kind == KeyEventKind::Release => Vec::new(),
            Event::Key(key) => self.key(key),
            Event::Fresh(snapshot, events) => {
                self.take(*snapshot, events);
                Vec::new()
            }
            Event::Silent(why) => {
                self.silent = Some(why);
                Vec::new()
            }
            Event::Done(Ok(text)) => {
                self.marks.clear();
                self.say(text);
                vec![Effect::Refresh]
            }
            Event::Done(Err(text)) => {
                self.complain(text);
                vec![Effect::Refresh]
            }
        }
    }

    pub fn rows(&self) -> Vec<Row<'_>> {
        rows(&self.snapshot, &self.filter, self.sort)
    }

    /// The selected line; the first server where none is.
    pub fn selected_row<'s>(&self, rows: &[Row<'s>]) -> Option<(usize, Row<'s>)> {
        let selected = self.selected.as_ref();
        let at = selected.and_then(|place| rows.iter().position(|row| row.is(place)));
        let at = at.or_else(|| rows.iter().position(|row| row.server.is_some()));
        let at = at.unwrap_or(0);
        rows.get(at).map(|row| (at, *row))
    }

    pub fn find(&self, place: &Place) -> Option<(&ServiceView, &ServerView)> {
        let name = place.server.as_ref()?;
        let mut services = self.snapshot.services.iter();
        let service = services.find(|service| service.name == place.service)?;
        let server = service.servers.iter().find(|server| server.name == *name)?;
        Some((service, server))
    }

    fn take(&mut self, snapshot: Snapshot, events: Vec<EventView>) {
        for service in &snapshot.services {
            let rate = service.servers.iter().map(|server| server.rate).sum();
            let history = self.rates.entry(service.name.clone()).or_default();
            history.push(rate);
        }
        let names: BTreeSet<_> = snapshot.services.iter().map(|s| s.name.as_str()).collect();
        self.rates.retain(|name, _| names.contains(name.as_str()));
        self.snapshot = snapshot;
        self.events = events;
        self.silent = None;
        let gone = |place: &Place| self.find(place).is_none();
        let gone: Vec<_> = self.marks.iter().filter(|p| gone(p)).cloned().collect();
        for place in gone {
            self.marks.remove(&place);
        }
    }

    fn key(&mut self, key: KeyEvent) -> Vec<Effect> {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && key.code == KeyCode::Char('c') {
            return vec![Effect::Quit];
        }
        if control || key.modifiers.contains(KeyModifiers::ALT) {
            return Vec::new();
        }
        self.said = None;
        match self.input.take() {
            Some(input) => self.write(input, key.code),
            None => self.command(key.code),
        }
    }

    fn command(&mut self, code: KeyCode) -> Vec<Effect> {
        match code {
            KeyCode::Char('q' | 'Q') => return vec![Effect::Quit],
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.show(View::Help),
            KeyCode::Char('e') => self.show(View::Events),
            KeyCode::Esc => self.back(),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::PageUp => self.step(-PAGE),
            KeyCode::PageDown => self.step(PAGE),
            KeyCode::Home | KeyCode::Char('g') => self.step(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.step(isize::MAX),
            // What follows is of the tree, and what is not seen is not changed.
            _ if self.view != View::Tree => {}
            KeyCode::Char('c') | KeyCode::Enter => {
                self.detail = match self.detail {
                    Detail::State => Detail::Check,
                    Detail::Check => Detail::State,
                };
            }
            KeyCode::Char('/') => self.input = Some(Input::Filter),
            KeyCode::Char('s') => {
                self.sort = self.sort.next();
                self.say(format!("servers: {}", self.sort.words()));
            }
            KeyCode::Char(' ') => self.mark(),
            KeyCode::Char('d') => self.ask_admin(AdminState::Drain),
            KeyCode::Char('r') | KeyCode::F(9) => self.ask_admin(AdminState::Ready),
            KeyCode::Char('m') | KeyCode::F(10) => self.ask_admin(AdminState::Maint),
            KeyCode::F(4) => self.ask_weight(|server| server.initial_weight),
            KeyCode::F(5) => self.ask_weight(|server| changed(server.weight, -10)),
            KeyCode::F(6) | KeyCode::Char('-') => {
                self.ask_weight(|server| changed(server.weight, -1));
            }
            KeyCode::F(7) | KeyCode::Char('+' | '=') => {
                self.ask_weight(|server| changed(server.weight, 1));
            }
            KeyCode::F(8) => self.ask_weight(|server| changed(server.weight, 10)),
            _ => {}
        }
        Vec::new()
    }

    /// A key while something is being written or confirmed.
    fn write(&mut self, input: Input, code: KeyCode) -> Vec<Effect> {
        match (input, code) {
            (Input::Filter, KeyCode::Esc) => self.filter.clear(),
            (Input::Filter, KeyCode::Enter | KeyCode::Up | KeyCode::Down) => {}
            (Input::Filter, code) => {
                edit(&mut self.filter, code);
                self.input = Some(Input::Filter);
            }
            (_, KeyCode::Esc) => self.say("nothing was changed".to_owned()),
            (
                Input::Admin {
                    state,
                    servers,
                    reason,
                },
                KeyCode::Enter,
            ) => {
                let reason = match reason.trim() {
                    "" => String::new(),
                    reason => format!(" {}", quote(reason)),
                };
                let word = state_word(state);
                let change = |place| format!("mb-lb set {} {word}{reason}", quote(&name(place)));
                return self.send(servers.iter().map(change).collect());
            }
            (
                Input::Admin {
                    state,
                    servers,
                    mut reason,
                },
                code,
            ) => {
                edit(&mut reason, code);
                self.input = Some(Input::Admin {
                    state,
                    servers,
                    reason,
                });
            }
            (Input::Weight { servers }, KeyCode::Enter) => {
                let change = |(place, weight): &(Place, u16)| {
                    format!("mb-lb weight {} {weight}", quote(&name(place)))
                };
                return self.send(servers.iter().map(change).collect());
            }
            (Input::Weight { mut servers }, code) => {
                let step = match code {
                    KeyCode::F(5) | KeyCode::PageDown => -10,
                    KeyCode::F(6) | KeyCode::Char('-') | KeyCode::Down => -1,
                    KeyCode::F(7) | KeyCode::Char('+' | '=') | KeyCode::Up => 1,
                    KeyCode::F(8) | KeyCode::PageUp => 10,
                    _ => 0,
                };
                for (_, weight) in &mut servers {
                    *weight = changed(*weight, step);
                }
                self.input = Some(Input::Weight { servers });
            }
        }
        Vec::new()
    }

    fn send(&mut self, commands: Vec<String>) -> Vec<Effect> {
        self.say("asked the daemon ...".to_owned());
        vec![Effect::Change(commands)]
    }

    fn ask_admin(&mut self, state: AdminState) {
        if let Some(servers) = self.targets() {
            self.input = Some(Input::Admin {
                state,
                servers,
                reason: String::new(),
            });
        }
    }

    fn ask_weight(&mut self, new: impl Fn(&ServerView) -> u16) {
        let Some(places) = self.targets() else {
            return;
        };
        let servers = places.into_iter().filter_map(|place| {
            let weight = new(self.find(&place)?.1);
            Some((place, weight))
        });
        let servers = servers.collect();
        self.input = Some(Input::Weight { servers });
    }

    /// Servers that are marked; the selected one where none is. Says so where nothing can be changed.
    fn targets(&mut self) -> Option<Vec<Place>> {
        if let Some(why) = self.read_only.clone() {
            self.complain(why);
            return None;
        }
        if !self.marks.is_empty() {
            return Some(self.marks.iter().cloned().collect());
        }
        let place = self.selected_row(&self.rows()).map(|(_, row)| row.place());
        match place {
            Some(place) if place.server.is_some() => Some(vec![place]),
            Some(_) => {
                self.complain("this is a service: select one of its servers".to_owned());
                None
            }
            None => {
                self.complain("there is no server here".to_owned());
                None
            }
        }
    }

    fn mark(&mut self) {
        let place = self.selected_row(&self.rows()).map(|(_, row)| row.place());
        if let Some(place) = place.filter(|place| place.server.is_some())
            && !self.marks.remove(&place)
        {
            self.marks.insert(place);
        }
        self.step(1);
    }

    fn show(&mut self, view: View) {
        self.scroll = 0;
        self.view = match self.view == view {
            true => View::Tree,
            false => view,
        };
    }

    /// Out of what was last gone into.
    fn back(&mut self) {
        if self.view != View::Tree {
            self.view = View::Tree;
        } else if !self.filter.is_empty() {
            self.filter.clear();
        } else {
            self.marks.clear();
        }
    }

    fn step(&mut self, by: isize) {
        match self.view {
            View::Help => {}
            View::Events => {
                let most = self.events.len().saturating_sub(1);
                self.scroll = self.scroll.saturating_add_signed(by).min(most);
            }
            View::Tree => {
                let rows = self.rows();
                let Some((at, _)) = self.selected_row(&rows) else {
                    return;
                };
                let to = at.saturating_add_signed(by).min(rows.len() - 1);
                self.selected = Some(rows[to].place());
            }
        }
    }

    fn say(&mut self, text: String) {
        self.said = Some(Said { text, bad: false });
    }

    fn complain(&mut self, text: String) {
        self.said = Some(Said { text, bad: true });
    }
}

/// `SERVICE/SERVER`, as commands name it.
pub fn name(place: &Place) -> String {
    match &place.server {
        Some(server) => state::full_name(&place.service, server),
        None => place.service.clone(),
    }
}

fn changed(weight: u16, by: i16) -> u16 {
    weight.saturating_add_signed(by).min(MAX_WEIGHT)
}

fn edit(text: &mut String, code: KeyCode) {
    match code {
        KeyCode::Backspace => {
            text.pop();
        }
        // A line of the socket ends at a line end, and no reason needs another control character.
        KeyCode::Char(typed) if !typed.is_control() && text.chars().count() < 200 => {
            text.push(typed)
        }
        _ => {}
    }
}
