//! hatop on a terminal: what it shows, and what its keys do.

use std::io::{Read as _, Write as _};
use std::process::{ChildStdin, Stdio};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::snapshot::AdminState;
use mb_lb_tests::try_wait_until;

use crate::Site;
use crate::site::SOON;

const DOWN: &[u8] = b"\x1bOB";
const F9: &[u8] = b"\x1b[20~";
const F10: &[u8] = b"\x1b[21~";

/// hatop, its keyboard, and what is on its screen.
struct Hatop {
    child: std::process::Child,
    keys: ChildStdin,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Hatop {
    fn start(site: &Site) -> Result<Self> {
        let run = format!(
            "stty rows 40 cols 132; exec hatop -s {}",
            site.socket().display()
        );
        // script(1) gives it a terminal.
        let mut child = site
            .command("script")
            .args(["-qfec", &run, "/dev/null"])
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let keys = child.stdin.take().context("its keyboard")?;
        let mut output = child.stdout.take().context("its screen")?;
        let screen = Arc::new(Mutex::new(vt100::Parser::new(40, 132, 0)));
        let shown = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut bytes) {
                shown
                    .lock()
                    .expect("no reader panics")
                    .process(&bytes[..read]);
            }
        });
        Ok(Self {
            child,
            keys,
            screen,
        })
    }

    fn screen(&self) -> String {
        self.screen
            .lock()
            .expect("no reader panics")
            .screen()
            .contents()
    }

    fn press(&mut self, key: &[u8]) -> Result<()> {
        self.keys.write_all(key)?;
        Ok(self.keys.flush()?)
    }

    fn wait_for(&self, words: &[&str]) -> Result<()> {
        try_wait_until(&format!("{words:?} on the screen"), SOON, || {
            let screen = self.screen();
            for word in words {
                ensure!(screen.contains(word), "{screen}");
            }
            Ok(())
        })
    }
}

impl Drop for Hatop {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn hatop_shows_our_servers_and_its_keys_take_one_out_and_back() -> Result<()> {
    let site = Site::start("toolhatop")?;
    let mut hatop = Hatop::start(&site)?;
    hatop.wait_for(&[
        "HATop",
        "smtp",
        "mb1",
        "mb2",
        "FRONTEND",
        "BACKEND",
        "2.6.0-mb-lb",
    ])?;
    // Down to the first server, past the service and its frontend, which take no such key.
    let mut presses = 0;
    while site.server("mb1")?.admin != AdminState::Maint {
        ensure!(presses < 8, "no row takes F10: {}", hatop.screen());
        presses += 1;
        hatop.press(DOWN)?;
        hatop.press(F10)?;
        let _not_this_row =
            try_wait_until("mb1 to be out", std::time::Duration::from_secs(3), || {
                site.expect_state("mb1", AdminState::Maint)
            });
    }
    hatop.wait_for(&["MAINT"])?;
    hatop.press(F9)?;
    site.wait_state("mb1", AdminState::Ready)?;
    hatop.press(b"q")?;
    let ended = try_wait_until("hatop to end", SOON, || {
        hatop.child.try_wait()?.context("it runs")
    })?;
    ensure!(ended.success(), "{ended}");
    Ok(())
}
