//! The page over made-up calls, for whoever works on it: `cargo run -p cooee-web --example page`.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use cooee_model::account::{Account, AnswerSource, Outcome, Party, Role};
use cooee_model::fact::{Fact, What};
use cooee_model::ids::CallId;
use cooee_model::moment::Moment;
use cooee_model::portal::Heard;
use cooee_model::sample::Sample;
use cooee_telemetry::callbacks::OutboxFigures;
use cooee_telemetry::measure::Measure;
use cooee_telemetry::stats::Direction;
use cooee_telemetry::{Identity, Telemetry};
use cooee_web::serve::serve;
use cooee_web::{Admin, Auth};
use tokio::net::TcpListener;

fn now() -> Moment {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ns = u64::try_from(wall.as_nanos()).unwrap_or_default();
    Moment::new(ns, i64::try_from(ns).unwrap_or_default())
}

fn invited(call: CallId, at: Moment) -> Fact {
    let what = What::Invited {
        trunk: "unitalk".to_owned(),
        source: "192.0.2.10:5060".to_owned(),
        sip_call_id: "a1".to_owned(),
        customer: format!("+6149157{:04}", call.0 % 10_000),
        called: "97".to_owned(),
        external_id: None,
        autodialer: None,
    };
    Fact { call, seq: 0, at, what }
}

fn story(number: u64, begun: Moment, length: usize) -> Vec<Fact> {
    let call = CallId::new(begun.wall.unsigned_abs() / 1_000_000 + number, 77 * u128::from(number));
    let at = |seconds| begun + Duration::from_secs(seconds);
    let did = "+61255501234".to_owned();
    let mut account = Account::new(call, "syd-1", begun);
    account.route = "dialer-agents".to_owned();
    account.role = Some(Role::AgentLeg);
    account.customer = format!("+6149157{:04}", call.0 % 10_000);
    account.did.clone_from(&did);
    (account.outcome, account.end_party) = match number % 5 {
        0 => (Outcome::Busy, Party::Platform),
        1 => (Outcome::Abandoned, Party::Customer),
        _ => (Outcome::Connected, Party::Agent),
    };
    account.sip_final = 200;
    account.called = "97".to_owned();
    account.times.b_200 = Some(at(2));
    account.times.end = Some(at(40));
    account.hold_unknown = true;
    if account.outcome == Outcome::Connected {
        (account.answer_source, account.answer_err_ms) = (AnswerSource::B24EventMedia, Some(20));
        account.times.agent = Some(at(9));
        account.times.bridge = Some(at(9) + Duration::from_millis(40));
        (account.agent, account.portal_call_id) =
            (Some("42".to_owned()), Some("1A2B3C4D5E6F7081.1770000050.9000001".to_owned()));
    }
    if number.is_multiple_of(3) {
        (account.hold_unknown, account.hold_ms, account.hold_count) = (false, 8000, 1);
    }
    let mut amended = account.clone();
    amended.outcome = Outcome::Abandoned;
    let amends = usize::from(number == 1);
    let reached = account.outcome == Outcome::Connected;
    let answered = What::AgentAnswered {
        source: AnswerSource::B24EventMedia,
        err_ms: 20,
        agent: Some("42".to_owned()),
    };
    let answered = [(9, answered), (10, What::Bridged {})].into_iter().filter(|_| reached);
    let forwarded = What::Forwarded {
        trunk: "b24-line-1".to_owned(),
        route: "dialer-agents".to_owned(),
        role: Role::AgentLeg,
        did,
        did_rule: "sticky".to_owned(),
        attempt: 1,
        sip_call_id: "b1".to_owned(),
    };
    let early = [
        (1, forwarded),
        (1, What::Ringing { code: 180, early_media: false }),
        (2, What::PlatformAnswered {}),
    ];
    let late = [
        (40, What::Ended { account: Box::new(account) }),
        (42, What::Amended { account: Box::new(amended) }),
    ];
    let facts = early.into_iter().chain(answered).chain(late.into_iter().take(1 + amends));
    let facts = (1..).zip(facts).map(|(seq, (s, what))| Fact { call, seq, at: at(s), what });
    std::iter::once(invited(call, begun)).chain(facts).take(length).collect()
}

fn fill(telemetry: &Telemetry, begun: Moment) {
    for number in 0..14_u64 {
        let length = if number < 8 { 9 } else { usize::try_from(number % 6).unwrap_or(0) + 1 };
        story(number, begun, length).iter().for_each(|fact| telemetry.observe(fact));
    }
    for (measure, typical_ns) in [
        (Measure::InviteForward, 190_000_u64),
        (Measure::ResponseForward, 120_000),
        (Measure::ByeForward, 110_000),
        (Measure::Sip100, 60_000),
        (Measure::RtpForward, 24_000),
        (Measure::JournalAppend, 700),
        (Measure::CallbackDone, 31_000_000),
        (Measure::Hook, 1_900_000),
    ] {
        let mut recorder = telemetry.recorder(measure);
        let mut seed = typical_ns;
        for _ in 0..40_000 {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let unit = ((seed >> 33) as f64 / 2_f64.powi(31)).max(1e-6);
            recorder.record((typical_ns as f64 * (0.8 + 0.15 / unit.powf(0.4))) as u64);
        }
    }
    for (result, times) in Heard::ALL.into_iter().zip([212, 1, 3, 2, 1, 9, 0, 0, 4, 0, 0]) {
        (0..times).for_each(|_| telemetry.hooks.heard(result));
    }
    let ops = OutboxFigures { depth: 3, oldest_s: 2, delivered: 1271, ..OutboxFigures::default() };
    telemetry.outbox.set("ops", OutboxFigures { failed_status: 4, failed_timeout: 1, ..ops });
    let crm = OutboxFigures { depth: 812, oldest_s: 5400, dead: 7, delivered: 419, ..ops };
    telemetry.outbox.set("crm", OutboxFigures { failed_transport: 63, paused: true, ..crm });
    for (method, code) in
        [("INVITE", 0), ("INVITE", 100), ("INVITE", 180), ("INVITE", 200), ("BYE", 0)]
    {
        telemetry.engine.messages.count(Direction::In, method, code);
        telemetry.engine.messages.count(Direction::Out, method, code);
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8060".to_owned());
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let identity = Identity {
        node: "syd-1".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        trunks: names(&["unitalk", "b24-line-1"]),
        routes: names(&["dialer-agents"]),
        webhooks: names(&["ops", "crm"]),
    };
    let telemetry = Arc::new(Telemetry::new(identity, now()));
    if arguments.next().as_deref() != Some("empty") {
        fill(&telemetry, now());
    }
    let ticking = Arc::clone(&telemetry);
    tokio::spawn(async move {
        loop {
            ticking.tick(now());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let admin = Admin {
        telemetry,
        commands: Arc::new(|_| true),
        readiness: Arc::new(Vec::new),
        store: None,
        auth: Arc::new(ArcSwap::from_pointee(Auth::None)),
        reload: Arc::new(|| Err(cooee_web::Refused::default())),
    };
    serve(TcpListener::bind(address).await?, admin, std::future::pending()).await?;
    Ok(())
}
