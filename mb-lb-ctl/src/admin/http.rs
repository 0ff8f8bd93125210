//! The page, its API, and metrics, by HTTP.
//!
//! ```text
//!   Web::configure --watch<Option<Site>>--> serve(): binds, and tries again every second while it cannot
//!   Web::problem <---watch<Option<String>>---'  |
//!                                               |--accept--> connection task (one each, at most MAX_CONNECTIONS)
//!                                               |               |  reads snapshots from the watch, events and flows by request
//!                                               |               |  router.rs: who may what; renders page, lists, metrics
//!                                               |               '--changes: Request --mpsc--> the controller's task
//!                                               '----------> refusal task (at most MAX_REFUSALS): too many connections
//!   sample() --watch<History>--> page
//! ```
//!
//! One request on each connection, and each step of it has its time (`listener.rs`), so that who is slow takes a place
//! for some seconds and nothing else. What is shown is made by functions from a snapshot to a `String`; only the thin
//! layer round them does I/O.

mod api;
mod budget;
mod form;
mod history;
mod listener;
mod login;
pub mod metrics;
mod origin;
pub mod page;
mod router;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::AdminHandle;
use crate::config::{AdminHttp, Config};
use crate::proxy::Trouble;
use crate::tiers::secret;

pub use form::{Outcome, read as read_form};
pub use history::{History, KEPT, STEP};
pub use listener::{DEADLINE, HEADER_TIMEOUT, MAX_CONNECTIONS, MAX_HEADER};
pub use login::Account;
pub use origin::check as check_origin;
pub use router::MAX_BODY;

/// What is to be served, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Site {
    listen: SocketAddr,
    account: Option<Account>,
}

/// What a connection needs.
#[derive(Clone, Debug)]
struct Context {
    admin: AdminHandle,
    account: Option<Arc<Account>>,
    history: watch::Receiver<History>,
    age: Age,
}

/// The uptime that the engine would say now, if it still does anything.
#[derive(Clone, Copy, Debug)]
struct Age {
    began: Instant,
    uptime: u64,
}

/// The controller's hold on the listener, which ends with it.
#[derive(Debug)]
pub struct Web {
    site: watch::Sender<Option<Site>>,
    trouble: watch::Receiver<Option<String>>,
    /// As the configuration in force wants it.
    wanted: Option<AdminHttp>,
    /// Its password cannot be read.
    unreadable: Option<String>,
}

impl Web {
    /// Needs a tokio runtime.
    pub fn spawn(admin: AdminHandle) -> Self {
        let (site, wanted) = watch::channel(None);
        let (told, trouble) = watch::channel(None);
        let (sampled, history) = watch::channel(History::default());
        tokio::spawn(sample(admin.snapshot.clone(), sampled));
        let uptime = admin.snapshot.borrow().uptime;
        let context = Context {
            admin,
            account: None,
            history,
            age: Age {
                began: Instant::now(),
                uptime,
            },
        };
        tokio::spawn(listener::serve(wanted, told, context));
        Self {
            site,
            trouble,
            wanted: None,
            unreadable: None,
        }
    }

    /// Reads the password again, and serves what the configuration says: `None` is no page. Without a password that can be read there is no
    /// page at all.
    pub fn configure(&mut self, wanted: Option<AdminHttp>) {
        self.wanted = wanted;
        self.read();
    }

    fn read(&mut self) {
        let site = self.wanted.as_ref().map(site).transpose();
        self.unreadable = site.as_ref().err().cloned();
        let site = site.unwrap_or_default();
        self.site.send_if_modified(|before| {
            let differs = *before != site;
            *before = site;
            differs
        });
    }

    /// What cannot be served, and why. Tries again, where it is a password.
    pub fn problem(&mut self) -> Option<(String, Trouble)> {
        if self.unreadable.is_some() {
            self.read();
        }
        let listen = self.wanted.as_ref()?.listen;
        let trouble = self.trouble.borrow().clone();
        let why = self.unreadable.clone().or(trouble)?;
        Some((
            format!("admin.http {listen}"),
            Trouble::Limited(format!("{why}; page, API and metrics are not served")),
        ))
    }
}

impl Age {
    fn now(self) -> u64 {
        self.uptime + self.began.elapsed().as_secs()
    }
}

/// Whether the password can be read.
///
/// # Errors
/// Why it cannot.
pub fn check(config: &Config) -> Result<(), String> {
    config
        .admin
        .http
        .as_ref()
        .map_or(Ok(()), |http| site(http).map(drop))
}

fn site(http: &AdminHttp) -> Result<Site, String> {
    let account = http.login.as_ref().map(|login| {
        let password = secret::read(&login.password)
            .map_err(|error| format!("the password of admin.user cannot be read: {error}"))?;
        Ok::<_, String>(Account::new(&login.user, &password))
    });
    Ok(Site {
        listen: http.listen,
        account: account.transpose()?,
    })
}

/// Remembers how many flows come, for the page.
async fn sample(
    snapshot: watch::Receiver<Arc<crate::snapshot::Snapshot>>,
    history: watch::Sender<History>,
) {
    let mut tick = tokio::time::interval(STEP);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last = Instant::now();
    while !history.is_closed() {
        tick.tick().await;
        let now = Instant::now();
        let snapshot = snapshot.borrow().clone();
        history.send_modify(|history| history.sample(&snapshot, now - last));
        last = now;
    }
}
