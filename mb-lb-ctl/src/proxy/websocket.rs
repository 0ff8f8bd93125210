//! Where frames of a WebSocket end (RFC 6455 section 5.2), to say goodbye between two of them.

/// Bytes of the longest head.
const LONGEST: usize = 14;
const MASKED: u8 = 0x80;

/// The end of a connection whose server goes away: code 1001 (RFC 6455 section 7.4.1), as a server says it.
pub const GOING_AWAY: [u8; 4] = [0x88, 2, 0x03, 0xe9];

/// As a client says it (RFC 6455 section 5.3).
pub fn masked_going_away(key: [u8; 4]) -> [u8; 8] {
    let [a, b, c, d] = key;
    [0x88, MASKED | 2, a, b, c, d, 0x03 ^ a, 0xe9 ^ b]
}

/// Follows the bytes of one direction.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    head: Vec<u8>,
    /// Bytes of the payload that are still to come.
    left: u64,
}

impl Frames {
    pub fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let length = usize::try_from(self.left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                self.left -= length as u64;
                bytes = &bytes[length..];
                continue;
            }
            self.head.push(bytes[0]);
            bytes = &bytes[1..];
            if let Some(length) = payload(&self.head) {
                self.left = length;
                self.head.clear();
            }
        }
    }

    /// Whether another frame may come here.
    pub fn is_between(&self) -> bool {
        self.left == 0 && self.head.is_empty()
    }
}

/// Of a head that is complete.
fn payload(head: &[u8]) -> Option<u64> {
    debug_assert!(head.len() <= LONGEST);
    let second = *head.get(1)?;
    let (extended, mask) = match second & !MASKED {
        126 => (2, second & MASKED),
        127 => (8, second & MASKED),
        _ => (0, second & MASKED),
    };
    let whole = 2 + extended + if mask == 0 { 0 } else { 4 };
    if head.len() < whole {
        return None;
    }
    let number = head[2..2 + extended]
        .iter()
        .fold(0, |sum: u64, &byte| sum << 8 | u64::from(byte));
    Some(match extended {
        0 => u64::from(second & !MASKED),
        _ => number,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_all_sizes_end_where_they_end() {
        let masked = |length: &[u8], payload: usize| {
            let mut frame = vec![0x82];
            frame.extend(length);
            frame.extend([1, 2, 3, 4]);
            frame.extend(vec![7; payload]);
            frame
        };
        let frames: [Vec<u8>; 6] = [
            vec![0x89, 0],
            [vec![0x81, 5], b"hello".to_vec()].concat(),
            masked(&[0x80 | 5], 5),
            masked(&[0x80 | 126, 1, 0], 256),
            masked(&[0x80 | 127, 0, 0, 0, 0, 0, 1, 0, 0], 65_536),
            masked_going_away([1, 2, 3, 4]).to_vec(),
        ];
        let all = frames.concat();
        let mut ends = vec![0];
        for frame in &frames {
            ends.push(ends[ends.len() - 1] + frame.len());
        }
        for piece in [1, 2, 3, 7, 100, 70_000] {
            let mut follower = Frames::default();
            let mut at = 0;
            for bytes in all.chunks(piece) {
                follower.follow(bytes);
                at += bytes.len();
                assert_eq!(follower.is_between(), ends.contains(&at), "{at} by {piece}");
            }
        }
    }

    #[test]
    fn a_client_says_it_masked() {
        let frame = masked_going_away([0xff, 0, 0, 0]);
        assert_eq!(frame, [0x88, 0x82, 0xff, 0, 0, 0, 0xfc, 0xe9]);
    }
}
