//! Rows of typed cells, and their two renderings.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::cli::format::{bytes, grouped, grouped_signed, span};
use crate::cli::style::Style;
use crate::command::stat::quoted;

/// A value that looks one way for people and another for programs.
pub enum Cell {
    Text(String),
    Count(u64),
    Signed(i64),
    Seconds(u64),
    Bytes(u64),
}

/// Name of a column, and whether it is shown only in wide tables. CSV has all of them.
pub struct Column {
    pub name: &'static str,
    pub wide: bool,
}

pub const fn narrow(name: &'static str) -> Column {
    Column { name, wide: false }
}

pub const fn wide(name: &'static str) -> Column {
    Column { name, wide: true }
}

pub struct Rows {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Cell>>,
}

impl Rows {
    pub fn csv(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name).collect();
        let mut text = names.join(",") + "\n";
        for row in &self.rows {
            let cells: Vec<String> = row.iter().map(|cell| quoted(&cell.raw())).collect();
            text.push_str(&cells.join(","));
            text.push('\n');
        }
        text
    }

    /// Nothing is ever cut to fit the terminal: a name that lost its end is no name.
    pub fn table(&self, wide: bool, style: Style) -> String {
        let shown: Vec<usize> = (0..self.columns.len())
            .filter(|index| wide || !self.columns[*index].wide)
            .collect();
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(
                shown
                    .iter()
                    .map(|index| self.columns[*index].name.to_uppercase().replace('_', " ")),
            );
        for row in &self.rows {
            table.add_row(shown.iter().map(|index| row[*index].human()));
        }
        for (position, index) in shown.iter().enumerate() {
            let number = self.rows.first().is_some_and(|row| !row[*index].is_text());
            if let Some(column) = table.column_mut(position) {
                column.set_padding((0, 2));
                if number {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        let mut text = String::new();
        for (index, line) in table.lines().enumerate() {
            let line = line.trim_end();
            text.push_str(&match index {
                0 => style.strong(line),
                _ => line.to_owned(),
            });
            text.push('\n');
        }
        text
    }
}

impl Cell {
    const fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    fn human(&self) -> String {
        match self {
            Self::Text(text) if text.is_empty() => "-".to_owned(),
            Self::Text(text) => text.clone(),
            Self::Count(number) => grouped(*number),
            Self::Signed(number) => grouped_signed(*number),
            Self::Seconds(seconds) => span(*seconds),
            Self::Bytes(number) => bytes(*number),
        }
    }

    fn raw(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Count(number) | Self::Seconds(number) | Self::Bytes(number) => number.to_string(),
            Self::Signed(number) => number.to_string(),
        }
    }
}
