//! The configurations that seeds draw from, and the node that runs one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cooee_config::secrets::Surroundings;
use cooee_model::media::Latch;
use cooee_signalling::call::context::Setup;
use cooee_signalling::leg::dialog::Local;
use cooee_signalling::message::transport::Transport;
use cooee_signalling::profile::plan::Plan;
use cooee_signalling::switch::Node;

use crate::rng::Rng;

const CONFIG: &str = include_str!("../node.toml");

/// The plans that seeds draw from: one target, media anchored; two targets; media bypassed.
pub fn plans() -> [Arc<Plan>; 3] {
    let (b, c) =
        ("{ target = \"trunk:b\", timeout_s = 30 }", "{ target = \"trunk:c\", timeout_s = 20 }");
    let both = format!("{b}, {c}");
    [plan("relay", b), plan("relay", &both), plan("bypass", b)]
}

fn plan(mode: &str, chain: &str) -> Arc<Plan> {
    let text = CONFIG.replace("MODE", mode).replace("CHAIN", chain);
    let around = Surroundings::new(Path::new("."), |_| None);
    let loaded = cooee_config::load_str(&text, "node.toml", &around)
        .unwrap_or_else(|findings| panic!("{findings}"));
    Arc::new(loaded.plan)
}

pub fn node(plan: &Arc<Plan>, rng: &mut Rng) -> Node {
    let mut seed = [0; 24];
    for chunk in seed.chunks_mut(8) {
        chunk.copy_from_slice(&rng.next().to_be_bytes());
    }
    Node {
        plan: plan.clone(),
        setup: Setup {
            locals: vec![Local::new(Transport::Udp, crate::ua::SWITCH.parse().unwrap())],
            media: "192.0.2.1".parse().unwrap(),
            latch: Latch::Strict,
        },
        ports: (10_000..12_000).step_by(2).collect(),
        quarantine: Duration::from_secs(5),
        seed,
    }
}
