//! Where a peer is, as DNS says (RFC 3263, 4): NAPTR leads to SRV, SRV to names, names to
//! addresses.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use cooee_signalling::call::peers::Place;
use cooee_signalling::leg::dialog::Local;
use cooee_signalling::message::transport::Transport;
use cooee_signalling::profile::plan::Peer;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::rdata::NAPTR;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{Hosts, TokioResolver};

/// How long one question may wait for one nameserver; it is asked twice.
const QUESTION: Duration = Duration::from_millis(1500);

/// How long all questions about one peer may take.
pub(super) const LIMIT: Duration = Duration::from_secs(8);

/// Times to live are believed between these.
pub(super) const TTL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(3600));

/// Targets of one SRV answer that are looked up, the first by priority.
const TARGETS: usize = 16;

/// Which sockets we have: transports, and whether for IPv4.
#[derive(Clone, Debug)]
pub(super) struct Reach(Vec<(Transport, bool)>);

impl Reach {
    pub(super) fn of(locals: &[Local]) -> Self {
        Self(locals.iter().map(|l| (l.transport, l.address.is_ipv4())).collect())
    }

    /// The transports that we speak, in the order in which we want them.
    fn transports(&self) -> impl Iterator<Item = Transport> {
        let all = [Transport::Udp, Transport::Tcp, Transport::Tls];
        all.into_iter().filter(|t| self.0.iter().any(|(own, _)| own == t))
    }

    fn holds(&self, transport: Transport, v4: bool) -> bool {
        self.0.contains(&(transport, v4))
    }
}

/// Where a peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its addresses; priorities are those of DNS.
    pub(super) places: Vec<Place>,
    /// How long that may be believed.
    pub(super) ttl: Duration,
    /// What could not be looked up, though other addresses were found.
    pub(super) lacking: Option<String>,
}

/// Who is asked: nameservers, and before them the file of hosts.
#[derive(Clone)]
pub(super) struct Directory {
    resolver: TokioResolver,
    hosts: Arc<Hosts>,
}

/// Reads the files of the system anew; `nameservers`, if there are any, are asked instead of its
/// own.
///
/// # Errors
/// Where no resolver can be made of that.
pub(super) fn directory(nameservers: &[SocketAddr]) -> Result<Directory, NetError> {
    let (config, mut options) = match nameservers {
        // Without a nameserver the file of hosts is all there is.
        [] => read_system_conf().unwrap_or_default(),
        own => {
            let servers = own.iter().map(|at| {
                let mut server = NameServerConfig::udp_and_tcp(at.ip());
                server.connections.iter_mut().for_each(|way| way.port = at.port());
                server
            });
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
            (config, Default::default())
        }
    };
    (options.timeout, options.attempts) = (QUESTION, 2);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    let mut resolver = builder.build()?;
    let hosts = Arc::new(Hosts::from_system().unwrap_or_default());
    resolver.set_hosts(Arc::clone(&hosts));
    Ok(Directory { resolver, hosts })
}

/// Looks a peer up, within [`LIMIT`].
///
/// # Errors
/// Why it leads nowhere, in words.
pub(super) async fn locate(
    directory: Directory,
    reach: Reach,
    peer: Peer,
) -> Result<Found, String> {
    let Directory { resolver, hosts } = directory;
    let mut search = Search { resolver, hosts, reach, ttl: TTL.1, lacking: None, any: false };
    let limit = tokio::time::timeout(LIMIT, search.run(&peer)).await;
    let mut places = limit.map_err(|_| format!("no answer in {} s", LIMIT.as_secs()))??;
    for place in &mut places {
        place.host = peer.authority();
    }
    let Search { ttl, lacking, any, .. } = search;
    match (places.is_empty(), lacking) {
        (true, Some(why)) => Err(why),
        (true, None) if any => Err("no socket of ours reaches its family of addresses".to_owned()),
        (true, None) => Err("it has no address".to_owned()),
        (false, lacking) => Ok(Found { places, ttl: ttl.clamp(TTL.0, TTL.1), lacking }),
    }
}

/// A host whose addresses are wanted.
struct Target {
    transport: Transport,
    name: Name,
    port: u16,
    priority: u16,
    weight: u16,
}

struct Search {
    resolver: TokioResolver,
    hosts: Arc<Hosts>,
    reach: Reach,
    ttl: Duration,
    lacking: Option<String>,
    /// There are addresses, of whatever family.
    any: bool,
}

impl Search {
    async fn run(&mut self, peer: &Peer) -> Result<Vec<Place>, String> {
        let transport = peer.transport.or_else(|| self.reach.transports().next());
        let transport = transport.ok_or("we have no SIP socket")?;
        let port = peer.port.unwrap_or(transport.port());
        if let Ok(ip) = peer.host.parse::<IpAddr>() {
            return Ok(vec![Place::new(transport, SocketAddr::new(ip, port))]);
        }
        let mut name = Name::from_utf8(&peer.host).map_err(|e| format!("it is no name: {e}"))?;
        // One without a dot is of the own network: the resolver's `search`, or the file of hosts.
        let is_local = !peer.host.contains('.');
        name.set_fqdn(!is_local);
        let services = match peer.transport {
            _ if peer.port.is_some() || is_local || self.is_in_hosts_file(&name) => Vec::new(),
            Some(transport) => vec![(transport, service(transport, &name)?)],
            None => self.services(&name).await?,
        };
        let mut closed = false;
        for (transport, service) in services {
            let Some(lookup) = self.ask(&service, RecordType::SRV).await? else { continue };
            let targets = targets(&lookup, transport);
            closed |= targets.is_empty();
            let mut places = Vec::new();
            for target in &targets {
                places.extend(self.addresses(target).await);
            }
            if !targets.is_empty() {
                return Ok(places);
            }
        }
        if closed {
            return Err("its SRV records say that it offers no such service".to_owned());
        }
        let itself = Target { transport, name, port, priority: 0, weight: 0 };
        Ok(self.addresses(&itself).await)
    }

    fn is_in_hosts_file(&self, name: &Name) -> bool {
        let kinds = [RecordType::A, RecordType::AAAA];
        let found = |kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
        kinds.into_iter().any(|kind| found(kind).is_some())
    }

    /// The SRV names of the transports that we speak, in the order in which the domain wants them
    /// (RFC 3263, 4.1).
    async fn services(&mut self, name: &Name) -> Result<Vec<(Transport, Name)>, String> {
        // A nameserver that refuses NAPTR, as those of some networks do, is one that has none.
        let rules = match self.resolver.lookup(name.clone(), RecordType::NAPTR).await {
            Err(NetError::Dns(DnsError::ResponseCode(_))) => None,
            answer => self.taken(answer, name, RecordType::NAPTR)?,
        };
        let mut rules: Vec<&NAPTR> = rules
            .iter()
            .flat_map(Lookup::answers)
            .filter_map(|r| if let RData::NAPTR(rule) = &r.data { Some(rule) } else { None })
            .collect();
        rules.sort_by_key(|rule| (rule.order, rule.preference));
        let spoken: Vec<Transport> = self.reach.transports().collect();
        let usable = rules.into_iter().filter(|r| r.flags.eq_ignore_ascii_case(b"s"));
        let named = usable.filter_map(|rule| {
            let transport = match rule.services.to_ascii_uppercase().as_slice() {
                b"SIP+D2U" => Transport::Udp,
                b"SIP+D2T" => Transport::Tcp,
                b"SIPS+D2T" => Transport::Tls,
                _ => return None,
            };
            spoken.contains(&transport).then(|| (transport, rule.replacement.clone()))
        });
        let named: Vec<_> = named.collect();
        if !named.is_empty() {
            return Ok(named);
        }
        spoken.into_iter().map(|t| Ok((t, service(t, name)?))).collect()
    }

    /// The addresses of a target that sockets of ours reach; they share its weight.
    async fn addresses(&mut self, target: &Target) -> Vec<Place> {
        let mut found: Vec<SocketAddr> = Vec::new();
        for (v4, kind) in [(true, RecordType::A), (false, RecordType::AAAA)] {
            let reached = self.reach.holds(target.transport, v4);
            if !reached && (self.any || !found.is_empty()) {
                continue;
            }
            let lookup = match self.ask(&target.name, kind).await {
                Ok(Some(lookup)) => lookup,
                Ok(None) => continue,
                Err(why) => {
                    self.lacking = self.lacking.take().or(reached.then_some(why));
                    continue;
                }
            };
            let ips = lookup.answers().iter().filter_map(|record| record.data.ip_addr());
            let ips: Vec<_> = ips.map(|ip| SocketAddr::new(ip, target.port)).collect();
            self.any |= !ips.is_empty();
            found.extend(ips.into_iter().filter(|_| reached));
        }
        let share = target.weight.div_ceil(u16::try_from(found.len().max(1)).unwrap_or(u16::MAX));
        let place = |address| Place {
            priority: target.priority,
            weight: share,
            ..Place::new(target.transport, address)
        };
        found.into_iter().map(place).collect()
    }

    /// Asks DNS. `None`: there is no such record.
    async fn ask(&mut self, name: &Name, kind: RecordType) -> Result<Option<Lookup>, String> {
        let answer = self.resolver.lookup(name.clone(), kind).await;
        self.taken(answer, name, kind)
    }

    fn taken(
        &mut self,
        answer: Result<Lookup, NetError>,
        name: &Name,
        kind: RecordType,
    ) -> Result<Option<Lookup>, String> {
        match answer {
            Ok(lookup) => {
                let ttl = lookup.answers().iter().map(|record| record.ttl).min();
                self.ttl = self.ttl.min(Duration::from_secs(ttl.unwrap_or_default().into()));
                let holds = lookup.answers().iter().any(|record| record.record_type() == kind);
                Ok(holds.then_some(lookup))
            }
            Err(error) if error.is_no_records_found() => Ok(None),
            Err(error) => Err(format!("{kind} of {name}: {error}")),
        }
    }
}

fn service(transport: Transport, name: &Name) -> Result<Name, String> {
    let prefix = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
    };
    Name::from_utf8(format!("{prefix}.{name}")).map_err(|e| format!("its name is too long: {e}"))
}

/// The targets of an SRV answer. None: the domain says that it does not offer the service
/// (RFC 2782, a target of `.`).
fn targets(lookup: &Lookup, transport: Transport) -> Vec<Target> {
    let records = lookup.answers().iter().filter_map(|record| match &record.data {
        RData::SRV(srv) if !srv.target.is_root() => Some(srv),
        _ => None,
    });
    let mut targets: Vec<Target> = records
        .map(|srv| Target {
            transport,
            name: srv.target.clone(),
            port: srv.port,
            priority: srv.priority,
            weight: srv.weight,
        })
        .collect();
    targets.sort_by_key(|target| (target.priority, u16::MAX - target.weight));
    targets.truncate(TARGETS);
    targets
}
