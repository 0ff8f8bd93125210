//! A cluster behind a director.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use mb_lb_ctl::snapshot::{Severity, TierNodeView, TierView};
use mb_lb_tests::galera::{MONITOR, PORT};
use mb_lb_tests::{Director, Galera, Lab, try_wait_until};

use super::writers::{self, Writers};

pub const SOON: Duration = Duration::from_secs(90);

pub struct Site {
    pub director: Director,
    pub galera: Galera,
    pub lab: Lab,
}

/// `login`: lines for user and password.
pub fn config(lab: &Lab, login: &str) -> String {
    let servers = lab.servers().iter();
    let servers =
        servers.map(|machine| format!("{} = \"{}:{PORT}\"", machine.name(), machine.ipv4()));
    format!(
        "[galera.db]\nlisten = \"{}:{PORT}\"\n{login}\nservers = {{ {} }}\n",
        lab.vip4(),
        servers.collect::<Vec<_>>().join(", ")
    )
}

pub fn login((user, password): (&str, &str)) -> String {
    format!("user = \"{user}\"\npassword = \"{password}\"")
}

impl Site {
    /// With mb1 as the writer.
    pub fn start(name: &str) -> Result<Self> {
        Self::start_with(name, |_| login(MONITOR))
    }

    pub fn start_with(name: &str, login: impl FnOnce(&Galera) -> String) -> Result<Self> {
        let lab = Lab::new(name)?;
        let galera = Galera::start(&lab)?;
        let director = Director::start(&lab, "lb1", &config(&lab, &login(&galera)))?;
        let site = Self {
            director,
            galera,
            lab,
        };
        site.wait_elected("mb1")?;
        Ok(site)
    }

    pub fn write(&self, count: usize) -> Writers {
        writers::start(self.lab.client(), self.lab.vip4().into(), count)
    }

    pub fn tier(&self) -> Result<TierView> {
        let mut tiers = self.director.status()?.tiers.into_iter();
        tiers.next().context("no tier in the status")
    }

    pub fn node(&self, name: &str) -> Result<TierNodeView> {
        let mut nodes = self.tier()?.nodes.into_iter();
        let node = nodes.find(|node| node.name == name);
        node.with_context(|| format!("no node {name}"))
    }

    pub fn elected(&self) -> Result<Vec<String>> {
        let nodes = self.tier()?.nodes.into_iter();
        let elected: Vec<_> = nodes.filter(|node| node.elected).collect();
        ensure!(elected.len() <= 1, "several are elected: {elected:#?}");
        Ok(elected.into_iter().map(|node| node.name).collect())
    }

    /// `name` is empty: nobody.
    pub fn expect_elected(&self, name: &str) -> Result<()> {
        let elected = self.elected()?.concat();
        ensure!(elected == name, "{elected:?} is elected");
        Ok(())
    }

    pub fn wait_elected(&self, name: &str) -> Result<()> {
        try_wait_until(&format!("{name:?} to be elected"), SOON, || {
            self.expect_elected(name)
                .map_err(|error| anyhow!("{error:#}; {:#?}", self.tier()))
        })
    }

    /// Waits until a node is this word for the director, while `holds` holds.
    pub fn wait_word(
        &self,
        name: &str,
        word: &str,
        holds: impl Fn() -> Result<()>,
    ) -> Result<TierNodeView> {
        let what = format!("{name} to be {word}");
        let mut broken = None;
        let waited = try_wait_until(&what, SOON, || {
            if let Err(error) = holds() {
                broken = Some(error);
                return Ok(None);
            }
            let node = self.node(name)?;
            ensure!(node.word == word, "{node:?}");
            Ok(Some(node))
        })?;
        match (waited, broken) {
            (Some(node), _) => Ok(node),
            (None, broken) => {
                Err(broken.unwrap_or_else(|| anyhow!("it did not hold"))).context(what)
            }
        }
    }

    /// Waits until the director has seen all nodes synced, all in one component, and usable.
    pub fn wait_whole(&self) -> Result<()> {
        try_wait_until("the director to see all nodes well", SOON, || {
            let tier = self.tier()?;
            ensure!(tier.state == "ok", "{tier:#?}");
            Ok(())
        })
    }

    /// Waits for so many more rounds.
    pub fn wait_rounds(&self, count: u64, holds: impl Fn() -> Result<()>) -> Result<()> {
        let until = self.tier()?.rounds + count;
        let mut broken = None;
        try_wait_until("more rounds", SOON, || {
            if let Err(error) = holds() {
                broken = Some(error);
                return Ok(());
            }
            let rounds = self.tier()?.rounds;
            ensure!(rounds >= until, "{rounds} of {until}");
            Ok(())
        })?;
        broken.map_or(Ok(()), Err)
    }

    /// Waits for an alarm with these words; what to do then.
    pub fn wait_alarm(&self, severity: Severity, words: &str) -> Result<String> {
        try_wait_until(&format!("an alarm: {words}"), SOON, || {
            let alarms = self.director.status()?.alarms;
            let alarm = alarms
                .iter()
                .find(|alarm| alarm.severity == severity && alarm.text.contains(words));
            let next = alarm.map(|alarm| alarm.next.clone());
            next.with_context(|| format!("{alarms:#?}"))
        })
    }

    /// Texts of all events of this kind.
    pub fn events(&self, kind: &str) -> Result<Vec<String>> {
        let text = self.director.expect(&["events", "-o", "json"])?;
        let events = serde_json::Deserializer::from_str(&text).into_iter::<serde_json::Value>();
        let mut found = Vec::new();
        for event in events {
            let event = event.context("events are no JSON")?;
            let all = match event.as_array().or_else(|| event["events"].as_array()) {
                Some(all) => all.clone(),
                None => vec![event],
            };
            for event in all {
                if event["subject"] == "db" && event["kind"] == kind {
                    found.push(event["text"].as_str().unwrap_or_default().to_owned());
                }
            }
        }
        Ok(found)
    }

    /// From and to of all switches so far.
    pub fn expect_switches(&self, expected: &[&str]) -> Result<()> {
        let seen = self.events("switch")?;
        let mut short: Vec<_> = seen
            .iter()
            .map(|text| text.split(':').next().unwrap_or(text))
            .collect();
        // Newest first or last: the order of the list is not what this is about.
        let mut expected = expected.to_vec();
        short.sort_unstable();
        expected.sort_unstable();
        ensure!(short == expected, "switches: {seen:?}");
        Ok(())
    }
}
