//! The configurations that seeds draw from, and the node that runs one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cooee_config::secrets::Surroundings;
use cooee_model::media::Latch;
use cooee_signalling::call::context::Setup;
use cooee_signalling::call::pool::Ports;
use cooee_signalling::leg::dialog::Local;
use cooee_signalling::message::transport::Transport;
use cooee_signalling::profile::plan::Plan;
use cooee_signalling::switch::Node;

use crate::kind::Kind;
use crate::rng::Rng;

const CONFIG: &str = include_str!("../node.toml");

/// What A's calls must prove, and what the switch proves to B.
const FENCE: &str =
    "auth = { mode = \"digest\", realm = \"us\", users = \"dialer:w0rd\\nother:secret\" }";
const LOGIN: &str = "vars = { login = \"sip7\" }\nsecret = \"s3cret\"";

/// Where a call goes, and where its media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// One target, media anchored.
    One,
    /// Two targets, media anchored.
    Two,
    /// One target, media bypassed.
    Bypass,
}

/// The configuration of a world.
pub fn plan(way: Way, kind: &Kind) -> Arc<Plan> {
    let (b, c) =
        ("{ target = \"trunk:b\", timeout_s = 30 }", "{ target = \"trunk:c\", timeout_s = 20 }");
    let (mode, chain) = match way {
        Way::One => ("relay", b.to_owned()),
        Way::Two => ("relay", format!("{b}, {c}")),
        Way::Bypass => ("bypass", b.to_owned()),
    };
    let text = CONFIG.replace("MODE", mode).replace("CHAIN", &chain).replace("SIP", &kind.sip());
    let (fence, login) = match kind.digest {
        None => ("", String::new()),
        Some(false) => (FENCE, LOGIN.to_owned()),
        Some(true) => (FENCE, format!("{LOGIN}\nrealm = \"b.example\"")),
    };
    let text = text.replace("FENCE", fence).replace("LOGIN", &login);
    let around = Surroundings::new(Path::new("."), |_| None);
    let loaded = cooee_config::load_str(&text, "node.toml", &around)
        .unwrap_or_else(|findings| panic!("{findings}"));
    let mut plan = loaded.plan;
    for trunk in plan.trunks.iter_mut().filter(|_| kind.digest.is_some()) {
        Arc::make_mut(&mut trunk.profile).auth.answer = true;
    }
    Arc::new(plan)
}

pub fn node(plan: &Arc<Plan>, rng: &mut Rng) -> Node {
    let mut seed = [0; 24];
    for chunk in seed.chunks_mut(8) {
        chunk.copy_from_slice(&rng.next().to_be_bytes());
    }
    Node {
        plan: plan.clone(),
        setup: Setup {
            locals: [Transport::Udp, Transport::Tcp]
                .map(|transport| Local::new(transport, crate::ua::SWITCH.parse().unwrap()))
                .into(),
            latch: Latch::Strict,
        },
        ports: vec![Ports {
            address: "192.0.2.1".parse().unwrap(),
            evens: (10_000..12_000).step_by(2).collect(),
        }],
        quarantine: Duration::from_secs(5),
        seed,
    }
}
