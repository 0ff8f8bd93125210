//! What an auditor of TLS says of the proxy.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::Https;

/// What it complains of and has no reason to. Each has to occur, so that none outlives its reason.
const EXCEPTIONS: [(&str, &str); 6] = [
    // The test's own certificate: issued by nobody, for 30 days.
    ("cert_chain_of_trust", "CRITICAL"),
    ("cert_expirationStatus", "HIGH"),
    ("cert_notAfter", "HIGH"),
    ("cert_revocation", "HIGH"),
    // All that is offered is good, and the client knows which it does best.
    ("cipher_order", "HIGH"),
    // The application's.
    ("security_headers", "MEDIUM"),
];
/// What has to be looked at, or nothing was found for want of looking.
const LOOKED_AT: [&str; 26] = [
    "SSLv2",
    "SSLv3",
    "TLS1",
    "TLS1_1",
    "TLS1_2",
    "TLS1_3",
    "cipherlist_NULL",
    "cipherlist_aNULL",
    "cipherlist_EXPORT",
    "cipherlist_LOW",
    "PFS",
    "HSTS_time",
    "heartbleed",
    "CCS",
    "ticketbleed",
    "ROBOT",
    "secure_renego",
    "secure_client_renego",
    "CRIME_TLS",
    "POODLE_SSL",
    "SWEET32",
    "FREAK",
    "LOGJAM",
    "BEAST",
    "LUCKY13",
    "RC4",
];

#[derive(Debug, Deserialize)]
struct Finding {
    id: String,
    severity: String,
    finding: String,
}

#[test]
fn testssl_finds_nothing() -> Result<()> {
    let https = Https::start("pxtestssl", "hsts = \"8760h\"")?;
    let client = https.client();
    let path = client.directory().join("testssl.json");
    // Its exit code is the number of its findings.
    let status = client
        .command("testssl")
        .args(["--quiet", "--color", "0", "--warnings", "batch"])
        .args(["--nodns", "none", "--ip", &https.lab.vip4().to_string()])
        .args(["--connect-timeout", "10", "--openssl-timeout", "10"])
        .args(["-p", "-s", "-f", "-P", "-S", "-h", "-U"])
        .arg("--jsonfile")
        .arg(&path)
        .arg("https://mail.example.com:443")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    let text = fs::read_to_string(&path).with_context(|| format!("testssl: {status}"))?;
    let findings: Vec<Finding> = serde_json::from_str(&text)?;
    for id in LOOKED_AT {
        let looked = |finding: &Finding| finding.id == id && finding.severity != "WARN";
        let seen = findings.iter().any(looked);
        ensure!(seen, "{id} was not looked at: {findings:#?}");
    }
    // A warning is that it could not look, which on a busy machine it sometimes cannot.
    let harmless = ["OK", "INFO", "LOW", "WARN"];
    let mut others = BTreeMap::new();
    let mut text = String::new();
    for finding in findings {
        if !harmless.contains(&finding.severity.as_str()) {
            text += &format!("{} {}: {}\n", finding.severity, finding.id, finding.finding);
            others.insert(finding.id, finding.severity);
        }
    }
    let exceptions = EXCEPTIONS.map(|(id, severity)| (id.to_owned(), severity.to_owned()));
    ensure!(others == BTreeMap::from(exceptions), "{text}");
    Ok(())
}
