//! `/v1/outbox`: the letters to webhooks, and the orders to try them again or to drop them.
//!
//! An order changes the database; the node sees it when it next looks for what is due.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use cooee_store::error::StoreError;
use cooee_store::outbox::{Letter, OutboxFilter, Which};
use cooee_store::store::Store;
use serde::{Deserialize, Serialize};

use crate::Admin;
use crate::answer::{Problem, aside, call_id};
use crate::cdr::ask;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    webhook: Option<String>,
    state: Option<String>,
    call: Option<String>,
    limit: Option<u32>,
    cursor: Option<i64>,
}

type AskedQuery = Result<Query<Asked>, QueryRejection>;

#[derive(Serialize)]
struct List {
    rows: Vec<Letter>,
    next: Option<i64>,
}

#[derive(Serialize)]
struct Done {
    done: &'static str,
    letters: u64,
}

/// What can be done to letters.
#[derive(Clone, Copy)]
enum Order {
    Retry,
    Drop,
}

pub(crate) async fn list(
    State(admin): State<Admin>,
    query: AskedQuery,
) -> Result<Response, Problem> {
    let filter = filter_of(query)?;
    let page = ask(admin, move |store| store.outbox(&filter)).await?;
    Ok(Json(List { rows: page.rows, next: page.next }).into_response())
}

pub(crate) async fn show(
    State(admin): State<Admin>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = letter_id(&id)?;
    let letter = ask(admin, move |store| store.letter(id)).await?;
    Ok(Json(letter.ok_or_else(no_letter)?).into_response())
}

pub(crate) async fn retry(
    State(admin): State<Admin>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    one(admin, Order::Retry, &id).await
}

pub(crate) async fn drop(
    State(admin): State<Admin>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    one(admin, Order::Drop, &id).await
}

pub(crate) async fn retry_all(
    State(admin): State<Admin>,
    query: AskedQuery,
) -> Result<Response, Problem> {
    all(admin, Order::Retry, query).await
}

pub(crate) async fn drop_all(
    State(admin): State<Admin>,
    query: AskedQuery,
) -> Result<Response, Problem> {
    all(admin, Order::Drop, query).await
}

async fn one(admin: Admin, order: Order, id: &str) -> Result<Response, Problem> {
    let done = carry_out(admin, order, Which::One(letter_id(id)?)).await?;
    if done.letters == 0 {
        return Err(no_letter());
    }
    Ok(Json(done).into_response())
}

/// An order for many names what it means: none without a filter.
async fn all(admin: Admin, order: Order, query: AskedQuery) -> Result<Response, Problem> {
    let filter = filter_of(query)?;
    let OutboxFilter { webhook, state, call, limit, cursor } = &filter;
    if *limit != 0 || cursor.is_some() {
        return Err(refused("an order is about all letters that pass: no limit, no cursor"));
    }
    if webhook.is_none() && state.is_none() && call.is_none() {
        return Err(refused("an order for many needs webhook, state or call"));
    }
    Ok(Json(carry_out(admin, order, Which::All(filter)).await?).into_response())
}

async fn carry_out(admin: Admin, order: Order, which: Which) -> Result<Done, Problem> {
    change(admin, move |store| {
        Ok(match order {
            Order::Retry => Done { done: "retry", letters: store.outbox_retry(&which)? },
            Order::Drop => Done { done: "drop", letters: store.outbox_drop(&which)? },
        })
    })
    .await
}

/// Changes the database.
pub(crate) async fn change<T: Send + 'static>(
    admin: Admin,
    work: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Problem> {
    let Some(path) = admin.store else {
        return Err(Problem::unavailable("this node keeps no database"));
    };
    let done = aside(move || work(&mut Store::open_beside(&path)?)).await?;
    done.map_err(|error| Problem::unavailable(error.to_string()))
}

fn letter_id(text: &str) -> Result<i64, Problem> {
    text.parse().map_err(|_| no_letter())
}

fn no_letter() -> Problem {
    let hint =
        "GET /v1/outbox lists them; what is delivered is not sent again and leaves by itself";
    Problem::not_found("no such letter", hint)
}

fn refused(error: impl Into<String>) -> Problem {
    let hint =
        "parameters: webhook, state (waiting, delivered, dead), call; limit, cursor of lists";
    Problem::new(StatusCode::BAD_REQUEST, error, hint)
}

fn filter_of(query: AskedQuery) -> Result<OutboxFilter, Problem> {
    let Query(asked) = query.map_err(|error| refused(error.body_text()))?;
    let state = asked.state.map(|text| text.parse()).transpose();
    let call = asked.call.as_deref().map(call_id).transpose();
    Ok(OutboxFilter {
        webhook: asked.webhook,
        state: state.map_err(|error: cooee_store::outbox::NotAState| refused(error.to_string()))?,
        call: call.map_err(|_| refused("`call` is no id of a call"))?,
        limit: asked.limit.unwrap_or_default(),
        cursor: asked.cursor,
    })
}
