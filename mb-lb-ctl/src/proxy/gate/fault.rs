//! What is refused, and how.

use std::fmt;

use http::StatusCode;

/// Why a connection's bytes go no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    pub fault: Fault,
    pub place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a head: the request did not go on.
    Head,
    /// In a body: the request's head has gone on.
    Body,
    /// After the last request.
    After,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.fault.word(), self.fault)
    }
}

/// Each with the sentence for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    #[error("a line ends without CR, or CR stands alone")]
    LineEnd,
    #[error("the request line is not method, target and version with one space between")]
    RequestLine,
    #[error("the method is not a token")]
    Method,
    #[error("CONNECT is not offered")]
    Connect,
    #[error("the target has a byte or a form that it may not have")]
    Target,
    #[error("the version is not one of HTTP")]
    VersionSyntax,
    #[error("the version is neither HTTP/1.0 nor HTTP/1.1")]
    Version,
    #[error("a field's name is not a token with a colon right behind")]
    FieldName,
    #[error("a field's value has a control character")]
    FieldValue,
    #[error("a field goes on in a second line")]
    Fold,
    #[error("too many bytes of request line and fields")]
    HeaderSize,
    #[error("too many fields")]
    FieldCount,
    #[error("HTTP/1.1 without Host")]
    HostMissing,
    #[error("more than one Host")]
    HostTwice,
    #[error("Host is empty or not a host with an optional port")]
    HostSyntax,
    #[error("Host is not the target's authority")]
    HostMismatch,
    #[error("Content-Length is not a number")]
    ContentLength,
    #[error("more than one Content-Length")]
    ContentLengthTwice,
    #[error("more than one Transfer-Encoding")]
    TransferEncodingTwice,
    #[error("Transfer-Encoding is not chunked")]
    TransferEncoding,
    #[error("a transfer coding that is not known")]
    TransferCoding,
    #[error("Transfer-Encoding in HTTP/1.0")]
    TransferEncodingVersion,
    #[error("both Content-Length and Transfer-Encoding")]
    TwoLengths,
    #[error("the content is too long")]
    BodySize,
    #[error("a chunk's size is not a number, or too big")]
    ChunkSize,
    #[error("a chunk's extension is too long or has a control character")]
    ChunkExtension,
    #[error("a chunk does not end where its size says")]
    ChunkEnd,
    #[error("a trailer that belongs into the head")]
    Trailer,
    #[error("bytes after the request that was to be the last one")]
    AfterLast,
}

impl Fault {
    pub fn status(self) -> StatusCode {
        match self {
            Self::Connect => StatusCode::METHOD_NOT_ALLOWED,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::HeaderSize | Self::FieldCount => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodySize => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// For counters and the log: one word, never changed.
    pub fn word(self) -> &'static str {
        match self {
            Self::LineEnd => "line_end",
            Self::RequestLine => "request_line",
            Self::Method => "method",
            Self::Connect => "connect",
            Self::Target => "target",
            Self::VersionSyntax => "version_syntax",
            Self::Version => "version",
            Self::FieldName => "field_name",
            Self::FieldValue => "field_value",
            Self::Fold => "fold",
            Self::HeaderSize => "header_size",
            Self::FieldCount => "field_count",
            Self::HostMissing => "host_missing",
            Self::HostTwice => "host_twice",
            Self::HostSyntax => "host_syntax",
            Self::HostMismatch => "host_mismatch",
            Self::ContentLength => "content_length",
            Self::ContentLengthTwice => "content_length_twice",
            Self::TransferEncodingTwice => "transfer_encoding_twice",
            Self::TransferEncoding => "transfer_encoding",
            Self::TransferCoding => "transfer_coding",
            Self::TransferEncodingVersion => "transfer_encoding_version",
            Self::TwoLengths => "two_lengths",
            Self::BodySize => "body_size",
            Self::ChunkSize => "chunk_size",
            Self::ChunkExtension => "chunk_extension",
            Self::ChunkEnd => "chunk_end",
            Self::Trailer => "trailer",
            Self::AfterLast => "after_last",
        }
    }
}
