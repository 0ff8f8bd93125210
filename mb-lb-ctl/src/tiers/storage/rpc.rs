//! ONC RPC over TCP (RFC 5531) and XDR (RFC 4506), as far as asking goes. Pure.

use thiserror::Error;

/// No reply that is wanted is longer.
pub const LONGEST: usize = 64 * 1024;
/// Fragments of one record; a reply comes in one.
const MOST_FRAGMENTS: u32 = 64;

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Procedure {
    pub program: u32,
    pub version: u32,
    pub procedure: u32,
}

/// As whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    None,
    /// `AUTH_SYS` as root.
    Root,
}

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    #[error("no RPC reply")]
    Garbage,
    #[error("a reply to another question")]
    WrongXid,
    #[error("a reply of more than 64 KiB")]
    TooLong,
    #[error("the program is not served there (PROG_UNAVAIL)")]
    NoProgram,
    #[error("only versions {low} to {high} are served there (PROG_MISMATCH)")]
    Versions { low: u32, high: u32 },
    #[error("the procedure is not served there (PROC_UNAVAIL)")]
    NoProcedure,
    #[error("it could not read the question (GARBAGE_ARGS)")]
    GarbageArguments,
    #[error("it has an error of its own (SYSTEM_ERR)")]
    System,
    #[error("it speaks RPC of versions {low} to {high} (RPC_MISMATCH)")]
    RpcVersions { low: u32, high: u32 },
    #[error("it refuses the credential (AUTH_ERROR {0})")]
    Credential(u32),
}

impl Failure {
    /// Whoever says this speaks RPC.
    pub const fn is_reply(self) -> bool {
        !matches!(self, Self::Garbage | Self::WrongXid | Self::TooLong)
    }
}

/// XDR that is written.
#[derive(Clone, Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    #[must_use]
    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    #[must_use]
    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    /// With its length before it. `bytes` is shorter than 4 GiB.
    #[must_use]
    pub fn opaque(mut self, bytes: &[u8]) -> Self {
        let length = u32::try_from(bytes.len()).expect("what is sent is short");
        self.0.extend(length.to_be_bytes());
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub fn bytes(self) -> Vec<u8> {
        self.0
    }
}

/// XDR that is read. `None`: there is less than it should be.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*first))
    }

    pub fn u64(&mut self) -> Option<u64> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*first))
    }

    pub fn bool(&mut self) -> Option<bool> {
        match self.u32()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// With its length before it, of at most `most`.
    pub fn opaque(&mut self, most: usize) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        if length > most {
            return None;
        }
        let bytes = self.fixed(length)?;
        self.fixed(length.next_multiple_of(4) - length)?;
        Some(bytes)
    }

    pub fn fixed(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A call with its record mark.
pub fn call(xid: u32, what: Procedure, credential: Credential, arguments: &[u8]) -> Vec<u8> {
    let head = Writer::default()
        .u32(xid)
        .u32(0)
        .u32(2)
        .u32(what.program)
        .u32(what.version)
        .u32(what.procedure);
    let head = match credential {
        Credential::None => head.u32(0).opaque(&[]),
        Credential::Root => {
            let body = Writer::default()
                .u32(0)
                .opaque(b"mb-lb")
                .u32(0)
                .u32(0)
                .u32(0);
            head.u32(1).opaque(&body.bytes())
        }
    };
    let mut body = head.u32(0).opaque(&[]).bytes();
    body.extend(arguments);
    let length = u32::try_from(body.len()).expect("what is sent is short");
    let mut record = (length | LAST).to_be_bytes().to_vec();
    record.extend(body);
    record
}

/// In a record mark: no fragment follows.
const LAST: u32 = 1 << 31;

/// The result in a reply.
///
/// # Errors
/// It is none, or says that there is no result.
pub fn result(xid: u32, reply: &[u8]) -> Result<&[u8], Failure> {
    let mut reader = Reader::new(reply);
    if reader.u32().ok_or(Failure::Garbage)? != xid {
        return Err(Failure::WrongXid);
    }
    parse_reply(reader).unwrap_or(Err(Failure::Garbage))
}

fn parse_reply(mut reader: Reader<'_>) -> Option<Result<&[u8], Failure>> {
    if reader.u32()? != 1 {
        return None;
    }
    let denied = match reader.u32()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    if denied {
        return Some(Err(match reader.u32()? {
            0 => Failure::RpcVersions {
                low: reader.u32()?,
                high: reader.u32()?,
            },
            1 => Failure::Credential(reader.u32()?),
            _ => return None,
        }));
    }
    let _flavor = reader.u32()?;
    // The longest verifier, RFC 5531 section 8.2.
    let _verifier = reader.opaque(400)?;
    Some(match reader.u32()? {
        0 => Ok(reader.0),
        1 => Err(Failure::NoProgram),
        2 => Err(Failure::Versions {
            low: reader.u32()?,
            high: reader.u32()?,
        }),
        3 => Err(Failure::NoProcedure),
        4 => Err(Failure::GarbageArguments),
        5 => Err(Failure::System),
        _ => return None,
    })
}

/// A record that comes in fragments (RFC 5531, section 11), and those in pieces.
#[derive(Clone, Debug, Default)]
pub struct Record {
    whole: Vec<u8>,
    mark: Vec<u8>,
    /// Bytes of this fragment that are to come, and whether it is the last.
    fragment: Option<(usize, bool)>,
    fragments: u32,
}

impl Record {
    /// Takes in bytes; `Some` is a whole record. What follows it is dropped: nothing was asked for.
    ///
    /// # Errors
    /// It is longer than is wanted.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            match self.fragment {
                None => {
                    let missing = 4 - self.mark.len();
                    let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
                    self.mark.extend(taken);
                    bytes = rest;
                    let Some(mark) = self.mark.first_chunk() else {
                        return Ok(None);
                    };
                    let mark = u32::from_be_bytes(*mark);
                    let length = usize::try_from(mark & !LAST).unwrap_or(usize::MAX);
                    self.fragments += 1;
                    if length > LONGEST - self.whole.len() || self.fragments > MOST_FRAGMENTS {
                        return Err(Failure::TooLong);
                    }
                    self.fragment = Some((length, mark & LAST != 0));
                    self.mark.clear();
                }
                Some((length, last)) => {
                    let (taken, rest) = bytes.split_at(length.min(bytes.len()));
                    self.whole.extend(taken);
                    bytes = rest;
                    let missing = length - taken.len();
                    if missing > 0 {
                        self.fragment = Some((missing, last));
                        return Ok(None);
                    }
                    self.fragment = None;
                    if last {
                        return Ok(Some(std::mem::take(&mut self.whole)));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NULL: Procedure = Procedure {
        program: 100_003,
        version: 4,
        procedure: 0,
    };

    #[test]
    fn a_call_without_arguments_is_ten_words() {
        let expected = [0x8000_0028, 7, 0, 2, 100_003, 4, 0, 0, 0, 0, 0];
        let expected: Vec<u8> = expected
            .iter()
            .flat_map(|word: &u32| word.to_be_bytes())
            .collect();
        assert_eq!(call(7, NULL, Credential::None, &[]), expected);
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn every_reply_has_its_meaning() {
        use Failure::*;
        for (reply, expected) in [
            (words(&[7, 1, 0, 0, 0, 0]), Ok(&[][..])),
            (words(&[7, 1, 0, 0, 0, 1]), Err(NoProgram)),
            (
                words(&[7, 1, 0, 0, 0, 2, 3, 4]),
                Err(Versions { low: 3, high: 4 }),
            ),
            (words(&[7, 1, 0, 0, 0, 3]), Err(NoProcedure)),
            (words(&[7, 1, 0, 0, 0, 4]), Err(GarbageArguments)),
            (words(&[7, 1, 0, 0, 0, 5]), Err(System)),
            (
                words(&[7, 1, 1, 0, 2, 2]),
                Err(RpcVersions { low: 2, high: 2 }),
            ),
            (words(&[7, 1, 1, 1, 5]), Err(Credential(5))),
            (words(&[8, 1, 0, 0, 0, 0]), Err(WrongXid)),
            (words(&[7, 0, 0, 0, 0, 0]), Err(Garbage)),
            (words(&[7, 1, 0, 0, 0, 6]), Err(Garbage)),
            (words(&[7, 1, 2, 0, 0, 0]), Err(Garbage)),
            (words(&[7, 1, 0, 0, 404, 0]), Err(Garbage)),
            (words(&[7, 1, 0, 0, 0]), Err(Garbage)),
            (words(&[7, 1, 0, 0, 0, 2, 3]), Err(Garbage)),
            (Vec::new(), Err(Garbage)),
        ] {
            assert_eq!(result(7, &reply), expected, "{reply:?}");
        }
    }

    #[test]
    fn too_long_is_refused_at_its_mark() {
        let mut record = Record::default();
        assert_eq!(record.feed(&[0x7f, 0xff, 0xff]), Ok(None));
        assert_eq!(record.feed(&[0xff]), Err(Failure::TooLong));
        let mut record = Record::default();
        let empty = [0; 4 * 65];
        assert_eq!(record.feed(&empty), Err(Failure::TooLong));
    }

    proptest! {
        #[test]
        fn records_do_not_depend_on_how_they_come(
            body in prop::collection::vec(any::<u8>(), 0..300),
            cut in 1_usize..40,
            piece in 1_usize..50,
        ) {
            let mut sent = Vec::new();
            let cuts: Vec<_> = body.chunks(body.len().div_ceil(cut).max(1)).collect();
            for (index, fragment) in cuts.iter().enumerate() {
                let last = if index + 1 == cuts.len() { LAST } else { 0 };
                sent.extend((u32::try_from(fragment.len()).expect("short") | last).to_be_bytes());
                sent.extend(*fragment);
            }
            if cuts.is_empty() {
                sent.extend(LAST.to_be_bytes());
            }
            let mut record = Record::default();
            let mut whole = None;
            for piece in sent.chunks(piece) {
                prop_assert_eq!(&whole, &None);
                whole = record.feed(piece).expect("short enough");
            }
            prop_assert_eq!(whole, Some(body));
        }

        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = result(7, &bytes);
            let mut reader = Reader::new(&bytes);
            while reader.opaque(64).is_some() {}
        }

        #[test]
        fn what_is_written_is_read(number in any::<u32>(), long in any::<u64>(), bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let written = Writer::default().u32(number).opaque(&bytes).u64(long).bytes();
            let mut reader = Reader::new(&written);
            prop_assert_eq!(reader.u32(), Some(number));
            prop_assert_eq!(reader.opaque(40), Some(&bytes[..]));
            prop_assert_eq!(reader.u64(), Some(long));
            prop_assert!(reader.is_empty());
        }
    }
}
