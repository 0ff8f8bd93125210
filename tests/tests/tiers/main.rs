//! Tiers: real databases, session stores and storage behind the director.

mod galera;
mod sentinel;
