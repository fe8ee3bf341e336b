//! When what happened (product definition 3.1 to 3.3): the moments and the spans of a call.

use cooee_model::account::AnswerSource;
use cooee_model::fact::What;
use cooee_model::ids::Side;
use cooee_model::media::{MediaCommand, MediaEvent};
use cooee_model::moment::Moment;
use std::net::SocketAddr;

use crate::call::context::Cx;
use crate::call::{Call, Path};
use crate::profile::decision::AnswerPolicy;
use crate::profile::rules::AnswerMeans;

impl Call {
    /// B gave its 2xx: the platform's answer, and the agent's where the profile says so.
    pub(super) fn platform_answered(&mut self, cx: &mut Cx<'_>) {
        let at = cx.received;
        self.account.times.b_200 = Some(at);
        self.fact(cx, at, What::PlatformAnswered {});
        let means = self
            .b
            .as_ref()
            .and_then(|b| self.plan.trunk(&b.trunk))
            .map_or(AnswerMeans::Platform, |t| t.profile.behaviour.answer_means);
        let by_sip = match self.decision.answer_source {
            AnswerPolicy::Sip200 => true,
            AnswerPolicy::Auto => means != AnswerMeans::Platform,
            AnswerPolicy::B24Event | AnswerPolicy::Media => false,
        };
        if by_sip {
            self.agent_answered(cx, at, AnswerSource::Sip200, 0);
        } else {
            // Who answered is a machine that finds an agent: the wait begins here, as far as SIP
            // can tell (product definition 3.1).
            self.account.times.queue = Some(at);
        }
        self.believe_start(cx);
    }

    /// The agent (or the customer) answered.
    pub(super) fn agent_answered(
        &mut self,
        cx: &mut Cx<'_>,
        at: Moment,
        source: AnswerSource,
        err_ms: u32,
    ) {
        self.account.times.agent = Some(at);
        self.account.answer_source = source;
        self.account.answer_err_ms = Some(err_ms);
        let agent = self.account.agent.clone();
        self.fact(cx, at, What::AgentAnswered { source, err_ms, agent });
        self.dirty = true;
        if self.path == Path::Relayed && !self.ended {
            cx.out.media.push(MediaCommand::Mark { call: self.id, at });
        }
        self.let_answer_go(cx);
    }

    /// What the RTP plane has seen.
    pub fn media_seen(&mut self, cx: &mut Cx<'_>, event: &MediaEvent) {
        match *event {
            MediaEvent::Latched { side, source, at, .. } => self.latched(cx, side, source, at),
            MediaEvent::Forwarded { side, at, .. } => {
                match side {
                    Side::A => self.forwarded.0 = self.forwarded.0.or(Some(at)),
                    Side::B => self.forwarded.1 = self.forwarded.1.or(Some(at)),
                }
                if let (Some(a), Some(b), None) =
                    (self.forwarded.0, self.forwarded.1, self.account.times.bridge)
                    && !self.ended
                {
                    let at = a.max(b);
                    self.account.times.bridge = Some(at);
                    self.fact(cx, at, What::Bridged {});
                }
            }
            MediaEvent::Pressed { side, event, held, .. } => self.pressed(cx, side, event, held),
            MediaEvent::Silent { .. } => self.media_timed_out(cx),
            MediaEvent::Sampled { at, a, b, .. } => self.fact(cx, at, What::Sampled { a, b }),
            MediaEvent::Closed { a, b, .. } => {
                self.fact(cx, cx.now, What::Measured { a, b });
                self.media_over(cx);
            }
            MediaEvent::Failed { .. } => {
                cx.note(self.id, "the relay does not know this call");
                self.media_over(cx);
            }
        }
    }

    /// The relay believes a source: kept for a restart, so that nobody else takes its place then.
    fn latched(&mut self, cx: &mut Cx<'_>, side: Side, source: SocketAddr, at: Moment) {
        let Some(leg) = self.leg_mut(side) else { return };
        let is_first = !std::mem::replace(&mut leg.heard, true);
        if leg.source.replace(source) != Some(source) {
            self.dirty = true;
        }
        if is_first {
            self.fact(cx, at, What::MediaStarted { side });
        }
    }

    /// The relay is over: the ports rest.
    pub fn media_over(&mut self, cx: &mut Cx<'_>) {
        if self.path != Path::Relayed {
            return;
        }
        self.path = Path::Over;
        if let Some((a, b)) = self.leases.take() {
            cx.core.pool.release(cx.now, a);
            cx.core.pool.release(cx.now, b);
        }
        if !self.ended {
            self.fail_of_ours(cx, 500, "media relay lost");
        }
    }

    /// A side's description now holds the other side, or no longer does.
    pub(super) fn hold_changed(&mut self, cx: &mut Cx<'_>, side: Side, holds: bool) {
        if let Some(leg) = self.leg_mut(side) {
            leg.holds = holds;
        }
        match self.held {
            None if holds => {
                self.held = Some((cx.received, side));
                self.account.hold_count += 1;
                self.fact(cx, cx.received, What::Held { by: side });
            }
            Some((since, by)) if by == side && !holds => {
                self.held = None;
                self.add_hold(since, cx.received);
                self.fact(cx, cx.received, What::Resumed { by });
            }
            _ => return,
        }
        if self.path == Path::Relayed {
            let held = self.held.is_some();
            cx.out.media.push(MediaCommand::Hold { call: self.id, held });
        }
    }

    pub(super) fn add_hold(&mut self, since: Moment, until: Moment) {
        let span = match self.account.wall_spans {
            true => u64::try_from(until.wall.saturating_sub(since.wall) / 1_000_000).unwrap_or(0),
            false => u64::try_from((until - since).as_millis()).unwrap_or(u64::MAX),
        };
        self.account.hold_ms = self.account.hold_ms.saturating_add(span);
    }
}
