//! `/v1/cdr`: finished calls, from the database.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cooee_model::ids::CallId;
use cooee_records::cdr::{Cdr, Leg, Media, Sample};
use cooee_records::shown::instant;
use cooee_store::error::StoreError;
use cooee_store::query::{Cursor, Filter};
use cooee_store::store::Store;
use serde::{Deserialize, Serialize};

use crate::Admin;
use crate::answer::{Problem, aside, call_id};
use crate::limits::CSV_ROWS_MAX;

/// Where a CSV that was cut goes on.
const NEXT: HeaderName = HeaderName::from_static("cooee-next");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    from: Option<String>,
    to: Option<String>,
    customer: Option<String>,
    did: Option<String>,
    outcome: Option<String>,
    trunk: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

type AskedQuery = Result<Query<Asked>, QueryRejection>;

#[derive(Serialize)]
struct List {
    rows: Vec<Cdr>,
    next: Option<String>,
}

#[derive(Serialize)]
struct Whole {
    cdr: Cdr,
    legs: Vec<Leg>,
    media: Vec<Media>,
    quality: Vec<Sample>,
}

pub(crate) async fn list(
    State(admin): State<Admin>,
    query: AskedQuery,
) -> Result<Response, Problem> {
    let filter = filter_of(&admin, query)?;
    let page = ask(admin, move |store| store.list(&filter)).await?;
    let next = page.next.map(|cursor| cursor.to_string());
    Ok(Json(List { rows: page.rows, next }).into_response())
}

pub(crate) async fn show(
    State(admin): State<Admin>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    stored(admin, call_id(&id)?).await
}

/// A call as the database has it.
pub(crate) async fn stored(admin: Admin, call: CallId) -> Result<Response, Problem> {
    let found = ask(admin, move |store| store.show(call)).await?;
    let hint = "a call is here from a moment after its end; GET /v1/calls lists those that are up";
    let call = found.ok_or_else(|| Problem::not_found("no such call", hint))?;
    let cooee_store::query::Call { cdr, legs, media, quality } = call;
    Ok(Json(Whole { cdr, legs, media, quality }).into_response())
}

pub(crate) async fn csv(
    State(admin): State<Admin>,
    query: AskedQuery,
) -> Result<Response, Problem> {
    let filter = filter_of(&admin, query)?;
    let (rows, next) = ask(admin, move |store| rows_of(store, filter)).await?;
    let text = aside(move || text_of(&rows)).await?;
    let text = text.map_err(|error| Problem::unavailable(error.to_string()))?;
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"cdr.csv\""),
    ];
    let mut response = (headers, text).into_response();
    if let Some(Ok(next)) = next.map(|cursor| HeaderValue::from_str(&cursor.to_string())) {
        response.headers_mut().insert(NEXT, next);
    }
    Ok(response)
}

/// Pages of calls up to the limit of one file, or to the limit that was asked for.
fn rows_of(store: &Store, mut filter: Filter) -> Result<(Vec<Cdr>, Option<Cursor>), StoreError> {
    let most = match usize::try_from(filter.limit).unwrap_or(CSV_ROWS_MAX) {
        0 => CSV_ROWS_MAX,
        asked => asked.min(CSV_ROWS_MAX),
    };
    let mut rows = Vec::new();
    loop {
        filter.limit = u32::try_from(most - rows.len()).unwrap_or(u32::MAX);
        let page = store.list(&filter)?;
        rows.extend(page.rows);
        if page.next.is_none() || rows.len() >= most {
            return Ok((rows, page.next));
        }
        filter.cursor = page.next;
    }
}

/// The header is there even where no call is.
fn text_of(rows: &[Cdr]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    let mut titles = csv::WriterBuilder::new().from_writer(Vec::new());
    titles.serialize(Cdr::default())?;
    let titles = titles.into_inner().map_err(|error| error.into_error())?;
    for row in rows {
        writer.serialize(row)?;
    }
    let body = writer.into_inner().map_err(|error| error.into_error())?;
    let head = titles.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok([head, &body].concat())
}

/// Asks the database.
pub(crate) async fn ask<T: Send + 'static>(
    admin: Admin,
    question: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Problem> {
    let Some(path) = admin.store else {
        return Err(Problem::unavailable("this node keeps no database"));
    };
    let answer = aside(move || question(&Store::open_read_only(&path)?)).await?;
    answer.map_err(|error| Problem::unavailable(error.to_string()))
}

fn filter_of(admin: &Admin, query: AskedQuery) -> Result<Filter, Problem> {
    let refused = |error: String| {
        let hint = "parameters: from, to (1h, 7d, 2026-01-31, 2026-01-31T08:00:00Z), customer, \
                    did, outcome, trunk, limit, cursor";
        Problem::new(StatusCode::BAD_REQUEST, error, hint)
    };
    let Query(asked) = query.map_err(|error| refused(error.body_text()))?;
    let now = admin.telemetry.latency.last_tick();
    let moment = |text: Option<String>| {
        let read = |text: String| instant(&text, now.wall_us_on(now));
        text.map(read).transpose().map_err(|error| refused(error.to_string()))
    };
    let cursor = asked.cursor.map(|text| text.parse()).transpose();
    Ok(Filter {
        from_us: moment(asked.from)?,
        to_us: moment(asked.to)?,
        customer: asked.customer,
        did: asked.did,
        outcome: asked.outcome,
        trunk: asked.trunk,
        cursor: cursor
            .map_err(|error: cooee_store::query::NotACursor| refused(error.to_string()))?,
        limit: asked.limit.unwrap_or_default(),
    })
}
