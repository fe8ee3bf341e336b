//! The node itself: alive, ready, version, metrics, drain, and the page.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use cooee_model::command::Command;
use cooee_telemetry::exposition::CONTENT_TYPE;
use serde::Serialize;

use crate::answer::{Problem, aside};
use crate::{Admin, Refused};

const PAGE: &str = include_str!("page.html");

#[derive(Serialize)]
struct Health {
    alive: bool,
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    reasons: Vec<String>,
}

#[derive(Serialize)]
struct Version {
    name: &'static str,
    version: String,
    node: String,
    started_us: i64,
}

#[derive(Serialize)]
struct Ordered {
    ordered: &'static str,
}

pub(crate) async fn page() -> Html<&'static str> {
    Html(PAGE)
}

pub(crate) async fn health() -> Response {
    Json(Health { alive: true }).into_response()
}

pub(crate) async fn ready(State(admin): State<Admin>) -> Result<Response, Problem> {
    let reasons = aside(move || (admin.readiness)()).await?;
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(Ready { ready, reasons })).into_response())
}

pub(crate) async fn version(State(admin): State<Admin>) -> Response {
    let (identity, started) = (admin.telemetry.identity(), admin.telemetry.started());
    let version = Version {
        name: "cooee",
        version: identity.version.clone(),
        node: identity.node.clone(),
        started_us: started.wall_us_on(started),
    };
    Json(version).into_response()
}

pub(crate) async fn metrics(State(admin): State<Admin>) -> Result<Response, Problem> {
    let text = aside(move || admin.telemetry.exposition()).await?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

#[derive(Serialize)]
struct NotLoaded {
    error: String,
    hint: &'static str,
    findings: Vec<String>,
}

pub(crate) async fn reload(State(admin): State<Admin>) -> Result<Response, Problem> {
    Ok(match aside(move || (admin.reload)()).await? {
        Ok(reloaded) => Json(reloaded).into_response(),
        Err(refused) => not_loaded(refused),
    })
}

/// 422: the configuration is broken.
pub(crate) fn not_loaded(refused: Refused) -> Response {
    let hint = "the configuration before stays in force; cooee check shows where it is";
    let body = NotLoaded { error: refused.why, hint, findings: refused.findings };
    (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
}

pub(crate) async fn drain(State(admin): State<Admin>) -> Result<Response, Problem> {
    ordered(&admin, Command::Drain, "drain")
}

pub(crate) async fn undrain(State(admin): State<Admin>) -> Result<Response, Problem> {
    ordered(&admin, Command::Undrain, "undrain")
}

fn ordered(admin: &Admin, order: Command, name: &'static str) -> Result<Response, Problem> {
    if !(admin.commands)(order) {
        return Err(Problem::unavailable("the engine takes no orders now"));
    }
    Ok((StatusCode::ACCEPTED, Json(Ordered { ordered: name })).into_response())
}
