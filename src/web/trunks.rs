//! `/v1/trunks`: how each trunk stands, and its addresses.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use cooee_model::command::{Command, Leave};
use cooee_model::moment::Moment;
use cooee_model::trunk::{PeerState, TrunkState};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::Admin;
use crate::answer::{Problem, aside};

#[derive(Serialize)]
struct Trunk<'a> {
    name: &'a str,
    /// What an operator lets it do: `enabled`, `draining`, `disabled`.
    leave: &'static str,
    /// Nothing is called there: null.
    up: Option<bool>,
    calls: u32,
    lines: u32,
    lines_registered: u32,
    peers: Vec<Peer<'a>>,
}

#[derive(Serialize)]
struct Peer<'a> {
    /// The name that led there.
    name: &'a str,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// Ends the trunk's calls too.
    #[serde(default)]
    cut: bool,
}

#[derive(Serialize)]
struct Told {
    trunk: String,
    leave: &'static str,
    /// Calls that were told to hang up.
    cut: usize,
}

/// `POST /v1/trunks/{name}/enable`, `/drain`, `/disable`: kept in the database first, so that it
/// holds after a restart too.
pub(crate) async fn tell(
    State(admin): State<Admin>,
    Path((name, order)): Path<(String, String)>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Problem> {
    let leave = match order.as_str() {
        "enable" => Leave::Enabled,
        "drain" => Leave::Draining,
        "disable" => Leave::Disabled,
        _ => return Err(Problem::not_found("no such order", "enable, drain or disable")),
    };
    let Query(asked) = query.map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, error.body_text(), "parameter: cut=true")
    })?;
    known(&admin, &name)?;
    let told = name.clone();
    crate::outbox::change(admin.clone(), move |store| store.tell_trunk(&told, leave)).await?;
    if !(admin.commands)(Command::Trunk { name: name.clone(), leave }) {
        return Err(Problem::unavailable("the engine takes no orders now"));
    }
    let calls = match asked.cut {
        true => admin.telemetry.live.up(),
        false => Vec::new(),
    };
    let of_trunk = calls.into_iter().filter(|call| call.trunk == name || call.trunk_out == name);
    let cut = of_trunk.filter(|call| (admin.commands)(Command::Hangup { call: call.id })).count();
    let told = Told { trunk: name, leave: leave.name(), cut };
    Ok((StatusCode::ACCEPTED, Json(told)).into_response())
}

/// How often a ping looks whether all have answered, and how many times: longer than an address
/// has time to answer.
const LOOKS: (Duration, u32) = (Duration::from_millis(100), 80);

#[derive(Serialize)]
struct Pinged {
    trunk: String,
    peers: Vec<Said>,
}

#[derive(Serialize)]
struct Said {
    name: String,
    transport: &'static str,
    address: String,
    /// The status of its answer; null: none in time.
    code: Option<u16>,
    /// How long its answer took.
    rtt_us: Option<u64>,
    state: &'static str,
}

/// `POST /v1/trunks/{name}/ping`: asks each address now, and waits for what they say.
pub(crate) async fn ping(
    State(admin): State<Admin>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let before = known(&admin, &name)?;
    if before.peers.is_empty() {
        let hint = "its names lead nowhere, or it only calls us: cooee trunk list";
        return Err(Problem::new(StatusCode::CONFLICT, "the trunk has no address", hint));
    }
    if !(admin.commands)(Command::Ping { trunk: name.clone() }) {
        return Err(Problem::unavailable("the engine takes no orders now"));
    }
    let mut now = before.clone();
    for _ in 0..LOOKS.1 {
        let waits = |one: &PeerState| one.pings == asked_before(&before, one);
        if !now.peers.iter().any(waits) {
            break;
        }
        sleep(LOOKS.0).await;
        now = known(&admin, &name)?;
    }
    let said = |peer: &PeerState| {
        let came = peer.said != 0 && peer.pings != asked_before(&before, peer);
        Said {
            name: peer.name.clone(),
            transport: peer.transport,
            address: peer.address.to_string(),
            code: came.then_some(peer.said),
            rtt_us: peer.rtt.filter(|_| came).and_then(|rtt| rtt.as_micros().try_into().ok()),
            state: peer.state,
        }
    };
    let pinged = Pinged { trunk: name, peers: now.peers.iter().map(said).collect() };
    Ok(Json(pinged).into_response())
}

fn asked_before(before: &TrunkState, peer: &PeerState) -> u32 {
    let same = |p: &&PeerState| (p.transport, p.address) == (peer.transport, peer.address);
    before.peers.iter().find(same).map_or(0, |p| p.pings)
}

#[derive(Serialize)]
struct Rotated {
    trunk: String,
    revision: u32,
}

/// `POST /v1/trunks/{name}/rotate-secret`: a reload that must bring another secret of the trunk.
pub(crate) async fn rotate_secret(
    State(admin): State<Admin>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    known(&admin, &name)?;
    match aside(move || (admin.reload)()).await? {
        Ok(reloaded) if reloaded.secrets.contains(&name) => {
            Ok(Json(Rotated { trunk: name, revision: reloaded.revision }).into_response())
        }
        Ok(_) => {
            let hint = "write the new one to where `secret` of the trunk is read from, then again";
            Err(Problem::new(StatusCode::CONFLICT, "its secret is the one of before", hint))
        }
        Err(refused) => Ok(crate::node::not_loaded(refused)),
    }
}

fn known(admin: &Admin, name: &str) -> Result<TrunkState, Problem> {
    let trunks = admin.telemetry.trunks();
    let found = trunks.iter().find(|trunk| trunk.name == name).cloned();
    found.ok_or_else(|| Problem::not_found("no such trunk", "GET /v1/trunks lists them"))
}

fn trunk(state: &TrunkState, started: Moment) -> Trunk<'_> {
    Trunk {
        name: &state.name,
        leave: state.leave.name(),
        up: state.is_called.then(|| state.is_up()),
        calls: state.calls,
        lines: state.lines.0,
        lines_registered: state.lines.1,
        peers: state.peers.iter().map(|peer| self::peer(peer, started)).collect(),
    }
}

fn peer(state: &PeerState, started: Moment) -> Peer<'_> {
    Peer {
        name: &state.name,
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
