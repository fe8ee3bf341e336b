//! The terminal: calls as the node tells them, identity as the simulators saw it, delays, webhooks.
//! Repainted in place on a terminal; elsewhere one line for each call that is over.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use cooee_sim::clock::now_us;
use cooee_sim::truth::Call;
use cooee_sim::wire::Message;
use tokio::time::{interval, sleep};

use super::checks;
use super::mix::did_of;
use super::report::{Node, Row};
use super::world::World;
use super::{Failed, say};

/// Between two pictures.
const REPAINT: Duration = Duration::from_millis(250);

/// Calls on the screen.
const CALLS: usize = 6;

/// The histograms on the screen: name, and what it is.
const DELAYS: [(&str, &str); 4] = [
    ("invite_forward", "INVITE from A to B"),
    ("response_forward", "response from B to A"),
    ("rtp_forward", "audio packet"),
    ("journal_append", "journal"),
];

/// How long after its end a call is looked at: its last word and a repetition may be under way.
const SETTLED_US: i64 = 6_000_000;

/// How long after its end a call is printed where nothing is repainted.
const TOLD_US: i64 = 2_500_000;

/// Every so often the delays are printed where nothing is repainted.
const PLAIN_DELAYS: Duration = Duration::from_secs(15);

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";

/// What is shown, and how.
#[derive(Debug)]
pub(super) struct Screen {
    repaints: bool,
    colours: bool,
    head: String,
    began: Instant,
}

/// What has come of looking at calls that are over.
#[derive(Debug, Default)]
struct Verdict {
    looked_at: BTreeSet<u32>,
    printed: BTreeSet<u32>,
    calls: usize,
    checks: usize,
    wrong: Vec<String>,
}

impl Screen {
    pub(super) fn new(repaints: bool, speed: f64, world: &World) -> Self {
        let colours = repaints && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let page = format!("http://{}/", world.admin);
        let head = format!("cooee demo   page {page}   {speed} times as fast   Ctrl-C ends");
        Self { repaints, colours, head, began: Instant::now() }
    }

    /// Shows the node until it is dropped. What cannot be asked now is asked again.
    pub(super) async fn live(&self, world: &World, node: &Node) {
        let _cursor = self.repaints.then(Cursor::hide);
        if !self.repaints {
            say(&format!("{}\n{}\n", self.head, heading()));
        }
        let mut verdict = Verdict::default();
        let mut turn = interval(REPAINT);
        let mut delays = Instant::now();
        loop {
            turn.tick().await;
            let _ = look_at_ended(world, node, &mut verdict).await;
            let Ok(picture) = self.picture(world, node, &verdict).await else {
                sleep(REPAINT).await;
                continue;
            };
            if self.repaints {
                say(&format!("\x1b[H{}\x1b[J", picture.join("\x1b[K\r\n")));
                continue;
            }
            self.print_ended(world, node, &mut verdict).await;
            if delays.elapsed() > PLAIN_DELAYS {
                delays = Instant::now();
                let below = picture.iter().skip_while(|line| !line.contains("DELAY"));
                below.for_each(|line| say(&format!("{line}\n")));
            }
        }
    }

    /// Calls that have been over long enough for the portal's last word.
    async fn print_ended(&self, world: &World, node: &Node, verdict: &mut Verdict) {
        let Ok((_, recent)) = node.calls().await else { return };
        let mut lines = Vec::new();
        world.book.each(|call| {
            let told = call.is_over() && over_for(call, TOLD_US);
            if told && verdict.printed.insert(call.n) {
                lines.push(self.row(call, told_of(call, &recent)));
            }
        });
        lines.into_iter().for_each(|line| say(&format!("{line}\n")));
    }

    async fn picture(
        &self,
        world: &World,
        node: &Node,
        verdict: &Verdict,
    ) -> Result<Vec<String>, Failed> {
        let (up, recent) = node.calls().await?;
        let told: Vec<Row> = up.iter().chain(&recent).cloned().collect();
        let mut calls: Vec<Call> = Vec::new();
        world.book.each(|call| calls.push(without_audio(call)));
        let head = format!(
            "{}   {} s, {} calls, {} up",
            self.head,
            self.began.elapsed().as_secs(),
            calls.len(),
            up.len()
        );
        let mut lines = vec![self.paint(BOLD, &head), String::new(), self.paint(BOLD, &heading())];
        let last = calls.len().saturating_sub(CALLS);
        let shown = calls.iter().skip(last);
        lines.extend(shown.map(|call| self.row(call, told_of(call, &told))));
        lines.resize(CALLS + 3, String::new());
        lines.push(verdict.wrong.last().cloned().unwrap_or_default());
        lines.extend(self.identity(&calls));
        lines.push(String::new());
        lines.extend(self.delays(&node.latency().await?));
        lines.push(self.webhooks(world));
        lines.push(self.checked(verdict));
        Ok(lines)
    }

    fn row(&self, call: &Call, told: Option<&Row>) -> String {
        let zero = told.and_then(|row| row.int("started_us")).unwrap_or_default();
        let at = |name: &str| told.and_then(|row| row.int(name));
        let seconds = |at: Option<i64>| {
            at.map_or(String::new(), |at| format!("{:.2}", (at - zero) as f64 / 1e6))
        };
        let half = told.and_then(|row| row.int("answer_err_ms"));
        let half = half.map_or(String::new(), |ms| format!("±{:.2}", ms as f64 / 1000.0));
        let over = told.map_or("", |row| row.text("outcome"));
        let state = if over.is_empty() { told.map_or("", |row| row.text("state")) } else { over };
        let colour = match state {
            "connected" if over.is_empty() => GREEN,
            "held" | "answered" => YELLOW,
            _ if !over.is_empty() => DIM,
            _ => "",
        };
        let text = format!(
            "{:>4} +{:<11} +{:<11} {:<6} {:<13} {:>6} {:>6}{:<5} {:>6} {:>6}  {}",
            call.n,
            call.order.customer,
            did_of(&call.order.customer),
            call.platform.line,
            state,
            seconds(at("answered_us")),
            seconds(at("connected_us")),
            half,
            seconds(call.platform.agent_us.filter(|_| zero > 0)),
            seconds(at("ended_us")),
            call.order.title,
        );
        self.paint(colour, &text)
    }

    /// The last call's INVITE, as Unitalk sent it and as Voximplant got it.
    fn identity(&self, calls: &[Call]) -> Vec<String> {
        let last = calls.iter().rev().find(|call| !call.platform.invite.is_empty());
        let title = last.map_or(String::new(), |call| format!(", call {}", call.n));
        let title = format!("WHO CALLS WHOM{title}: on A as Unitalk sent it, on B as it came");
        let mut lines = vec![self.paint(BOLD, &title)];
        for (side, names) in [("A", ["From", "To"].as_slice()), ("B", &["From", "To", "Diversion"])]
        {
            let text = |call: &Call| match side {
                "A" => Message::read(call.dialer.invite.as_bytes()),
                _ => Message::read(call.platform.invite.as_bytes()),
            };
            let invite = last.and_then(text);
            for name in names {
                let value = invite.as_ref().map_or("", |invite| invite.one(name));
                let value = value.split(";tag=").next().unwrap_or_default();
                lines.push(format!("   {side}  {name}: {value}"));
            }
        }
        lines
    }

    fn delays(&self, rows: &[Row]) -> Vec<String> {
        let title = format!(
            "{:<24} {:>8} {:>8} {:>8} {:>8}  milliseconds",
            "DELAY", "COUNT", "P50", "P99", "MAX"
        );
        let mut lines = vec![self.paint(BOLD, &title)];
        for (name, title) in DELAYS {
            let Some(row) = rows.iter().find(|row| row.text("name") == name) else { continue };
            let ms = |name| row.number(name).unwrap_or_default() / 1e6;
            let count = row.int("count").unwrap_or_default();
            let (p50, p99, max) = (ms("p50"), ms("p99"), ms("max"));
            lines.push(format!("{title:<24} {count:>8} {p50:>8.3} {p99:>8.3} {max:>8.3}"));
        }
        lines
    }

    fn webhooks(&self, world: &World) -> String {
        let (fresh, failed, repeats) = world.receiver.counts();
        let f = world.receiver.faults();
        let faults = f.signature + f.stale + f.unreadable + f.order + f.changed;
        let colour = if faults == 0 { "" } else { RED };
        let text = format!(
            "WEBHOOKS {fresh} taken, signed and in order; {failed} failed on purpose, {repeats} \
             came again; {faults} faults"
        );
        self.paint(colour, &text)
    }

    fn checked(&self, verdict: &Verdict) -> String {
        let Verdict { calls, checks, wrong, .. } = verdict;
        let count = wrong.len();
        let text = format!(
            "CHECKED  {calls} calls, {checks} numbers against the simulators' own; {count} wrong"
        );
        self.paint(if wrong.is_empty() { "" } else { RED }, &text)
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        match self.colours && !colour.is_empty() {
            true => format!("\x1b[{colour}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

fn heading() -> String {
    format!(
        "{:>4} {:<12} {:<12} {:<6} {:<13} {:>6} {:>6}{:<5} {:>6} {:>6}  WHAT",
        "CALL", "CUSTOMER", "SHOWN AS", "LINE", "STATE", "ANSWER", "AGENT", "", "TRULY", "END"
    )
}

fn over_for(call: &Call, span_us: i64) -> bool {
    call.end.is_some_and(|end| now_us() - end.at_us() > span_us)
}

fn told_of<'r>(call: &Call, told: &'r [Row]) -> Option<&'r Row> {
    let id = &call.platform.cooee_call;
    told.iter().find(|row| !id.is_empty() && row.text("id") == *id)
}

fn without_audio(call: &Call) -> Call {
    let mut copy = Call { n: call.n, order: call.order.clone(), end: call.end, ..Call::default() };
    copy.dialer.invite.clone_from(&call.dialer.invite);
    copy.dialer.done = call.dialer.done;
    copy.platform.invite.clone_from(&call.platform.invite);
    copy.platform.line.clone_from(&call.platform.line);
    copy.platform.cooee_call.clone_from(&call.platform.cooee_call);
    copy.platform.agent_us = call.platform.agent_us;
    copy.platform.done = call.platform.done;
    copy
}

/// Looks at calls that have been over for a while, once.
async fn look_at_ended(world: &World, node: &Node, verdict: &mut Verdict) -> Result<(), Failed> {
    let mut due = Vec::new();
    world.book.each(|call| {
        if call.is_over() && over_for(call, SETTLED_US) && !verdict.looked_at.contains(&call.n) {
            due.push(call.clone());
        }
    });
    if due.is_empty() {
        return Ok(());
    }
    let rows = node.cdrs().await?;
    for call in due {
        verdict.looked_at.insert(call.n);
        world.book.forget_audio(call.n);
        let found = rows.iter().find(|row| row.text("unitalk_call_id") == call.external_id);
        let Some(cdr) = found else {
            verdict.wrong.push(format!("   call {} has no record", call.n));
            continue;
        };
        let id = cdr.text("id");
        let (media, told) = (node.media(id).await?, world.receiver.of(id));
        let checks = checks::of_call(&call, cdr, &media, &told);
        verdict.calls += 1;
        verdict.checks += checks.len();
        for check in checks.iter().filter(|check| !check.right) {
            let checks::Check { n, what, expected, got, .. } = check;
            verdict.wrong.push(format!("   call {n}: {what} is {got}, not {expected}"));
        }
    }
    Ok(())
}

/// Hides the cursor and keeps long lines from wrapping, until it is dropped.
struct Cursor;

impl Cursor {
    fn hide() -> Self {
        say("\x1b[?25l\x1b[?7l\x1b[2J");
        Self
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        say("\x1b[?25h\x1b[?7h\r\n");
    }
}
