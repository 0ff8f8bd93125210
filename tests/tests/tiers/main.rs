//! Tiers: real databases, session stores and storage behind the director.

mod galera;
mod sentinel;
mod storage;
mod whole;
mod writers;
