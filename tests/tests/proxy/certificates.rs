//! Certificates that are replaced, badly and well, while clients come.

use std::fs;

use anyhow::{Result, ensure};
use mb_lb_tests::nginx::make_certificate_for;
use mb_lb_tests::try_wait_until;

use crate::Https;
use crate::setup::SOON;

/// Waits until these are the alarms of certificates, and no others are.
fn wait_alarms(https: &Https, expected: &[String]) -> Result<()> {
    try_wait_until(&format!("alarms {expected:?}"), SOON, || {
        let alarms = https.director.status()?.alarms.into_iter();
        let of_proxy = alarms.map(|alarm| alarm.text);
        let said: Vec<_> = of_proxy.filter(|text| text.starts_with("proxy ")).collect();
        ensure!(said == expected, "{said:?}");
        Ok(())
    })
}

fn wait_other_than(https: &Https, before: &str) -> Result<String> {
    try_wait_until("another certificate", SOON, || {
        let now = https.fingerprint()?;
        ensure!(!now.trim().is_empty() && now != before, "{now}");
        Ok(())
    })?;
    https.fingerprint()
}

#[test]
fn a_bad_certificate_is_not_taken_and_a_good_one_is_without_a_reload() -> Result<()> {
    let https = Https::start("pxcerts", "")?;
    let file = https.certificate();
    let first = https.fingerprint()?;
    ensure!(first.contains("Fingerprint"), "{first}");
    wait_alarms(&https, &[])?;
    fs::write(&file, "garbage")?;
    let shown = file.display();
    let why = format!("{shown}: no certificate in it");
    let kept = "the new certificates are no good, the old ones are in force";
    wait_alarms(&https, &[format!("proxy https_backend: {kept}: {why}")])?;
    ensure!(https.fingerprint()? == first);
    ensure!(https.get("/", &[])?.status == "200");

    // `check` says what `reload` refuses.
    let refused = https.director.ctl(&["reload"])?;
    ensure!(
        refused.code != 0
            && refused
                .stderr
                .contains(&format!("proxy https_backend: {why}")),
        "{refused:?}"
    );
    let checked = https.director.ctl(&["check"])?;
    let next = "put the chain into it, the server's certificate first";
    let warning = format!("warning: proxy https_backend: {why}\n  next: {next}\n");
    ensure!(checked.stdout.contains(&warning), "{checked:?}");

    https.renew_certificate()?;
    let second = wait_other_than(&https, &first)?;
    wait_alarms(&https, &[])?;
    let checked = https.director.ctl(&["check"])?;
    ensure!(
        !checked.stdout.contains("proxy https_backend: "),
        "{checked:?}"
    );

    // Ten days from now, but for the seconds since.
    make_certificate_for(https.director.machine(), &file, "mail.example.com", 10)?;
    wait_other_than(&https, &second)?;
    let soon = format!("proxy https_backend: the certificate in {shown} expires in 9 days");
    wait_alarms(&https, &[soon])
}

#[test]
fn a_proxy_that_started_without_a_certificate_gets_it_without_a_reload() -> Result<()> {
    let mut https = Https::start("pxlate", "")?;
    let file = https.certificate();
    https.director.stop()?;
    fs::remove_file(&file)?;
    https.director.run()?;
    let why = format!("{}: No such file or directory (os error 2)", file.display());
    wait_alarms(
        &https,
        &[format!("proxy https_backend is not served: {why}")],
    )?;
    ensure!(https.get("/", &[]).is_err(), "somebody listens");
    https.renew_certificate()?;
    wait_alarms(&https, &[])?;
    for server in https.lab.servers() {
        https.wait_usable(server.name(), true)?;
    }
    try_wait_until("an answer", SOON, || {
        let answer = https.get("/", &[])?;
        ensure!(answer.status == "200", "{answer:?}");
        Ok(())
    })
}
