//! What `help` prints, and what an unknown command gets: the commands that exist.

/// Column at which the description begins, as in HAProxy.
const WIDTH: usize = 40;
/// Commands offered when a word is misspelt.
const OFFERED: usize = 5;

/// Syntax and description, sorted.
const COMMANDS: &[(&str, &str)] = &[
    ("disable server <bk>/<srv>", "put a server into maintenance"),
    ("enable server <bk>/<srv>", "make a server ready again"),
    (
        "get weight <bk>/<srv>",
        "show present and configured weight",
    ),
    (
        "mb-lb diff <payload>",
        "show what this configuration would change",
    ),
    ("mb-lb events [<n>]", "show the last <n> events"),
    (
        "mb-lb events follow [<n>]",
        "show the last <n> events and all that come",
    ),
    (
        "mb-lb failover [<instance>]",
        "hand the addresses over to the peer",
    ),
    ("mb-lb flows [<bk>] [limit <n>]", "list flows of the table"),
    (
        "mb-lb peer diff",
        "show how the peer's configuration differs",
    ),
    ("mb-lb peer push", "give the peer this configuration"),
    (
        "mb-lb record <bk>/<srv>",
        "show what the kernel holds of a server",
    ),
    ("mb-lb reload", "put the configuration file in force"),
    (
        "mb-lb set <bk>/<srv> <state> [reason]",
        "ready, drain or maint, and why",
    ),
    ("mb-lb snapshot", "show everything at once"),
    (
        "mb-lb sync <name>",
        "bring the targets of a config_sync in step now",
    ),
    ("mb-lb weight <bk>/<srv> <weight>", "set a weight, 0 to 256"),
    (
        "set server <bk>/<srv> state <state>",
        "ready, drain or maint",
    ),
    (
        "set server <bk>/<srv> weight <weight>",
        "set a weight: 0 to 256, or percent",
    ),
    (
        "set timeout cli <delay>",
        "set how long this connection may be idle",
    ),
    (
        "set weight <bk>/<srv> <weight>",
        "set a weight: 0 to 256, or percent",
    ),
    ("show backend", "list the services"),
    (
        "show errors",
        "show protocol errors (there are none at layer 4)",
    ),
    ("show info [typed]", "show facts about the controller"),
    (
        "show servers state [<bk>]",
        "show state and health of servers",
    ),
    (
        "show stat [<id> <type> <sid>] [typed|up|no-maint]",
        "show counters as CSV",
    ),
    ("show version", "show the version"),
];

/// Always shown, and at the end.
const ALWAYS: &[(&str, &str)] = &[
    ("help [<command>]", "list matching or all commands"),
    ("prompt", "turn the prompt on or off"),
    ("quit", "disconnect"),
];

/// All commands, or those that begin with `words`.
pub fn matching(words: &[String]) -> String {
    let wanted: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut matches = commands_beginning_with(&wanted);
    if matches.is_empty() {
        return unknown(&wanted);
    }
    matches.splice(
        0..0,
        ["The following commands are valid at this level:\n".to_owned()],
    );
    with_footer(matches)
}

/// The answer to a command that does not exist.
pub fn unknown(words: &[&str]) -> String {
    let mut offers = Vec::new();
    // The longest beginning that something matches: `show foo` offers what begins with `show`.
    for length in (1..=words.len().min(3)).rev() {
        offers = commands_beginning_with(&words[..length]);
        if !offers.is_empty() {
            break;
        }
    }
    if offers.is_empty()
        && let Some(first) = words.first()
    {
        offers = misspelt(first);
    }
    if offers.is_empty() {
        offers = COMMANDS.iter().map(entry).collect();
        offers.insert(
            0,
            "Unknown command. Please enter one of the following commands only:\n".to_owned(),
        );
    } else {
        offers.insert(
            0,
            "Unknown command, but maybe one of the following ones is a better match:\n".to_owned(),
        );
    }
    with_footer(offers)
}

fn commands_beginning_with(words: &[&str]) -> Vec<String> {
    COMMANDS
        .iter()
        .filter(|(syntax, _)| {
            let mut syntax = syntax.split(' ');
            words
                .iter()
                .all(|word| syntax.next().is_some_and(|part| part.starts_with(word)))
        })
        .map(entry)
        .collect()
}

fn misspelt(word: &str) -> Vec<String> {
    let mut close: Vec<_> = COMMANDS
        .iter()
        .filter_map(|command| {
            let first = command.0.split(' ').next().unwrap_or_default();
            let distance = strsim::damerau_levenshtein(word, first);
            (distance <= 1).then_some((distance, command))
        })
        .collect();
    close.sort_by_key(|(distance, _)| *distance);
    close
        .into_iter()
        .take(OFFERED)
        .map(|(_, command)| entry(command))
        .collect()
}

fn with_footer(mut lines: Vec<String>) -> String {
    lines.extend(ALWAYS.iter().map(entry));
    lines.concat()
}

fn entry((syntax, description): &(&str, &str)) -> String {
    format!("  {syntax:<WIDTH$}: {description}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_sorted_and_all_are_understood() {
        assert!(COMMANDS.is_sorted_by_key(|(syntax, _)| *syntax));
        for (syntax, _) in COMMANDS.iter().chain(ALWAYS) {
            let words: Vec<String> = syntax
                .split(' ')
                .filter(|word| !word.starts_with(['<', '[']))
                .map(str::to_owned)
                .collect();
            let refused = matches!(
                crate::command::parse(&words, None),
                crate::command::Command::Refused(text) if text.starts_with("Unknown")
            );
            assert!(!refused, "{syntax}");
        }
    }

    #[test]
    fn an_unknown_word_gets_the_list_and_a_near_one_gets_a_hint() {
        let text = unknown(&["bogus"]);
        assert!(text.starts_with(
            "Unknown command. Please enter one of the following commands only:\n  disable server"
        ));
        assert!(text.ends_with("  quit                                    : disconnect\n"));
        let text = unknown(&["shwo", "info"]);
        assert!(text.starts_with(
            "Unknown command, but maybe one of the following ones is a better match:\n  show backend"
        ));
        let text = unknown(&["show", "sess"]);
        assert_eq!(
            text.matches("show").count(),
            text.lines()
                .filter(|line| line.starts_with("  show"))
                .count()
                + 5,
            "{text}"
        );
        assert!(unknown(&[]).starts_with("Unknown command. Please"));
    }

    #[test]
    fn help_filters_by_beginning() {
        let text = matching(&["show".to_owned(), "serv".to_owned()]);
        assert_eq!(
            text.lines().nth(1),
            Some("  show servers state [<bk>]               : show state and health of servers")
        );
        assert_eq!(text.lines().count(), 5);
        assert!(matching(&["bogus".to_owned()]).starts_with("Unknown command."));
    }
}
