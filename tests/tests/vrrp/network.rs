//! What is looked at and done on the link.

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::lab::Lab;
use mb_lb_tests::machine::Machine;
use mb_lb_tests::try_wait_until;

use crate::SOON;

/// More than a director waits for, whatever its priority.
pub const MANY: u64 = 6;

pub fn holds(machine: &Machine, address: &str) -> Result<bool> {
    let told = machine.run("ip", &["-o", "address", "show"])?;
    Ok(told.contains(&format!(" {address}/")))
}

/// Of `lb1` and `lb2`.
pub fn holders(lab: &Lab, address: &str) -> Result<[bool; 2]> {
    Ok([
        holds(lab.machine("lb1"), address)?,
        holds(lab.machine("lb2"), address)?,
    ])
}

/// Waits until `lb1` and `lb2` hold the address, or do not.
pub fn wait_holders(lab: &Lab, address: &str, expected: [bool; 2]) -> Result<()> {
    try_wait_until(&format!("{address} held by {expected:?}"), SOON, || {
        let holders = holders(lab, address)?;
        ensure!(holders == expected, "{holders:?}");
        Ok(())
    })
}

/// Waits until `lb2` alone has the address, which the two must never have at the same time.
pub fn wait_move(lab: &Lab, address: &str) -> Result<()> {
    try_wait_until("the address to move", SOON, || {
        let holders = holders(lab, address)?;
        assert_ne!(holders, [true, true], "two owners");
        ensure!(holders == [false, true], "{holders:?}");
        Ok(())
    })
}

/// Counts the adverts that come to a machine's `eth0`.
pub struct Heard<'a>(&'a Machine);

impl<'a> Heard<'a> {
    pub fn count(machine: &'a Machine) -> Result<Self> {
        ingress(machine, "heard", -10, "meta l4proto 112 counter")?;
        Ok(Self(machine))
    }

    fn number(&self) -> Result<u64> {
        let told = self
            .0
            .run("nft", &["list", "chain", "netdev", "heard", "in"])?;
        let mut words = told.split_whitespace();
        words.find(|&word| word == "packets");
        words
            .next()
            .and_then(|word| word.parse().ok())
            .with_context(|| told.clone())
    }

    /// Waits until so many more have come that whoever was to take over would have done so.
    pub fn wait_many(&self) -> Result<()> {
        let before = self.number()?;
        try_wait_until("adverts", SOON, || {
            let number = self.number()?;
            ensure!(number >= before + MANY, "{number}, {before} before");
            Ok(())
        })
    }
}

/// Adverts are thrown away before a machine hears them, until that is mended. It hears all else.
pub struct Cut<'a>(&'a Machine);

impl<'a> Cut<'a> {
    pub fn adverts_to(machine: &'a Machine) -> Result<Self> {
        ingress(machine, "cut", 0, "meta l4proto 112 drop")?;
        Ok(Self(machine))
    }

    pub fn mend(self) -> Result<()> {
        self.0
            .run("nft", &["delete", "table", "netdev", "cut"])
            .map(drop)
    }
}

fn ingress(machine: &Machine, table: &str, priority: i32, rule: &str) -> Result<()> {
    let rules = format!(
        "table netdev {table} {{ chain in {{ type filter hook ingress device \"eth0\" priority {priority}; {rule}; }}; }}"
    );
    machine.run("nft", &[&rules]).map(drop)
}
