//! Lines that we keep registered with a trunk (RFC 3261, 10): refreshed in time, one after the
//! other however many are due, with back-off when the registrar refuses or is away; unregistered
//! when they leave the configuration or the node drains.

use std::collections::BTreeMap;
use std::time::Duration;

use cooee_model::moment::Moment;
use rsip::headers::{ToTypedHeader, UntypedHeader, untyped::Contact};

use crate::call::context::{Alarm, Note, Output, Owner};
use crate::leg::asked::{Asked, Request};
use crate::leg::dialog::Dialog;
use crate::leg::digest::Login;
use crate::message::name::Name;
use crate::message::text::{lossy, number};
use crate::message::view::Message;
use crate::profile::plan::{Plan, Registration};
use crate::switch::Switch;
use crate::switch::limits::{
    LONGEST_RETRY_AFTER, REGISTER_BACKOFF, REGISTER_PACE, REGISTER_RETRY, TOO_BRIEF,
};
use crate::transaction::flow::Flow;
use crate::transaction::key::Token;
use crate::transaction::layer::ClientId;

/// One registered line.
#[derive(Debug)]
pub struct Line {
    trunk: usize,
    registration: Registration,
    dialog: Dialog,
    expires_s: u32,
    failures: u32,
    asked: Asked,
    /// How often the registrar has called our time too brief in a row.
    too_brief: u32,
    registered: bool,
    /// When it is looked after next; other alarms of it mean nothing any more.
    due: Option<Moment>,
    /// Its last REGISTER.
    asked_by: Option<ClientId>,
    /// The moment that is kept for its next REGISTER, where others were due before it.
    slot: Option<Moment>,
    /// Where its last REGISTER went.
    flow: Option<Flow>,
    /// It has left the configuration, or the node drains: unregistered, and never tried again.
    retired: bool,
    /// Its unregistration is under way.
    leaving: bool,
}

/// When the next REGISTER to each trunk may leave.
pub type Paces = BTreeMap<usize, Moment>;

impl Line {
    /// Whether the registrar's last word was yes.
    pub const fn is_registered(&self) -> bool {
        self.registered
    }

    /// Whether it is being unregistered.
    pub const fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Whether it is for this registration, and retired.
    fn is_former(&self, registration: &Registration) -> bool {
        let own = &self.registration;
        self.retired && own.user == registration.user && own.registrar == registration.registrar
    }

    /// The place in a plan of the registration that this line is for.
    fn place_in(&self, old: &Plan, plan: &Plan) -> Option<(usize, Registration)> {
        let at = plan.trunk_at(&old.trunks.get(self.trunk)?.name)?;
        let same = |r: &&Registration| {
            r.user == self.registration.user && r.registrar == self.registration.registrar
        };
        Some((at, plan.trunks.get(at)?.registrations.iter().find(same)?.clone()))
    }
}

impl Switch {
    pub(super) fn begin_lines(&mut self, now: Moment) {
        let plan = self.core.plan.clone();
        for (at, trunk) in plan.trunks.iter().enumerate() {
            for registration in &trunk.registrations {
                self.begin_line(now, at, registration);
            }
        }
    }

    fn begin_line(&mut self, now: Moment, trunk: usize, registration: &Registration) {
        let name = Token { index: 0, secret: self.core.random() }.text();
        let host = registration.registrar.authority();
        let aor = format!("<sip:{}@{host}>", registration.user).into_bytes();
        let dialog = Dialog {
            call_id: name.into_bytes(),
            local_tag: format!("{:016x}", self.core.random()),
            local: aor.clone(),
            remote: aor,
            remote_target: format!("sip:{host}").into_bytes(),
            ..Dialog::default()
        };
        self.lines.push(Line {
            trunk,
            registration: registration.clone(),
            dialog,
            expires_s: registration.expires_s,
            failures: 0,
            asked: Asked::new(),
            too_brief: 0,
            registered: false,
            due: None,
            asked_by: None,
            slot: None,
            flow: None,
            retired: false,
            leaving: false,
        });
        self.wake_soon(now, self.lines.len() - 1);
    }

    /// A line registers within a second: a few nodes that start together do not ask together.
    fn wake_soon(&mut self, now: Moment, at: usize) {
        let spread = Duration::from_millis(self.core.random() % 1000);
        self.wake_line(now, spread, at);
    }

    fn wake_line(&mut self, now: Moment, wait: Duration, at: usize) {
        if let Some(line) = self.lines.get_mut(at) {
            line.due = Some(now + wait);
            let alarm = Alarm::Register(u32::try_from(at).unwrap_or(u32::MAX));
            self.core.alarms.set(now, wait, alarm);
        }
    }

    /// Lines of another plan: those that stay keep their registration, new ones begin, those that
    /// are gone are unregistered.
    pub(super) fn carry_lines(&mut self, now: Moment, old: &Plan) {
        if self.draining {
            // No line is wanted; those of the plan in force are if the drain is taken back.
            return;
        }
        let plan = self.core.plan.clone();
        let mut kept = Vec::new();
        for at in 0..self.lines.len() {
            let Some(line) = self.lines.get_mut(at).filter(|l| !l.retired) else { continue };
            if let Some((trunk, registration)) = line.place_in(old, &plan) {
                kept.push((trunk, registration.user.clone()));
                line.trunk = trunk;
                line.registration = registration;
                continue;
            }
            self.retire(now, at);
        }
        for (at, trunk) in plan.trunks.iter().enumerate() {
            for registration in &trunk.registrations {
                if !kept.iter().any(|(place, user)| *place == at && *user == registration.user) {
                    self.begin_line(now, at, registration);
                }
            }
        }
    }

    /// Lines of a trunk, and how many of them are registered.
    pub(super) fn lines_of(&self, trunk: usize) -> (u32, u32) {
        let lines = self.lines.iter().filter(|l| l.trunk == trunk && !l.retired);
        lines.fold((0, 0), |(all, on), line| (all + 1, on + u32::from(line.registered)))
    }

    /// The node drains: no call is wanted by any line.
    pub(super) fn leave_lines(&mut self, now: Moment) {
        for at in 0..self.lines.len() {
            self.retire(now, at);
        }
    }

    /// The drain is taken back: the lines of the plan register again.
    pub(super) fn resume_lines(&mut self, now: Moment) {
        let plan = self.core.plan.clone();
        for (at, trunk) in plan.trunks.iter().enumerate() {
            for registration in &trunk.registrations {
                let place = self.lines.iter().position(|line| line.is_former(registration));
                let Some(line) = place.and_then(|p| self.lines.get_mut(p)) else {
                    self.begin_line(now, at, registration);
                    continue;
                };
                (line.trunk, line.registration) = (at, registration.clone());
                (line.retired, line.leaving) = (false, false);
                (line.expires_s, line.failures, line.slot) = (registration.expires_s, 0, None);
                // One that takes the line away may still be under way.
                if let Some(client) = line.asked_by.take() {
                    self.core.tx.abandon(client);
                }
                self.wake_soon(now, place.unwrap_or_default());
            }
        }
    }

    fn retire(&mut self, now: Moment, at: usize) {
        let Some(line) = self.lines.get_mut(at).filter(|l| !l.retired) else { return };
        line.retired = true;
        if std::mem::take(&mut line.registered) {
            line.leaving = true;
            line.expires_s = 0;
            line.slot = None;
            self.wake_line(now, Duration::ZERO, at);
        }
    }

    /// A line's REGISTER is due. Those of one trunk leave one after the other.
    pub(super) fn register(&mut self, now: Moment, at: u32, out: &mut Output) {
        let index = usize::try_from(at).unwrap_or(usize::MAX);
        let wanted =
            |l: &&mut Line| (!l.retired || l.leaving) && l.due.is_some_and(|d| d.mono <= now.mono);
        let Some(line) = self.lines.get_mut(index).filter(wanted) else { return };
        line.due = None;
        let (trunk, slot) = (line.trunk, line.slot);
        let gap = self.gap(trunk);
        let next = self.paces.entry(trunk).or_insert(now);
        let due = *next;
        let waits = slot.is_none() && due > now;
        if slot.is_none() {
            *next = due.max(now) + gap;
        }
        let Some(line) = self.lines.get_mut(index) else { return };
        if waits {
            line.slot = Some(due);
            let wait = Duration::from_nanos(due.mono.saturating_sub(now.mono));
            return self.wake_line(now, wait, index);
        }
        if line.slot.take().is_none_or(|slot| slot <= now) {
            self.send_register(now, at, None, out);
        }
    }

    /// How long after one REGISTER to a trunk the next one leaves: never so long that the lines
    /// would run out before all have been refreshed.
    fn gap(&self, trunk: usize) -> Duration {
        let lines = self.core.plan.trunks.get(trunk).map_or(&[][..], |t| &t.registrations);
        let expires = lines.first().map_or(0, |line| line.expires_s);
        let share = u64::from(expires) * 400 / u64::try_from(lines.len().max(1)).unwrap_or(1);
        REGISTER_PACE.min(Duration::from_millis(share.max(1)))
    }

    fn send_register(
        &mut self,
        now: Moment,
        at: u32,
        authorization: Option<(Name, String)>,
        out: &mut Output,
    ) {
        let secret = self.core.random();
        let index = usize::try_from(at).unwrap_or(usize::MAX);
        let Some(line) = self.lines.get_mut(index) else { return };
        let name = self.core.plan.trunks.get(line.trunk).map(|t| t.name.clone());
        let flow = match line.retired {
            true => line.flow,
            false => name.and_then(|n| self.core.trunk(&n).and_then(|t| t.1)),
        };
        let Some(flow) = flow else {
            return self.register_failed(now, at, "the registrar has no address", out);
        };
        let token = self.core.tx.reserve(secret);
        let Some(local) = self.core.local(flow) else { return };
        let Some(line) = self.lines.get_mut(index) else { return };
        line.flow = Some(flow);
        line.dialog.local_cseq += 1;
        let cseq = line.dialog.local_cseq;
        let mut writer = line.dialog.request("REGISTER", cseq, 70, (local, &token.branch()));
        let contact = format!("<{}>", local.uri(&line.registration.user));
        writer.header(Name::Contact, &[contact.as_bytes()]);
        writer.number(Name::Expires, line.expires_s);
        if let Some((name, value)) = &authorization {
            writer.header(*name, &[value.as_bytes()]);
        }
        let bytes = writer.finish(b"", b"");
        let owner = Owner::Line(at);
        let message = (flow, bytes);
        let client =
            self.core.tx.request(now, token, message, (false, owner), None, &mut out.sends);
        line.asked_by = Some(client);
    }

    pub(super) fn registered(
        &mut self,
        now: Moment,
        at: u32,
        response: &Message,
        out: &mut Output,
    ) {
        let random = self.core.random();
        let index = usize::try_from(at).unwrap_or(usize::MAX);
        let Some(line) = self.lines.get_mut(index) else { return };
        let code = response.code();
        match code {
            ..200 => {}
            200..300 if line.retired => line.leaving = false,
            200..300 => {
                let granted = granted(response, &line.registration.user).unwrap_or(line.expires_s);
                line.failures = 0;
                line.too_brief = 0;
                line.registered = true;
                // Well before the end, and not all lines at the same time.
                let spread = u64::from(line.registration.jitter_pct.min(50)) * 10;
                let part = 800_u64.saturating_sub(random % (spread + 1));
                let wait = Duration::from_millis(u64::from(granted.max(10)) * part);
                self.wake_line(now, wait, index);
            }
            401 | 407 => {
                let login = Login {
                    user: &line.registration.user,
                    secret: secrecy::ExposeSecret::expose_secret(&line.registration.secret),
                };
                let realm = self.core.plan.trunks.get(line.trunk).and_then(|t| t.realm.as_deref());
                let request = Request {
                    method: "REGISTER",
                    uri: &line.dialog.remote_target,
                    opens: true,
                    next_cseq: line.dialog.local_cseq + 1,
                };
                let cnonce = format!("{random:016x}");
                match line.asked.answer(response, realm, &login, request, &cnonce) {
                    Some(answer) => self.send_register(now, at, Some(answer), out),
                    None => self.register_failed(now, at, "a challenge we cannot answer", out),
                }
            }
            423 if line.too_brief < TOO_BRIEF && !line.retired => {
                let asked = response.value(Name::MinExpires).and_then(number);
                line.too_brief += 1;
                line.expires_s = asked.unwrap_or(line.expires_s * 2).clamp(line.expires_s, 86_400);
                self.send_register(now, at, None, out);
            }
            _ => {
                let wait = retry_after(response);
                self.register_refused(now, at, &format!("refused with {code}"), wait, out);
            }
        }
    }

    pub(super) fn register_failed(&mut self, now: Moment, at: u32, why: &str, out: &mut Output) {
        self.register_refused(now, at, why, Duration::ZERO, out);
    }

    fn register_refused(
        &mut self,
        now: Moment,
        at: u32,
        why: &str,
        at_least: Duration,
        out: &mut Output,
    ) {
        let random = self.core.random();
        let index = usize::try_from(at).unwrap_or(usize::MAX);
        let Some(line) = self.lines.get_mut(index) else { return };
        line.registered = false;
        line.leaving = false;
        line.too_brief = 0;
        if line.retired {
            return;
        }
        let wait = (REGISTER_RETRY * (1 << line.failures.min(10))).min(REGISTER_BACKOFF);
        let wait = wait.max(at_least);
        line.failures = line.failures.saturating_add(1);
        let jitter = Duration::from_millis(random % 1000);
        let text =
            format!("line {}: {why}, next try in {} s", line.registration.user, wait.as_secs());
        out.notes.push(Note { call: None, text });
        self.wake_line(now, wait + jitter, index);
    }
}

/// How long the registrar wants to be left alone.
fn retry_after(response: &Message) -> Duration {
    let value = response.value(Name::RetryAfter).unwrap_or_default();
    let digits = value.split(|b| !b.is_ascii_digit()).next().and_then(number).unwrap_or(0);
    Duration::from_secs(digits.into()).min(LONGEST_RETRY_AFTER)
}

/// How long the registrar keeps our contact, seconds: the `expires` of the Contact that is ours,
/// else the `Expires` header (RFC 3261, 10.2.4).
fn granted(response: &Message, user: &str) -> Option<u32> {
    let of_contact = response.list(Name::Contact).find_map(|contact| {
        let contact = Contact::new(lossy(contact)).typed().ok()?;
        let ours = contact.uri.user().is_some_and(|u| u == user);
        contact.expires().and_then(|e| e.seconds().ok()).filter(|_| ours)
    });
    of_contact.or_else(|| response.value(Name::Expires).and_then(number))
}
