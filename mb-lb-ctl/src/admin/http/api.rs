//! `/api/v1/...`: what the command line prints with `-o json`.

use std::sync::Arc;

use http::StatusCode;
use serde_json::json;

use super::router::{Answer, aside, refuse, show};
use crate::admin::{AdminHandle, Request};
use crate::cli::list::{self, ListForm, ListWhat};
use crate::cli::style::Style;
use crate::command::native::{
    DEFAULT_EVENTS, DEFAULT_FLOWS, check_service, check_sync, check_tier,
};
use crate::snapshot::{JSON_VERSION, Snapshot};

/// Flows and events that are given at most, so that one request is not the whole table.
const MOST: usize = 10_000;

/// What stands behind the question mark.
#[derive(Debug, Default, PartialEq, Eq)]
struct Query {
    service: Option<String>,
    limit: Option<usize>,
}

impl Query {
    fn parse(text: &str) -> Result<Self, String> {
        let mut query = Self::default();
        for (key, value) in form_urlencoded::parse(text.as_bytes()) {
            match &*key {
                "service" => query.service = Some(value.into_owned()),
                "limit" => {
                    let limit = value
                        .parse()
                        .ok()
                        .filter(|limit| (1..=MOST).contains(limit));
                    let Some(limit) = limit else {
                        return Err(format!("limit is a whole number from 1 to {MOST}."));
                    };
                    query.limit = Some(limit);
                }
                _ => {
                    return Err(
                        "The query has service=NAME and limit=N, and nothing else.".to_owned()
                    );
                }
            }
        }
        Ok(query)
    }
}

pub(super) async fn answer(
    name: &str,
    query: Option<&str>,
    snapshot: Arc<Snapshot>,
    admin: &AdminHandle,
) -> Answer {
    let query = match Query::parse(query.unwrap_or_default()) {
        Ok(query) => query,
        Err(why) => return refuse(StatusCode::BAD_REQUEST, &why),
    };
    let what = match name {
        "status" => return aside(move || document(serde_json::to_string_pretty(&*snapshot))).await,
        "events" => return events(query.limit.unwrap_or(DEFAULT_EVENTS), admin).await,
        "services" => ListWhat::Services,
        "servers" => ListWhat::Servers,
        "flows" => ListWhat::Flows,
        "checks" => ListWhat::Checks,
        "vips" => ListWhat::Vips,
        "syncs" => ListWhat::Syncs,
        "tiers" => ListWhat::Tiers,
        _ => {
            let text =
                "There is status, services, servers, flows, checks, vips, events, syncs and tiers.";
            return refuse(StatusCode::NOT_FOUND, text);
        }
    };
    if let Some(name) = &query.service {
        let known = match what {
            ListWhat::Syncs => check_sync(&snapshot, name),
            ListWhat::Tiers => check_tier(&snapshot, name),
            ListWhat::Checks if check_tier(&snapshot, name).is_ok() => Ok(()),
            _ => check_service(&snapshot, name),
        };
        if let Err(why) = known {
            return refuse(StatusCode::NOT_FOUND, &why);
        }
    }
    let mut flows = Vec::new();
    if what == ListWhat::Flows {
        let (service, limit) = (query.service.clone(), query.limit.unwrap_or(DEFAULT_FLOWS));
        let request = |reply| Request::Flows {
            service,
            limit,
            reply,
        };
        match admin.ask(request).await {
            Ok(Ok(read)) => flows = read,
            Ok(Err(why)) | Err(why) => return refuse(StatusCode::SERVICE_UNAVAILABLE, &why),
        }
    }
    let render = move || {
        let view = list::View {
            what,
            form: ListForm::Json,
            service: query.service.as_deref(),
            style: Style {
                color: false,
                unicode: false,
            },
        };
        match list::render(&snapshot, &flows, &view) {
            Ok(text) => show(JSON, text),
            Err(failure) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &failure.to_string()),
        }
    };
    aside(render).await
}

async fn events(count: usize, admin: &AdminHandle) -> Answer {
    match admin.ask(|reply| Request::Events { after: 0, reply }).await {
        Ok(mut events) => {
            events.drain(..events.len().saturating_sub(count));
            document(serde_json::to_string_pretty(&json!({
                "version": JSON_VERSION,
                "events": events,
            })))
        }
        Err(why) => refuse(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

const JSON: &str = "application/json";

fn document(text: serde_json::Result<String>) -> Answer {
    match text {
        Ok(text) => show(JSON, text + "\n"),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_taken_at_their_word() {
        let query = |service: Option<&str>, limit| Query {
            service: service.map(str::to_owned),
            limit,
        };
        assert_eq!(Query::parse(""), Ok(query(None, None)));
        assert_eq!(
            Query::parse("service=smtp%5Fbackend&limit=7"),
            Ok(query(Some("smtp_backend"), Some(7)))
        );
        for bad in [
            "limit=0",
            "limit=10001",
            "limit=-1",
            "limit=",
            "x=1",
            "limit",
            "%",
        ] {
            assert!(Query::parse(bad).is_err(), "{bad}");
        }
    }
}
