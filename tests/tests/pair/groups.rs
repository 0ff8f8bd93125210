//! Instances of one sync group on one interface.

use anyhow::{Result, ensure};
use mb_lb_tests::pair::SOON;
use mb_lb_tests::{Pair, PairSetup, try_wait_until};

/// Documentation addresses (RFC 5737): nobody else has them.
const SECOND: &str = "198.51.100.200";

fn config(at: usize) -> String {
    format!(
        "\n[vrrp.VI_2]\ninterface = \"eth0\"\nvirtual_router_id = 52\npriority = {}\nadvert_interval = \"1s\"\n\
         addresses = [\"{SECOND}/32\"]\nsync_group = \"mail\"\n",
        101 - at
    )
}

/// Both instances of a director have this role, and the addresses are where they should be.
fn wait_roles(pair: &Pair, at: usize, role: &str) -> Result<()> {
    try_wait_until(&format!("both of lb{} to be {role}", at + 1), SOON, || {
        let routers = pair.directors[at].status()?.vrrp;
        let roles: Vec<_> = routers.iter().map(|router| &router.role).collect();
        ensure!(roles == [role, role], "{roles:?}");
        let listed = pair.lab.directors()[at].run("ip", &["-4", "-o", "address"])?;
        let holds = [pair.lab.vip4().to_string(), SECOND.to_owned()]
            .map(|address| listed.contains(&format!(" {address}/")));
        ensure!(holds == [role == "active"; 2], "{holds:?}");
        Ok(())
    })
}

#[test]
fn a_group_on_one_interface_goes_and_comes_back_as_a_whole() -> Result<()> {
    let setup = PairSetup {
        vrrp: "sync_group = \"mail\"",
        ..PairSetup::default()
    };
    let pair = setup.start("pairgroup")?;
    for at in [0, 1] {
        let text = setup.config(&pair.lab, at) + &config(at);
        pair.directors[at].write_config(&text)?;
        pair.directors[at].expect(&["reload"])?;
    }
    wait_roles(&pair, 0, "active")?;
    wait_roles(&pair, 1, "backup")?;
    // The cable of all: each has a fault of its own, and none waits for the other afterwards.
    pair.lab.directors()[0].set_link(false)?;
    wait_roles(&pair, 0, "fault")?;
    wait_roles(&pair, 1, "active")?;
    pair.lab.directors()[0].set_link(true)?;
    wait_roles(&pair, 0, "active")?;
    wait_roles(&pair, 1, "backup")?;
    // Handed over on purpose, they go together too.
    pair.directors[0].expect(&["failover", "VI_2"])?;
    wait_roles(&pair, 1, "active")?;
    wait_roles(&pair, 0, "backup")
}
