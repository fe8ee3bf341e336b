//! Hooks as a portal posts them: a real listener on loopback, bodies as Bitrix24 sends them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cooee_model::moment::Moment;
use cooee_model::portal::{Heard, PortalEvent, PortalWhat};
use cooee_telemetry::measure::Window;
use cooee_telemetry::{Identity, Telemetry};
use reqwest::{Client, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::limits::{CALL_ID_MAX_BYTES, FIELDS_MAX};

const INIT: &str = include_str!("../../../tests/golden/bitrix24/init.form");
const START: &str = include_str!("../../../tests/golden/bitrix24/start.form");
const END: &str = include_str!("../../../tests/golden/bitrix24/end.form");
const TOKEN: &str = "aa11bb22cc33dd44ee55ff6677889900";
const MEMBER: &str = "a223c6b3710f85df22e9377d6c4f7553";
const CALL: &str = "1A2B3C4D5E6F7081.1770000050.9000001";
const FORM: &str = "application/x-www-form-urlencoded";

/// What the engine of a test does with an event.
#[derive(Clone, Copy, Debug)]
enum Engine {
    Commits,
    LetsGo,
    IsFull,
    Stalls,
}

struct Listening {
    address: SocketAddr,
    url: String,
    client: Client,
    telemetry: Arc<Telemetry>,
    taken: Arc<Mutex<Vec<PortalEvent>>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Error>>,
}

fn portal(id: &str, token: &str, member_id: Option<&str>) -> Portal {
    let (application_token, member_id) = (token.to_owned().into(), member_id.map(str::to_owned));
    Portal { id: id.to_owned(), application_token, member_id }
}

impl Listening {
    async fn up(engine: Engine) -> Self {
        Self::of(engine, vec![portal("acme", TOKEN, None)]).await
    }

    async fn of(engine: Engine, portals: Vec<Portal>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let telemetry = Arc::new(Telemetry::new(Identity::default(), Moment::new(0, 0)));
        let taken = Arc::new(Mutex::new(Vec::new()));
        let (events, held) = (Arc::clone(&taken), Mutex::new(Vec::new()));
        let events: Events = Arc::new(move |event| {
            let (done, receipt) = oneshot::channel();
            match engine {
                Engine::IsFull => return None,
                Engine::LetsGo => drop(done),
                Engine::Commits => done.send(()).unwrap(),
                Engine::Stalls => held.lock().unwrap().push(done),
            }
            events.lock().unwrap().push(event);
            Some(receipt)
        });
        let portals = Arc::new(ArcSwap::from_pointee(portals));
        let hooks = Hooks { telemetry: Arc::clone(&telemetry), portals, events };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(serve(listener, hooks, async { _ = stopped.await }));
        let url = format!("http://{address}/hooks/bitrix24");
        Self { address, url, client: Client::new(), telemetry, taken, stop, task }
    }

    async fn post(&self, body: impl Into<reqwest::Body>) -> (u16, String) {
        let request = self.client.post(&self.url).header("content-type", FORM).body(body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// What was taken since the last question.
    fn taken(&self) -> Vec<PortalEvent> {
        std::mem::take(&mut self.taken.lock().unwrap())
    }

    fn heard(&self, heard: Heard) -> u64 {
        self.telemetry.hooks.each().find(|(name, _)| *name == heard.name()).unwrap().1
    }

    async fn down(self) {
        drop(self.client);
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

fn event(ts: i64, what: PortalWhat) -> PortalEvent {
    PortalEvent { portal: "acme".to_owned(), call_id: CALL.to_owned(), ts, what }
}

#[tokio::test]
async fn the_events_of_a_call_are_taken_as_bitrix24_sends_them() {
    let hooks = Listening::up(Engine::Commits).await;
    let init = PortalWhat::Init {
        kind: 2,
        line: "sip12".to_owned(),
        caller: "+61491570156".to_owned(),
        called: "61255501234".to_owned(),
    };
    let (user, code) = ("42".to_owned(), "200".to_owned());
    let start = PortalWhat::Start { user: user.clone() };
    let end = PortalWhat::End { user, code, duration_s: 61 };
    for (body, want) in [
        (INIT, event(1_770_000_051, init)),
        (START, event(1_770_000_070, start)),
        (END, event(1_770_000_131, end)),
    ] {
        let escaped = body.replace('[', "%5B").replace(']', "%5d");
        let plain = body.replace("%5B", "[").replace("%5D", "]");
        let lower = body.replace("event=ON", "event=on").replace("CALLINIT&", "callinit&");
        for body in [body.to_owned(), escaped, plain, lower, format!("{body}\n").replace('\n', "&")]
        {
            assert_eq!(hooks.post(body.clone()).await, (200, String::new()), "{body}");
            assert_eq!(hooks.taken(), std::slice::from_ref(&want), "{body}");
        }
    }
    for other in ["ONEXTERNALCALLSTART", "ONCRMLEADADD", "ONVOXIMPLANTCALLEN"] {
        let body = START.replace("ONVOXIMPLANTCALLSTART", other);
        assert_eq!(hooks.post(body).await.0, 200, "{other}");
    }
    assert_eq!((hooks.taken().len(), hooks.heard(Heard::Ignored)), (0, 3));
    assert_eq!(hooks.telemetry.latency.summary(Measure::Hook, Window::All).count, 18);
    hooks.down().await;
}

#[tokio::test]
async fn who_does_not_bring_the_token_is_forged() {
    let portals = vec![
        portal("other", "00000000000000000000000000000000", None),
        portal("acme", TOKEN, Some(MEMBER)),
        portal("empty", "", None),
    ];
    let hooks = Listening::of(Engine::Commits, portals).await;
    let field = format!("auth[application_token]={TOKEN}");
    let forged = [
        START.replace(TOKEN, "AA11bb22cc33dd44ee55ff6677889900"),
        START.replace(TOKEN, &TOKEN[1..]),
        START.replace(TOKEN, &format!("{TOKEN}0")),
        START.replace(TOKEN, ""),
        START.replace(&format!("&{field}"), ""),
        START.replace("auth[application_token]", "auth[Application_token]"),
        START.replace("auth[application_token]", "application_token"),
        START.replace(MEMBER, "00000000000000000000000000000000"),
        START.replace("auth[member_id]", "auth[member]"),
        // Said twice, even alike: nobody does so honestly.
        format!("{START}&{field}"),
        format!("{START}&auth[application_token]=x"),
        format!("auth%5Bapplication_token%5D=x&{START}"),
        START[..START.len() - 1].to_owned(),
        String::new(),
    ];
    for body in &forged {
        let (status, text) = hooks.post(body.clone()).await;
        assert_eq!(status, 403, "{body}");
        assert!(text.contains("\"error\"") && !text.contains(&TOKEN[1..9]), "{text}");
    }
    assert_eq!(hooks.heard(Heard::Forged), u64::try_from(forged.len()).unwrap());
    assert!(hooks.taken().is_empty());
    let other = START.replace(TOKEN, "00000000000000000000000000000000");
    assert_eq!(hooks.post(other).await.0, 200);
    assert_eq!(hooks.taken()[0].portal, "other");
    hooks.down().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    let hooks = Listening::up(Engine::Commits).await;
    let long = "1".repeat(CALL_ID_MAX_BYTES + 1);
    let mut count = 0;
    for (body, from, to) in [
        (START, "event=", "even="),
        (START, "data[CALL_ID]", "data[CALLID]"),
        (START, CALL, ""),
        (START, CALL, "%20"),
        (START, CALL, "1A%0A2B"),
        (START, CALL, "1A%C3%A4"),
        (START, CALL, "1A%FF"),
        (START, CALL, long.as_str()),
        (START, "data[USER_ID]", "data[CALL_ID]"),
        (START, "data[USER_ID]=", "data[USER_ID]=7&data[USER_ID]="),
        (START, "=42", "=4%00"),
        (START, "ts=", "tz="),
        (START, "ts=1770000070", "ts="),
        (START, "ts=1770000070", "ts=0"),
        (START, "ts=1770000070", "ts=-1770000070"),
        (START, "ts=1770000070", "ts=%2B1770000070"),
        (START, "ts=1770000070", "ts=1770000070.5"),
        (START, "ts=1770000070", "ts=17700000700"),
        (START, "ts=1770000070", "ts=1770000070&ts=1770000071"),
        (INIT, "data[CALL_TYPE]=2", "data[CALL_TYPE]=two"),
        (INIT, "data[CALL_TYPE]=2", "data[CALL_TYPE]=256"),
        (INIT, "data[CALL_TYPE]=2&", ""),
        (INIT, "%2B61491570156", long.as_str()),
        (END, "CALL_DURATION%5D=61", "CALL_DURATION%5D=a+minute"),
        (END, "CALL_DURATION%5D=61", "CALL_DURATION%5D=4294967296"),
    ] {
        assert!(body.contains(from), "{from}");
        let (status, text) = hooks.post(body.replacen(from, to, 1)).await;
        assert_eq!(status, 400, "{from} -> {to}: {text}");
        count += 1;
    }
    let many = format!("{START}{}", "&a".repeat(FIELDS_MAX));
    assert_eq!(hooks.post(many).await.0, 400);
    assert_eq!(hooks.heard(Heard::Malformed), count + 1);
    assert!(hooks.taken().is_empty());
    // What is only not there is empty.
    for (body, from, what) in [
        (START, "data[USER_ID]=42&", PortalWhat::Start { user: String::new() }),
        (
            END,
            "data%5BCALL_DURATION%5D=61&",
            PortalWhat::End { user: "42".to_owned(), code: "200".to_owned(), duration_s: 0 },
        ),
    ] {
        assert_eq!(hooks.post(body.replace(from, "")).await.0, 200, "{from}");
        assert_eq!(hooks.taken()[0].what, what);
    }
    hooks.down().await;
}

#[tokio::test]
async fn only_a_form_of_a_bounded_size_is_read() {
    let hooks = Listening::up(Engine::Commits).await;
    let send = async |kind: &str, body: String| {
        let request = hooks.client.post(&hooks.url).header("content-type", kind);
        request.body(body).send().await.unwrap().status()
    };
    for kind in ["application/json", "multipart/form-data; boundary=x", "", "text/plain"] {
        assert_eq!(send(kind, START.to_owned()).await, 415, "{kind}");
    }
    assert_eq!(hooks.client.post(&hooks.url).send().await.unwrap().status(), 415);
    let zipped = hooks.client.post(&hooks.url).header("content-type", FORM);
    let zipped = zipped.header("content-encoding", "gzip").body(START);
    assert_eq!(zipped.send().await.unwrap().status(), 415);
    assert_eq!(send("Application/X-WWW-Form-Urlencoded; charset=UTF-8", START.into()).await, 200);
    let fill = |bytes: usize| format!("{START}&a={}", "x".repeat(bytes - START.len() - 3));
    assert_eq!(send(FORM, fill(BODY_MAX_BYTES)).await, 200);
    assert_eq!(send(FORM, fill(BODY_MAX_BYTES + 1)).await, 413);
    assert_eq!(chunked(hooks.address, &fill(BODY_MAX_BYTES + 1)).await, "413");
    assert_eq!(chunked(hooks.address, START).await, "200");
    assert_eq!((hooks.taken().len(), hooks.heard(Heard::Malformed)), (3, 8));

    let answer = hooks.client.get(&hooks.url).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["allow"]),
        (405, &"POST".parse().unwrap())
    );
    assert!(!answer.headers().contains_key("access-control-allow-origin"));
    for path in ["/", "/metrics", "/v1/calls", "/hooks", "/hooks/bitrix24/"] {
        let url = format!("http://{}{path}", hooks.address);
        assert_eq!(hooks.client.get(url).send().await.unwrap().status(), 404, "{path}");
    }
    hooks.down().await;
}

/// Posts a body whose length is not told; the status.
async fn chunked(address: SocketAddr, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /hooks/bitrix24 HTTP/1.1\r\nHost: h\r\nContent-Type: {FORM}\r\n\
         Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for part in body.as_bytes().chunks(16_000) {
        let size = format!("{:x}\r\n", part.len());
        // The server may have said no already.
        _ = stream.write_all(&[size.as_bytes(), part, b"\r\n"].concat()).await;
    }
    _ = stream.write_all(b"0\r\n\r\n").await;
    status(&mut stream).await
}

async fn status(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    _ = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    text.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn the_answer_says_whether_the_engine_has_it() {
    for (engine, want, refused) in
        [(Engine::Commits, 200, 0), (Engine::LetsGo, 200, 0), (Engine::IsFull, 503, 1)]
    {
        let hooks = Listening::up(engine).await;
        assert_eq!(hooks.post(START).await.0, want, "{engine:?}");
        assert_eq!(hooks.heard(Heard::Refused), refused, "{engine:?}");
        hooks.down().await;
    }
}

fn head(length: usize) -> String {
    format!(
        "POST /hooks/bitrix24 HTTP/1.1\r\nHost: h\r\nContent-Type: {FORM}\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )
}

/// Virtual time: it runs as fast as everyone waits.
#[tokio::test(start_paused = true)]
async fn an_engine_that_stalls_is_not_waited_for() {
    let hooks = Listening::up(Engine::Stalls).await;
    let begun = Instant::now();
    let mut stream = TcpStream::connect(hooks.address).await.unwrap();
    stream.write_all(format!("{}{START}", head(START.len())).as_bytes()).await.unwrap();
    assert_eq!(status(&mut stream).await, "503");
    assert!(begun.elapsed() >= HOOK_COMMIT);
    assert_eq!((hooks.taken().len(), hooks.heard(Heard::Refused)), (1, 1));
    hooks.down().await;
}

/// Virtual time: it runs as fast as everyone waits.
#[tokio::test(start_paused = true)]
async fn who_drips_is_given_up() {
    let hooks = Listening::up(Engine::Commits).await;
    // The head is there, the body drips: a byte a second would take twelve minutes.
    let mut stream = TcpStream::connect(hooks.address).await.unwrap();
    stream.write_all(head(START.len()).as_bytes()).await.unwrap();
    for byte in START.as_bytes().chunks(1).take(30) {
        _ = stream.write_all(byte).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(status(&mut stream).await, "408");
    assert_eq!(hooks.heard(Heard::Malformed), 1);
    // The head itself drips.
    let mut stream = TcpStream::connect(hooks.address).await.unwrap();
    stream.write_all(b"POST /hooks/bitrix24 HTT").await.unwrap();
    assert_eq!(status(&mut stream).await, "");
    assert!(hooks.taken().is_empty());
    hooks.down().await;
}

#[tokio::test]
async fn a_thousand_mutations_reach_nobody_without_the_token() {
    let hooks = Listening::up(Engine::Commits).await;
    let mut seed = 0x5eed_u64;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below
    };
    let (mut passed, mut refused) = (0, 0);
    for round in 0..1000 {
        let mut body = [INIT, START, END][round % 3].as_bytes().to_vec();
        for _ in 0..=random(4) {
            let at = random(body.len());
            let byte = u8::try_from(random(256)).unwrap();
            match random(6) {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                2 => _ = body.remove(at),
                3 => body.truncate(at.max(1)),
                4 => body[at] = b"&=%[]+"[random(6)],
                _ => {
                    let part = body[at..body.len().min(at + random(80))].to_vec();
                    let to = random(body.len());
                    body.splice(to..to, part);
                }
            }
        }
        let brings = body.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes());
        let (status, text) = hooks.post(body.clone()).await;
        let taken = hooks.taken().len();
        let shown = String::from_utf8_lossy(&body).into_owned();
        assert!(matches!(status, 200 | 400 | 403), "{status}: {shown}");
        assert!(brings || (status != 200 && taken == 0), "{status}: {shown}");
        assert!(status == 200 || taken == 0, "{status}: {shown}");
        assert!(!text.contains(TOKEN) && !text.contains(MEMBER), "{text}");
        if status == 200 { passed += 1 } else { refused += 1 }
    }
    assert!(passed > 100 && refused > 100, "{passed} passed, {refused} refused");
    assert_eq!(
        hooks.client.get(&hooks.url).send().await.unwrap().status(),
        StatusCode::METHOD_NOT_ALLOWED
    );
    hooks.down().await;
}
