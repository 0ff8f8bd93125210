//! Lines of the tree: which there are, and in which order.

use std::cmp::Reverse;

use crate::cli::state;
use crate::snapshot::{ServerView, ServiceView, Snapshot};

/// A service, or one of its servers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub service: String,
    pub server: Option<String>,
}

/// Of the servers of each service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// As in the configuration.
    #[default]
    File,
    /// Those that need attention first.
    Attention,
    Active,
    Rate,
}

impl Sort {
    pub const fn next(self) -> Self {
        match self {
            Self::File => Self::Attention,
            Self::Attention => Self::Active,
            Self::Active => Self::Rate,
            Self::Rate => Self::File,
        }
    }

    pub const fn words(self) -> &'static str {
        match self {
            Self::File => "as in the file",
            Self::Attention => "what needs attention first",
            Self::Active => "most active first",
            Self::Rate => "highest rate first",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Row<'s> {
    pub service: &'s ServiceView,
    pub server: Option<&'s ServerView>,
    /// It closes its service's tree.
    pub last: bool,
}

impl Row<'_> {
    pub fn place(&self) -> Place {
        Place {
            service: self.service.name.clone(),
            server: self.server.map(|server| server.name.clone()),
        }
    }

    pub fn is(&self, place: &Place) -> bool {
        self.service.name == place.service
            && self.server.map(|server| &server.name) == place.server.as_ref()
    }
}

/// `filter` is looked for in `SERVICE/SERVER`, addresses and states; a service is shown with its servers.
pub fn rows<'s>(snapshot: &'s Snapshot, filter: &str, sort: Sort) -> Vec<Row<'s>> {
    let filter = filter.to_lowercase();
    let mut rows = Vec::new();
    for service in &snapshot.services {
        let mut servers: Vec<_> = service
            .servers
            .iter()
            .filter(|server| is_meant(service, server, &filter))
            .collect();
        if servers.is_empty() && !service.name.to_lowercase().contains(&filter) {
            continue;
        }
        // All of these keep the file's order among equals.
        match sort {
            Sort::File => {}
            Sort::Attention => servers.sort_by_key(|server| state::is_plain(server)),
            Sort::Active => servers.sort_by_key(|server| Reverse(server.active)),
            Sort::Rate => servers.sort_by_key(|server| Reverse(server.rate)),
        }
        rows.push(Row {
            service,
            server: None,
            last: false,
        });
        let count = servers.len();
        rows.extend(servers.into_iter().enumerate().map(|(index, server)| Row {
            service,
            server: Some(server),
            last: index + 1 == count,
        }));
    }
    rows
}

fn is_meant(service: &ServiceView, server: &ServerView, filter: &str) -> bool {
    let address = server.address.map(|address| address.to_string());
    [
        state::full_name(&service.name, &server.name),
        state::word(server),
        address.unwrap_or_default(),
    ]
    .iter()
    .any(|text| text.to_lowercase().contains(filter))
}
