//! When certificates end: those of proxies, and those that servers showed to checks.

use super::finding::Finding;
use crate::config::Config;
use crate::proxy::Certificates;
use crate::snapshot::Snapshot;

const GROUP: &str = "certificates";
const DAY: i64 = 86_400;
/// As the alarms have it.
const SOON: i64 = 14 * DAY;

/// A certificate and whose it is. Times in Unix seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ends<'a> {
    what: String,
    not_before: i64,
    not_after: i64,
    /// Of a server, as a check saw it.
    server: Option<&'a str>,
}

/// `now` in Unix seconds. Of a daemon's snapshot, or without one, of the files.
pub fn look(config: Option<&Config>, snapshot: Option<&Snapshot>, now: i64) -> Vec<Finding> {
    let Some(snapshot) = snapshot else {
        return config
            .map(|config| of_files(config, now))
            .unwrap_or_default();
    };
    let mut findings = Vec::new();
    for service in &snapshot.services {
        for certificate in &service.certificates {
            findings.push(judge(
                &Ends {
                    what: format!(
                        "proxy {}: the certificate in {}",
                        service.name, certificate.file
                    ),
                    not_before: certificate.not_before,
                    not_after: certificate.not_after,
                    server: None,
                },
                now,
            ));
        }
        for server in &service.servers {
            let end = server
                .check
                .as_ref()
                .and_then(|check| check.certificate_not_after);
            if let Some(not_after) = end {
                let name = format!("{}/{}", service.name, server.name);
                findings.push(judge(
                    &Ends {
                        what: format!("{name}: the certificate of the server"),
                        not_before: i64::MIN,
                        not_after,
                        server: Some(&name),
                    },
                    now,
                ));
            }
        }
    }
    findings
}

/// What cannot be read is told of the configuration.
fn of_files(config: &Config, now: i64) -> Vec<Finding> {
    let mut findings = Vec::new();
    for proxy in &config.proxies {
        if let Ok(certificates) = Certificates::load(&proxy.certificates) {
            findings.extend(certificates.infos().map(|info| {
                let ends = Ends {
                    what: format!(
                        "proxy {}: the certificate in {}",
                        proxy.name,
                        info.file.display()
                    ),
                    not_before: info.not_before,
                    not_after: info.not_after,
                    server: None,
                };
                judge(&ends, now)
            }));
        }
    }
    findings
}

fn judge(ends: &Ends, now: i64) -> Finding {
    let Ends {
        what,
        not_before,
        not_after,
        server,
    } = ends;
    let days = |seconds: i64| match seconds / DAY {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    let left = not_after.saturating_sub(now);
    let (means, next) = match server {
        None => (
            "browsers warn of it, and other clients refuse it",
            "renew it: a new file is taken within seconds".to_owned(),
        ),
        Some(name) => (
            "clients that look at it do not trust that server; mail that insists on TLS stays away",
            format!(
                "renew it on the server; mb-lb-ctl describe {name} shows it after the next check"
            ),
        ),
    };
    let found = if left <= 0 {
        let text = format!("{what} has expired {} ago", days(left.saturating_neg()));
        Finding::problem(GROUP, &text, means, &next)
    } else if *not_before > now {
        Finding::problem(
            GROUP,
            &format!("{what} is not valid yet"),
            means,
            "compare the clock (timedatectl) with its first day: openssl x509 -noout -dates -in FILE",
        )
    } else if left < SOON {
        Finding::warning(
            GROUP,
            &format!("{what} expires in {}", days(left)),
            "what renews it does not seem to work",
            &next,
        )
    } else {
        Finding::ok(GROUP, &format!("{what} lasts {}", days(left)))
    };
    match server {
        Some(name) => found.of(name),
        None => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Level;

    #[test]
    fn ends() {
        for (not_before, not_after, level, says) in [
            (0, 100 * DAY, Level::Ok, "x lasts 90 days"),
            (0, 15 * DAY, Level::Warning, "x expires in 5 days"),
            (
                0,
                10 * DAY + 60,
                Level::Warning,
                "x expires in less than a day",
            ),
            (
                0,
                10 * DAY,
                Level::Problem,
                "x has expired less than a day ago",
            ),
            (0, 3 * DAY, Level::Problem, "x has expired 7 days ago"),
            (11 * DAY, 100 * DAY, Level::Problem, "x is not valid yet"),
        ] {
            for server in [None, Some("smtp/mb1")] {
                let ends = Ends {
                    what: "x".to_owned(),
                    not_before,
                    not_after,
                    server,
                };
                let found = judge(&ends, 10 * DAY);
                assert_eq!((found.level, found.text.as_str()), (level, says));
                assert_eq!(found.server.as_deref(), server);
                assert_eq!(found.next.is_empty(), level == Level::Ok);
            }
        }
    }
}
