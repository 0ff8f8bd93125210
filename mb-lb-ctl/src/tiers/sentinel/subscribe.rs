//! What Sentinels publish: a reason to ask all of them at once, and no more than that. Messages can be lost.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use redis::RedisConnectionInfo;
use redis::aio::PubSub;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::Trouble;
use super::line::{Access, Budget, connect};
use crate::tiers::secret;
use std::net::SocketAddr;

const EVENTS: [&str; 7] = [
    "+switch-master",
    "+sdown",
    "+odown",
    "+promoted-slave",
    "+config-update-from",
    "+tilt",
    "-tilt",
];

/// From a subscription that ended, or could not be had, to the next attempt.
const AGAIN: Duration = Duration::from_secs(1);

/// Subscribes to one Sentinel, again and again, until it is aborted.
pub(super) async fn subscribe(
    address: SocketAddr,
    access: Access,
    limit: Duration,
    heard: Arc<Notify>,
) {
    loop {
        // Why it cannot be had, the questions of the rounds say as well.
        match timeout(limit, begin(address, &access)).await {
            Ok(Ok((subscription, budget))) => listen(subscription, &budget, &heard).await,
            Ok(Err(trouble)) => tracing::debug!(%address, %trouble, "no subscription"),
            Err(_) => tracing::debug!(%address, "no subscription in time"),
        }
        sleep(AGAIN).await;
    }
}

async fn begin(address: SocketAddr, access: &Access) -> Result<(PubSub, Budget), Trouble> {
    let (stream, budget) = connect(address, access.tls.as_ref()).await?;
    let mut info = RedisConnectionInfo::default().set_skip_set_lib_name();
    if let Some(password) = &access.password {
        let password =
            secret::read(password).map_err(|error| Trouble::Secret(error.to_string()))?;
        info = info.set_password(password);
        if let Some(user) = &access.user {
            info = info.set_username(user);
        }
    }
    let broken = |error| super::line::explain(&error, &budget);
    let mut subscription = PubSub::new(&info, stream).await.map_err(broken)?;
    subscription.psubscribe(&EVENTS[..]).await.map_err(broken)?;
    Ok((subscription, budget))
}

async fn listen(mut subscription: PubSub, budget: &Budget, heard: &Notify) {
    let mut messages = subscription.on_message();
    // Between two messages there may be no more bytes than in one reply, so that they do not pile up unseen.
    budget.renew();
    while messages.next().await.is_some() {
        budget.renew();
        heard.notify_one();
    }
}
