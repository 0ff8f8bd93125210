use proptest::prelude::*;

use super::*;

fn reply(line: &str) -> AgentReply {
    let heard = parse(line.as_bytes());
    assert_eq!(heard.odd, [""; 0], "{line:?}");
    heard.reply
}

#[test]
fn each_word_says_one_thing() {
    let nothing = AgentReply::default();
    assert_eq!(reply(""), nothing);
    assert_eq!(reply(" \t,, "), nothing);
    for (line, weight) in [
        ("75%", Weight::Percent(75)),
        ("0%", Weight::Percent(0)),
        ("007%", Weight::Percent(7)),
        ("300%", Weight::Percent(300)),
        ("99999999999999999999999%", Weight::Percent(25_600)),
        ("weight:50", Weight::Absolute(50)),
        ("weight:50%", Weight::Percent(50)),
        ("Weight:+5", Weight::Absolute(5)),
        ("weight:256", Weight::Absolute(256)),
    ] {
        let weight = Some(weight);
        let expected = AgentReply {
            weight,
            ..nothing.clone()
        };
        assert_eq!(reply(line), expected, "{line}");
    }
    for (line, connections) in [
        ("maxconn:30", 30),
        ("MAXCONN:0", 0),
        ("maxconn:+7", 7),
        ("maxconn:4294967295", u32::MAX),
    ] {
        let max_connections = Some(connections);
        let expected = AgentReply {
            max_connections,
            ..nothing.clone()
        };
        assert_eq!(reply(line), expected, "{line}");
    }
    for (line, state) in [
        ("ready", AdminState::Ready),
        ("DRAIN", AdminState::Drain),
        ("Maint", AdminState::Maint),
    ] {
        let admin = Some(state);
        let expected = AgentReply {
            admin,
            ..nothing.clone()
        };
        assert_eq!(reply(line), expected, "{line}");
    }
    for (line, up) in [
        ("up", true),
        ("UP", true),
        ("down", false),
        ("fail", false),
        ("Stopped", false),
    ] {
        let up = Some(up);
        let expected = AgentReply {
            up,
            ..nothing.clone()
        };
        assert_eq!(reply(line), expected, "{line}");
        let said = line.to_ascii_lowercase();
        assert_eq!(parse(line.as_bytes()).health, Some(said.as_str()), "{line}");
    }
}

#[test]
fn words_stand_in_any_order_between_blanks_tabs_and_commas() {
    let expected = AgentReply {
        weight: Some(Weight::Percent(75)),
        max_connections: Some(30),
        admin: Some(AdminState::Ready),
        up: Some(true),
        reason: Some("all well, 100% #1".to_owned()),
    };
    for line in [
        "75% up ready maxconn:30 # all well, 100% #1",
        ",ready\t\tmaxconn:30,up,,75%,#all well, 100% #1 ",
        "down 10% maint maxconn:5 75% up ready maxconn:30 #\t all well, 100% #1",
    ] {
        assert_eq!(reply(line), expected, "{line:?}");
    }
}

#[test]
fn what_makes_no_sense_is_named_and_changes_nothing() {
    for (line, odd) in [
        ("hello", "hello"),
        ("down#x", "down#x"),
        ("up;down", "up;down"),
        ("75", "75"),
        ("-75%", "-75%"),
        ("%", "%"),
        ("7x%", "7x%"),
        ("7%x", "7%x"),
        ("5%5%", "5%5%"),
        ("weight:", "weight:"),
        ("weight:257", "weight:257"),
        ("weight:-1%", "weight:-1%"),
        ("weight:5.5", "weight:5.5"),
        ("maxconn:", "maxconn:"),
        ("maxconn:x", "maxconn:x"),
        ("maxconn:-5", "maxconn:-5"),
        ("maxconn:4294967296", "maxconn:4294967296"),
        (
            "maxconn:99999999999999999999",
            "maxconn:99999999999999999999",
        ),
        ("\u{1b}[2J", "?[2J"),
    ] {
        let heard = parse(line.as_bytes());
        assert_eq!(heard.odd, [odd], "{line:?}");
        assert_eq!(heard.reply, AgentReply::default(), "{line:?}");
    }
    // The last one of its kind counts, also where it is bad.
    let heard = parse(b"50% 7x% foo maxconn:9 maxconn:x bar up");
    assert_eq!(heard.odd, ["foo", "bar", "7x%", "maxconn:x"]);
    let up = AgentReply {
        up: Some(true),
        ..AgentReply::default()
    };
    assert_eq!(heard.reply, up);
    assert_eq!(heard.said, "50% 7x% foo maxconn:9 maxconn:x bar up");
}

proptest! {
    #[test]
    fn no_bytes_upset_the_parser(line in prop::collection::vec(any::<u8>(), 0..1200)) {
        let heard = parse(&line);
        prop_assert_eq!(heard.reply.up.is_some(), heard.health.is_some());
        let shown = heard.odd.iter().chain([&heard.said]).chain(&heard.reply.reason);
        for text in shown {
            prop_assert!(text.len() <= 120);
            prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
    }

    /// What an agent can say is what is heard, however it is put together.
    #[test]
    fn what_is_said_is_heard(
        percent in prop::option::of(0_u32..=25_600),
        connections in prop::option::of(any::<u32>()),
        admin in prop::option::of(0..ADMIN.len()),
        health in prop::option::of(0..HEALTH.len()),
        reason in prop::option::of("[!-~][ -~]{0,60}[!-~]"),
        blanks in "[ ,\t]{1,3}",
        turn in 0_usize..4,
    ) {
        let mut words: Vec<String> = Vec::new();
        words.extend(percent.map(|percent| format!("{percent}%")));
        words.extend(connections.map(|connections| format!("maxconn:{connections}")));
        words.extend(admin.map(|at| ADMIN[at].0.to_ascii_uppercase()));
        words.extend(health.map(|at| HEALTH[at].0.to_owned()));
        let turn = turn.min(words.len());
        words.rotate_left(turn);
        words.extend(reason.as_ref().map(|reason| format!("#{reason}")));
        let heard = parse(words.join(&blanks).as_bytes());
        let expected = AgentReply {
            weight: percent.map(Weight::Percent),
            max_connections: connections,
            admin: admin.map(|at| ADMIN[at].1),
            up: health.map(|at| HEALTH[at].1),
            reason,
        };
        prop_assert_eq!(heard.odd, Vec::<String>::new());
        prop_assert_eq!(heard.reply, expected);
    }
}
