//! `failover`: the addresses go to the peer, politely.

use std::time::Instant;

use crate::cli::args::{Failover, Global};
use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{emit, say};
use crate::command::line::quote;

pub fn run(global: &Global, args: &Failover) -> Result<Exit, Failure> {
    let client = Client::changing(global);
    let mut request = "mb-lb failover".to_owned();
    if let Some(instance) = &args.instance {
        request.push(' ');
        request.push_str(&quote(instance));
    }
    say("asking for a hand-over: this director goes on serving until the peer is heard");
    let begun = Instant::now();
    let message = client
        .tell(&request)
        .map_err(|failure| match failure.exit {
            Exit::TimedOut => failure.next("look at the other director: mb-lb-ctl status there"),
            // Nobody to ask has a next step of its own.
            _ if failure.next.is_empty() => failure.next("mb-lb-ctl status"),
            _ => failure,
        })?;
    emit(&format!(
        "{message} (after {} ms)\n",
        begun.elapsed().as_millis()
    ))?;
    say("undo: mb-lb-ctl failover on the other director");
    Ok(Exit::Ok)
}
