//! What each command of the chapter is to do: a command that is not here, or a row that the chapter does not have, is an error.

use anyhow::{Context as _, Result, ensure};

use crate::chapter::{Line, Step};

/// How a command is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Once,
    /// It changes nothing, and is asked again until it says what is expected.
    Until,
    /// Until Ctrl-C, which is part of what is looked at after the step.
    Background,
}

pub struct Row {
    pub machines: &'static [&'static str],
    /// Its first line.
    pub command: &'static str,
    pub how: How,
    /// What it says on either output; its exit code is 0.
    pub says: &'static [&'static str],
}

const fn row(
    machines: &'static [&'static str],
    command: &'static str,
    how: How,
    says: &'static [&'static str],
) -> Row {
    Row {
        machines,
        command,
        how,
        says,
    }
}

const BOTH: &[&str] = &["lb1", "lb2"];
const LB1: &[&str] = &["lb1"];
const LB2: &[&str] = &["lb2"];

use How::{Background, Once, Until};

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // Step 1
    row(BOTH, "apt install ./mb-lb_0.1.0-1_amd64.deb", Once, &["not started: /etc/mb-lb/mb-lb.toml is the example"]),
    row(BOTH, "mb-lb-ctl import /etc/haproxy/haproxy.cfg /etc/keepalived/keepalived.conf -o /etc/mb-lb/mb-lb.toml --force --report", Once,
        &["/etc/mb-lb/mb-lb.toml is written", "bind *:25", " 0 dead, 0 unsupported", "# Set-up for dsr, before the change-over"]),
    row(BOTH, "mb-lb-ctl check", Once, &["/etc/mb-lb/mb-lb.toml: 0 errors"]),
    row(BOTH, "apt purge -y mb-lb", Once, &[]),
    // Step 2
    row(LB1, "mb-lb-ctl server-setup smtp_backend/mb1 | ssh root@192.168.1.101 sh", Once, &["Its mail daemon has to listen", "net.ipv4.conf.all.arp_ignore = 1"]),
    row(LB1, "mb-lb-ctl server-setup smtp_backend/mb2 | ssh root@192.168.1.102 sh", Once, &["net.ipv4.conf.all.arp_ignore = 1"]),
    row(LB1, "mb-lb-ctl server-setup smtp_backend/mb3 | ssh root@192.168.1.103 sh", Once, &["net.ipv4.conf.all.arp_ignore = 1"]),
    row(LB1, "mb-lb-ctl server-setup smtp_backend/mb1 --undo | ssh root@192.168.1.101 sh", Once, &["net.ipv4.conf.all.arp_ignore = 0"]),
    row(LB1, "mb-lb-ctl server-setup smtp_backend/mb2 --undo | ssh root@192.168.1.102 sh", Once, &["net.ipv4.conf.all.arp_ignore = 0"]),
    row(LB1, "mb-lb-ctl server-setup smtp_backend/mb3 --undo | ssh root@192.168.1.103 sh", Once, &["net.ipv4.conf.all.arp_ignore = 0"]),
    // Step 3
    row(BOTH, "mb-lb-ctl run --shadow", Background, &[]),
    // Step 4
    row(LB2, "systemctl disable --now keepalived haproxy", Once, &[]),
    row(BOTH, "systemctl enable --now mb-lb", Once, &[]),
    row(LB2, "mb-lb-ctl doctor", Until, &["\n0 problems, ", "the active director answers ARP for 192.168.1.100"]),
    row(BOTH, "systemctl disable --now mb-lb", Once, &[]),
    row(BOTH, "mb-lb-ctl detach", Once, &[]),
    row(BOTH, "systemctl enable --now haproxy keepalived", Once, &[]),
    // Step 5
    row(LB1, "systemctl stop keepalived", Once, &[]),
    row(LB2, "mb-lb-ctl list flows", Until, &["192.168.1.50:", "192.168.1.100:25"]),
    row(LB1, "systemctl start keepalived", Once, &[]),
    // Step 6
    row(LB1, "systemctl disable --now haproxy keepalived", Once, &[]),
    row(LB1, "mb-lb-ctl peer-key -o /etc/mb-lb/peer.key", Once, &["/etc/mb-lb/peer.key has a new key"]),
    row(LB1, "scp -p /etc/mb-lb/peer.key root@192.168.1.11:/etc/mb-lb/peer.key", Once, &[]),
    row(BOTH, "cat >> /etc/mb-lb/mb-lb.toml <<'END'", Once, &[]),
    row(LB2, "mb-lb-ctl reload", Once, &["reloaded"]),
    row(BOTH, r"sed -i '/^\[peer\]$/,$d' /etc/mb-lb/mb-lb.toml", Once, &[]),
    row(BOTH, "rm /etc/mb-lb/peer.key", Once, &[]),
    // Step 7
    row(BOTH, "mb-lb-ctl failover", Once, &["is active (after "]),
];

/// `status` is asked in three steps, and says something else in each.
#[rustfmt::skip]
const STATUS: &[(&str, Row)] = &[
    ("Step 4", row(LB2, "mb-lb-ctl status", Until, &["backup", "192.168.1.10 is active with priority 103", "smtp_backend", "3/3 up"])),
    ("Step 5", row(LB2, "mb-lb-ctl status", Until, &["ACTIVE", "192.168.1.100", "3/3 up"])),
    ("Step 6", row(BOTH, "mb-lb-ctl status", Until, &["in sync", "3/3 up"])),
];

fn candidates<'r>(title: &str) -> impl Iterator<Item = &'r Row> {
    let here = STATUS
        .iter()
        .filter(move |(step, _)| title.starts_with(step))
        .map(|(_, row)| row);
    here.chain(ROWS)
}

/// # Errors
/// The table does not have it.
pub fn find(step: &Step, line: &Line) -> Result<&'static Row> {
    let first = line.command.lines().next().unwrap_or_default();
    let known = candidates(&step.title)
        .find(|row| row.command == first && row.machines.contains(&line.machine.as_str()));
    known.with_context(|| {
        format!(
            "{}: the table of this test has no row for `{first}` on {}",
            step.title, line.machine
        )
    })
}

/// Table and chapter name the same commands.
///
/// # Errors
/// One has one that the other has not.
pub fn agree(steps: &[Step]) -> Result<()> {
    let mut used: Vec<(*const Row, &str)> = Vec::new();
    for step in steps {
        for line in step.forward.iter().chain(&step.back) {
            used.push((find(step, line)?, &line.machine));
        }
    }
    for row in ROWS.iter().chain(STATUS.iter().map(|(_, row)| row)) {
        for machine in row.machines {
            let is_used = used.contains(&(std::ptr::from_ref(row), machine));
            ensure!(is_used, "the chapter has no `{}` on {machine}", row.command);
        }
    }
    Ok(())
}
