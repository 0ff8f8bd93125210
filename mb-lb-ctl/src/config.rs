//! Text to [`Config`], or all that is wrong with it, each with line, column and what to write instead.

mod model;

pub use model::*;
