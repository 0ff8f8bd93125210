//! Certificates that servers show to checks.

use super::*;

const DAY: i64 = 86_400;

fn checked(bench: &mut Bench, code: &'static str, certificate: Option<i64>) {
    let address = bench.checks[0].address;
    bench.handle(Event::Checked {
        server: target("mb1"),
        which: Which::Health,
        address,
        result: CheckResult {
            outcome: match code {
                "L7OK" => Outcome::Success,
                _ => Outcome::Failure,
            },
            code,
            reply: None,
            detail: String::new(),
            duration: Duration::from_millis(1),
            page: None,
            certificate,
            agent: None,
        },
    });
}

#[test]
fn the_last_fortnight_is_an_alarm() {
    let config = parse(
        "[service.smtp]\nlisten = \"192.0.2.100:25\"\ncheck = { type = \"smtp\", starttls = true }\n\
         servers = { mb1 = \"192.0.2.1\", mb2 = \"192.0.2.2\" }\n",
    );
    let mut bench = Bench::started(&config);
    let alarms = |bench: &Bench| {
        let alarms = bench.engine.snapshot(bench.now).alarms.into_iter();
        alarms
            .filter(|alarm| alarm.text.contains("certificate"))
            .map(|alarm| (alarm.severity, alarm.text, alarm.next))
            .collect::<Vec<_>>()
    };
    // 2026-03-01, 04:05:06 UTC.
    bench.now.wall_ms = 1_772_337_906_000;
    let now = 1_772_337_906;
    checked(&mut bench, "L7OK", Some(now + 14 * DAY));
    assert_eq!(alarms(&bench), []);
    for (end, text) in [
        (now + 14 * DAY - 1, "expires in 13 days (2026-03-15)"),
        (now + 1, "expires within a day (2026-03-01)"),
        (now - 2 * DAY, "has expired 2 days ago (2026-02-27)"),
        (
            i64::MIN,
            "has expired 106751991167300 days ago (1970-01-01)",
        ),
    ] {
        checked(&mut bench, "L7OK", Some(end));
        let text = format!("smtp/mb1: the certificate of the server {text}");
        let next =
            "renew it on the server; mb-lb-ctl describe smtp/mb1 shows it after the next check"
                .to_owned();
        assert_eq!(alarms(&bench), [(Severity::Warning, text, next)]);
    }
    checked(&mut bench, "L7OK", Some(now));
    // It stays known while the server cannot be reached.
    checked(&mut bench, "L4TOUT", None);
    assert_eq!(alarms(&bench).len(), 1);
    let view = bench.engine.snapshot(bench.now).services.remove(0);
    let check = view.servers[0].check.as_ref().expect("it is checked");
    assert_eq!(
        (check.code.as_str(), check.certificate_not_after),
        ("L4TOUT", Some(now))
    );
    checked(&mut bench, "L7OK", Some(now + 90 * DAY));
    assert_eq!(alarms(&bench), []);
}
