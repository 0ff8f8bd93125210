//! How the process ends. Clients of the proxies go first, while the addresses are still here; then these are handed over, or
//! they stay for the process that takes this one's place.

use std::pin::Pin;

use tokio::sync::oneshot;

use super::{Director, resume};
use crate::vrrp::clock::clock;

/// How far it is.
#[derive(Default)]
pub(super) struct Ending {
    /// It is to be replaced: everything stays, and the next process goes on with it.
    stays: bool,
    /// Clients of the proxies are asked to go.
    draining: Option<Pin<Box<dyn Future<Output = ()>>>>,
    /// The addresses are being handed over.
    leaving: Option<oneshot::Receiver<()>>,
}

/// What is over.
pub(super) enum Step {
    Drained,
    Left,
}

impl Ending {
    pub(super) const fn has_begun(&self) -> bool {
        self.draining.is_some() || self.leaving.is_some()
    }

    /// Never where it has not begun. Can be dropped at any time.
    pub(super) async fn next(&mut self) -> Step {
        let step = if let Some(draining) = &mut self.draining {
            draining.await;
            Step::Drained
        } else if let Some(leaving) = &mut self.leaving {
            // An error is the routers' thread gone, with them.
            drop(leaving.await);
            Step::Left
        } else {
            std::future::pending().await
        };
        match step {
            Step::Drained => self.draining = None,
            Step::Left => self.leaving = None,
        }
        step
    }
}

impl Director {
    /// Told to stop. True: there is nothing to wait for.
    pub(super) fn stop(&mut self) -> bool {
        // It was to be replaced, and goes on asking clients to go.
        let was_replaced = std::mem::take(&mut self.ending.stays);
        if self.ending.draining.is_some() && was_replaced {
            return false;
        }
        // For a second time: whoever is still there is not waited for.
        if self.ending.has_begun() {
            self.ending.draining = None;
            return self.leave();
        }
        self.ending.draining = Some(Box::pin(self.proxying.drain()));
        false
    }

    /// Told that another process takes its place.
    pub(super) fn replace(&mut self) {
        self.ending.stays = true;
        self.ending.draining = Some(Box::pin(self.proxying.drain()));
    }

    /// Clients have gone, or have had their time. True: there is nothing else to wait for.
    pub(super) fn drained(&mut self) -> bool {
        self.ending.stays || self.leave()
    }

    /// Hands the addresses over. True: there are none, or it is asked for a second time.
    fn leave(&mut self) -> bool {
        if self.ending.leaving.is_some() || !self.engine.has_routers() {
            return true;
        }
        self.manager.stopping();
        self.ending.leaving = Some(self.routers.leave("stopped"));
        false
    }

    /// The last things.
    pub(super) async fn end(self) {
        self.manager.stopping();
        self.hooks.finish().await;
        let stays = self.ending.stays;
        self.proxying.close(stays).await;
        if stays {
            // Behind all else, because the word is good for a moment only. Adverts went on until now.
            let active = self.routers.active().await;
            if let Err(error) = resume::save(&self.options.state_dir, active, clock()) {
                tracing::warn!(%error, "the next process has no word of the virtual routers");
            }
        }
        tracing::info!(
            "stopped; the data plane goes on without the controller (mb-lb-ctl detach removes it)"
        );
    }
}
