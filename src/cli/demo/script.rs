//! `cooee demo --script`: the fixed calls, then every number against the simulators' own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cooee_sim::truth::{Call, End, Word};
use tokio::time::sleep;

use super::checks::{self, Check, Checks};
use super::mix;
use super::report::{Node, Row};
use super::world::World;
use super::{Failed, say};

/// Between two calls.
const CALL_EVERY: Duration = Duration::from_millis(300);

/// Calls that are not over by then are found wanting.
const CALLS_END: Duration = Duration::from_secs(100);

/// How long records and webhooks may take after the last call, their repetitions included.
const WORD_COMES: Duration = Duration::from_secs(12);

/// Nothing new for so long: everything has been told.
const QUIET: Duration = Duration::from_millis(1500);

/// Runs the script; whether every number was right.
pub(super) async fn run(world: &World, node: &Node, all: bool) -> Result<bool, Failed> {
    let begun = Instant::now();
    let orders = mix::script();
    say(&format!(
        "{} calls through {}; the node at http://{}/\n",
        orders.len(),
        world.bridge(),
        world.admin
    ));
    for order in orders {
        world.unitalk.place(order);
        sleep(CALL_EVERY).await;
    }
    let deadline = Instant::now() + CALLS_END;
    while !world.book.all_over() && Instant::now() < deadline {
        sleep(Duration::from_millis(50)).await;
    }
    all_told(world, node).await?;
    let (calls, checks) = looked_at(world, node).await?;
    if all {
        every(&checks);
    }
    per_call(&calls);
    per_check(&checks);
    delays(node).await?;
    Ok(verdict(&checks, begun.elapsed()))
}

/// Waits until events, records and webhooks come no more.
async fn all_told(world: &World, node: &Node) -> Result<(), Failed> {
    let deadline = Instant::now() + WORD_COMES;
    let (mut last, mut since) = ((0, 0, 0), Instant::now());
    while Instant::now() < deadline {
        let (fresh, failed, repeats) = world.receiver.counts();
        let now = (fresh, repeats, node.cdrs().await?.len());
        if now != last {
            (last, since) = (now, Instant::now());
        }
        // What was answered 500 is on its way again.
        if since.elapsed() > QUIET && repeats >= failed {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn looked_at(world: &World, node: &Node) -> Result<(Vec<Call>, Vec<Check>), Failed> {
    let calls = world.book.calls();
    let rows = node.cdrs().await?;
    let mut whole = Checks::default();
    whole.same("calls in the database", calls.len(), rows.len());
    whole.same("calls on B that nobody placed", 0, world.book.strays());
    whole.same("calls told by webhook", calls.len(), world.receiver.calls());
    let faults = world.receiver.faults();
    whole.same("signatures that do not fit", 0, faults.signature);
    whole.same("webhooks too old", 0, faults.stale);
    whole.same("webhooks unreadable", 0, faults.unreadable);
    whole.same("webhooks out of order", 0, faults.order);
    whole.same("webhooks changed on repetition", 0, faults.changed);
    let (_, failed, repeats) = world.receiver.counts();
    whole.same("webhooks sent again after 500", failed, repeats);
    heard(&mut whole, &calls, node).await?;
    let mut checks = whole.all;
    for call in &calls {
        let mut of = Checks::of(call.n);
        let mine = |row: &&Row| row.text("unitalk_call_id") == call.external_id;
        let found: Vec<&Row> = rows.iter().filter(mine).collect();
        of.same("records of the call", 1, found.len());
        checks.extend(of.all);
        if let Some(cdr) = found.first() {
            let id = cdr.text("id");
            let (media, told) = (node.media(id).await?, world.receiver.of(id));
            checks.extend(checks::of_call(call, cdr, &media, &told));
        }
    }
    Ok((calls, checks))
}

/// What the node counts of the portal's events.
async fn heard(checks: &mut Checks, calls: &[Call], node: &Node) -> Result<(), Failed> {
    let posts = || calls.iter().flat_map(|call| &call.posts);
    let forged = posts().filter(|post| post.forged).count();
    let twice = calls.iter().filter(|call| call.order.start == Word::Twice).count();
    checks.same("events heard: forged", forged, node.heard("forged").await?);
    checks.same("events heard: repeated", twice, node.heard("repeated").await?);
    for (what, result) in [
        ("events heard: ambiguous", "ambiguous"),
        ("events heard: unmatched", "unmatched"),
        ("events heard: malformed", "malformed"),
        ("events heard: refused", "refused"),
    ] {
        checks.same(what, 0, node.heard(result).await?);
    }
    Ok(())
}

fn every(checks: &[Check]) {
    say(&format!("\n{:>4}  {:<30} {:<44} {:<44} ERROR\n", "CALL", "CHECKED", "EXPECTED", "GOT"));
    for check in checks {
        say(&(line(check) + "\n"));
    }
}

fn line(check: &Check) -> String {
    let error = check.error.map_or(String::new(), |(ms, _)| format!("{ms:+.3} ms"));
    let word = if check.right { "" } else { "  WRONG" };
    let Check { n, what, expected, got, .. } = check;
    format!("{n:>4}  {what:<30} {expected:<44} {got:<44} {error}{word}")
}

fn per_call(calls: &[Call]) {
    say(&format!(
        "\n{:>4}  {:<13} {:<29} {:>8} {:>8} {:>8} {:>8}  as the simulators saw it, seconds\n",
        "CALL", "CUSTOMER", "WHAT", "ANSWER", "AGENT", "HOLD", "END"
    ));
    for call in calls {
        let zero = call.dialer.invite_us.unwrap_or_default();
        let seconds = |at: Option<i64>| {
            at.map_or("-".to_owned(), |at| format!("{:.3}", (at - zero) as f64 / 1e6))
        };
        let held: i64 = call.platform.holds.iter().map(|(from, to)| to - from).sum();
        let held = (held > 0).then_some(zero + held);
        say(&format!(
            "{:>4}  +{:<12} {:<29} {:>8} {:>8} {:>8} {:>8}\n",
            call.n,
            call.order.customer,
            call.order.title,
            seconds(call.platform.answer_us),
            seconds(call.platform.agent_us),
            seconds(held),
            seconds(call.end.map(End::at_us)),
        ));
    }
}

/// One line for each thing that was looked at: how often, and where it was farthest off.
fn per_check(checks: &[Check]) {
    let mut order: Vec<&str> = Vec::new();
    let mut groups: BTreeMap<&str, Vec<&Check>> = BTreeMap::new();
    for check in checks {
        if !groups.contains_key(check.what) {
            order.push(check.what);
        }
        groups.entry(check.what).or_default().push(check);
    }
    say(&format!(
        "\n{:<30} {:>5} {:>5}  {:<26} {:<26} {:>10} {:>9}\n",
        "CHECKED", "TIMES", "WRONG", "EXPECTED (worst of them)", "GOT", "ERROR", "LIMIT"
    ));
    for what in order {
        let group = groups.remove(what).unwrap_or_default();
        let off = |check: &Check| check.error.map_or(0.0, |(ms, _)| ms.abs());
        let worst =
            group.iter().max_by(|a, b| b.right.cmp(&a.right).then(off(a).total_cmp(&off(b))));
        let Some(worst) = worst else { continue };
        let (error, limit) = worst.error.map_or((String::new(), String::new()), |(ms, limit)| {
            (format!("{ms:+.3} ms"), format!("{limit:.0} ms"))
        });
        say(&format!(
            "{what:<30} {:>5} {:>5}  {:<26} {:<26} {error:>10} {limit:>9}\n",
            group.len(),
            group.iter().filter(|check| !check.right).count(),
            short(&worst.expected),
            short(&worst.got),
        ));
    }
    let wrong: Vec<&Check> = checks.iter().filter(|check| !check.right).collect();
    if !wrong.is_empty() {
        say("\nWRONG:\n");
        wrong.iter().for_each(|check| say(&(line(check) + "\n")));
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(26) {
        None => text.to_owned(),
        Some(_) => text.chars().take(24).chain("..".chars()).collect(),
    }
}

async fn delays(node: &Node) -> Result<(), Failed> {
    say(&format!(
        "\n{:<20} {:>7} {:>10} {:>10} {:>10}  milliseconds\n",
        "DELAY", "COUNT", "P50", "P99", "MAX"
    ));
    for row in node.latency().await? {
        let ms = |name| row.number(name).unwrap_or_default() / 1e6;
        let (name, count) = (row.text("name"), row.int("count").unwrap_or_default());
        say(&format!(
            "{name:<20} {count:>7} {:>10.3} {:>10.3} {:>10.3}\n",
            ms("p50"),
            ms("p99"),
            ms("max")
        ));
    }
    Ok(())
}

fn verdict(checks: &[Check], took: Duration) -> bool {
    let wrong = checks.iter().filter(|check| !check.right).count();
    let word = if wrong == 0 { "PASS" } else { "FAIL" };
    say(&format!(
        "\n{word}: {} checks, {wrong} wrong, {:.1} s\n",
        checks.len(),
        took.as_secs_f64()
    ));
    wrong == 0
}
