//! A receiver of webhooks as an integrator would write it: checks signature, order and gaps, knows
//! repetitions by their id, and sometimes fails on purpose.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use serde_json::Value;
use sha2::Sha256;
use tokio::net::TcpListener;

use crate::clock::now_us;
use crate::limits::RECEIVED;

/// A stamp that is older than this is refused, as the specification advises.
const STALE_S: i64 = 300;

/// How the receiver is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens.
    pub address: SocketAddr,
    /// The key of the signatures, its bytes.
    pub key: Vec<u8>,
    /// Each so many-th new event is taken and answered 500, so that it comes again; 0: none.
    pub fails_each: u32,
}

/// An event that was taken.
#[derive(Clone, Debug)]
pub struct Taken {
    /// `webhook-id`.
    pub id: String,
    /// `cooee.call.ended`.
    pub kind: String,
    /// Its place in its call.
    pub sequence: u64,
    /// How often it came.
    pub times: u32,
    /// When it came first.
    pub at_us: i64,
    /// `data`.
    pub data: Value,
    body: Bytes,
}

impl Taken {
    /// An event that came once and now.
    pub fn new(kind: &str, sequence: u64, data: Value) -> Self {
        let (id, kind, body) = (String::new(), kind.to_owned(), Bytes::new());
        Self { id, kind, sequence, times: 1, at_us: now_us(), data, body }
    }
}

/// What was wrong with what came; all are 0 where all is well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Signatures that do not fit.
    pub signature: u32,
    /// Stamps that are too old, or none.
    pub stale: u32,
    /// Bodies that are no event, or not that of their headers.
    pub unreadable: u32,
    /// Events that came after a later one of their call, or with one missing before them.
    pub order: u32,
    /// Events that came again with another body.
    pub changed: u32,
}

#[derive(Debug, Default)]
struct Shelf {
    calls: BTreeMap<String, Vec<Taken>>,
    fresh: u32,
    failed: u32,
    repeats: u32,
    faults: Faults,
}

/// The receiver; clones are the same one.
#[derive(Clone, Debug)]
pub struct Receiver {
    settings: Arc<Settings>,
    shelf: Arc<Mutex<Shelf>>,
}

impl Receiver {
    /// Listens from now on, as long as the runtime lives.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn start(settings: Settings) -> io::Result<Self> {
        let listener = TcpListener::bind(settings.address).await?;
        let receiver = Self { settings: Arc::new(settings), shelf: Arc::default() };
        let router = Router::new().fallback(post(take)).with_state(receiver.clone());
        tokio::spawn(async move { _ = axum::serve(listener, router).await });
        Ok(receiver)
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The events of one call, in the order in which they came first.
    pub fn of(&self, call_id: &str) -> Vec<Taken> {
        self.shelf().calls.get(call_id).cloned().unwrap_or_default()
    }

    /// How many events there are, how many were failed on purpose, how many came again.
    pub fn counts(&self) -> (u32, u32, u32) {
        let shelf = self.shelf();
        (shelf.fresh, shelf.failed, shelf.repeats)
    }

    /// How many calls were told of.
    pub fn calls(&self) -> usize {
        self.shelf().calls.len()
    }

    /// What was wrong.
    pub fn faults(&self) -> Faults {
        self.shelf().faults
    }

    fn judge(&self, headers: &HeaderMap, body: &Bytes) -> StatusCode {
        let mut shelf = self.shelf();
        let of = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let (id, stamp) = (of("webhook-id"), of("webhook-timestamp"));
        if !self.is_signed(of("webhook-signature"), id, stamp, body) {
            shelf.faults.signature += 1;
            return StatusCode::UNAUTHORIZED;
        }
        let age = stamp.parse().map_or(i64::MAX, |at: i64| (now_us() / 1_000_000 - at).abs());
        if age > STALE_S {
            shelf.faults.stale += 1;
            return StatusCode::BAD_REQUEST;
        }
        let Some((call_id, taken)) = read(id, body) else {
            shelf.faults.unreadable += 1;
            return StatusCode::BAD_REQUEST;
        };
        self.put(&mut shelf, call_id, taken)
    }

    fn put(&self, shelf: &mut Shelf, call_id: String, taken: Taken) -> StatusCode {
        if shelf.calls.len() >= RECEIVED && !shelf.calls.contains_key(&call_id) {
            // ULIDs sort by age.
            shelf.calls.pop_first();
        }
        let call = shelf.calls.entry(call_id).or_default();
        if let Some(known) = call.iter_mut().find(|known| known.id == taken.id) {
            known.times += 1;
            shelf.repeats += 1;
            if known.body != taken.body {
                shelf.faults.changed += 1;
            }
            return StatusCode::OK;
        }
        let last = call.last().map_or(0, |last| last.sequence);
        if taken.sequence != last + 1 {
            shelf.faults.order += 1;
        }
        call.push(taken);
        shelf.fresh += 1;
        let each = self.settings.fails_each;
        if each > 0 && shelf.fresh.is_multiple_of(each) {
            shelf.failed += 1;
            return StatusCode::INTERNAL_SERVER_ERROR;
        }
        StatusCode::OK
    }

    /// Standard Webhooks: one of the signatures in the header fits.
    fn is_signed(&self, signatures: &str, id: &str, stamp: &str, body: &[u8]) -> bool {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.settings.key) else { return false };
        for part in [id.as_bytes(), b".", stamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        signatures.split(' ').filter_map(|one| one.strip_prefix("v1,")).any(|one| {
            STANDARD.decode(one).is_ok_and(|given| mac.clone().verify_slice(&given).is_ok())
        })
    }
}

async fn take(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    receiver.judge(&headers, &body)
}

fn read(id: &str, body: &Bytes) -> Option<(String, Taken)> {
    let event: Value = serde_json::from_slice(body).ok()?;
    let text = |name: &str| event.get(name)?.as_str().map(str::to_owned);
    let data = event.get("data")?.clone();
    let taken = Taken::new(&text("type")?, event.get("sequence")?.as_u64()?, data);
    let id = text("id").filter(|named| named == id)?;
    Some((text("call_id")?, Taken { id, body: body.clone(), ..taken }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receiver(fails_each: u32) -> Receiver {
        let address = "127.61.0.9:0".parse().unwrap();
        let settings = Settings { address, key: b"0123456789abcdef".to_vec(), fails_each };
        Receiver { settings: Arc::new(settings), shelf: Arc::default() }
    }

    fn event(sequence: u64, word: &str) -> (String, Bytes) {
        let id = format!("01X-{sequence}");
        let body = format!(
            "{{\"id\":\"{id}\",\"type\":\"cooee.call.{word}\",\"call_id\":\"01X\",\
             \"sequence\":{sequence},\"data\":{{\"code\":183}}}}"
        );
        (id, body.into())
    }

    fn posted(to: &Receiver, key: &[u8], (id, body): &(String, Bytes)) -> StatusCode {
        let stamp = (now_us() / 1_000_000).to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(format!("{id}.{stamp}.").as_bytes());
        mac.update(body);
        let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", id.parse().unwrap());
        headers.insert("webhook-timestamp", stamp.parse().unwrap());
        headers.insert("webhook-signature", signature.parse().unwrap());
        to.judge(&headers, body)
    }

    const KEY: &[u8] = b"0123456789abcdef";

    #[test]
    fn what_comes_in_order_and_signed_is_taken() {
        let receiver = receiver(2);
        assert_eq!(posted(&receiver, KEY, &event(1, "ringing")), StatusCode::OK);
        let second = event(2, "ended");
        assert_eq!(posted(&receiver, KEY, &second), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(posted(&receiver, KEY, &second), StatusCode::OK, "known by its id");
        assert_eq!(receiver.counts(), (2, 1, 1));
        assert_eq!(receiver.faults(), Faults::default());
        let taken = receiver.of("01X");
        assert_eq!((taken[1].times, taken[1].kind.as_str()), (2, "cooee.call.ended"));
    }

    #[test]
    fn every_fault_is_found() {
        let receiver = receiver(0);
        let stranger = posted(&receiver, b"another key here", &event(1, "ringing"));
        assert_eq!(stranger, StatusCode::UNAUTHORIZED);
        assert_eq!(posted(&receiver, KEY, &event(2, "ended")), StatusCode::OK);
        posted(&receiver, KEY, &event(2, "amended"));
        let (id, _) = event(3, "x");
        posted(&receiver, KEY, &(id, "{}".into()));
        let found = receiver.faults();
        let wanted = Faults { signature: 1, order: 1, changed: 1, unreadable: 1, stale: 0 };
        assert_eq!(found, wanted);
    }
}
