//! The API as a client sees it: a real listener on loopback, requests by reqwest.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use cooee_model::command::Command;
use cooee_model::fact::{Fact, What};
use cooee_model::ids::CallId;
use cooee_model::moment::Moment;
use cooee_model::sample::Sample;
use cooee_telemetry::measure::Measure;
use cooee_telemetry::{Identity, Telemetry};
use reqwest::{Client, Method, Response, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::limits::{BODY_MAX_BYTES, CONNECTIONS_MAX};
use crate::serve::serve;
use crate::{Admin, Auth, Error, Refused, Reloaded};

mod paper;
mod trunks;

const START: Moment = Moment::new(0, 1_700_000_000_000_000_000);
const ERROR: [&str; 2] = ["error", "hint"];

struct Node {
    address: SocketAddr,
    client: Client,
    telemetry: Arc<Telemetry>,
    orders: Arc<Mutex<Vec<Command>>>,
    engine_is_full: Arc<AtomicBool>,
    lacks: Arc<Mutex<Vec<String>>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Error>>,
}

fn admin(auth: Auth) -> Admin {
    let trunks = vec!["unitalk".to_owned()];
    let routes = vec!["dialer-agents".to_owned()];
    let (node, version) = ("syd-1".to_owned(), "0.1.0".to_owned());
    let webhooks = vec!["ops".to_owned()];
    let identity = Identity { node, version, trunks, routes, webhooks };
    Admin {
        telemetry: Arc::new(Telemetry::new(identity, START)),
        commands: Arc::new(|_| true),
        readiness: Arc::new(Vec::new),
        store: None,
        auth: Arc::new(ArcSwap::from_pointee(auth)),
        reload: Arc::new(|| Err(Refused { why: "no file".to_owned(), ..Refused::default() })),
    }
}

impl Node {
    async fn up(auth: Auth) -> Self {
        Self::serving(admin(auth)).await
    }

    async fn serving(mut admin: Admin) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let orders = Arc::new(Mutex::new(Vec::new()));
        let engine_is_full = Arc::new(AtomicBool::new(false));
        let lacks = Arc::new(Mutex::new(Vec::new()));
        let (taken, full) = (Arc::clone(&orders), Arc::clone(&engine_is_full));
        admin.commands = Arc::new(move |command| {
            taken.lock().unwrap().push(command);
            !full.load(Ordering::SeqCst)
        });
        let missing = Arc::clone(&lacks);
        admin.readiness = Arc::new(move || missing.lock().unwrap().clone());
        let telemetry = Arc::clone(&admin.telemetry);
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(serve(listener, admin, async { _ = stopped.await }));
        let client = Client::new();
        Self { address, client, telemetry, orders, engine_is_full, lacks, stop, task }
    }

    async fn ask(&self, method: Method, path: &str) -> Response {
        let url = format!("http://{}{path}", self.address);
        self.client.request(method, url).send().await.unwrap()
    }

    async fn json(&self, method: Method, path: &str) -> (u16, Value) {
        let answer = self.ask(method, path).await;
        let status = answer.status().as_u16();
        assert_eq!(answer.headers()["content-type"], "application/json", "{path}");
        (status, answer.json().await.unwrap())
    }

    async fn text(&self, path: &str) -> (String, String) {
        let answer = self.ask(Method::GET, path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        (kind, answer.text().await.unwrap())
    }

    async fn down(self) {
        drop(self.client);
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }

    /// A call that is up.
    fn call(&self, number: u64) -> CallId {
        let call = CallId::new(number, 5);
        let what = What::Invited {
            trunk: "unitalk".to_owned(),
            source: "192.0.2.1:5060".to_owned(),
            sip_call_id: "x".to_owned(),
            customer: "+61491570156".to_owned(),
            called: "200".to_owned(),
            external_id: None,
            autodialer: None,
        };
        self.telemetry.observe(&Fact { call, seq: 0, at: START, what });
        call
    }
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn the_node_says_what_it_is_and_whether_it_is_ready() {
    let node = Node::up(Auth::None).await;
    assert_eq!(node.json(Method::GET, "/healthz").await, (200, json!({"alive": true})));
    let ready = json!({"ready": true, "reasons": []});
    assert_eq!(node.json(Method::GET, "/readyz").await, (200, ready));
    node.lacks.lock().unwrap().push("no trunk is up".to_owned());
    let not_ready = json!({"ready": false, "reasons": ["no trunk is up"]});
    assert_eq!(node.json(Method::GET, "/readyz").await, (503, not_ready));
    let version = json!({
        "name": "cooee", "version": "0.1.0", "node": "syd-1",
        "started_us": 1_700_000_000_000_000_i64,
    });
    assert_eq!(node.json(Method::GET, "/v1/version").await, (200, version));
    let (kind, text) = node.text("/metrics").await;
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(text.contains("cooee_calls_offered_total{trunk=\"unitalk\"} 0\n"));
    assert!(text.ends_with("# EOF\n"));
    node.down().await;
}

#[tokio::test]
async fn latency_as_json() {
    let node = Node::up(Auth::None).await;
    let mut recorder = node.telemetry.recorder(Measure::InviteForward);
    (1..=1000).for_each(|us| recorder.record(us * 1000));
    for (query, window) in [("", "all"), ("?window=1m", "1m"), ("?window=1h", "1h")] {
        let (status, list) = node.json(Method::GET, &format!("/v1/latency{query}")).await;
        assert_eq!((status, &list["window"]), (200, &json!(window)));
        let histograms = list["histograms"].as_array().unwrap();
        let names: Vec<_> = histograms.iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names, Measure::ALL.map(Measure::name));
        assert_eq!(histograms[0]["count"], 1000);
        assert_eq!(histograms[1]["count"], 0);
    }
    let (status, one) = node.json(Method::GET, "/v1/latency/invite_forward?window=5m").await;
    assert_eq!(status, 200);
    let mut want = vec![
        "name", "unit", "window", "since_us", "count", "min", "p50", "p90", "p99", "p99_9",
        "p99_99", "max", "mean",
    ];
    want.sort_unstable();
    let mut got = keys(&one);
    got.sort_unstable();
    assert_eq!(got, want);
    assert_eq!((&one["unit"], &one["window"]), (&json!("ns"), &json!("5m")));
    assert!(one["p99"].as_u64().unwrap().abs_diff(990_000) < 1000);

    let (status, all) = node.json(Method::POST, "/v1/latency/reset?name=queue").await;
    assert_eq!((status, all), (200, json!({"reset": ["queue"]})));
    let (_, one) = node.json(Method::GET, "/v1/latency/invite_forward").await;
    assert_eq!(one["count"], 1000);
    let (status, all) = node.json(Method::POST, "/v1/latency/reset").await;
    assert_eq!((status, all["reset"].as_array().unwrap().len()), (200, Measure::ALL.len()));
    let (_, one) = node.json(Method::GET, "/v1/latency/invite_forward").await;
    assert_eq!(one["count"], 0);
    node.down().await;
}

#[tokio::test]
async fn latency_as_files() {
    let node = Node::up(Auth::None).await;
    let mut recorder = node.telemetry.recorder(Measure::RtpForward);
    (1..=1000).for_each(|us| recorder.record(us * 1000));
    let (kind, hgrm) = node.text("/v1/latency/rtp_forward.hgrm").await;
    assert_eq!(kind, "text/plain; charset=utf-8");
    let rows = hgrm.lines().skip(2).filter(|line| !line.starts_with('#'));
    let last = rows.map(|line| {
        let row: Vec<f64> = line.split_whitespace().map(|word| word.parse().unwrap()).collect();
        assert!(row.len() == 4 || row[1] == 1.0, "{line}");
        row
    });
    let last = last.last().unwrap();
    assert!((last[0] - 1.0).abs() < 0.001 && last[2] == 1000.0, "1000 us is 1 ms: {last:?}");
    let (kind, csv) = node.text("/v1/latency/rtp_forward.csv?window=1m").await;
    assert_eq!(kind, "text/csv; charset=utf-8");
    assert!(csv.starts_with("value_ns,percentile,total_count\n"));
    assert!(csv.trim_end().ends_with(",100.0000000000,1000"), "{csv}");
    let (_, hlog) = node.text("/v1/latency/rtp_forward.hlog?window=5m").await;
    assert!(hlog.starts_with("#[Histogram log format version 1.3]\n"));
    assert!(hlog.lines().last().unwrap().starts_with("Tag=rtp_forward,1700000000.000,"), "{hlog}");
    let answer = node.ask(Method::GET, "/v1/latency/rtp_forward.hgrm").await;
    let disposition = &answer.headers()["content-disposition"];
    assert_eq!(disposition, "attachment; filename=\"rtp_forward.hgrm\"");
    node.down().await;
}

#[tokio::test]
async fn calls_are_listed_shown_and_hung_up() {
    let node = Node::up(Auth::None).await;
    let empty = json!({"up": [], "recent": []});
    assert_eq!(node.json(Method::GET, "/v1/calls").await, (200, empty));
    let call = node.call(7);
    let path = format!("/v1/calls/{call}");
    let (status, list) = node.json(Method::GET, "/v1/calls").await;
    assert_eq!((status, list["up"].as_array().unwrap().len()), (200, 1));
    let (status, one) = node.json(Method::GET, &path).await;
    assert_eq!(status, 200);
    assert_eq!(one, list["up"][0]);
    assert_eq!(one["id"], json!(call.to_string()));
    assert_eq!((&one["state"], &one["trunk"]), (&json!("offered"), &json!("unitalk")));
    assert_eq!(one["customer"], "+61491570156");
    assert_eq!(one["started_us"], 1_700_000_000_000_000_i64);
    assert_eq!(one["answered_us"], Value::Null);

    let ordered = json!({"ordered": "hangup", "id": call.to_string()});
    assert_eq!(node.json(Method::DELETE, &path).await, (202, ordered));
    assert_eq!(node.json(Method::POST, "/v1/drain").await, (202, json!({"ordered": "drain"})));
    assert_eq!(node.json(Method::DELETE, "/v1/drain").await, (202, json!({"ordered": "undrain"})));
    let orders = [Command::Hangup { call }, Command::Drain, Command::Undrain];
    assert_eq!(*node.orders.lock().unwrap(), orders);
    node.engine_is_full.store(true, Ordering::SeqCst);
    let drain = "/v1/drain";
    for (method, path) in
        [(Method::DELETE, path.as_str()), (Method::POST, drain), (Method::DELETE, drain)]
    {
        let (status, problem) = node.json(method, path).await;
        assert_eq!((status, keys(&problem)), (503, ERROR.to_vec()));
    }
    node.down().await;
}

#[tokio::test]
async fn a_reload_says_what_came_of_it_and_the_token_of_now_counts() {
    let mut admin = admin(Auth::Token(SecretString::from("old")));
    let (auth, broken) = (Arc::clone(&admin.auth), Arc::new(AtomicBool::new(true)));
    let file = Arc::clone(&broken);
    admin.reload = Arc::new(move || {
        if file.load(Ordering::SeqCst) {
            let findings = vec!["cooee.toml:3:1: error: sip: what".to_owned()];
            return Err(Refused { why: "the configuration is broken".to_owned(), findings });
        }
        auth.store(Arc::new(Auth::Token(SecretString::from("new"))));
        let needs_restart = vec!["sip.bind".to_owned()];
        let secrets = vec!["vox".to_owned()];
        Ok(Reloaded { revision: 2, notes: Vec::new(), needs_restart, secrets })
    });
    let node = Node::serving(admin).await;
    let url = format!("http://{}/v1/reload", node.address);
    let post = async |token| {
        let answer = node.client.post(&url).bearer_auth(token).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    assert_eq!(post("new").await.0, 401);
    let (status, refused) = post("old").await;
    assert_eq!((status, keys(&refused)), (422, vec!["error", "findings", "hint"]));
    assert_eq!(refused["findings"], json!(["cooee.toml:3:1: error: sip: what"]));
    broken.store(false, Ordering::SeqCst);
    let restart = ["sip.bind"];
    let done = json!({"revision": 2, "notes": [], "needs_restart": restart, "secrets": ["vox"]});
    assert_eq!(post("old").await, (200, done));
    assert_eq!(post("old").await.0, 401);
    assert_eq!(post("new").await.0, 200);
    node.down().await;
}

#[tokio::test]
async fn what_is_not_there_is_told_in_json() {
    let node = Node::up(Auth::None).await;
    let unknown = CallId::new(99, 9);
    for (method, path, want) in [
        (Method::GET, "/v1/nothing".to_owned(), 404),
        (Method::GET, "/v1/latency/nothing".to_owned(), 404),
        (Method::GET, "/v1/latency/nothing.hgrm".to_owned(), 404),
        (Method::GET, "/v1/latency/queue.exe".to_owned(), 404),
        (Method::GET, "/v1/latency/..%2f..%2fetc".to_owned(), 404),
        (Method::GET, "/v1/latency/%ff".to_owned(), 400),
        (Method::GET, "/v1/latency?window=2m".to_owned(), 400),
        (Method::GET, "/v1/latency/queue?window=".to_owned(), 400),
        (Method::GET, "/v1/latency?window=1m&window=5m".to_owned(), 400),
        (Method::POST, "/v1/latency/reset?name=nothing".to_owned(), 404),
        (Method::GET, format!("/v1/calls/{unknown}"), 404),
        (Method::GET, "/v1/calls/seven".to_owned(), 404),
        (Method::DELETE, format!("/v1/calls/{unknown}"), 404),
        (Method::POST, "/v1/version".to_owned(), 405),
        (Method::DELETE, "/v1/calls".to_owned(), 405),
        (Method::PUT, "/metrics".to_owned(), 405),
    ] {
        let (status, problem) = node.json(method.clone(), &path).await;
        assert_eq!((status, keys(&problem)), (want, ERROR.to_vec()), "{method} {path}");
        assert!(problem["hint"].as_str().is_some_and(|hint| !hint.is_empty()));
    }
    let answer = node.ask(Method::PUT, "/metrics").await;
    assert_eq!(answer.headers()["allow"], "GET,HEAD");
    assert!(node.orders.lock().unwrap().is_empty());
    node.down().await;
}

#[tokio::test]
async fn a_token_is_asked_for_where_one_is_set() {
    let node = Node::up(Auth::Token("s3cret-token".to_owned().into())).await;
    for path in ["/", "/healthz", "/readyz"] {
        assert_eq!(node.ask(Method::GET, path).await.status(), 200, "{path}");
    }
    for path in ["/metrics", "/v1/latency", "/v1/calls", "/v1/version", "/v1/nothing"] {
        let answer = node.ask(Method::GET, path).await;
        assert_eq!(answer.status(), 401, "{path}");
        assert_eq!(answer.headers()["www-authenticate"], "Bearer");
        assert_eq!(keys(&answer.json::<Value>().await.unwrap()), ERROR);
    }
    let url = format!("http://{}/v1/version", node.address);
    for (header, want) in [
        ("Bearer s3cret-token", 200),
        ("bearer s3cret-token", 200),
        ("Bearer s3cret-toke", 401),
        ("Bearer s3cret-token2", 401),
        ("Bearer S3cret-token", 401),
        ("Bearer ", 401),
        ("Basic s3cret-token", 401),
        ("s3cret-token", 401),
    ] {
        let answer = node.client.get(&url).header("authorization", header).send().await.unwrap();
        assert_eq!(answer.status(), want, "{header}");
    }
    let call = node.call(1);
    let answer = node.ask(Method::DELETE, &format!("/v1/calls/{call}")).await;
    assert_eq!((answer.status().as_u16(), node.orders.lock().unwrap().len()), (401, 0));
    node.down().await;
}

#[tokio::test]
async fn without_a_token_only_loopback_is_served() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused = serve(listener, admin(Auth::None), async {}).await;
    assert!(matches!(refused, Err(Error::Unguarded(address)) if address.ip().is_unspecified()));
}

#[tokio::test]
async fn an_empty_token_opens_nothing() {
    let node = Node::up(Auth::Token(String::new().into())).await;
    let url = format!("http://{}/v1/version", node.address);
    let answer = node.client.get(url).header("authorization", "Bearer ").send().await.unwrap();
    assert_eq!(answer.status(), 401);
    node.down().await;
}

#[tokio::test]
async fn other_sites_in_a_browser_are_kept_out() {
    let node = Node::up(Auth::None).await;
    let url = format!("http://{}/v1/latency/reset", node.address);
    let own = format!("http://{}", node.address);
    for (origin, want) in
        [(own.as_str(), 200), ("https://example.com", 403), ("null", 403), ("", 403)]
    {
        let answer = node.client.post(&url).header("origin", origin).send().await.unwrap();
        assert_eq!(answer.status(), want, "{origin}");
    }
    let url = format!("http://{}/v1/version", node.address);
    for (host, want) in [
        ("localhost:8060", 200),
        ("127.0.0.1", 200),
        ("[::1]:8060", 200),
        ("rebound.example.com", 403),
        ("127.0.0.1.example.com", 403),
        ("192.0.2.1:8060", 403),
    ] {
        let answer = node.client.get(&url).header("host", host).send().await.unwrap();
        assert_eq!(answer.status(), want, "{host}");
    }
    node.down().await;
}

#[tokio::test]
async fn a_large_body_is_refused() {
    let node = Node::up(Auth::None).await;
    let url = format!("http://{}/v1/latency/reset", node.address);
    for (bytes, want) in [(BODY_MAX_BYTES, 200), (BODY_MAX_BYTES + 1, 413)] {
        let answer = node.client.post(&url).body(vec![b'x'; bytes]).send().await.unwrap();
        assert_eq!(answer.status(), want);
    }
    node.down().await;
}

#[tokio::test]
async fn answers_are_counted_and_may_not_be_cached() {
    let node = Node::up(Auth::None).await;
    let page = node.ask(Method::GET, "/").await;
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(page.headers()["cache-control"], "no-store");
    assert_eq!(page.headers()["x-content-type-options"], "nosniff");
    assert!(page.headers()["content-security-policy"].to_str().unwrap().contains("frame-anc"));
    let html = page.text().await.unwrap();
    for elsewhere in ["http://", "https://", "src=\"/", "@import"] {
        assert!(!html.contains(elsewhere), "the page loads {elsewhere}");
    }
    node.ask(Method::GET, "/v1/nothing").await;
    let (_, text) = node.text("/metrics").await;
    assert!(text.contains("cooee_admin_answers_total{class=\"2xx\"} 1\n"), "{text}");
    assert!(text.contains("cooee_admin_answers_total{class=\"4xx\"} 1\n"));
    node.down().await;
}

#[tokio::test]
async fn connections_past_the_limit_wait_for_their_turn() {
    let node = Node::up(Auth::None).await;
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
        held.push(stream);
    }
    let mut late = TcpStream::connect(node.address).await.unwrap();
    late.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let stopwatch = std::time::Duration::from_millis(200);
    let mut start = [0; 12];
    let early = tokio::time::timeout(stopwatch, late.read_exact(&mut start)).await;
    assert!(early.is_err(), "served past the limit");
    drop(held.pop());
    late.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    drop((late, held));
    node.down().await;
}

/// Virtual time: it runs as fast as everyone waits.
#[tokio::test(start_paused = true)]
async fn a_client_that_stalls_is_given_up_and_one_that_idles_is_let_go() {
    let node = Node::up(Auth::None).await;
    let stalled = || node.telemetry.admin.stalled.load(Ordering::Relaxed);
    let mut rest = Vec::new();
    let mut idle = TcpStream::connect(node.address).await.unwrap();
    assert_eq!(idle.read_to_end(&mut rest).await.unwrap(), 0);
    assert_eq!(stalled(), 0);
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: loc").await.unwrap();
    // Closed with unread bytes or without: both are an end.
    _ = stream.read_to_end(&mut rest).await;
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
    assert_eq!(stalled(), 1);
    node.down().await;
}
