//! The forms of statistics: the same names in the same order, whatever the values are.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::Rig;

/// Columns of HAProxy's that mb-lb has nothing true to say in.
fn rows(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().skip(1).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let mut cells = line.split(',').map(str::to_owned);
            (
                cells.next().unwrap_or_default(),
                cells.next().unwrap_or_default(),
            )
        })
        .collect()
}

#[test]
fn csv_has_the_same_header_and_the_same_rows() -> Result<()> {
    let rig = Rig::start("sockcsv")?;
    for command in [
        "show stat",
        "show stat -1 7 -1",
        "show stat -1 1 -1",
        "show stat -1 2 -1",
        "show stat -1 4 -1",
        "show stat -1 6 -1",
        "show stat -1 4 2",
        "show stat 2 4 1",
        "show stat 2 3 0",
        "show stat smtp 4 -1",
        "show stat #3 4 -1",
        "show stat 99 7 -1",
        "show stat 2 x -1",
        "show stat 2",
        "show stat bogus",
        "show stat domain proxy",
        "show stat domain proxy 2 1 -1",
        "show stat no-maint",
    ] {
        let (ours, theirs) = (rig.ours(command)?, rig.theirs(command)?);
        ensure!(ours.lines().next() == theirs.lines().next(), "{command}");
        ensure!(rows(&ours) == rows(&theirs), "{command}\n{ours}\n{theirs}");
        let commas = |text: &str| -> BTreeSet<usize> {
            let lines = text.lines().filter(|line| !line.is_empty());
            lines.map(|line| line.matches(',').count()).collect()
        };
        ensure!(commas(&ours) == commas(&theirs), "{command}\n{ours}");
    }
    Ok(())
}

/// `S.2.1.4.scur.1:MGP:u32:` of each line, without what is counted.
fn typed(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| line.splitn(4, ':').take(3).collect::<Vec<_>>().join(":"))
        .collect()
}

#[test]
fn typed_cells_have_haproxys_places_tags_and_types() -> Result<()> {
    let rig = Rig::start("socktyped")?;
    let (ours, theirs) = (rig.ours("show stat typed")?, rig.theirs("show stat typed")?);
    let (ours, theirs) = (typed(&ours), typed(&theirs));
    // Not of a server that is not checked there, and of one that is there: the code of a reply, and what waits for a check.
    let own: Vec<_> = ours.difference(&theirs).collect();
    ensure!(own.is_empty(), "{own:#?}");
    ensure!(ours.len() > 150, "{}", ours.len());
    let described = rig.ours("show stat typed desc")?;
    for line in described.lines().filter(|line| !line.is_empty()) {
        let (_, meaning) = line.split_once(":\"").context("no meaning")?;
        ensure!(meaning.len() > 3 && meaning.ends_with('"'), "{line}");
    }

    let (ours, theirs) = (rig.ours("show info typed")?, rig.theirs("show info typed")?);
    let keys = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.is_empty());
        lines
            .map(|line| line.splitn(4, ':').take(3).collect::<Vec<_>>().join(":"))
            .collect()
    };
    ensure!(keys(&ours) == keys(&theirs), "{ours}\n{theirs}");
    let (ours, theirs) = (rig.ours("show info")?, rig.theirs("show info")?);
    let keys = |text: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.split_once(": "));
        lines.map(|(key, _)| key.to_owned()).collect()
    };
    ensure!(keys(&ours) == keys(&theirs));
    ensure!(keys(&rig.ours("show info desc")?) == keys(&theirs));
    Ok(())
}

/// With every value put out, but for those that name things.
fn shape(value: &Value) -> Value {
    match value {
        Value::Array(values) => values.iter().map(shape).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| {
                let shape = match field {
                    Value::Object(_) if name == "value" => field["type"].clone(),
                    field => shape(field),
                };
                (name.clone(), shape)
            })
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

#[test]
fn json_has_haproxys_form() -> Result<()> {
    let rig = Rig::start("sockjson")?;
    let json = |text: &str| -> Result<Value> {
        let line = text.strip_suffix("\n\n").context("one line")?;
        ensure!(!line.contains('\n'), "{line}");
        Ok(shape(&serde_json::from_str(line)?))
    };
    let (ours, theirs) = (rig.ours("show info json")?, rig.theirs("show info json")?);
    ensure!(json(&ours)? == json(&theirs)?, "{ours}\n{theirs}");
    // The order of keys is the same, too.
    let beginning = |text: &str| text.split("\"value\":\"").next().map(str::to_owned);
    ensure!(beginning(&ours) == beginning(&theirs), "{ours}\n{theirs}");
    for command in [
        "show stat json",
        "show stat -1 4 -1 json",
        "show stat 99 1 -1 json",
    ] {
        let (ours, theirs) = (rig.ours(command)?, rig.theirs(command)?);
        let (ours, theirs) = (json(&ours)?, json(&theirs)?);
        let ours = ours.as_array().context("a list of rows")?;
        let theirs = theirs.as_array().context("a list of rows")?;
        ensure!(ours.len() == theirs.len(), "{command}");
        for (ours, theirs) in ours.iter().zip(theirs) {
            let theirs = theirs.as_array().context("a list of cells")?;
            for cell in ours.as_array().context("a list of cells")? {
                ensure!(theirs.contains(cell), "{command}: {cell}");
            }
        }
    }
    Ok(())
}

#[test]
fn lists_of_servers_have_haproxys_columns() -> Result<()> {
    let rig = Rig::start("sockcols")?;
    for command in [
        "show servers state",
        "show servers state smtp",
        "show servers conn",
        "show servers conn plain",
    ] {
        let (ours, theirs) = (rig.ours(command)?, rig.theirs(command)?);
        // The last column of connections is one for each thread.
        let without_threads = |line: &str| line.split(" idle_per_thr").next().map(str::to_owned);
        let names = |text: &str| -> Vec<String> {
            let rows = text.lines().filter(|line| line.contains("mb"));
            let words = if command.contains("conn") { 2 } else { 4 };
            rows.map(|row| row.split(' ').take(words).collect::<Vec<_>>().join(" "))
                .collect()
        };
        let header = |text: &str| {
            text.lines()
                .find(|line| line.starts_with('#'))
                .and_then(without_threads)
        };
        ensure!(
            header(&ours) == header(&theirs),
            "{command}\n{ours}\n{theirs}"
        );
        ensure!(
            names(&ours) == names(&theirs),
            "{command}\n{ours}\n{theirs}"
        );
        let columns = header(&ours).context("a header")?.split(' ').count() - 1;
        let rows = ours.lines().filter(|line| line.contains("mb"));
        for row in rows {
            let threads = if command.contains("conn") { 1 } else { 0 };
            let own = row.split(' ').count() - threads;
            ensure!(
                own == columns || own == columns + threads,
                "{command}: {row}"
            );
        }
    }
    Ok(())
}
