//! The listener for events of portals: `POST /hooks/bitrix24`, on a socket of its own.
//!
//! It may stand on a public address: whoever posts is believed by the portal's token alone, and
//! nothing that was posted is logged. The answer waits until the engine has the event in the
//! journal: the portal does not send twice.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use cooee_model::portal::{Heard, PortalEvent};
use cooee_model::sample::Sample;
use cooee_telemetry::Telemetry;
use cooee_telemetry::measure::Measure;
use cooee_telemetry::recorder::Recorder;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::Error;
use crate::answer::Problem;
use crate::bitrix24::{self, Said, Unreadable};
use crate::form::{Form, media_type};
use crate::guard::dressed;
use crate::limits::{BODY_MAX_BYTES, HOOK_COMMIT, HOOK_CONNECTIONS_MAX, HOOK_READ, HOOK_STALL};
use crate::serve::{Bounds, run};

pub use crate::bitrix24::Portal;

#[cfg(test)]
mod tests;

/// Done when the engine has the event in its journal, or has let go of it.
pub type Receipt = oneshot::Receiver<()>;

/// Hands an event to the engine; `None` where its queue is full.
pub type Events = Arc<dyn Fn(PortalEvent) -> Option<Receipt> + Send + Sync>;

/// The handles that the listener works with.
#[derive(Clone)]
pub struct Hooks {
    /// What is measured and counted.
    pub telemetry: Arc<Telemetry>,
    /// Who is believed, now.
    pub portals: Arc<ArcSwap<Vec<Portal>>>,
    /// Where events go.
    pub events: Events,
}

struct Taking {
    hooks: Hooks,
    stopwatch: Mutex<Recorder>,
}

/// Serves hooks until `shutdown` comes, then lets open requests end.
///
/// # Errors
/// [`Error::Socket`] where the listener failed.
pub async fn serve(
    listener: TcpListener,
    hooks: Hooks,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let bounds = Bounds { connections: HOOK_CONNECTIONS_MAX, stall: HOOK_STALL };
    let telemetry = Arc::clone(&hooks.telemetry);
    run(listener, router(hooks), telemetry, bounds, shutdown).await
}

/// The routes of the hooks' listener.
pub fn router(hooks: Hooks) -> Router {
    let stopwatch = Mutex::new(hooks.telemetry.recorder(Measure::Hook));
    Router::new()
        .route("/hooks/bitrix24", post(take))
        .fallback(|| async { Problem::not_found("no such path", "post to /hooks/bitrix24") })
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .layer(from_fn_with_state(Arc::clone(&hooks.telemetry), limited))
        .with_state(Arc::new(Taking { hooks, stopwatch }))
}

/// A request that is not read in time is given up, whatever drips in.
async fn limited(
    State(telemetry): State<Arc<Telemetry>>,
    request: Request,
    next: Next,
) -> Response {
    let answer = match timeout(HOOK_READ, next.run(request)).await {
        Ok(answer) => answer,
        Err(_) => {
            telemetry.hooks.heard(Heard::Malformed);
            StatusCode::REQUEST_TIMEOUT.into_response()
        }
    };
    dressed(answer)
}

async fn take(
    State(taking): State<Arc<Taking>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let read = Instant::now();
    let heard = |heard| taking.hooks.telemetry.hooks.heard(heard);
    let form = match form_of(&headers, body) {
        Ok(form) => form,
        Err(problem) => {
            heard(Heard::Malformed);
            return problem.into_response();
        }
    };
    let portals = taking.hooks.portals.load_full();
    let Some(portal) = bitrix24::sender(&form, &portals) else {
        heard(Heard::Forged);
        let hint = "the outbound webhook shows the token: application_token of [[portal]]";
        return Problem::new(StatusCode::FORBIDDEN, "no token of a portal", hint).into_response();
    };
    let answer = match bitrix24::read(&form, &portal.id) {
        Ok(Said::Event(event)) => match commit(&taking.hooks.events, event).await {
            true => StatusCode::OK.into_response(),
            false => {
                heard(Heard::Refused);
                Problem::unavailable("the engine takes no events now").into_response()
            }
        },
        Ok(Said::Other) => {
            heard(Heard::Ignored);
            StatusCode::OK.into_response()
        }
        Err(Unreadable(key)) => {
            heard(Heard::Malformed);
            let error = format!("{key} is missing, there twice, or cannot be read");
            let hint = "see the documentation of callbacks";
            Problem::new(StatusCode::BAD_REQUEST, error, hint).into_response()
        }
    };
    let span_ns = u64::try_from(read.elapsed().as_nanos()).unwrap_or(u64::MAX);
    taking.stopwatch.lock().unwrap_or_else(PoisonError::into_inner).record(span_ns);
    answer
}

fn form_of(headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Result<Form, Problem> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let kind = text(header::CONTENT_TYPE).unwrap_or_default();
    let encoded = text(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity");
    if media_type(kind) != "application/x-www-form-urlencoded" || encoded {
        let hint = "post application/x-www-form-urlencoded, not compressed";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "no plain form", hint));
    }
    let body = body.map_err(|rejection| Problem::of_status(rejection.status()))?;
    let too_many =
        |_| Problem::new(StatusCode::BAD_REQUEST, "too many fields", "send events alone");
    Form::read(&body).map_err(too_many)
}

/// Whether the engine has the event in its journal, in time.
async fn commit(events: &Events, event: PortalEvent) -> bool {
    match events(event) {
        // Let go of without a word: the engine has dealt with it.
        Some(receipt) => timeout(HOOK_COMMIT, receipt).await.is_ok(),
        None => false,
    }
}
