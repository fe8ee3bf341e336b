//! Every number that the node tells of a call, held against what the simulators saw of it.

use cooee_sim::receiver::Taken;
use cooee_sim::truth::{Answer, Call, End, Word};
use cooee_sim::wire::{Message, display, uri, user};

use super::mix::{did_of, line_of};
use super::report::Row;
use super::world::REALM;

/// A time that SIP shows is right within this, milliseconds.
const EXACT_MS: f64 = 20.0;

/// Audio flows both ways all the time, a packet each 20 ms: there is no more dead air than this.
const BRIDGE_MS: f64 = 100.0;

/// One thing that was looked at.
#[derive(Clone, Debug)]
pub(super) struct Check {
    /// The call's number; 0: all of them.
    pub(super) n: u32,
    pub(super) what: &'static str,
    pub(super) expected: String,
    pub(super) got: String,
    /// How far off, where that can be measured, and how far it may be: milliseconds.
    pub(super) error: Option<(f64, f64)>,
    pub(super) right: bool,
}

/// The checks of one call as they come.
#[derive(Debug, Default)]
pub(super) struct Checks {
    n: u32,
    pub(super) all: Vec<Check>,
}

impl Checks {
    /// Those of one call.
    pub(super) fn of(n: u32) -> Self {
        Self { n, all: Vec::new() }
    }

    /// Two words that must be the same.
    pub(super) fn same(&mut self, what: &'static str, expected: impl ToString, got: impl ToString) {
        let (expected, got) = (expected.to_string(), got.to_string());
        let right = expected == got;
        self.all.push(Check { n: self.n, what, expected, got, error: None, right });
    }

    /// Something that holds or does not.
    fn holds(&mut self, what: &'static str, expected: &str, got: impl ToString, right: bool) {
        let (expected, got) = (expected.to_owned(), got.to_string());
        self.all.push(Check { n: self.n, what, expected, got, error: None, right });
    }

    /// Two figures in milliseconds, or none on both sides.
    fn near(&mut self, what: &'static str, expected: Option<f64>, got: Option<f64>, limit: f64) {
        let error = expected.zip(got).map(|(expected, got)| got - expected);
        let right = match (expected, got) {
            (None, None) => true,
            _ => error.is_some_and(|error| error.abs() <= limit),
        };
        let error = error.map(|error| (error, limit));
        let told = |ms: Option<f64>| ms.map_or("-".to_owned(), |ms| format!("{ms:.2} ms"));
        let (expected, got) = (told(expected), told(got));
        self.all.push(Check { n: self.n, what, expected, got, error, right });
    }

    /// Two moments: the difference counts, told from the call's INVITE on.
    fn at(&mut self, what: &'static str, zero: i64, expected: Option<i64>, got: Option<i64>) {
        let ms = |at: Option<i64>| at.map(|at| (at - zero) as f64 / 1000.0);
        self.near(what, ms(expected), ms(got), EXACT_MS);
    }
}

/// All that is to be said of one call. `cdr`, `media`: the node's rows; `told`: its webhooks.
pub(super) fn of_call(call: &Call, cdr: &Row, media: &[Row], told: &[Taken]) -> Vec<Check> {
    let mut checks = Checks::of(call.n);
    let expected = Expected::of(call);
    times(&mut checks, call, cdr);
    agent(&mut checks, call, cdr);
    hold(&mut checks, call, cdr);
    words(&mut checks, call, cdr, &expected);
    identity(&mut checks, call, cdr);
    audio(&mut checks, call, media);
    portal(&mut checks, call);
    webhooks(&mut checks, cdr, told, &expected);
    checks.all
}

/// What the order and its course mean for the record.
struct Expected {
    outcome: &'static str,
    status: &'static str,
    party: &'static str,
    events: Vec<&'static str>,
}

impl Expected {
    fn of(call: &Call) -> Self {
        let reached = call.platform.agent_us.is_some();
        let (outcome, status) = match (call.order.answer, call.end) {
            (Answer::Busy, _) => ("busy", "486"),
            (Answer::Rings, _) => ("canceled", "304"),
            _ if reached => ("connected", "200"),
            _ => ("abandoned", "304"),
        };
        let party = match call.end {
            Some(End::Customer(_) | End::Cancel(_) | End::Refused(..)) => "customer",
            // Without START nobody says who was on the line at the platform.
            Some(End::Platform(_)) if call.order.start == Word::Lost => "platform",
            Some(End::Platform(_)) => "agent",
            Some(End::Broken(_)) | None => "unknown",
        };
        let mut events = Vec::new();
        events.extend(call.platform.ringing_us.map(|_| "ringing"));
        events.extend(call.platform.answer_us.map(|_| "platform_answered"));
        match call.order.start {
            Word::Once | Word::Twice if reached => {
                events.extend(["agent_answered", "bridged", "ended"]);
            }
            Word::Late if reached => events.extend(["ended", "agent_answered"]),
            _ => events.push("ended"),
        }
        Self { outcome, status, party, events }
    }
}

fn times(checks: &mut Checks, call: &Call, cdr: &Row) {
    let (a, b) = (&call.dialer, &call.platform);
    let zero = a.invite_us.unwrap_or_default();
    let end = call.end.map(End::at_us);
    let at = |name| cdr.int(name);
    checks.at("t_invite", zero, a.invite_us, at("t_invite_us"));
    checks.at("t_invite_out", zero, b.offered_us, at("t_invite_out_us"));
    checks.at("t_b_100", zero, b.trying_us, at("t_b_100_us"));
    checks.at("t_b_18x", zero, b.ringing_us, at("t_b_18x_us"));
    checks.at("t_b_200", zero, b.answer_us, at("t_b_200_us"));
    checks.at("t_end", zero, end, at("t_end_us"));
    let setup = b.answer_us.map(|at| span_ms(zero, at));
    checks.near("setup_ms", setup, cdr.number("setup_ms"), EXACT_MS);
    let left = end.filter(|_| b.answer_us.is_some() && b.agent_us.is_none());
    let left = left.map(|at| span_ms(zero, at));
    checks.near("abandoned_ms", left, cdr.number("abandoned_ms"), EXACT_MS);
}

/// The agent's answer, and what is reckoned from it.
fn agent(checks: &mut Checks, call: &Call, cdr: &Row) {
    let b = &call.platform;
    let zero = call.dialer.invite_us.unwrap_or_default();
    let known = b.agent_us.filter(|_| call.order.start != Word::Lost);
    let told = cdr.int("t_agent_us");
    let half = cdr.number("t_agent_err_ms");
    // What a portal says in whole seconds, with a second of slack, is never surer than that.
    let half_max = half.filter(|half| *half <= 1000.0);
    checks.same("t_agent_src", known.map_or("none", |_| "b24_event"), cdr.text("t_agent_src"));
    let ms = |at: Option<i64>| at.map(|at| span_ms(zero, at));
    checks.near("t_agent +- err", ms(known), ms(told), half_max.unwrap_or(0.0));
    let limit = half_max.unwrap_or(0.0) + EXACT_MS;
    checks.near("trunk_queue_ms", ms(known), cdr.number("trunk_queue_ms"), limit);
    let connect = known.zip(call.end).map(|(at, end)| span_ms(at, end.at_us()));
    checks.near("connect_ms", connect, cdr.number("connect_ms"), limit);
    checks.near("t_queue is t_b_200", ms(b.answer_us), ms(cdr.int("t_queue_us")), EXACT_MS);

    let bridge = cdr.number("bridge_ms");
    let wanted = known.is_some() && call.order.start != Word::Late;
    let right = match bridge {
        Some(ms) => wanted && (0.0..=BRIDGE_MS).contains(&ms),
        None => !wanted,
    };
    let told = bridge.map_or("-".to_owned(), |ms| format!("{ms:.2} ms"));
    let limit = if wanted { "0 to 100 ms" } else { "-" };
    checks.holds("bridge_ms", limit, told, right);
}

fn hold(checks: &mut Checks, call: &Call, cdr: &Row) {
    let b = &call.platform;
    let held: f64 = b.holds.iter().map(|(from, to)| span_ms(*from, *to)).sum();
    let (signalled, answered) = (!b.holds.is_empty(), b.answer_us.is_some());
    // The platform signals no holds as a rule: where none was seen, nobody knows of any.
    let count = match (signalled, answered) {
        (true, _) => Some(b.holds.len() as f64),
        (false, true) => None,
        (false, false) => Some(0.0),
    };
    let told = |n: Option<f64>| n.map_or("-".to_owned(), |n| n.to_string());
    checks.same("hold_count", told(count), told(cdr.number("hold_count")));
    checks.near("hold_ms", count.map(|_| held), cdr.number("hold_ms"), EXACT_MS);
    let connect = cdr.number("connect_ms").filter(|_| signalled);
    let talk = connect.map(|ms| ms - cdr.number("hold_ms").unwrap_or_default());
    checks.near("talk_ms", talk, cdr.number("talk_ms"), 0.01);
}

fn words(checks: &mut Checks, call: &Call, cdr: &Row, expected: &Expected) {
    checks.same("outcome", expected.outcome, cdr.text("outcome"));
    checks.same("status_code", expected.status, cdr.text("status_code"));
    checks.same("end_party", expected.party, cdr.text("end_party"));
    let code = match call.end {
        Some(End::Refused(_, code)) => i64::from(code),
        Some(End::Cancel(_)) => 487,
        _ => 200,
    };
    checks.same("sip_final", code, cdr.int("sip_final").unwrap_or_default());
    checks.same(
        "route",
        if call.order.dialled == "98" { "service" } else { "sales" },
        cdr.text("route"),
    );
    checks.same("customer", format!("+{}", call.order.customer), cdr.text("customer"));
    checks.same("did", format!("+{}", did_of(&call.order.customer)), cdr.text("did"));
    let user = call.platform.agent_us.map_or("", |_| &call.platform.user);
    checks.same("agent", user, cdr.text("agent"));
    checks.same("portal_call_id", &call.platform.portal_call_id, cdr.text("portal_call_id"));
}

/// Who calls whom on B, from the INVITE as it came to the platform.
fn identity(checks: &mut Checks, call: &Call, cdr: &Row) {
    let Some(invite) = Message::read(call.platform.invite.as_bytes()) else {
        checks.holds("INVITE on B", "one", "none", false);
        return;
    };
    let (did, line) = (did_of(&call.order.customer), line_of(&call.order.dialled));
    let own = format!("sip:{did}@{REALM}");
    checks.same("Request-URI", &own, invite.uri());
    checks.same("To", &own, uri(invite.one("To")));
    checks.same("Diversion", &own, uri(invite.one("Diversion")));
    let from = invite.one("From");
    checks.same("From, shown", &call.order.customer, display(from));
    checks.same("From", format!("sip:{line}@{REALM}"), uri(from));
    checks.same("Contact user", line, user(uri(invite.one("Contact"))));
    checks.same("X-Customer", format!("+{}", call.order.customer), invite.one("X-Customer"));
    checks.same("X-Cooee-Call", cdr.text("id"), invite.one("X-Cooee-Call"));
    checks.same("digest", true, call.platform.authenticated);
    let leaks = leaks(call, &invite);
    checks.holds(
        "nothing of A on B",
        "-",
        if leaks.is_empty() { "-" } else { &leaks },
        leaks.is_empty(),
    );
}

/// Words of A's INVITE that are nobody else's business, found in B's.
fn leaks(call: &Call, on_b: &Message) -> String {
    let Some(on_a) = Message::read(call.dialer.invite.as_bytes()) else { return String::new() };
    let call_id = on_a.one("Call-ID");
    let host = call_id.rsplit_once('@').map_or("", |(_, host)| host);
    let branch = on_a.one("Via").split("branch=").nth(1).and_then(|b| b.split(';').next());
    let audio = on_a.audio().map(|at| at.ip().to_string()).unwrap_or_default();
    let tag = format!("tag=ut{}", call.n);
    let secret = ["unitalk", "secret-of-a", host, call_id, &audio, &tag, &call.external_id];
    let raw = on_b.raw().to_lowercase();
    let found = secret.into_iter().chain(branch);
    let found = found.filter(|word| !word.is_empty() && raw.contains(&word.to_lowercase()));
    found.collect::<Vec<_>>().join(" ")
}

/// Each packet that was sent while the way was open came, unchanged, both ways.
fn audio(checks: &mut Checks, call: &Call, media: &[Row]) {
    if call.platform.answer_us.is_none() {
        return;
    }
    let (up, down) = call.crossings();
    for (what, lost, crossing) in
        [("audio A to B", "lost A to B", up), ("audio B to A", "lost B to A", down)]
    {
        checks.same(what, &crossing.sent_hash, &crossing.received_hash);
        checks.same(lost, 0, crossing.missing + crossing.foreign);
        checks.holds("packets", "some", crossing.received, crossing.received > 0);
    }
    for row in media {
        checks.same("relay: lost", 0, row.int("lost").unwrap_or(-1));
        checks.same("relay: strangers", 0, row.int("foreign_packets").unwrap_or(-1));
    }
    checks.same("relay: sides", 2, media.len());
}

/// Whoever has no token is refused; every other word is taken.
fn portal(checks: &mut Checks, call: &Call) {
    let lost = call.order.start == Word::Lost;
    for post in &call.posts {
        let wanted = match post.forged {
            true => "403",
            false if lost && post.event.ends_with("START") => "-",
            false => "200",
        };
        let got = post.status.map_or("-".to_owned(), |status| status.to_string());
        checks.same(if post.forged { "forged event" } else { "event" }, wanted, got);
    }
}

fn webhooks(checks: &mut Checks, cdr: &Row, told: &[Taken], expected: &Expected) {
    let kinds: Vec<&str> = told.iter().map(|t| t.kind.trim_start_matches("cooee.call.")).collect();
    let fixed: Vec<&str> = kinds.iter().copied().filter(|kind| *kind != "amended").collect();
    checks.same("webhooks", expected.events.join(" "), fixed.join(" "));
    let ended = kinds.iter().position(|kind| *kind == "ended");
    let amended = kinds.iter().position(|kind| *kind == "amended");
    let in_time = amended.is_none_or(|amended| ended.is_some_and(|ended| ended < amended));
    checks.same("amended after ended", true, in_time);
    let numbers: Vec<u64> = told.iter().map(|taken| taken.sequence).collect();
    let gapless = numbers.iter().zip(1..).all(|(found, wanted)| *found == wanted);
    checks.holds("sequence", "1, 2, 3 ..", format!("{numbers:?}"), gapless);

    let with_cdr = |taken: &&Taken| taken.kind.ends_with("ended");
    let all: Vec<&Taken> = told.iter().filter(with_cdr).collect();
    let idle =
        all.windows(2).filter(|two| two.first().map(|t| &t.data) == two.last().map(|t| &t.data));
    checks.same("amended for nothing", 0, idle.count());
    // The last word is the record: what the row and the event have in common is the same.
    let Some(last) = all.last() else { return };
    for name in ["outcome", "status_code", "agent", "connect_ms", "hold_ms", "talk_ms", "end_party"]
    {
        let row = cdr.0.get(name).map(ToString::to_string).unwrap_or_default();
        let event = last.data.get(name).map(ToString::to_string).unwrap_or_default();
        checks.same("last webhook is the CDR", row, event);
    }
}

fn span_ms(from_us: i64, to_us: i64) -> f64 {
    (to_us - from_us) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use cooee_sim::rtp::Packet;
    use cooee_sim::truth::{Hold, Order, Post};
    use serde_json::{Value, json};

    use super::*;

    const T: i64 = 1_795_000_000_000_000;

    /// A call of an hour's exactness: held once by re-INVITE, all as it should be.
    fn call() -> Call {
        let customer = "61355502001".to_owned();
        let dialled = "97".to_owned();
        let order = Order { customer, dialled, hold: Hold::Signalled, ..Order::default() };
        let mut call = Call { n: 5, order, external_id: "179-5".to_owned(), ..Call::default() };
        call.end = Some(End::Platform(T + 9_000_000));
        let packet = |seq: u16| Packet { at_us: T, ssrc: 1, seq, hash: seq.into() };
        let a = &mut call.dialer;
        a.invite_us = Some(T);
        a.invite =
            "INVITE sip:97@127.10.0.1 SIP/2.0\r\nCall-ID: ut-179-5@127.10.0.2\r\n\r\n".to_owned();
        a.media.sent = (0..9).map(packet).collect();
        let b = &mut call.platform;
        b.media.received.clone_from(&a.media.sent);
        b.media.sent.clone_from(&a.media.sent);
        a.media.received.clone_from(&a.media.sent);
        let did = format!("sip:61355501234@{REALM}");
        b.invite = format!(
            "INVITE {did} SIP/2.0\r\nFrom: \"61355502001\" <sip:sip12@{REALM}>;tag=1\r\n\
             To: <{did}>\r\nDiversion: <{did}>;counter=1\r\nContact: <sip:sip12@127.10.0.1>\r\n\
             X-Customer: +61355502001\r\nX-Cooee-Call: 01X\r\n\r\n"
        );
        b.authenticated = true;
        (b.offered_us, b.trying_us) = (Some(T + 400), Some(T + 900));
        (b.ringing_us, b.answer_us) = (Some(T + 250_000), Some(T + 500_000));
        b.agent_us = Some(T + 4_500_000);
        b.holds = vec![(T + 5_000_000, T + 7_000_000)];
        (b.portal_call_id, b.user) = ("P1".to_owned(), "67".to_owned());
        let (event, call_id) = ("ONVOXIMPLANTCALLINIT", "P1".to_owned());
        let (ts, status) = (T / 1_000_000, Some(200));
        call.posts = vec![Post { event, call_id, ts, sent_us: T, status, forged: false }];
        call
    }

    fn cdr() -> Value {
        json!({
            "id": "01X", "unitalk_call_id": "179-5", "route": "sales",
            "customer": "+61355502001", "did": "+61355501234",
            "t_invite_us": T + 100, "t_invite_out_us": T + 350, "t_b_100_us": T + 950,
            "t_b_18x_us": T + 250_100, "t_b_200_us": T + 500_100, "t_queue_us": T + 500_100,
            "t_agent_us": T + 4_000_000, "t_agent_err_ms": 800, "t_agent_src": "b24_event",
            "t_end_us": T + 9_000_100, "hold_ms": 2001, "hold_count": 1, "sip_final": 200,
            "outcome": "connected", "status_code": "200", "end_party": "agent",
            "agent": "67", "portal_call_id": "P1", "setup_ms": 500.0, "trunk_queue_ms": 3999.9,
            "abandoned_ms": null, "bridge_ms": 12.0, "connect_ms": 5000.1, "talk_ms": 2999.1,
        })
    }

    fn told(kinds: &[&str], cdr: &Value) -> Vec<Taken> {
        let taken = |(kind, sequence): (&&str, u64)| {
            Taken::new(&format!("cooee.call.{kind}"), sequence, cdr.clone())
        };
        kinds.iter().zip(1..).map(taken).collect()
    }

    fn wrong(call: &Call, cdr: &Value, kinds: &[&str]) -> Vec<&'static str> {
        let media = || Row(json!({ "lost": 0, "foreign_packets": 0 }));
        let told = told(kinds, cdr);
        let checks = of_call(call, &Row(cdr.clone()), &[media(), media()], &told);
        assert!(checks.len() > 40, "{}", checks.len());
        checks.iter().filter(|check| !check.right).map(|check| check.what).collect()
    }

    const KINDS: [&str; 5] = ["ringing", "platform_answered", "agent_answered", "bridged", "ended"];

    #[test]
    fn a_right_record_passes() {
        assert!(wrong(&call(), &cdr(), &KINDS).is_empty(), "{:?}", wrong(&call(), &cdr(), &KINDS));
    }

    #[test]
    fn each_figure_that_is_off_is_found() {
        let later = 20_200;
        for (name, value, what) in [
            ("t_invite_us", json!(T + later), "t_invite"),
            ("t_invite_out_us", json!(T + 400 - later), "t_invite_out"),
            ("t_b_18x_us", json!(null), "t_b_18x"),
            ("t_b_200_us", json!(T + 500_000 + later), "t_b_200"),
            ("t_end_us", json!(T + 9_000_000 - later), "t_end"),
            ("setup_ms", json!(521.0), "setup_ms"),
            ("abandoned_ms", json!(1.0), "abandoned_ms"),
            ("t_agent_us", json!(T + 3_699_000), "t_agent +- err"),
            ("t_agent_us", json!(null), "t_agent +- err"),
            ("t_agent_err_ms", json!(1001), "t_agent +- err"),
            ("t_agent_src", json!("sip200"), "t_agent_src"),
            ("connect_ms", json!(null), "connect_ms"),
            ("bridge_ms", json!(-0.1), "bridge_ms"),
            ("bridge_ms", json!(null), "bridge_ms"),
            ("hold_ms", json!(2021), "hold_ms"),
            ("hold_ms", json!(null), "hold_ms"),
            ("hold_count", json!(2), "hold_count"),
            ("talk_ms", json!(5000.1), "talk_ms"),
            ("outcome", json!("unknown_agent"), "outcome"),
            ("status_code", json!("603"), "status_code"),
            ("end_party", json!("platform"), "end_party"),
            ("agent", json!("71"), "agent"),
            ("did", json!("+61255501234"), "did"),
        ] {
            let mut cdr = cdr();
            cdr[name] = value.clone();
            let found = wrong(&call(), &cdr, &KINDS);
            assert!(found.contains(&what), "{name} = {value}: {found:?}");
        }
    }

    #[test]
    fn a_hold_that_nobody_signalled_is_not_zero() {
        let mut call = call();
        call.platform.holds.clear();
        let mut cdr = cdr();
        (cdr["hold_ms"], cdr["hold_count"]) = (json!(0), json!(0));
        let found = wrong(&call, &cdr, &KINDS);
        assert_eq!(found, ["hold_count", "hold_ms", "talk_ms"]);
        (cdr["hold_ms"], cdr["hold_count"], cdr["talk_ms"]) =
            (json!(null), json!(null), json!(null));
        assert!(wrong(&call, &cdr, &KINDS).is_empty());
    }

    #[test]
    fn a_leak_a_wrong_name_and_a_lost_packet_are_found() {
        let changed = |change: fn(&mut Call)| {
            let mut call = call();
            change(&mut call);
            wrong(&call, &cdr(), &KINDS)
        };
        let leak = changed(|call| call.platform.invite.insert_str(60, "\r\nX-A: 127.10.0.2"));
        assert!(leak.contains(&"nothing of A on B"), "{leak:?}");
        let shown = changed(|call| {
            call.platform.invite = call.platform.invite.replacen("61355502001", "sip12", 1);
        });
        assert_eq!(shown, ["From, shown"]);
        let lost = changed(|call| _ = call.platform.media.received.remove(4));
        assert_eq!(lost, ["audio A to B", "lost A to B"]);
        let strange = changed(|call| call.dialer.media.received[3].hash = 99);
        assert_eq!(strange, ["audio B to A"]);
    }

    #[test]
    fn webhooks_that_lack_or_idle_are_found() {
        assert_eq!(wrong(&call(), &cdr(), &KINDS[1..]), ["webhooks"]);
        let idle = [&KINDS[..], &["amended"]].concat();
        assert_eq!(wrong(&call(), &cdr(), &idle), ["amended for nothing"]);
    }
}
