//! `/v1/calls`: the calls that are up, the last that ended, and the order to hang up. A call that
//! has left the table is told from the database, as by `/v1/cdr/{id}`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use cooee_model::command::Command;
use cooee_telemetry::live::LiveCall;
use serde::Serialize;

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
