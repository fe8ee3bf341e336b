//! How trunks are told.

use std::time::Duration;

use axum::http::Method;
use cooee_model::command::{Command, Leave};
use cooee_model::trunk::{PeerState, TrunkState};
use cooee_store::store::Store;
use serde_json::json;

use super::{Node, admin};
use crate::{Admin, Auth, Reloaded};

#[tokio::test]
async fn trunks_are_told_with_their_addresses() {
    let node = Node::up(Auth::None).await;
    let (_, told) = node.json(Method::GET, "/v1/trunks").await;
    assert_eq!((&told[0]["name"], &told[0]["up"]), (&json!("unitalk"), &json!(false)));
    let started = node.telemetry.started();
    let peer = |state, rest| PeerState {
        name: "sip.example.com".to_owned(),
        transport: "udp",
        address: "198.51.100.20:5060".parse().unwrap(),
        state,
        since: started + Duration::from_secs(3),
        rest,
        rtt: Some(Duration::from_micros(1500)),
        pings: 1,
        said: 200,
        judged_by: "options",
        priority: 1,
        weight: 5,
    };
    let trunk = |name: &str, peers: Vec<PeerState>| TrunkState {
        name: name.to_owned(),
        calls: 7,
        lines: (3, 2),
        is_called: !peers.is_empty(),
        leave: Leave::Enabled,
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
        "name": "sip.example.com", "transport": "udp", "address": "198.51.100.20:5060",
        "state": "resting",
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

#[tokio::test]
async fn an_operators_word_is_kept_and_told_to_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cooee.db");
    drop(Store::open(&path).unwrap());
    let node = Node::serving(Admin { store: Some(path.clone()), ..admin(Auth::None) }).await;
    let state = TrunkState {
        name: "unitalk".to_owned(),
        calls: 1,
        lines: (0, 0),
        is_called: false,
        leave: Leave::Enabled,
        peers: Vec::new(),
    };
    node.telemetry.tell_trunks(vec![state]);
    let call = node.call(7);
    for (path, want) in [
        ("/v1/trunks/nobody/disable", 404),
        ("/v1/trunks/unitalk/shoot", 404),
        ("/v1/trunks/unitalk/disable?cut=maybe", 400),
    ] {
        assert_eq!(node.json(Method::POST, path).await.0, want, "{path}");
    }
    assert!(node.orders.lock().unwrap().is_empty());

    let told = json!({"trunk": "unitalk", "leave": "disabled", "cut": 1});
    let path_cut = "/v1/trunks/unitalk/disable?cut=true";
    assert_eq!(node.json(Method::POST, path_cut).await, (202, told));
    let disable = Command::Trunk { name: "unitalk".to_owned(), leave: Leave::Disabled };
    assert_eq!(*node.orders.lock().unwrap(), [disable, Command::Hangup { call }]);
    let kept = || Store::open_read_only(&path).unwrap().told_trunks().unwrap();
    assert_eq!(kept(), [("unitalk".to_owned(), Leave::Disabled)]);

    let told = json!({"trunk": "unitalk", "leave": "enabled", "cut": 0});
    assert_eq!(node.json(Method::POST, "/v1/trunks/unitalk/enable").await, (202, told));
    assert!(kept().is_empty());
    node.down().await;
}

#[tokio::test]
async fn a_ping_waits_for_each_address() {
    let node = Node::up(Auth::None).await;
    let peer = |last: u8, pings, said| PeerState {
        name: "sip.example.com".to_owned(),
        transport: "udp",
        address: format!("198.51.100.{last}:5060").parse().unwrap(),
        state: "up",
        since: node.telemetry.started(),
        rest: None,
        rtt: Some(Duration::from_micros(1500)),
        pings,
        said,
        judged_by: "options",
        priority: 0,
        weight: 0,
    };
    let tell = |peers: Vec<PeerState>| {
        let state = TrunkState { is_called: true, peers, ..TrunkState::unknown("out") };
        node.telemetry.tell_trunks(vec![state, TrunkState::unknown("in")]);
    };
    tell(vec![peer(1, 3, 200), peer(2, 3, 200)]);
    let path = "/v1/trunks/out/ping";
    let (answer, ()) = tokio::join!(node.json(Method::POST, path), async {
        while node.orders.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        tell(vec![peer(1, 4, 404), peer(2, 4, 0)]);
    });
    assert_eq!(*node.orders.lock().unwrap(), [Command::Ping { trunk: "out".to_owned() }]);
    let (status, told) = answer;
    assert_eq!(status, 200);
    assert_eq!(
        (&told["peers"][0]["code"], &told["peers"][0]["rtt_us"]),
        (&json!(404), &json!(1500))
    );
    assert_eq!(
        (&told["peers"][1]["code"], &told["peers"][1]["rtt_us"]),
        (&json!(null), &json!(null))
    );
    assert_eq!(node.json(Method::POST, "/v1/trunks/in/ping").await.0, 409);
    assert_eq!(node.json(Method::POST, "/v1/trunks/nobody/ping").await.0, 404);
    node.down().await;
}

#[tokio::test]
async fn another_secret_comes_by_a_reload_that_says_so() {
    let mut admin = admin(Auth::None);
    let secrets = std::sync::Arc::new(std::sync::Mutex::new(vec!["other".to_owned()]));
    let read = std::sync::Arc::clone(&secrets);
    admin.reload = std::sync::Arc::new(move || {
        let secrets = read.lock().unwrap().clone();
        Ok(Reloaded { revision: 7, notes: Vec::new(), needs_restart: Vec::new(), secrets })
    });
    let node = Node::serving(admin).await;
    node.telemetry.tell_trunks(vec![TrunkState::unknown("vox")]);
    let path = "/v1/trunks/vox/rotate-secret";
    let (status, told) = node.json(Method::POST, path).await;
    assert_eq!((status, &told["error"]), (409, &json!("its secret is the one of before")));
    secrets.lock().unwrap().push("vox".to_owned());
    let told = json!({"trunk": "vox", "revision": 7});
    assert_eq!(node.json(Method::POST, path).await, (200, told));
    assert_eq!(node.json(Method::POST, "/v1/trunks/x/rotate-secret").await.0, 404);
    node.down().await;
}
