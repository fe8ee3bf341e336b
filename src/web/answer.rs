//! What the endpoints share: the shape of an error, ids in paths, work off the async threads.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use cooee_model::ids::{CallId, NotACallId};
use serde::Serialize;

/// An error as the API tells it.
#[derive(Debug, Serialize)]
pub struct Problem {
    #[serde(skip)]
    status: StatusCode,
    /// What is wrong.
    error: String,
    /// What to do about it.
    hint: String,
}

impl Problem {
    /// An error with this status.
    pub fn new(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status, error: error.into(), hint: hint.into() }
    }

    /// 404.
    pub fn not_found(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error, hint)
    }

    /// 503: the node cannot do it now.
    pub fn unavailable(error: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error, "try again in a moment")
    }

    /// What a status says where whoever chose it gave no JSON.
    pub fn of_status(status: StatusCode) -> Self {
        let hint = match status {
            StatusCode::METHOD_NOT_ALLOWED => "the Allow header names the methods of this path",
            StatusCode::BAD_REQUEST => "check the query and the path for bad escapes",
            _ => "see the documentation of the admin API",
        };
        let reason = status.canonical_reason().unwrap_or("error").to_lowercase();
        Self::new(status, reason, hint)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = (status, Json(self)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let scheme = header::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

/// Does work that may take milliseconds where it keeps no other task waiting.
///
/// # Errors
/// 503 where the work broke off.
pub(crate) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Problem::unavailable("the answer could not be made"))
}

/// The call that a path names.
///
/// # Errors
/// 404 where the text is no call id: nothing can be there.
pub(crate) fn call_id(text: &str) -> Result<CallId, Problem> {
    text.parse().map_err(|error: NotACallId| Problem::not_found("no such call", error.to_string()))
}
