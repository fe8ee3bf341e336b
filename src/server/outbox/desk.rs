//! Who is written to next: what is due goes out, what came of it is written down.
//!
//! Lanes are taken from the database some at a time. The letters of a lane leave one after another,
//! each as soon as the one before it is known to be delivered; what is known is written down many
//! at a time. A crash in between makes letters leave again, never out of order.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use cooee_config::Webhook;
use cooee_model::moment::Moment;
use cooee_model::sample::Sample;
use cooee_records::outbox::{Answer, Breaker, Change, Verdict, verdict};
use cooee_store::error::StoreError;
use cooee_store::lane::{Due, Fate, Tried};
use cooee_store::store::Store;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::post::{Post, Target};
use super::{Figures, Shared};
use crate::clock;

/// How often the database is looked at when nobody rings: others may have changed it.
const LOOK: Duration = Duration::from_secs(1);

/// How long results gather before they are written, and how many of them.
const GATHER: (Duration, usize) = (Duration::from_millis(20), 256);

/// Results past which nothing more is sent while the database takes none.
const UNWRITTEN: usize = 4096;

/// Lanes that are taken from the database at a time, at least and at most.
const TAKEN: (u32, u32) = (64, 512);

/// How often letters that were delivered long ago are deleted.
const PRUNE: Duration = Duration::from_secs(10);

/// No letter is told to wait longer than this; a lane that does lies beyond a clock that was set.
const WAIT_US: i64 = 2 * 3_600_000_000;

/// A wall clock that falls back by more than this, against the other, was set.
const SET_BACK_NS: i128 = 1_000_000_000;

/// What a lane that is under way has to tell.
enum News {
    /// An attempt is over.
    Tried { line: usize, tried: Tried, answer: Answer, delay_ns: u64 },
    /// The lane is: nothing of it is under way any more.
    Over { line: usize, call: String },
}

/// One webhook.
#[derive(Debug)]
pub(super) struct Line {
    target: Arc<Target>,
    limit: usize,
    give_up: Duration,
    breaker: Breaker,
    /// Lanes taken from the database, not begun.
    ready: VecDeque<Due>,
    /// Calls whose lanes are here: ready, under way, or with results that are not written.
    held: BTreeSet<String>,
    /// Calls whose lanes are over once what is known is written.
    over: Vec<String>,
    /// From when on it is worth looking for more, microseconds; `None`: when somebody rings.
    look_us: Option<i64>,
    /// The database says that the receiver is away, and whether that is to be taken back.
    away: bool,
    back: bool,
    figures: Figures,
}

impl Line {
    pub(super) fn new(webhook: &Webhook, target: Target) -> Self {
        Self {
            target: Arc::new(target),
            limit: webhook.max_in_flight.max(1) as usize,
            give_up: Duration::from_secs(webhook.give_up_after_s.into()),
            breaker: Breaker::default(),
            ready: VecDeque::new(),
            held: BTreeSet::new(),
            over: Vec::new(),
            look_us: Some(0),
            away: false,
            back: false,
            figures: Figures { webhook: webhook.name.clone(), ..Figures::default() },
        }
    }

    fn name(&self) -> &str {
        &self.figures.webhook
    }

    fn room(&self, now: Moment) -> usize {
        self.breaker.room(now.mono, self.figures.in_flight as usize, self.limit)
    }

    /// Counts an answer and learns from it how the receiver is.
    fn answered(&mut self, now: Moment, answer: Answer, why: &str) {
        match answer {
            _ if answer.is_delivered() => self.figures.delivered += 1,
            Answer::Status { .. } => self.figures.failed_status += 1,
            Answer::TimedOut => self.figures.failed_timeout += 1,
            Answer::Unreachable => self.figures.failed_transport += 1,
        }
        let webhook = self.figures.webhook.as_str();
        match self.breaker.answered(now.mono, answer) {
            Some(Change::Fails) => {
                tracing::warn!(webhook, why, "a webhook fails; its letters wait");
            }
            Some(Change::Works) => tracing::info!(webhook, "the webhook works again"),
            None => {}
        }
        self.back = self.away && !answer.is_away();
        self.figures.paused = self.breaker.paused_until_ns().is_some();
        if self.figures.paused {
            // Only one of them may go, and not yet: the database keeps them meanwhile.
            for due in self.ready.drain(..) {
                self.held.remove(&due.call);
            }
        }
    }
}

/// The thread's own.
pub(super) struct Desk {
    store: Store,
    post: Post,
    lines: Vec<Line>,
    shared: Arc<Shared>,
    delay: Box<dyn Sample>,
    sender: UnboundedSender<News>,
    news: UnboundedReceiver<News>,
    /// Results that are not written, and since when.
    tried: Vec<Tried>,
    since: Option<Moment>,
    looked: Moment,
    pruned: Moment,
    in_trouble: bool,
}

impl Desk {
    pub(super) fn new(
        mut store: Store,
        post: Post,
        mut lines: Vec<Line>,
        shared: Arc<Shared>,
        delay: Box<dyn Sample>,
    ) -> Self {
        let (sender, news) = unbounded_channel();
        let now = clock::now();
        let now_us = now.wall.div_euclid(1000);
        for line in &mut lines {
            line.away = store.failing_since(line.name()).is_ok_and(|since| since.is_some());
            let _ = store.pull_in(line.name(), now_us, now_us.saturating_add(WAIT_US));
        }
        Self {
            store,
            post,
            lines,
            shared,
            delay,
            sender,
            news,
            tried: Vec::new(),
            since: None,
            looked: now,
            pruned: Moment::default(),
            in_trouble: false,
        }
    }

    pub(super) async fn run(&mut self) {
        while !self.shared.stop.load(Ordering::Acquire) {
            while let Ok(news) = self.news.try_recv() {
                self.hear(news);
            }
            let done = self.turn();
            if let Err(error) = &done
                && !self.in_trouble
            {
                tracing::error!(%error, "the outbox cannot be read or written; its letters wait");
            }
            self.in_trouble = done.is_err();
            let rest = done.unwrap_or(LOOK);
            let shared = Arc::clone(&self.shared);
            tokio::select! {
                () = shared.bell.notified() => {
                    self.lines.iter_mut().for_each(|line| line.look_us = Some(0));
                }
                news = self.news.recv() => news.into_iter().for_each(|news| self.hear(news)),
                () = tokio::time::sleep(rest) => {}
            }
        }
        let _ = self.write();
    }

    /// Does what is to be done now; how long it may rest then.
    fn turn(&mut self) -> Result<Duration, StoreError> {
        let now = clock::now();
        let gathered = self.since.is_some_and(|since| now - since >= GATHER.0);
        let idle = self.lines.iter().all(|line| line.figures.in_flight == 0);
        if gathered || self.tried.len() >= GATHER.1 || (idle && self.since.is_some()) {
            self.write()?;
        }
        if now - self.looked >= LOOK {
            self.look(now)?;
        }
        let mut rest = LOOK;
        if self.since.is_some() {
            rest = rest.min(GATHER.0);
        }
        for line in 0..self.lines.len() {
            rest = rest.min(self.send(line, now)?);
        }
        Ok(rest)
    }

    fn hear(&mut self, news: News) {
        let now = clock::now();
        self.since = self.since.or(Some(now));
        match news {
            News::Tried { line, tried, answer, delay_ns } => {
                let Some(line) = self.lines.get_mut(line) else { return };
                line.answered(now, answer, tried.error.as_deref().unwrap_or_default());
                match tried.fate {
                    Fate::Delivered => self.delay.record(delay_ns),
                    Fate::Dead => {
                        let Tried { webhook, call, letter, error, .. } = &tried;
                        tracing::error!(webhook, call, letter, error, "a letter is given up");
                    }
                    Fate::Retry { .. } => {
                        let Tried { webhook, call, letter, error, .. } = &tried;
                        tracing::debug!(webhook, call, letter, error, "a letter waits");
                    }
                }
                self.tried.push(tried);
            }
            News::Over { line, call } => {
                let Some(line) = self.lines.get_mut(line) else { return };
                line.figures.in_flight = line.figures.in_flight.saturating_sub(1);
                line.over.push(call);
            }
        }
    }

    /// Begins what may be begun for one webhook; until when nothing more can be.
    fn send(&mut self, place: usize, now: Moment) -> Result<Duration, StoreError> {
        let now_us = now.wall.div_euclid(1000);
        let unwritten = self.tried.len();
        let Some(line) = self.lines.get_mut(place) else { return Ok(LOOK) };
        let room = line.room(now);
        if room == 0 || unwritten >= UNWRITTEN {
            let probe = line.breaker.paused_until_ns().map(|at| at.saturating_sub(now.mono));
            let probe = probe.filter(|wait| *wait > 0).map_or(LOOK, Duration::from_nanos);
            return Ok(probe);
        }
        if line.ready.is_empty() && line.look_us.is_some_and(|at| at <= now_us) {
            let wanted = u32::try_from(line.limit * 2).unwrap_or(u32::MAX);
            let wanted = if line.figures.paused { 1 } else { wanted.clamp(TAKEN.0, TAKEN.1) };
            let due = self.store.due(&line.figures.webhook, now_us, wanted, &line.held)?;
            let more = due.len() == wanted as usize;
            line.held.extend(due.iter().map(|due| due.call.clone()));
            line.ready.extend(due);
            line.look_us =
                if more { Some(0) } else { self.store.next_due(line.name(), &line.held)? };
        }
        let begun: Vec<Due> = line.ready.drain(..room.min(line.ready.len())).collect();
        line.figures.in_flight += begun.len() as u64;
        for due in begun {
            let lane = Lane {
                line: place,
                webhook: line.figures.webhook.clone(),
                target: Arc::clone(&line.target),
                give_up: line.give_up,
                post: self.post.clone(),
                sender: self.sender.clone(),
            };
            tokio::spawn(lane.carry(due));
        }
        let full = line.room(now) == 0;
        Ok(match line.look_us {
            Some(at) if !full => {
                Duration::from_micros(u64::try_from(at.saturating_sub(now_us)).unwrap_or(0))
            }
            _ => LOOK,
        })
    }

    /// Writes down what is known, and lets go of the lanes that are over.
    fn write(&mut self) -> Result<(), StoreError> {
        if !self.tried.is_empty() {
            self.store.settle(&self.tried)?;
        }
        self.tried.clear();
        self.since = None;
        let now_us = clock::now().wall.div_euclid(1000);
        for line in &mut self.lines {
            for call in line.over.drain(..) {
                line.held.remove(&call);
                // There may be more for the call by now.
                line.look_us = Some(0);
            }
            if line.figures.paused && !line.away {
                self.store.receiver_away(&line.figures.webhook, now_us)?;
                line.away = true;
            } else if std::mem::take(&mut line.back) {
                self.store.receiver_back(&line.figures.webhook, now_us)?;
                (line.away, line.look_us) = (false, Some(0));
            }
        }
        Ok(())
    }

    /// Once a second: what others changed, what is too old, how much there is.
    fn look(&mut self, now: Moment) -> Result<(), StoreError> {
        let now_us = now.wall.div_euclid(1000);
        let offset = |at: Moment| i128::from(at.wall) - i128::from(at.mono);
        let set_back = offset(now) + SET_BACK_NS < offset(self.looked);
        self.looked = now;
        for line in &mut self.lines {
            line.look_us = Some(0);
            if set_back {
                self.store.pull_in(&line.figures.webhook, now_us, now_us)?;
            }
            if !line.figures.paused {
                continue;
            }
            let webhook = line.figures.webhook.as_str();
            let since = self.store.failing_since(webhook)?;
            // Who retried by hand gave it all its time again.
            line.away = since.is_some();
            let give_up_us = i64::try_from(line.give_up.as_micros()).unwrap_or(i64::MAX);
            let before_us = now_us.saturating_sub(give_up_us);
            if since.is_some_and(|since| since <= before_us) {
                let letters = self.store.lapse(webhook, before_us)?;
                if letters > 0 {
                    tracing::error!(webhook, letters, "letters are given up: nobody is there");
                }
            }
        }
        if now - self.pruned >= PRUNE && self.store.prune_letters(now_us)? == 0 {
            self.pruned = now;
        }
        self.publish();
        Ok(())
    }

    /// Shows the figures to others.
    pub(super) fn publish(&mut self) {
        let now_us = clock::now().wall.div_euclid(1000);
        let known = self.store.outbox_summary().unwrap_or_default();
        for line in &mut self.lines {
            let figures = &mut line.figures;
            let Some(own) = known.iter().find(|own| own.webhook == figures.webhook) else {
                continue;
            };
            (figures.waiting, figures.dead) = (own.waiting, own.dead);
            let age_us = own.oldest_us.map_or(0, |oldest_us| now_us.saturating_sub(oldest_us));
            figures.oldest_s = u64::try_from(age_us / 1_000_000).unwrap_or(0);
        }
        let figures = self.lines.iter().map(|line| line.figures.clone()).collect();
        *self.shared.figures.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }
}

/// A lane under way.
struct Lane {
    line: usize,
    webhook: String,
    target: Arc<Target>,
    give_up: Duration,
    post: Post,
    sender: UnboundedSender<News>,
}

impl Lane {
    /// Sends its letters one after another, up to the first that does not arrive.
    async fn carry(self, due: Due) {
        let Due { call, mut failures, mut failing_since_us, letters } = due;
        for letter in letters {
            let outcome = self.post.attempt(&self.target, &letter.event, &letter.payload).await;
            let at_us = clock::now().wall.div_euclid(1000);
            let failing_us = at_us.saturating_sub(failing_since_us.unwrap_or(at_us));
            let failing = Duration::from_micros(u64::try_from(failing_us).unwrap_or(0));
            let answer = outcome.answer;
            let fate = match verdict(answer, letter.id, failures, failing, self.give_up) {
                Verdict::Delivered => Fate::Delivered,
                Verdict::Dead => Fate::Dead,
                Verdict::Retry(after) => {
                    let after_us = i64::try_from(after.as_micros()).unwrap_or(i64::MAX);
                    let next_us = at_us.saturating_add(after_us);
                    Fate::Retry { next_us, away: answer.is_away() }
                }
            };
            let status = match answer {
                Answer::Status { code, .. } => Some(code),
                Answer::TimedOut | Answer::Unreachable => None,
            };
            let late_us = at_us.saturating_sub(letter.created_us);
            let tried = Tried {
                webhook: self.webhook.clone(),
                call: call.clone(),
                letter: letter.id,
                at_us,
                status,
                error: outcome.error,
                fate,
            };
            let delay_ns = u64::try_from(late_us).unwrap_or(0).saturating_mul(1000);
            let news = News::Tried { line: self.line, tried, answer, delay_ns };
            let _ = self.sender.send(news);
            Post::finish(outcome.rest).await;
            match fate {
                Fate::Delivered => (failures, failing_since_us) = (0, None),
                Fate::Dead if !answer.is_away() => {}
                Fate::Dead | Fate::Retry { .. } => break,
            }
        }
        let _ = self.sender.send(News::Over { line: self.line, call });
    }
}
