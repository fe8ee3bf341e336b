//! Another configuration for a node that runs: everything but what it was built on.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use cooee_config::{Loaded, MediaMode};
use cooee_signalling::profile::fence::Fence;
use cooee_signalling::profile::plan::{Plan, Trunk};
use cooee_signalling::switch::input::{Input, Revision};
use secrecy::{ExposeSecret, SecretString};

use crate::error::Error;
use crate::node::{self, Node};
use crate::outbox;

/// Most configurations that calls may be up by at a time.
const REVISIONS: usize = 16;

/// What came of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// The number of the configuration that is in force now.
    pub revision: u32,
    /// Keys that have changed and have no effect before a restart.
    pub needs_restart: Vec<&'static str>,
    /// Trunks whose secrets are others than before.
    pub secrets: Vec<String>,
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
        let peers = self.names.look(&plan, &loaded.sip.nameservers);
        self.change_outbox(loaded)?;
        let latch = node::latch_of(loaded);
        let revision = Revision { plan: Arc::clone(&plan), peers, latch };
        let taken = self.inbox.register(Input::Plan(Box::new(revision))).ok_or(Error::Busy)?;
        // An engine that ends meanwhile lets go of it too.
        let _ = taken.blocking_recv();
        let secrets = changed_secrets(&old, &plan);
        revisions.push(Arc::downgrade(&plan));
        self.names.serve(&plan);
        let number = plan.revision;
        self.plan.store(plan);
        self.telemetry.config.revision.store(number.into(), Ordering::Relaxed);
        let needs_restart = self.built.differing(loaded);
        Ok(Reloaded { revision: number, needs_restart, secrets })
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

/// Trunks of both plans that prove themselves, or are proven to us, by other secrets than before.
fn changed_secrets(old: &Plan, new: &Plan) -> Vec<String> {
    let differs = |trunk: &&Trunk| {
        old.trunk(&trunk.name).is_some_and(|before| !secrets(before).eq(secrets(trunk)))
    };
    new.trunks.iter().filter(differs).map(|trunk| trunk.name.clone()).collect()
}

fn secrets(trunk: &Trunk) -> impl Iterator<Item = &str> {
    let fence: Vec<&SecretString> = match &trunk.fence {
        Fence::Digest(digest) => digest.users.iter().map(|(_, secret)| secret).collect(),
        Fence::Header(header) => vec![&header.value],
        Fence::Address | Fence::Identity(_) => Vec::new(),
    };
    let lines = trunk.registrations.iter().map(|line| &line.secret);
    trunk.secret.iter().chain(lines).chain(fence).map(ExposeSecret::expose_secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cooee_signalling::profile::fence::HeaderFence;

    #[test]
    fn a_trunk_with_another_secret_is_named() {
        let trunk = |name: &str, secret: &str, header: &str| Trunk {
            name: name.to_owned(),
            secret: Some(SecretString::from(secret)),
            fence: Fence::Header(HeaderFence {
                name: "X-Key".to_owned(),
                value: SecretString::from(header),
            }),
            ..Trunk::default()
        };
        let around = cooee_config::secrets::Surroundings::new(".".as_ref(), |_| None);
        let text = include_str!("../cli/demo/cooee.toml")
            .replace("NET", "127.0.0")
            .replace("ADMIN", "127.0.0.1:8060")
            .replace("SECRET", "0123456789abcdef");
        let loaded = || cooee_config::load_str(&text, "cooee.toml", &around).unwrap().plan;
        let plan = |trunks: Vec<Trunk>| Plan { trunks, ..loaded() };
        let old = plan(vec![trunk("a", "1", "k"), trunk("b", "1", "k"), trunk("c", "1", "k")]);
        let both = [trunk("c", "1", "k"), trunk("a", "2", "k"), trunk("b", "1", "l")];
        let new = plan([both.as_slice(), &[trunk("d", "9", "k")]].concat());
        assert_eq!(changed_secrets(&old, &new), ["a", "b"]);
        assert!(changed_secrets(&new, &new).is_empty());
    }
}
