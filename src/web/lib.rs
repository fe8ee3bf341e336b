//! Admin HTTP API and its one page: reads telemetry and the store, passes orders to the engine.
//!
//! | path | what |
//! |---|---|
//! | `GET /` | the page: percentiles, calls, counters |
//! | `GET /healthz`, `/readyz` | alive; ready, or 503 with the reasons (no token needed) |
//! | `GET /metrics` | OpenMetrics text |
//! | `GET /v1/version` | what runs here |
//! | `GET /v1/latency[?window=1m\|5m\|1h\|all]` | every histogram |
//! | `GET /v1/latency/{name}[.hgrm\|.hlog\|.csv]` | one histogram, as JSON or as a file |
//! | `POST /v1/latency/reset[?name=]` | forget one histogram, or all |
//! | `GET /v1/calls`, `/v1/calls/{id}` | calls that are up, and the last that ended |
//! | `GET /v1/cdr[?from,to,customer,did,outcome,trunk,limit,cursor]` | finished calls, newest first |
//! | `GET /v1/cdr.csv` | the same as a file, at most [`limits::CSV_ROWS_MAX`] rows |
//! | `GET /v1/cdr/{id}` | one finished call with its legs and media |
//! | `GET /v1/outbox[?webhook,state,call,limit,cursor]` | letters to webhooks, newest first |
//! | `GET /v1/outbox/{id}` | one letter with its body |
//! | `POST /v1/outbox/{id}/retry`, `/drop` | try it again now; delete it |
//! | `POST /v1/outbox/retry`, `/drop` `?webhook,state,call` | the same for all that pass |
//! | `DELETE /v1/calls/{id}` | hang up: 202, the engine does it |
//! | `POST /v1/calls/{id}/transfer` `{target, leg}` | ask a leg to go on with somebody else: 202 |
//! | `GET /v1/trunks` | how each trunk stands, with its addresses |
//! | `POST /v1/trunks/{name}/enable`, `/drain`, `/disable` `[?cut=true]` | what it may do: 202 |
//! | `POST /v1/trunks/{name}/ping` | ask each address now: 200 with what they say |
//! | `POST /v1/trunks/{name}/rotate-secret` | reload for the trunk's new secret: 200, or 409 |
//! | `POST /v1/drain` | take no new calls: 202 |
//! | `DELETE /v1/drain` | take new calls again: 202 |
//! | `POST /v1/reload` | read the configuration again: 200, or 422 with all that is wrong |
//!
//! On a listener of its own ([`hooks`]): `POST /hooks/bitrix24`, the events of portals.
//!
//! Every error is JSON: `{"error": what is wrong, "hint": what to do}`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use cooee_model::command::Command;
use cooee_telemetry::Telemetry;
use secrecy::SecretString;
use serde::Serialize;

use crate::answer::Problem;

pub mod answer;
mod bitrix24;
mod calls;
mod cdr;
mod form;
mod guard;
pub mod hooks;
mod latency;
pub mod limits;
mod node;
mod outbox;
pub mod serve;
#[cfg(test)]
mod trial;
mod trunks;

/// Why the API could not be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address can be reached from elsewhere and nothing keeps strangers out.
    #[error("{0} is not loopback: the admin API needs auth = \"token\" there")]
    Unguarded(SocketAddr),
    /// The socket failed.
    #[error("the HTTP socket failed: {0}")]
    Socket(#[from] std::io::Error),
}

/// Who may ask.
#[derive(Clone, Debug)]
pub enum Auth {
    /// Anyone on this machine; refused on any address but loopback.
    None,
    /// Whoever brings this as `Authorization: Bearer`.
    Token(SecretString),
}

/// Passes an order to the engine; false where its queue is full.
pub type Commands = Arc<dyn Fn(Command) -> bool + Send + Sync>;

/// Says what the node still lacks to take calls; empty: ready.
pub type Readiness = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// The handles that the API works with.
#[derive(Clone)]
pub struct Admin {
    /// What is measured and counted.
    pub telemetry: Arc<Telemetry>,
    /// Orders to the engine.
    pub commands: Commands,
    /// Whether the node takes calls.
    pub readiness: Readiness,
    /// The database, opened to read for each question; `None`: there is none to ask.
    pub store: Option<PathBuf>,
    /// Who may ask, now.
    pub auth: Arc<ArcSwap<Auth>>,
    /// Reads the configuration again.
    pub reload: Reload,
}

/// Reads the configuration again and puts it in force; blocks while it does.
pub type Reload = Arc<dyn Fn() -> Result<Reloaded, Refused> + Send + Sync>;

/// What came of a reload.
#[derive(Clone, Debug, Serialize)]
pub struct Reloaded {
    /// The number of the configuration that is in force now.
    pub revision: u32,
    /// What is worth knowing of it, as `cooee check` says it.
    pub notes: Vec<String>,
    /// Keys that have changed and have no effect before a restart.
    pub needs_restart: Vec<String>,
    /// Trunks whose secrets are others than before.
    pub secrets: Vec<String>,
}

/// Why the configuration before stays in force.
#[derive(Clone, Debug, Default)]
pub struct Refused {
    /// In a line.
    pub why: String,
    /// All that is wrong with the file, as `cooee check` says it.
    pub findings: Vec<String>,
}

/// The routes of the API, with its guards around them.
pub fn router(admin: Admin) -> Router {
    Router::new()
        .route("/", get(node::page))
        .route("/healthz", get(node::health))
        .route("/readyz", get(node::ready))
        .route("/metrics", get(node::metrics))
        .route("/v1/version", get(node::version))
        .route("/v1/drain", post(node::drain).delete(node::undrain))
        .route("/v1/reload", post(node::reload))
        .route("/v1/trunks", get(trunks::list))
        .route("/v1/trunks/{name}/ping", post(trunks::ping))
        .route("/v1/trunks/{name}/rotate-secret", post(trunks::rotate_secret))
        .route("/v1/trunks/{name}/{order}", post(trunks::tell))
        .route("/v1/latency", get(latency::list))
        .route("/v1/latency/reset", post(latency::reset))
        .route("/v1/latency/{name}", get(latency::show))
        .route("/v1/cdr", get(cdr::list))
        .route("/v1/cdr.csv", get(cdr::csv))
        .route("/v1/cdr/{id}", get(cdr::show))
        .route("/v1/outbox", get(outbox::list))
        .route("/v1/outbox/retry", post(outbox::retry_all))
        .route("/v1/outbox/drop", post(outbox::drop_all))
        .route("/v1/outbox/{id}", get(outbox::show))
        .route("/v1/outbox/{id}/retry", post(outbox::retry))
        .route("/v1/outbox/{id}/drop", post(outbox::drop))
        .route("/v1/calls", get(calls::list))
        .route("/v1/calls/{id}", get(calls::show).delete(calls::hang_up))
        .route("/v1/calls/{id}/transfer", post(calls::transfer))
        .fallback(|| async { Problem::not_found("no such path", "GET / shows what there is") })
        .layer(DefaultBodyLimit::max(limits::BODY_MAX_BYTES))
        .layer(from_fn_with_state(admin.clone(), guard::guard))
        .with_state(admin)
}
