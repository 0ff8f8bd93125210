//! The command lines of the manual, the runbook and the README: every one of ours is understood, and every one is run, here or by
//! another test; `table.rs` lists the few that are not, with reasons.

mod lines;
mod parse;
mod run;
mod table;
