//! TLS with a server: `tls` of a proxy's server, and of a check of type `http`; `starttls` of one of type `smtp`.

use std::net::IpAddr;

use toml::de::DeValue;

use super::diagnostic::{Code, Reporter, quote};
use super::fields::{Field, Fields};
use super::values::{self, Fault};
use super::{ServerTls, Verify, schema};

/// `usual` is who is believed where the file does not say. `Some(None)` is TLS switched off; `None` was refused.
pub(super) fn server_tls(
    field: &Field<'_>,
    usual: Verify,
    reporter: &mut Reporter<'_>,
) -> Option<Option<ServerTls>> {
    if let DeValue::Boolean(on) = field.value {
        return Some(on.then_some(ServerTls {
            verify: usual,
            sni: None,
        }));
    }
    let expected = "true, false or a table such as { verify = \"none\" }";
    let table = field.table(expected, reporter)?;
    let fields = Fields::open(&schema::SERVER_TLS, field.path.clone(), table, reporter);
    let verify = match fields.get("verify") {
        Some(field) => self::verify(&field, reporter),
        None => Some(usual),
    };
    let sni = fields
        .get("sni")
        .map(|field| field.parsed("a host name", host_name, reporter));
    Some(Some(ServerTls {
        verify: verify?,
        sni: sni.map_or(Some(None), |given| given.map(Some))?,
    }))
}

pub(super) fn verify(field: &Field<'_>, reporter: &mut Reporter<'_>) -> Option<Verify> {
    let expected = "\"none\", \"system\", \"/PATH/ca.pem\" or \"sha256:HEX\"";
    if let DeValue::Boolean(on) = field.value {
        let word = if *on { "system" } else { "none" };
        let finding = field.wrong_type(expected);
        reporter.push(finding.help(format!("write \"{word}\"")));
        return None;
    }
    field.parsed(expected, |text| who(text, expected), reporter)
}

fn who(text: &str, expected: &str) -> Result<Verify, Fault> {
    match text {
        "none" => return Ok(Verify::None),
        "system" => return Ok(Verify::System),
        _ => {}
    }
    if text.starts_with('/') {
        return values::file(text).map(Verify::Ca);
    }
    let fault = |phrase: String| Fault::new(Code::UnknownValue, phrase);
    if let Some(hex) = text.strip_prefix("sha256:") {
        // As openssl prints it, with colons, as well.
        let plain = hex.replace(':', "");
        return digest(&plain).map(Verify::Pinned).ok_or_else(|| {
            fault(format!("is not a digest of 64 hex digits: {}", quote(hex)))
                .help("`openssl x509 -in server.pem -noout -fingerprint -sha256` prints it")
        });
    }
    let help = match text {
        "required" | "optional" | "full" | "true" | "on" | "default" => {
            "did you mean \"system\"?".to_owned()
        }
        "off" | "false" | "skip" | "insecure" | "no" => "did you mean \"none\"?".to_owned(),
        _ if digest(&text.replace(':', "")).is_some() => format!("write \"sha256:{text}\""),
        _ if text.contains(['/', '.']) => "write the absolute path of a PEM file".to_owned(),
        _ => "certificates are checked by the authorities of this host, by those of a file, by their digest, or not at all".to_owned(),
    };
    Err(fault(format!("is {}, expected {expected}", quote(text))).help(help))
}

fn digest(hex: &str) -> Option<[u8; 32]> {
    let hex = hex.as_bytes();
    let mut digest = [0; 32];
    if hex.len() != 64 {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(hex.chunks(2)) {
        let mut digits = pair.iter().map(|c| char::from(*c).to_digit(16));
        let (high, low) = (digits.next()??, digits.next()??);
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(digest)
}

/// What SNI can carry (RFC 6066 section 3): no addresses.
fn host_name(text: &str) -> Result<String, Fault> {
    let fault = |phrase: &str| {
        let phrase = format!("{phrase}: {}", quote(text));
        Fault::new(Code::BadText, phrase).help("write a name such as \"mail.example.org\"")
    };
    if text.parse::<IpAddr>().is_ok() {
        return Err(fault("is an address, and SNI carries names only"));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    match text.len() <= 253 && text.split('.').all(label) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(fault("is not a host name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_believed() {
        let hex = "ab".repeat(32);
        let colons = vec!["AB"; 32].join(":");
        for (text, verify) in [
            ("none", Verify::None),
            ("system", Verify::System),
            ("/etc/ca.pem", Verify::Ca("/etc/ca.pem".into())),
            (&format!("sha256:{hex}"), Verify::Pinned([0xab; 32])),
            (&format!("sha256:{colons}"), Verify::Pinned([0xab; 32])),
        ] {
            assert_eq!(who(text, ""), Ok(verify), "{text}");
        }
        for text in [
            "",
            "None",
            "ca.pem",
            "/",
            "sha256:",
            "sha256:ab",
            &hex,
            "sha1:ab",
            "sha256:ä",
        ] {
            who(text, "").expect_err(text);
        }
    }

    #[test]
    fn names_for_sni() {
        for text in ["mail.example.org", "localhost", "a_b.example"] {
            assert_eq!(host_name(text).as_deref(), Ok(text));
        }
        for text in [
            "",
            "192.0.2.1",
            "::1",
            "a b",
            "a..b",
            "-a",
            "a.",
            "ä",
            "a:1",
            &"x".repeat(64),
        ] {
            host_name(text).expect_err(text);
        }
    }
}
