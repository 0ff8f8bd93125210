//! `events`: changes of state, a line each.

use serde::Serialize;

use crate::cli::args::{Events, Global, TextOrJson};
use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::format::timestamp;
use crate::cli::output::{emit, json, say, style_of_stdout};
use crate::cli::style::Style;
use crate::snapshot::{EventView, JSON_VERSION};

pub fn run(global: &Global, args: &Events) -> Result<Exit, Failure> {
    let client = Client::new(global);
    let style = style_of_stdout(global.color);
    if args.follow {
        follow(&client, args, style)?;
        return Err(Failure::new(
            Exit::Unreachable,
            "the daemon has closed the connection; later events are not shown",
        )
        .next("systemctl status mb-lb, then mb-lb-ctl events -f"));
    }
    let (_, events): (Exit, Vec<EventView>) =
        client.ask(&format!("mb-lb events {}", args.lines))?;
    emit(&match args.output {
        TextOrJson::Text => events.iter().map(|event| line(event, style)).collect(),
        TextOrJson::Json => json(&serde_json::json!({
            "version": JSON_VERSION,
            "events": events,
        }))?,
    })?;
    Ok(Exit::Ok)
}

fn follow(client: &Client, args: &Events, style: Style) -> Result<(), Failure> {
    /// One line of `-f -o json`.
    #[derive(Serialize)]
    struct Versioned<'e> {
        version: u32,
        #[serde(flatten)]
        event: &'e EventView,
    }

    client.follow(&format!("mb-lb events follow {}", args.lines), |reply| {
        if reply.code != Exit::Ok {
            return Err(Failure::new(reply.code, reply.message));
        }
        let event: EventView = match reply.data {
            Some(event) => event,
            None => {
                say(&reply.message);
                return Ok(());
            }
        };
        emit(&match args.output {
            TextOrJson::Text => line(&event, style),
            TextOrJson::Json => {
                let versioned = Versioned {
                    version: JSON_VERSION,
                    event: &event,
                };
                serde_json::to_string(&versioned)
                    .map_err(|error| Failure::failed(format!("cannot write JSON: {error}")))?
                    + "\n"
            }
        })
    })
}

/// Time, subject, kind and text.
pub fn line(event: &EventView, style: Style) -> String {
    let kind = format!("{:<7}", event.kind);
    let kind = match event.kind.as_str() {
        "down" | "drift" => style.bad(&kind),
        "up" | "ready" => style.good(&kind),
        "drain" | "maint" => style.odd(&kind),
        _ => kind,
    };
    let subject = if event.subject.is_empty() {
        "director"
    } else {
        &event.subject
    };
    let line = format!(
        "{}  {kind}  {subject}  {}",
        style.faint(&timestamp(event.time_ms)),
        event.text
    );
    format!("{}\n", line.trim_end())
}
