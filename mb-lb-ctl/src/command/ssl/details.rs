//! `show ssl cert PATH`: what is in a certificate, in the words that HAProxy takes from OpenSSL.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Name;

use crate::command::info::civil_date;

/// An empty store.
pub fn empty(name: &str) -> String {
    format!("Filename: {name}\nStatus: Empty\nOCSP Response Key: \n")
}

/// `chain`: in DER form, the server's own first.
pub fn describe(name: &str, is_used: bool, chain: &[impl AsRef<[u8]>]) -> Option<String> {
    let (der, above) = chain.split_first()?;
    let (_, own) = X509Certificate::from_der(der.as_ref()).ok()?;
    let validity = own.validity();
    let mut text = format!(
        "Filename: {name}\nStatus: {}\nSerial: {}\nnotBefore: {}\nnotAfter: {}\nSubject Alternative Name: {}\n\
         Algorithm: {}\nSHA1 FingerPrint: {}\nSubject: {}\nIssuer: {}\n",
        if is_used { "Used" } else { "Unused" },
        serial(own.raw_serial()),
        date(validity.not_before),
        date(validity.not_after),
        alternatives(&own),
        algorithm(&own),
        hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, der.as_ref()).as_ref()),
        one_line(own.subject()),
        one_line(own.issuer()),
    );
    for der in above {
        let (_, parsed) = X509Certificate::from_der(der.as_ref()).ok()?;
        // Writing into a String cannot fail.
        let _ = write!(
            text,
            "Chain Subject: {}\nChain Issuer: {}\n",
            one_line(parsed.subject()),
            one_line(parsed.issuer())
        );
    }
    // OCSP is not stapled.
    text += "OCSP Response Key: \n";
    Some(text)
}

/// Without the byte that only says that it is positive.
fn serial(bytes: &[u8]) -> String {
    match bytes {
        [0, rest @ ..] if !rest.is_empty() => hex(rest),
        bytes => hex(bytes),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn date(time: ASN1Time) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    let (year, month, day) = civil_date(seconds / 86_400);
    let month = MONTHS[month as usize - 1];
    format!(
        "{month} {day:2} {:02}:{:02}:{:02} {year} GMT",
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

fn alternatives(certificate: &X509Certificate<'_>) -> String {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return String::new();
    };
    let names = names.value.general_names.iter().map(|name| match name {
        GeneralName::DNSName(name) => format!("DNS:{name}"),
        GeneralName::RFC822Name(name) => format!("email:{name}"),
        GeneralName::URI(name) => format!("URI:{name}"),
        GeneralName::IPAddress([a, b, c, d]) => format!("IP Address:{a}.{b}.{c}.{d}"),
        GeneralName::IPAddress(bytes) => {
            let groups = bytes.chunks(2).map(|pair| {
                let number = pair
                    .iter()
                    .fold(0u16, |sum, byte| sum << 8 | u16::from(*byte));
                format!("{number:X}")
            });
            format!("IP Address:{}", groups.collect::<Vec<_>>().join(":"))
        }
        other => other.to_string(),
    });
    names.collect::<Vec<_>>().join(", ")
}

fn algorithm(certificate: &X509Certificate<'_>) -> String {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA{}", key.key_size()),
        Ok(PublicKey::EC(point)) => format!("EC{}", point.key_size()),
        _ => "UNKNOWN".to_owned(),
    }
}

/// `/C=DE/O=Example/CN=mail.example.org`
fn one_line(name: &X509Name<'_>) -> String {
    let parts = name.iter_attributes().map(|attribute| {
        let kind = oid2abbrev(attribute.attr_type(), oid_registry())
            .map_or_else(|_| attribute.attr_type().to_id_string(), str::to_owned);
        format!("/{kind}={}", attribute.as_str().unwrap_or_default())
    });
    parts.collect()
}
