//! `track_interfaces`, `track_services` and `track_scripts` of an instance.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use crate::config::diagnostic::{Code, Finding, Reporter, quote};
use crate::config::fields::{Field, Fields, in_order, refuse_name};
use crate::config::values::{self, Fault};
use crate::config::{TrackInterface, TrackScript, TrackService, schema};

const WEIGHT: RangeInclusive<i128> = -253..=253;
const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);

/// Where a tracked service stands.
pub(super) struct Place {
    pub key: Range<usize>,
    /// That of the key where it is not given.
    pub min_up: Range<usize>,
}

/// What could be read.
#[derive(Default)]
pub(super) struct Tracked {
    pub interfaces: Vec<TrackInterface>,
    pub services: Vec<(TrackService, Place)>,
    pub scripts: Vec<TrackScript>,
    /// The first weight other than 0.
    pub weight: Option<Range<usize>>,
}

/// `interface` is the instance's own.
pub(super) fn tracked(
    fields: &Fields<'_>,
    interface: Option<&str>,
    reporter: &mut Reporter<'_>,
) -> Tracked {
    let mut tracked = Tracked::default();
    match fields.get("track_interfaces") {
        Some(field) => tracked.track_interfaces(&field, reporter),
        None => tracked
            .interfaces
            .extend(interface.map(|interface| TrackInterface {
                interface: interface.to_owned(),
                weight: 0,
            })),
    }
    let service = "a table such as { smtp = { min_up = 1 } }";
    for (name, entry) in entries(fields.get("track_services"), service, reporter) {
        tracked.track_service(name, &entry, reporter);
    }
    let scripts = fields.get("track_scripts");
    let path = scripts.as_ref().map(|field| field.path.clone());
    let script = "a table such as { NAME = { command = \"/usr/local/bin/x\" } }";
    for (name, entry) in entries(scripts, script, reporter) {
        refuse_name(name, &entry, path.as_deref().unwrap_or_default(), reporter);
        tracked.track_script(name, &entry, reporter);
    }
    tracked
}

/// The rows of a table.
fn entries<'t>(
    field: Option<Field<'t>>,
    expected: &str,
    reporter: &mut Reporter<'_>,
) -> Vec<(&'t str, Field<'t>)> {
    let Some(field) = field else {
        return Vec::new();
    };
    let Some(table) = field.table(expected, reporter) else {
        return Vec::new();
    };
    in_order(&field.path, table)
}

impl Tracked {
    fn track_interfaces(&mut self, field: &Field<'_>, reporter: &mut Reporter<'_>) {
        let DeValue::Table(table) = field.value else {
            let expected =
                "a list of interface names, or a table such as { eth1 = { weight = -20 } }";
            let empty = "leave the key out to track `interface`";
            let mut seen = BTreeMap::new();
            for element in field.elements(expected, empty, reporter) {
                let check = |text: &str| values::interface(text).map(|()| text.to_owned());
                let expected = "the name of an interface";
                let Some(interface) = element.parsed(expected, check, reporter) else {
                    continue;
                };
                if let Some(first) = seen.insert(interface.clone(), element.span.clone()) {
                    let phrase = format!("lists {} twice", quote(&interface));
                    let finding = element.finding(Code::DuplicateInterface, &phrase);
                    reporter.push(finding.related(first, "first listed here"));
                    continue;
                }
                let weight = 0;
                self.interfaces.push(TrackInterface { interface, weight });
            }
            return;
        };
        if table.is_empty() {
            let finding = field.finding(Code::Empty, "is an empty table");
            reporter.push(finding.help("leave the key out to track `interface`"));
        }
        for (name, entry) in in_order(&field.path, table) {
            if let Err(fault) = values::interface(name) {
                let mut finding = entry.finding(fault.code, &fault.phrase);
                finding.span = entry.key_span.clone();
                finding.help = fault.help;
                reporter.push(finding);
            }
            let Some(row) = entry.table("a table such as { weight = -20 }", reporter) else {
                continue;
            };
            let fields = open(&schema::TRACK_INTERFACE, &entry, row, reporter);
            let weight = self.weight(&fields, reporter);
            self.interfaces.push(TrackInterface {
                interface: name.to_owned(),
                weight,
            });
        }
    }

    fn track_service(&mut self, name: &str, entry: &Field<'_>, reporter: &mut Reporter<'_>) {
        let Some(row) = entry.table("a table such as { min_up = 1 }", reporter) else {
            return;
        };
        let fields = open(&schema::TRACK_SERVICE, entry, row, reporter);
        let field = fields.get("min_up");
        let min_up = match &field {
            Some(field) => field.integer(1..=1024, reporter),
            None => Some(1),
        };
        let service = TrackService {
            service: name.to_owned(),
            // Refused already; fewer than any service has.
            min_up: min_up.unwrap_or(0),
            weight: self.weight(&fields, reporter),
        };
        let key = entry.key_span.clone();
        let min_up = field.map_or_else(|| key.clone(), |field| field.span);
        self.services.push((service, Place { key, min_up }));
    }

    fn track_script(&mut self, name: &str, entry: &Field<'_>, reporter: &mut Reporter<'_>) {
        let expected = "a table such as { command = \"/usr/local/bin/x\" }";
        let Some(row) = entry.table(expected, reporter) else {
            return;
        };
        let fields = open(&schema::TRACK_SCRIPT, entry, row, reporter);
        let command = match fields.get("command") {
            Some(field) => self::command(&field, reporter),
            None => {
                let message = format!("script {} has no `command`", quote(&entry.path));
                let finding = Finding::new(Code::MissingKey, entry.key_span.clone(), message);
                reporter.push(finding.help("add command = \"/path/of/a/program ARGUMENTS\""));
                None
            }
        };
        let interval_field = fields.get("interval");
        let interval = interval_field
            .as_ref()
            .and_then(|f| f.duration(INTERVAL, reporter))
            .unwrap_or(Duration::from_secs(1));
        let timeout_field = fields.get("timeout");
        let timeout = timeout_field
            .as_ref()
            .and_then(|f| f.duration(INTERVAL, reporter));
        if let (Some(timeout), Some(field)) = (timeout, &timeout_field)
            && timeout > interval
        {
            let message = format!(
                "`{}.interval` is {}, less than the timeout of {}: a script may still run when it is due again",
                entry.path,
                values::show(interval),
                values::show(timeout)
            );
            let finding = Finding::new(Code::TimeoutOverInterval, field.span.clone(), message);
            reporter.push(finding);
        }
        let mut count = |key| fields.get(key).and_then(|f| f.integer(1..=255, reporter));
        let (rise, fall) = (count("rise"), count("fall"));
        let weight = self.weight(&fields, reporter);
        self.scripts.push(TrackScript {
            name: name.to_owned(),
            command: command.unwrap_or_default(),
            interval,
            timeout: timeout.unwrap_or(interval),
            rise: rise.unwrap_or(1),
            fall: fall.unwrap_or(1),
            weight,
        });
    }

    fn weight(&mut self, fields: &Fields<'_>, reporter: &mut Reporter<'_>) -> i16 {
        let Some(field) = fields.get("weight") else {
            return 0;
        };
        let weight = field.integer(WEIGHT, reporter).unwrap_or(0);
        if weight != 0 {
            self.weight.get_or_insert(field.span);
        }
        weight
    }
}

fn open<'t>(
    section: &'static schema::Section,
    entry: &Field<'_>,
    table: &'t DeTable<'t>,
    reporter: &mut Reporter<'_>,
) -> Fields<'t> {
    Fields::open(section, entry.path.clone(), table, reporter)
}

/// The words with one space between them.
fn command(field: &Field<'_>, reporter: &mut Reporter<'_>) -> Option<String> {
    let words = field.parsed("a command", words, reporter)?;
    let for_a_shell = |word: &&str| {
        word.contains(['\'', '"', '`', '$', '\\'])
            || word.starts_with(['|', '&', '<', '>', ';'])
            || word.ends_with(';')
    };
    if let Some(word) = words.iter().copied().find(for_a_shell) {
        let phrase = format!(
            "has a word that only a shell would understand: {}",
            quote(word)
        );
        let finding = field.finding(Code::NoShell, &phrase);
        reporter.push(finding.help(
            "no shell reads it: it is split at spaces, and the words go to the program as they are; write a script",
        ));
    }
    Some(words.join(" "))
}

fn words(text: &str) -> Result<Vec<&str>, Fault> {
    if let Some(c) = text.chars().find(|c| c.is_control()) {
        let phrase = format!("has a control character: {}", quote(&c.to_string()));
        return Err(Fault::new(Code::BadText, phrase));
    }
    let words: Vec<_> = text.split_whitespace().collect();
    let Some(program) = words.first() else {
        return Err(Fault::new(Code::Empty, "is empty")
            .help("write a program by its absolute path, and its arguments"));
    };
    values::file(program).map_err(|fault| {
        fault.help("the program is given by its absolute path; no shell looks for it")
    })?;
    Ok(words)
}
