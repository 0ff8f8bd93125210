//! A director that died is not found at the VIP any more when the peer takes over, however fast that is.

use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, ensure};
use mb_lb_tests::pair::SOON;
use mb_lb_tests::{Machine, PairSetup, Wire, try_wait_until};

const BROADCAST: [u8; 6] = [0xff; 6];

/// Asks for an address (RFC 826).
fn request(from: &Machine, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(BROADCAST);
    frame.extend(from.mac());
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(from.mac());
    frame.extend(from.ipv4().octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}

/// The MAC address that an answer gives for an address.
fn answer(frame: &[u8], address: Ipv4Addr) -> Option<[u8; 6]> {
    let is_answer = frame.get(12..14)? == [0x08, 0x06] && frame.get(20..22)? == [0, 2];
    (is_answer && frame.get(28..32)? == address.octets())
        .then(|| frame[22..28].try_into().ok())
        .flatten()
}

#[test]
fn director_that_died_is_not_found_once_the_peer_takes_over() -> Result<()> {
    let setup = PairSetup {
        interval: "version = 3\nadvert_interval = \"100ms\"",
        ..PairSetup::default()
    };
    let mut pair = setup.start("pairlease")?;
    let vip = pair.lab.vip4();
    let [dead, peer] = [0, 1].map(|at| pair.lab.directors()[at].mac());
    let wire = Wire::open(pair.lab.client())?;
    wire.send(&request(pair.lab.client(), vip))?;
    let found = wire.wait_for("an answer", |frame| answer(frame, vip))?;
    assert_eq!(found, dead);

    pair.directors[0].kill()?;
    // An advert of the peer.
    wire.wait_for("an advert of lb2", |frame| {
        let is_advert = frame.get(6..12)? == peer && frame.get(23)? == &112;
        is_advert.then_some(())
    })?;
    // The kernel of the dead one has the address for a while: its lifetimes are whole seconds.
    let asked_while_held = Cell::new(0);
    try_wait_until("the address to be gone from lb1", SOON, || {
        wire.send(&request(pair.lab.client(), vip))?;
        let holds = pair.holders()?[0];
        asked_while_held.set(asked_while_held.get() + u32::from(holds));
        std::thread::sleep(Duration::from_millis(10));
        ensure!(!holds);
        Ok(())
    })?;
    println!("asked {} times meanwhile", asked_while_held.get());
    let own = pair.lab.directors()[1].ipv4();
    wire.send(&request(pair.lab.client(), own))?;
    let answers = RefCell::new(Vec::new());
    wire.wait_for("the last answer", |frame| {
        answers.borrow_mut().extend(answer(frame, vip));
        answer(frame, own)
    })?;
    let answers = answers.into_inner();
    let [of_dead, of_peer] =
        [dead, peer].map(|mac| answers.iter().filter(|found| **found == mac).count());
    ensure!(
        of_dead == 0,
        "{of_dead} answers of the dead one, {of_peer} of its peer"
    );
    ensure!(of_peer > 0, "the peer answers");
    Ok(())
}
