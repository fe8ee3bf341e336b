//! `/v1/trunks`: how each trunk stands, and its addresses.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use cooee_model::moment::Moment;
use cooee_model::trunk::{PeerState, TrunkState};
use serde::Serialize;

use crate::Admin;

#[derive(Serialize)]
struct Trunk<'a> {
    name: &'a str,
    /// Nothing is called there: null.
    up: Option<bool>,
    calls: u32,
    lines: u32,
    lines_registered: u32,
    peers: Vec<Peer<'a>>,
}

#[derive(Serialize)]
struct Peer<'a> {
    transport: &'a str,
    address: String,
    state: &'a str,
    since_us: i64,
    rest_s: Option<u64>,
    rtt_us: Option<u64>,
    judged_by: &'a str,
    priority: u16,
    weight: u16,
}

pub(crate) async fn list(State(admin): State<Admin>) -> Response {
    let started = admin.telemetry.started();
    let states = admin.telemetry.trunks();
    let trunks: Vec<_> = states.iter().map(|state| trunk(state, started)).collect();
    Json(trunks).into_response()
}

fn trunk(state: &TrunkState, started: Moment) -> Trunk<'_> {
    Trunk {
        name: &state.name,
        up: state.is_called.then(|| state.is_up()),
        calls: state.calls,
        lines: state.lines.0,
        lines_registered: state.lines.1,
        peers: state.peers.iter().map(|peer| self::peer(peer, started)).collect(),
    }
}

fn peer(state: &PeerState, started: Moment) -> Peer<'_> {
    Peer {
        transport: state.transport,
        address: state.address.to_string(),
        state: state.state,
        since_us: state.since.wall_us_on(started),
        rest_s: state.rest.map(|rest| rest.as_secs()),
        rtt_us: state.rtt.and_then(|rtt| u64::try_from(rtt.as_micros()).ok()),
        judged_by: state.judged_by,
        priority: state.priority,
        weight: state.weight,
    }
}
