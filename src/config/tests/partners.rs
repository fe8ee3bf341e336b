//! Who is told of calls, and who tells us: webhooks and portals.

use super::*;

/// A webhook with all that it needs.
const WEBHOOK: &str = r#"
[[webhook]]
name = "ops"
url = "https://ops.example/cooee"
secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZg=="
"#;

/// A portal that is believed, and its listener.
const PORTAL: &str = r#"
[admin]
hooks_bind = "0.0.0.0:8061"
[[portal]]
id = "acme"
application_token = "aa11bb22cc33dd44ee55ff66"
"#;

#[test]
fn a_webhook_has_defaults() {
    let more = "events = [\"ended\", \"cooee.call.amended\"]\ntimeout_ms = 500\n\
                max_in_flight = 2\ngive_up_after_h = 1\n";
    let loaded = short(&format!("{SHORT}{WEBHOOK}{}", WEBHOOK.replace("ops\"", "two\"") + more));
    let loaded = loaded.unwrap_or_else(|findings| panic!("{findings}"));
    let [ops, two] = loaded.webhooks.as_slice() else { panic!("{:?}", loaded.webhooks) };
    assert_eq!((ops.name.as_str(), ops.url.as_str()), ("ops", "https://ops.example/cooee"));
    assert!(ops.events.is_empty(), "all of them");
    assert_eq!((ops.timeout_ms, ops.max_in_flight, ops.give_up_after_s), (10_000, 32, 259_200));
    assert_eq!(two.events, ["ended", "amended"]);
    assert_eq!((two.timeout_ms, two.max_in_flight, two.give_up_after_s), (500, 2, 3600));
    assert!(!format!("{loaded:?}").contains("MDEyMzQ1"), "secrets are never printed");
}

#[test]
fn each_mistake_of_a_webhook() {
    for (from, to, wanted) in [
        ("\"ops\"", "\"\"", "webhook[0].name: is empty"),
        ("\"ops\"", "\"o p\"", "webhook[0].name: must be 1 to 64 letters"),
        ("name", "[[webhook]]\nname", "webhook[0]: `name` is missing"),
        ("https://ops.example/cooee", "ftp://ops.example", "must begin with `https://`"),
        ("https://ops.example/cooee", "https:///cooee", "webhook[0].url: is no URL"),
        ("https://ops.example/cooee", "https://h:0/", "webhook[0].url: is no URL"),
        ("https://ops.example/cooee", "https://u:hidden@h/", "holds a user or a password"),
        ("https://ops.example/cooee", "https://h/a b", "percent-encoded"),
        ("https://ops.example/cooee", "http://ops.example", "note: webhook[0].url: is not enc"),
        ("url =", "ulr =", "unknown key; did you mean `url`?"),
        ("MDEyMzQ1Njc4OWFiY2RlZg==", "not base64", "what follows `whsec_` is no base64"),
        ("MDEyMzQ1Njc4OWFiY2RlZg==", "MDEyMzQ1", "a key of 6 bytes: at least 16"),
        ("whsec_MDEyMzQ1Njc4OWFiY2RlZg==", "hidden", "a key of 6 bytes: at least 16"),
        ("whsec_MDEyMzQ1Njc4OWFiY2RlZg==", "${env:NO_SUCH}", "variable NO_SUCH is not set"),
        ("name =", "events = [\"endde\"]\nname =", "did you mean `ended`?"),
        ("name =", "events = [\"agent_answer\"]\nname =", "did you mean `agent_answered`?"),
        ("name =", "events = []\nname =", "names none: leave it out for all"),
        ("name =", "events = [\"ended\", \"ended\"]\nname =", "`ended` is there twice"),
        ("name =", "timeout_ms = 99\nname =", "from 100 to 60000"),
        ("name =", "max_in_flight = 0\nname =", "from 1 to 1024"),
        ("name =", "give_up_after_h = 721\nname =", "from 1 to 720"),
    ] {
        assert!(WEBHOOK.contains(from), "{from}");
        let found = said_with(&WEBHOOK.replacen(from, to, 1));
        assert!(found.contains(wanted), "{to}: wanted {wanted}\n{found}");
        assert!(!found.contains("hidden"), "a secret is never shown: {found}");
    }
    let twice = said_with(&format!("{WEBHOOK}{WEBHOOK}"));
    assert!(twice.contains("webhook[1].name: a second webhook `ops`"), "{twice}");
    assert!(
        !said_with(&WEBHOOK.replace("https://ops.example", "http://[::1]:9")).contains("note: w")
    );
}

#[test]
fn a_trunk_finds_its_line_at_the_portal() {
    let loaded = short(&format!("{SHORT}{PORTAL}"));
    let Loaded { plan, portals, admin, .. } = loaded.unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(admin.hooks_bind, Some("0.0.0.0:8061".parse().unwrap()));
    let [portal] = plan.portals.as_slice() else { panic!("{:?}", plan.portals) };
    assert_eq!((portal.id.as_str(), portal.settle.as_secs()), ("acme", 30));
    assert_eq!((portals[0].id.as_str(), &portals[0].member_id), ("acme", &None));
    let line = plan.trunk("vox").unwrap().portal.as_ref().unwrap();
    assert_eq!((line.portal.as_str(), line.line.as_str()), ("acme", "sip7"));
    assert_eq!(plan.trunk("unitalk").unwrap().portal, None);

    let own =
        SHORT.replace("name = \"vox\"", "name = \"vox\"\nportal = \"b\"\nportal_line = \"reg9\"");
    let second =
        PORTAL.replace("acme", "b").replace("aa11", "bb22").replace("0.0.0.0", "127.0.0.1");
    let second = second.split_once("[[portal]]").unwrap().1;
    let both = format!("{own}{PORTAL}member_id = \"m1\"\nsettle_s = 5\n[[portal]]{second}");
    let loaded = short(&both).unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(loaded.portals[0].member_id.as_deref(), Some("m1"));
    assert_eq!(loaded.plan.portals[0].settle.as_secs(), 5);
    let line = loaded.plan.trunk("vox").unwrap().portal.as_ref().unwrap();
    assert_eq!((line.portal.as_str(), line.line.as_str()), ("b", "reg9"));

    let off = PORTAL.replace("id =", "active = false\nid =");
    let loaded = short(&format!("{SHORT}{off}")).unwrap_or_else(|found| panic!("{found}"));
    assert!(loaded.portals.is_empty() && loaded.plan.portals.is_empty());
    assert_eq!(loaded.plan.trunk("vox").unwrap().portal, None);
}

#[test]
fn each_mistake_about_portals() {
    let twin = "[[trunk]]\nname=\"v2\"\nprofile=\"voximplant\"\npeers=[\"h\"]\nsecret=\"s\"\n\
                vars={ account_domain=\"d\", login=\"sip7\" }\n";
    for (from, to, wanted) in [
        ("id =", "name =", "portal[0]: `id` is missing"),
        ("hooks_bind = \"0.0.0.0:8061\"", "", "note: admin: `hooks_bind` is missing"),
        ("application_token", "appication_token", "did you mean `application_token`?"),
        ("aa11bb22cc33dd44ee55ff66", "abc", "note: portal[0].application_token: is short"),
        ("id =", "settle_s = 0\nid =", "from 1 to 600"),
        ("id =", "event_slack_ms = 10001\nid =", "from 0 to 10000"),
        ("id =", "domain = \"d\"\nid =", "note: portal[0]: not used yet: domain"),
        ("[[portal]]", "[[portal]]\nid=\"acme\"\n[[portal]]", "a second portal `acme`"),
        (
            "[[portal]]",
            "[[portal]]\nid=\"b\"\napplication_token=\"aa11bb22cc33dd44ee55ff66\"\n[[portal]]",
            "portal `b` has the same",
        ),
        ("[admin]", &format!("{twin}[admin]"), "is line `sip7` of portal `acme`, as trunk `vox`"),
    ] {
        assert!(PORTAL.contains(from), "{from}");
        let found = said_with(&PORTAL.replacen(from, to, 1));
        assert!(found.contains(wanted), "{to}: wanted {wanted}\n{found}");
        assert!(!found.contains("aa11bb22"), "a token is never shown: {found}");
    }
    for (trunk, line, portal, wanted) in [
        ("vox", "portal = \"acne\"", PORTAL, "there is no portal `acne`; did you mean `acme`?"),
        ("vox", "portal = \"acme\"", "", "there is no portal `acme`"),
        ("vox", "portal_line = \"a b\"", PORTAL, "`a b` is no line"),
        ("vox", "portal_line = \"sip7\"", "", "needs the `portal` whose line it is"),
        ("vox", "login = \"pbx\"\nportal = \"acme\"", PORTAL, "`portal_line` is missing"),
        ("unitalk", "portal = \"acme\"", PORTAL, "no calls go to this trunk"),
    ] {
        let name = format!("name = \"{trunk}\"");
        let text = SHORT.replace(&name, &format!("{name}\n{line}"));
        let found = short(&format!("{text}{portal}")).unwrap_err().to_string();
        assert!(found.contains(wanted), "{line}: wanted {wanted}\n{found}");
    }
}
