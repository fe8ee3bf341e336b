//! The node between the simulators, started as `cooee run` starts it.

use std::sync::Arc;
use std::time::Duration;

use cooee_config::Loaded;
use cooee_server::error::Error;
use cooee_server::node::Node;
use cooee_signalling::switch::input::Input;
use cooee_web::hooks::{Hooks, Portal};
use cooee_web::{Admin, Auth};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub(super) struct Running {
    node: Arc<Node>,
    tick: tokio::task::JoinHandle<()>,
}

pub(super) async fn start(loaded: &Loaded) -> Result<Running, Error> {
    let address = loaded.admin.bind;
    let named = |source| Error::Admin { address, source };
    let listener = TcpListener::bind(address).await.map_err(named)?;
    let hooks =
        TcpListener::bind(loaded.admin.hooks_bind.unwrap_or(address)).await.map_err(named)?;
    let node = Arc::new(Node::start(loaded)?);
    let orders = node.inbox().clone();
    let admin = Admin {
        telemetry: Arc::clone(node.telemetry()),
        commands: Arc::new(move |command| orders.push(Input::Command(command))),
        readiness: Arc::new(node.readiness()),
        store: Some(loaded.node.data_dir.join(cooee_store::store::FILE)),
        auth: Auth::None,
    };
    tokio::spawn(cooee_web::serve::serve(listener, admin, std::future::pending()));
    let orders = node.inbox().clone();
    let portals = loaded.portals.iter();
    let hooked = Hooks {
        telemetry: Arc::clone(node.telemetry()),
        portals: portals
            .map(|p| Portal {
                id: p.id.clone(),
                application_token: p.application_token.clone(),
                member_id: p.member_id.clone(),
            })
            .collect(),
        events: Arc::new(move |event| {
            let (done, receipt) = oneshot::channel();
            let _ = done.send(());
            orders.push(Input::Portal(event)).then_some(receipt)
        }),
    };
    tokio::spawn(cooee_web::hooks::serve(hooks, hooked, std::future::pending()));
    let ticked = Arc::clone(&node);
    let tick = tokio::spawn(async move {
        loop {
            ticked.tick();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    Ok(Running { node, tick })
}

impl Running {
    pub(super) async fn stop(self) {
        self.tick.abort();
        let _ = self.tick.await;
        if let Some(node) = Arc::into_inner(self.node) {
            tokio::task::block_in_place(|| node.stop());
        }
    }
}
