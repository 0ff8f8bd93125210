//! Words of a line of haproxy.cfg, as its manual's section 2.2 has them.

/// One word, without its quotes and escapes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Word {
    pub text: String,
    /// Name of a variable of HAProxy's environment in it.
    pub variable: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    None,
    /// `"`: variables and escapes count.
    Weak,
    /// `'`: nothing counts.
    Strong,
}

/// # Errors
/// A quote that is not closed, which HAProxy refuses.
pub(super) fn words(line: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut quote = Quote::None;
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (Quote::None, '#') => break,
            (Quote::None, c) if c.is_ascii_whitespace() => words.extend(word.take()),
            (Quote::None, '"') | (Quote::Weak, '"') => {
                quote = if quote == Quote::Weak {
                    Quote::None
                } else {
                    Quote::Weak
                };
                word.get_or_insert_default();
            }
            (Quote::None, '\'') | (Quote::Strong, '\'') => {
                quote = if quote == Quote::Strong {
                    Quote::None
                } else {
                    Quote::Strong
                };
                word.get_or_insert_default();
            }
            (Quote::None | Quote::Weak, '\\') => {
                let Some(escaped) = rest.next() else {
                    // A backslash at the end stays one.
                    word.get_or_insert_default().text.push('\\');
                    break;
                };
                let meant = match escaped {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'x' => {
                        let digits: String = rest.clone().take(2).collect();
                        match u8::from_str_radix(&digits, 16) {
                            Ok(code) if digits.len() == 2 => {
                                rest.nth(1);
                                char::from(code)
                            }
                            _ => 'x',
                        }
                    }
                    other => other,
                };
                word.get_or_insert_default().text.push(meant);
            }
            (_, '$') => {
                let word = word.get_or_insert_default();
                word.text.push('$');
                // Outside of quotes it counts where an address is expected, and there only with braces.
                let braced = rest.peek() == Some(&'{');
                if quote == Quote::Weak || (quote == Quote::None && braced) {
                    let name = rest.clone().skip(usize::from(braced));
                    let name: String = name
                        .take_while(|c| c.is_alphanumeric() || *c == '_')
                        .collect();
                    if !name.is_empty() {
                        word.variable.get_or_insert(name);
                    }
                }
            }
            (_, c) => word.get_or_insert_default().text.push(c),
        }
    }
    if quote != Quote::None {
        return Err("a quote is not closed, and HAProxy does not start with it".to_owned());
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Vec<String> {
        let words = words(line).expect("words");
        words.into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn words_as_haproxy_cuts_them() {
        for (line, expected) in [
            ("  bind\t*:25 # all", &["bind", "*:25"][..]),
            ("", &[]),
            ("# only a comment", &[]),
            ("log \"a b\" 'c d' e\\ f", &["log", "a b", "c d", "e f"]),
            ("a\"b c\"'d'", &["ab cd"]),
            ("a\\#b c#d", &["a#b", "c"]),
            ("\"a#b\" ''", &["a#b", ""]),
            ("\\x41\\x0 '\\x41'", &["Ax0", "\\x41"]),
            ("\"it's\" 'a\"b'", &["it's", "a\"b"]),
            ("end\\", &["end\\"]),
        ] {
            assert_eq!(texts(line), expected, "{line:?}");
        }
    }

    #[test]
    fn variables_are_seen_where_they_count() {
        for (line, expected) in [
            ("\"$A\"", Some("A")),
            ("\"${A_1}:25\"", Some("A_1")),
            ("${A}:25", Some("A")),
            ("$A", None),
            ("'$A'", None),
            ("\"\\$A\"", None),
            ("\"$\"", None),
        ] {
            let words = words(line).expect("words");
            assert_eq!(words[0].variable.as_deref(), expected, "{line:?}");
        }
    }

    #[test]
    fn an_open_quote_is_an_error() {
        for line in ["a \"b", "'", "\"a'"] {
            words(line).expect_err(line);
        }
    }
}
