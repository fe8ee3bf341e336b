//! `cooee profile list|show|test`: what profiles there are, what they say, what they make of a
//! message.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cooee_config::profiles::{ProfileFile, SHIPPED, all};
use cooee_config::secrets::Surroundings;
use cooee_config::{load, load_str};
use cooee_model::account::Role;
use cooee_signalling::message::name::Name;
use cooee_signalling::message::text::lossy;
use cooee_signalling::message::view::Message;
use cooee_signalling::profile::decision::Slots;
use cooee_signalling::profile::filter::Condition;
use cooee_signalling::profile::plan::{Hop, HopTo, Peer, Plan, Trunk};
use cooee_signalling::profile::rules::Profile;
use cooee_signalling::profile::template::Variable;
use sdp::SessionDescription;
use serde_json::json;

use crate::cli::route::{ask, columns, done, moment, print_steps, read_message, written, wrong};

/// Arguments of `cooee profile`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
    /// The configuration file: profiles beside it take the place of shipped ones, and `test`
    /// takes its numbers, maps and the variables of its trunks.
    #[arg(short, long, global = true, env = "COOEE_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Lists the profiles.
    List {
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Prints a profile as its file says it.
    Show {
        /// The profile's name.
        name: String,
    },
    /// Says what a profile reads in an INVITE, and what it makes of it.
    Test(Test),
}

#[derive(Debug, clap::Args)]
struct Test {
    /// The profile's name.
    name: String,
    /// A file with the INVITE.
    message: PathBuf,
    /// Variables of the trunk: `login=sip12`.
    #[arg(long, value_name = "NAME=VALUE")]
    vars: Vec<String>,
    /// The role of the call; else the first that the profile serves.
    #[arg(long, value_parser = ["agent-leg", "customer-leg"])]
    role: Option<String>,
    /// A style of the profile.
    #[arg(long)]
    style: Option<String>,
}

/// Does what was asked; the exit code.
pub fn run(args: &Args) -> u8 {
    done(answer(args, &mut io::stdout().lock()))
}

fn answer(args: &Args, out: &mut dyn Write) -> io::Result<u8> {
    let dir = args.config.as_deref().and_then(Path::parent).unwrap_or(Path::new("."));
    let (profiles, findings) = all(&Surroundings::of_process(dir));
    for finding in &findings {
        writeln!(out, "{finding}")?;
    }
    match &args.verb {
        Verb::List { json } => list(&profiles, *json, out),
        Verb::Show { name } => match profiles.get(name) {
            Some(profile) => show(name, profile, out),
            None => unknown(name, &profiles, out),
        },
        Verb::Test(test) => match profiles.get(&test.name) {
            Some(profile) => try_out(test, profile, args.config.as_deref(), out),
            None => unknown(&test.name, &profiles, out),
        },
    }
}

fn unknown(
    name: &str,
    profiles: &BTreeMap<String, ProfileFile>,
    out: &mut dyn Write,
) -> io::Result<u8> {
    let names: Vec<&str> = profiles.keys().map(String::as_str).collect();
    wrong(out, &format!("there is no profile {name}; there is {}", names.join(", ")))
}

fn list(
    profiles: &BTreeMap<String, ProfileFile>,
    as_json: bool,
    out: &mut dyn Write,
) -> io::Result<u8> {
    let roles = |profile: &Profile| match profile.roles.as_slice() {
        [] => "both".to_owned(),
        some => some.iter().map(|r| r.name()).collect::<Vec<_>>().join(" "),
    };
    let rows: Vec<Vec<String>> = profiles
        .iter()
        .map(|(name, file)| {
            let profile = &file.profile;
            let styles: Vec<&str> = file.styles.keys().map(String::as_str).collect();
            vec![
                name.clone(),
                profile.kind.name().to_owned(),
                profile.status.clone(),
                roles(profile),
                styles.join(" "),
                file.file.clone(),
            ]
        })
        .collect();
    let heading = ["profile", "kind", "checked", "roles", "other styles", "file"];
    if as_json {
        let keys = ["name", "kind", "status", "roles", "styles", "file"];
        let rows: Vec<BTreeMap<_, _>> =
            rows.iter().map(|row| keys.into_iter().zip(row).collect()).collect();
        writeln!(out, "{:#}", json!(rows))?;
    } else {
        columns(out, &heading, rows)?;
    }
    Ok(0)
}

fn show(name: &str, profile: &ProfileFile, out: &mut dyn Write) -> io::Result<u8> {
    let shipped = SHIPPED.iter().find(|(n, _)| *n == name).map(|(_, text)| *text);
    match std::fs::read_to_string(&profile.file) {
        Ok(own) => write!(out, "# {}\n{own}", profile.file)?,
        Err(_) => write!(out, "# {}\n{}", profile.file, shipped.unwrap_or_default())?,
    }
    Ok(0)
}

fn try_out(
    test: &Test,
    file: &ProfileFile,
    config: Option<&Path>,
    out: &mut dyn Write,
) -> io::Result<u8> {
    let message = match read_message(&test.message) {
        Ok(message) => message,
        Err(what) => return wrong(out, &what),
    };
    let style = test.style.as_deref().unwrap_or(&file.style);
    let Some(profile) = file.in_style(style) else {
        return wrong(out, &format!("profile {} has no style {style}", test.name));
    };
    let plan = match config.map(load) {
        Some(Ok(loaded)) => loaded.plan,
        Some(Err(findings)) => {
            writeln!(out, "{findings}")?;
            return Ok(1);
        }
        None => match bare_plan() {
            Ok(plan) => plan,
            Err(what) => return wrong(out, &what),
        },
    };
    let (plan, invented) = match scene(plan, &profile, test) {
        Ok(scene) => scene,
        Err(what) => return wrong(out, &what),
    };
    if let Err(fault) = message.check() {
        writeln!(out, "the message would be refused with 400: {fault}\n")?;
    }
    let (steps, result) = ask(&plan, 0, &message, moment(None));
    print_steps(out, &steps)?;
    writeln!(out)?;
    let code = match result {
        Err(refused) => {
            writeln!(out, "refused with {refused}")?;
            1
        }
        Ok(decision) => {
            if !invented.is_empty() {
                writeln!(out, "without --vars, so called by their names: {invented}\n")?;
            }
            if let (Some(slots), Some(trunk)) = (written(&plan, &decision, 0), plan.trunks.get(1)) {
                print_slots(out, &message, &trunk.profile, &slots)?;
            }
            0
        }
    };
    explain_body(out, &message)?;
    Ok(code)
}

/// A plan without a configuration: one number of ours.
fn bare_plan() -> Result<Plan, String> {
    let text = "[[trunk]]\nname = \"a\"\nprofile = \"unitalk\"\nallow = [\"192.0.2.1\"]\n\
        [[trunk]]\nname = \"b\"\nprofile = \"generic-ip-trunk\"\npeers = [\"192.0.2.2\"]\n\
        [[did]]\nnumber = \"+61255501234\"\n[[route]]\nchain = [\"trunk:b\"]\n\
        [sip]\nadvertise = \"192.0.2.10\"\n";
    let nowhere = Surroundings::new(Path::new("/nonexistent"), |_| None);
    load_str(text, "test", &nowhere).map(|loaded| loaded.plan).map_err(|f| f.to_string())
}

/// The plan with two trunks alone: the profile on the side (or sides) that it is made for, and a
/// plain partner on the other. Also names the variables that had to be invented.
fn scene(mut plan: Plan, profile: &Arc<Profile>, test: &Test) -> Result<(Plan, String), String> {
    let mut vars = BTreeMap::new();
    let own = plan.trunks.iter().find(|t| t.profile.name == profile.name);
    let peers = own.map(|t| t.peers.clone()).unwrap_or_default();
    vars.extend(own.map(|t| t.vars.clone()).unwrap_or_default());
    for pair in &test.vars {
        let (name, value) =
            pair.split_once('=').ok_or_else(|| format!("--vars {pair} is not NAME=VALUE"))?;
        vars.insert(name.to_owned(), value.to_owned());
    }
    let mut invented = Vec::new();
    for (_, template) in profile.write.slots() {
        for variable in template.variables() {
            if let Variable::Vars(name) = variable
                && !vars.contains_key(name)
            {
                invented.push(name.clone());
                vars.insert(name.clone(), name.to_uppercase());
            }
        }
    }
    let partner = |name: &str| {
        let (profiles, _) = all(&Surroundings::new(Path::new("/nonexistent"), |_| None));
        profiles.get(name).map(|file| Arc::clone(&file.profile)).unwrap_or_default()
    };
    let peer = Peer { transport: None, host: "peer.invalid".to_owned(), port: None };
    let (a, b) = (profile.takes_calls(), profile.makes_calls());
    let profile_of = |is: bool, other: &str| if is { Arc::clone(profile) } else { partner(other) };
    let trunk = |name: &str, profile: Arc<Profile>| Trunk {
        name: name.to_owned(),
        profile,
        vars: vars.clone(),
        peers: if peers.is_empty() { vec![peer.clone()] } else { peers.clone() },
        ..Trunk::default()
    };
    let caller = profile_of(a, "unitalk");
    let called = profile_of(b, "generic-ip-trunk");
    let role = match test.role.as_deref() {
        Some("customer-leg") => Role::CustomerLeg,
        Some(_) => Role::AgentLeg,
        None => called.roles.first().copied().unwrap_or(Role::AgentLeg),
    };
    if !called.serves(role) {
        return Err(format!("profile {} does not serve {role}", called.name));
    }
    plan.trunks = vec![trunk("a", caller), trunk("b", called)];
    plan.autodialers.iter_mut().for_each(|row| row.trunk = "b".to_owned());
    plan.routes.truncate(1);
    for route in &mut plan.routes {
        route.name = "test".to_owned();
        route.role = role;
        route.from = String::new();
        route.when = Condition::Always;
        let to = HopTo::Trunk("b".to_owned());
        route.chain = vec![Hop { to, timeout_s: 60, agent_timeout_s: 0 }];
    }
    Ok((plan, invented.join(", ")))
}

/// Prints each slot before and after, and the template that made it.
fn print_slots(
    out: &mut dyn Write,
    message: &Message,
    profile: &Profile,
    slots: &Slots,
) -> io::Result<()> {
    let write = &profile.write;
    let from = message.address(Name::From);
    let before = |name: Name| message.value(name).map(lossy).unwrap_or_default();
    let header = |name: &str| {
        let found = slots.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map_or("not sent", |(_, value)| value.as_str()).to_owned()
    };
    let own = |text: &str, otherwise: &str| {
        if text.is_empty() { otherwise.to_owned() } else { text.to_owned() }
    };
    let mut rows = vec![
        row(
            "Request-URI",
            lossy(message.request_uri()),
            &slots.request_uri,
            own(write.request_uri.text(), "the peer"),
        ),
        row("To", before(Name::To), &slots.to, own(write.to.text(), "the peer")),
        row(
            "From display",
            from.map(|a| a.display_text()).unwrap_or_default(),
            &slots.from_display,
            write.from_display.text().to_owned(),
        ),
        row(
            "From",
            from.map(|a| lossy(a.uri)).unwrap_or_default(),
            &slots.from_uri(),
            format!("{} at {}", write.from_user.text(), own(write.from_host.text(), "our host")),
        ),
        row(
            "Contact",
            before(Name::Contact),
            &slots.contact_user,
            own(write.contact_user.text(), "our number"),
        ),
    ];
    for (name, template) in [
        (Name::AssertedIdentity, &write.pai),
        (Name::RemotePartyId, &write.rpid),
        (Name::Diversion, &write.diversion),
        (Name::Privacy, &write.privacy),
    ] {
        let after = header(name.text());
        rows.push(row(name.text(), before(name), &after, template.text().to_owned()));
    }
    for (name, template) in &write.headers {
        let was = message.value_of(name).map(lossy).unwrap_or_default();
        rows.push(row(name, was, &header(name), template.text().to_owned()));
    }
    for crossing in &slots.crossing {
        let value = lossy(&crossing.value);
        rows.push(row(&crossing.name, value.clone(), &value, "crosses".to_owned()));
    }
    columns(out, &["slot", "before", "after", "rule"], rows)
}

fn row(slot: &str, before: String, after: &str, rule: String) -> Vec<String> {
    let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    vec![slot.to_owned(), flat(&before), flat(after), rule]
}

/// Says what the session description offers.
fn explain_body(out: &mut dyn Write, message: &Message) -> io::Result<()> {
    if message.body().is_empty() || message.content_type() != "application/sdp" {
        return Ok(());
    }
    let session = match SessionDescription::unmarshal(&mut Cursor::new(message.body())) {
        Ok(session) => session,
        Err(e) => return writeln!(out, "\nthe SDP is unusual ({e}); it is read line by line"),
    };
    let rows = session.media_descriptions.iter().map(|media| {
        let line = media.connection_information.as_ref();
        let line = line.or(session.connection_information.as_ref());
        let address = line.and_then(|c| c.address.as_ref()).map(|a| a.address.clone());
        let has = |key: &str| media.has_attribute(key) || session.has_attribute(key);
        let direction = ["sendonly", "recvonly", "inactive"].into_iter().find(|d| has(d));
        let codecs = media.media_name.formats.iter().map(|format| {
            let named = media.attributes.iter().filter(|a| a.key == "rtpmap");
            let named = named
                .filter_map(|a| a.value.as_deref()?.split_once(' '))
                .find_map(|(id, codec)| (id == format).then_some(codec));
            let known = match format.as_str() {
                "0" => "PCMU/8000",
                "8" => "PCMA/8000",
                "9" => "G722/8000",
                "18" => "G729/8000",
                _ => "?",
            };
            format!("{format}={}", named.unwrap_or(known))
        });
        let port = media.media_name.port.value;
        vec![
            media.media_name.media.clone(),
            format!("{}:{port}", address.unwrap_or_else(|| "?".to_owned())),
            media.media_name.protos.join("/"),
            if port == 0 { "refused" } else { direction.unwrap_or("sendrecv") }.to_owned(),
            media.attribute("ptime").flatten().map_or("-".to_owned(), |p| format!("{p} ms")),
            codecs.collect::<Vec<_>>().join(" "),
        ]
    });
    writeln!(out)?;
    let heading = ["media", "address", "transport", "direction", "ptime", "codecs"];
    columns(out, &heading, rows.collect())
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
        let line = <Line as clap::Parser>::try_parse_from([&["x"], words].concat()).unwrap();
        let mut out = Vec::new();
        let code = answer(&line.args, &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    fn golden(path: &str) -> String {
        format!("{}/tests/golden/profiles/{path}", env!("CARGO_MANIFEST_DIR"))
    }

    #[test]
    fn profiles_are_listed_and_shown() {
        let (code, list) = run(&["list"]);
        assert_eq!(code, 0);
        for (name, text) in SHIPPED {
            assert!(list.contains(name), "{list}");
            assert!(run(&["show", name]).1.contains(text.trim_end()), "{name}");
        }
        let (code, said) = run(&["show", "voxi"]);
        assert_eq!(code, 2);
        assert!(said.contains("there is no profile voxi; there is asterisk"), "{said}");
    }

    #[test]
    fn a_test_shows_what_is_read_and_written_and_why() {
        let invite = golden("unitalk/agent_leg_customer_header.in.sip");
        let (code, said) = run(&["test", "voximplant", &invite, "--vars", "login=sip7"]);
        assert_eq!(code, 0, "{said}");
        let squeezed = said.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "read customer header:X-Customer-Number 61491570156 first that is present",
            "so called by their names: account_domain",
            "From display Dialer 61491570156 {customer.digits}",
            "X-Customer +61491570156 {customer.e164}",
            "sip:sip7@ACCOUNT_DOMAIN {vars.login} at {vars.account_domain}",
        ] {
            assert!(squeezed.contains(part), "{part}\n{said}");
        }
        let (code, said) = run(&["test", "voximplant", &invite, "--role", "customer-leg"]);
        assert_eq!(code, 2);
        assert!(said.contains("does not serve customer-leg"), "{said}");
    }

    #[test]
    fn a_session_description_is_explained() {
        let body = "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
            m=audio 30000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n\
            a=sendonly\r\n";
        let length = body.len();
        let text = format!(
            "INVITE sip:97@h SIP/2.0\r\nContent-Type: application/sdp\r\nContent-Length: {length}\
             \r\n\r\n{body}"
        );
        let mut out = Vec::new();
        explain_body(&mut out, &Message::read(text.into()).unwrap()).unwrap();
        let said = String::from_utf8(out).unwrap();
        let squeezed = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let wanted = "audio 192.0.2.7:30000 RTP/AVP sendonly 20 ms 8=PCMA/8000 \
            101=telephone-event/8000";
        assert!(squeezed.ends_with(wanted), "{said}");
    }
}
