//! The command lines of the manual, the runbook and the README: every one is understood, and every one is run.

mod lines;
mod parse;
mod run;
mod table;
