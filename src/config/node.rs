//! `[node]`, `[sip]`, `[media]`, `[admin]`, `[log]`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use cooee_signalling::message::transport::Transport;
use cooee_signalling::profile::plan::{Ping, Refer, Reliable, Settings};
use cooee_signalling::profile::session_timer::{SessionTimer, SessionTimerMode};

use crate::later::accept_keys;
use crate::secrets::Surroundings;
use crate::table::{Section, Value};
use crate::{Admin, Latch, Log, Media, MediaMode, MediaWait, Node, Sip, Streams, Tls};

/// Reads `[node]`.
pub(crate) fn node(root: &mut Section<'_>) -> Node {
    let mut node = Node {
        id: String::new(),
        timezone: "UTC".to_owned(),
        data_dir: PathBuf::from("/var/lib/cooee"),
        drain_seconds: 900,
        journal_dir: None,
    };
    let Some(mut section) = root.table("node") else { return node };
    if let Some(id) = section.text("id") {
        if !is_name(&id) {
            section.error("id", "must be 1 to 64 letters, digits, `-`, `_`, `.`".to_owned());
        }
        node.id = id;
    }
    node.timezone = section.text("timezone").unwrap_or(node.timezone);
    node.data_dir = section.text("data_dir").map_or(node.data_dir, PathBuf::from);
    node.journal_dir = section.text("journal_dir").map(PathBuf::from);
    node.drain_seconds = section.int("drain_seconds", node.drain_seconds, 0..=86_400);
    section.finish();
    node
}

/// Whether a text can stand in metrics, paths and logs: 1 to 64 letters, digits, `-`, `_`, `.`.
pub(crate) fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty() && text.len() <= 64 && text.chars().all(plain)
}

/// Reads `[sip]`.
pub(crate) fn sip(root: &mut Section<'_>, around: &Surroundings<'_>) -> (Sip, Settings) {
    let mut settings = Settings::default();
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 5060));
    let mut sip = Sip {
        binds: vec![any],
        stream_binds: Vec::new(),
        streams: Streams::default(),
        tls: None,
        advertise: None,
        nameservers: Vec::new(),
        kernel_stamps: true,
    };
    let Some(mut section) = root.table("sip") else { return (sip, settings) };
    if section.has("bind") {
        sip.binds.clear();
        for (value, text) in section.texts("bind") {
            bind(&value, &text, &mut sip);
        }
        if sip.binds.is_empty() && sip.stream_binds.is_empty() {
            section.error("bind", "nothing to listen on".to_owned());
        }
    }
    sip.advertise = advertise(&mut section, "advertise");
    sip.nameservers = nameservers(&mut section);
    let stamps = [("kernel", true), ("user", false)];
    sip.kernel_stamps = section.word("rx_timestamps", &stamps, true);
    settings.user_agent = section.text("user_agent").unwrap_or(settings.user_agent);
    if settings.user_agent.chars().any(char::is_control) {
        section.error("user_agent", "holds a line break or control character".to_owned());
    }
    settings.max_cps = section.int("max_cps", settings.max_cps, 1..=100_000);
    settings.max_sessions = section.int("max_sessions", settings.max_sessions, 1..=1_000_000);
    settings.t1_ms = section.int("t1_ms", settings.t1_ms, 10..=10_000);
    let ring_s = settings.ring_timeout_s;
    settings.ring_timeout_s = section.int("ring_timeout_s", ring_s, 1..=600);
    if let Some(mut timer) = section.table("session_timer") {
        settings.session_timer = session_timer(&mut timer);
    }
    let reliable = [
        ("off", Reliable::Off),
        ("supported", Reliable::Supported),
        ("required", Reliable::Required),
    ];
    let refer = [
        ("403", Refer::Refused(403)),
        ("405", Refer::Refused(405)),
        ("603", Refer::Refused(603)),
        ("relay", Refer::Relayed),
    ];
    settings.refer = section.word("refer", &refer, settings.refer);
    settings.reliable = section.word("reliable", &reliable, settings.reliable);
    if let Some(mut limits) = section.table("streams") {
        sip.streams = streams(&mut limits);
    }
    if let Some(mut files) = section.table("tls") {
        sip.tls = Some(tls(&mut files, around));
    }
    if sip.tls.is_none() && sip.addresses().any(|(t, _)| t == Transport::Tls) {
        section.error("bind", "`tls:` needs `[sip.tls]`: certificate and key".to_owned());
    }
    settings.options_ping = ping(&mut section, Ping::default()).unwrap_or_default();
    settings.udp_max = udp_max(&mut section, settings.udp_max);
    if settings.udp_max > 0 && sip.addresses().all(|(t, _)| t != Transport::Tcp) {
        section.note("udp_max", "no `tcp:` is among `bind`: requests stay on UDP".to_owned());
    }
    section.finish();
    (sip, settings)
}

/// Most nameservers.
const NAMESERVERS: usize = 8;

fn nameservers(section: &mut Section<'_>) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for (value, text) in section.texts("nameservers") {
        let plain = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
        match plain.or_else(|_| text.parse::<SocketAddr>()) {
            Ok(at) if at.ip().is_unspecified() || at.port() == 0 => {
                value.error(format!("`{text}` is nobody's address"));
            }
            Ok(at) if servers.contains(&at) => value.error(format!("`{text}` is there twice")),
            Ok(_) if servers.len() >= NAMESERVERS => {
                value.error(format!("more than {NAMESERVERS} nameservers"));
            }
            Ok(at) => servers.push(at),
            Err(_) => value.error(format!(
                "`{text}` is no address of a nameserver, as `192.0.2.53` or `192.0.2.53:5353`"
            )),
        }
    }
    servers
}

/// Reads `options_ping`; keys that are left out are those of `default`.
pub(crate) fn ping(section: &mut Section<'_>, default: Ping) -> Option<Ping> {
    let mut ping = section.table("options_ping")?;
    let read = Ping {
        interval_s: ping.int("interval_s", default.interval_s, 0..=3600),
        fail_after: ping.int("fail_after", default.fail_after, 1..=100),
        ok_after: ping.int("ok_after", default.ok_after, 1..=100),
    };
    ping.finish();
    Some(read)
}

/// Reads `udp_max`.
pub(crate) fn udp_max(section: &mut Section<'_>, default: u32) -> u32 {
    section.int("udp_max", default, 0..=65_535)
}

fn tls(section: &mut Section<'_>, around: &Surroundings<'_>) -> Tls {
    let mut path = |key: &str, needed: bool| {
        let text = if needed { Some(section.needed(key)) } else { section.text(key) };
        let path = text.filter(|t| !t.is_empty()).map(|t| around.dir.join(t))?;
        if !path.is_file() {
            section.error(key, format!("{} is no file", path.display()));
        }
        Some(path)
    };
    let tls = Tls {
        certificate: path("certificate", true).unwrap_or_default(),
        key: path("key", true).unwrap_or_default(),
        client_ca: path("client_ca", false),
        ca: path("ca", false),
    };
    section.finish();
    tls
}

fn streams(section: &mut Section<'_>) -> Streams {
    let default = Streams::default();
    let streams = Streams {
        connections: section.int("connections", default.connections, 1..=65_536),
        per_address: section.int("per_address", default.per_address, 1..=65_536),
        idle_s: section.int("idle_s", default.idle_s, 1..=86_400),
        message_s: section.int("message_s", default.message_s, 1..=600),
        connect_s: section.int("connect_s", default.connect_s, 1..=32),
    };
    section.finish();
    streams
}

/// Reads a `session_timer` table, of `[sip]` or of a profile's `[behaviour]`.
pub(crate) fn session_timer(section: &mut Section<'_>) -> SessionTimer {
    let default = SessionTimer::default();
    let modes = [
        ("off", SessionTimerMode::Off),
        ("accept", SessionTimerMode::Accept),
        ("prefer", SessionTimerMode::Prefer),
        ("require", SessionTimerMode::Require),
    ];
    let timer = SessionTimer {
        mode: section.word("mode", &modes, default.mode),
        expires_s: section.int("expires", default.expires_s, 4..=86_400),
        min_se_s: section.int("min_se", default.min_se_s, 4..=86_400),
    };
    if timer.expires_s < timer.min_se_s {
        section.error("expires", "is below `min_se`".to_owned());
    }
    if timer.min_se_s < 90 {
        section.note("min_se", "RFC 4028 allows nothing below 90 seconds: for tests".to_owned());
    }
    section.finish();
    timer
}

fn bind(value: &Value<'_>, text: &str, sip: &mut Sip) {
    let (transport, address) = text.split_once(':').unwrap_or(("udp", text));
    let Ok(address) = address.parse::<SocketAddr>() else {
        value.error(format!("`{text}` is no transport:address:port, as `udp:0.0.0.0:5060`"));
        return;
    };
    match transport {
        "udp" => sip.binds.push(address),
        "tcp" => sip.stream_binds.push((Transport::Tcp, address)),
        "tls" => sip.stream_binds.push((Transport::Tls, address)),
        _ => value.error(format!("`{transport}` is no transport: udp, tcp or tls")),
    }
}

fn advertise(section: &mut Section<'_>, key: &str) -> Option<IpAddr> {
    let text = section.text(key).filter(|t| t != "auto")?;
    let address = text.parse::<IpAddr>().ok().filter(|a| !a.is_unspecified());
    if address.is_none() {
        section.error(key, format!("`{text}` is neither `auto` nor an address"));
    }
    address
}

/// The second family of the RTP plane.
fn media6(section: &mut Section<'_>, media: &mut Media) {
    if let Some(text) = section.text("bind6") {
        match text.parse() {
            Ok(_) if media.bind.is_ipv6() => {
                let what = "`bind` is an IPv6 address already: set `bind` to the IPv4 one";
                section.error("bind6", what.to_owned());
            }
            Ok(IpAddr::V6(address)) => media.bind6 = Some(address.into()),
            _ => section.error("bind6", format!("`{text}` is no IPv6 address")),
        }
    }
    media.advertise6 = advertise(section, "advertise6");
    if media.advertise6.is_some_and(|address| address.is_ipv4()) {
        section.error("advertise6", "is no IPv6 address: that is `advertise`".to_owned());
    } else if media.advertise6.is_some() && !media.binds().any(|bind| bind.is_ipv6()) {
        section.error("advertise6", "no IPv6 address is bound: set `bind6`".to_owned());
    }
    if media.advertise.is_some_and(|a| media.binds().all(|b| b.is_ipv4() != a.is_ipv4())) {
        section.error("advertise", "is of a family in which nothing is bound".to_owned());
    }
}

/// Reads `[media]`.
pub(crate) fn media(root: &mut Section<'_>) -> Media {
    let mut media = Media {
        bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        advertise: None,
        bind6: None,
        advertise6: None,
        ports: (10_000, 20_000),
        mode: MediaMode::Relay,
        latch: Latch::Strict,
        timeout_s: 60,
        dscp: 46,
        quality_interval_s: 5,
        wait: MediaWait::Balanced,
        busy_poll_us: 0,
        cpus: Vec::new(),
    };
    let Some(mut section) = root.table("media") else { return media };
    if let Some(text) = section.text("bind") {
        match text.parse() {
            Ok(address) => media.bind = address,
            Err(_) => section.error("bind", format!("`{text}` is no address")),
        }
    }
    media.advertise = advertise(&mut section, "advertise");
    media6(&mut section, &mut media);
    if let Some(text) = section.text("ports") {
        match ports(&text) {
            Ok(range) => media.ports = range,
            Err(what) => section.error("ports", what),
        }
    }
    let modes = [("relay", MediaMode::Relay), ("bypass", MediaMode::Bypass)];
    media.mode = section.word("mode", &modes, media.mode);
    let latches = [("strict", Some(Latch::Strict)), ("open", Some(Latch::Open)), ("off", None)];
    media.latch = section.word("latch", &latches, Some(Latch::Strict)).unwrap_or_else(|| {
        section.note("latch", "`off` is not used yet: `strict` is taken".to_owned());
        Latch::Strict
    });
    media.timeout_s = section.int("media_timeout_s", media.timeout_s, 0..=86_400);
    let dscp = section.int("dscp", u32::from(media.dscp), 0..=63);
    media.dscp = u8::try_from(dscp).unwrap_or(media.dscp);
    let every_s = media.quality_interval_s;
    media.quality_interval_s = section.int("quality_interval_s", every_s, 1..=3600);
    let tick_us = section.int("tick_us", 200, 50..=5000);
    let eco = MediaWait::Eco { tick_us };
    let waits = [("latency", MediaWait::Latency), ("balanced", MediaWait::Balanced), ("eco", eco)];
    media.wait = section.word("wait", &waits, media.wait);
    if media.wait != eco && section.keys().iter().any(|key| key == "tick_us") {
        section.note("tick_us", "has no effect without `wait = \"eco\"`".to_owned());
    }
    media.busy_poll_us = section.int("busy_poll_us", media.busy_poll_us, 0..=1_000_000);
    if media.wait != MediaWait::Balanced && media.busy_poll_us > 0 {
        section.note("busy_poll_us", "has no effect without `wait = \"balanced\"`".to_owned());
    }
    media.cpus = cpus(&mut section);
    if media.wait == MediaWait::Latency && media.cpus.is_empty() {
        section.note("wait", "`cpus` names no processor for it: others may use its own".to_owned());
    }
    accept_keys(&mut section, &["recording"]);
    section.finish();
    media
}

/// CPUs by their numbers; whether this process may run there is found out at the start.
fn cpus(section: &mut Section<'_>) -> Vec<usize> {
    let numbers = section.list("cpus").into_iter().filter_map(|value| value.int(0..=1023));
    numbers.filter_map(|number| usize::try_from(number).ok()).collect()
}

/// `10000-20000`: the first port even, room for at least one call (two pairs).
fn ports(text: &str) -> Result<(u16, u16), String> {
    let bounds = text.split_once('-').map(|(a, b)| (a.trim().parse(), b.trim().parse()));
    let Some((Ok(first), Ok(last))) = bounds else {
        return Err(format!("`{text}` is no range of ports, as `10000-20000`"));
    };
    let (first, last): (u16, u16) = (first, last);
    if first % 2 == 1 {
        return Err(format!("begins with the odd port {first}: RTP takes even ports"));
    }
    if first < 1024 {
        return Err(format!("begins with the privileged port {first}"));
    }
    if last < first || last - first < 3 {
        return Err("has no room for one call: each takes four ports".to_owned());
    }
    Ok((first, last))
}

/// Reads `[admin]`.
pub(crate) fn admin(root: &mut Section<'_>, around: &Surroundings<'_>) -> Admin {
    let mut admin = Admin {
        bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 8060)),
        hooks_bind: None,
        token: None,
    };
    let Some(mut section) = root.table("admin") else { return admin };
    for key in ["bind", "hooks_bind"] {
        let Some(text) = section.text(key) else { continue };
        match text.parse() {
            Ok(address) if key == "bind" => admin.bind = address,
            Ok(address) => admin.hooks_bind = Some(address),
            Err(_) => section.error(key, format!("`{text}` is no address:port")),
        }
    }
    let given = section.value("token");
    let token = given.as_ref().and_then(|value| around.secret(value));
    let auth = section.text("auth");
    match auth.as_deref() {
        Some("none") => {}
        Some("token") if given.is_none() => {
            section.error("auth", "`token` needs a `token`".to_owned());
        }
        None | Some("token") => admin.token = token,
        Some(other @ ("hmac" | "mtls")) => {
            section.error("auth", format!("`{other}` is not built yet: use `token`"));
        }
        Some(other) => {
            section.error("auth", format!("`{other}` is not known; there is none, token"));
        }
    }
    if admin.token.is_none() && given.is_none() && !admin.bind.ip().is_loopback() {
        let what = "is open to the network without a token: bind to 127.0.0.1 or set `token`";
        section.error("bind", what.to_owned());
    } else if auth.as_deref() == Some("none") && !admin.bind.ip().is_loopback() {
        section.error("auth", "`none` is for loopback only".to_owned());
    }
    accept_keys(&mut section, &["tls"]);
    section.finish();
    admin
}

/// Reads `[log]`.
pub(crate) fn log(root: &mut Section<'_>) -> Log {
    let mut log = Log { json: true, level: "info".to_owned(), mask_digits: 6, trace_ring: 20_000 };
    let Some(mut section) = root.table("log") else { return log };
    log.json = section.word("format", &[("json", true), ("text", false)], log.json);
    log.level = section.text("level").unwrap_or(log.level);
    let mask = section.int("mask_digits", u32::from(log.mask_digits), 0..=15);
    log.mask_digits = u8::try_from(mask).unwrap_or(log.mask_digits);
    let ring = section.int("trace_ring", 20_000, 0..=10_000_000);
    log.trace_ring = usize::try_from(ring).unwrap_or(log.trace_ring);
    section.finish();
    log
}
