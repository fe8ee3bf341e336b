//! The list of calls: where each side's voice comes from and which port of the relay it goes to.
//!
//! ```json
//! {"flows": [{"a": {"src": "127.1.0.1:20000", "dst": "127.3.0.1:12000"},
//!             "b": {"src": "127.2.0.1:20000", "dst": "127.3.0.1:12002"}}]}
//! ```
//!
//! What leaves `a.src` for `a.dst` must come out at `b.src`, and the other way round. All calls of
//! a side share one source address: the relay tells them apart by its own ports.

use std::fs::File;
use std::io::{self, BufReader};
use std::net::SocketAddr;
use std::path::Path;

use serde::Deserialize;

#[derive(Deserialize)]
struct List {
    flows: Vec<Flow>,
}

/// One call.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Flow {
    /// The caller's side.
    pub(crate) a: End,
    /// The callee's side.
    pub(crate) b: End,
}

/// One side of a call.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct End {
    /// The tool's own address.
    pub(crate) src: SocketAddr,
    /// The relay's.
    pub(crate) dst: SocketAddr,
}

/// The calls, told as two sources and the destinations of each.
#[derive(Debug)]
pub(crate) struct Flows {
    /// Sources of side A and B.
    pub(crate) sources: [SocketAddr; 2],
    /// Destinations of each stream: A and B of the first call, A and B of the second, and so on.
    pub(crate) streams: Vec<SocketAddr>,
}

impl Flows {
    /// Reads the first `most` calls of a list.
    pub(crate) fn read(path: &Path, most: usize) -> io::Result<Self> {
        let list: List = serde_json::from_reader(BufReader::new(File::open(path)?))?;
        Self::new(list.flows.get(..most).unwrap_or(&list.flows))
    }

    /// The same from calls at hand.
    pub(crate) fn new(flows: &[Flow]) -> io::Result<Self> {
        let Some(first) = flows.first() else {
            return Err(io::Error::other("the list has no flow"));
        };
        let sources = [first.a.src, first.b.src];
        if flows.iter().any(|flow| [flow.a.src, flow.b.src] != sources) {
            return Err(io::Error::other("all flows of a side must share one source"));
        }
        Ok(Self { sources, streams: flows.iter().flat_map(|f| [f.a.dst, f.b.dst]).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(text: &str, most: usize) -> io::Result<Flows> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flows.json");
        std::fs::write(&path, text).unwrap();
        Flows::read(&path, most)
    }

    fn call(port: u16, source: u16) -> String {
        format!(
            r#"{{"a": {{"src": "127.1.0.1:{source}", "dst": "127.3.0.1:{port}"}},
                "b": {{"src": "127.2.0.1:6000", "dst": "127.3.0.1:{}"}}}}"#,
            port + 2
        )
    }

    #[test]
    fn streams_are_a_and_b_of_each_call_in_turn() {
        let text = format!(r#"{{"flows": [{}, {}]}}"#, call(12000, 5000), call(12004, 5000));
        let flows = listed(&text, 9).unwrap();
        let ports: Vec<u16> = flows.streams.iter().map(SocketAddr::port).collect();
        assert_eq!(ports, [12000, 12002, 12004, 12006]);
        assert_eq!(listed(&text, 1).unwrap().streams.len(), 2);
    }

    #[test]
    fn a_list_that_cannot_be_played_is_refused() {
        let text = format!(r#"{{"flows": [{}, {}]}}"#, call(12000, 5000), call(12004, 5001));
        assert!(listed(&text, 9).unwrap_err().to_string().contains("share one source"));
        assert!(listed(r#"{"flows": []}"#, 9).is_err());
        assert!(listed("{}", 9).is_err());
    }
}
