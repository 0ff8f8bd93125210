//! When the certificate of a server ends, and whether that is too soon.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::Finding;
use crate::command::info::date;

/// Adds the end of the certificate to `finding`, and makes a failure of a success where it comes sooner than `least` allows.
pub(super) fn judge(
    finding: Finding,
    least: Option<Duration>,
    certificate: &CertificateDer<'_>,
) -> Finding {
    let end = not_after(certificate);
    let finding = match least.filter(|_| finding.is_success()) {
        Some(least) => too_soon(end, least, now()).unwrap_or(finding),
        None => finding,
    };
    finding.with_certificate(end)
}

fn not_after(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| seconds(since))
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// The words do not change from one check to the next.
fn too_soon(end: Option<i64>, least: Duration, now: i64) -> Option<Finding> {
    let Some(end) = end else {
        return Some(Finding::failure("L6RSP", "its certificate cannot be read"));
    };
    let left = end.saturating_sub(now);
    if left >= seconds(least) {
        return None;
    }
    let detail = match left < 0 {
        true => format!("its certificate has expired on {}", date(end)),
        false => format!(
            "its certificate expires on {}, sooner than min_certificate allows",
            date(end)
        ),
    };
    Some(Finding::failure("L6RSP", detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_days_are_too_few() {
        let day = 86_400;
        let week = Duration::from_secs(7 * 86_400);
        let end = 1_772_337_906;
        let at = |now| too_soon(Some(end), week, now);
        assert_eq!(at(end - 8 * day), None);
        assert_eq!(at(end - 7 * day), None);
        let soon = "its certificate expires on 2026-03-01, sooner than min_certificate allows";
        for now in [end - 7 * day + 1, end] {
            assert_eq!(at(now), Some(Finding::failure("L6RSP", soon)));
        }
        let expired = Finding::failure("L6RSP", "its certificate has expired on 2026-03-01");
        assert_eq!(at(end + 1), Some(expired));
        let unread = Finding::failure("L6RSP", "its certificate cannot be read");
        assert_eq!(too_soon(None, week, 0), Some(unread));
    }
}
