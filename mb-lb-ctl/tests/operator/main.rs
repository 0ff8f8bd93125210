//! What an operator meets: the admin socket's language, its framing, the screens, and the program with its exit codes.

mod daemon;
mod fixtures;
mod framing;
mod grammar;
mod program;
mod screens;
mod stat;
mod web;
