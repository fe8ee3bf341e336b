//! Who may begin a call: everything that is looked at before there is one.

use cooee_model::account::Role;
use cooee_model::command::Leave;
use cooee_model::fact::Refusal;
use cooee_model::ids::Family;
use cooee_model::moment::Moment;

use crate::call::Call;
use crate::call::context::{Cx, Output, Owner};
use crate::call::setup::{Admitted, sdp_of};
use crate::leg::offer_answer::described;
use crate::leg::reliable::TAG;
use crate::leg::session_timer::Session;
use crate::leg::uas::trying;
use crate::message::address::Uri;
use crate::message::name::Name;
use crate::message::text::{split_outside, trim};
use crate::message::view::Message;
use crate::profile::plan::{Plan, Reliable};
use crate::switch::Switch;
use crate::switch::limits::{INVITE_BYTES, OVER};
use crate::transaction::flow::{Flow, Hop, Measure};
use crate::transaction::key::{Digest, Token};
use crate::transaction::layer::Arrival;

/// Whether a request out of dialog asks for nothing that we do not know (RFC 3261, 8.2.2).
pub(super) fn understood(request: &Message, plan: &Plan) -> Result<(), (u16, Refusal)> {
    let uri = Uri::read(request.request_uri());
    if !uri.is_some_and(|u| u.is_sip() || u.scheme.eq_ignore_ascii_case(b"tel")) {
        return Err((416, Refusal::Unsupported));
    }
    match unsupported(request, plan).next() {
        Some(_) => Err((420, Refusal::Unsupported)),
        None => Ok(()),
    }
}

/// The extensions that a request requires and that we do not have. Proxy-Require is not for us.
pub(super) fn unsupported<'m>(request: &'m Message, plan: &Plan) -> impl Iterator<Item = &'m [u8]> {
    let reliable = plan.settings.reliable != Reliable::Off;
    let known = move |tag: &[u8]| {
        reliable && tag.eq_ignore_ascii_case(TAG.as_bytes()) || tag.eq_ignore_ascii_case(b"timer")
    };
    request.list(Name::Require).filter(move |tag| !known(tag))
}

/// Whether the caller can read the answer that it would get. An empty Accept says nothing.
fn takes_sdp(invite: &Message) -> bool {
    let mut kinds = invite.list(Name::Accept).map(|kind| trim(split_outside(kind, b';').0));
    let known = [&b"application/sdp"[..], b"application/*", b"*/*"];
    let fits = |kind: &[u8]| known.iter().any(|k| kind.eq_ignore_ascii_case(k));
    kinds.next().is_none_or(|first| fits(first) || kinds.any(fits))
}

impl Switch {
    /// An initial INVITE of a trunk: refused without state, or made a call.
    pub(super) fn admit(
        &mut self,
        now: Moment,
        received: Moment,
        flow: Flow,
        invite: Message,
        trunk: usize,
        out: &mut Output,
    ) {
        let Some(trunk) = self.proven(now, received, flow, &invite, trunk, out) else { return };
        let family = match self.may_begin(now, flow, &invite, trunk) {
            Ok(family) => family,
            Err(refusal) => return self.refuse(received, flow, &invite, refusal, out),
        };
        let plan = self.core.plan.clone();
        let decision = match plan.decide(trunk, &invite, received, &self.shown, None) {
            Ok(decision) => decision,
            Err(refused) => {
                let text = refused.to_string();
                out.notes.push(crate::call::context::Note { call: None, text });
                return self.refuse(received, flow, &invite, (refused.code, refused.why), out);
            }
        };
        if decision.role == Role::CustomerLeg && plan.is_anybody(trunk) {
            let refusal = (403, Refusal::Unauthorized);
            return self.refuse(received, flow, &invite, refusal, out);
        }
        let leases = match self.lease_two(now, family) {
            Ok(leases) => leases,
            Err(refusal) => return self.refuse(received, flow, &invite, refusal, out),
        };
        let Arrival::New(server) = self.core.tx.open(&invite, flow, Owner::Nobody) else {
            return self.refuse(received, flow, &invite, (503, Refusal::Limit), out);
        };
        let hundred = trying(&invite, flow.remote);
        self.core.loads.begins(&decision.trunk);
        self.shown.note(&plan, &decision, received);
        let slot = self.calls.next();
        let mut cx = Cx { now, received, core: &mut self.core, out };
        let admitted = Admitted { slot, invite, flow, server, decision, leases };
        let mut call = Call::begin(&mut cx, admitted);
        call.settle(&mut cx);
        // After B's INVITE, which the customer waits for; nobody waits for a 100. After a final
        // response it is not sent at all.
        let measure = Some(Measure { hop: Hop::Trying, since: received });
        self.core.tx.respond(now, server, 100, hundred, measure, &mut out.sends);
        let id = call.id;
        if !plan.portals.is_empty() {
            self.portals.wait(&call.account.customer, slot, &plan.policy.numbers);
        }
        self.calls.insert(call);
        self.by_id.insert(id, slot);
        self.put_to_rest(slot);
    }

    /// Whether a call may begin, and in which family its media then is.
    fn may_begin(
        &mut self,
        now: Moment,
        flow: Flow,
        invite: &Message,
        trunk: usize,
    ) -> Result<Family, (u16, Refusal)> {
        if self.draining {
            return Err((503, Refusal::Draining));
        }
        match self.leave_of(trunk) {
            Leave::Enabled => {}
            Leave::Draining => return Err((503, Refusal::Draining)),
            Leave::Disabled => return Err((403, Refusal::Disabled)),
        }
        if invite.max_forwards() == Some(0) {
            return Err((483, Refusal::MaxForwards));
        }
        understood(invite, &self.core.plan)?;
        if invite.bytes().len() > INVITE_BYTES {
            return Err((513, Refusal::Limit));
        }
        let name = self.core.plan.trunks.get(trunk).map_or("", |t| &t.name);
        if let Some(code) = Session::refuses(&self.core.plan.session_timer(name), invite, true) {
            return Err((code, Refusal::Unsupported));
        }
        if self.core.tx.is_merged(invite) {
            return Err((482, Refusal::Merged));
        }
        if self.went_through_us(invite) {
            return Err((482, Refusal::Loop));
        }
        if let Some(code) = self.refuses_replaces(invite) {
            return Err((code, Refusal::Policy));
        }
        let body = sdp_of(invite);
        if body.is_empty() && !invite.body().is_empty() {
            return Err((415, Refusal::Unsupported));
        }
        if invite.value(Name::ContentEncoding).is_some_and(|e| !e.eq_ignore_ascii_case(b"identity"))
        {
            return Err((415, Refusal::Unsupported));
        }
        if !takes_sdp(invite) {
            return Err((406, Refusal::Unsupported));
        }
        let family = self.family_of(flow, body)?;
        if self.line_is_busy(invite, trunk) {
            return Err((486, Refusal::Limit));
        }
        self.within_limits(now, trunk)?;
        Ok(family)
    }

    /// In which family the caller gets its media: as its offer says, else as it speaks to us.
    fn family_of(&self, flow: Flow, body: &[u8]) -> Result<Family, (u16, Refusal)> {
        let (pool, spoken) = (&self.core.pool, Family::of(flow.remote.ip()));
        if self.core.plan.settings.media_bypass || body.is_empty() {
            return Ok(pool.nearest(spoken));
        }
        let offer = described(body).filter(|offer| offer.audio.is_some());
        let family = offer.map(|offer| offer.family.unwrap_or(pool.nearest(spoken)));
        family.filter(|family| pool.has(*family)).ok_or((488, Refusal::Media))
    }

    /// An operator tells a trunk what it may do.
    pub fn tell_trunk(&mut self, name: String, leave: Leave) {
        match leave {
            Leave::Enabled => self.core.told.remove(&name),
            rest => self.core.told.insert(name, rest),
        };
    }

    /// What a trunk may do, by its place in the plan.
    pub fn leave_of(&self, trunk: usize) -> Leave {
        let name = self.core.plan.trunks.get(trunk).map(|t| &t.name);
        name.and_then(|n| self.core.told.get(n)).copied().unwrap_or_default()
    }

    /// A registered line carries as many calls at a time as its registration says.
    fn line_is_busy(&self, invite: &Message, trunk: usize) -> bool {
        let Some(trunk) = self.core.plan.trunks.get(trunk) else { return false };
        let user = Uri::read(invite.request_uri()).map(|u| u.user_text()).unwrap_or_default();
        let Some(line) = trunk.registrations.iter().find(|r| r.user == user) else { return false };
        let on_it = |call: &&Call| call.a.trunk == trunk.name && call.line == user && !call.ended;
        let calls = self.calls.iter().map(|(_, call)| call).filter(on_it).count();
        calls >= usize::try_from(line.max_calls).unwrap_or(usize::MAX)
    }

    /// A branch of ours in any Via: our own request has come back (RFC 3261, 16.3).
    fn went_through_us(&self, invite: &Message) -> bool {
        invite.list(Name::Via).filter_map(crate::message::via::Via::read).any(|via| {
            let ours = |l: &crate::leg::dialog::Local| {
                let port = via.port.unwrap_or(l.transport.port());
                port == l.address.port() && via.host_is(l.address.ip())
            };
            Token::of_branch(via.branch()).is_some() && self.core.setup.locals.iter().any(ours)
        })
    }

    fn within_limits(&mut self, now: Moment, trunk: usize) -> Result<(), (u16, Refusal)> {
        let full = Err((503, Refusal::Limit));
        let settings = &self.core.plan.settings;
        let Some(trunk) = self.core.plan.trunks.get(trunk) else { return full };
        if !self.core.loads.take(now, &trunk.name, trunk.limits) {
            return full;
        }
        self.core.loads.take_node(now, settings.max_cps);
        Ok(())
    }

    /// Whether there is room for another call, before anything else is looked at: to refuse one
    /// must cost next to nothing.
    pub(super) fn has_room(
        &mut self,
        now: Moment,
        received: Moment,
        digest: Digest,
        surplus: bool,
    ) -> Result<(), Refusal> {
        if self.overload.has_refused(now, digest) {
            return Err(Refusal::Repeated);
        }
        if surplus {
            return Err(Refusal::Overload);
        }
        self.overload.look(now, received);
        let settings = &self.core.plan.settings;
        if self.is_full() || !self.core.loads.has_room(now, settings.max_cps) {
            return Err(Refusal::Limit);
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        let most = self.core.plan.settings.max_sessions;
        self.live() >= usize::try_from(most).unwrap_or(usize::MAX)
    }

    /// Whether a message that asks for a call and comes now, behind so many that wait to be looked
    /// at, is [`Input::Surplus`](crate::switch::input::Input::Surplus).
    pub fn sheds(&self, waiting: usize) -> bool {
        self.overload.sheds(waiting)
    }

    /// Whether the node refuses new calls at this moment, or did so a moment ago: too many at a
    /// time, too many a second, or more than it can do.
    pub fn is_overloaded(&self, now: Moment) -> bool {
        let flooded = self.core.loads.flooded();
        self.is_full() || flooded.is_some_and(|at| now - at <= OVER) || self.overload.stands(now)
    }

    /// Leases both pairs in one family: where B is called in the other, it is leased anew.
    fn lease_two(
        &mut self,
        now: Moment,
        family: Family,
    ) -> Result<Option<(cooee_model::ids::Lease, cooee_model::ids::Lease)>, (u16, Refusal)> {
        if self.core.plan.settings.media_bypass {
            return Ok(None);
        }
        let (one, two) = (self.core.random(), self.core.random());
        let full = (503, Refusal::Limit);
        let a = self.core.pool.lease(now, family, one).ok_or(full)?;
        match self.core.pool.lease(now, family, two) {
            Some(b) => Ok(Some((a, b))),
            None => {
                self.core.pool.release(now, a);
                Err(full)
            }
        }
    }
}
