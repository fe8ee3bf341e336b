//! The rows of a finished call: the session, its legs, its media (product definition 12).
//!
//! Columns have the names of the table, `t_*_us` are microseconds since the Unix epoch, UTC, empty
//! where the thing did not happen or was not seen. All times of a call are told on the wall clock
//! of its INVITE, so that their differences are the true spans; where a reboot lay between
//! (`wall_spans`), each is what the wall clock said.

use cooee_model::account::{Account, LegAccount, Outcome};
use cooee_model::ids::{CallId, Side};
use cooee_model::media::{Quality, StreamStats};
use cooee_model::moment::Moment;
use serde::Serialize;

use crate::status_code;

/// One call as one flat row. The metrics at its end are those of product definition 3.3,
/// milliseconds with three places, computed from the times.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cdr {
    /// ULID, `EXTERNAL_CALL_ID` towards Bitrix24.
    pub id: String,
    /// The node's id.
    pub node: String,
    /// `agent-leg`, `customer-leg`; empty: no route was found.
    pub role: Option<String>,
    /// The route's name.
    pub route: Option<String>,
    /// Revision of the configuration that decided the call.
    pub config_rev: u32,
    /// The dialer's campaign.
    pub autodialer_id: Option<String>,
    /// The dialer's own id of the call.
    pub unitalk_call_id: Option<String>,
    /// The customer's number, E.164; empty: withheld.
    pub customer: Option<String>,
    /// What was dialled.
    pub called: Option<String>,
    /// The owned number presented, E.164.
    pub did: Option<String>,
    /// Which rule chose it.
    pub did_rule: Option<String>,
    /// First byte of the INVITE.
    pub t_invite_us: i64,
    /// First INVITE towards B.
    pub t_invite_out_us: Option<i64>,
    /// First 100 from B.
    pub t_b_100_us: Option<i64>,
    /// First 18x from B.
    pub t_b_18x_us: Option<i64>,
    /// First 2xx from B: the platform's answer.
    pub t_b_200_us: Option<i64>,
    /// Greeting over.
    pub t_queue_us: Option<i64>,
    /// The agent's answer.
    pub t_agent_us: Option<i64>,
    /// RTP both ways after it.
    pub t_bridge_us: Option<i64>,
    /// The end.
    pub t_end_us: Option<i64>,
    /// How the agent's answer is known: `sip200`, `b24_event`, `b24_event+media`, `media`, `none`.
    pub t_agent_src: String,
    /// Half width of its uncertainty, milliseconds.
    pub t_agent_err_ms: Option<u32>,
    /// Whole time on hold, milliseconds; empty: the platform does not signal its holds.
    pub hold_ms: Option<i64>,
    /// How many times; empty: as `hold_ms`.
    pub hold_count: Option<u32>,
    /// Final code of B, or the one we refused with.
    pub sip_final: Option<u16>,
    /// Q.850 cause.
    pub q850: Option<u16>,
    /// Reason text.
    pub reason_text: Option<String>,
    /// Who ended it.
    pub end_party: String,
    /// How it came out.
    pub outcome: String,
    /// Bitrix24's `STATUS_CODE`; empty: not known yet.
    pub status_code: Option<String>,
    /// A restart fell into the call; its outcome says whether it went on. If so, its media
    /// figures are those since then.
    pub recovered: bool,
    /// Spans are told by the wall clock.
    pub wall_spans: bool,
    /// The portal's id of the agent.
    pub agent: Option<String>,
    /// The portal's id of the call.
    pub portal_call_id: Option<String>,
    /// Platform set-up: platform's answer - INVITE.
    pub setup_ms: Option<f64>,
    /// Queue time, trunk view: agent - INVITE.
    pub trunk_queue_ms: Option<f64>,
    /// How long a customer waited who left before an agent came: end - INVITE.
    pub abandoned_ms: Option<f64>,
    /// Dead air after the agent's answer: bridge - agent.
    pub bridge_ms: Option<f64>,
    /// Connect time: end - agent.
    pub connect_ms: Option<f64>,
    /// Talk time: connect - hold; empty where the hold is.
    pub talk_ms: Option<f64>,
}

/// One leg of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Leg {
    /// The call.
    pub session_id: String,
    /// Place among the legs, from 0.
    pub n: u32,
    /// `A` or `B`.
    pub side: String,
    /// The trunk's name.
    pub trunk: String,
    /// Where the peer signals from or to.
    pub peer: Option<String>,
    /// Call-ID.
    pub sip_call_id: String,
    /// Our tag.
    pub local_tag: Option<String>,
    /// The peer's tag.
    pub remote_tag: Option<String>,
    /// Final code of the leg's INVITE.
    pub result: Option<u16>,
    /// INVITE in or out.
    pub t_invite_us: Option<i64>,
    /// First 18x.
    pub t_18x_us: Option<i64>,
    /// 2xx.
    pub t_200_us: Option<i64>,
    /// End of the leg.
    pub t_end_us: Option<i64>,
    /// The codec agreed on.
    pub codec: Option<String>,
}

/// What was received from one side over the whole relay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Media {
    /// The call.
    pub session_id: String,
    /// From whom: `A` or `B`.
    pub side: String,
    /// Packets accepted.
    pub packets: i64,
    /// Bytes accepted, RTP headers included.
    pub bytes: i64,
    /// Packets sent on.
    pub forwarded: i64,
    /// Missing by sequence number.
    pub lost: i64,
    /// Seen before.
    pub duplicate: i64,
    /// Came after a later one.
    pub reordered: i64,
    /// Interarrival jitter at the end, microseconds.
    pub jitter_us: u32,
    /// From a source that is not believed, dropped.
    pub foreign_packets: i64,
    /// No RTP, dropped.
    pub malformed: i64,
    /// RTCP relayed.
    pub rtcp: i64,
    /// Payload type of the first packet.
    pub payload_type: Option<u8>,
}

/// How what came from one side sounded over some seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    /// The call.
    pub session_id: String,
    /// From whom: `A` or `B`.
    pub side: String,
    /// The end of those seconds, microseconds since the Unix epoch by the wall clock.
    pub t_us: i64,
    /// Packets accepted.
    pub packets: u32,
    /// Missing by sequence number.
    pub lost: u32,
    /// Seen before.
    pub duplicate: u32,
    /// Came after a later one.
    pub late: u32,
    /// Interarrival jitter at the end, microseconds.
    pub jitter_us: u32,
    /// From here to the peer and back, microseconds; empty: its reports do not say.
    pub rtt_us: Option<u32>,
    /// The mean opinion score that ITU-T G.107 estimates: 1 to 4.41; empty: nothing came.
    pub mos: Option<f64>,
    /// 5 (best) to 1 (ITU-T G.109).
    pub grade: Option<u8>,
}

impl Sample {
    /// The rows of both sides.
    pub fn both(call: CallId, at: Moment, a: &Quality, b: &Quality) -> [Self; 2] {
        [(Side::A, a), (Side::B, b)].map(|(side, quality)| Self {
            session_id: call.to_string(),
            side: side.to_string(),
            t_us: at.wall.div_euclid(1000),
            packets: quality.packets,
            lost: quality.lost,
            duplicate: quality.duplicate,
            late: quality.late,
            jitter_us: quality.jitter_us,
            rtt_us: quality.round_trip_us,
            mos: quality.mos().map(|mos| (mos * 100.0).round() / 100.0),
            grade: quality.grade(),
        })
    }
}

impl Cdr {
    /// The row of a finished call.
    pub fn from_account(account: &Account) -> Self {
        let times = &account.times;
        let at = |moment: Option<Moment>| moment.map(|m| told(m, account));
        // A platform that signals no holds may have held all the same: not 0, but not known.
        let holds_known = !account.hold_unknown || account.hold_count > 0;
        Self {
            id: account.id.to_string(),
            node: account.node.clone(),
            role: account.role.map(|role| role.name().to_owned()),
            route: text(&account.route),
            config_rev: account.config_rev,
            autodialer_id: text(&account.autodialer),
            unitalk_call_id: text(&account.external_id),
            customer: text(&account.customer),
            called: text(&account.called),
            did: text(&account.did),
            did_rule: text(&account.did_rule),
            t_invite_us: told(times.invite, account),
            t_invite_out_us: at(times.invite_out),
            t_b_100_us: at(times.b_100),
            t_b_18x_us: at(times.b_18x),
            t_b_200_us: at(times.b_200),
            t_queue_us: at(times.queue),
            t_agent_us: at(times.agent),
            t_bridge_us: at(times.bridge),
            t_end_us: at(times.end),
            t_agent_src: account.answer_source.name().to_owned(),
            t_agent_err_ms: account.answer_err_ms,
            hold_ms: holds_known.then_some(signed(account.hold_ms)),
            hold_count: holds_known.then_some(account.hold_count),
            sip_final: code(account.sip_final),
            q850: code(account.q850),
            reason_text: text(&account.reason),
            end_party: account.end_party.name().to_owned(),
            outcome: account.outcome.name().to_owned(),
            status_code: status_code::of(account).map(str::to_owned),
            recovered: account.recovered,
            wall_spans: account.wall_spans,
            agent: account.agent.clone(),
            portal_call_id: account.portal_call_id.clone(),
            ..Self::default()
        }
        .measured()
    }

    /// The row with its metrics computed from its times.
    #[must_use]
    pub fn measured(mut self) -> Self {
        let invite = Some(self.t_invite_us);
        let abandoned = self.outcome == Outcome::Abandoned.name();
        self.setup_ms = span_ms(invite, self.t_b_200_us);
        self.trunk_queue_ms = span_ms(invite, self.t_agent_us);
        self.abandoned_ms = span_ms(invite, self.t_end_us).filter(|_| abandoned);
        self.bridge_ms = span_ms(self.t_agent_us, self.t_bridge_us);
        self.connect_ms = span_ms(self.t_agent_us, self.t_end_us);
        let talk_ms = |(connect, hold): (f64, i64)| (connect - hold as f64).max(0.0);
        self.talk_ms = self.connect_ms.zip(self.hold_ms).map(talk_ms);
        self
    }

    /// `DURATION` for Bitrix24: connect time in seconds, rounded half up, at least 1; zero where
    /// no agent was reached.
    pub fn duration_s(&self) -> u64 {
        self.connect_ms.map_or(0, |ms| ((ms / 1000.0 + 0.5).floor() as u64).max(1))
    }
}

impl Leg {
    /// The legs of a finished call, A first.
    pub fn all(account: &Account) -> Vec<Self> {
        (0..).zip(&account.legs).map(|(n, leg)| Self::row(account, n, leg)).collect()
    }

    fn row(account: &Account, n: u32, leg: &LegAccount) -> Self {
        let at = |moment: Option<Moment>| moment.map(|m| told(m, account));
        Self {
            session_id: account.id.to_string(),
            n,
            side: leg.side.to_string(),
            trunk: leg.trunk.clone(),
            peer: text(&leg.peer),
            sip_call_id: leg.sip_call_id.clone(),
            local_tag: text(&leg.local_tag),
            remote_tag: text(&leg.remote_tag),
            result: code(leg.result),
            t_invite_us: at(leg.invite),
            t_18x_us: at(leg.ringing),
            t_200_us: at(leg.answer),
            t_end_us: at(leg.end),
            codec: text(&leg.codec),
        }
    }
}

impl Media {
    /// The row of what came from `side`.
    pub fn of(call: CallId, side: Side, stats: &StreamStats) -> Self {
        Self {
            session_id: call.to_string(),
            side: side.to_string(),
            packets: signed(stats.packets),
            bytes: signed(stats.bytes),
            forwarded: signed(stats.forwarded),
            lost: signed(stats.lost),
            duplicate: signed(stats.duplicate),
            reordered: signed(stats.reordered),
            jitter_us: stats.jitter_us,
            foreign_packets: signed(stats.foreign),
            malformed: signed(stats.malformed),
            rtcp: signed(stats.rtcp),
            payload_type: stats.payload_type,
        }
    }
}

/// Microseconds since the epoch, on the clock that the whole call is told on.
fn told(moment: Moment, account: &Account) -> i64 {
    if account.wall_spans {
        moment.wall.div_euclid(1000)
    } else {
        moment.wall_us_on(account.times.invite)
    }
}

/// Never negative: only the wall clock can run back, across a reboot.
fn span_ms(from_us: Option<i64>, to_us: Option<i64>) -> Option<f64> {
    Some((to_us?.saturating_sub(from_us?)).max(0) as f64 / 1000.0)
}

fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn code(code: u16) -> Option<u16> {
    (code != 0).then_some(code)
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cooee_model::account::{AnswerSource, Party};

    use super::*;

    /// 2026-01-01 00:00:00 UTC.
    const DAY: Moment = Moment::new(77_000_000_000, 1_767_225_600_000_000_000);

    fn at(seconds: u64) -> Option<Moment> {
        Some(DAY + Duration::from_secs(seconds))
    }

    /// The worked example of product definition 3.3.
    fn seed_004() -> Account {
        let mut account = Account::new(CallId(4), "syd-1", DAY);
        account.times.b_200 = at(2);
        account.times.queue = at(11);
        account.times.agent = at(18);
        account.times.end = at(36);
        account.answer_source = AnswerSource::B24Event;
        (account.hold_ms, account.hold_count) = (8000, 1);
        (account.sip_final, account.q850) = (603, 21);
        (account.end_party, account.outcome) = (Party::Agent, Outcome::Connected);
        account
    }

    #[test]
    fn seed_004_is_told_as_the_definitions_say() {
        let cdr = Cdr::from_account(&seed_004());
        assert_eq!(cdr.setup_ms, Some(2000.0));
        assert_eq!(cdr.trunk_queue_ms, Some(18_000.0));
        assert_eq!(cdr.connect_ms, Some(18_000.0));
        assert_eq!(cdr.talk_ms, Some(10_000.0));
        assert_eq!((cdr.bridge_ms, cdr.abandoned_ms), (None, None));
        assert_eq!(cdr.status_code.as_deref(), Some("200"), "603 on a good call");
        assert_eq!(cdr.duration_s(), 18);
        assert_eq!(cdr.t_invite_us, 1_767_225_600_000_000);
        assert_eq!(cdr.t_end_us, Some(1_767_225_636_000_000));
        assert_eq!((cdr.role, cdr.customer, cdr.t_b_18x_us), (None, None, None));
    }

    #[test]
    fn a_wall_clock_that_was_set_changes_no_span() {
        let mut account = seed_004();
        let hour = 3_600_000_000_000;
        for moment in [&mut account.times.agent, &mut account.times.end].into_iter().flatten() {
            moment.wall -= hour;
        }
        let straight = Cdr::from_account(&seed_004());
        assert_eq!(Cdr::from_account(&account), straight);

        account.wall_spans = true;
        let cdr = Cdr::from_account(&account);
        assert_eq!(cdr.t_agent_us, straight.t_agent_us.map(|us| us - hour / 1000));
        assert_eq!((cdr.trunk_queue_ms, cdr.connect_ms), (Some(0.0), Some(18_000.0)));
    }

    #[test]
    fn an_abandoned_wait_is_kept_apart() {
        let mut account = seed_004();
        (account.outcome, account.times.agent) = (Outcome::Abandoned, None);
        let cdr = Cdr::from_account(&account);
        assert_eq!(cdr.abandoned_ms, Some(36_000.0));
        assert_eq!((cdr.trunk_queue_ms, cdr.connect_ms, cdr.talk_ms), (None, None, None));
        assert_eq!((cdr.status_code.as_deref(), cdr.duration_s()), (Some("304"), 0));
    }

    #[test]
    fn holds_that_nobody_signals_are_not_known() {
        let mut account = seed_004();
        account.hold_unknown = true;
        let held = Cdr::from_account(&account);
        assert_eq!(
            (held.hold_ms, held.hold_count),
            (Some(8000), Some(1)),
            "one was seen all the same"
        );
        (account.hold_ms, account.hold_count) = (0, 0);
        let cdr = Cdr::from_account(&account);
        assert_eq!((cdr.hold_ms, cdr.hold_count, cdr.talk_ms), (None, None, None));
        assert_eq!(cdr.connect_ms, Some(18_000.0));
    }

    #[test]
    fn duration_is_rounded_half_up_and_at_least_one() {
        for (ms, s) in [(0.0, 1), (499.0, 1), (1499.999, 1), (1500.0, 2), (2500.0, 3)] {
            let cdr = Cdr { connect_ms: Some(ms), ..Cdr::default() };
            assert_eq!(cdr.duration_s(), s, "{ms}");
        }
    }

    #[test]
    fn legs_and_media_have_their_rows() {
        let mut account = seed_004();
        account.legs.push(LegAccount {
            side: Side::B,
            trunk: "vox".into(),
            peer: "198.51.100.7:5060".into(),
            sip_call_id: "x@y".into(),
            local_tag: "l".into(),
            remote_tag: String::new(),
            result: 200,
            invite: at(0),
            ringing: None,
            answer: at(2),
            end: at(36),
            codec: "PCMA/8000".into(),
        });
        let legs = Leg::all(&account);
        assert_eq!(legs.len(), 1);
        let leg = &legs[0];
        assert_eq!((leg.n, leg.side.as_str(), leg.result), (0, "B", Some(200)));
        assert_eq!((leg.remote_tag.as_deref(), leg.codec.as_deref()), (None, Some("PCMA/8000")));
        assert_eq!(leg.t_200_us, Some(1_767_225_602_000_000));

        let stats = StreamStats { packets: 9, foreign: u64::MAX, ..StreamStats::default() };
        let media = Media::of(CallId(4), Side::A, &stats);
        assert_eq!((media.side.as_str(), media.packets), ("A", 9));
        assert_eq!(media.foreign_packets, i64::MAX);
    }
}
