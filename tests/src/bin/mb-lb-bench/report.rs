//! What was measured, for people and as JSON.

use std::fmt;

use serde::Serialize;

/// Repeated measurements of one thing.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
    /// How many there were.
    pub rounds: usize,
}

impl Spread {
    /// # Panics
    /// There is no value.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self {
            median: values[values.len() / 2],
            least: values[0],
            most: values[values.len() - 1],
            rounds: values.len(),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub group: &'static str,
    pub what: String,
    pub unit: &'static str,
    #[serde(flatten)]
    pub spread: Spread,
    /// What the figure may be at most, where there is such a thing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// What one has to know to read the figure.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// A ratio that has an aim.
#[derive(Clone, Debug, Serialize)]
pub struct Ratio {
    pub what: String,
    pub ratio: f64,
    /// `at most 1.3`, or empty.
    pub aim: String,
}

/// The machine, without which no figure says anything.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    pub kernel: String,
    pub cpu: String,
    pub cores: usize,
    pub jit: bool,
    /// Share of the machine's time that others had while nothing was measured.
    pub busy_before: f64,
    pub mb_lb: &'static str,
}

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub version: u32,
    pub facts: Facts,
    pub rows: Vec<Row>,
    pub ratios: Vec<Ratio>,
}

impl Report {
    pub const fn new(facts: Facts) -> Self {
        Self {
            version: 1,
            facts,
            rows: Vec::new(),
            ratios: Vec::new(),
        }
    }

    /// Adds a figure, and says it at once.
    pub fn row(
        &mut self,
        group: &'static str,
        what: impl Into<String>,
        unit: &'static str,
        spread: Spread,
        note: impl Into<String>,
    ) {
        self.add(Row {
            group,
            what: what.into(),
            unit,
            spread,
            limit: None,
            note: note.into(),
        });
    }

    /// As [`Report::row`], for any row.
    pub fn add(&mut self, row: Row) {
        eprintln!(
            "bench: {}: {} {}",
            row.what,
            number(row.spread.median),
            row.unit
        );
        self.rows.push(row);
    }

    pub fn ratio(&mut self, what: impl Into<String>, ratio: f64, aim: impl Into<String>) {
        self.ratios.push(Ratio {
            what: what.into(),
            ratio,
            aim: aim.into(),
        });
    }

    /// Median of a row that was measured before.
    pub fn median(&self, what: &str) -> Option<f64> {
        let row = self.rows.iter().find(|row| row.what == what)?;
        Some(row.spread.median)
    }
}

/// Three digits, more where they stand before the point.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        x if x >= 100.0 => 0,
        x if x >= 10.0 => 1,
        x if x >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Facts {
            kernel,
            cpu,
            cores,
            jit,
            busy_before,
            mb_lb,
        } = &self.facts;
        let jit = if *jit { "on" } else { "off" };
        writeln!(
            f,
            "mb-lb {mb_lb}, Linux {kernel}, {cpu}, {cores} cores, BPF JIT {jit}; \
             {:.0} % of the machine was busy with other things before the start",
            busy_before * 100.0
        )?;
        let width = self
            .rows
            .iter()
            .map(|row| row.what.chars().count())
            .chain(self.ratios.iter().map(|ratio| ratio.what.chars().count()))
            .max()
            .unwrap_or(0);
        let mut group = "";
        for row in &self.rows {
            if row.group != group {
                group = row.group;
                writeln!(f, "\n{group}")?;
            }
            let Spread {
                median,
                least,
                most,
                rounds,
            } = row.spread;
            write!(
                f,
                "  {:width$}  {:>9} {:9}",
                row.what,
                number(median),
                row.unit
            )?;
            if rounds > 1 {
                write!(
                    f,
                    "  {:>18}",
                    format!("{} .. {}", number(least), number(most))
                )?;
            }
            if let Some(limit) = row.limit {
                let verdict = if most > limit { "EXCEEDED" } else { "kept" };
                write!(f, "  limit {} {verdict}", number(limit))?;
            }
            if !row.note.is_empty() {
                write!(f, "  {}", row.note)?;
            }
            writeln!(f)?;
        }
        if !self.ratios.is_empty() {
            writeln!(f, "\nratios")?;
        }
        for Ratio { what, ratio, aim } in &self.ratios {
            write!(f, "  {what:width$}  {:>9}", number(*ratio))?;
            if !aim.is_empty() {
                write!(f, "  aim: {aim}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
