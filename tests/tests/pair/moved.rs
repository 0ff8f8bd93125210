//! A reload that has an active instance go to another interface.

use anyhow::{Result, ensure};
use mb_lb_tests::pair::SOON;
use mb_lb_tests::{PairSetup, try_wait_until};

/// An interface beside `eth0`, on the same segment.
const BESIDE: [&[&str]; 3] = [
    &[
        "link", "add", "link", "eth0", "name", "eth1", "type", "macvlan", "mode", "bridge",
    ],
    &["address", "add", "198.51.100.1/24", "dev", "eth1"],
    &["link", "set", "eth1", "up"],
];

#[test]
fn instance_that_moves_to_another_interface_hands_over_first() -> Result<()> {
    let setup = PairSetup::default();
    let pair = setup.start("pairmoved")?;
    for line in BESIDE {
        pair.lab.directors()[0].run("ip", line)?;
    }
    let text = setup.config(&pair.lab, 0);
    ensure!(text.contains("interface = \"eth0\""));
    pair.directors[0]
        .write_config(&text.replace("interface = \"eth0\"", "interface = \"eth1\""))?;
    pair.directors[0].expect(&["reload"])?;
    // It did not have to wait until its timer ended.
    try_wait_until("lb2 to have been active", SOON, || {
        let takeovers = pair.router(1)?.takeovers;
        let causes: Vec<_> = takeovers.iter().map(|takeover| &takeover.cause).collect();
        ensure!(
            causes.iter().any(|cause| cause.contains("hands over")),
            "{causes:?}"
        );
        Ok(())
    })?;
    // The stronger one is there again, in another place.
    try_wait_until("lb1 to be active on eth1", SOON, || {
        let router = pair.router(0)?;
        ensure!(
            router.role == "active" && router.interface == "eth1",
            "{router:?}"
        );
        let listed =
            pair.lab.directors()[0].run("ip", &["-4", "-o", "address", "show", "dev", "eth1"])?;
        ensure!(
            listed.contains(&format!(" {}/", pair.lab.vip4())) && !pair.holders()?[0],
            "{listed}"
        );
        Ok(())
    })
}

/// Without a peer nobody has to be waited for.
#[test]
fn lone_instance_that_moves_goes_on_at_once() -> Result<()> {
    let setup = PairSetup::default();
    let mut pair = setup.start("pairlone")?;
    pair.directors[1].stop()?;
    for line in BESIDE {
        pair.lab.directors()[0].run("ip", line)?;
    }
    let text = setup.config(&pair.lab, 0);
    pair.directors[0]
        .write_config(&text.replace("interface = \"eth0\"", "interface = \"eth1\""))?;
    pair.directors[0].expect(&["reload"])?;
    try_wait_until("lb1 to be active on eth1", SOON, || {
        let router = pair.router(0)?;
        ensure!(
            router.role == "active" && router.interface == "eth1",
            "{router:?}"
        );
        ensure!(router.cause.contains("earlier process"), "{}", router.cause);
        Ok(())
    })
}
