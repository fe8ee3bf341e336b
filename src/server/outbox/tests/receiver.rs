//! A receiver of webhooks on loopback that can be told to misbehave.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

/// One POST, as it came.
#[derive(Clone, Debug)]
pub struct Got {
    pub id: String,
    pub head: String,
    pub body: String,
    /// How often this id has come, this one included.
    pub nth: usize,
}

impl Got {
    pub fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, v)| v).next().unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn call(&self) -> String {
        self.id.split('-').next().unwrap().to_owned()
    }
}

/// What is done with a POST.
#[derive(Clone, Debug)]
pub enum Reply {
    /// These bytes, and the connection stays.
    Say(String),
    /// These bytes, and then nothing for ever.
    Stall(String),
    /// These bytes again and again, for ever.
    Flood(String),
    /// One byte of the head now and then, never done.
    Drip,
    /// The connection is cut.
    Reset,
}

/// A plain answer with this status.
pub fn say(status: u16) -> Reply {
    Reply::Say(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"))
}

/// What came, in order, and how often each id.
#[derive(Default)]
struct All(Vec<Got>, BTreeMap<String, usize>);

type Rule = Arc<dyn Fn(&Got) -> Reply + Send + Sync>;

/// A running receiver; its threads end with it.
pub struct Receiver {
    pub address: SocketAddr,
    got: Arc<Mutex<All>>,
    busy: Arc<AtomicUsize>,
    pub busiest: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Receiver {
    pub fn start(rule: impl Fn(&Got) -> Reply + Send + Sync + 'static) -> Self {
        Self::at(TcpListener::bind("127.91.0.1:0").unwrap(), rule)
    }

    pub fn at(listener: TcpListener, rule: impl Fn(&Got) -> Reply + Send + Sync + 'static) -> Self {
        Self::over(listener, None, rule)
    }

    pub fn by_tls(
        listener: TcpListener,
        tls: Arc<ServerConfig>,
        rule: impl Fn(&Got) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::over(listener, Some(tls), rule)
    }

    fn over(
        listener: TcpListener,
        tls: Option<Arc<ServerConfig>>,
        rule: impl Fn(&Got) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let rule: Rule = Arc::new(rule);
        let this = Self {
            address,
            got: Arc::default(),
            busy: Arc::default(),
            busiest: Arc::default(),
            stop: Arc::default(),
        };
        let (got, stop) = (Arc::clone(&this.got), Arc::clone(&this.stop));
        let (busy, busiest) = (Arc::clone(&this.busy), Arc::clone(&this.busiest));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Acquire) {
                    break;
                }
                let (rule, got, stop) = (Arc::clone(&rule), Arc::clone(&got), Arc::clone(&stop));
                let (busy, busiest) = (Arc::clone(&busy), Arc::clone(&busiest));
                let (stream, tls) = (stream.unwrap(), tls.clone());
                stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
                stream.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
                std::thread::spawn(move || {
                    busiest.fetch_max(busy.fetch_add(1, Ordering::AcqRel) + 1, Ordering::AcqRel);
                    match tls {
                        None => serve(stream, &rule, &got, &stop),
                        Some(tls) => {
                            let session = ServerConnection::new(tls).unwrap();
                            serve(StreamOwned::new(session, stream), &rule, &got, &stop);
                        }
                    }
                    busy.fetch_sub(1, Ordering::AcqRel);
                });
            }
        });
        this
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook?x=1", self.address)
    }

    pub fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().0.clone()
    }

    /// How many different events came.
    pub fn events(&self) -> usize {
        self.got.lock().unwrap().1.len()
    }

    /// How many connections are open.
    pub fn busy(&self) -> usize {
        self.busy.load(Ordering::Acquire)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(mut stream: impl Read + Write, rule: &Rule, all: &Mutex<All>, stop: &AtomicBool) {
    let mut seen = Vec::new();
    while let Some(mut got) = post(&mut stream, &mut seen, stop) {
        {
            let mut all = all.lock().unwrap();
            let count = all.1.entry(got.id.clone()).or_default();
            *count += 1;
            got.nth = *count;
            all.0.push(got.clone());
        }
        let alive = || !stop.load(Ordering::Acquire);
        match rule(&got) {
            Reply::Say(text) => {
                if stream.write_all(text.as_bytes()).is_err() {
                    return;
                }
            }
            Reply::Reset => return,
            Reply::Stall(text) => {
                let _ = stream.write_all(text.as_bytes());
                while alive() && !gone(&mut stream) {}
                return;
            }
            Reply::Flood(text) => {
                while alive() && stream.write_all(text.as_bytes()).is_ok() {}
                return;
            }
            Reply::Drip => {
                for byte in "HTTP/1.1 200 OK\r\nX: ".bytes().chain(std::iter::repeat(b'x')) {
                    if !alive() || stream.write_all(&[byte]).is_err() || gone(&mut stream) {
                        return;
                    }
                }
            }
        }
    }
}

/// Waits a little; whether the peer has hung up.
fn gone(stream: &mut impl Read) -> bool {
    match stream.read(&mut [0; 64]) {
        Ok(read) => read == 0,
        Err(error) => {
            use std::io::ErrorKind::{TimedOut, WouldBlock};
            ![TimedOut, WouldBlock].contains(&error.kind())
        }
    }
}

/// The next POST of a connection; `None`: there is none.
fn post(stream: &mut impl Read, seen: &mut Vec<u8>, stop: &AtomicBool) -> Option<Got> {
    loop {
        if let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(seen[..end].to_vec()).unwrap();
            let value = |name: &str| {
                let line = head.lines().find(|line| line.to_lowercase().starts_with(name));
                line.map(|line| line[name.len()..].trim().to_owned())
            };
            let size: usize = value("content-length:").unwrap().parse().unwrap();
            if seen.len() >= end + 4 + size {
                let body = String::from_utf8(seen[end + 4..end + 4 + size].to_vec()).unwrap();
                let id = value("webhook-id:").unwrap();
                seen.drain(..end + 4 + size);
                return Some(Got { id, head, body, nth: 0 });
            }
        }
        let mut more = [0; 8192];
        match stream.read(&mut more) {
            Ok(0) => return None,
            Ok(read) => seen.extend(&more[..read]),
            Err(_) if stop.load(Ordering::Acquire) => return None,
            Err(error) => {
                use std::io::ErrorKind::{TimedOut, WouldBlock};
                if ![TimedOut, WouldBlock].contains(&error.kind()) {
                    return None;
                }
            }
        }
    }
}
