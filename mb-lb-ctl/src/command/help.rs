//! What `help` prints, and what an unknown command gets: the commands that exist.

/// Column at which the description begins, as in HAProxy.
const WIDTH: usize = 40;
/// Commands offered when a word is misspelt.
const OFFERED: usize = 5;

/// Syntax and description, sorted.
const COMMANDS: &[(&str, &str)] = &[
    (
        "abort ssl cert <certfile>",
        "drop what was set and not committed",
    ),
    (
        "add server <bk>/<srv> <addr>",
        "not done: servers are added in the configuration file",
    ),
    (
        "add ssl crt-list <directory> <certfile>",
        "put a new certificate into a directory that is served",
    ),
    (
        "clear counters [all]",
        "begin maxima anew (or all counters of this socket)",
    ),
    ("clear table <table>", "there is no table"),
    (
        "commit ssl cert <certfile>",
        "write what was set to its file, and serve it",
    ),
    (
        "del server <bk>/<srv>",
        "not done: servers are removed in the configuration file",
    ),
    (
        "del ssl cert <certfile>",
        "drop a certificate that is not served",
    ),
    (
        "del ssl crt-list <directory> <certfile>",
        "not done: remove the file",
    ),
    ("disable agent <bk>/<srv>", "there are no agents"),
    (
        "disable frontend <frontend>",
        "not done: a service listens as long as it is in the file",
    ),
    (
        "disable health <bk>/<srv>",
        "not done: use 'set server ... state maint'",
    ),
    ("disable server <bk>/<srv>", "put a server into maintenance"),
    ("enable agent <bk>/<srv>", "there are no agents"),
    ("enable frontend <frontend>", "services are always enabled"),
    ("enable health <bk>/<srv>", "checks are always enabled"),
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
        "new ssl cert <certfile>",
        "make room for a certificate that is not served yet",
    ),
    ("operator", "lower the level of this connection to operator"),
    (
        "set maxconn frontend <frontend> <value>",
        "not done: a service has no limit of its own",
    ),
    (
        "set maxconn global <value>",
        "not done: set max_flows in the configuration file",
    ),
    (
        "set maxconn server <bk>/<srv> <value>",
        "not done: set max_connections in the configuration file",
    ),
    (
        "set rate-limit <setting> <value>",
        "not done: there is no limit for the whole director",
    ),
    (
        "set server <bk>/<srv> [opts]",
        "change a server's state or weight",
    ),
    (
        "set ssl cert <certfile> <payload>",
        "set a certificate with its key, to be committed",
    ),
    (
        "set timeout cli <delay>",
        "set how long this connection may be idle",
    ),
    (
        "set weight <bk>/<srv> <weight>",
        "set a weight: 0 to 256, or percent",
    ),
    ("show acl [<acl>]", "there is no ACL"),
    ("show backend", "list the services"),
    ("show cache", "there is no cache"),
    ("show cli level", "show the level of this connection"),
    ("show cli sockets", "show the socket and its level"),
    (
        "show env [<var>]",
        "show environment variables of the controller",
    ),
    (
        "show errors [<bk>]",
        "show protocol errors (none is captured)",
    ),
    (
        "show info [typed|json] [desc]",
        "show facts about the controller",
    ),
    ("show map [<map>]", "there is no map"),
    (
        "show peers [<section>]",
        "there is no stick table that peers would share",
    ),
    ("show resolvers [<id>]", "names are not resolved"),
    ("show servers conn [<bk>]", "show connections of servers"),
    (
        "show servers state [<bk>]",
        "show state and health of servers",
    ),
    ("show sess [<id>]", "list flows, or show one of them"),
    (
        "show ssl cert [<certfile>]",
        "list certificates, or show what is in one",
    ),
    (
        "show ssl crt-list [-n] [<directory>]",
        "list directories of certificates, or what is in one",
    ),
    ("show startup-logs", "the journal has them"),
    (
        "show stat [<id> <type> <sid>] [typed|json] [desc] [up|no-maint]",
        "show counters as CSV, in lines or in JSON",
    ),
    ("show table [<table>]", "there is no table"),
    ("show tls-keys [<id>]", "keys of tickets are not shown"),
    ("show version", "show the version"),
    (
        "shutdown frontend <frontend>",
        "not done: remove the service from the file",
    ),
    (
        "shutdown session <id>",
        "not done: use 'set server ... state maint'",
    ),
    (
        "shutdown sessions server <bk>/<srv>",
        "not done: use 'set server ... state maint'",
    ),
    ("user", "lower the level of this connection to user"),
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
            "Unknown command. Please enter one of the following commands only:\n  abort ssl cert"
        ));
        assert!(text.ends_with("  quit                                    : disconnect\n"));
        let text = unknown(&["shwo", "info"]);
        assert!(text.starts_with(
            "Unknown command, but maybe one of the following ones is a better match:\n  show acl"
        ));
        let text = unknown(&["show", "bogus"]);
        let (shown, others): (Vec<_>, Vec<_>) = text
            .lines()
            .skip(1)
            .partition(|line| line.starts_with("  show "));
        assert!(shown.len() > 20 && others.len() == ALWAYS.len(), "{text}");
        assert!(unknown(&[]).starts_with("Unknown command. Please"));
    }

    #[test]
    fn help_filters_by_beginning() {
        let text = matching(&["show".to_owned(), "serv".to_owned()]);
        assert_eq!(
            text.lines().nth(1),
            Some("  show servers conn [<bk>]                : show connections of servers")
        );
        assert_eq!(text.lines().count(), 6);
        assert!(matching(&["bogus".to_owned()]).starts_with("Unknown command."));
    }
}
