//! One attempt to deliver: a signed POST, and what came of it.
//!
//! Signed as Standard Webhooks say: HMAC-SHA256 over id, second and body. No redirect is followed,
//! no proxy is used, and of an answer's body no more is read than leaves the connection usable.

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cooee_config::Webhook;
use cooee_records::outbox::{Answer, retry_after};
use hmac::{Hmac, Mac as _};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, Uri, header};
use hyper_rustls::builderstates::WantsSchemes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};
use secrecy::ExposeSecret as _;
use sha2::Sha256;

use crate::clock;
use crate::error::Error;

/// How much of an answer's body is read, and for how long, so that its connection can be used
/// again; past it the connection is closed.
const BODY: (usize, Duration) = (16 << 10, Duration::from_secs(1));

/// How long a connection is kept for the next letter: less than most servers keep it, so that none
/// is used at the moment at which its server closes it.
const IDLE: Duration = Duration::from_secs(4);

/// The longest text of a failure that is kept.
const ERROR_CHARS: usize = 200;

/// Where letters go, and what they are signed with.
pub(super) struct Target {
    pub(super) uri: Uri,
    key: Vec<u8>,
    timeout: Duration,
}

impl fmt::Debug for Target {
    /// Neither key nor address: an address may carry a secret too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("host", &self.uri.host()).finish_non_exhaustive()
    }
}

impl Target {
    pub(super) fn new(webhook: &Webhook) -> Result<Self, Error> {
        let wrong = |why: &str| Error::Webhook { name: webhook.name.clone(), why: why.to_owned() };
        let uri: Uri = webhook.url.parse().map_err(|_| wrong("its url cannot be read"))?;
        if uri.host().is_none() || !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(wrong("its url is neither http nor https"));
        }
        let secret = webhook.secret.expose_secret();
        let key = match secret.strip_prefix("whsec_") {
            Some(text) => STANDARD.decode(text).map_err(|_| wrong("its secret is not base64"))?,
            None => secret.as_bytes().to_vec(),
        };
        Ok(Self { uri, key, timeout: Duration::from_millis(webhook.timeout_ms.into()) })
    }

    /// `webhook-signature` for these.
    pub(super) fn signature(&self, id: &str, unix_s: i64, body: &str) -> String {
        // HMAC takes a key of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return String::new() };
        for part in [id, ".", &unix_s.to_string(), ".", body] {
            mac.update(part.as_bytes());
        }
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }

    fn request(&self, id: &str, body: &str) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let unix_s = clock::now().wall.div_euclid(1_000_000_000);
        Request::post(self.uri.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("cooee/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", id)
            .header("webhook-timestamp", unix_s)
            .header("webhook-signature", self.signature(id, unix_s, body))
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
    }
}

/// What came of an attempt.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) answer: Answer,
    /// Why it failed, for people.
    pub(super) error: Option<String>,
    /// The rest of the answer.
    pub(super) rest: Option<Response<Incoming>>,
}

/// Sends; keeps connections for the next letter.
#[derive(Clone, Debug)]
pub(super) struct Post(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Post {
    /// With `secure` the certificates of the system's authorities are believed; they must be there.
    pub(super) fn new(secure: bool) -> Result<Self, Error> {
        let no_tls = |error: &dyn fmt::Display| Error::Certificates(error.to_string());
        let builder = HttpsConnectorBuilder::new();
        if secure {
            let builder = builder.with_provider_and_native_roots(ring());
            return Ok(Self::over(builder.map_err(|error| no_tls(&error))?));
        }
        let config = ClientConfig::builder_with_provider(ring())
            .with_safe_default_protocol_versions()
            .map_err(|error| no_tls(&error))?;
        let nobody = RootCertStore::empty();
        Ok(Self::with(config.with_root_certificates(nobody).with_no_client_auth()))
    }

    /// Believes whom `config` says.
    pub(super) fn with(config: ClientConfig) -> Self {
        Self::over(HttpsConnectorBuilder::new().with_tls_config(config))
    }

    fn over(builder: HttpsConnectorBuilder<WantsSchemes>) -> Self {
        let https = builder.https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(https);
        Self(client)
    }

    /// Posts `body` under the event's `id`, in no more than the target's time.
    pub(super) async fn attempt(&self, target: &Target, id: &str, body: &str) -> Outcome {
        let failed = |answer, why: String| Outcome {
            answer,
            error: Some(why.chars().take(ERROR_CHARS).collect()),
            rest: None,
        };
        let request = match target.request(id, body) {
            Ok(request) => request,
            Err(error) => return failed(Answer::Unreachable, error.to_string()),
        };
        match tokio::time::timeout(target.timeout, self.0.request(request)).await {
            Err(_) => failed(Answer::TimedOut, format!("no answer in {:?}", target.timeout)),
            Ok(Err(error)) => failed(Answer::Unreachable, whole(&error)),
            Ok(Ok(response)) => {
                let code = response.status().as_u16();
                let asked = response.headers().get(header::RETRY_AFTER);
                let now_s = clock::now().wall.div_euclid(1_000_000_000);
                let retry_after =
                    asked.and_then(|text| text.to_str().ok()).and_then(|t| retry_after(t, now_s));
                let answer = Answer::Status { code, retry_after };
                let error = (!answer.is_delivered()).then(|| response.status().to_string());
                Outcome { answer, error, rest: Some(response) }
            }
        }
    }

    /// Reads what little of the answer is left, so that its connection can be used again.
    pub(super) async fn finish(rest: Option<Response<Incoming>>) {
        let Some(rest) = rest else { return };
        let (limit, time) = BODY;
        let mut body = rest.into_body();
        let read = async {
            let mut read = 0;
            while let Some(Ok(frame)) = body.frame().await {
                read += frame.data_ref().map_or(0, Bytes::len);
                if read > limit {
                    break;
                }
            }
        };
        // Dropped before its end, a body takes its connection with it.
        let _ = tokio::time::timeout(time, read).await;
    }
}

/// The cryptography that TLS is made of.
pub(super) fn ring() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// An error with its causes.
fn whole(error: &hyper_util::client::legacy::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
