//! One step after the other, and what the chapter says is to be seen after each.

use std::net::IpAddr;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::site::{CLIENT, LB1, VIP, smtp};
use mb_lb_tests::try_wait_until;

use crate::SOON;
use crate::chapter::{Line, Step};
use crate::mail::{Held, Mail};
use crate::site::Site;
use crate::table::{self, How};

pub struct Walk {
    pub site: Site,
    pub mail: Mail,
}

/// What becomes of sessions that are open when a step begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sessions {
    /// And nobody who comes meanwhile has to try again.
    Unaware,
    /// But for those that are opened at the moment when the VIP moves.
    GoOn,
    End,
}

fn number(step: &Step) -> Result<u32> {
    let after = step.title.strip_prefix("Step ").unwrap_or_default();
    let digits = after.split([':', ',']).next().unwrap_or_default();
    digits.parse().with_context(|| step.title.clone())
}

fn promised(number: u32, back: bool) -> Sessions {
    match (number, back) {
        (5, _) | (6, true) => Sessions::End,
        (6, false) | (7, _) => Sessions::GoOn,
        _ => Sessions::Unaware,
    }
}

impl Walk {
    /// The commands of one block, and what is to be seen then.
    pub fn go(&mut self, step: &Step, lines: &[Line], back: bool) -> Result<()> {
        let way = if back { "back" } else { "forth" };
        let began = Instant::now();
        self.block(step, lines, back)
            .with_context(|| format!("{}, {way}", step.title))?;
        eprintln!("{}, {way}: {:.1?}", step.title, began.elapsed());
        Ok(())
    }

    fn block(&mut self, step: &Step, lines: &[Line], back: bool) -> Result<()> {
        let number = number(step)?;
        let held = Held::start(self.site.client(), smtp(), 6)?;
        let before = self.mail.seen();
        for line in lines {
            self.run(step, line)
                .with_context(|| format!("{}# {}", line.machine, line.command))?;
        }
        self.see(number, back)?;
        self.mail.expect_more(30)?;
        self.site.expect_web()?;
        let promised = promised(number, back);
        let after = self.mail.seen();
        let said = format!("{promised:?}: {before:?}, then {after:?}");
        let none_failed = (after.refused, after.cut) == (before.refused, before.cut);
        ensure!(promised != Sessions::Unaware || none_failed, "{said}");
        match promised {
            Sessions::Unaware | Sessions::GoOn => held.expect_all_go_on(),
            Sessions::End => held.expect_all_cut(),
        }
    }

    fn run(&mut self, step: &Step, line: &Line) -> Result<()> {
        let row = table::find(step, line)?;
        if row.how == How::Background {
            let guest = self.site.guest(&line.machine)?;
            let process = guest.spawn("shadow", &line.command)?;
            self.site.shadows.push((line.machine.clone(), process));
            return Ok(());
        }
        let guest = self.site.guest(&line.machine)?;
        let once = || -> Result<()> {
            let answer = guest.shell(&line.command)?;
            ensure!(answer.code == 0, "{answer:#?}");
            for text in row.says {
                ensure!(
                    answer.stdout.contains(text) || answer.stderr.contains(text),
                    "no {text:?} in {}{}",
                    answer.stdout,
                    answer.stderr
                );
            }
            Ok(())
        };
        match row.how {
            How::Until => try_wait_until("what is expected of it", SOON, once),
            How::Once | How::Background => once(),
        }
    }

    fn see(&mut self, number: u32, back: bool) -> Result<()> {
        match (number, back) {
            (1, false) => self.nothing_is_started(),
            (1, true) => self.package_is_gone(),
            (2, back) => self.servers_are_set_up(!back),
            (3, _) => self.shadows(),
            (4, false) => {
                self.site
                    .expect_service("lb2", "mb-lb", "active", "enabled")?;
                self.site
                    .expect_service("lb2", "haproxy", "inactive", "disabled")?;
                self.still_by_haproxy()
            }
            (4, true) => {
                self.site.expect_detached("lb2")?;
                self.old_programs_run("lb2")?;
                self.still_by_haproxy()
            }
            (5, false) => {
                self.site.wait_holder("lb2")?;
                self.servers_see_clients()
            }
            (5, true) => self.site.wait_holder("lb1"),
            (6, false) => {
                self.site.wait_holder("lb1")?;
                self.pair_is_well()
            }
            (6, true) => {
                self.site.expect_detached("lb1")?;
                self.old_programs_run("lb1")?;
                self.site.wait_holder("lb1")
            }
            (7, _) => {
                self.site.wait_holder("lb1")?;
                self.pair_is_well()
            }
            other => anyhow::bail!("this test knows nothing of a step {other:?}"),
        }
    }

    fn nothing_is_started(&self) -> Result<()> {
        for name in ["lb1", "lb2"] {
            self.site
                .expect_service(name, "mb-lb", "inactive", "disabled")?;
            self.site.expect_detached(name)?;
            self.old_programs_run(name)?;
        }
        self.still_by_haproxy()
    }

    fn package_is_gone(&self) -> Result<()> {
        for name in ["lb1", "lb2"] {
            let guest = self.site.guest(name)?;
            let left = guest.shell("ls /etc/mb-lb /usr/bin/mb-lb-ctl 2>/dev/null")?;
            ensure!(left.stdout.is_empty(), "{left:?}");
            self.old_programs_run(name)?;
        }
        self.still_by_haproxy()
    }

    fn servers_are_set_up(&self, set_up: bool) -> Result<()> {
        for guest in self.site.servers() {
            let addresses = guest.expect("ip", &["address", "show", "dev", "lo"])?;
            ensure!(
                addresses.contains(&format!(" {VIP}/32 ")) == set_up,
                "{addresses}"
            );
            let enabled = guest.run("systemctl", &["is-enabled", "mb-lb-vip"])?;
            ensure!((enabled.code == 0) == set_up, "{enabled:?}");
            let kept = guest.path("/etc/sysctl.d/60-mb-lb.conf").exists();
            ensure!(kept == set_up, "it is kept: {kept}");
        }
        self.still_by_haproxy()
    }

    /// Nothing is said but what is so: that HAProxy has another opinion of a server, and has changed it.
    fn shadows(&mut self) -> Result<()> {
        let said = |walk: &Self, at: usize, lines: &[&str]| -> Result<()> {
            let (name, process) = &walk.site.shadows[at];
            try_wait_until(&format!("{lines:?} of {name}"), SOON, || {
                let output = process.output()?;
                let told: Vec<&str> = output.lines().collect();
                let as_expected = told.len() == lines.len()
                    && told
                        .iter()
                        .zip(lines)
                        .all(|(told, begin)| told.starts_with(begin));
                ensure!(as_expected, "{told:#?}; {}", process.tail());
                Ok(())
            })
        };
        const FIRST: &str = "shadow: nothing is attached";
        const OTHERWISE: &str = "disagree  smtp_backend/mb2: UP";
        const AGAIN: &str = "agree     smtp_backend/mb2: UP, HAProxy UP";
        said(self, 0, &[FIRST])?;
        self.site
            .haproxy("lb1", "disable health smtp_backend/mb2")?;
        self.site
            .haproxy("lb1", "set server smtp_backend/mb2 health down")?;
        said(self, 0, &[FIRST, OTHERWISE])?;
        self.site
            .haproxy("lb1", "set server smtp_backend/mb2 health up")?;
        self.site.haproxy("lb1", "enable health smtp_backend/mb2")?;
        said(self, 0, &[FIRST, OTHERWISE, AGAIN])?;
        said(self, 1, &[FIRST])?;
        for (name, mut process) in std::mem::take(&mut self.site.shadows) {
            self.site.guest(&name)?.interrupt("shadow")?;
            let status = process.wait(SOON)?;
            ensure!(status.success(), "{status}; {}", process.tail());
            self.site.expect_detached(&name)?;
        }
        self.still_by_haproxy()
    }

    fn old_programs_run(&self, name: &str) -> Result<()> {
        self.site
            .expect_service(name, "haproxy", "active", "enabled")?;
        self.site
            .expect_service(name, "keepalived", "active", "enabled")
    }

    /// Servers have only ever seen the active director.
    fn still_by_haproxy(&self) -> Result<()> {
        self.site.wait_holder("lb1")?;
        let seen = self.site.seen_by_servers()?;
        ensure!(seen.iter().eq([&IpAddr::from(LB1)]), "{seen:?}");
        Ok(())
    }

    fn servers_see_clients(&self) -> Result<()> {
        try_wait_until("mail that comes from the client itself", SOON, || {
            let seen = self.site.seen_by_servers()?;
            ensure!(seen.contains(&CLIENT.into()), "{seen:?}");
            Ok(())
        })
    }

    /// Both have nothing to complain of.
    fn pair_is_well(&self) -> Result<()> {
        for name in ["lb1", "lb2"] {
            let guest = self.site.guest(name)?;
            try_wait_until(&format!("{name} to be well"), SOON, || {
                let answer = guest.shell("mb-lb-ctl status")?;
                ensure!(answer.code == 0, "{}", answer.stdout);
                ensure!(answer.stdout.contains("in sync"), "{}", answer.stdout);
                ensure!(
                    !answer.stdout.contains("configurations differ"),
                    "{}",
                    answer.stdout
                );
                Ok(())
            })?;
            self.site
                .expect_service(name, "mb-lb", "active", "enabled")?;
        }
        Ok(())
    }
}

/// Whether the way back of a step leads to before the step ahead of it.
pub fn leads_past_the_step_before(step: &Step) -> Result<bool> {
    Ok(number(step)? == 6)
}
