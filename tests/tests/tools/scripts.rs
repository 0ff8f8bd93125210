//! Lines that operators have in their scripts.

use anyhow::{Result, ensure};
use mb_lb_ctl::snapshot::AdminState;

use crate::Site;
use crate::site::said;

fn shell(site: &Site, script: &str) -> Result<String> {
    let output = site
        .command("bash")
        .args(["-c", script])
        .env("SOCKET", site.socket())
        .output()?;
    said(&output)
}

#[test]
fn a_server_is_taken_out_watched_and_brought_back_by_socat() -> Result<()> {
    let site = Site::start("toolsh")?;
    let _sessions = site.cluster.open(6)?;
    let out = r#"echo "set server smtp/mb1 state maint" | socat stdio "$SOCKET""#;
    ensure!(shell(&site, out)? == "\n");
    site.expect_state("mb1", AdminState::Maint)?;
    let state = r#"echo "show stat" | socat stdio "$SOCKET" | grep '^smtp,' | cut -d, -f2,18"#;
    ensure!(shell(&site, state)? == "FRONTEND,OPEN\nmb1,MAINT\nmb2,UP\nBACKEND,UP\n");
    let state =
        r#"echo "show servers state" | socat stdio "$SOCKET" | awk '$4 == "mb1" { print $7 }'"#;
    ensure!(shell(&site, state)? == "1\n");
    let back = r#"echo "set server smtp/mb1 state ready" | socat stdio "$SOCKET""#;
    ensure!(shell(&site, back)? == "\n");
    site.expect_state("mb1", AdminState::Ready)?;

    // Drained until nobody is there, by a loop over the column of open connections.
    let drain = r#"
        echo "set server smtp/mb2 state drain" | socat stdio "$SOCKET"
        while [ "$(echo "show stat" | socat stdio "$SOCKET" | grep '^smtp,mb2,' | cut -d, -f5)" != 0 ]; do sleep 0.2; done
        echo "set server smtp/mb2 state maint" | socat stdio "$SOCKET"
        echo empty"#;
    drop(_sessions);
    ensure!(shell(&site, drain)?.ends_with("empty\n"));
    site.expect_state("mb2", AdminState::Maint)?;
    // Several commands by one connection, and the fields of `show info` by their names.
    let both = r#"printf 'enable server smtp/mb2; set weight smtp/mb2 50%%\n' | socat stdio "$SOCKET"
        echo "get weight smtp/mb2" | socat stdio "$SOCKET"
        echo "show info" | socat stdio "$SOCKET" | awk -F': ' '$1 == "Nbproc" || $1 == "node" { print $1 }'"#;
    let text = shell(&site, both)?;
    ensure!(text == "\n\n10 (initial 20)\n\nNbproc\nnode\n", "{text:?}");
    Ok(())
}
