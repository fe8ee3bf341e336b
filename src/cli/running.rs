//! A node with everything around it: admin API, hooks, the tick; joined here and nowhere else.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cooee_config::Loaded;
use cooee_server::error::Error;
use cooee_server::node::Node;
use cooee_signalling::switch::input::Input;
use cooee_web::Admin;
use cooee_web::hooks::Hooks;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, block_in_place};
use tokio::time::{MissedTickBehavior, interval};

use super::reload::{Reloader, Source};

/// A node at work. Needs a runtime of several threads.
pub struct Running {
    node: Arc<Node>,
    reloader: Arc<Reloader>,
    hooks: Option<SocketAddr>,
    stopping: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    /// Starts everything that a configuration asks for. The listeners come first: what is in use
    /// is told before anything is touched. `source` reads the configuration again, for a reload.
    ///
    /// # Errors
    /// What could not be had, and why.
    pub async fn start(loaded: &Loaded, source: Source) -> Result<Self, Error> {
        let admin_at = bind(loaded.admin.bind, |address, source| Error::Admin { address, source });
        let admin_at = admin_at.await?;
        let hooks_on = loaded.admin.hooks_bind.filter(|_| !loaded.portals.is_empty());
        let hooks_at = match hooks_on {
            Some(at) => Some(bind(at, |address, source| Error::Hooks { address, source }).await?),
            None => None,
        };
        let node = Arc::new(block_in_place(|| Node::start(loaded))?);
        let reloader = Arc::new(Reloader::new(loaded, source, &node));
        let (stopping, stopped) = watch::channel(false);
        let until = |mut stopped: watch::Receiver<bool>| async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let mut tasks = Vec::new();
        let admin = cooee_web::serve::serve(
            admin_at,
            admin(loaded, &node, &reloader),
            until(stopped.clone()),
        );
        tasks.push(tokio::spawn(served("the admin API", admin)));
        if let Some(at) = hooks_at {
            let hooks =
                cooee_web::hooks::serve(at, hooks(&node, &reloader), until(stopped.clone()));
            tasks.push(tokio::spawn(served("the hooks listener", hooks)));
        }
        tasks.push(tokio::spawn(tick(Arc::clone(&node), until(stopped))));
        Ok(Self { node, reloader, hooks: hooks_on, stopping, tasks })
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Reads the configuration again and puts it in force; what came of it is in the log.
    pub async fn reload(&self) {
        let reloader = Arc::clone(&self.reloader);
        // Names are looked up: that may take seconds.
        let _ = tokio::task::spawn_blocking(move || reloader.reload()).await;
    }

    /// Where events of portals are taken, if anywhere.
    pub const fn hooks(&self) -> Option<SocketAddr> {
        self.hooks
    }

    /// Ends the listeners, then the node.
    pub async fn stop(self) {
        self.stopping.send_replace(true);
        for task in self.tasks {
            let _ = task.await;
        }
        drop(self.reloader);
        if let Some(node) = Arc::into_inner(self.node) {
            block_in_place(|| node.stop());
        }
    }
}

async fn bind(
    at: SocketAddr,
    named: impl FnOnce(SocketAddr, std::io::Error) -> Error,
) -> Result<TcpListener, Error> {
    TcpListener::bind(at).await.map_err(|source| named(at, source))
}

async fn served(what: &str, serving: impl Future<Output = Result<(), cooee_web::Error>>) {
    if let Err(error) = serving.await {
        tracing::error!(%error, "{what} has ended");
    }
}

/// Once a second the windows move on.
async fn tick(node: Arc<Node>, until: impl Future<Output = ()>) {
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Skip);
    tokio::pin!(until);
    loop {
        tokio::select! {
            _ = second.tick() => node.tick(),
            () = &mut until => return,
        }
    }
}

fn admin(loaded: &Loaded, node: &Node, reloader: &Arc<Reloader>) -> Admin {
    let orders = node.inbox().clone();
    let again = Arc::clone(reloader);
    Admin {
        telemetry: Arc::clone(node.telemetry()),
        commands: Arc::new(move |command| orders.push(Input::Command(command))),
        readiness: Arc::new(node.readiness()),
        store: Some(loaded.node.data_dir.join(cooee_store::store::FILE)),
        auth: Arc::clone(&reloader.auth),
        reload: Arc::new(move || again.reload()),
    }
}

fn hooks(node: &Node, reloader: &Reloader) -> Hooks {
    let engine = node.inbox().clone();
    Hooks {
        telemetry: Arc::clone(node.telemetry()),
        portals: Arc::clone(&reloader.portals),
        events: Arc::new(move |event| engine.register(Input::Portal(event))),
    }
}
