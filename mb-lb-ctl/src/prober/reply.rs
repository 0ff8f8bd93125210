//! SMTP replies (RFC 5321 section 4.2), from bytes that anybody may have sent.

use super::finding::quote;

/// Longest reply that is read, all lines together. RFC 5321 section 4.5.3.1.5 grants a line 512 bytes.
pub(super) const LONGEST: usize = 4096;

/// One whole reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// 200 to 599.
    pub(super) code: u16,
    /// First line after the code, fit to be shown.
    pub(super) text: String,
    /// Lines after the first, without their code, as they came.
    pub(super) rest: Vec<Vec<u8>>,
}

impl Reply {
    /// Positive completion, 2yz.
    pub(super) fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// Permanent negative completion, 5yz.
    pub(super) fn is_permanent_failure(&self) -> bool {
        self.code / 100 == 5
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.text.as_str() {
            "" => write!(f, "{}", self.code),
            text => write!(f, "{} {text}", self.code),
        }
    }
}

/// Bytes that no SMTP reply begins with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Garbage {
    #[error("not an SMTP reply: \"{0}\"")]
    NotAReply(String),
    #[error("reply lines with different codes: {0} and {1}")]
    CodesDiffer(u16, u16),
    #[error("a reply longer than {LONGEST} bytes")]
    TooLong,
}

/// The reply that `bytes` begin with and its length in bytes; `None` where more bytes are needed to tell.
/// A line may end in a bare LF, which servers have been seen to send.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Reply, usize)>, Garbage> {
    let mut first: Option<Reply> = None;
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let end = rest.iter().position(|byte| *byte == b'\n');
        let line = &rest[..end.unwrap_or(rest.len())];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !could_be_reply(line, end.is_some()) {
            return Err(Garbage::NotAReply(quote(line)));
        }
        let Some(end) = end else {
            return if bytes.len() >= LONGEST {
                Err(Garbage::TooLong)
            } else {
                Ok(None)
            };
        };
        at += end + 1;
        if at > LONGEST {
            return Err(Garbage::TooLong);
        }
        let code = line[..3]
            .iter()
            .fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
        let reply = match first.take() {
            None => Reply {
                code,
                text: quote(line.get(4..).unwrap_or_default()),
                rest: Vec::new(),
            },
            Some(reply) if reply.code != code => {
                return Err(Garbage::CodesDiffer(reply.code, code));
            }
            Some(mut reply) => {
                reply.rest.push(line.get(4..).unwrap_or_default().to_vec());
                reply
            }
        };
        if line.get(3) != Some(&b'-') {
            return Ok(Some((reply, at)));
        }
        first = Some(reply);
    }
}

/// Whether a line, or the beginning of one that is not `whole` yet, has the form of a reply line.
fn could_be_reply(line: &[u8], whole: bool) -> bool {
    let code = &line[..line.len().min(3)];
    let mut digits = code.iter();
    digits
        .next()
        .is_none_or(|digit| (b'2'..=b'5').contains(digit))
        && digits.all(u8::is_ascii_digit)
        && line.get(3).is_none_or(|byte| matches!(byte, b' ' | b'-'))
        && (!whole || line.len() >= 3)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(code: u16, text: &str, length: usize) -> Result<Option<(Reply, usize)>, Garbage> {
        lines(code, text, &[], length)
    }

    fn lines(
        code: u16,
        text: &str,
        rest: &[&[u8]],
        length: usize,
    ) -> Result<Option<(Reply, usize)>, Garbage> {
        let text = text.to_owned();
        let rest = rest.iter().map(|line| line.to_vec()).collect();
        Ok(Some((Reply { code, text, rest }, length)))
    }

    #[test]
    fn whole_replies() {
        assert_eq!(parse(b"220 mx1 ESMTP\r\n"), whole(220, "mx1 ESMTP", 15));
        assert_eq!(parse(b"220\r\n"), whole(220, "", 5));
        assert_eq!(parse(b"220 \n"), whole(220, "", 5));
        assert_eq!(
            parse(b"220-wait\r\n220 mx1\r\n250"),
            lines(220, "wait", &[b"mx1"], 19)
        );
        assert_eq!(
            parse(b"250-mx1\r\n250-SIZE\r\n250 HELP\r\n"),
            lines(250, "mx1", &[b"SIZE", b"HELP"], 29)
        );
        assert_eq!(parse(b"421 4.3.2 bye\r\n"), whole(421, "4.3.2 bye", 15));
        assert_eq!(parse(b"220-\n220\n"), lines(220, "", &[b""], 9));
    }

    #[test]
    fn beginnings_of_replies() {
        for bytes in [
            "",
            "2",
            "22",
            "220",
            "220 mx1",
            "220 mx1\r",
            "220-mx1\r\n",
            "220-mx1\r\n2",
        ] {
            assert_eq!(parse(bytes.as_bytes()), Ok(None), "{bytes:?}");
        }
    }

    #[test]
    fn other_protocols_are_recognised_at_once() {
        for bytes in [
            "SSH-2.0-OpenSSH",
            "HTTP/1.1 400",
            "\0",
            "\r\n",
            "22\r\n",
            "1",
            "600 x",
            "2x",
            "220x",
            "220-a\r\n\r\n",
        ] {
            let parsed = parse(bytes.as_bytes());
            assert!(
                matches!(parsed, Err(Garbage::NotAReply(_))),
                "{bytes:?}: {parsed:?}"
            );
        }
        assert_eq!(
            parse(b"220-a\r\n250 b\r\n"),
            Err(Garbage::CodesDiffer(220, 250))
        );
    }

    #[test]
    fn length_is_bounded() {
        let endless = [b"220 ".as_slice(), &[b'a'; LONGEST]].concat();
        assert_eq!(parse(&endless[..LONGEST - 1]), Ok(None));
        assert_eq!(parse(&endless[..LONGEST]), Err(Garbage::TooLong));
        assert_eq!(parse(&b"220-a\r\n".repeat(LONGEST)), Err(Garbage::TooLong));
    }

    fn noise() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..20),
            "[245][0-9]{2}[ -][a-z]{0,8}\r?\n".prop_map(String::into_bytes),
            "220[ -][a-z]{0,8}\r\n".prop_map(String::into_bytes),
            Just(b"\r\n".to_vec()),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn no_bytes_upset_the_parser(bytes in noise()) {
            if let Ok(Some((reply, length))) = parse(&bytes) {
                prop_assert!((200..600).contains(&reply.code));
                prop_assert!((4..=bytes.len()).contains(&length));
                prop_assert_eq!(bytes[length - 1], b'\n');
            }
        }

        /// However the bytes are cut into packets, the first decision is the one for all of them.
        #[test]
        fn more_bytes_do_not_change_a_decision(bytes in noise()) {
            let decision = parse(&bytes);
            let first = (0..=bytes.len()).map(|n| parse(&bytes[..n])).find(|parsed| *parsed != Ok(None));
            match (first.unwrap_or(Ok(None)), decision) {
                (Err(Garbage::NotAReply(early)), Err(Garbage::NotAReply(late))) => {
                    prop_assert!(late.starts_with(early.trim_end()));
                }
                (early, late) => prop_assert_eq!(early, late),
            }
        }
    }
}
