//! A node: a configuration put to work, and taken down again in order.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use cooee_config::{Loaded, MediaMode, MediaWait, Webhook};
use cooee_journal::journal::{Journal, Settings as JournalSettings};
use cooee_journal::shared::{Meter as JournalMeter, Position};
use cooee_media::pace::Wait;
use cooee_media::pool::Pool;
use cooee_media::relay::{Relay, RelayConfig};
use cooee_model::command::{Command, Leave};
use cooee_model::ids::Family;
use cooee_model::media::Latch;
use cooee_model::moment::Moment;
use cooee_signalling::call::context::{Output, Setup};
use cooee_signalling::call::pool::Ports;
use cooee_signalling::message::address::host;
use cooee_signalling::profile::plan::Plan;
use cooee_signalling::switch::input::Input;
use cooee_signalling::switch::recover::Recovered;
use cooee_signalling::switch::{Node as SwitchNode, Switch};
use cooee_store::feed::{Feed, Meter as FeedMeter, Settings as FeedSettings};
use cooee_store::store::{Sticky, Store};
use cooee_telemetry::callbacks::OutboxFigures;
use cooee_telemetry::measure::Measure;
use cooee_telemetry::{Identity, Telemetry};
use tokio::sync::Notify;

use crate::built::{Built, Revisions};
use crate::clock;
use crate::engine::{self, Parts};
use crate::error::Error;
use crate::hep::Hep;
use crate::inbox::{Inbox, Post, inbox};
use crate::names::{Names, Readers};
use crate::outbound::Outbound;
use crate::outbox::{self, Outbox};
use crate::spine::Spine;
use crate::streams::tls::{Hosts, Tls};
use crate::streams::{Bound, Streams};
use crate::udp::{Udp, reachable};

/// Size of the journal's head.
const HEAD_BYTES: u64 = 64 << 20;

/// Size at which a journal segment rolls.
const SEGMENT_BYTES: u64 = 64 << 20;

/// How often journal segments are synced: what a power cut can take.
const SYNC_EVERY: Duration = Duration::from_millis(20);

/// With `wait = "latency"` the relay spins for so long after the last packet: longer than a pause
/// with comfort noise, and it sleeps when the calls have ended.
const SPIN_LINGERS: Duration = Duration::from_secs(1);

/// How long an RTP port pair rests after a call.
const QUARANTINE: Duration = Duration::from_secs(5);

/// A running node.
pub struct Node {
    pub(crate) inbox: Inbox,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) plan: ArcSwap<Plan>,
    /// What it was built on.
    pub(crate) built: Built,
    pub(crate) revisions: Mutex<Revisions>,
    journal: JournalMeter,
    pub(crate) feed: Feed,
    feed_meter: FeedMeter,
    pub(crate) outbox: Mutex<Option<Outbox>>,
    /// Rung by the feed when there are more letters.
    pub(crate) bell: Arc<Notify>,
    engine: JoinHandle<()>,
    spine: JoinHandle<()>,
    streams: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    pub(crate) names: Names,
    told: Spine,
}

impl Node {
    /// Starts everything but the admin API.
    ///
    /// # Errors
    /// What could not be had, and why.
    pub fn start(loaded: &Loaded) -> Result<Self, Error> {
        let now = clock::now();
        let plan = Arc::new(plan_of(loaded));
        let telemetry = Arc::new(Telemetry::new(identity(loaded, &plan), now));
        telemetry.config.revision.store(plan.revision.into(), Ordering::Relaxed);
        let data = |source| Error::Data { dir: loaded.node.data_dir.clone(), source };
        std::fs::create_dir_all(&loaded.node.data_dir).map_err(data)?;
        let udp = Arc::new(Udp::bind(&loaded.sip.binds, loaded.sip.advertise)?);
        let bound = Bound::bind(&loaded.sip.stream_binds, loaded.sip.advertise)?;
        let locals = [udp.locals(), bound.locals()].concat();
        if locals.is_empty() {
            return Err(Error::NoSocket);
        }
        let pool = media_pool(loaded)?;
        let ports = pool.as_ref().map(|pool| ports_of(pool, loaded)).unwrap_or_default();
        let (inbox, letters) = inbox()?;
        let relay = pool.map(|pool| start_relay(pool, loaded, &telemetry, &inbox)).transpose()?;

        let store = Store::open(&loaded.node.data_dir.join(cooee_store::store::FILE))?;
        let position = Position::new(store.position()?);
        let (journal, recovery) = Journal::open(journal_settings(loaded, position.clone()))?;
        let meter = journal.meter();
        let told = store.told_trunks()?;
        let sticky = store.sticky(now.wall / 1000).unwrap_or_default();
        let bell = Arc::default();
        let outbox = start_outbox(&loaded.node, &loaded.webhooks, &telemetry, &bell)?;
        let feed = start_feed(loaded, store, position, &bell)?;

        let latch = latch_of(loaded);
        let reached = locals.clone();
        let setup = Setup { locals, latch };
        let seed = clock::seed()?;
        let quarantine = QUARANTINE;
        let node = SwitchNode { plan: Arc::clone(&plan), setup, ports, quarantine, seed };
        let mut switch = Switch::new(node, now);
        remember(&mut switch, now, (&sticky, plan.caller_id.sticky_days), told);
        let mut first = Output::default();
        let found = switch.recover(now, &recovery.live, recovery.same_boot, &mut first);
        if found != Recovered::default() {
            let Recovered { revived, closed } = found;
            tracing::warn!(revived, closed, "calls of before the restart");
        }
        let (spine, spine_thread) = Spine::start(Arc::clone(&telemetry))?;
        let told = spine.clone();
        let hosts = Hosts::default();
        let post = Post { inbox: inbox.clone(), telemetry: Arc::clone(&telemetry) };
        let (streams, streams_thread) =
            start_streams((bound, hosts.clone()), &udp, loaded, &post)?.unzip();
        let ways = (Arc::clone(&udp), streams);
        let outbound = Outbound::new(ways, journal, relay, spine, post);
        let stop = Arc::new(AtomicBool::new(false));
        let hep = loaded.hep.as_ref().map(|settings| {
            let locals = udp.locals().iter().map(|local| local.address).collect();
            Hep::start(settings, locals, Arc::clone(&plan), Arc::clone(&telemetry))
        });
        let parts = Parts {
            switch,
            udp,
            letters,
            outbound,
            hep: hep.transpose()?,
            first,
            telemetry: Arc::clone(&telemetry),
            stop: Arc::clone(&stop),
        };
        let (inbox_of, telemetry_of) = (inbox.clone(), Arc::clone(&telemetry));
        let readers = Readers { inbox: inbox_of, hosts, telemetry: telemetry_of };
        let names = Names::start(&plan, &loaded.sip.nameservers, &reached, readers)?;
        let engine = engine::start(parts)?;
        let feed_meter = feed.meter();
        Ok(Self {
            inbox,
            revisions: Mutex::new(vec![Arc::downgrade(&plan)]),
            telemetry,
            plan: ArcSwap::new(plan),
            built: Built::of(loaded),
            journal: meter,
            feed,
            feed_meter,
            outbox: Mutex::new(outbox),
            bell,
            engine,
            spine: spine_thread,
            streams: streams_thread,
            stop,
            names,
            told,
        })
    }

    /// What is measured and counted.
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    /// What the node still lacks to take calls, in words; to be asked again at any time.
    pub fn readiness(&self) -> impl Fn() -> Vec<String> + Send + Sync + 'static {
        let (feed, stop) = (self.feed_meter.clone(), Arc::clone(&self.stop));
        let (unreachable, lost) = (self.names.unreachable(), self.journal.clone());
        move || {
            let mut lacking = Vec::new();
            if stop.load(Ordering::Acquire) {
                lacking.push("the engine has ended".to_owned());
            }
            if lost.read().head_used_bytes * 10 > HEAD_BYTES * 9 {
                lacking.push("the journal is full: its disk does not keep up".to_owned());
            }
            if unreachable.load(Ordering::Relaxed) {
                lacking.push("no trunk that calls can be sent to has an address".to_owned());
            }
            if feed.read().unreadable > 0 {
                lacking.push("the journal holds records of a later version".to_owned());
            }
            lacking
        }
    }

    /// Where inputs go.
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Once a second: windows move on, figures of the journal and the feed are published.
    pub fn tick(&self) {
        let now = clock::now();
        self.telemetry.tick(now);
        self.telemetry.names.set_overdue(self.names.overdue(now));
        let (from, to) = (self.journal.read(), &self.telemetry.journal);
        to.records.store(from.records, Ordering::Relaxed);
        to.bytes.store(from.bytes, Ordering::Relaxed);
        to.late_commits.store(from.late_commits, Ordering::Relaxed);
        to.lost.store(from.lost_records, Ordering::Relaxed);
        to.unwritable.store(from.unwritable, Ordering::Relaxed);
        to.spool_errors.store(from.disk_errors, Ordering::Relaxed);
        to.spool_lag_bytes_now.store(from.head_used_bytes, Ordering::Relaxed);
        let (fed, to) = (self.feed_meter.read(), &self.telemetry.store);
        to.errors.store(fed.errors, Ordering::Relaxed);
        to.facts.store(fed.facts, Ordering::Relaxed);
        to.refused.store(fed.refused, Ordering::Relaxed);
        to.unreadable.store(fed.unreadable, Ordering::Relaxed);
        self.telemetry.engine.untold.store(self.told.dropped(), Ordering::Relaxed);
        let lag = from.synced.0.saturating_sub(fed.position.0);
        to.lag_records_now.store(lag, Ordering::Relaxed);
        let outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        for of in outbox.iter().flat_map(|outbox| outbox.meter().read()) {
            let figures = OutboxFigures {
                depth: of.waiting,
                oldest_s: of.oldest_s,
                dead: of.dead,
                delivered: of.delivered,
                failed_status: of.failed_status,
                failed_timeout: of.failed_timeout,
                failed_transport: of.failed_transport,
                paused: of.paused,
            };
            self.telemetry.outbox.set(&of.webhook, figures);
        }
    }

    /// Takes no new calls from now on: the process is to end.
    pub fn drain(&self) {
        self.inbox.push(Input::Command(Command::End));
    }

    /// How many calls there are.
    pub fn calls(&self) -> u64 {
        self.telemetry.engine.calls_now.load(Ordering::Relaxed)
    }

    /// How many lines are being unregistered.
    pub fn leaving(&self) -> u64 {
        self.telemetry.engine.lines_leaving.load(Ordering::Relaxed)
    }

    /// Whether the engine runs.
    pub fn is_running(&self) -> bool {
        !self.engine.is_finished()
    }

    /// Ends the node: the engine first, then its readers, when they have read everything.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.inbox.ring();
        drop((self.told, self.names));
        let last = |thread: JoinHandle<()>, name| {
            if thread.join().is_err() {
                tracing::error!(name, "a thread ended by a fault");
            }
        };
        last(self.engine, "engine");
        if let Some(streams) = self.streams {
            last(streams, "streams");
        }
        last(self.spine, "spine");
        self.feed.flush_to(self.journal.read().synced, Duration::from_secs(5));
    }
}

fn start_streams(
    (bound, hosts): (Bound, Hosts),
    udp: &Udp,
    loaded: &Loaded,
    post: &Post,
) -> Result<Option<(Streams, JoinHandle<()>)>, Error> {
    if bound.locals().is_empty() {
        return Ok(None);
    }
    let secure = loaded.sip.tls.as_ref().map(Tls::load).transpose()?.map(|tls| (tls, hosts));
    let first = u16::try_from(udp.sockets().len()).unwrap_or(u16::MAX);
    let settings = loaded.sip.streams.into();
    Ok(Some(Streams::start((bound, secure), first, settings, post.clone())?))
}

pub(crate) fn identity(loaded: &Loaded, plan: &Plan) -> Identity {
    Identity {
        node: loaded.node.id.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        trunks: plan.trunks.iter().map(|t| t.name.clone()).collect(),
        routes: plan.routes.iter().map(|r| r.name.clone()).collect(),
        webhooks: loaded.webhooks.iter().map(|w| w.name.clone()).collect(),
    }
}

/// What the database knows of an earlier run.
fn remember(
    switch: &mut Switch,
    now: Moment,
    (sticky, sticky_days): (&[Sticky], u32),
    told: Vec<(String, Leave)>,
) {
    let kept_us = i64::from(sticky_days) * 86_400_000_000;
    for known in sticky {
        let wall = known.until_us.saturating_sub(kept_us).saturating_mul(1000);
        let age_ns = u64::try_from(now.wall.saturating_sub(wall)).unwrap_or_default();
        let at = Moment::new(now.mono.saturating_sub(age_ns), wall);
        switch.shown().remember(&known.customer, &known.did, at);
    }
    for (name, leave) in told {
        tracing::warn!(trunk = name, leave = leave.name(), "an operator's word still holds");
        switch.tell_trunk(name, leave);
    }
}

/// The plan of a configuration, with our address found out where it is not told.
pub(crate) fn plan_of(loaded: &Loaded) -> Plan {
    let mut plan = loaded.plan.clone();
    if plan.node.host.is_empty() {
        let bind = loaded.sip.addresses().next().map(|(_, address)| address.ip());
        plan.node.host = bind.map(|ip| host(reachable(ip))).unwrap_or_default();
    }
    plan
}

pub(crate) fn latch_of(loaded: &Loaded) -> Latch {
    match loaded.media.latch {
        cooee_config::Latch::Strict => Latch::Strict,
        cooee_config::Latch::Open => Latch::Open,
    }
}

pub(crate) fn start_outbox(
    node: &cooee_config::Node,
    webhooks: &[Webhook],
    telemetry: &Telemetry,
    bell: &Arc<Notify>,
) -> Result<Option<Outbox>, Error> {
    if webhooks.is_empty() {
        return Ok(None);
    }
    let delay = Box::new(telemetry.recorder(Measure::CallbackDone));
    let path = node.data_dir.join(cooee_store::store::FILE);
    Outbox::start(&path, webhooks, delay, bell).map(Some)
}

fn start_feed(
    loaded: &Loaded,
    store: Store,
    position: Position,
    bell: &Arc<Notify>,
) -> Result<Feed, Error> {
    let settings = FeedSettings {
        journal_dir: loaded.node.data_dir.join("journal"),
        position,
        sticky_days: loaded.plan.caller_id.sticky_days,
    };
    let store = store.telling(outbox::telling(&loaded.node.id, &loaded.webhooks));
    let bell = Arc::clone(bell);
    Ok(Feed::start_waking(store, settings, Arc::new(move || bell.notify_one()))?)
}

fn media_pool(loaded: &Loaded) -> Result<Option<Pool>, Error> {
    if loaded.media.mode == MediaMode::Bypass {
        return Ok(None);
    }
    let (first, last) = loaded.media.ports;
    let ips: Vec<_> = loaded.media.binds().collect();
    let pool = Pool::bind(&ips, first..=last, loaded.media.dscp)?;
    if pool.skipped() > 0 {
        tracing::warn!(skipped = pool.skipped(), "RTP port pairs are used by others");
    }
    Ok(Some(pool))
}

fn start_relay(
    pool: Pool,
    loaded: &Loaded,
    telemetry: &Arc<Telemetry>,
    inbox: &Inbox,
) -> Result<Relay, Error> {
    let busy_poll = Duration::from_micros(loaded.media.busy_poll_us.into());
    let wait = match loaded.media.wait {
        MediaWait::Latency => Wait::Spin(SPIN_LINGERS),
        MediaWait::Balanced if busy_poll.is_zero() => Wait::Block,
        MediaWait::Balanced => Wait::Spin(busy_poll),
        MediaWait::Eco { tick_us } => Wait::Tick(Duration::from_micros(tick_us.into())),
    };
    let sampled_each = Duration::from_secs(loaded.media.quality_interval_s.into());
    let config = RelayConfig { pin_cpus: loaded.media.cpus.clone(), wait, sampled_each };
    let samples = vec![telemetry.recorder(Measure::RtpForward)];
    let (inbox, telemetry) = (inbox.clone(), Arc::clone(telemetry));
    let relay = Relay::start(pool, &config, samples, move |event| {
        if matches!(event, cooee_model::media::MediaEvent::Silent { .. }) {
            telemetry.engine.media_timeouts.fetch_add(1, Ordering::Relaxed);
        }
        if !inbox.push(Input::Media(event)) {
            telemetry.engine.queue_full.fetch_add(1, Ordering::Relaxed);
        }
    })?;
    Ok(relay)
}

/// The ports of each family, with the address that descriptions name: what is told for media, else
/// for SIP, else what is bound.
fn ports_of(pool: &Pool, loaded: &Loaded) -> Vec<Ports> {
    let media = &loaded.media;
    let told = [media.advertise6, media.advertise, loaded.sip.advertise];
    let ports = |bind: IpAddr| {
        let family = Family::of(bind);
        let told = told.into_iter().flatten().find(|told| Family::of(*told) == family);
        let address = told.unwrap_or_else(|| reachable(bind));
        Ports { address, evens: pool.ports(family) }
    };
    media.binds().map(ports).collect()
}

fn journal_settings(loaded: &Loaded, position: Position) -> JournalSettings {
    let node = &loaded.node;
    // Two nodes on one machine each have a head of their own: named by id and data directory.
    let own = format!("cooee-{}-{:016x}", node.id, fingerprint(&node.data_dir));
    let head_dirs = match &node.journal_dir {
        Some(dir) => vec![dir.clone()],
        None => vec![PathBuf::from("/run/cooee").join(&own), PathBuf::from("/dev/shm").join(&own)],
    };
    JournalSettings {
        head_dirs,
        disk_dir: node.data_dir.join("journal"),
        head_bytes: HEAD_BYTES,
        segment_bytes: SEGMENT_BYTES,
        sync_every: SYNC_EVERY,
        boot_id: clock::boot_id(),
        now: clock::now(),
        software: env!("CARGO_PKG_VERSION").to_owned(),
        position,
    }
}

fn fingerprint(dir: &std::path::Path) -> u64 {
    let full = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    full.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325, |state, &byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
