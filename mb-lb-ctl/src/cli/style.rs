//! Colour and line drawing. Colour never says anything alone: words and case differ too.

use anstyle::{AnsiColor, Style as Ansi};

use crate::cli::args::Color;

/// What the reader's terminal can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    pub color: bool,
    pub unicode: bool,
}

impl Style {
    /// For a stream; `terminal` says whether it is one.
    pub fn detect(color: Color, terminal: bool, env: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let color = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto if set("NO_COLOR").is_some() => false,
            Color::Auto if set("CLICOLOR_FORCE").is_some_and(|value| value != "0") => true,
            Color::Auto => terminal && set("TERM").is_none_or(|term| term != "dumb"),
        };
        // POSIX: the first of these that is not empty decides.
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
        let unicode = locale.is_some_and(|locale| {
            let locale = locale.to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        });
        Self { color, unicode }
    }

    pub fn good(self, text: &str) -> String {
        self.paint(AnsiColor::Green.on_default(), text)
    }

    pub fn bad(self, text: &str) -> String {
        self.paint(AnsiColor::Red.on_default().bold(), text)
    }

    pub fn odd(self, text: &str) -> String {
        self.paint(AnsiColor::Yellow.on_default(), text)
    }

    pub fn calm(self, text: &str) -> String {
        self.paint(AnsiColor::Cyan.on_default(), text)
    }

    pub fn strong(self, text: &str) -> String {
        self.paint(Ansi::new().bold(), text)
    }

    pub fn faint(self, text: &str) -> String {
        self.paint(Ansi::new().dimmed(), text)
    }

    /// Before a server: `last` closes the tree.
    pub const fn branch(self, last: bool) -> &'static str {
        match (self.unicode, last) {
            (true, false) => "├─ ",
            (true, true) => "└─ ",
            (false, false) => "|- ",
            (false, true) => "`- ",
        }
    }

    pub const fn bullet(self) -> &'static str {
        if self.unicode { "●" } else { "*" }
    }

    fn paint(self, style: Ansi, text: &str) -> String {
        if self.color && !text.is_empty() {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(color: Color, terminal: bool, env: &[(&str, &str)]) -> Style {
        Style::detect(color, terminal, |name| {
            env.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn colour_is_for_terminals_unless_somebody_says_otherwise() {
        type Env = &'static [(&'static str, &'static str)];
        let cases: &[(Color, bool, Env, bool)] = &[
            (Color::Auto, true, &[], true),
            (Color::Auto, false, &[], false),
            (Color::Auto, true, &[("TERM", "dumb")], false),
            (Color::Auto, true, &[("NO_COLOR", "1")], false),
            (Color::Auto, true, &[("NO_COLOR", "")], true),
            (Color::Auto, false, &[("CLICOLOR_FORCE", "1")], true),
            (Color::Auto, false, &[("CLICOLOR_FORCE", "0")], false),
            (
                Color::Auto,
                true,
                &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")],
                false,
            ),
            (Color::Always, false, &[("NO_COLOR", "1")], true),
            (Color::Never, true, &[("CLICOLOR_FORCE", "1")], false),
        ];
        for (color, terminal, env, expected) in cases {
            assert_eq!(
                detect(*color, *terminal, env).color,
                *expected,
                "{color:?} {terminal} {env:?}"
            );
        }
    }

    #[test]
    fn line_drawing_follows_the_locale() {
        let cases: &[(&[(&str, &str)], bool)] = &[
            (&[("LANG", "de_DE.UTF-8")], true),
            (&[("LANG", "C.utf8")], true),
            (&[("LANG", "C")], false),
            (&[], false),
            (&[("LANG", "en_US.UTF-8"), ("LC_ALL", "C")], false),
            (&[("LANG", "en_US.UTF-8"), ("LC_ALL", "")], true),
            (&[("LC_CTYPE", "C.UTF-8"), ("LANG", "C")], true),
        ];
        for (env, expected) in cases {
            assert_eq!(detect(Color::Auto, true, env).unicode, *expected, "{env:?}");
        }
    }
}
