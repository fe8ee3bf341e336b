//! `cooee.toml`, profiles and maps as typed, checked data.
//!
//! [`load`] reads everything that a node is told, once, and either yields a [`Loaded`] that the
//! node can run on or says *all* that is wrong with it, each finding with file, line, column and,
//! where there is a near word, what may have been meant. Nothing is half taken.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use cooee_signalling::message::transport::Transport;
use cooee_signalling::profile::plan::Plan;
use secrecy::SecretString;

pub mod check;
mod e164;
mod fences;
pub mod finding;
#[cfg(test)]
mod golden;
pub mod hep;
pub mod later;
pub mod maps;
pub mod node;
pub mod numbers;
mod portals;
pub mod profiles;
pub mod routes;
pub mod secrets;
pub mod table;
#[cfg(test)]
mod tests;
pub mod trunks;
pub mod webhooks;

use crate::finding::{Finding, Findings};
use crate::secrets::Surroundings;
use crate::table::{Document, Section};

/// A configuration that a node can run on.
#[derive(Debug)]
pub struct Loaded {
    /// What the signalling plane works by. Its `node.host` is empty where the address to advertise
    /// has to be found out at the start.
    pub plan: Plan,
    /// What is worth knowing and keeps nothing from running.
    pub notes: Vec<Finding>,
    /// SIP sockets.
    pub sip: Sip,
    /// The RTP plane.
    pub media: Media,
    /// The admin API.
    pub admin: Admin,
    /// Logs.
    pub log: Log,
    /// The node itself.
    pub node: Node,
    /// Who is told of calls.
    pub webhooks: Vec<Webhook>,
    /// Who may tell us of calls.
    pub portals: Vec<PortalAccess>,
    /// Where copies of SIP messages go, if anywhere.
    pub hep: Option<hep::Hep>,
}

/// A receiver of signed webhooks: one `[[webhook]]`.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Its name in the outbox, in metrics and in the log; unique.
    pub name: String,
    /// Where events are posted: http or https.
    pub url: String,
    /// The key of the signature, raw bytes as base64 text in `whsec_` form, or any text.
    pub secret: SecretString,
    /// Which events it wants, by their names without `cooee.call.`; empty: all.
    pub events: Vec<String>,
    /// An attempt that takes longer has failed, milliseconds.
    pub timeout_ms: u32,
    /// Attempts at a time, each of another call.
    pub max_in_flight: u32,
    /// After this many seconds of failures an event is a dead letter.
    pub give_up_after_s: u32,
}

/// A portal that may post events: one `[[portal]]`.
#[derive(Clone, Debug)]
pub struct PortalAccess {
    /// Its id.
    pub id: String,
    /// What its events must carry (`auth[application_token]`).
    pub application_token: SecretString,
    /// What they must name, where it is set (`auth[member_id]`).
    pub member_id: Option<String>,
}

/// SIP sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sip {
    /// UDP sockets.
    pub binds: Vec<SocketAddr>,
    /// Listeners for streams: TCP and TLS.
    pub stream_binds: Vec<(Transport, SocketAddr)>,
    /// Limits of streams.
    pub streams: Streams,
    /// What TLS is made of.
    pub tls: Option<Tls>,
    /// The address that peers are told; `None`: found out at the start.
    pub advertise: Option<IpAddr>,
    /// Who is asked for names; none: the nameservers of the system.
    pub nameservers: Vec<SocketAddr>,
    /// Receive times come from the kernel where it has them.
    pub kernel_stamps: bool,
}

/// The files of `[sip.tls]`, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Our certificate and those between it and its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Authorities of clients, which then must prove themselves.
    pub client_ca: Option<PathBuf>,
    /// Authorities of servers; `None`: those of the system.
    pub ca: Option<PathBuf>,
}

impl Sip {
    /// All addresses that SIP is spoken on, in the order of the node's sockets.
    pub fn addresses(&self) -> impl Iterator<Item = (Transport, SocketAddr)> {
        let udp = self.binds.iter().map(|address| (Transport::Udp, *address));
        udp.chain(self.stream_binds.iter().copied())
    }
}

/// Limits of SIP connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams {
    /// Most at a time.
    pub connections: u32,
    /// Most that one address may open.
    pub per_address: u32,
    /// How long one may be silent, seconds.
    pub idle_s: u32,
    /// How long a message may take to come in, seconds.
    pub message_s: u32,
    /// How long one may take to open, seconds.
    pub connect_s: u32,
}

impl Default for Streams {
    fn default() -> Self {
        Self { connections: 1024, per_address: 20, idle_s: 1200, message_s: 32, connect_s: 4 }
    }
}

/// The RTP plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// Where its sockets are bound.
    pub bind: IpAddr,
    /// The address that SDP names; `None`: as for SIP.
    pub advertise: Option<IpAddr>,
    /// Where it is bound for IPv6 too, beside an IPv4 `bind`.
    pub bind6: Option<IpAddr>,
    /// The IPv6 address that SDP names; `None`: as for SIP, or as bound.
    pub advertise6: Option<IpAddr>,
    /// First port, even, and last port of the range.
    pub ports: (u16, u16),
    /// Whether there is a relay at all.
    pub mode: MediaMode,
    /// Which sources are believed where the trunk does not say more.
    pub latch: Latch,
    /// No packet either way for this long ends the call, seconds; 0: never.
    pub timeout_s: u32,
    /// DiffServ code point of what is sent.
    pub dscp: u8,
    /// Between two reports of quality, seconds.
    pub quality_interval_s: u32,
    /// How the relay waits for packets.
    pub wait: MediaWait,
    /// How long it looks again and again after a packet before it sleeps, microseconds.
    pub busy_poll_us: u32,
    /// CPUs that the relay is pinned to; empty: the kernel places it.
    pub cpus: Vec<usize>,
}

impl Media {
    /// The addresses on which ports are bound: one of each family at most.
    pub fn binds(&self) -> impl Iterator<Item = IpAddr> {
        std::iter::once(self.bind).chain(self.bind6)
    }
}

/// How the relay waits for packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MediaWait {
    /// It looks without sleeping while voice flows: the least delay, a processor of its own.
    Latency,
    /// It sleeps between packets.
    #[default]
    Balanced,
    /// It looks once a tick: the least work, and delay.
    Eco {
        /// From look to look, microseconds.
        tick_us: u32,
    },
}

/// Whether there is a relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MediaMode {
    /// Media goes through us.
    #[default]
    Relay,
    /// SDP crosses untouched.
    Bypass,
}

/// Which sources are believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Latch {
    /// The address that the SDP names.
    #[default]
    Strict,
    /// Any: for closed networks.
    Open,
}

/// The admin API.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where it listens.
    pub bind: SocketAddr,
    /// Where hooks are taken, if anywhere.
    pub hooks_bind: Option<SocketAddr>,
    /// The bearer token; `None`: open, on loopback only.
    pub token: Option<SecretString>,
}

/// Logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// One JSON object a line; else text.
    pub json: bool,
    /// Filter directives.
    pub level: String,
    /// Digits of a telephone number that are hidden.
    pub mask_digits: u8,
    /// Call traces kept in memory.
    pub trace_ring: usize,
}

/// The node itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name in CDRs and metrics.
    pub id: String,
    /// The zone in which people are shown times.
    pub timezone: String,
    /// CDRs, journal segments, traces.
    pub data_dir: PathBuf,
    /// How long live calls may run on after the order to end, seconds.
    pub drain_seconds: u32,
    /// Where the head of the journal lies; `None`: the runtime directory of the service.
    pub journal_dir: Option<PathBuf>,
}

/// Loads a configuration file, its maps, and profiles beside it.
///
/// # Errors
/// All that is wrong with it, and that it cannot be read.
pub fn load(path: &Path) -> Result<Loaded, Findings> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|e| Findings::one(Finding::error(&file, format!("cannot be read: {e}"))))?;
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    load_str(&text, &file, &Surroundings::of_process(dir))
}

/// Loads a configuration from text; `file` is its name in findings.
///
/// # Errors
/// All that is wrong with it.
pub fn load_str(text: &str, file: &str, around: &Surroundings<'_>) -> Result<Loaded, Findings> {
    let document = Document::new(file, text);
    let loaded = document.root().map(|mut root| read(&mut root, around));
    let mut findings = document.into_findings();
    if let Some(draft) = loaded {
        findings.extend(check::check(&draft, file));
        if findings.iter().all(Finding::is_note) {
            let Draft { plan, sip, media, admin, log, node, webhooks, portals, hep } = draft;
            let notes = findings;
            return Ok(Loaded {
                plan,
                notes,
                sip,
                media,
                admin,
                log,
                node,
                webhooks,
                portals,
                hep,
            });
        }
    }
    Err(Findings(findings))
}

/// What was read; only as good as its findings.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) plan: Plan,
    pub(crate) sip: Sip,
    pub(crate) media: Media,
    pub(crate) admin: Admin,
    pub(crate) log: Log,
    pub(crate) node: Node,
    pub(crate) webhooks: Vec<Webhook>,
    pub(crate) portals: Vec<PortalAccess>,
    pub(crate) hep: Option<hep::Hep>,
}

fn read(root: &mut Section<'_>, around: &Surroundings<'_>) -> Draft {
    let version = root.int("version", 1, 0..=1_000_000);
    if version != 1 {
        root.error("version", format!("schema {version} is not known: this build reads 1"));
    }
    let mut node = node::node(root);
    let (sip, mut settings) = node::sip(root, around);
    let media = node::media(root);
    settings.media_bypass = media.mode == MediaMode::Bypass;
    settings.media_timeout_s = media.timeout_s;
    let admin = node::admin(root, around);
    let log = node::log(root);
    let hep = hep::hep(root, around);
    let profiles = profiles::load(root, around);
    let webhooks = webhooks::webhooks(root, around);
    let portals = portals::portals(root, around);
    let trunks = trunks::trunks(root, &profiles, &portals, settings.options_ping, around);
    let numbers = numbers::numbers(root);
    let dids = numbers::dids(root);
    let caller_id = numbers::caller_id(root, &dids);
    let zone = numbers::zone(root, &node.timezone);
    let policy = numbers::policy(root, numbers, zone, portals.timezone, around);
    let autodialers = maps::autodialers(root, around);
    let agents = maps::agents(root, around);
    let routes = routes::routes(root, settings.ring_timeout_s);
    let retry = routes::retry(root);
    later::accept(root);
    root.finish();
    node.id = if node.id.is_empty() { "cooee".to_owned() } else { node.id };
    let own = sip
        .advertise
        .or_else(|| sip.addresses().next().map(|a| a.1.ip()).filter(|ip| !ip.is_unspecified()));
    let host = own.map(cooee_signalling::message::address::host);
    let plan = Plan {
        revision: 1,
        node: cooee_signalling::profile::plan::Node {
            id: node.id.clone(),
            host: host.unwrap_or_default(),
        },
        trunks,
        routes,
        dids,
        autodialers,
        agents,
        caller_id,
        policy,
        retry,
        settings,
        // Nobody waits for a word that cannot come in.
        portals: if admin.hooks_bind.is_some() { portals.plan } else { Vec::new() },
    };
    Draft { plan, sip, media, admin, log, node, webhooks, portals: portals.access, hep }
}
