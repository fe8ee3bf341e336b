//! The body of each event, letter by letter, and what a context remembers.

use std::time::Duration;

use cooee_model::account::{AnswerSource, LegAccount, Outcome, Party, Role};
use cooee_model::ids::CallId;

use super::*;

/// 2026-11-21 14:00:00.123456 UTC.
const INVITE: Moment = Moment::new(5_000_000_000, 1_795_269_600_123_456_000);

fn call() -> CallId {
    "01KAK3RZ0V0000000000000042".parse().unwrap()
}

fn fact(seq: u32, after_ms: u64, what: What) -> Fact {
    Fact { call: call(), seq, at: INVITE + Duration::from_millis(after_ms), what }
}

fn invited() -> Fact {
    let what = What::Invited {
        trunk: "unitalk".into(),
        source: "198.51.100.7:5060".into(),
        sip_call_id: "a@x".into(),
        customer: "+61491570156".into(),
        called: "sales".into(),
        external_id: Some("u-77".into()),
        autodialer: None,
    };
    fact(0, 0, what)
}

fn forwarded() -> Fact {
    let what = What::Forwarded {
        trunk: "vox".into(),
        route: "dialer-agents".into(),
        role: Role::AgentLeg,
        did: "+61255501234".into(),
        did_rule: "sticky".into(),
        attempt: 1,
        sip_call_id: "b@x".into(),
    };
    fact(1, 1, what)
}

fn account() -> Account {
    let at = |ms| Some(INVITE + Duration::from_millis(ms));
    let mut account = Account::new(call(), "syd-1", INVITE);
    (account.role, account.route) = (Some(Role::AgentLeg), "dialer-agents".into());
    (account.customer, account.called) = ("+61491570156".into(), "sales".into());
    (account.did, account.did_rule) = ("+61255501234".into(), "sticky".into());
    account.external_id = "u-77".into();
    account.times.invite_out = at(1);
    account.times.b_200 = at(2000);
    account.times.agent = at(18_000);
    account.times.end = at(36_000);
    (account.answer_source, account.answer_err_ms) = (AnswerSource::B24Event, Some(500));
    (account.sip_final, account.end_party) = (200, Party::Agent);
    account.outcome = Outcome::Connected;
    (account.agent, account.hold_unknown) = (Some("7".into()), true);
    let leg = |side, trunk: &str| LegAccount {
        side,
        trunk: trunk.into(),
        peer: String::new(),
        sip_call_id: String::new(),
        local_tag: String::new(),
        remote_tag: String::new(),
        result: 200,
        invite: None,
        ringing: None,
        answer: None,
        end: None,
        codec: String::new(),
    };
    account.legs = vec![leg(Side::A, "unitalk"), leg(Side::B, "first"), leg(Side::B, "vox")];
    account
}

fn context() -> Context {
    let mut context = Context::default();
    context.learn(&invited());
    context.learn(&forwarded());
    context
}

/// The body of the event that `fact` is, as the second of its call.
fn body(context: &mut Context, fact: &Fact) -> String {
    context.learn(fact);
    Event::of(fact, context, "syd-1").unwrap().body(2)
}

/// A body with these members in front of the common ones (which are sorted by name).
fn expected(seq: u32, kind: &str, time: &str, data: &str) -> String {
    format!(
        "{{\"id\":\"01KAK3RZ0V0000000000000042-{seq}\",\"type\":\"cooee.call.{kind}\",\
         \"time\":\"2026-11-21T14:{time}Z\",\"node\":\"syd-1\",\
         \"call_id\":\"01KAK3RZ0V0000000000000042\",\"sequence\":2,\"data\":{data}}}"
    )
}

#[test]
fn ringing_is_told() {
    let fact = fact(2, 250, What::Ringing { code: 183, early_media: true });
    let data = "{\"autodialer\":null,\"called\":\"sales\",\"code\":183,\
                \"customer\":\"+61491570156\",\"did\":\"+61255501234\",\"early_media\":true,\
                \"external_id\":\"u-77\",\"role\":\"agent-leg\",\"route\":\"dialer-agents\",\
                \"trunk_in\":\"unitalk\",\"trunk_out\":\"vox\"}";
    assert_eq!(body(&mut context(), &fact), expected(2, "ringing", "00:00.373456", data));
}

#[test]
fn answers_and_the_bridge_are_told() {
    let common = "\"called\":\"sales\",\"customer\":\"+61491570156\",\"did\":\"+61255501234\",\
                  \"external_id\":\"u-77\",\"role\":\"agent-leg\",\"route\":\"dialer-agents\",\
                  \"trunk_in\":\"unitalk\",\"trunk_out\":\"vox\"";
    let plain = format!("{{\"autodialer\":null,{common}}}");
    let fact_of = |seq, ms, what| body(&mut context(), &fact(seq, ms, what));
    assert_eq!(
        fact_of(3, 2000, What::PlatformAnswered {}),
        expected(3, "platform_answered", "00:02.123456", &plain),
    );
    let answered =
        What::AgentAnswered { source: AnswerSource::Media, err_ms: 20, agent: Some("7".into()) };
    let data = format!(
        "{{\"agent\":\"7\",\"answer_err_ms\":20,\"answer_source\":\"media\",\
         \"autodialer\":null,{common}}}"
    );
    assert_eq!(fact_of(4, 18_000, answered), expected(4, "agent_answered", "00:18.123456", &data));
    assert_eq!(
        fact_of(10, 18_001, What::Bridged {}),
        expected(10, "bridged", "00:18.124456", &plain),
    );
}

#[test]
fn the_end_and_its_amendment_tell_the_whole_cdr() {
    let data = "{\"abandoned_ms\":null,\"agent\":\"7\",\"autodialer\":null,\"autodialer_id\":null,\
        \"bridge_ms\":null,\"called\":\"sales\",\"config_rev\":0,\"connect_ms\":18000.0,\
        \"customer\":\"+61491570156\",\"did\":\"+61255501234\",\"did_rule\":\"sticky\",\
        \"end_party\":\"agent\",\"external_id\":\"u-77\",\"hold_count\":null,\"hold_ms\":null,\
        \"id\":\"01KAK3RZ0V0000000000000042\",\"node\":\"syd-1\",\"outcome\":\"connected\",\
        \"portal_call_id\":null,\"q850\":null,\"reason_text\":null,\"recovered\":false,\
        \"role\":\"agent-leg\",\"route\":\"dialer-agents\",\"setup_ms\":2000.0,\"sip_final\":200,\
        \"status_code\":\"200\",\"t_agent\":\"2026-11-21T14:00:18.123456Z\",\
        \"t_agent_err_ms\":500,\"t_agent_src\":\"b24_event\",\"t_b_100\":null,\"t_b_18x\":null,\
        \"t_b_200\":\"2026-11-21T14:00:02.123456Z\",\"t_bridge\":null,\
        \"t_end\":\"2026-11-21T14:00:36.123456Z\",\"t_invite\":\"2026-11-21T14:00:00.123456Z\",\
        \"t_invite_out\":\"2026-11-21T14:00:00.124456Z\",\"t_queue\":null,\"talk_ms\":null,\
        \"trunk_in\":\"unitalk\",\"trunk_out\":\"vox\",\"trunk_queue_ms\":18000.0,\
        \"unitalk_call_id\":\"u-77\",\"wall_spans\":false}";
    let account = Box::new(account());
    // With and without what went before: the account says it all.
    for mut context in [context(), Context::default()] {
        let ended = fact(5, 36_000, What::Ended { account: account.clone() });
        assert_eq!(body(&mut context, &ended), expected(5, "ended", "00:36.123456", data));
        assert!(context.is_over());
        let amended = fact(6, 50_000, What::Amended { account: account.clone() });
        assert_eq!(body(&mut context, &amended), expected(6, "amended", "00:50.123456", data));
    }
}

#[test]
fn what_is_not_known_is_null_and_times_need_no_beginning() {
    let mut context = Context::default();
    let text = body(&mut context, &fact(2, 250, What::Bridged {}));
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["time"], "2026-11-21T14:00:00.373456Z");
    assert!(value["data"].as_object().unwrap().values().all(Value::is_null));
}

#[test]
fn a_wall_clock_that_is_set_in_mid_call_does_not_move_events() {
    let mut fact = fact(2, 250, What::Bridged {});
    fact.at.wall -= 3_600_000_000_000;
    let value: Value = serde_json::from_str(&body(&mut context(), &fact)).unwrap();
    assert_eq!(value["time"], "2026-11-21T14:00:00.373456Z");
}

#[test]
fn a_context_reads_back_and_counts_for_each_webhook() {
    let mut context = context();
    context.tell("ops", 1);
    context.tell("crm", 4);
    let text = serde_json::to_string(&context).unwrap();
    let read: Context = serde_json::from_str(&text).unwrap();
    assert_eq!(read, context);
    assert_eq!((read.told("ops"), read.told("crm"), read.told("new")), (1, 4, 0));
    context.learn(&fact(5, 36_000, What::Ended { account: Box::new(account()) }));
    assert_eq!(context.told("crm"), 4, "the end does not begin again");
}

#[test]
fn a_webhook_hears_what_it_wants() {
    let all = Subscription::new::<&str>("ops", &[]);
    assert_eq!(all.kinds.len(), Kind::ALL.len());
    let some = Subscription::new("ops", &["ended", "bridged"]);
    assert_eq!(some.kinds, BTreeSet::from([Kind::Bridged, Kind::Ended]));
    assert_eq!(Subscription::new("ops", &["invited"]).kinds, BTreeSet::new());
    for kind in Kind::ALL {
        assert_eq!(Kind::from_name(kind.name()), Some(kind));
    }
}
