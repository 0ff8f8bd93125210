//! `show stat`, column by column.

use mb_lb_ctl::command::stat::{COLUMNS, Selection, render, status};
use mb_lb_ctl::snapshot::{AdminState, HealthState, Snapshot};

use crate::fixtures::{degraded, drained, empty, none_up, one_down, server, well};

fn show(snapshot: &Snapshot, words: &[&str]) -> String {
    render(snapshot, &Selection::parse(words).unwrap())
}

/// Names and values of the filled cells of one row.
fn filled(snapshot: &Snapshot, row: usize) -> Vec<(&'static str, String)> {
    let text = show(snapshot, &[]);
    let cells: Vec<String> = text
        .lines()
        .nth(row + 1)
        .unwrap()
        .split(',')
        .map(str::to_owned)
        .collect();
    assert_eq!(cells.len(), COLUMNS.len() + 1, "the trailing comma counts");
    COLUMNS
        .iter()
        .copied()
        .zip(cells)
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

fn cell(snapshot: &Snapshot, row: usize, column: &str) -> Option<String> {
    filled(snapshot, row)
        .into_iter()
        .find(|(name, _)| *name == column)
        .map(|(_, value)| value)
}

#[test]
fn columns_stand_where_haproxy_2_6_has_them() {
    assert_eq!(COLUMNS.len(), 128);
    for (position, name) in [
        (0, "pxname"),
        (4, "scur"),
        (7, "stot"),
        (17, "status"),
        (27, "iid"),
        (32, "type"),
        (36, "check_status"),
        (55, "lastsess"),
        (73, "addr"),
        (79, "conn_tot"),
        (99, "uweight"),
        (103, "-"),
        (127, "h1_spliced_bytes_out"),
    ] {
        assert_eq!(COLUMNS[position], name);
    }
    let text = show(&well(), &[]);
    let header = text.lines().next().unwrap();
    assert!(header.starts_with("# pxname,svname,qcur,"));
    assert!(header.ends_with(",h1_spliced_bytes_out,"));
    for line in text.lines() {
        assert_eq!(line.split(',').count(), COLUMNS.len() + 1, "{line}");
    }
}

#[test]
fn a_service_has_a_row_for_the_front_for_each_server_and_for_the_back() {
    let pairs = |row| {
        let cells = filled(&well(), row);
        let pairs: Vec<String> = cells
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        pairs.join(" ")
    };
    assert_eq!(
        pairs(0),
        "pxname=smtp_backend svname=FRONTEND scur=1050 slim=262144 stot=36102 bin=3703703670 status=OPEN \
         pid=1 iid=2 sid=0 type=0 rate=12 mode=tcp conn_rate=12 conn_tot=36102 -=-"
    );
    assert_eq!(
        pairs(3),
        "pxname=smtp_backend svname=mb3 qcur=0 qmax=0 scur=210 smax=215 stot=12034 bin=1234567890 status=UP \
         weight=5 act=1 bck=0 chkfail=1 chkdown=0 lastchg=7260 downtime=0 pid=1 iid=2 sid=3 lbtot=12034 type=2 rate=4 \
         rate_max=31 check_status=L7OK check_code=220 check_duration=3 lastsess=0 \
         last_chk=220 banner; EHLO accepted check_desc=Layer7 check passed check_rise=2 check_fall=3 \
         check_health=4 addr=192.168.1.103:25 mode=tcp uweight=5 -=-"
    );
}

#[test]
fn the_back_sums_what_is_usable() {
    let snapshot = one_down();
    for (column, value) in [
        ("svname", "BACKEND"),
        ("scur", "840"),
        ("status", "UP"),
        ("weight", "20"),
        ("act", "2"),
        ("bck", "0"),
        ("lastchg", "86400"),
        ("type", "1"),
        ("algo", "leastconn"),
        ("uweight", "20"),
    ] {
        assert_eq!(
            cell(&snapshot, 4, column).as_deref(),
            Some(value),
            "{column}"
        );
    }
    let down = none_up();
    assert_eq!(cell(&down, 4, "status").as_deref(), Some("DOWN"));
    assert_eq!(cell(&down, 4, "act").as_deref(), Some("0"));
    assert_eq!(cell(&down, 4, "chkdown").as_deref(), Some("1"));
    assert_eq!(cell(&degraded(), 1, "throttle").as_deref(), Some("40"));
    assert_eq!(cell(&degraded(), 1, "weight").as_deref(), Some("4"));
    assert_eq!(cell(&degraded(), 1, "uweight").as_deref(), Some("10"));
    assert_eq!(cell(&degraded(), 2, "slim").as_deref(), Some("420"));
    assert_eq!(cell(&degraded(), 4, "bck").as_deref(), Some("1"));
}

#[test]
fn status_words_are_haproxys() {
    use AdminState::{Drain, Maint, Ready};
    use HealthState::{Down, Unknown, Up};
    let cases = [
        (Ready, Up, Some(4), "UP"),
        (Ready, Up, Some(3), "UP 2/3"),
        (Ready, Up, Some(2), "UP 1/3"),
        (Ready, Down, Some(0), "DOWN"),
        (Ready, Down, Some(1), "DOWN 1/2"),
        // Down for another reason than its checks.
        (Ready, Down, Some(4), "DOWN"),
        (Ready, Unknown, Some(0), "DOWN"),
        (Ready, Up, None, "no check"),
        (Ready, Down, None, "DOWN"),
        (Drain, Up, Some(4), "DRAIN"),
        (Drain, Up, Some(2), "DRAIN 1/3"),
        (Drain, Up, None, "DRAIN"),
        (Drain, Down, Some(0), "DOWN"),
        (Maint, Up, Some(4), "MAINT"),
        (Maint, Down, None, "MAINT"),
    ];
    for (admin, health, level, word) in cases {
        let mut view = server(1, 10, 0);
        view.admin = admin;
        view.health = health;
        match (level, &mut view.check) {
            (Some(level), Some(check)) => check.level = level,
            _ => view.check = None,
        }
        assert_eq!(status(&view), word, "{admin:?} {health:?} {level:?}");
    }
}

#[test]
fn maintenance_forgets_what_the_checks_said() {
    let snapshot = none_up();
    assert_eq!(cell(&snapshot, 1, "status").as_deref(), Some("MAINT"));
    assert_eq!(cell(&snapshot, 1, "check_status"), None);
    assert_eq!(cell(&snapshot, 3, "check_status").as_deref(), Some("L4CON"));
    assert_eq!(
        cell(&snapshot, 3, "check_desc").as_deref(),
        Some("Layer4 connection problem")
    );
    assert_eq!(
        cell(&snapshot, 3, "addr").as_deref(),
        Some("192.168.1.103:25")
    );
}

#[test]
fn rows_can_be_chosen() {
    let names = |words: &[&str]| -> Vec<String> {
        show(&drained(), words)
            .lines()
            .skip(1)
            .map(|line| line.split(',').nth(1).unwrap().to_owned())
            .collect()
    };
    let all = ["FRONTEND", "mb1", "mb2", "mb3", "BACKEND"];
    assert_eq!(names(&[]), all);
    assert_eq!(names(&["-1", "7", "-1"]), all);
    assert_eq!(names(&["2", "-1", "-1"]), all);
    assert_eq!(names(&["smtp_backend", "4", "-1"]), ["mb1", "mb2", "mb3"]);
    assert_eq!(names(&["#2", "4", "2"]), ["mb2"]);
    assert_eq!(names(&["2", "3", "-1"]), ["FRONTEND", "BACKEND"]);
    assert_eq!(names(&["-1", "6", "3"]), ["mb3"]);
    assert_eq!(names(&["up"]), ["FRONTEND", "mb1", "mb3", "BACKEND"]);
    assert_eq!(names(&["no-maint"]), all);
    assert_eq!(names(&["desc", "whatever"]), all);
    assert_eq!(
        show(&none_up(), &["-1", "4", "-1", "no-maint"])
            .lines()
            .count(),
        3
    );
    assert_eq!(show(&empty(), &[]).lines().count(), 1);
    assert_eq!(show(&well(), &["9", "7", "-1"]).lines().count(), 1);
    assert_eq!(
        show(&well(), &["domain", "proxy", "2", "1", "-1"])
            .lines()
            .count(),
        2
    );
}

#[test]
fn the_typed_form_names_each_cell() {
    let text = show(&well(), &["2", "4", "1", "typed"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "S.2.1.0.pxname.1:KNS:str:smtp_backend");
    assert!(lines.contains(&"S.2.1.4.scur.1:MGP:u32:420"));
    assert!(lines.contains(&"S.2.1.55.lastsess.1:MAP:s32:0"));
    assert!(lines.contains(&"S.2.1.56.last_chk.1:MOP:str:220 banner; EHLO accepted"));
    let mut positions: Vec<usize> = lines
        .iter()
        .map(|line| line.split('.').nth(3).unwrap().parse().unwrap())
        .collect();
    let sorted = positions.clone();
    positions.sort_unstable();
    positions.dedup();
    assert_eq!(positions, sorted, "in order and each once");
}

#[test]
fn cells_are_quoted_only_where_needed() {
    assert!(!show(&well(), &[]).contains('"'));
    let mut snapshot = well();
    if let Some(check) = &mut snapshot.services[0].servers[0].check {
        check.detail = "said \"554 no\"".into();
    }
    assert!(show(&snapshot, &[]).contains(",\"said \"\"554 no\"\"\","));
}
