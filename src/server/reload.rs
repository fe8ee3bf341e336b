//! Another configuration for a node that runs: everything but what it was built on.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};

use cooee_config::{Loaded, Media, MediaMode, Node as Itself, Sip};
use cooee_signalling::profile::plan::Plan;
use cooee_signalling::switch::input::{Input, Revision};

use crate::error::Error;
use crate::node::{self, Node};
use crate::{names, outbox};

/// Most configurations that calls may be up by at a time.
const REVISIONS: usize = 16;

/// What a node was built on: sockets, files, names. A change of it needs a restart.
#[derive(Debug)]
pub(crate) struct Built {
    sip: Sip,
    media: Media,
    node: Itself,
    t1_ms: u32,
}

impl Built {
    pub(crate) fn of(loaded: &Loaded) -> Self {
        Self {
            sip: loaded.sip.clone(),
            media: loaded.media.clone(),
            node: loaded.node.clone(),
            t1_ms: loaded.plan.settings.t1_ms,
        }
    }

    /// The keys that differ and have no effect before a restart.
    fn differing(&self, loaded: &Loaded) -> Vec<&'static str> {
        let (sip, media, node) = (&loaded.sip, &loaded.media, &loaded.node);
        let pairs = [
            ("sip.bind", self.sip.binds == sip.binds && self.sip.tcp_binds == sip.tcp_binds),
            ("sip.advertise", self.sip.advertise == sip.advertise),
            ("sip.t1_ms", self.t1_ms == loaded.plan.settings.t1_ms),
            ("media.bind", self.media.bind == media.bind),
            ("media.advertise", self.media.advertise == media.advertise),
            ("media.ports", self.media.ports == media.ports),
            ("media.mode", self.media.mode == media.mode),
            ("media.dscp", self.media.dscp == media.dscp),
            ("media.busy_poll_us", self.media.busy_poll_us == media.busy_poll_us),
            ("node.id", self.node.id == node.id),
            ("node.data_dir", self.node.data_dir == node.data_dir),
            ("node.journal_dir", self.node.journal_dir == node.journal_dir),
        ];
        pairs.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).collect()
    }
}

/// What came of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// The number of the configuration that is in force now.
    pub revision: u32,
    /// Keys that have changed and have no effect before a restart.
    pub needs_restart: Vec<&'static str>,
}

impl Node {
    /// Works by another configuration from now on; when it returns, the engine does. Names are
    /// looked up first: it may take as long as they do.
    ///
    /// # Errors
    /// [`Error::Revisions`] while calls are up by too many older ones, [`Error::Busy`] where the
    /// engine takes nothing, and what the outbox says. The engine is changed last: an error means
    /// that calls go on as before.
    pub fn reload(&self, loaded: &Loaded) -> Result<Reloaded, Error> {
        let mut revisions = self.revisions.lock().unwrap_or_else(PoisonError::into_inner);
        revisions.retain(|plan| plan.strong_count() > 0);
        if revisions.len() >= REVISIONS {
            return Err(Error::Revisions { at_most: REVISIONS });
        }
        let old = self.plan.load_full();
        let mut plan = node::plan_of(loaded);
        plan.revision = old.revision + 1;
        plan.node.id.clone_from(&old.node.id);
        plan.settings.t1_ms = old.settings.t1_ms;
        plan.settings.media_bypass = self.built.media.mode == MediaMode::Bypass;
        let plan = Arc::new(plan);
        self.telemetry.know(&node::identity(loaded, &plan));
        let peers = names::look_up_all(&plan);
        self.change_outbox(loaded)?;
        let latch = node::latch_of(loaded);
        let revision = Revision { plan: Arc::clone(&plan), peers, latch };
        let taken = self.inbox.register(Input::Plan(Box::new(revision))).ok_or(Error::Busy)?;
        // An engine that ends meanwhile lets go of it too.
        let _ = taken.blocking_recv();
        revisions.push(Arc::downgrade(&plan));
        let number = plan.revision;
        self.plan.store(plan);
        self.telemetry.config.revision.store(number.into(), Ordering::Relaxed);
        Ok(Reloaded { revision: number, needs_restart: self.built.differing(loaded) })
    }

    /// Letters go to the webhooks of another configuration. What waits for one that is still there
    /// goes on; an attempt under way is made again, under its id.
    fn change_outbox(&self, loaded: &Loaded) -> Result<(), Error> {
        let telling = outbox::telling(&self.built.node.id, &loaded.webhooks);
        self.feed.change(telling, loaded.plan.caller_id.sticky_days);
        let mut outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        // One at a time: two would deliver everything twice.
        drop(outbox.take());
        *outbox =
            node::start_outbox(&self.built.node, &loaded.webhooks, &self.telemetry, &self.bell)?;
        Ok(())
    }
}

/// Configurations that calls are up by.
pub(crate) type Revisions = Vec<Weak<Plan>>;
