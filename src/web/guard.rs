//! What every request passes first: origin, token, size, time; and what every answer gets.

use std::hint::black_box;
use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;

use crate::answer::Problem;
use crate::limits::{ANSWER, BODY_MAX_BYTES};
use crate::{Admin, Auth};

/// Paths that say nothing secret: probes bring no token, and the page must load to ask for one.
const OPEN: [&str; 3] = ["/", "/healthz", "/readyz"];

/// The page loads nothing from elsewhere and may not be framed.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; \
     style-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'";

pub(crate) async fn guard(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let admitted = admit(&admin.auth.load(), &request);
    let answer = match admitted {
        Err(problem) => problem.into_response(),
        Ok(()) => match timeout(ANSWER, next.run(request)).await {
            Ok(answer) => answer,
            Err(_) => Problem::unavailable("the answer took too long").into_response(),
        },
    };
    let answer = dressed(answer);
    admin.telemetry.admin.answered(answer.status().as_u16());
    answer
}

fn admit(auth: &Auth, request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    same_origin(request.method(), headers)?;
    match auth {
        // A page from elsewhere may point a name of its own at this machine; it cannot fake the
        // host that it asked for.
        Auth::None if !asks_for_loopback(headers) => {
            let hint = "ask for localhost or 127.0.0.1, or set a token";
            return Err(Problem::new(StatusCode::FORBIDDEN, "not the host of this API", hint));
        }
        Auth::Token(token) if !OPEN.contains(&request.uri().path()) && !brings(headers, token) => {
            let hint = "send the header Authorization: Bearer <token of [admin]>";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "no valid token", hint));
        }
        Auth::None | Auth::Token(_) => {}
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if length.and_then(|text| text.parse::<usize>().ok()).is_some_and(|n| n > BODY_MAX_BYTES) {
        let hint = format!("at most {BODY_MAX_BYTES} bytes");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large", hint));
    }
    Ok(())
}

/// A browser names the page that a request comes from: orders are taken from our own page alone.
fn same_origin(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if method.is_safe() || !headers.contains_key(header::ORIGIN) {
        return Ok(());
    }
    let origin = text(header::ORIGIN).and_then(|origin| Some(origin.split_once("://")?.1));
    if origin.is_some() && origin == text(header::HOST) {
        return Ok(());
    }
    let hint = "orders from a browser are taken from the API's own page";
    Err(Problem::new(StatusCode::FORBIDDEN, "the request comes from another site", hint))
}

fn asks_for_loopback(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let host = host.and_then(|host| host.parse::<axum::http::uri::Authority>().ok());
    host.is_some_and(|authority| {
        let name = authority.host();
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|ip| ip.is_loopback())
    })
}

fn brings(headers: &HeaderMap, token: &SecretString) -> bool {
    let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    let Some((scheme, given)) = given.split_at_checked("Bearer ".len()) else { return false };
    scheme.eq_ignore_ascii_case(b"Bearer ") && same(given, token.expose_secret().as_bytes())
}

/// Compares in a time that depends on the lengths alone. An empty secret matches nothing.
pub(crate) fn same(given: &[u8], secret: &[u8]) -> bool {
    let difference = given.iter().zip(secret).fold(0, |all, (a, b)| black_box(all | (a ^ b)));
    !secret.is_empty() && given.len() == secret.len() && difference == 0
}

/// Errors become JSON wherever they arose; no answer is cached, sniffed or framed.
pub(crate) fn dressed(answer: Response) -> Response {
    let (status, is_error) = (answer.status(), answer.status().as_u16() >= 400);
    let json = HeaderValue::from_static("application/json");
    let mut answer = match answer.headers().get(header::CONTENT_TYPE) {
        Some(kind) if kind == json => answer,
        _ if is_error => {
            let allow = answer.headers().get(header::ALLOW).cloned();
            let mut told = Problem::of_status(status).into_response();
            if let Some(allow) = allow {
                told.headers_mut().insert(header::ALLOW, allow);
            }
            told
        }
        _ => answer,
    };
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
    ] {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}
