//! Webhooks are delivered here: by a thread of its own that no call ever waits for.
//!
//! Letters are made by the feed, from the journal, and lie in the database until their receiver has
//! answered with a 2xx. The thread looks for what is due, sends it (`post.rs`), and writes down
//! what came of it (`desk.rs`). It may stop at any instant: what was not written down is sent
//! again, the same bytes under the same id.

mod desk;
mod post;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use cooee_config::Webhook;
use cooee_model::sample::Sample;
use cooee_records::webhook::{Subscription, Telling};
use cooee_store::store::Store;
use tokio::sync::Notify;

use crate::error::Error;
use desk::{Desk, Line};
use post::{Post, Target};

/// One webhook in figures. Totals are since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Its name.
    pub webhook: String,
    /// Letters that wait, those under way among them.
    pub waiting: u64,
    /// Dead letters.
    pub dead: u64,
    /// Age of the oldest that waits, seconds; 0: none does.
    pub oldest_s: u64,
    /// Letters delivered.
    pub delivered: u64,
    /// Attempts answered with anything but a 2xx.
    pub failed_status: u64,
    /// Attempts that were not answered in time.
    pub failed_timeout: u64,
    /// Attempts that reached nobody: name, connection, TLS, no HTTP.
    pub failed_transport: u64,
    /// Calls for which something is under way.
    pub in_flight: u64,
    /// The receiver is taken for away: one attempt at a time, with pauses.
    pub paused: bool,
}

/// Lets any thread read the [`Figures`].
#[derive(Clone, Debug)]
pub struct Meter(Arc<Shared>);

impl Meter {
    /// The figures of each webhook that is configured, as of the last second.
    pub fn read(&self) -> Vec<Figures> {
        self.0.figures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Debug, Default)]
struct Shared {
    bell: Arc<Notify>,
    stop: AtomicBool,
    figures: Mutex<Vec<Figures>>,
}

/// The running delivery; dropped, it stops.
#[derive(Debug)]
pub struct Outbox {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Outbox {
    /// Starts to deliver what the database at `store` holds for `webhooks`; it must be there
    /// already. `delay` takes the span from each event to its delivery; `bell` says that there are
    /// more letters, and outlives it.
    ///
    /// # Errors
    /// [`Error::Webhook`] for one that cannot be used, [`Error::Store`], [`Error::System`].
    pub fn start(
        store: &Path,
        webhooks: &[Webhook],
        delay: Box<dyn Sample>,
        bell: &Arc<Notify>,
    ) -> Result<Self, Error> {
        let store = Store::open_beside(store)?;
        let post = Post::new(webhooks.iter().any(|webhook| webhook.url.starts_with("https:")))?;
        Self::begin(store, webhooks, post, delay, bell)
    }

    fn begin(
        store: Store,
        webhooks: &[Webhook],
        post: Post,
        delay: Box<dyn Sample>,
        bell: &Arc<Notify>,
    ) -> Result<Self, Error> {
        let lines = webhooks
            .iter()
            .map(|webhook| Ok(Line::new(webhook, Target::new(webhook)?)))
            .collect::<Result<Vec<_>, Error>>()?;
        let shared = Arc::new(Shared { bell: Arc::clone(bell), ..Shared::default() });
        let mut desk = Desk::new(store, post, lines, Arc::clone(&shared), delay);
        desk.publish();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = Builder::new().name("outbox".into()).spawn(move || {
            runtime.block_on(desk.run());
            // A look-up of a name that hangs must not hold up the end.
            runtime.shutdown_background();
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// For others to read the figures.
    pub fn meter(&self) -> Meter {
        Meter(Arc::clone(&self.shared))
    }

    /// Ends it; attempts that are under way are given up, their letters wait for the next start.
    pub fn stop(self) {}
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.bell.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(name = "outbox", "a thread ended by a fault");
        }
    }
}

/// Who is told what on `node`: for the store that the feed writes to.
pub fn telling(node: &str, webhooks: &[Webhook]) -> Telling {
    let wants = |webhook: &Webhook| Subscription::new(&webhook.name, &webhook.events);
    Telling { node: node.to_owned(), webhooks: webhooks.iter().map(wants).collect() }
}
