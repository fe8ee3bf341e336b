//! Tests of the configuration: the whole example, ten lines, and every finding at its place.

mod partners;

use std::path::Path;

use secrecy::ExposeSecret;

use crate::MediaWait;
use crate::finding::Findings;
use crate::secrets::Surroundings;
use crate::{Latch, Loaded, load, load_str};

const EXAMPLE: &str = include_str!("example/cooee.toml");

/// The folder of the example, with its secrets in `dir`.
fn example(dir: &Path, text: &str) -> Result<Loaded, Findings> {
    let text = text.replace("/etc/cooee", &dir.display().to_string());
    for line in ["vox-sales-au.pw", "vox-overflow.pw"] {
        std::fs::write(dir.join(line), format!("secret of {line}\n")).unwrap();
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("example");
    let around = Surroundings::new(&here, |name| match name {
        "COOEE_TOKEN" => Some("a token".to_owned()),
        "UNITALK_TRUNK_KEY" => Some("the secret key of the trunk".to_owned()),
        _ => None,
    });
    load_str(&text, "cooee.toml", &around)
}

/// Ten lines that a node runs on.
const SHORT: &str = r#"
[[trunk]]
name = "unitalk"
profile = "unitalk"
allow = ["203.0.113.10"]
[[trunk]]
name = "vox"
profile = "voximplant"
vars = { account_domain = "ip.b24-1.bitrixphone.com", login = "sip7" }
secret = "s"
peers = ["ip.b24-1.bitrixphone.com"]
[[did]]
number = "+61255501234"
[[route]]
from = "unitalk"
chain = ["trunk:vox"]
"#;

fn short(text: &str) -> Result<Loaded, Findings> {
    let nowhere = Surroundings::new(Path::new("/nonexistent"), |_| None);
    load_str(text, "cooee.toml", &nowhere)
}

/// The findings about `SHORT` after a change, one a line.
fn said(from: &str, to: &str) -> String {
    assert!(SHORT.contains(from), "{from}");
    match short(&SHORT.replacen(from, to, 1)) {
        Ok(loaded) => Findings(loaded.notes).to_string(),
        Err(findings) => findings.to_string(),
    }
}

/// As `said`, with more text at the end.
fn said_with(more: &str) -> String {
    match short(&format!("{SHORT}{more}")) {
        Ok(loaded) => Findings(loaded.notes).to_string(),
        Err(findings) => findings.to_string(),
    }
}

#[test]
fn the_whole_example_loads() {
    let dir = tempfile::tempdir().unwrap();
    let loaded = example(dir.path(), EXAMPLE).unwrap_or_else(|findings| panic!("{findings}"));
    let plan = &loaded.plan;
    assert_eq!(plan.trunks.len(), 4);
    assert_eq!(plan.routes.len(), 2);
    assert_eq!((plan.autodialers.len(), plan.agents.len(), plan.dids.len()), (3, 2, 3));
    assert_eq!((plan.settings.t1_ms, plan.settings.media_timeout_s), (500, 60));
    assert_eq!(plan.policy.blacklist.len(), 2);
    assert_eq!(plan.policy.work_time.as_ref().unwrap().zone.name(), "Australia/Sydney");
    let secret = plan.trunk("vox-sales-au").unwrap().secret.as_ref().unwrap();
    assert_eq!(secret.expose_secret(), "secret of vox-sales-au.pw");
    assert_eq!(plan.trunk("vox-sales-au").unwrap().login.as_deref(), Some("sip12"));
    assert_eq!(loaded.media.ports, (10_000, 20_000));
    assert_eq!(loaded.admin.token.as_ref().unwrap().expose_secret(), "a token");
    // What is accepted and without effect is said to be so.
    let notes = Findings(loaded.notes.clone()).to_string();
    for name in ["unitalk", "dispositions", "wrapup", "alert", "recording"] {
        assert!(notes.contains(&format!("{name}: not used yet")), "{name}\n{notes}");
    }
    assert!(notes.contains("portal[0]: not used yet: domain, plan, oauth"), "{notes}");
    assert!(notes.contains("portal[0]: has no `application_token`"), "{notes}");
    assert!(notes.contains("admin.hooks_bind: there is no [[portal]]"), "{notes}");
    assert!(plan.portals.is_empty() && plan.trunks.iter().all(|trunk| trunk.portal.is_none()));
    assert!(notes.contains("`responsible` is passed over"), "{notes}");
    assert!(loaded.notes.iter().all(crate::finding::Finding::is_note));
    assert!(!format!("{loaded:?}").contains("secret of"), "secrets are never printed");
}

#[test]
fn reliable_responses_and_transfers_have_their_words() {
    use cooee_signalling::profile::plan::{Refer, Reliable};
    let settings = |sip: &str| {
        let loaded = short(&format!("[sip]\n{sip}\n{SHORT}")).unwrap();
        (loaded.plan.settings.reliable, loaded.plan.settings.refer)
    };
    assert_eq!(settings(""), (Reliable::Supported, Refer::Refused(603)));
    assert_eq!(settings("reliable = \"off\"\nrefer = \"405\"").1, Refer::Refused(405));
    let both = settings("reliable = \"required\"\nrefer = \"relay\"");
    assert_eq!(both, (Reliable::Required, Refer::Relayed));
    for bad in ["reliable = \"always\"", "refer = \"302\"", "refer = 603"] {
        let findings = short(&format!("[sip]\n{bad}\n{SHORT}")).unwrap_err().to_string();
        assert!(findings.contains("2:"), "{findings}");
    }
}

#[test]
fn a_file_is_loaded_from_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cooee.toml");
    std::fs::write(&path, SHORT).unwrap();
    assert_eq!(load(&path).unwrap().plan.trunks.len(), 2);
    let own = dir.path().join("sip-profiles");
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("unitalk.toml"), "schema = 2\nname = \"other\"\nkind = 1\n").unwrap();
    let findings = load(&path).unwrap_err().to_string();
    for part in ["unitalk.toml:1:10: error: schema", "names itself `other`", ":3:8: error: kind"] {
        assert!(findings.contains(part), "{part}\n{findings}");
    }
    let missing = load(&dir.path().join("none.toml")).unwrap_err().to_string();
    assert!(missing.contains("none.toml: error: cannot be read"), "{missing}");
}

#[test]
fn ten_lines_are_enough() {
    let loaded = short(SHORT).unwrap_or_else(|findings| panic!("{findings}"));
    assert_eq!(loaded.plan.caller_id.default, "61255501234");
    assert_eq!(loaded.sip.binds, ["0.0.0.0:5060".parse().unwrap()]);
    assert_eq!(loaded.admin.bind, "127.0.0.1:8060".parse().unwrap());
    assert_eq!(loaded.media.latch, Latch::Strict);
    assert_eq!(loaded.plan.node.host, "", "found out at the start");
    assert_eq!(loaded.plan.routes[0].chain[0].timeout_s, 60);
    let near = "203.0.113.10".parse().unwrap();
    assert_eq!(loaded.plan.trunk_of(near), Some(0));
    assert_eq!(loaded.plan.trunk_of("203.0.113.11".parse().unwrap()), None);
    assert_eq!(loaded.plan.trunk_of("::ffff:203.0.113.10".parse().unwrap()), Some(0));
}

#[test]
fn a_finding_names_file_line_column_key_and_what_was_meant() {
    let found = said("peers =", "peesr =");
    let place = "cooee.toml:11:1: error: trunk[1].peesr: unknown key; did you mean `peers`?";
    assert!(found.contains(place), "{found}");
    let all = said("name = \"vox\"", "name = 5\nlimits = { cps = 0 }");
    assert!(all.contains("cooee.toml:7:8: error: trunk[1].name: must be a text"), "{all}");
    assert!(all.contains("trunk[1].limits.cps: must be a whole number from 1"), "{all}");
    assert!(all.contains("there is no trunk `vox`"), "{all}");
    let broken = said("allow = [", "allow = ");
    assert!(broken.starts_with("cooee.toml:5:"), "{broken}");
}

#[test]
fn each_mistake_of_a_single_key() {
    for (from, to, wanted) in [
        ("\"203.0.113.10\"", "\"203.0.113.10/28\"", "bits beyond its mask; is 203.0.113.0/28"),
        ("\"203.0.113.10\"", "\"host.example\"", "is no network"),
        ("\"unitalk\"\nallow", "\"unitalkk\"\nallow", "did you mean `unitalk`"),
        ("login = \"sip7\"", "logn = \"sip7\"", "`vars.login` is missing: slot `from_user`"),
        ("secret = \"s\"", "secret = \"${env:NO_SUCH}\"", "variable NO_SUCH is not set"),
        ("secret = \"s\"", "secret = \"${file:/no/such}\"", "/no/such cannot be read"),
        ("secret = \"s\"", "style = \"b24-contct\"", "did you mean `b24-contact`?"),
        ("secret = \"s\"", "", "note: trunk[1]: has no `secret`"),
        ("[\"ip.b24-1.bitrixphone.com\"]", "[\"tls:h:1\"]", "needs a `tls:` address"),
        ("[\"ip.b24-1.bitrixphone.com\"]", "[\"tcp:h:1\"]", "tcp:h needs a `tcp:` address"),
        ("[\"ip.b24-1.bitrixphone.com\"]", "[\"udp:h:0\"]", "is no peer"),
        ("+61255501234", "+611300975707", "never presented"),
        ("+61255501234", "0255501234", "did[0].number"),
        ("+61255501234\"", "+61255501234\"\nowned = false", "`default` is missing"),
        ("from = \"unitalk\"", "from = \"vox\"", "is for outbound calls"),
        ("trunk:vox", "trunk:unitalk", "is for inbound calls"),
        ("[\"trunk:vox\"]", "[]", "leads to no target"),
        ("[\"trunk:vox\"]", "[\"queue:map\"]", "maps/autodialers.csv is missing"),
        ("[\"trunk:vox\"]", "[\"voicemail\"]", "leads to no target"),
        ("from = \"unitalk\"", "role = \"customer-leg\"", "could call at our cost"),
        ("from = \"unitalk\"", "role = \"customer-leg\"", "no gateway to the telephone network"),
        ("allow =", "auth = { mode = \"heeder\" }\nallow =", "did you mean `header`?"),
        ("allow =", "auth = { mode = \"header\", name = \"From\" }\nallow =", "of one's own"),
        (
            "allow =",
            "auth = { mode = \"header\", name = \"X-K\", value = \"short\" }\nallow =",
            "at least 16 bytes",
        ),
        ("allow =", "auth = { mode = \"digest\" }\nallow =", "nobody can call from here"),
        (
            "allow =",
            "auth = { mode = \"digest\", users = \"a:b\\na:c\\nd\" }\nallow =",
            "`a` is there twice",
        ),
        (
            "allow =",
            "auth = { mode = \"identity\", source = \"from.use\" }\nallow =",
            "did you mean `from.user`?",
        ),
        ("name = \"unitalk\"", "name = \"unitalk\"", "note: trunk[0]: shares its addresses"),
        ("from =", "when = { field = \"too\", value = \"1\" }\nfrom =", "did you mean `to`?"),
        ("from =", "when = { field = \"crm.stage\", value = \"1\" }\nfrom =", "needs the CRM"),
        (
            "from =",
            "when = { field = \"to\", op = \"regex\", value = \"(\" }\nfrom =",
            "bad regular",
        ),
        ("from =", "when = { not = { field = \"to\" } }\nfrom =", "`value` is missing"),
    ] {
        let found = said(from, to);
        assert!(found.contains(wanted), "{to}: wanted {wanted}\n{found}");
    }
}

#[test]
fn each_mistake_of_several_keys() {
    for (more, wanted) in [
        (
            "[[trunk]]\nname=\"vox\"\nprofile=\"unitalk\"\nallow=[\"10.0.0.1\"]",
            "second trunk `vox`",
        ),
        ("[[trunk]]\nname=\"u2\"\nprofile=\"unitalk\"\nallow=[\"203.0.113.0/24\"]", "overlaps"),
        ("[[route]]\nname=\"late\"\nfrom=\"unitalk\"\nchain=[\"trunk:vox\"]", "is never reached"),
        ("[[did]]\nnumber=\"+61255501234\"", "there twice"),
        ("[[did]]\nnumber=\"+61370101234\"", "caller_id: `default` is missing"),
        ("[caller_id]\ndefault=\"+61370101234\"", "+61370101234 is no [[did]]"),
        ("[media]\nports=\"10001-10100\"", "odd port 10001"),
        ("[media]\nports=\"10000-10002\"", "no room for one call"),
        ("[media]\nports=\"10000-10099\"", "note: media.ports: 10000-10099 has room for 25 calls"),
        ("[media]\nports=\"5000-6000\"", "takes the port of udp:0.0.0.0:5060"),
        ("[media]\nports=\"8000-9000\"", "holds the port of admin.bind"),
        ("[sip]\nbind=[\"udp:0.0.0.0:5060\",\"udp:127.0.0.1:5060\"]", "are the same socket"),
        ("[sip]\nbind=[\"tls:0.0.0.0:5061\"]", "needs `[sip.tls]`"),
        ("[sip]\nudp_max=1300", "note: sip.udp_max: no `tcp:` is among `bind`"),
        ("[sip]\ntls={certificate=\"no.pem\",key=\"no.key\"}", "no.pem is no file"),
        ("[sip]\nadvertise=\"0.0.0.0\"", "neither `auto` nor an address"),
        ("[admin]\nbind=\"0.0.0.0:8060\"", "open to the network without a token"),
        ("[admin]\nauth=\"token\"", "needs a `token`"),
        ("[admin]\nauth=\"mtls\"", "is not built yet"),
        ("[node]\ntimezone=\"Australia/Sidney\"", "did you mean `Australia/Sydney`?"),
        ("[policy]\nblacklist=\"maps/none.csv\"", "cannot be read"),
        ("[retry]\nfollow_302=true", "needs `redirect_allow`"),
        ("[retry]\nredirect_allow=[\"192.0.2.1/24\"]", "bits beyond its mask"),
        ("[retry]\nnext_target_on=[503]\ngive_up_on=[\"503\"]", "503 is in `next_target_on` too"),
        ("[wrapupp]\nmax_s=1", "wrapupp: unknown key; did you mean `wrapup`?"),
    ] {
        let found = said_with(more);
        assert!(found.contains(wanted), "{more}: wanted {wanted}\n{found}");
    }
}

#[test]
fn the_shipped_configuration_loads() {
    let dir = tempfile::tempdir().unwrap();
    for name in
        ["admin-token", "unitalk-key", "b24-sales-au", "b24-overflow", "b24-events", "webhook-ops"]
    {
        std::fs::write(dir.path().join(name), format!("the secret named {name}\n")).unwrap();
    }
    let path = dir.path().display().to_string();
    let around = Surroundings::new(dir.path(), move |_| Some(path.clone()));
    let text = include_str!("../../deploy/cooee.toml");
    for text in [text.to_owned(), text.replace("\n#: ", "\n")] {
        load_str(&text, "cooee.toml", &around).unwrap_or_else(|findings| panic!("{findings}"));
    }
}

#[test]
fn maps_are_checked_row_by_row() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("maps")).unwrap();
    let write = |name: &str, text: &str| {
        std::fs::write(dir.path().join("maps").join(name), text).unwrap();
    };
    write(
        "autodialers.csv",
        "autodialer_id,trunk,didd,did\n7,vox,,+61370101234\n8,voxx,,\n7,vox,,\n9,vox,,x\n",
    );
    write("agents.csv", "extension,bitrix24_user_id\n101,abc\n");
    write("blacklist.csv", "number,until\n+6149157,2026-02-30\nabc,\n+6119*,\n");
    let around = Surroundings::new(dir.path(), |_| None);
    let text = format!("{SHORT}[policy]\nblacklist = \"maps/blacklist.csv\"\n");
    let found = load_str(&text, "cooee.toml", &around).unwrap_err().to_string();
    for wanted in [
        "autodialers.csv:1:1: error: unknown column `didd`; did you mean `did`?",
        "autodialers.csv:4:1: error: autodialer `7` is there twice",
        "autodialers.csv:5:1: error: did: `x` is no E.164 number",
        "autodialers.csv row `7`: +61370101234 is no [[did]]",
        "row `8`: there is no trunk `voxx`; did you mean `vox`?",
        "agents.csv:2:1: error: bitrix24_user_id: `abc` is no number",
        "blacklist.csv:2:1: error: until: `2026-02-30` is no date",
        "blacklist.csv:3:1: error: number: `abc`",
    ] {
        assert!(found.contains(wanted), "wanted {wanted}\n{found}");
    }
}

#[test]
fn lines_of_a_registering_trunk() {
    let trunk = |lines: &str| {
        said_with(&format!(
            "[[trunk]]\nname=\"lines\"\nprofile=\"unitalk-lines\"\npeers=[\"sip.unitalk.example\"]\n\
             allow=[\"198.51.100.1\"]\nlines={lines:?}\n"
        ))
    };
    assert!(!trunk("2000:a\n# none\n2001:b").contains("error"), "{}", trunk("2000:a"));
    assert!(trunk("2000:a\n2000:b").contains("line `2000` is there twice"));
    let broken = trunk("2000 hidden");
    assert!(broken.contains("line 1 is not `user:secret`"), "{broken}");
    assert!(!broken.contains("hidden"), "a password is never shown");
}

#[test]
fn verbs_of_a_profile_are_read_and_what_is_wrong_is_said() {
    let profile = |verbs: &str| {
        let text = format!(
            "schema = 1\nname = \"x\"\nkind = \"peer-inbound\"\n[headers]\nrewrite = [{verbs}]\n"
        );
        let (profile, findings) = crate::profiles::parse("x.toml", &text);
        (profile.unwrap().profile.write.rewrite.len(), Findings(findings).to_string())
    };
    let all = "{ set = \"X-A\", value = \"{session.id}\" }, { remove = \"X-*\" }, \
               { rename = \"X-A\", to = \"X-B\" }, \
               { replace = \"X-B\", match = \"a+\", with = \"b\" }";
    assert_eq!(profile(all), (4, String::new()));
    for (verb, wanted) in [
        ("{ set = \"Via\", value = \"x\" }", "no header that a profile may write"),
        ("{ set = \"X-A\" }", "`value` is missing"),
        ("{ set = \"X-A\", value = \"{sesion.id}\" }", "did you mean `session.id`?"),
        ("{ remove = \"X *\" }", "header pattern"),
        ("{ rename = \"X-A\" }", "`to` is missing"),
        ("{ rename = \"X-A\", to = \"Contact\" }", "no header that a profile may write"),
        ("{ replace = \"X-A\", match = \"(\" }", "bad regular expression"),
        ("{ remoev = \"X-A\" }", "says neither"),
        ("{ remove = \"X-A\", to = \"X-B\" }", "unknown key"),
    ] {
        let (count, found) = profile(verb);
        assert!(found.contains(wanted), "{verb}: {found}");
        assert!(count == 0 || wanted == "unknown key", "{verb}");
    }
}

#[test]
fn a_registering_trunk_needs_its_login_alone_and_an_ipv4_peer_no_other_address() {
    let trunk = |profile: &str, peer: &str| {
        let more = format!(
            "[[trunk]]\nname = \"r\"\nprofile = \"{profile}\"\npeers = [\"{peer}\"]\n\
             vars = {{ login = \"acme7\" }}\nsecret = \"s\"\n"
        );
        short(&format!("{SHORT}{more}")).map_err(|findings| findings.to_string())
    };
    let loaded = trunk("generic-register", "sip.carrier.example").unwrap();
    let lines = &loaded.plan.trunk("r").unwrap().registrations;
    assert_eq!((lines.len(), lines[0].user.as_str(), lines[0].max_calls), (1, "acme7", 10_000));
    let found = trunk("cisco-cucm", "[2001:db8::1]").unwrap_err();
    assert!(found.contains("profile `cisco-cucm` does not speak to 2001:db8::1"), "{found}");
    assert!(trunk("cisco-cucm", "192.0.2.9").is_ok());
}

#[test]
fn a_capture_server_is_a_host_and_a_port() {
    let hep = |text: &str| short(&format!("{SHORT}[hep]\n{text}\n"));
    let found = hep("target = \"homer.example\"\npassword = \"pw\"").unwrap().hep.unwrap();
    assert_eq!((found.target.as_str(), found.id), ("homer.example:9060", 2001));
    assert!(!format!("{found:?}").contains("pw"), "secrets are never printed");
    let v6 = hep("target = \"udp:[2001:db8::1]:9061\"\nid = 7").unwrap().hep.unwrap();
    assert_eq!((v6.target.as_str(), v6.id), ("[2001:db8::1]:9061", 7));
    for (text, wanted) in [
        ("target = \"tcp:h:1\"", "over UDP alone"),
        ("target = \"h:0\"", "is no `host:port`"),
        ("id = 1", "hep.target"),
    ] {
        let said = hep(text).unwrap_err().to_string();
        assert!(said.contains(wanted), "{said}");
    }
    assert!(short(SHORT).unwrap().hep.is_none());
}

#[test]
fn session_timers_of_the_node_and_of_a_profile() {
    use cooee_signalling::profile::session_timer::{SessionTimer, SessionTimerMode};
    let with =
        |table: &str| format!("[sip]\nsession_timer = {table}\n[[trunk]]\nname = \"unitalk\"");
    let first = "[[trunk]]\nname = \"unitalk\"";
    let changed = |table: &str| short(&SHORT.replacen(first, &with(table), 1));
    let loaded = changed("{ mode = \"accept\", expires = 600 }").unwrap();
    let timer = SessionTimer { mode: SessionTimerMode::Accept, expires_s: 600, min_se_s: 90 };
    assert_eq!(loaded.plan.session_timer("unitalk"), timer);
    let found = |table: &str| said(first, &with(table));
    assert!(found("{ min_se = 2000 }").contains("is below `min_se`"));
    assert!(found("{ min_se = 30 }").contains("for tests"));
    assert!(found("{ mode = \"on\" }").contains("accept"));
    let (_, text) = crate::profiles::SHIPPED[4];
    let own = "\n[behaviour.session_timer]\nmode = \"require\"\nexpires = 300\n";
    let (profile, findings) = crate::profiles::parse("p.toml", &format!("{text}{own}"));
    assert!(findings.is_empty(), "{findings:?}");
    let own = profile.unwrap().profile.behaviour.session_timer;
    let required = SessionTimer { mode: SessionTimerMode::Require, expires_s: 300, min_se_s: 90 };
    assert_eq!(own, Some(required));
}

#[test]
fn nameservers_are_addresses_each_once() {
    let with =
        |list: &str| said("\n[[trunk]]", &format!("\n[sip]\nnameservers = {list}\n[[trunk]]"));
    let good = with(r#"["192.0.2.53", "[2001:db8::53]:5353"]"#);
    assert!(!good.contains("nameserver"), "{good}");
    assert!(with(r#"["dns.example.com"]"#).contains("no address of a nameserver"));
    assert!(with(r#"["192.0.2.53", "192.0.2.53:53"]"#).contains("is there twice"));
    assert!(with(r#"["0.0.0.0"]"#).contains("nobody's address"));
}

#[test]
fn the_relay_waits_as_it_is_told() {
    let waits = |more: &str| {
        let loaded = short(&format!("{SHORT}\n[media]\nbind = \"192.0.2.1\"\n{more}\n"));
        loaded.map(|l| (l.media.wait, l.media.busy_poll_us, l.media.cpus))
    };
    assert_eq!(waits("").unwrap(), (MediaWait::Balanced, 0, vec![]));
    let spinning = waits("wait = \"latency\"\ncpus = [1, 3]").unwrap();
    assert_eq!(spinning, (MediaWait::Latency, 0, vec![1, 3]));
    let eco = |tick_us| MediaWait::Eco { tick_us };
    assert_eq!(waits("wait = \"eco\"").unwrap().0, eco(200));
    assert_eq!(waits("wait = \"eco\"\ntick_us = 1000").unwrap().0, eco(1000));
    for (wrong, why) in [
        ("wait = \"fast\"", "`fast` is not known"),
        ("wait = \"eco\"\ntick_us = 10", "from 50 to 5000"),
        ("cpus = [\"one\"]", "from 0 to 1023"),
    ] {
        let findings = waits(wrong).unwrap_err().to_string();
        assert!(findings.contains(why), "{findings}");
    }
}
