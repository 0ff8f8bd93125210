//! Weights as HAProxy takes them: `0` to `256`, or percent of the configured weight.

use crate::engine::Weight;

/// Past this every configured weight of 1 or more ends at the cap of 256.
const MAX_PERCENT: i64 = 25_600;

/// Understands `5` or `50%`; the error is HAProxy's text.
pub fn parse(text: &str) -> Result<Weight, String> {
    if text.is_empty() {
        return Err("Require <weight> or <weight%>.\n".to_owned());
    }
    let (number, rest) = leading_number(text)
        .ok_or_else(|| "Empty weight string empty or preceded by garbage".to_owned())?;
    if rest == "%" {
        return match u32::try_from(number.min(MAX_PERCENT)) {
            Ok(percent) => Ok(Weight::Percent(percent)),
            Err(_) => Err("Relative weight must be positive.\n".to_owned()),
        };
    }
    match u16::try_from(number) {
        Ok(weight @ 0..=256) if rest.is_empty() => Ok(Weight::Absolute(weight)),
        Ok(0..=256) => Err("Trailing garbage in weight string".to_owned()),
        _ => Err("Absolute weight can only be between 0 and 256 inclusive.\n".to_owned()),
    }
}

/// The number at the start and what follows it; huge numbers stop at the bounds of `i64`.
fn leading_number(text: &str) -> Option<(i64, &str)> {
    let unsigned = text.trim_start_matches(['+', '-']);
    if text.len() - unsigned.len() > 1 {
        return None;
    }
    let digits = unsigned
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(unsigned.len());
    let (digits, rest) = unsigned.split_at(digits);
    if digits.is_empty() {
        return None;
    }
    let number = digits.parse::<i64>().unwrap_or(i64::MAX);
    Some((
        if text.starts_with('-') {
            -number
        } else {
            number
        },
        rest,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_and_complaints() {
        let cases: &[(&str, Result<Weight, &str>)] = &[
            ("0", Ok(Weight::Absolute(0))),
            ("256", Ok(Weight::Absolute(256))),
            ("+5", Ok(Weight::Absolute(5))),
            ("0%", Ok(Weight::Percent(0))),
            ("101%", Ok(Weight::Percent(101))),
            ("99999999999999999999%", Ok(Weight::Percent(25_600))),
            ("", Err("Require <weight> or <weight%>.\n")),
            (
                "257",
                Err("Absolute weight can only be between 0 and 256 inclusive.\n"),
            ),
            (
                "-1",
                Err("Absolute weight can only be between 0 and 256 inclusive.\n"),
            ),
            (
                "99999999999999999999",
                Err("Absolute weight can only be between 0 and 256 inclusive.\n"),
            ),
            ("-1%", Err("Relative weight must be positive.\n")),
            ("5x", Err("Trailing garbage in weight string")),
            ("5%x", Err("Trailing garbage in weight string")),
            ("x", Err("Empty weight string empty or preceded by garbage")),
            (
                "+-5",
                Err("Empty weight string empty or preceded by garbage"),
            ),
            ("%", Err("Empty weight string empty or preceded by garbage")),
        ];
        for (text, expected) in cases {
            assert_eq!(
                parse(text),
                expected.map_err(str::to_owned),
                "weight {text:?}"
            );
        }
    }
}
