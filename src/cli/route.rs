//! `cooee route explain`: where a call would go, as whom, and why.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use cooee_config::load;
use cooee_model::ids::CallId;
use cooee_model::moment::Moment;
use cooee_signalling::message::view::Message;
use cooee_signalling::message::write::quoted;
use cooee_signalling::profile::caller_id::Shown;
use cooee_signalling::profile::decision::{Context, Decision, Refused, Slots, Step};
use cooee_signalling::profile::plan::Plan;
use serde_json::{Value, json};

/// Arguments of `cooee route`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Says where a call would go, as whom, and why.
    Explain(Explain),
}

#[derive(Debug, clap::Args)]
struct Explain {
    /// A file with the INVITE; without it one is made of --number and --to.
    #[arg(required_unless_present = "to", conflicts_with_all = ["number", "to"])]
    message: Option<PathBuf>,
    /// The trunk that the call comes from; not needed where only one takes calls.
    #[arg(long, value_name = "TRUNK")]
    from: Option<String>,
    /// Who calls.
    #[arg(long, default_value = "anonymous")]
    number: String,
    /// What is dialled.
    #[arg(long, value_name = "DIALLED")]
    to: Option<String>,
    /// When, in seconds since 1970; else now.
    #[arg(long, value_name = "SECONDS")]
    at: Option<i64>,
    /// The configuration file.
    #[arg(short, long, default_value = "cooee.toml", env = "COOEE_CONFIG")]
    config: PathBuf,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Explains; the exit code: 0 the call goes somewhere, 1 it is refused, 2 the question was wrong.
pub fn run(args: &Args) -> u8 {
    let Verb::Explain(args) = &args.verb;
    done(explain(args, &mut io::stdout().lock()))
}

fn explain(args: &Explain, out: &mut dyn Write) -> io::Result<u8> {
    let plan = match load(&args.config) {
        Ok(loaded) => loaded.plan,
        Err(findings) => {
            writeln!(out, "{findings}")?;
            return Ok(1);
        }
    };
    let trunk = match from_trunk(&plan, args.from.as_deref()) {
        Ok(trunk) => trunk,
        Err(what) => return wrong(out, &what),
    };
    let message = match &args.message {
        Some(path) => read_message(path),
        None => made_invite(&args.number, args.to.as_deref().unwrap_or_default()),
    };
    let message = match message {
        Ok(message) => message,
        Err(what) => return wrong(out, &what),
    };
    let (steps, result) = ask(&plan, trunk, &message, moment(args.at));
    if args.json {
        let steps: Vec<Value> = steps.iter().map(step_json).collect();
        let (ok, result) = match &result {
            Ok(decision) => (true, decision_json(&plan, decision)),
            Err(refused) => (false, json!({ "code": refused.code, "reason": refused.reason })),
        };
        writeln!(out, "{:#}", json!({ "accepted": ok, "steps": steps, "result": result }))?;
        return Ok(u8::from(!ok));
    }
    print_steps(out, &steps)?;
    writeln!(out)?;
    match result {
        Ok(decision) => {
            print_decision(out, &plan, &decision)?;
            Ok(0)
        }
        Err(refused) => {
            writeln!(out, "refused with {refused}")?;
            Ok(1)
        }
    }
}

/// Which trunk a call comes from.
fn from_trunk(plan: &Plan, name: Option<&str>) -> Result<usize, String> {
    let taking = || plan.trunks.iter().filter(|t| t.profile.takes_calls());
    let names = || taking().map(|t| t.name.clone()).collect::<Vec<_>>().join(", ");
    match name {
        Some(name) => plan
            .trunk_at(name)
            .ok_or_else(|| format!("there is no trunk {name}; calls come from {}", names())),
        None if taking().count() == 1 => {
            Ok(plan.trunks.iter().position(|t| t.profile.takes_calls()).unwrap_or(0))
        }
        None => Err(format!("--from is missing: calls come from {}", names())),
    }
}

/// The message in a file.
///
/// # Errors
/// In words.
pub fn read_message(path: &std::path::Path) -> Result<Message, String> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|e| format!("{shown} cannot be read: {e}"))?;
    let message = Message::read(bytes.into()).map_err(|e| format!("{shown}: {e}"))?;
    if !message.is_request() {
        return Err(format!("{shown} is a response: an INVITE is wanted"));
    }
    Ok(message)
}

fn made_invite(number: &str, to: &str) -> Result<Message, String> {
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b > b' ' && b != b'>');
    if !plain(number) || !plain(to) {
        return Err("--number and --to are user parts of SIP URIs, without spaces".to_owned());
    }
    let text = format!(
        "INVITE sip:{to}@cooee.invalid SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK-x\r\n\
         From: <sip:{number}@caller.invalid>;tag=x\r\nTo: <sip:{to}@cooee.invalid>\r\n\
         Call-ID: explain\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    );
    Message::read(text.into()).map_err(|e| e.to_string())
}

/// Now, or the second asked for.
pub fn moment(at: Option<i64>) -> Moment {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let seconds = at.unwrap_or_else(|| i64::try_from(now()).unwrap_or(0));
    Moment::new(0, seconds.saturating_mul(1_000_000_000))
}

/// Decides with a trail.
pub fn ask(
    plan: &Plan,
    trunk: usize,
    message: &Message,
    at: Moment,
) -> (Vec<Step>, Result<Decision, Refused>) {
    let mut steps = Vec::new();
    let result = plan.decide(trunk, message, at, &Shown::new(1), Some(&mut steps));
    (steps, result)
}

/// What would be written to a target, by its place.
pub fn written(plan: &Plan, decision: &Decision, target: usize) -> Option<Slots> {
    let name = &decision.targets.get(target)?.trunk;
    let peer = plan.trunk(name)?.peers.first().map(|p| p.authority());
    let peer_host = peer.as_deref().unwrap_or("peer.invalid");
    let attempt = u32::try_from(target + 1).unwrap_or(1);
    plan.compose(decision, target, Context { call: CallId(0), peer_host, own_host: None, attempt })
}

/// Prints a trail as a table.
pub fn print_steps(out: &mut dyn Write, steps: &[Step]) -> io::Result<()> {
    let rows = steps
        .iter()
        .map(|s| vec![s.rule.clone(), s.saw.clone(), s.chose.clone(), s.why.clone()])
        .collect();
    columns(out, &["rule", "saw", "chose", "why"], rows)
}

fn print_decision(out: &mut dyn Write, plan: &Plan, decision: &Decision) -> io::Result<()> {
    let Decision { route, role, customer, did, did_rule, .. } = decision;
    writeln!(out, "route {route} ({role}), customer {customer}, +{did} by {did_rule}")?;
    for (place, target) in decision.targets.iter().enumerate() {
        writeln!(out, "\ntry {}: {} for {} s", place + 1, target.trunk, target.timeout_s)?;
        let Some(slots) = written(plan, decision, place) else { continue };
        for line in invite_lines(&slots) {
            writeln!(out, "    {line}")?;
        }
    }
    Ok(())
}

/// The identity lines of an INVITE.
pub fn invite_lines(slots: &Slots) -> Vec<String> {
    let display = quoted(&slots.from_display);
    let mut lines = vec![
        format!("INVITE {} SIP/2.0", slots.request_uri),
        format!("From: {display}<{}>", slots.from_uri()),
        format!("To: <{}>", slots.to),
    ];
    lines.extend(slots.headers.iter().map(|(name, value)| format!("{name}: {value}")));
    lines.extend(slots.crossing.iter().map(|c| {
        let value = String::from_utf8_lossy(&c.value);
        format!("{}: {}", c.name, value.split_whitespace().collect::<Vec<_>>().join(" "))
    }));
    lines
}

fn step_json(step: &Step) -> Value {
    json!({ "rule": step.rule, "saw": step.saw, "chose": step.chose, "why": step.why })
}

fn decision_json(plan: &Plan, decision: &Decision) -> Value {
    let targets: Vec<Value> = (0..decision.targets.len())
        .filter_map(|place| {
            let target = decision.targets.get(place)?;
            let invite = written(plan, decision, place).map(|slots| invite_lines(&slots));
            Some(json!({
                "trunk": target.trunk, "timeout_s": target.timeout_s, "invite": invite,
            }))
        })
        .collect();
    json!({
        "route": decision.route, "role": decision.role.name(), "targets": targets,
        "customer": decision.customer.to_string(), "called": decision.called.to_string(),
        "did": format!("+{}", decision.did), "did_rule": decision.did_rule,
        "autodialer": decision.autodialer, "campaign": decision.campaign,
        "external_id": decision.external_id,
    })
}

/// Prints rows under a heading, in columns as wide as they need to be.
pub fn columns(out: &mut dyn Write, heading: &[&str], rows: Vec<Vec<String>>) -> io::Result<()> {
    let heading: Vec<String> = heading.iter().map(|h| (*h).to_uppercase()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&heading).chain(&rows).collect();
    let width = |column: usize| {
        let cells = all.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    for row in &all {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// Says why a question cannot be answered.
pub fn wrong(out: &mut dyn Write, what: &str) -> io::Result<u8> {
    writeln!(out, "cooee: {what}")?;
    Ok(2)
}

/// The exit code; an output that nobody reads any more is no fault of the question.
pub fn done(result: io::Result<u8>) -> u8 {
    result.unwrap_or_else(|e| if e.kind() == io::ErrorKind::BrokenPipe { 0 } else { 3 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(words: &[&str]) -> (u8, String) {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: Args,
        }
        let config = format!("{}/tests/golden/profiles/cooee.toml", env!("CARGO_MANIFEST_DIR"));
        let words = [&["x", "explain", "--config", &config], words].concat();
        let line = <Line as clap::Parser>::try_parse_from(words).unwrap();
        let Verb::Explain(args) = line.args.verb;
        let mut out = Vec::new();
        let code = explain(&args, &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_call_is_explained_step_by_step() {
        let (code, said) = run(&["--from", "unitalk", "--number", "1", "--to", "61355509876"]);
        assert_eq!(code, 0, "{said}");
        for part in [
            "to is 61355509876, not beginning with 20",
            "+61355509876 of VIC/TAS",
            "route customers (customer-leg), customer +61355509876, +61370101234 by local-presence",
            "try 1: vox-pstn for 60 s",
            "X-CallerID: +61370101234",
        ] {
            assert!(said.contains(part), "{part}\n{said}");
        }
    }

    #[test]
    fn a_refusal_has_its_code_and_a_wrong_question_its_own() {
        let (code, said) = run(&["--from", "unitalk", "--to", "000"]);
        assert_eq!(code, 1);
        assert!(said.ends_with("refused with 403 policy: 000 is an emergency number\n"), "{said}");
        let (code, said) = run(&["--to", "97"]);
        assert_eq!(code, 2);
        assert!(said.contains("--from is missing"), "{said}");
        let (code, said) = run(&["--from", "unitalk", "--to", "97", "--json"]);
        let answer: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(code, 0);
        assert_eq!(answer["result"]["did"], "+61255501234");
        assert_eq!(answer["result"]["targets"][0]["trunk"], "vox");
    }
}
