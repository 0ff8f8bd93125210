//! One row of `show stat`, in each form.

use std::fmt::Write as _;

use serde::{Serialize, Serializer};

use super::COLUMNS;
use super::describe::column as description;

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    #[default]
    Csv,
    /// A line for each cell.
    Typed {
        /// With what it means.
        described: bool,
    },
    Json,
}

/// Position of a column, and its tags (origin, nature, scope) in the typed form.
#[derive(Clone, Copy)]
pub struct Field(pub usize, pub &'static str);

/// The `-` that separates the columns of HAProxy's core from those of its modules; not counted in the typed form.
const SEPARATOR: usize = 103;

struct Cell {
    column: usize,
    tags: &'static str,
    value: Typed,
}

/// A value with its type, which is part of the interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    Text(String),
    U32(u32),
    U64(u64),
    S32(i32),
}

impl Typed {
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "str",
            Self::U32(_) => "u32",
            Self::U64(_) => "u64",
            Self::S32(_) => "s32",
        }
    }
}

impl Serialize for Typed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::U32(number) => serializer.serialize_u32(*number),
            Self::U64(number) => serializer.serialize_u64(*number),
            Self::S32(number) => serializer.serialize_i32(*number),
        }
    }
}

impl std::fmt::Display for Typed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::U32(number) => number.fmt(f),
            Self::U64(number) => number.fmt(f),
            Self::S32(number) => number.fmt(f),
        }
    }
}

/// A larger number stops at the end of its type instead of wrapping.
pub fn u32(value: impl Into<u64>) -> Typed {
    Typed::U32(u32::try_from(value.into()).unwrap_or(u32::MAX))
}

/// A cell of `show stat json`, or a fact of `show info json`.
#[derive(Serialize)]
pub struct JsonCell<'c> {
    field: JsonField,
    #[serde(rename = "processNum")]
    process: u32,
    tags: JsonTags,
    value: JsonValue<'c>,
}

#[derive(Serialize)]
struct JsonField {
    pos: usize,
    name: &'static str,
}

#[derive(Serialize)]
struct JsonTags {
    origin: &'static str,
    nature: &'static str,
    scope: &'static str,
}

#[derive(Serialize)]
struct JsonValue<'c> {
    #[serde(rename = "type")]
    kind: &'static str,
    value: &'c Typed,
}

impl<'c> JsonCell<'c> {
    pub fn new(pos: usize, name: &'static str, tags: &str, value: &'c Typed) -> Self {
        let kind = value.kind();
        Self {
            field: JsonField { pos, name },
            process: 1,
            tags: tags_json(tags),
            value: JsonValue { kind, value },
        }
    }
}

/// As text. Strings and numbers cannot fail to become JSON.
pub fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// `MGP` in words.
fn tags_json(tags: &str) -> JsonTags {
    let mut letters = tags.chars();
    let mut word = |of: fn(char) -> &'static str| letters.next().map_or("", of);
    let origin = word(|letter| match letter {
        'M' => "Metric",
        'S' => "Status",
        'K' => "Key",
        'C' => "Config",
        'P' => "Product",
        _ => "Unknown",
    });
    let nature = word(|letter| match letter {
        'A' => "Age",
        'a' => "Avg",
        'C' => "Counter",
        'D' => "Duration",
        'G' => "Gauge",
        'L' => "Limit",
        'M' => "Max",
        'm' => "Min",
        'N' => "Name",
        'O' => "Output",
        'R' => "Rate",
        'T' => "Time",
        _ => "Unknown",
    });
    let scope = word(|letter| match letter {
        'C' => "Cluster",
        'P' => "Process",
        'S' => "Service",
        _ => "Unknown",
    });
    JsonTags {
        origin,
        nature,
        scope,
    }
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
            cells: Vec::with_capacity(48),
        }
    }

    pub fn text(&mut self, field: Field, value: &str) {
        self.fill(field, Typed::Text(value.to_owned()));
    }

    pub fn u32(&mut self, field: Field, value: impl Into<u64>) {
        self.fill(field, u32(value));
    }

    pub fn u64(&mut self, field: Field, value: u64) {
        self.fill(field, Typed::U64(value));
    }

    pub fn s32(&mut self, field: Field, value: i64) {
        let value = i32::try_from(value).unwrap_or(i32::MAX);
        self.fill(field, Typed::S32(value));
    }

    fn fill(&mut self, field: Field, value: Typed) {
        self.cells.push(Cell {
            column: field.0,
            tags: field.1,
            value,
        });
    }

    /// Appends the row. Rows in JSON are separated by the caller.
    pub fn write(mut self, text: &mut String, form: Form) {
        self.cells.sort_by_key(|cell| cell.column);
        match form {
            Form::Csv => self.write_csv(text),
            Form::Typed { described } => self.write_typed(text, described),
            Form::Json => self.write_json(text),
        }
    }

    fn write_csv(self, text: &mut String) {
        let mut cells = self.cells.into_iter().peekable();
        for column in 0..COLUMNS.len() {
            if let Some(cell) = cells.next_if(|cell| cell.column == column) {
                text.push_str(&quoted(&cell.value.to_string()));
            } else if column == SEPARATOR {
                text.push('-');
            }
            text.push(',');
        }
        text.push('\n');
    }

    fn write_typed(self, text: &mut String, described: bool) {
        for cell in &self.cells {
            let (object, iid, sid) = (self.object, self.iid, self.sid);
            let position = position(cell.column);
            let (name, tags, kind) = (COLUMNS[cell.column], cell.tags, cell.value.kind());
            // Writing into a String cannot fail.
            let _ = write!(
                text,
                "{object}.{iid}.{sid}.{position}.{name}.1:{tags}:{kind}:{}",
                cell.value
            );
            if described {
                let _ = write!(text, ":\"{}\"", description(name));
            }
            text.push('\n');
        }
    }

    fn write_json(self, text: &mut String) {
        let object = match self.object {
            'F' => "Frontend",
            'B' => "Backend",
            _ => "Server",
        };
        #[derive(Serialize)]
        struct Cell<'c> {
            #[serde(rename = "objType")]
            object: &'static str,
            #[serde(rename = "proxyId")]
            proxy: u32,
            id: u32,
            #[serde(flatten)]
            cell: JsonCell<'c>,
        }
        let cells = self.cells.iter().map(|cell| Cell {
            object,
            proxy: self.iid,
            id: self.sid,
            cell: JsonCell::new(
                position(cell.column),
                COLUMNS[cell.column],
                cell.tags,
                &cell.value,
            ),
        });
        text.push_str(&json(&cells.collect::<Vec<_>>()));
    }
}

/// The typed forms do not count the separator.
const fn position(column: usize) -> usize {
    if column > SEPARATOR {
        column - 1
    } else {
        column
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
