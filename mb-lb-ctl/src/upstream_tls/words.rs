//! What failed, for operators.

use rustls::{AlertDescription, CertificateError, Error};

/// One line without a full stop. Nothing in it comes from the server but numbers and digests.
pub fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => {
            format!("its certificate is refused: {}", refused(error))
        }
        Error::InvalidMessage(_) => "it does not speak TLS".to_owned(),
        Error::AlertReceived(alert) => match alert {
            AlertDescription::ProtocolVersion => "it has no version of TLS from 1.2".to_owned(),
            AlertDescription::HandshakeFailure => "it has no cipher in common".to_owned(),
            AlertDescription::UnrecognisedName => "it does not know the name in `sni`".to_owned(),
            AlertDescription::CertificateRequired => {
                "it wants a certificate of the client".to_owned()
            }
            other => format!("it ended TLS with the alert {other:?}"),
        },
        Error::PeerIncompatible(what) => format!("its TLS does not fit: {what:?}"),
        other => format!("TLS failed: {other}"),
    }
}

fn refused(error: &CertificateError) -> String {
    let words = match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet"
        }
        CertificateError::UnknownIssuer => "nobody who is believed has issued it",
        CertificateError::NotValidForName => "it is for another name",
        CertificateError::NotValidForNameContext { expected, .. } => {
            return format!("it is not for {}", expected.to_str());
        }
        CertificateError::BadEncoding => "it cannot be read",
        CertificateError::BadSignature => "its signature is wrong",
        // What webpki says of `openssl req -x509`; its errors have no types here.
        CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity" => {
            "it has issued itself, and is not one of those that are believed"
        }
        CertificateError::Other(other) => return other.to_string(),
        other => return format!("{other:?}"),
    };
    words.to_owned()
}
