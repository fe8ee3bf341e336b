//! What was on the wire in one call, and what arrived: the proof of what the network did.

use bytes::Bytes;
use cooee_model::ids::Side;

use crate::script::SECOND;
use crate::sip::Msg;

/// Which way a datagram went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToSwitch(Side),
    FromSwitch(Side),
}

/// One datagram.
#[derive(Debug)]
pub struct Entry {
    at: u64,
    way: Way,
    bytes: Bytes,
    arrived: u8,
    /// All copies of one message have the same place here.
    group: usize,
}

impl Entry {
    pub fn new(at: u64, way: Way, bytes: Bytes) -> Self {
        Self { at, way, bytes, arrived: 0, group: 0 }
    }
}

/// The copies of one message together: a request, or a final response.
#[derive(Debug)]
pub struct Group {
    pub way: Way,
    pub method: String,
    pub call_id: String,
    pub branch: String,
    pub code: u16,
    pub sent: u32,
    pub arrived: u32,
    /// When the first copy left, and when one arrived.
    pub began: u64,
    pub came: Option<u64>,
}

/// The wire of one call.
#[derive(Debug, Default)]
pub struct Log {
    entries: Vec<Entry>,
    pub groups: Vec<Group>,
    notes: Vec<(u64, usize, String)>,
}

impl Log {
    pub fn push(&mut self, mut entry: Entry, m: &Msg<'_>) -> usize {
        let same = |g: &Group| {
            g.way == entry.way && g.code == m.code && g.branch == m.branch && g.method == m.method
        };
        entry.group = match self.groups.iter().rposition(same) {
            Some(at) => at,
            None => {
                self.groups.push(Group {
                    way: entry.way,
                    method: m.method.to_owned(),
                    call_id: m.call_id.to_owned(),
                    branch: m.branch.to_owned(),
                    code: m.code,
                    sent: 0,
                    arrived: 0,
                    began: entry.at,
                    came: None,
                });
                self.groups.len() - 1
            }
        };
        self.groups[entry.group].sent += 1;
        self.entries.push(entry);
        self.entries.len() - 1
    }

    pub fn arrived(&mut self, at: usize, now: u64) {
        let entry = &mut self.entries[at];
        entry.arrived += 1;
        let group = &mut self.groups[entry.group];
        group.arrived += 1;
        group.came.get_or_insert(now);
    }

    pub fn note(&mut self, at: u64, text: String) {
        self.notes.push((at, self.entries.len(), text));
    }

    /// Whether the network took every copy of a message that had to be sent until it was heard.
    pub fn took_all(&self, what: impl Fn(&Group) -> bool) -> bool {
        self.groups.iter().any(|g| g.arrived == 0 && what(g))
    }

    /// The call, line by line, as a ladder.
    pub fn ladder(&self) -> String {
        use std::fmt::Write;
        let mut text = String::new();
        let mut notes = self.notes.iter().peekable();
        for (place, entry) in self.entries.iter().enumerate() {
            while let Some((at, _, note)) = notes.next_if(|n| n.1 <= place) {
                let _ = writeln!(text, "{:>9.3}            * {note}", seconds(*at));
            }
            let m = Msg::read(std::str::from_utf8(&entry.bytes).unwrap()).unwrap();
            let arrow = match entry.way {
                Way::ToSwitch(Side::A) => "A ==> |      ",
                Way::FromSwitch(Side::A) => "A <== |      ",
                Way::FromSwitch(Side::B) => "      | ==> B",
                Way::ToSwitch(Side::B) => "      | <== B",
            };
            let fate = match entry.arrived {
                0 => "lost",
                1 => "",
                _ => "twice",
            };
            let (title, tag) = (m.title(), m.to_tag);
            let sdp = m.body.lines().filter(|l| l.starts_with("a=send") || l.starts_with("a=recv"));
            let way = sdp.collect::<String>();
            let at = seconds(entry.at);
            let _ = writeln!(text, "{at:>9.3} {arrow} {title} cseq {} {tag} {way} {fate}", m.cseq);
        }
        for (at, _, note) in notes {
            let _ = writeln!(text, "{:>9.3}            * {note}", seconds(*at));
        }
        text
    }
}

fn seconds(at: u64) -> f64 {
    at as f64 / SECOND as f64
}
