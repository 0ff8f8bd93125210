//! The import as a whole.

mod golden;
mod properties;
