//! `/v1/latency`: histograms as JSON and as files.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use cooee_telemetry::latency::Summary;
use cooee_telemetry::measure::{Measure, Window};
use serde::{Deserialize, Serialize};

use crate::Admin;
use crate::answer::{Problem, aside};

#[derive(Deserialize)]
pub(crate) struct Asked {
    window: Option<String>,
    name: Option<String>,
}

type AskedQuery = Result<Query<Asked>, QueryRejection>;

#[derive(Serialize)]
struct List {
    window: &'static str,
    histograms: Vec<Summary>,
}

#[derive(Serialize)]
struct Reset {
    reset: Vec<&'static str>,
}

pub(crate) async fn list(
    State(admin): State<Admin>,
    query: AskedQuery,
) -> Result<Response, Problem> {
    let window = window_of(asked(query)?.window)?;
    let summarise = move || {
        let latency = &admin.telemetry.latency;
        let histograms = Measure::ALL.map(|measure| latency.summary(measure, window)).into();
        List { window: window.name(), histograms }
    };
    Ok(Json(aside(summarise).await?).into_response())
}

pub(crate) async fn show(
    State(admin): State<Admin>,
    Path(file): Path<String>,
    query: AskedQuery,
) -> Result<Response, Problem> {
    let window = window_of(asked(query)?.window)?;
    let (name, format) = match file.split_once('.') {
        Some((name, format)) => (name.to_owned(), Some(format.to_owned())),
        None => (file.clone(), None),
    };
    let measure = measure_of(&name)?;
    aside(move || {
        let latency = &admin.telemetry.latency;
        let text = match format.as_deref() {
            None => return Ok(Json(latency.summary(measure, window)).into_response()),
            Some("hgrm") => ("text/plain; charset=utf-8", latency.hgrm(measure, window)),
            Some("csv") => ("text/csv; charset=utf-8", latency.csv(measure, window)),
            Some("hlog") => {
                let log = latency.hlog(measure, window);
                let log = log.map_err(|error| Problem::unavailable(error.to_string()))?;
                ("text/plain; charset=utf-8", log)
            }
            Some(_) => {
                return Err(Problem::not_found("no such format", "one of .hgrm, .hlog, .csv"));
            }
        };
        let (kind, body) = text;
        let saved_as = format!("attachment; filename=\"{file}\"");
        let headers =
            [(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, saved_as.as_str())];
        Ok((headers, body).into_response())
    })
    .await?
}

pub(crate) async fn reset(
    State(admin): State<Admin>,
    query: AskedQuery,
) -> Result<Response, Problem> {
    let only = asked(query)?.name.map(|name| measure_of(&name)).transpose()?;
    aside(move || admin.telemetry.latency.reset(only)).await?;
    let all = Measure::ALL.into_iter();
    let reset = all.filter(|measure| only.is_none_or(|only| only == *measure));
    Ok(Json(Reset { reset: reset.map(Measure::name).collect() }).into_response())
}

fn asked(query: AskedQuery) -> Result<Asked, Problem> {
    let told = |error: QueryRejection| {
        let hint = "parameters here: window, and name for a reset";
        Problem::new(StatusCode::BAD_REQUEST, error.body_text(), hint)
    };
    query.map(|Query(asked)| asked).map_err(told)
}

fn window_of(asked: Option<String>) -> Result<Window, Problem> {
    let Some(text) = asked else { return Ok(Window::All) };
    let hint = format!("one of {}", Window::ALL.map(Window::name).join(", "));
    text.parse().map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "no such window", hint))
}

fn measure_of(name: &str) -> Result<Measure, Problem> {
    let hint = || format!("one of {}", Measure::ALL.map(Measure::name).join(", "));
    name.parse().map_err(|_| Problem::not_found("no such histogram", hint()))
}
