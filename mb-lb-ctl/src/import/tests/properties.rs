//! Whatever stands in a file: no panic, a row for each line, and a result that our own parser takes.

use proptest::prelude::*;

use crate::config::{Forward, parse};
use crate::import::{Error, Input, Options, import};

const SEEDS: [&str; 7] = [
    include_str!("fixtures/document/haproxy.cfg"),
    include_str!("fixtures/document/keepalived.conf"),
    include_str!("fixtures/document/mailborder.conf"),
    include_str!("fixtures/tuned/haproxy.cfg"),
    include_str!("fixtures/dead/haproxy.cfg"),
    include_str!("fixtures/tracked/keepalived.conf"),
    include_str!("fixtures/ipvs/keepalived.conf"),
];

/// What holds of every import.
fn sound(text: &str, options: &Options) -> Result<(), TestCaseError> {
    let input = Input { name: "file", text };
    let imported = match import(&[input], options) {
        Ok(imported) => imported,
        Err(Error::Fault { why }) => return Err(TestCaseError::fail(format!("{why}\n{text}"))),
        Err(_) => return Ok(()),
    };
    let expected: Vec<usize> = text
        .lines()
        .zip(1..)
        .filter(|(line, _)| !line.trim().is_empty())
        .map(|(_, number)| number)
        .collect();
    let rows = &imported.report.files[0].rows;
    let found: Vec<usize> = rows.iter().map(|row| row.line).collect();
    prop_assert_eq!(found, expected);
    prop_assert!(rows.iter().all(|row| !row.note.is_empty()), "{:?}", rows);
    // A line of the printed report for each, too.
    let printed = imported.report.text();
    prop_assert!(printed.lines().count() > rows.len());
    if let Some(config) = &imported.config {
        prop_assert_eq!(parse(config, "lb1").errors(), 0, "{}", config);
    }
    Ok(())
}

fn options() -> impl Strategy<Value = Options> {
    (any::<bool>(), any::<bool>()).prop_map(|(dsr, vip)| Options {
        forward: if dsr { Forward::Dsr } else { Forward::Proxy },
        vips: if vip {
            vec!["192.0.2.1".parse().expect("an address")]
        } else {
            Vec::new()
        },
        tier_vip: None,
        name: "lb1".to_owned(),
    })
}

/// Lines of real files in any order, some of them spoilt.
fn shuffled() -> impl Strategy<Value = String> {
    let lines: Vec<String> = SEEDS
        .iter()
        .flat_map(|seed| seed.lines())
        .map(str::to_owned)
        .collect();
    let line = prop_oneof![
        12 => prop::sample::select(lines.clone()),
        1 => (prop::sample::select(lines), ".{0,8}").prop_map(|(line, more)| line + " " + &more),
        1 => "[a-z$@{}\"'#!=\\[\\]*:/ .0-9-]{0,40}",
    ];
    prop::collection::vec(line, 0..60).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in "(?s).{0,400}", options in options()) {
        sound(&text, &options)?;
    }

    #[test]
    fn any_order_of_lines(text in shuffled(), options in options()) {
        sound(&text, &options)?;
    }

    #[test]
    fn real_files_with_a_line_left_out_and_one_repeated(
        seed in prop::sample::select(SEEDS.to_vec()),
        out in any::<prop::sample::Index>(),
        twice in any::<prop::sample::Index>(),
        options in options(),
    ) {
        let mut lines: Vec<&str> = seed.lines().collect();
        let again = lines[twice.index(lines.len())];
        lines.insert(out.index(lines.len()), again);
        lines.remove(out.index(lines.len()));
        sound(&lines.join("\n"), &options)?;
    }
}

#[test]
fn the_seeds_are_sound() {
    for seed in SEEDS {
        sound(seed, &Options::default()).expect("sound");
    }
}
