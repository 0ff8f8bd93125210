//! Whether a form was sent by our own page.
//!
//! Browsers send the credentials of a site along with whatever another site makes them send there. They also say where
//! it came from, in fields that scripts cannot set: `Sec-Fetch-Site`, `Origin`, and `Referer` in old ones. A request
//! without any of them comes from a program such as curl, which nobody can make send a password that it has not got.

use http::HeaderMap;
use http::header::{HOST, ORIGIN, REFERER};

/// Why a form is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("refused: this form was sent from another site ({0}), and nothing was changed")]
pub struct Foreign(&'static str);

/// # Errors
/// It was sent from elsewhere, or nobody can tell.
pub fn check(headers: &HeaderMap) -> Result<(), Foreign> {
    if let Some(site) = headers.get("sec-fetch-site")
        && site != "same-origin"
    {
        return Err(Foreign("Sec-Fetch-Site is not same-origin"));
    }
    let host = headers.get(HOST).map(|host| host.as_bytes());
    if let Some(origin) = headers.get(ORIGIN) {
        return match authority(origin.as_bytes()) {
            Some(authority) if Some(authority) == host => Ok(()),
            _ => Err(Foreign("Origin is not this host")),
        };
    }
    match headers
        .get(REFERER)
        .map(|referer| authority(referer.as_bytes()))
    {
        Some(authority) if authority.is_none() || authority != host => {
            Err(Foreign("Referer is not this host"))
        }
        _ => Ok(()),
    }
}

/// Host and port of `scheme://host:port/...`.
fn authority(url: &[u8]) -> Option<&[u8]> {
    let start = url.windows(3).position(|part| part == b"://")? + 3;
    let rest = url.get(start..)?;
    rest.split(|byte| matches!(byte, b'/' | b'?' | b'#')).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(fields: &[(&'static str, &'static str)]) -> Result<(), Foreign> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "lb1:8404".parse().expect("a value"));
        for (name, value) in fields {
            headers.insert(*name, value.parse().expect("a value"));
        }
        check(&headers)
    }

    #[test]
    fn our_own_page_and_programs_are_taken() {
        for fields in [
            &[][..],
            &[("origin", "http://lb1:8404")],
            &[("origin", "https://lb1:8404")],
            &[
                ("sec-fetch-site", "same-origin"),
                ("origin", "http://lb1:8404"),
            ],
            &[("referer", "http://lb1:8404/stats;norefresh")],
        ] {
            assert_eq!(checked(fields), Ok(()), "{fields:?}");
        }
    }

    #[test]
    fn other_sites_are_refused() {
        for fields in [
            &[("origin", "http://evil.example")][..],
            &[("origin", "http://lb1")],
            &[("origin", "http://lb1:8404.evil.example")],
            &[("origin", "http://evil.example/lb1:8404")],
            &[("origin", "null")],
            &[("origin", "")],
            &[("sec-fetch-site", "cross-site")],
            &[
                ("sec-fetch-site", "same-site"),
                ("origin", "http://lb1:8404"),
            ],
            &[("sec-fetch-site", "none")],
            &[("referer", "http://evil.example/?lb1:8404")],
            &[("referer", "about:blank")],
            &[
                ("origin", "http://evil.example"),
                ("referer", "http://lb1:8404/stats"),
            ],
        ] {
            assert!(checked(fields).is_err(), "{fields:?}");
        }
    }

    #[test]
    fn without_a_host_nothing_is_the_same() {
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, "http://".parse().expect("a value"));
        assert!(check(&headers).is_err());
    }
}
