//! What HAProxy has and mb-lb has none of: HAProxy's answers where there is nothing, because tools ask for it.

/// The answer, where the command is one of these.
pub fn answer(words: &[&str]) -> Option<String> {
    let (empty, named) = match words {
        ["show", "table", ..] => ("", "No such table\n"),
        ["show", "peers", ..] => ("", "No such peers\n"),
        ["show", "resolvers", ..] => ("", "Can't find that resolvers section\n"),
        ["show", "cache", ..] => ("", ""),
        ["show", "startup-logs", ..] => ("\n", "\n"),
        ["show", "map", ..] => (
            "# id (file) description\n",
            "Unknown map identifier. Please use #<id> or <file>.\n",
        ),
        ["show", "acl", ..] => (
            "# id (file) description\n",
            "Unknown ACL identifier. Please use #<id> or <file>.\n",
        ),
        ["show", "tls-keys", ..] => (
            "# id (file)\n",
            "'show tls-keys' unable to locate referenced filename\n",
        ),
        ["clear", "table", ..] => (
            "Required arguments: <table> \"data.<store_data_type>\" <operator> <value> or <table> key <key>\n",
            "No such table\n",
        ),
        _ => return None,
    };
    Some(if words.len() > 2 { named } else { empty }.to_owned())
}
