//! `/v1/calls`: the calls that are up, the last that ended, and the order to hang up.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use cooee_model::command::Command;
use cooee_model::ids::CallId;
use cooee_telemetry::live::LiveCall;
use serde::Serialize;

use crate::Admin;
use crate::answer::{Problem, aside};

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
    let id = id_of(&id)?;
    let call = admin.telemetry.live.get(id);
    let call = call.ok_or_else(|| {
        Problem::not_found("no such call", "it is neither up nor among the last that ended")
    })?;
    Ok(Json(call).into_response())
}

pub(crate) async fn hang_up(
    State(admin): State<Admin>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let call = id_of(&id)?;
    if !admin.telemetry.live.is_up(call) {
        return Err(Problem::not_found("no such call is up", "GET /v1/calls lists those that are"));
    }
    if !(admin.commands)(Command::Hangup { call }) {
        return Err(Problem::unavailable("the engine takes no orders now"));
    }
    let ordered = Ordered { ordered: "hangup", id: call.to_string() };
    Ok((StatusCode::ACCEPTED, Json(ordered)).into_response())
}

fn id_of(text: &str) -> Result<CallId, Problem> {
    text.parse().map_err(|error: cooee_model::ids::NotACallId| {
        Problem::not_found("no such call", error.to_string())
    })
}
