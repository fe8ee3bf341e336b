//! `/v1/calls`: the calls that are up, the last that ended, and the order to hang up. A call that
//! has left the table is told from the database, as by `/v1/cdr/{id}`.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use cooee_model::command::Command;
use cooee_model::ids::Side;
use cooee_telemetry::live::LiveCall;
use serde::{Deserialize, Serialize};

use crate::answer::{Problem, aside, call_id};
use crate::{Admin, cdr};

#[derive(Serialize)]
struct List {
    up: Vec<LiveCall>,
    recent: Vec<LiveCall>,
}

#[derive(Serialize)]
struct Ordered {
    ordered: &'static str,
    id: String,
}

pub(crate) async fn list(State(admin): State<Admin>) -> Result<Response, Problem> {
    let calls = move || {
        let live = &admin.telemetry.live;
        List { up: live.up(), recent: live.recent() }
    };
    Ok(Json(aside(calls).await?).into_response())
}

pub(crate) async fn show(
    State(admin): State<Admin>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = call_id(&id)?;
    match admin.telemetry.live.get(id) {
        Some(call) => Ok(Json(call).into_response()),
        None if admin.store.is_some() => cdr::stored(admin, id).await,
        None => Err(Problem::not_found("no such call", "GET /v1/calls lists those that are up")),
    }
}

/// Where a call is to go on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Transfer {
    /// A `sip:` URI, or a user at the leg's own host.
    target: String,
    /// Which leg is asked, `a` or `b`; none: that of the customer.
    #[serde(default)]
    leg: Option<String>,
}

/// `POST /v1/calls/{id}/transfer`: what comes of it is told by `GET /v1/calls/{id}`.
pub(crate) async fn transfer(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    body: Result<Json<Transfer>, JsonRejection>,
) -> Result<Response, Problem> {
    let hint = r#"a body as {"target": "sip:201@pbx.example.com", "leg": "a"}"#;
    let wrong = |what: String| Problem::new(StatusCode::BAD_REQUEST, what, hint);
    let Json(asked) = body.map_err(|error| wrong(error.body_text()))?;
    let side = match asked.leg.as_deref() {
        None => None,
        Some("a" | "A") => Some(Side::A),
        Some("b" | "B") => Some(Side::B),
        Some(other) => return Err(wrong(format!("`{other}` is no leg: a or b"))),
    };
    let call = call_id(&id)?;
    let Some(live) = admin.telemetry.live.get(call).filter(|live| live.ended_us.is_none()) else {
        return Err(Problem::not_found("no such call is up", "GET /v1/calls lists those that are"));
    };
    if live.transfer.is_some_and(|transfer| transfer.state == "asked") {
        let hint = "GET /v1/calls/{id} says what comes of it";
        return Err(Problem::new(StatusCode::CONFLICT, "a transfer is under way", hint));
    }
    if !(admin.commands)(Command::Transfer { call, side, target: asked.target }) {
        return Err(Problem::unavailable("the engine takes no orders now"));
    }
    let ordered = Ordered { ordered: "transfer", id: call.to_string() };
    Ok((StatusCode::ACCEPTED, Json(ordered)).into_response())
}

pub(crate) async fn hang_up(
    State(admin): State<Admin>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let call = call_id(&id)?;
    if !admin.telemetry.live.is_up(call) {
        return Err(Problem::not_found("no such call is up", "GET /v1/calls lists those that are"));
    }
    if !(admin.commands)(Command::Hangup { call }) {
        return Err(Problem::unavailable("the engine takes no orders now"));
    }
    let ordered = Ordered { ordered: "hangup", id: call.to_string() };
    Ok((StatusCode::ACCEPTED, Json(ordered)).into_response())
}
