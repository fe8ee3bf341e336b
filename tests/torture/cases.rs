//! Reads `cases.txt` and holds a switch to it.

use crate::wire::send;
use crate::world::World;

/// One message and how it must end.
#[derive(Debug)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// The outcomes that are right.
    pub wanted: Vec<String>,
    /// `b has`, `b lacks` or `a has`, and the text.
    pub holds: Vec<(String, Vec<u8>)>,
    /// The message.
    pub bytes: Vec<u8>,
}

const HEADS: &str = "Via: SIP/2.0/UDP a.example;branch=z9hG4bK{name}\r\n\
    From: <sip:+61280001111@a.example>;tag={name}\r\nTo: <sip:+61491570156@cooee.example>\r\n\
    Call-ID: {name}@a.example\r\nContact: <sip:a@a.example>\r\nMax-Forwards: 70";
const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.40\r\ns=-\r\nc=IN IP4 192.0.2.40\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";

/// All cases of the table.
pub fn all() -> Vec<Case> {
    let text = include_str!("cases.txt");
    let lines = text.lines().filter(|line| !line.starts_with("# "));
    let mut cases: Vec<(Vec<&str>, Vec<&str>)> = Vec::new();
    for line in lines {
        if line.starts_with("@case ") {
            cases.push((vec![line], Vec::new()));
        } else if let Some((marks, message)) = cases.last_mut() {
            if line.starts_with('@') { marks.push(line) } else { message.push(line) }
        }
    }
    cases.into_iter().map(|(marks, message)| case(&marks, &message)).collect()
}

fn case(marks: &[&str], message: &[&str]) -> Case {
    let mut words = marks[0].splitn(4, ' ').skip(1);
    let name = words.next().unwrap();
    let wanted = words.next().unwrap().split('|').map(str::to_owned).collect();
    let holds = marks[1..].iter().map(|mark| {
        let (kind, text) =
            mark[1..].match_indices(' ').nth(1).map(|m| mark[1..].split_at(m.0)).unwrap();
        (kind.to_owned(), bytes(&filled(&text[1..], name)))
    });
    let holds = holds.collect();
    let end = message.iter().rposition(|line| !line.is_empty()).map_or(0, |at| at + 1);
    let mut text: String = message[..end].iter().map(|line| filled(line, name) + "\r\n").collect();
    if !text.contains("\r\n\r\n") {
        text.push_str("\r\n");
    }
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let length = bytes(body).len().to_string();
    let whole = format!("{}\r\n\r\n{body}", head.replace("{length}", &length));
    Case { name: name.to_owned(), wanted, holds, bytes: bytes(&whole) }
}

/// `line` with its placeholders filled in.
fn filled(line: &str, name: &str) -> String {
    let offer = format!(
        "Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{}",
        OFFER.len(),
        OFFER.trim_end()
    );
    let line = line.replace("{heads}", HEADS).replace("{offer}", &offer).replace("{name}", name);
    let mut out = String::new();
    let mut rest = line.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let times =
            after.split_once('*').and_then(|(n, tail)| Some((n.parse::<usize>().ok()?, tail)));
        match times.and_then(|(n, tail)| Some((n, tail.split_once('}')?))) {
            Some((n, (what, tail))) => {
                out.push_str(&what.repeat(n));
                rest = tail;
            }
            None => {
                out.push('{');
                rest = after;
            }
        }
    }
    out + rest
}

/// `text` with `\xNN` and `\\` undone.
fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let (byte, tail) = match tail {
            [b'x', high, low, tail @ ..] if byte == b'\\' => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).unwrap();
                (u8::from_str_radix(digits, 16).unwrap(), tail)
            }
            [b'\\', tail @ ..] if byte == b'\\' => (b'\\', tail),
            _ => (byte, tail),
        };
        rest = tail;
        out.push(byte);
    }
    out
}

fn holds(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

#[test]
fn every_case_ends_as_it_must() {
    let mut wrong = Vec::new();
    let cases = all();
    assert!(cases.len() > 100, "{} cases", cases.len());
    for case in &cases {
        let came = send(&mut World::transparent(), case.bytes.clone());
        let word = came.word();
        if !case.wanted.contains(&word) {
            wrong.push(format!("{}: {word}, wanted {:?}", case.name, case.wanted));
        }
        if came.finals() > 1 || came.elsewhere > 0 || came.dialled.len() > 1 {
            wrong.push(format!("{}: {came:?}", case.name));
        }
        let (a, b) = (came.answers.concat(), came.dialled.concat());
        for (kind, text) in &case.holds {
            let right = match kind.as_str() {
                "a has" => holds(&a, text),
                "b has" => holds(&b, text),
                "b lacks" => !holds(&b, text),
                other => panic!("{}: what is `{other}`?", case.name),
            };
            if !right {
                let (text, a) = (String::from_utf8_lossy(text), String::from_utf8_lossy(&a));
                let b = String::from_utf8_lossy(&b);
                wrong.push(format!("{}: not so: {kind} {text}\n{a}{b}", case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
