//! The same commands to both: the same texts, where they do not depend on what is counted.

use anyhow::{Result, ensure};

use crate::Rig;

/// Answered alike to the last byte. `@S` stands for the certificate that is named by the configuration, `@D` for the
/// directory that is, `@A` for the address of mb1.
const ALIKE: &[&str] = &[
    // Of servers.
    "set server",
    "set server smtp",
    "set server smtp/",
    "set server /mb1 state ready",
    "set server nope/mb1 state ready",
    "set server smtp/nope state bogus",
    "set server smtp/mb1",
    "set server smtp/mb1 bogus",
    "set server smtp/mb1 state",
    "set server smtp/mb1 state bogus",
    "set server smtp/mb1 state ready",
    "set server #2/#1 state ready",
    "set server #99/#1 state ready",
    "set server smtp/#9 state ready",
    "set server smtp/mb1 weight",
    "set server smtp/mb1 weight x",
    "set server smtp/mb1 weight 257",
    "set server smtp/mb1 weight -1",
    "set server smtp/mb1 weight -1%",
    "set server smtp/mb1 weight 5x",
    "set server smtp/mb1 weight 5",
    "get weight smtp/mb1",
    "set server smtp/mb1 weight 100%",
    "get weight smtp/mb1",
    "get weight",
    "get weight smtp",
    "get weight nope/mb1",
    "set weight",
    "set weight smtp/mb1",
    "set weight smtp/nope 5",
    "set server smtp/mb1 addr",
    "set server smtp/mb1 addr bad:address:",
    "set server smtp/mb1 addr @A",
    "set server smtp/mb1 addr @A ignored",
    "set server smtp/mb1 addr @A port",
    "set server smtp/mb1 addr @A port foo",
    "set server smtp/mb1 addr @A port 25",
    "set server smtp/mb1 health",
    "set server smtp/mb1 health bogus",
    "set server smtp/mb1 agent",
    "set server smtp/mb1 agent up",
    "set server smtp/mb1 agent bogus",
    "set server smtp/mb1 agent-addr",
    "set server smtp/mb1 agent-addr 192.0.2.1",
    "set server smtp/mb1 agent-port",
    "set server smtp/mb1 agent-port 99",
    "set server smtp/mb1 agent-send",
    "set server smtp/mb1 agent-send up",
    "set server smtp/mb1 check-addr",
    "set server smtp/mb1 check-addr bad:address:",
    "set server smtp/mb1 check-addr @A port",
    "set server smtp/mb1 check-addr @A port foo",
    "set server plain/mb1 check-addr @A",
    "set server smtp/mb1 check-port",
    "set server smtp/mb1 check-port foo",
    "set server smtp/mb1 check-port 99999",
    "set server plain/mb1 check-port 25",
    "set server smtp/mb1 fqdn",
    "set server smtp/mb1 fqdn mail.example.org",
    "set server smtp/mb1 ssl",
    "set server smtp/mb1 ssl on",
    "enable server",
    "enable server nope/mb1",
    "enable server smtp/mb1",
    "disable server smtp/nope",
    "enable health",
    "enable health smtp/mb1",
    "enable health plain/mb1",
    "disable health plain/mb1",
    "enable agent smtp/mb1",
    "disable agent smtp/mb1",
    "enable agent nope/mb1",
    "set maxconn server",
    "set maxconn server smtp/mb1",
    "set maxconn server smtp/mb1 x",
    "set maxconn server smtp/mb1 10x",
    "set maxconn server nope/mb1 10",
    "shutdown sessions server",
    "shutdown sessions server nope/mb1",
    "add server",
    "add server smtp",
    "add server nope/mb1 @A:25",
    "add server smtp/mb9",
    "add server smtp/mb1 @A:25",
    "del server",
    "del server smtp",
    "del server nope/mb1",
    "del server smtp/nope",
    "del server smtp/mb1",
    // Of services.
    "enable frontend",
    "enable frontend nope",
    "enable frontend smtp",
    "disable frontend",
    "disable frontend nope",
    "shutdown frontend",
    "shutdown frontend nope",
    "set maxconn frontend",
    "set maxconn frontend nope 10",
    "set maxconn frontend smtp",
    "set maxconn frontend https -1",
    "show servers state nope",
    "show servers conn nope",
    "show errors nope",
    "show backend",
    // Of the director.
    "set maxconn global",
    "set rate-limit",
    "set rate-limit bogus",
    "set rate-limit connections",
    "set rate-limit connections bogus",
    "set rate-limit connections global",
    "set rate-limit sessions global",
    "set rate-limit ssl-sessions global",
    "set rate-limit http-compression global",
    "clear counters",
    "clear counters all",
    "clear counters bogus",
    "set timeout",
    "set timeout bogus",
    "set timeout cli",
    "set timeout cli x",
    "set timeout cli 0",
    "set timeout cli 10",
    "shutdown session",
    "shutdown session 0x",
    "shutdown session foo",
    "shutdown session 0x12",
    "show sess 0x12",
    "show stat nope 1 -1",
    "show stat 0 4 -1",
    "show stat typed up no-maint",
    "show stat domain",
    "show stat domain dns",
    // What there is none of.
    "show table",
    "show table nope",
    "clear table",
    "clear table nope",
    "show peers",
    "show peers nope",
    "show resolvers nope",
    "show map",
    "show map nope",
    "show acl nope",
    "show tls-keys",
    "show tls-keys nope",
    "show cache",
    "show startup-logs",
    "show env HOME",
    "show env NOT_THERE",
    // Levels.
    "show cli level",
    "user",
    "operator",
    "operator;show cli level",
    "user;show cli level",
    "user;operator;show cli level",
    "user;set server smtp/mb1 weight 5",
    "user;set server",
    "user;set weight nope/nope 1",
    "user;set maxconn global 5",
    "user;set rate-limit connections global 5",
    "user;enable server nope/nope",
    "user;enable health nope/nope",
    "user;disable frontend nope",
    "user;shutdown frontend nope",
    "user;shutdown session 0x1",
    "user;shutdown sessions server nope/nope",
    "user;add server nope/nope x",
    "user;del server nope/nope",
    "user;clear counters",
    "user;show sess",
    "user;show errors",
    "user;show env",
    "user;show startup-logs",
    "user;show ssl crt-list",
    "user;set ssl cert x",
    "user;commit ssl cert x",
    "user;get weight smtp/mb1",
    "user;set timeout cli 5",
    "user;show table",
    "operator;set server smtp/mb1 weight 5",
    "operator;enable server nope/nope",
    "operator;set ssl cert x",
    "operator;clear counters",
    "operator;clear counters all",
    "operator;get weight smtp/mb1",
    "operator;show sess 0x1",
    "operator;show ssl cert nope",
    // Certificates.
    "show ssl cert",
    "show ssl cert nope",
    "show ssl cert @S",
    "show ssl cert *@S",
    "set ssl cert",
    "set ssl cert @S",
    "commit ssl cert",
    "commit ssl cert nope",
    "commit ssl cert @S",
    "abort ssl cert",
    "abort ssl cert @S",
    "new ssl cert",
    "new ssl cert @S",
    "del ssl cert",
    "del ssl cert nope",
    "del ssl cert @S",
    "show ssl crt-list",
    "show ssl crt-list @D",
    "show ssl crt-list -n",
    "show ssl crt-list -n @D",
    "show ssl crt-list nope",
    "add ssl crt-list",
    "add ssl crt-list @D",
    "add ssl crt-list nope nope",
    "add ssl crt-list @D nope",
    "add ssl crt-list @D @D/a.pem",
    "del ssl crt-list",
    "del ssl crt-list nope",
    "del ssl crt-list nope nope",
    "del ssl crt-list @D nope",
    // Framing.
    "get weight nope/nope;get weight nope;show cli level",
    "  show cli level ;  show cli level",
    "get weight smtp/mb1\\;x",
    "prompt",
    "prompt;show cli level;quit",
    "prompt;show cli level;prompt",
    "quit",
    "show cli level;quit;show cli level",
    "show cli level\nshow cli level",
    "show cli level\r",
];

/// Answered by a list of the commands that there are, which is not the same: the first line is.
const UNKNOWN: &[&str] = &[
    "",
    "show",
    "show servers",
    "set",
    "set maxconn",
    "enable",
    "shutdown",
    "shutdown sessions",
    "clear",
    "show cli",
    "show ssl",
    "help set server",
    "help",
];

/// What HAProxy does and mb-lb does not.
const NOT_DONE: &[&str] = &[
    "set maxconn frontend smtp 10",
    "set maxconn global 10",
    "set rate-limit connections global 10",
    "add server smtp/mb9 192.0.2.9:25 ssl",
    "del ssl crt-list @D @D/a.pem",
];

/// Done by both, one after the other, and said in the same words.
const DONE: &[&str] = &[
    "set server smtp/mb1 health down",
    "set server smtp/mb1 health stopping",
    "set server smtp/mb1 health up",
    "set server smtp/mb1 check-port 26",
    "set server smtp/mb1 check-addr 192.0.2.77",
    "set server smtp/mb1 check-addr @A port 25",
    "disable health smtp/mb1",
    "enable health smtp/mb1",
    "set server smtp/mb1 addr 192.0.2.77",
    "set server smtp/mb1 addr 192.0.2.77",
    "set server smtp/mb1 addr @A",
    "set server asked/mb1 agent-send",
    "set server asked/mb1 agent-send how\\ are\\ you",
    "set server asked/mb1 agent-send one two",
    "set server asked/mb1 agent-send",
    "set maxconn server smtp/mb1 10",
    "set maxconn server smtp/mb1 +20",
    "set maxconn server smtp/mb1 0",
    "set maxconn frontend https 10",
    "set maxconn frontend https 20000",
    "shutdown sessions server smtp/mb1",
    "disable frontend smtp",
    "disable frontend smtp",
    "enable frontend smtp",
    "enable frontend smtp",
    "add server smtp/mb9 192.0.2.9:25 weight 5 backup",
    "add server smtp/mb9 192.0.2.9:25",
    "enable server smtp/mb9",
    "del server smtp/mb9",
    "disable server smtp/mb9",
    "del server smtp/mb9",
    "del server smtp/mb9",
    "shutdown frontend plain",
    "shutdown frontend plain",
    "enable frontend plain",
    "disable frontend plain",
];

fn filled(rig: &Rig, command: &str) -> String {
    let address = rig.lab.servers()[0].ipv4().to_string();
    command
        .replace("@S", &rig.site().display().to_string())
        .replace("@D", &rig.certificates().display().to_string())
        .replace("@A", &address)
}

#[test]
fn both_say_the_same_words() -> Result<()> {
    let rig = Rig::start("sockdiff")?;
    let mut differences = String::new();
    for command in ALIKE {
        let line = filled(&rig, command);
        let (ours, theirs) = (rig.ours(&line)?, rig.theirs(&line)?);
        if ours != theirs {
            differences += &format!("{line:?}\n  ours:   {ours:?}\n  theirs: {theirs:?}\n");
        }
    }
    for command in UNKNOWN {
        let first = |text: String| text.lines().next().unwrap_or_default().to_owned();
        let (ours, theirs) = (first(rig.ours(command)?), first(rig.theirs(command)?));
        if ours != theirs {
            differences += &format!("{command:?}\n  ours:   {ours:?}\n  theirs: {theirs:?}\n");
        }
    }
    ensure!(differences.is_empty(), "\n{differences}");
    Ok(())
}

#[test]
fn what_is_not_done_is_said_to_be_in_one_line() -> Result<()> {
    let rig = Rig::start("socknot")?;
    for command in NOT_DONE {
        let answer = rig.ours(&filled(&rig, command))?;
        let is_one_line = answer.lines().count() == 2 && answer.ends_with(".\n\n");
        ensure!(
            answer.starts_with("Not done: ") && is_one_line,
            "{command}: {answer:?}"
        );
    }
    let servers = &rig.director.status()?.services[0].servers;
    ensure!(servers.len() == 2 && servers[0].weight == 10, "{servers:?}");
    Ok(())
}

#[test]
fn what_is_set_at_run_time_is_done_and_said_in_the_same_words() -> Result<()> {
    let rig = Rig::start("sockset")?;
    let mut differences = String::new();
    for command in DONE {
        let line = filled(&rig, command);
        let (ours, theirs) = (rig.ours(&line)?, rig.theirs(&line)?);
        if ours != theirs {
            differences += &format!("{line:?}\n  ours:   {ours:?}\n  theirs: {theirs:?}\n");
        }
    }
    ensure!(differences.is_empty(), "\n{differences}");
    // Each of it is undone, and shows as such.
    let status = rig.director.status()?;
    let servers = &status.services[0].servers;
    ensure!(servers.len() == 2, "{servers:?}");
    ensure!(status.services[0].paused_by.is_none());
    rig.ours(
        "set server smtp/mb2 check-port 2526; disable health smtp/mb2; disable frontend smtp; set maxconn server smtp/mb2 7",
    )?;
    let status = rig.director.status()?;
    let hand = status.services[0].servers[1]
        .by_hand
        .clone()
        .unwrap_or_default();
    ensure!(hand.check_off && hand.check_port == Some(2526), "{hand:?}");
    ensure!(hand.max_connections == Some(7), "{hand:?}");
    ensure!(status.services[0].paused_by.as_deref() == Some("root"));
    Ok(())
}
