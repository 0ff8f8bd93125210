//! What HAProxy says of its servers, and where it differs from us.

use std::collections::{BTreeMap, BTreeSet};

use crate::snapshot::{HealthState, ServerView, ServiceView};

/// `SERVICE/SERVER`
type Name = (String, String);

/// One server, as HAProxy sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Theirs {
    /// `UP`, `DOWN 1/2`, `MAINT`, ...
    pub status: String,
    /// What its last check found: `L7OK`, `Connection refused`, ...
    pub why: String,
}

impl Theirs {
    /// `None`: it does not check the server.
    fn is_up(&self) -> Option<bool> {
        let word = self.status.split(' ').next().unwrap_or_default();
        match word {
            // A server that drains, or says 404 to `disable-on-404`, is well.
            "UP" | "DRAIN" | "NOLB" => Some(true),
            "DOWN" => Some(false),
            _ => None,
        }
    }
}

/// Servers in the CSV of `show stat`.
///
/// # Errors
/// `None`: it is no such table.
pub(super) fn parse(text: &str) -> Option<BTreeMap<Name, Theirs>> {
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next()?.strip_prefix("# ")?.split(',').collect();
    let column = |name: &str| header.iter().position(|column| *column == name);
    let (proxy, server, status) = (column("pxname")?, column("svname")?, column("status")?);
    let details = ["check_status", "last_chk", "check_desc"].map(column);
    let mut servers = BTreeMap::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let cells = cells(line);
        let cell = |at: usize| cells.get(at).map_or("", String::as_str);
        if matches!(cell(server), "FRONTEND" | "BACKEND" | "") {
            continue;
        }
        let mut said: Vec<&str> = Vec::new();
        for detail in details.into_iter().flatten().map(cell) {
            if !detail.is_empty() && !said.contains(&detail) {
                said.push(detail);
            }
        }
        let name = (cell(proxy).to_owned(), cell(server).to_owned());
        let (status, why) = (cell(status).to_owned(), said.join(", "));
        servers.insert(name, Theirs { status, why });
    }
    Some(servers)
}

/// Cells of a line; quotes are doubled inside quotes (RFC 4180).
fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if quoted && rest.peek() == Some(&'"') => {
                rest.next();
                cells.last_mut().into_iter().for_each(|cell| cell.push('"'));
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            c => cells.last_mut().into_iter().for_each(|cell| cell.push(c)),
        }
    }
    cells
}

/// So many comparisons in a row until a difference counts: checks of the two are not made at the same moment.
const LASTING: u32 = 3;

/// What was found and said so far.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Comparisons in a row in which a server differed.
    differs: BTreeMap<Name, u32>,
    /// Differences that were said.
    said: BTreeSet<Name>,
    /// Servers that one side only has, and was said.
    alone: BTreeSet<Name>,
}

impl Comparison {
    /// Compares once; one line for each change.
    pub fn round(&mut self, ours: &[ServiceView], theirs: &BTreeMap<Name, Theirs>) -> Vec<String> {
        let mut lines = Vec::new();
        let mut known = BTreeSet::new();
        for service in ours {
            for server in &service.servers {
                let name = (service.name.clone(), server.name.clone());
                match theirs.get(&name) {
                    Some(other) => self.server(&name, server, other, &mut lines),
                    None => self.alone(&name, "HAProxy does not know it", &mut lines),
                }
                known.insert(name);
            }
        }
        let services: BTreeSet<&str> = ours.iter().map(|service| service.name.as_str()).collect();
        for name in theirs
            .keys()
            .filter(|name| services.contains(name.0.as_str()))
        {
            if !known.contains(name) {
                self.alone(name, "only HAProxy knows it", &mut lines);
            }
        }
        lines
    }

    fn alone(&mut self, name: &Name, what: &str, lines: &mut Vec<String>) {
        if self.alone.insert(name.clone()) {
            lines.push(format!("{}/{}: {what}", name.0, name.1));
        }
    }

    fn server(&mut self, name: &Name, ours: &ServerView, theirs: &Theirs, lines: &mut Vec<String>) {
        let up = match ours.health {
            HealthState::Up => true,
            HealthState::Down => false,
            HealthState::Unknown => return,
        };
        // Where it does not check, there is nothing to compare with, and what was said is not so any more.
        let differs = theirs.is_up().is_some_and(|other| other != up);
        let title = format!("{}/{}", name.0, name.1);
        if !differs {
            self.differs.remove(name);
            if self.said.remove(name) {
                lines.push(format!(
                    "agree     {title}: {}, HAProxy {}",
                    word(up),
                    theirs.status
                ));
            }
            return;
        }
        let rounds = self.differs.entry(name.clone()).or_default();
        *rounds = rounds.saturating_add(1);
        if *rounds >= LASTING && self.said.insert(name.clone()) {
            let ours = reason(&ours.health_reason);
            let (status, theirs) = (&theirs.status, reason(&theirs.why));
            lines.push(format!(
                "disagree  {title}: {}{ours}; HAProxy {status}{theirs}",
                word(up)
            ));
        }
    }
}

const fn word(up: bool) -> &'static str {
    if up { "UP" } else { "DOWN" }
}

fn reason(text: &str) -> String {
    match text.is_empty() {
        true => String::new(),
        false => format!(" ({text})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "# pxname,svname,status,check_status,last_chk,check_desc,\n\
        smtp,FRONTEND,OPEN,,,,\n\
        smtp,mb1,UP,L4OK,,Layer4 check passed,\n\
        smtp,mb2,DOWN 1/2,* L4CON,\"Connection refused, \"\"now\"\"\",Layer4 connection problem,\n\
        smtp,mb3,MAINT,,,,\n\
        smtp,mb9,no check,,,,\n\
        smtp,BACKEND,UP,,,,\n\
        other,x,UP,,,,\n\n";

    #[test]
    fn a_table_of_haproxy_is_read() {
        let servers = parse(TABLE).expect("a table");
        let name = |server: &str| ("smtp".to_owned(), server.to_owned());
        assert_eq!(servers.len(), 5);
        let down = &servers[&name("mb2")];
        assert_eq!(
            down.why,
            "* L4CON, Connection refused, \"now\", Layer4 connection problem"
        );
        assert_eq!(down.is_up(), Some(false));
        assert_eq!(servers[&name("mb1")].is_up(), Some(true));
        assert_eq!(servers[&name("mb3")].is_up(), None);
        assert_eq!(servers[&name("mb9")].is_up(), None);
        for text in ["", "Unknown command.\n", "# a,b\n"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    fn services(healths: [HealthState; 3]) -> Vec<ServiceView> {
        let names = ["mb1", "mb2", "mb3"];
        let servers = names
            .into_iter()
            .zip(healths)
            .map(|(name, health)| ServerView {
                name: name.to_owned(),
                health,
                health_reason: if health == HealthState::Down {
                    "no banner".to_owned()
                } else {
                    String::new()
                },
                ..ServerView::default()
            });
        vec![ServiceView {
            name: "smtp".to_owned(),
            servers: servers.collect(),
            ..ServiceView::default()
        }]
    }

    #[test]
    fn a_difference_that_lasts_is_said_once_and_its_end_too() {
        use HealthState::{Down, Unknown, Up};
        let theirs = parse(TABLE).expect("a table");
        let mut comparison = Comparison::default();
        let none: [String; 0] = [];
        let alone = comparison.round(&services([Down, Unknown, Up]), &theirs);
        assert_eq!(alone, ["smtp/mb9: only HAProxy knows it"]);
        assert_eq!(comparison.round(&services([Down, Down, Up]), &theirs), none);
        let said = comparison.round(&services([Down, Down, Down]), &theirs);
        assert_eq!(
            said,
            ["disagree  smtp/mb1: DOWN (no banner); HAProxy UP (L4OK, Layer4 check passed)"]
        );
        assert_eq!(comparison.round(&services([Down, Down, Up]), &theirs), none);
        let said = comparison.round(&services([Up, Down, Up]), &theirs);
        assert_eq!(said, ["agree     smtp/mb1: UP, HAProxy UP"]);
        // One that does not last is not said.
        assert_eq!(comparison.round(&services([Down, Down, Up]), &theirs), none);
        assert_eq!(comparison.round(&services([Up, Down, Up]), &theirs), none);
        assert_eq!(comparison.round(&services([Down, Down, Up]), &theirs), none);
    }
}
