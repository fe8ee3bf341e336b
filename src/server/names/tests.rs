//! Names against a nameserver: RFC 3263 step by step, and what is kept when it fails.

mod dns;

use cooee_config::secrets::Surroundings;
use cooee_model::moment::Moment;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;

use self::dns::Dns;
use super::*;
use crate::inbox::{Letters, inbox};

const ALL: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];

fn reach(transports: &[Transport], addresses: &[&str]) -> Reach {
    let at = |address: &&str| SocketAddr::new(address.parse().unwrap(), 5060);
    let locals = transports.iter().flat_map(|t| addresses.iter().map(|a| Local::new(*t, at(a))));
    Reach::of(&locals.collect::<Vec<_>>())
}

fn peer(text: &str) -> Peer {
    let (transport, rest) = match text.split_once(':') {
        Some((t, rest)) if Transport::named(t.as_bytes()).is_some() => {
            (Transport::named(t.as_bytes()), rest)
        }
        _ => (None, text),
    };
    let (host, port) = rest.split_once(':').map_or((rest, None), |(h, p)| (h, p.parse().ok()));
    Peer { transport, host: host.to_owned(), port }
}

fn located(dns: &Dns, reach: &Reach, text: &str) -> Result<Found, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime
        .block_on(async { locate(directory(&[dns.at]).unwrap(), reach.clone(), peer(text)).await })
}

/// The addresses of a peer, with priority and weight.
fn places(dns: &Dns, reach: &Reach, text: &str) -> Vec<String> {
    let places = located(dns, reach, text).unwrap().places;
    let one =
        |p: &Place| format!("{}:{} {}/{}", p.transport.name(), p.address, p.priority, p.weight);
    places.iter().map(one).collect()
}

#[test]
fn naptr_leads_to_srv_and_srv_to_addresses() {
    let (dns, v4) = (Dns::start(), ["127.0.0.1"]);
    dns.naptr("example.com.", (20, 1), "SIP+D2U", "_sip._udp.example.com.");
    dns.naptr("example.com.", (10, 2), "SIPS+D2T", "_sips._tcp.example.com.");
    dns.naptr("example.com.", (10, 1), "sip+d2t", "_tcp.example.net.");
    dns.naptr("example.com.", (5, 1), "SIP+D2S", "_sip._sctp.example.com.");
    dns.srv("_sips._tcp.example.com.", (0, 0), 5061, "tls.example.com.");
    dns.srv("_sip._udp.example.com.", (0, 0), 5060, "udp.example.com.");
    dns.srv("_tcp.example.net.", (20, 1), 5070, "b.example.net.");
    dns.srv("_tcp.example.net.", (10, 7), 5060, "a.example.net.");
    dns.srv("_tcp.example.net.", (10, 60), 5060, "c.example.net.");
    for (host, ip) in [("a", "192.0.2.1"), ("b", "192.0.2.2"), ("c", "192.0.2.3")] {
        dns.address(&format!("{host}.example.net."), 300, ip);
    }
    dns.address("tls.example.com.", 300, "192.0.2.9");
    dns.address("udp.example.com.", 300, "192.0.2.8");

    let found = places(&dns, &reach(&ALL, &v4), "example.com");
    let by_tcp = ["tcp:192.0.2.3:5060 10/60", "tcp:192.0.2.1:5060 10/7", "tcp:192.0.2.2:5070 20/1"];
    assert_eq!(found, by_tcp, "the best rule whose transport we speak");
    let without = reach(&[Transport::Udp, Transport::Tls], &v4);
    assert_eq!(places(&dns, &without, "example.com"), ["tls:192.0.2.9:5061 0/0"]);
    let found = located(&dns, &reach(&ALL, &v4), "example.com").unwrap();
    assert!(found.places.iter().all(|p| p.host == "example.com"), "the domain, not the target");
    // A transport that is named needs no rule.
    dns.asked();
    assert_eq!(places(&dns, &reach(&ALL, &v4), "udp:example.com"), ["udp:192.0.2.8:5060 0/0"]);
    assert_eq!(dns.asked(), ["SRV _sip._udp.example.com.", "A udp.example.com."]);
}

#[test]
fn without_naptr_each_transport_has_its_srv() {
    let (dns, all) = (Dns::start(), reach(&ALL, &["127.0.0.1"]));
    dns.srv("_sips._tcp.example.com.", (1, 1), 5071, "sbc.example.com.");
    dns.address("sbc.example.com.", 300, "192.0.2.1");
    dns.address("example.com.", 300, "192.0.2.80");
    assert_eq!(places(&dns, &all, "example.com"), ["tls:192.0.2.1:5071 1/1"]);
    let asked = ["NAPTR example.com.", "SRV _sip._udp.example.com.", "SRV _sip._tcp.example.com."];
    assert_eq!(dns.asked()[..3], asked);
    // With a port, or without any SRV, the name itself is asked for.
    assert_eq!(places(&dns, &all, "example.com:5080"), ["udp:192.0.2.80:5080 0/0"]);
    assert_eq!(places(&dns, &all, "tls:example.com:5081"), ["tls:192.0.2.80:5081 0/0"]);
    assert_eq!(dns.asked(), ["A example.com."]);
    assert_eq!(places(&dns, &all, "tcp:example.com"), ["tcp:192.0.2.80:5060 0/0"]);
    // A nameserver that knows no NAPTR does not stand in the way.
    dns.breaks(RecordType::NAPTR, ResponseCode::NotImp);
    assert_eq!(places(&dns, &all, "example.com"), ["tls:192.0.2.1:5071 1/1"]);
    assert_eq!(places(&dns, &all, "192.0.2.7"), ["udp:192.0.2.7:5060 0/0"]);
}

#[test]
fn addresses_are_those_that_our_sockets_reach() {
    let dns = Dns::start();
    dns.srv("_sip._udp.example.com.", (1, 30), 5060, "both.example.com.");
    dns.alias("both.example.com.", 300, "real.example.com.");
    dns.address("real.example.com.", 300, "192.0.2.1");
    dns.address("real.example.com.", 300, "192.0.2.2");
    dns.address("real.example.com.", 300, "2001:db8::1");
    let udp = [Transport::Udp];
    let four = ["udp:192.0.2.1:5060 1/15", "udp:192.0.2.2:5060 1/15"];
    assert_eq!(places(&dns, &reach(&udp, &["127.0.0.1"]), "example.com"), four, "by an alias");
    let six = ["udp:[2001:db8::1]:5060 1/30"];
    assert_eq!(places(&dns, &reach(&udp, &["::1"]), "example.com"), six);
    assert_eq!(places(&dns, &reach(&udp, &["::1", "127.0.0.1"]), "example.com").len(), 3);
    dns.clear();
    dns.address("six.example.com.", 300, "2001:db8::1");
    let why = located(&dns, &reach(&udp, &["127.0.0.1"]), "six.example.com:5060").unwrap_err();
    assert!(why.contains("family"), "{why}");
}

#[test]
fn what_fails_is_told_apart_from_what_is_not_there() {
    let (dns, udp) = (Dns::start(), reach(&[Transport::Udp], &["127.0.0.1"]));
    let why = located(&dns, &udp, "example.com").unwrap_err();
    assert_eq!(why, "it has no address");
    dns.address("example.com.", 300, "192.0.2.80");
    dns.srv("_sip._udp.example.com.", (0, 0), 0, ".");
    let why = located(&dns, &udp, "example.com").unwrap_err();
    assert!(why.contains("no such service"), "{why}");
    // A broken SRV is no reason to call the web server of that name.
    dns.breaks(RecordType::SRV, ResponseCode::ServFail);
    let why = located(&dns, &udp, "example.com").unwrap_err();
    assert!(why.contains("SRV of _sip._udp.example.com."), "{why}");
}

#[test]
fn the_shortest_life_counts_within_bounds() {
    let (dns, udp) = (Dns::start(), reach(&[Transport::Udp], &["127.0.0.1"]));
    for (host, ttl) in [("short", 1), ("middle", 60), ("long", 86_400)] {
        dns.address(&format!("{host}.example.com."), ttl, "192.0.2.1");
    }
    dns.srv("_sip._udp.example.com.", (0, 0), 5060, "middle.example.com.");
    dns.srv("_sip._udp.example.com.", (0, 0), 5060, "long.example.com.");
    let ttl = |text: &str| located(&dns, &udp, text).unwrap().ttl.as_secs();
    assert_eq!(ttl("short.example.com:5060"), 5);
    assert_eq!(ttl("long.example.com:5060"), 3600);
    assert_eq!(ttl("example.com"), 60);
    assert_eq!(ttl("192.0.2.1"), 3600);
}

fn plan(peers: &str, nameserver: SocketAddr) -> cooee_config::Loaded {
    let text = format!(
        "[sip]\nbind = [\"udp:127.0.0.1:0\"]\nnameservers = [\"{nameserver}\"]\n\
         [[trunk]]\nname = \"b\"\nprofile = \"generic-ip-trunk\"\npeers = [{peers}]\n\
         [[did]]\nnumber = \"+61255501234\"\n\
         [caller_id]\ndefault = \"+61255501234\"\n\
         [[route]]\nfrom = \"b\"\nchain = [\"trunk:b\"]\n"
    );
    let around = Surroundings::new(std::path::Path::new("/nonexistent"), |_| None);
    cooee_config::load_str(&text, "cooee.toml", &around).unwrap()
}

fn at(second: u64) -> Moment {
    Moment::new(0, 0) + Duration::from_secs(second)
}

fn found(addresses: &[(&str, u16)], ttl_s: u64) -> Found {
    let place = |(address, priority): &(&str, u16)| Place {
        priority: *priority,
        ..Place::new(Transport::Udp, address.parse().unwrap())
    };
    let places = addresses.iter().map(place).collect();
    Found { places, ttl: Duration::from_secs(ttl_s), lacking: None }
}

#[test]
fn the_last_good_answer_is_kept_and_its_age_is_known() {
    let plan =
        plan(r#""one.example.com", "two.example.com""#, "127.0.0.1:53".parse().unwrap()).plan;
    let trunk = &plan.trunks[0];
    let mut book = Book::default();
    let due = book.due(&plan, at(0), false);
    assert_eq!(due, trunk.peers, "each once");
    assert!(book.due(&plan, at(0), true).is_empty() && !book.is_settled(&plan), "under way");
    let (one, two) = (&due[0], &due[1]);
    let good = found(&[("192.0.2.1:5060", 30), ("192.0.2.2:5060", 10)], 60);
    assert_eq!(book.note(at(0), one, Ok(good.clone())), News::Moved);
    assert_eq!(book.note(at(0), two, Ok(found(&[("192.0.2.3:5060", 0)], 600))), News::Moved);
    let order = |book: &Book| -> Vec<String> {
        let places = book.places(trunk);
        places.iter().map(|p| format!("{} {}", p.address, p.priority)).collect()
    };
    let whole = ["192.0.2.2:5060 0", "192.0.2.1:5060 1", "192.0.2.3:5060 2"];
    assert_eq!(order(&book), whole, "by peers, then by what DNS says");
    assert_eq!(book.wait(at(1)), Some(Duration::from_secs(59)));

    assert_eq!(book.due(&plan, at(60), false), std::slice::from_ref(one));
    let news = book.note(at(60), one, Err("no answer".to_owned()));
    assert_eq!(news, News::Failing("no answer".to_owned()));
    assert_eq!(
        (order(&book), book.overdue(trunk)),
        (whole.map(str::to_owned).into(), Some(at(60)))
    );
    assert_eq!(book.due(&plan, at(70), false), std::slice::from_ref(one), "soon again");
    assert_eq!(book.note(at(70), one, Err("no answer".to_owned())), News::None, "told once");
    // Half an answer is none, while there is a whole one.
    book.due(&plan, at(80), false);
    let half = Found { lacking: Some("A of c".to_owned()), ..found(&[("192.0.2.2:5060", 10)], 60) };
    assert_eq!(book.note(at(80), one, Ok(half)), News::None);
    assert_eq!(order(&book), whole);
    book.due(&plan, at(90), false);
    assert_eq!(book.note(at(90), one, Ok(good)), News::None);
    assert_eq!(book.overdue(trunk), None);
}

/// The addresses that the engine is told of for the first trunk.
fn told(letters: &Letters) -> (u32, Vec<String>) {
    let patience = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        if let Some((Input::Peers { revision, trunk: 0, peers }, _)) = letters.next() {
            return (revision, peers.iter().map(|p| p.address.to_string()).collect());
        }
        assert!(std::time::Instant::now() < patience, "the engine was told of nothing");
        std::thread::yield_now();
    }
}

#[test]
fn the_engine_is_told_at_the_start_and_by_a_reload() {
    let dns = Dns::start();
    dns.srv("_sip._udp.example.com.", (1, 1), 5070, "sbc.example.com.");
    dns.address("sbc.example.com.", 300, "192.0.2.1");
    dns.srv("_sips._tcp.example.com.", (1, 1), 5061, "sbc.example.com.");
    let mut loaded = plan(r#""udp:example.com""#, dns.at);
    loaded.plan.trunks[0].peers.push(peer("tls:example.com"));
    let plan = Arc::new(loaded.plan);
    let (sender, letters) = inbox().unwrap();
    let identity = cooee_telemetry::Identity::default();
    let telemetry = Arc::new(Telemetry::new(identity, clock::now()));
    let hosts = Hosts::default();
    let readers =
        Readers { inbox: sender, hosts: hosts.clone(), telemetry: Arc::clone(&telemetry) };
    let local = |transport| Local::new(transport, "127.0.0.1:5060".parse().unwrap());
    let locals = [local(Transport::Udp), local(Transport::Tls)];
    let names = Names::start(&plan, &loaded.sip.nameservers, &locals, readers).unwrap();
    let (udp, tls) = ("192.0.2.1:5070", "192.0.2.1:5061");
    let mut both = told(&letters);
    if both.1.len() < 2 {
        both = told(&letters);
    }
    assert_eq!(both, (1, vec![udp.to_owned(), tls.to_owned()]));
    // RFC 5922: its certificate must name the domain, not what SRV says.
    assert_eq!(hosts.at(tls.parse().unwrap()), "example.com");
    assert!(!names.unreachable().load(Ordering::Relaxed));

    // A reload looks again, whatever the time; the engine has the answer with its new plan.
    dns.address("sbc.example.com.", 300, "192.0.2.2");
    let mut next = Plan::clone(&plan);
    next.revision = 2;
    let next = Arc::new(next);
    let both = names.look(&next, &loaded.sip.nameservers);
    assert_eq!(both[0].len(), 4);
    assert_eq!(told(&letters).0, 1, "the plan before is in force until the engine says so");
    assert_eq!(told(&letters).0, 1);
    names.serve(&next);
    assert_eq!(told(&letters).0, 2);
    // Nobody answers: what was known goes on.
    dns.clear();
    assert_eq!(names.look(&next, &loaded.sip.nameservers)[0].len(), 4);
    assert_eq!(names.overdue(clock::now() + Duration::from_secs(400))[0].0, "b");
    assert!(names.overdue(clock::now() + Duration::from_secs(400))[0].1 >= 90);
    let count = |cell: &std::sync::atomic::AtomicU64| cell.load(Ordering::Relaxed);
    assert_eq!((count(&telemetry.names.found), count(&telemetry.names.failed)), (4, 2));
}
