//! TLS sessions of a proxy go on at whichever director is active: both have the keys of tickets.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use mb_lb_tests::nginx::make_certificate;
use mb_lb_tests::pair::SOON;
use mb_lb_tests::{Pair, PairSetup, try_wait_until};

const VERSIONS: [&str; 2] = ["-tls1_2", "-tls1_3"];

/// A client's connection from its handshake to the answer, after which it has its tickets. Whether the session was resumed.
fn connect(pair: &Pair, version: &str, session: [&str; 2]) -> Result<bool> {
    let [option, file] = session;
    let line = format!(
        "printf 'GET / HTTP/1.1\\r\\nHost: mail.example.com\\r\\nConnection: close\\r\\n\\r\\n' | \
         openssl s_client -connect {}:443 -servername mail.example.com {version} -ign_eof {option} {file} 2>&1",
        pair.lab.vip4()
    );
    let said = pair.lab.client().run("sh", &["-c", &line])?;
    ensure!(said.contains("HTTP/1.1 503"), "no answer: {said}");
    match (
        said.contains("\nNew, TLSv1"),
        said.contains("\nReused, TLSv1"),
    ) {
        (new, reused) if new != reused => Ok(reused),
        _ => anyhow::bail!("neither new nor resumed: {said}"),
    }
}

/// Files with a session of each version, begun now.
struct Sessions(Vec<(&'static str, PathBuf)>);

impl Sessions {
    fn begin(pair: &Pair, name: &str) -> Result<Self> {
        let file = |version| {
            pair.lab
                .client()
                .directory()
                .join(format!("{name}{version}"))
        };
        let sessions = VERSIONS.map(|version| (version, file(version)));
        for (version, file) in &sessions {
            let path = text(file);
            ensure!(!connect(pair, version, ["-sess_out", &path])?, "{version}");
        }
        Ok(Self(sessions.into()))
    }

    /// Waits until they are resumed: keys may still be on their way.
    fn wait_resumed(&self, pair: &Pair, when: &str) -> Result<()> {
        for (version, file) in &self.0 {
            let path = text(file);
            try_wait_until(&format!("{version} to resume {when}"), SOON, || {
                ensure!(
                    connect(pair, version, ["-sess_in", &path])?,
                    "full handshake"
                );
                Ok(())
            })?;
        }
        Ok(())
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn tls_sessions_are_resumed_after_reload_failover_and_upgrade() -> Result<()> {
    let lab = PairSetup::lab("pairtickets")?;
    let certificate = lab.machine("lb1").directory().join("tls/vip.pem");
    make_certificate(lab.machine("lb1"), &certificate, "mail.example.com")?;
    let more = format!(
        "\n[proxy.web]\nlisten = [\"{}:443\"]\ncertificate = {certificate:?}\ncheck = {{ type = \"none\" }}\n\
         [proxy.web.servers]\nmb1 = {{ address = \"{}:443\" }}\n",
        lab.vip4(),
        lab.servers()[0].ipv4()
    );
    let setup = PairSetup {
        more: &more,
        ..PairSetup::default()
    };
    let mut pair = setup.start_in(lab)?;

    let of_lb1 = Sessions::begin(&pair, "lb1")?;
    let changed = setup.config(&pair.lab, 0) + "\n";
    pair.directors[0].write_config(&changed.replace("weight = 10", "weight = 11"))?;
    pair.directors[0].expect(&["reload"])?;
    of_lb1.wait_resumed(&pair, "after a reload")?;

    pair.directors[0].expect(&["failover"])?;
    pair.wait_active(1)?;
    of_lb1.wait_resumed(&pair, "at lb2 what began at lb1")?;
    let of_lb2 = Sessions::begin(&pair, "lb2")?;

    pair.directors[1].expect(&["failover"])?;
    pair.wait_active(0)?;
    of_lb2.wait_resumed(&pair, "at lb1 what began at lb2")?;

    // The next process has no keys of its own that are so old.
    pair.directors[0].replace()?;
    pair.wait_active(0)?;
    of_lb1.wait_resumed(&pair, "after an upgrade what began before")?;
    of_lb2.wait_resumed(&pair, "after an upgrade what began at lb2")
}
