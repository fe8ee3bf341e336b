//! A nameserver on loopback, with answers as a test wants them.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{CNAME, NAPTR, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

#[derive(Default)]
struct Zone {
    records: Vec<Record>,
    /// Questions that are answered with an error.
    broken: Vec<(RecordType, ResponseCode)>,
    asked: Vec<(String, RecordType)>,
}

/// It ends when it is dropped.
pub(super) struct Dns {
    pub(super) at: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    end: UdpSocket,
    thread: Option<JoinHandle<()>>,
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

impl Dns {
    pub(super) fn start() -> Self {
        let socket = UdpSocket::bind("127.94.0.1:0").unwrap();
        let at = socket.local_addr().unwrap();
        let zone = Arc::new(Mutex::new(Zone::default()));
        let (end, of_thread) = (UdpSocket::bind("127.94.0.1:0").unwrap(), Arc::clone(&zone));
        let thread = std::thread::spawn(move || serve(&socket, &of_thread));
        Self { at, zone, end, thread: Some(thread) }
    }

    fn put(&self, host: &str, ttl: u32, data: RData) {
        self.zone.lock().unwrap().records.push(Record::from_rdata(name(host), ttl, data));
    }

    pub(super) fn address(&self, host: &str, ttl: u32, ip: &str) {
        let data = match ip.parse().unwrap() {
            IpAddr::V4(ip) => RData::A(ip.into()),
            IpAddr::V6(ip) => RData::AAAA(ip.into()),
        };
        self.put(host, ttl, data);
    }

    pub(super) fn alias(&self, host: &str, ttl: u32, of: &str) {
        self.put(host, ttl, RData::CNAME(CNAME(name(of))));
    }

    pub(super) fn srv(&self, host: &str, (priority, weight): (u16, u16), port: u16, to: &str) {
        self.put(host, 300, RData::SRV(SRV::new(priority, weight, port, name(to))));
    }

    pub(super) fn naptr(&self, host: &str, (order, preference): (u16, u16), what: &str, to: &str) {
        let (flags, services) = (b"s".as_slice().into(), what.as_bytes().into());
        let rule = NAPTR::new(order, preference, flags, services, Box::default(), name(to));
        self.put(host, 300, RData::NAPTR(rule));
    }

    /// All questions of this kind are answered with an error from now on.
    pub(super) fn breaks(&self, kind: RecordType, code: ResponseCode) {
        self.zone.lock().unwrap().broken.push((kind, code));
    }

    /// Forgets all records and faults.
    pub(super) fn clear(&self) {
        *self.zone.lock().unwrap() = Zone::default();
    }

    /// What was asked since the last time, without repeats.
    pub(super) fn asked(&self) -> Vec<String> {
        let asked = std::mem::take(&mut self.zone.lock().unwrap().asked);
        let mut asked: Vec<_> = asked.iter().map(|(name, kind)| format!("{kind} {name}")).collect();
        asked.dedup();
        asked
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.end.send_to(b"", self.at).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn serve(socket: &UdpSocket, zone: &Mutex<Zone>) {
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut buffer = [0; 4096];
    while let Ok((length @ 1.., from)) = socket.recv_from(&mut buffer) {
        let question = Message::from_vec(&buffer[..length]).unwrap();
        let answer = answer(&question, &mut zone.lock().unwrap());
        socket.send_to(&answer.to_vec().unwrap(), from).unwrap();
    }
}

fn answer(question: &Message, zone: &mut Zone) -> Message {
    let query = question.queries[0].clone();
    let mut answer = Message::response(question.id, OpCode::Query);
    answer.metadata.recursion_desired = true;
    answer.metadata.recursion_available = true;
    answer.add_query(query.clone());
    let kind = query.query_type();
    // The resolver may change the case of letters, to see them come back.
    let mut wanted = name(&query.name().to_string().to_ascii_lowercase());
    zone.asked.push((wanted.to_string(), kind));
    if let Some((_, code)) = zone.broken.iter().find(|(broken, _)| *broken == kind) {
        answer.metadata.response_code = *code;
        return answer;
    }
    let mut known = false;
    let mut found = Vec::new();
    while let Some(next) = step(zone, &wanted, kind, &mut found, &mut known) {
        wanted = next;
    }
    if !known {
        answer.metadata.response_code = ResponseCode::NXDomain;
    }
    for mut record in found {
        if record.name == name(&query.name().to_string().to_ascii_lowercase()) {
            record.name = query.name().clone();
        }
        answer.add_answer(record);
    }
    answer
}

/// Takes the records of a name; gives the name that it is an alias of.
fn step(
    zone: &Zone,
    wanted: &Name,
    kind: RecordType,
    found: &mut Vec<Record>,
    known: &mut bool,
) -> Option<Name> {
    let mut alias = None;
    for record in zone.records.iter().filter(|record| record.name == *wanted) {
        *known = true;
        if record.record_type() == kind {
            found.push(record.clone());
        } else if let RData::CNAME(CNAME(of)) = &record.data {
            found.push(record.clone());
            alias = Some(of.clone());
        }
    }
    alias
}
