//! Another configuration for a node at work, by SIGHUP or the admin API; and `cooee reload`, which
//! asks for it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;
use cooee_config::Loaded;
use cooee_config::finding::Findings;
use cooee_server::node::Node;
use cooee_web::hooks::Portal;
use cooee_web::{Auth, Refused, Reloaded};

/// Reads the configuration again.
pub type Source = Box<dyn Fn() -> Result<Loaded, Findings> + Send + Sync>;

/// What a reload works on: the node, and what the listeners ask at each request.
pub struct Reloader {
    source: Source,
    node: Weak<Node>,
    /// Where it listens, and whether it takes hooks: a change needs a restart.
    listens: Listens,
    /// Who may ask the admin API.
    pub auth: Arc<ArcSwap<Auth>>,
    /// Which portals are believed.
    pub portals: Arc<ArcSwap<Vec<Portal>>>,
    /// One at a time.
    turn: Mutex<()>,
}

type Listens = (std::net::SocketAddr, Option<std::net::SocketAddr>, bool);

impl Reloader {
    /// For a node that has started by `loaded`.
    pub fn new(loaded: &Loaded, source: Source, node: &Arc<Node>) -> Self {
        Self {
            source,
            node: Arc::downgrade(node),
            listens: listens(loaded),
            auth: Arc::new(ArcSwap::from_pointee(auth(loaded))),
            portals: Arc::new(ArcSwap::from_pointee(portals(loaded))),
            turn: Mutex::new(()),
        }
    }

    /// Reads the configuration and puts it in force. Blocks while names are looked up.
    ///
    /// # Errors
    /// All that is wrong with it; the one before stays in force.
    pub fn reload(&self) -> Result<Reloaded, Refused> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(node) = self.node.upgrade() else {
            return Err(Refused { why: "the node is ending".to_owned(), ..Refused::default() });
        };
        let came = self.put_in_force(&node);
        let counts = &node.telemetry().config;
        match &came {
            Ok(reloaded) => {
                counts.loaded.fetch_add(1, Ordering::Relaxed);
                let needs_restart = reloaded.needs_restart.join(" ");
                tracing::info!(
                    revision = reloaded.revision,
                    needs_restart,
                    "configuration reloaded"
                );
            }
            Err(refused) => {
                counts.refused.fetch_add(1, Ordering::Relaxed);
                tracing::error!(why = refused.why, "reload refused: nothing has changed");
                refused.findings.iter().for_each(|finding| tracing::error!("{finding}"));
            }
        }
        came
    }

    fn put_in_force(&self, node: &Node) -> Result<Reloaded, Refused> {
        let loaded = (self.source)().map_err(|findings| Refused {
            why: "the configuration is broken".to_owned(),
            findings: findings.to_string().lines().map(str::to_owned).collect(),
        })?;
        let done = node.reload(&loaded);
        let done = done.map_err(|e| Refused { why: e.to_string(), findings: Vec::new() })?;
        self.auth.store(Arc::new(auth(&loaded)));
        self.portals.store(Arc::new(portals(&loaded)));
        let mut needs_restart: Vec<String> =
            done.needs_restart.into_iter().map(str::to_owned).collect();
        let (admin, hooks, taken) = listens(&loaded);
        if admin != self.listens.0 {
            needs_restart.push("admin.bind".to_owned());
        }
        if (hooks, taken) != (self.listens.1, self.listens.2) {
            needs_restart.push("admin.hooks_bind".to_owned());
        }
        let notes = loaded.notes.iter().map(ToString::to_string).collect();
        Ok(Reloaded { revision: done.revision, notes, needs_restart, secrets: done.secrets })
    }
}

fn listens(loaded: &Loaded) -> Listens {
    (loaded.admin.bind, loaded.admin.hooks_bind, !loaded.portals.is_empty())
}

fn auth(loaded: &Loaded) -> Auth {
    loaded.admin.token.clone().map_or(Auth::None, Auth::Token)
}

fn portals(loaded: &Loaded) -> Vec<Portal> {
    let portal = |portal: &cooee_config::PortalAccess| Portal {
        id: portal.id.clone(),
        application_token: portal.application_token.clone(),
        member_id: portal.member_id.clone(),
    };
    loaded.portals.iter().map(portal).collect()
}
