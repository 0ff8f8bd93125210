use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::model::{Detail, Input, View, name};
use super::pane::KEYS;
use super::*;
use crate::cli::style::Style;
use crate::snapshot::{
    AdminState, AgentView, Alarm, CheckView, DataplaneView, HandView, HealthState, PeerView,
    ServerView, ServiceView, Severity, VrrpView,
};

const PLAIN: Style = Style {
    color: false,
    unicode: true,
};

fn server(name: &str, position: u32) -> ServerView {
    ServerView {
        name: name.to_owned(),
        position,
        address: Some([10, 77, 0, 100 + (position % 100) as u8].into()),
        port: 25,
        initial_weight: 10,
        weight: 10,
        ramp_percent: 100,
        health: HealthState::Up,
        health_reason: format!("up: 220 {name} ESMTP"),
        usable: true,
        since: 4000,
        active: i64::from(position) * 111,
        active_max: 1500,
        opened: 20_000,
        rate: u64::from(position) * 3,
        check: Some(CheckView {
            kind: "smtp".to_owned(),
            port: 25,
            code: "L7OK".to_owned(),
            detail: format!("220 {name} ESMTP"),
            duration_ms: 3,
            rise: 2,
            fall: 3,
            streak: 9,
            history: vec![true, false, true, true],
            interval_ms: 2000,
            ..CheckView::default()
        }),
        ..ServerView::default()
    }
}

fn service(name: &str, servers: Vec<ServerView>) -> ServiceView {
    ServiceView {
        name: name.to_owned(),
        listen: vec![([192, 168, 1, 100], 25).into()],
        forward: "dsr".to_owned(),
        scheduler: "leastconn".to_owned(),
        on_down: "reset".to_owned(),
        no_server_does: "reset".to_owned(),
        since: 4000,
        layer: 4,
        servers,
        ..ServiceView::default()
    }
}

fn event(seq: u64, subject: &str, kind: &str, text: &str) -> EventView {
    EventView {
        seq,
        time_ms: 1_795_436_257_358 + seq * 1000,
        subject: subject.to_owned(),
        kind: kind.to_owned(),
        text: text.to_owned(),
        ..EventView::default()
    }
}

fn events() -> Vec<EventView> {
    vec![
        event(1, "", "config", "configuration ab12cd34ef56 in force"),
        event(2, "smtp_backend/mb2", "down", "no 220 banner within 1s"),
        event(3, "smtp_backend/mb3", "drain", "by root: kernel upgrade"),
    ]
}

fn snapshot(services: Vec<ServiceView>) -> Snapshot {
    Snapshot {
        director: "lb1".to_owned(),
        uptime: 273_600,
        config_hash: "ab12cd34ef56".to_owned(),
        config_path: "/etc/mb-lb/mb-lb.toml".to_owned(),
        dataplane: DataplaneView {
            flows: 1234,
            max_flows: 262_144,
            ..DataplaneView::default()
        },
        services,
        ..Snapshot::default()
    }
}

/// A pair at work, with one server down and one drained.
fn usual() -> State {
    let mut down = server("mb2", 2);
    down.health = HealthState::Down;
    down.health_reason = "no 220 banner within 1s: the process may be hung".to_owned();
    down.usable = false;
    if let Some(check) = &mut down.check {
        check.code = "L7TOUT".to_owned();
        check.history = vec![true, false, false, false];
        check.streak = 3;
    }
    let mut drained = server("mb3", 3);
    drained.admin = AdminState::Drain;
    drained.admin_by = "root".to_owned();
    drained.admin_reason = "kernel upgrade".to_owned();
    drained.usable = false;
    drained.weight = 5;
    let mut snapshot = snapshot(vec![
        service("smtp_backend", vec![server("mb1", 1), down, drained]),
        service("submission", vec![server("mb1", 1), server("mb2", 4)]),
    ]);
    snapshot.vrrp = vec![VrrpView {
        name: "VI_1".to_owned(),
        role: "active".to_owned(),
        ..VrrpView::default()
    }];
    snapshot.peer = Some(PeerView {
        name: "lb2".to_owned(),
        connected: true,
        in_sync: true,
        peer_in_sync: true,
        ..PeerView::default()
    });
    snapshot.alarms = vec![Alarm {
        severity: Severity::Critical,
        text: "smtp_backend/mb2 is down: no 220 banner".to_owned(),
        next: "look at it".to_owned(),
    }];
    let mut state = State::new(snapshot.clone(), events(), None);
    for second in 1..300_u64 {
        snapshot.services[0].servers[0].rate = second % 60;
        state.update(Event::Fresh(Box::new(snapshot.clone()), events()));
    }
    state
}

fn drawn(state: &State, width: u16, height: u16, style: Style) -> TestBackend {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a screen");
    terminal
        .draw(|frame| render(state, style, frame))
        .expect("it draws");
    terminal.backend().clone()
}

fn screen(state: &State, width: u16, height: u16) -> String {
    drawn(state, width, height, PLAIN).to_string()
}

fn press(state: &mut State, code: KeyCode) -> Vec<Effect> {
    state.update(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

fn write(state: &mut State, text: &str) {
    for typed in text.chars() {
        assert_eq!(press(state, KeyCode::Char(typed)), []);
    }
}

fn selected(state: &State) -> String {
    let rows = state.rows();
    let (_, row) = state.selected_row(&rows).expect("a line");
    name(&row.place())
}

#[test]
fn a_pair_at_work_on_both_sizes() {
    insta::assert_snapshot!("usual_80x24", screen(&usual(), 80, 24));
    insta::assert_snapshot!("usual_120x40", screen(&usual(), 120, 40));
}

#[test]
fn views_and_questions() {
    let mut state = usual();
    press(&mut state, KeyCode::Char('d'));
    insta::assert_snapshot!("drain_80x24", screen(&state, 80, 24));
    press(&mut state, KeyCode::Esc);
    press(&mut state, KeyCode::Char('e'));
    insta::assert_snapshot!("events_80x24", screen(&state, 80, 24));
    press(&mut state, KeyCode::Char('?'));
    insta::assert_snapshot!("help_80x24", screen(&state, 80, 24));
    press(&mut state, KeyCode::Esc);
    press(&mut state, KeyCode::Down);
    press(&mut state, KeyCode::Char('c'));
    insta::assert_snapshot!("check_80x24", screen(&state, 80, 24));
}

#[test]
fn without_services_it_says_what_to_do() {
    let state = State::new(snapshot(Vec::new()), Vec::new(), None);
    insta::assert_snapshot!("empty_80x24", screen(&state, 80, 24));
}

#[test]
fn of_300_servers_the_selected_one_is_seen() {
    let servers = (1..=300).map(|n| server(&format!("mb{n}"), n)).collect();
    let mut state = State::new(snapshot(vec![service("smtp", servers)]), Vec::new(), None);
    insta::assert_snapshot!("many_80x24", screen(&state, 80, 24));
    let mut last = String::new();
    for _ in 0..400 {
        let name = selected(&state);
        let text = screen(&state, 80, 24);
        let server = name.trim_start_matches("smtp/");
        assert!(
            text.lines()
                .any(|line| line.starts_with("\">") && line.contains(server)),
            "{name}: {text}"
        );
        last = name;
        press(&mut state, KeyCode::Down);
    }
    assert_eq!(last, "smtp/mb300");
    press(&mut state, KeyCode::Home);
    assert_eq!(selected(&state), "smtp");
}

#[test]
fn no_name_and_no_text_does_anything_to_the_terminal() {
    let hostile = "\x1b[2J\x07\r\n\t名前\u{202e}\u{200b}e\u{301}";
    let mut bad = server(hostile, 1);
    bad.health = HealthState::Down;
    bad.health_reason = format!("554 {hostile}");
    let mut snapshot = snapshot(vec![service(&hostile.repeat(40), vec![bad])]);
    snapshot.director = hostile.to_owned();
    snapshot.alarms = vec![Alarm {
        text: hostile.to_owned(),
        ..Alarm::default()
    }];
    let subject = format!("{}/{hostile}", hostile.repeat(40));
    let events = vec![event(1, &subject, hostile, hostile)];
    let mut state = State::new(snapshot, events, None);
    for key in ['c', 'd', 'x'] {
        press(&mut state, KeyCode::Char(key));
        for (width, height) in [(80, 24), (120, 40), (20, 5), (1, 1)] {
            let backend = drawn(&state, width, height, PLAIN);
            for cell in backend.buffer().content() {
                // Nor may it turn the direction of what follows.
                let odd = |c: char| c.is_control() || c == '\u{202e}' || c == '\u{200b}';
                assert!(!cell.symbol().contains(odd), "{cell:?}");
            }
        }
    }
    press(&mut state, KeyCode::Esc);
    insta::assert_snapshot!("hostile_80x24", screen(&state, 80, 24));
}

#[test]
fn without_colour_there_is_none_and_without_unicode_all_is_ascii() {
    let style = Style {
        color: false,
        unicode: false,
    };
    let backend = drawn(&usual(), 80, 24, style);
    for cell in backend.buffer().content() {
        assert_eq!(cell.fg, ratatui::style::Color::Reset, "{cell:?}");
        assert!(cell.symbol().is_ascii(), "{cell:?}");
    }
    let coloured = Style {
        color: true,
        unicode: true,
    };
    let backend = drawn(&usual(), 80, 24, coloured);
    let cells = backend.buffer().content();
    assert!(
        cells
            .iter()
            .any(|cell| cell.fg == ratatui::style::Color::Red)
    );
    // The same words: colour says nothing that they do not.
    let words = |backend: &TestBackend| -> String {
        let cells = backend.buffer().content().iter();
        cells.map(|cell| cell.symbol()).collect()
    };
    assert_eq!(words(&backend), words(&drawn(&usual(), 80, 24, PLAIN)));
}

#[test]
fn an_admin_state_is_asked_for_and_its_reason_goes_along() {
    for (key, word) in [
        (KeyCode::Char('d'), "drain"),
        (KeyCode::Char('m'), "maint"),
        (KeyCode::F(10), "maint"),
        (KeyCode::Char('r'), "ready"),
        (KeyCode::F(9), "ready"),
    ] {
        let mut state = usual();
        assert_eq!(press(&mut state, key), []);
        write(&mut state, "qx; new disk");
        press(&mut state, KeyCode::Backspace);
        assert_eq!(
            press(&mut state, KeyCode::Enter),
            [Effect::Change(vec![format!(
                r"mb-lb set smtp_backend/mb1 {word} qx\;\ new\ dis"
            )])]
        );
        // Not confirmed, nothing is sent.
        press(&mut state, key);
        assert_eq!(press(&mut state, KeyCode::Esc), []);
        assert_eq!(state.input, None);
    }
}

#[test]
fn a_weight_is_changed_by_steps_within_its_limits() {
    let weight = |keys: &[KeyCode]| {
        let mut state = usual();
        // mb3: weight 5, 10 in the file.
        press(&mut state, KeyCode::Down);
        press(&mut state, KeyCode::Down);
        let mut effects = Vec::new();
        for key in keys {
            effects = press(&mut state, *key);
        }
        effects
    };
    let sent = |weight| {
        vec![Effect::Change(vec![format!(
            "mb-lb weight smtp_backend/mb3 {weight}"
        )])]
    };
    let (plus, enter) = (KeyCode::Char('+'), KeyCode::Enter);
    assert_eq!(weight(&[plus, enter]), sent(6));
    assert_eq!(weight(&[plus, plus, KeyCode::F(8), enter]), sent(17));
    assert_eq!(weight(&[KeyCode::Char('-'), enter]), sent(4));
    assert_eq!(weight(&[KeyCode::F(5), enter]), sent(0));
    assert_eq!(weight(&[KeyCode::F(4), enter]), sent(10));
    let far = vec![KeyCode::F(8); 40];
    assert_eq!(weight(&[far, vec![enter]].concat()), sent(256));
    assert_eq!(weight(&[plus, KeyCode::Esc]), []);
}

#[test]
fn marked_servers_are_changed_together_and_a_service_is_not() {
    let mut state = usual();
    press(&mut state, KeyCode::Char(' '));
    press(&mut state, KeyCode::Char(' '));
    press(&mut state, KeyCode::Char('m'));
    let asked = screen(&state, 80, 24);
    assert!(
        asked.contains("Take out for maintenance smtp_backend/mb1, smtp_backend/mb2?"),
        "{asked}"
    );
    assert!(asked.contains("no other server of smtp_backend"), "{asked}");
    assert_eq!(
        press(&mut state, KeyCode::Enter),
        [Effect::Change(vec![
            "mb-lb set smtp_backend/mb1 maint".to_owned(),
            "mb-lb set smtp_backend/mb2 maint".to_owned(),
        ])]
    );
    let done = Event::Done(Ok("done".to_owned()));
    assert_eq!(state.update(done), [Effect::Refresh]);
    assert!(state.marks.is_empty());
    press(&mut state, KeyCode::Home);
    press(&mut state, KeyCode::Char('m'));
    assert_eq!(state.input, None);
    assert!(screen(&state, 80, 24).contains("select one of its servers"));
}

#[test]
fn what_is_gone_is_neither_selected_nor_marked() {
    let mut state = usual();
    press(&mut state, KeyCode::Char(' '));
    assert_eq!(selected(&state), "smtp_backend/mb2");
    let fresh = snapshot(vec![service("submission", vec![server("mb9", 1)])]);
    state.update(Event::Fresh(Box::new(fresh), Vec::new()));
    assert!(state.marks.is_empty());
    assert_eq!(selected(&state), "submission/mb9");
    assert_eq!(state.rates.len(), 1);
}

#[test]
fn read_only_changes_nothing_whatever_is_pressed() {
    let mut state = usual();
    state.read_only = Some("nothing is changed from here: --read-only".to_owned());
    let keys = (' '..='~')
        .map(KeyCode::Char)
        .chain((1..=12).map(KeyCode::F));
    for key in keys {
        for effect in [press(&mut state, key), press(&mut state, KeyCode::Enter)].concat() {
            assert_eq!(effect, Effect::Quit, "{key:?}");
        }
        press(&mut state, KeyCode::Esc);
        press(&mut state, KeyCode::Esc);
    }
    press(&mut state, KeyCode::Char('d'));
    assert!(screen(&state, 80, 24).contains("nothing is changed from here: --read-only"));
}

#[test]
fn the_filter_narrows_and_escape_widens_again() {
    let mut state = usual();
    press(&mut state, KeyCode::Char('/'));
    write(&mut state, "DOWN");
    press(&mut state, KeyCode::Enter);
    let names: Vec<_> = state.rows().iter().map(|row| name(&row.place())).collect();
    assert_eq!(names, ["smtp_backend", "smtp_backend/mb2"]);
    assert_eq!(selected(&state), "smtp_backend/mb2");
    press(&mut state, KeyCode::Esc);
    assert_eq!(state.rows().len(), 7);
    press(&mut state, KeyCode::Char('/'));
    write(&mut state, "nowhere");
    assert!(screen(&state, 80, 24).contains("nothing matches nowhere"));
    for key in ['d', '+', ' '] {
        press(&mut state, KeyCode::Char(key));
    }
    assert_eq!(state.input, Some(Input::Filter));
}

#[test]
fn sorting_goes_round() {
    let mut state = usual();
    let first = |state: &mut State| {
        press(state, KeyCode::Char('s'));
        name(&state.rows()[1].place())
    };
    assert_eq!(first(&mut state), "smtp_backend/mb2", "attention");
    assert_eq!(first(&mut state), "smtp_backend/mb3", "active");
    assert_eq!(first(&mut state), "smtp_backend/mb1", "rate");
    assert_eq!(first(&mut state), "smtp_backend/mb1", "file");
}

#[test]
fn a_silent_daemon_is_said_and_what_was_so_stays() {
    let mut state = usual();
    state.update(Event::Silent("the daemon does not answer".to_owned()));
    let text = screen(&state, 80, 24);
    assert!(
        text.contains("no answer; below is what was so: the daemon does"),
        "{text}"
    );
    assert!(text.contains("mb1"), "{text}");
    let fresh = Box::new(state.snapshot.clone());
    state.update(Event::Fresh(fresh, events()));
    assert!(!screen(&state, 80, 24).contains("no answer"));
}

#[test]
fn what_is_set_by_hand_and_what_an_agent_says_are_shown_with_the_server() {
    let mut asked = server("mb1", 1);
    asked.by_hand = Some(HandView {
        by: "alice".to_owned(),
        words: vec!["its check rests".to_owned()],
        ..HandView::default()
    });
    asked.agent = Some(AgentView {
        port: 9707,
        code: "L7OK".to_owned(),
        detail: "the agent says 50%".to_owned(),
        weight: Some("50%".to_owned()),
        up: true,
        ..AgentView::default()
    });
    let mut paused = service("smtp_backend", vec![asked]);
    paused.paused_by = Some("bob".to_owned());
    (paused.most_clients, paused.most_clients_by) = (Some(20), Some("carol".to_owned()));
    let mut state = State::new(snapshot(vec![paused]), events(), None);
    let text = screen(&state, 120, 30);
    for said in [
        "its check rests, by alice; its agent asks for weight 50%",
        "agent port 9707: asks for weight 50%; L7OK: the agent says 50%",
    ] {
        assert!(text.contains(said), "{text}");
    }
    press(&mut state, KeyCode::Up);
    for said in [
        "takes no new clients: bob disabled it",
        "at most 20 clients, by carol",
    ] {
        let text = screen(&state, 120, 30);
        assert!(text.contains(said), "{text}");
    }
}

#[test]
fn q_and_control_c_quit_and_what_is_not_seen_is_not_changed() {
    let mut state = usual();
    assert_eq!(press(&mut state, KeyCode::Char('q')), [Effect::Quit]);
    press(&mut state, KeyCode::Char('d'));
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(state.update(Event::Key(interrupt)), [Effect::Quit]);
    let mut state = usual();
    press(&mut state, KeyCode::Char('e'));
    assert_eq!(state.view, View::Events);
    press(&mut state, KeyCode::Char('d'));
    press(&mut state, KeyCode::Char('c'));
    assert_eq!((state.input.clone(), state.detail), (None, Detail::State));
}

#[test]
fn the_manual_has_every_key() {
    let manual = include_str!("../../../../docs/manual.md");
    let begin = manual.find("\n### mb-lb-ctl top\n").expect("its section");
    let section = &manual[begin..begin + manual[begin + 1..].find("\n### ").expect("the next one")];
    for (keys, _) in KEYS {
        for key in keys.split(' ') {
            assert!(section.contains(&format!("`{key}`")), "{key}");
        }
    }
}
