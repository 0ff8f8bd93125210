//! One row of `show stat`, in either form.

use std::fmt::Write as _;

use super::COLUMNS;

/// Position of a column, and its tags (origin, nature, scope) in the typed form.
#[derive(Clone, Copy)]
pub struct Field(pub usize, pub &'static str);

/// The `-` that separates the columns of HAProxy's core from those of its modules; not counted in the typed form.
const SEPARATOR: usize = 103;

struct Cell {
    column: usize,
    tags: &'static str,
    kind: &'static str,
    value: String,
}

/// Filled cells, in any order.
pub struct Row {
    /// `F`, `B` or `S`.
    object: char,
    iid: u32,
    sid: u32,
    cells: Vec<Cell>,
}

impl Row {
    pub fn new(object: char, iid: u32, sid: u32) -> Self {
        Self {
            object,
            iid,
            sid,
            cells: Vec::with_capacity(32),
        }
    }

    pub fn text(&mut self, field: Field, value: &str) {
        self.fill(field, "str", value.to_owned());
    }

    pub fn u32(&mut self, field: Field, value: impl Into<u64>) {
        // The type is part of the interface; a larger number stops at its end instead of wrapping.
        let value = value.into().min(u64::from(u32::MAX));
        self.fill(field, "u32", value.to_string());
    }

    pub fn u64(&mut self, field: Field, value: u64) {
        self.fill(field, "u64", value.to_string());
    }

    pub fn s32(&mut self, field: Field, value: i64) {
        let value = value.min(i64::from(i32::MAX));
        self.fill(field, "s32", value.to_string());
    }

    fn fill(&mut self, field: Field, kind: &'static str, value: String) {
        self.cells.push(Cell {
            column: field.0,
            tags: field.1,
            kind,
            value,
        });
    }

    /// Appends the row as CSV, or one line per filled cell.
    pub fn write(mut self, text: &mut String, typed: bool) {
        self.cells.sort_by_key(|cell| cell.column);
        let mut cells = self.cells.into_iter().peekable();
        if typed {
            for cell in cells {
                let (object, iid, sid, column) = (self.object, self.iid, self.sid, cell.column);
                let (name, tags, kind) = (COLUMNS[column], cell.tags, cell.kind);
                // Writing into a String cannot fail.
                let _ = writeln!(
                    text,
                    "{object}.{iid}.{sid}.{column}.{name}.1:{tags}:{kind}:{}",
                    cell.value
                );
            }
            return;
        }
        for column in 0..COLUMNS.len() {
            if let Some(cell) = cells.next_if(|cell| cell.column == column) {
                text.push_str(&quoted(&cell.value));
            } else if column == SEPARATOR {
                text.push('-');
            }
            text.push(',');
        }
        text.push('\n');
    }
}

/// The first line; it ends with a comma, as every row does.
pub fn header(text: &mut String) {
    text.push_str("# ");
    text.push_str(&COLUMNS.join(","));
    text.push_str(",\n");
}

/// RFC 4180, section 2: quotes only where needed.
pub fn quoted(value: &str) -> String {
    if value.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", value.replace('"', "\"\""))
    } else {
        value.to_owned()
    }
}
