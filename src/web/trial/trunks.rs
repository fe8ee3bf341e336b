//! How trunks are told.

use std::time::Duration;

use axum::http::Method;
use cooee_model::trunk::{PeerState, TrunkState};
use serde_json::json;

use super::Node;
use crate::Auth;

#[tokio::test]
async fn trunks_are_told_with_their_addresses() {
    let node = Node::up(Auth::None).await;
    let (_, told) = node.json(Method::GET, "/v1/trunks").await;
    assert_eq!((&told[0]["name"], &told[0]["up"]), (&json!("unitalk"), &json!(false)));
    let started = node.telemetry.started();
    let peer = |state, rest| PeerState {
        transport: "udp",
        address: "198.51.100.20:5060".parse().unwrap(),
        state,
        since: started + Duration::from_secs(3),
        rest,
        rtt: Some(Duration::from_micros(1500)),
        judged_by: "options",
        priority: 1,
        weight: 5,
    };
    let trunk = |name: &str, peers: Vec<PeerState>| TrunkState {
        name: name.to_owned(),
        calls: 7,
        lines: (3, 2),
        is_called: !peers.is_empty(),
        peers,
    };
    let resting = peer("resting", Some(Duration::from_secs(9)));
    let out = trunk("out", vec![resting.clone(), peer("up", None)]);
    let dark = trunk("dark", vec![resting]);
    node.telemetry.tell_trunks(vec![out, dark, trunk("in", Vec::new())]);
    let (status, told) = node.json(Method::GET, "/v1/trunks").await;
    assert_eq!(status, 200);
    let up: Vec<_> = (0..3).map(|at| told[at]["up"].clone()).collect();
    assert_eq!(up, [json!(true), json!(false), json!(null)]);
    assert_eq!(told[0]["lines_registered"], json!(2));
    // START is 1.7e9 s.
    let first = json!({
        "transport": "udp", "address": "198.51.100.20:5060", "state": "resting",
        "since_us": 1_700_000_003_000_000_u64, "rest_s": 9, "rtt_us": 1500,
        "judged_by": "options", "priority": 1, "weight": 5,
    });
    assert_eq!(told[0]["peers"][0], first);
    assert_eq!(told[0]["peers"][1]["rest_s"], json!(null));
    let (_, metrics) = node.text("/metrics").await;
    for line in [
        "cooee_trunk_up{trunk=\"out\"} 1",
        "cooee_trunk_up{trunk=\"dark\"} 0",
        "cooee_trunk_calls{trunk=\"in\"} 7",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
    assert!(!metrics.contains("cooee_trunk_up{trunk=\"in\"}"));
    node.down().await;
}
