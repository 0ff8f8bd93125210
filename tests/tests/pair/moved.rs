//! A reload that has an active instance go to another interface.

use anyhow::{Context as _, Result, ensure};
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

/// Nobody answers, and there is no other way by which somebody could have been told: no need to listen first.
#[test]
fn lone_instance_that_moves_goes_on_at_once() -> Result<()> {
    let setup = PairSetup::default();
    let mut pair = setup.start("pairlone")?;
    pair.directors[1].stop()?;
    for line in BESIDE {
        pair.lab.directors()[0].run("ip", line)?;
    }
    let text = setup.config(&pair.lab, 0);
    let (before, rest) = text.split_once("[peer]").context("a peer")?;
    let (_, after) = rest.split_once("\n\n").context("its end")?;
    let text = format!("{before}{after}");
    pair.directors[0].write_config(&text)?;
    pair.directors[0].expect(&["reload"])?;
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

/// Its adverts do not get to the other one, which is told over the peer link all the same, and takes over unheard: then it
/// is not alone, however silent the link is.
#[test]
fn unheard_peer_is_not_taken_for_nobody() -> Result<()> {
    let setup = PairSetup::default();
    let pair = setup.start("pairdeafmove")?;
    for line in BESIDE {
        pair.lab.directors()[0].run("ip", line)?;
    }
    let rules = "table netdev cut { chain in { type filter hook ingress device \"eth0\" priority 0; ip protocol 112 drop; }; }";
    pair.lab.directors()[0].run("nft", &[rules])?;
    let text = setup.config(&pair.lab, 0);
    pair.directors[0]
        .write_config(&text.replace("interface = \"eth0\"", "interface = \"eth1\""))?;
    pair.directors[0].expect(&["reload"])?;
    try_wait_until("lb1 to be there again", SOON, || {
        let router = pair.router(0)?;
        ensure!(
            router.interface == "eth1" && router.role != "fault",
            "{router:?}"
        );
        ensure!(router.turns > 0, "{router:?}");
        ensure!(
            !router.cause.contains("earlier process"),
            "{}",
            router.cause
        );
        Ok(())
    })
}
