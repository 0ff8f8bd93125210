//! Dates in a cookie's value: `VALUE|LLLLL[|FFFFF]`, last and first given out. Five digits of base64 each, in units of 4
//! seconds since 1970; 30 bits, good until 2106.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Server's part of the value, last date, first date; in Unix seconds.
pub(super) fn split(value: &[u8]) -> (&[u8], Option<u64>, Option<u64>) {
    let mut parts = value.splitn(3, |&byte| byte == b'|');
    let name = parts.next().unwrap_or_default();
    // HAProxy counts five digits from the first bar on, whatever is between them and the next one.
    let rest = value.get(name.len() + 1..).unwrap_or_default();
    let last = decode(rest);
    let first = parts.nth(1).and_then(decode);
    (name, last, first)
}

/// Of now: rounded up, so that a cookie is never older than it says.
pub(super) fn encode(unix_seconds: u64) -> [u8; 5] {
    digits((unix_seconds + 3) >> 2)
}

/// Of a date that was read from a cookie.
pub(super) fn encode_read(unix_seconds: u64) -> [u8; 5] {
    digits(unix_seconds >> 2)
}

fn digits(quarters: u64) -> [u8; 5] {
    std::array::from_fn(|place| DIGITS[(quarters >> (24 - 6 * place)) as usize & 63])
}

/// `None` for what is no date, and for 0.
fn decode(text: &[u8]) -> Option<u64> {
    let mut quarters = 0;
    for &digit in text.get(..5)? {
        let digit = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        quarters = quarters << 6 | u64::from(digit);
    }
    (quarters > 0).then_some(quarters << 2)
}
