//! Everything that is printed, as it is printed.

use mb_lb_ctl::cli::describe::{self, Subject};
use mb_lb_ctl::cli::doctor::{self, finding::Finding};
use mb_lb_ctl::cli::events;
use mb_lb_ctl::cli::list::{self, ListForm, ListWhat};
use mb_lb_ctl::cli::status;
use mb_lb_ctl::cli::style::Style;
use mb_lb_ctl::snapshot::{EventView, Snapshot};

use crate::fixtures;

const PLAIN: Style = Style {
    color: false,
    unicode: true,
};

fn status_of(snapshot: &Snapshot, style: Style) -> String {
    status::render(snapshot, style)
}

#[test]
fn status_of_each_kind_of_day() {
    for (name, snapshot) in [
        ("well", fixtures::well()),
        ("one_down", fixtures::one_down()),
        ("drained", fixtures::drained()),
        ("none_up", fixtures::none_up()),
        ("degraded", fixtures::degraded()),
        ("thousand", fixtures::thousand()),
        ("syncing", fixtures::syncing()),
        ("tiers", fixtures::tiers()),
        ("empty", fixtures::empty()),
        ("active", fixtures::active()),
        ("backup", fixtures::backup()),
        ("at_fault", fixtures::at_fault()),
        ("handing_over", fixtures::handing_over()),
        ("aside", fixtures::aside()),
    ] {
        let text = status_of(&snapshot, PLAIN);
        assert!(text.lines().all(|line| line == line.trim_end()), "{text}");
        insta::assert_snapshot!(format!("status_{name}"), text);
    }
}

/// After a hand-over the active one may be the stronger, or become it.
#[test]
fn a_weaker_one_is_left_alone_only_where_it_is_weaker() {
    let words = "handed over on purpose";
    for (priority, expected) in [(90, true), (100, false), (150, false)] {
        let mut snapshot = fixtures::aside();
        for router in &mut snapshot.vrrp {
            router.active.as_mut().unwrap().priority = priority;
        }
        let text = status_of(&snapshot, PLAIN);
        assert_eq!(text.contains(words), expected, "{priority}: {text}");
    }
}

#[test]
fn a_take_over_without_a_gap_has_no_figure() {
    let mut snapshot = fixtures::active();
    for router in &mut snapshot.vrrp {
        router.takeovers[0].outage_ms = Some(0);
    }
    let text = status_of(&snapshot, PLAIN);
    assert!(
        text.contains("(mail_v6): adverts went on without a gap\n"),
        "{text}"
    );
}

#[test]
fn ascii_terminals_get_ascii() {
    let text = status_of(&fixtures::one_down(), Style::default());
    assert!(text.is_ascii());
    insta::assert_snapshot!("status_ascii", text);
}

#[test]
fn colour_adds_nothing_but_colour() {
    let style = Style {
        color: true,
        ..PLAIN
    };
    for snapshot in [
        fixtures::none_up(),
        fixtures::degraded(),
        fixtures::at_fault(),
        fixtures::handing_over(),
    ] {
        let coloured = status_of(&snapshot, style);
        assert!(coloured.contains("\x1b["));
        let stripped = anstream::adapter::strip_str(&coloured).to_string();
        let lines = |text: &str| -> Vec<String> {
            text.lines()
                .map(|line| line.trim_end().to_owned())
                .collect()
        };
        assert_eq!(lines(&stripped), lines(&status_of(&snapshot, PLAIN)));
    }
}

#[test]
fn only_what_needs_somebody_is_degraded() {
    for (snapshot, expected) in [
        (fixtures::well(), false),
        (fixtures::drained(), false),
        (fixtures::empty(), false),
        (fixtures::active(), false),
        (fixtures::aside(), false),
        (fixtures::at_fault(), true),
        (fixtures::one_down(), true),
        (fixtures::degraded(), true),
    ] {
        assert_eq!(status::degraded(&snapshot), expected);
    }
}

fn list(snapshot: &Snapshot, what: ListWhat, form: ListForm) -> String {
    let view = list::View {
        what,
        form,
        service: None,
        style: PLAIN,
    };
    list::render(snapshot, &fixtures::flows(), &view).unwrap()
}

#[test]
fn lists_in_each_form() {
    let whats = [
        ("services", ListWhat::Services),
        ("servers", ListWhat::Servers),
        ("flows", ListWhat::Flows),
        ("vips", ListWhat::Vips),
        ("checks", ListWhat::Checks),
    ];
    let forms = [
        ("table", ListForm::Table),
        ("wide", ListForm::Wide),
        ("csv", ListForm::Csv),
        ("json", ListForm::Json),
    ];
    for (what_name, what) in whats {
        for (form_name, form) in forms {
            // The whole of a server as JSON stands in the snapshot of `describe`.
            if form == ListForm::Json && !matches!(what, ListWhat::Flows | ListWhat::Vips) {
                continue;
            }
            let text = list(&fixtures::none_up(), what, form);
            insta::assert_snapshot!(format!("list_{what_name}_{form_name}"), text);
        }
    }
}

#[test]
fn lists_of_syncs() {
    for (name, form) in [
        ("table", ListForm::Table),
        ("wide", ListForm::Wide),
        ("csv", ListForm::Csv),
        ("json", ListForm::Json),
    ] {
        let text = list(&fixtures::syncing(), ListWhat::Syncs, form);
        insta::assert_snapshot!(format!("list_syncs_{name}"), text);
    }
}

#[test]
fn lists_of_tiers() {
    for (name, form) in [
        ("table", ListForm::Table),
        ("wide", ListForm::Wide),
        ("csv", ListForm::Csv),
        ("json", ListForm::Json),
    ] {
        let text = list(&fixtures::tiers(), ListWhat::Tiers, form);
        insta::assert_snapshot!(format!("list_tiers_{name}"), text);
    }
    // Their servers are among the others, and what else is asked follows.
    for (name, form) in [("table", ListForm::Table), ("json", ListForm::Json)] {
        let text = list(&fixtures::tiers(), ListWhat::Checks, form);
        insta::assert_snapshot!(format!("list_checks_of_tiers_{name}"), text);
    }
    let servers = list(&fixtures::tiers(), ListWhat::Servers, ListForm::Table);
    assert!(servers.contains("standby"), "{servers}");
}

#[test]
fn descriptions_of_tiers() {
    let snapshot = fixtures::tiers();
    let event = EventView {
        subject: "mailborder_cluster".to_owned(),
        kind: "switch".to_owned(),
        text: "writer mb-db1 -> mb-db2: mb-db1 does not answer".to_owned(),
        time_ms: fixtures::NOW_MS,
        ..EventView::default()
    };
    let alarms: Vec<_> = snapshot.alarms.iter().skip(1).collect();
    let text = describe::tier::render(&snapshot.tiers[0], &[event], &alarms, PLAIN);
    insta::assert_snapshot!("describe_galera", text);
    let text = describe::tier::render(&snapshot.tiers[1], &[], &[], PLAIN);
    insta::assert_snapshot!("describe_storage", text);
}

#[test]
fn json_lists_name_service_and_server() {
    let rows = |what, key: &str| {
        let text = list(&fixtures::well(), what, ListForm::Json);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["version"], 1);
        value[key].as_array().unwrap().clone()
    };
    assert_eq!(
        rows(ListWhat::Services, "services")[0]["servers"][1]["name"],
        "mb2"
    );
    let servers = rows(ListWhat::Servers, "servers");
    assert_eq!(
        (&servers[1]["service"], &servers[1]["name"]),
        (&"smtp_backend".into(), &"mb2".into())
    );
    let checks = rows(ListWhat::Checks, "checks");
    assert_eq!(
        (&checks[2]["server"], &checks[2]["code"]),
        (&"mb3".into(), &"L7OK".into())
    );
}

#[test]
fn a_thousand_servers_are_a_thousand_whole_names() {
    let text = list(&fixtures::thousand(), ListWhat::Servers, ListForm::Table);
    assert_eq!(text.lines().count(), 1001);
    for position in 1..=1000 {
        assert!(
            text.contains(&format!("smtp_backend/mb{position} ")),
            "mb{position}"
        );
    }
    let csv = list(&fixtures::thousand(), ListWhat::Servers, ListForm::Csv);
    assert_eq!(csv.lines().count(), 1001);
}

#[test]
fn lists_of_nothing_have_their_header() {
    assert!(list(&fixtures::empty(), ListWhat::Servers, ListForm::Table).starts_with("SERVER"));
    assert_eq!(
        list(&fixtures::empty(), ListWhat::Vips, ListForm::Csv)
            .lines()
            .count(),
        1
    );
}

#[test]
fn descriptions() {
    for (name, snapshot, position, kernel) in [
        ("down", fixtures::one_down(), 3, Ok(fixtures::record())),
        (
            "drained",
            fixtures::drained(),
            2,
            Err("the map servers cannot be read".to_owned()),
        ),
        ("unknown", fixtures::degraded(), 3, Ok(fixtures::record())),
        ("backup", fixtures::degraded(), 4, Ok(fixtures::record())),
    ] {
        let service = &snapshot.services[0];
        let mut events = fixtures::events();
        events.retain(|_| name == "down");
        let subject = Subject {
            service,
            server: &service.servers[position - 1],
            events,
            kernel,
        };
        insta::assert_snapshot!(
            format!("describe_{name}"),
            describe::render(&subject, PLAIN)
        );
    }
}

#[test]
fn events_are_lines() {
    let text: String = fixtures::events()
        .iter()
        .map(|event| events::line(event, PLAIN))
        .collect();
    insta::assert_snapshot!(text, @r"
    2026-11-23 12:07:38Z  attach   director  XDP native on eth0
    2026-11-23 12:07:39Z  up       smtp_backend/mb3  220 banner, EHLO accepted
    2026-11-23 12:07:40Z  down     smtp_backend/mb3  connection refused
    ");
}

#[test]
fn findings_of_the_doctor() {
    let findings = [
        Finding::problem("status", "smtp/mb2 is down: refused", "", "look at it").of("smtp/mb2"),
        Finding::ok("kernel", "kernel 6.12: 5.15 or newer is needed"),
        Finding::warning(
            "kernel",
            "maps of layout v1 are pinned",
            "they take memory",
            "mb-lb-ctl detach",
        ),
        Finding::not_known("clock", "the clock: denied", "timedatectl"),
    ];
    insta::assert_snapshot!("doctor", doctor::render(&findings, PLAIN));
    insta::assert_snapshot!("doctor_nothing", doctor::render(&[], PLAIN));
}
