//! The text format of Prometheus, version 0.0.4.

use std::fmt::{Display, Write as _};

/// Content type of what [`Exposition`] writes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// One metric: all samples of one name.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    pub name: &'static str,
    pub kind: Kind,
    /// Names of labels, in the order in which samples give their values.
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

/// Families of one file, and `ALL` of them.
macro_rules! families {
    ($($variant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(static $variant: $crate::admin::http::metrics::Family = $crate::admin::http::metrics::Family {
            name: $name,
            kind: $crate::admin::http::metrics::Kind::$kind,
            labels: &[$($label),*],
            help: $help,
        };)*
        pub(super) static ALL: &[&$crate::admin::http::metrics::Family] = &[$(&$variant),*];
    };
}
pub(super) use families;

/// The text, family by family.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// A family with its samples: values of labels, and the value. Also where there are none, so that it is known.
    pub fn family<'l, const N: usize, V: Display>(
        &mut self,
        family: &Family,
        samples: impl IntoIterator<Item = ([&'l str; N], V)>,
    ) {
        debug_assert_eq!(family.labels.len(), N, "{}", family.name);
        let (name, kind) = (family.name, family.kind.name());
        // Writing into a String cannot fail, here and below.
        let _ = writeln!(self.text, "# HELP {name} {}", family.help);
        let _ = writeln!(self.text, "# TYPE {name} {kind}");
        for (values, value) in samples {
            self.text.push_str(name);
            for (index, (label, value)) in family.labels.iter().zip(values).enumerate() {
                let before = if index == 0 { '{' } else { ',' };
                let _ = write!(self.text, "{before}{label}=\"{}\"", Escaped(value));
            }
            let end = if N == 0 { "" } else { "}" };
            let _ = writeln!(self.text, "{end} {value}");
        }
    }

    /// A family of one sample without labels.
    pub fn single(&mut self, family: &Family, value: impl Display) {
        self.family(family, [([], value)]);
    }

    pub fn finish(self) -> String {
        self.text
    }
}

/// The value of a label: backslash, quote and line feed are escaped.
struct Escaped<'t>(&'t str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// 1 for what is so, 0 for what is not.
pub fn one_hot<'w>(
    words: &'static [&'static str],
    is: &'w str,
) -> impl Iterator<Item = (&'static str, u8)> + 'w {
    words.iter().map(move |word| (*word, u8::from(*word == is)))
}

#[cfg(test)]
mod tests {
    use super::*;

    static FLOWS: Family = Family {
        name: "mb_lb_flows",
        kind: Kind::Gauge,
        labels: &["server", "state"],
        help: "Flows.",
    };

    #[test]
    fn labels_are_escaped_and_families_are_known_without_samples() {
        let mut text = Exposition::default();
        text.family(&FLOWS, [(["a\"b\\c\nd", "up"], 1.5)]);
        text.family(&FLOWS, std::iter::empty::<([&str; 2], u64)>());
        assert_eq!(
            text.finish(),
            "# HELP mb_lb_flows Flows.\n# TYPE mb_lb_flows gauge\nmb_lb_flows{server=\"a\\\"b\\\\c\\nd\",state=\"up\"} 1.5\n\
             # HELP mb_lb_flows Flows.\n# TYPE mb_lb_flows gauge\n"
        );
    }
}
