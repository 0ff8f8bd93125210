//! A director that watches storage, with mounts that nobody else sees.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use mb_lb_ctl::snapshot::{Alarm, TierNodeView, TierView};
use mb_lb_tests::{Director, Lab, Mounts, Topology, try_wait_until};

pub const SOON: Duration = Duration::from_secs(60);

/// Rounds that come fast, and count quickly.
pub const FAST: &str = "interval = \"200ms\"\ntimeout = \"500ms\"\nmax_latency = \"10s\"\n";

pub struct Site {
    pub director: Director,
    pub mounts: Mounts,
    pub lab: Lab,
}

impl Site {
    /// With so many servers; nothing runs yet.
    pub fn new(name: &str, servers: u8) -> Result<Self> {
        let topology = Topology {
            directors: 1,
            servers,
        };
        let lab = Lab::with(name, topology)?;
        let mounts = Mounts::new(lab.machine("lb1"), "mounts", "mkdir -p /run/gluster /run/q")?;
        let mut director = Director::new(&lab, "lb1")?;
        let inside = mounts.wrap(director.program())?;
        director.set_program(inside);
        Ok(Self {
            director,
            mounts,
            lab,
        })
    }

    pub fn run(&mut self, storages: &str) -> Result<()> {
        self.write(storages)?;
        self.director.run()
    }

    /// Another configuration.
    pub fn reload(&self, storages: &str) -> Result<()> {
        self.write(storages)?;
        self.director.expect(&["reload"]).map(drop)
    }

    fn write(&self, storages: &str) -> Result<()> {
        let service = format!(
            "[service.smtp]\nlisten = \"{}\"\ncheck = {{ type = \"none\" }}\nservers = {{ mb1 = \"{}\" }}\n\n",
            self.lab.smtp4(),
            self.lab.machine("mb1").ipv4()
        );
        self.director.write_config(&(service + storages))
    }

    pub fn tier(&self, name: &str) -> Result<TierView> {
        let tiers = self.director.status()?.tiers;
        let tier = tiers.into_iter().find(|tier| tier.name == name);
        tier.with_context(|| format!("no tier {name}"))
    }

    pub fn node(&self, tier: &str, role: &str) -> Result<TierNodeView> {
        let nodes = self.tier(tier)?.nodes;
        let node = nodes.into_iter().find(|node| node.role == role);
        node.with_context(|| format!("no {role}"))
    }

    pub fn wait_state(&self, tier: &str, state: &str) -> Result<TierView> {
        try_wait_until(&format!("{tier} to be {state}"), SOON, || {
            let seen = self.tier(tier)?;
            match seen.state == state {
                true => Ok(seen),
                false => Err(anyhow!(
                    "{}: {}; {:?}",
                    seen.state,
                    seen.summary,
                    seen.nodes
                )),
            }
        })
    }

    /// Waits until it has failed, and its node of that role says why with that word. Returns the alarm.
    pub fn wait_failed(&self, tier: &str, role: &str, word: &str) -> Result<Alarm> {
        try_wait_until(&format!("{tier} to fail: {word}"), SOON, || {
            let seen = self.tier(tier)?;
            let node = self.node(tier, role)?;
            ensure!(
                seen.state == "failed" && node.word == word,
                "{}: {}; {node:?}",
                seen.state,
                seen.summary
            );
            self.alarm(&format!("storage {tier}: it has failed"))
        })
    }

    pub fn alarm(&self, words: &str) -> Result<Alarm> {
        let alarms = self.director.status()?.alarms;
        let found = alarms.iter().find(|alarm| alarm.text.contains(words));
        found
            .cloned()
            .ok_or_else(|| anyhow!("no alarm \"{words}\" among {alarms:?}"))
    }
}
