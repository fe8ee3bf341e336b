//! What a node was built on, and by which configurations its calls are up.

use std::sync::Weak;

use cooee_config::{Loaded, Media, Node, Sip};
use cooee_signalling::profile::plan::Plan;

/// Configurations that calls are up by.
pub(crate) type Revisions = Vec<Weak<Plan>>;

/// What a node was built on: sockets, files, names. A change of it needs a restart.
#[derive(Debug)]
pub(crate) struct Built {
    sip: Sip,
    pub(crate) media: Media,
    pub(crate) node: Node,
    t1_ms: u32,
    hep: Option<(String, u32)>,
    log_json: bool,
}

impl Built {
    pub(crate) fn of(loaded: &Loaded) -> Self {
        Self {
            sip: loaded.sip.clone(),
            media: loaded.media.clone(),
            node: loaded.node.clone(),
            t1_ms: loaded.plan.settings.t1_ms,
            hep: loaded.hep.as_ref().map(|hep| (hep.target.clone(), hep.id)),
            log_json: loaded.log.json,
        }
    }

    /// The keys that differ and have no effect before a restart.
    pub(crate) fn differing(&self, loaded: &Loaded) -> Vec<&'static str> {
        let (sip, media, node) = (&loaded.sip, &loaded.media, &loaded.node);
        let hep = loaded.hep.as_ref().map(|hep| (hep.target.clone(), hep.id));
        let pairs = [
            ("hep", self.hep == hep),
            ("sip.bind", self.sip.addresses().eq(sip.addresses())),
            ("sip.streams", self.sip.streams == sip.streams),
            ("sip.tls", self.sip.tls == sip.tls),
            ("sip.advertise", self.sip.advertise == sip.advertise),
            ("sip.t1_ms", self.t1_ms == loaded.plan.settings.t1_ms),
            ("media.bind", self.media.bind == media.bind),
            ("media.advertise", self.media.advertise == media.advertise),
            ("media.bind6", self.media.bind6 == media.bind6),
            ("media.advertise6", self.media.advertise6 == media.advertise6),
            ("media.ports", self.media.ports == media.ports),
            ("media.mode", self.media.mode == media.mode),
            ("media.dscp", self.media.dscp == media.dscp),
            ("media.busy_poll_us", self.media.busy_poll_us == media.busy_poll_us),
            ("media.wait", self.media.wait == media.wait),
            ("media.cpus", self.media.cpus == media.cpus),
            ("media.quality_interval_s", self.media.quality_interval_s == media.quality_interval_s),
            ("log.format", self.log_json == loaded.log.json),
            ("node.id", self.node.id == node.id),
            ("node.data_dir", self.node.data_dir == node.data_dir),
            ("node.journal_dir", self.node.journal_dir == node.journal_dir),
        ];
        pairs.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use cooee_config::secrets::Surroundings;

    use super::*;

    fn with(media: &str) -> Loaded {
        let text = format!(
            r#"
            version = 1
            [sip]
            bind = ["udp:192.0.2.2:5060"]
            advertise = "192.0.2.2"
            [media]
            bind = "192.0.2.2"
            {media}
            [caller_id]
            default = "+61255501234"
            [[did]]
            number = "+61255501234"
            owned = true
            [[trunk]]
            name = "a"
            profile = "generic-ip-trunk"
            allow = ["192.0.2.1"]
            peers = ["udp:192.0.2.1"]
            [[route]]
            role = "agent-leg"
            chain = ["trunk:a"]
            "#
        );
        let around = Surroundings::new(Path::new("."), |_| None);
        cooee_config::load_str(&text, "cooee.toml", &around).unwrap()
    }

    #[test]
    fn what_the_relay_was_begun_with_needs_a_restart_to_change() {
        let built = Built::of(&with(""));
        assert_eq!(built.differing(&with("media_timeout_s = 9")), [""; 0]);
        for (media, keys) in [
            ("wait = \"latency\"\ncpus = [0]", &["media.wait", "media.cpus"][..]),
            ("wait = \"eco\"\ntick_us = 300", &["media.wait"]),
            ("busy_poll_us = 50", &["media.busy_poll_us"]),
            ("quality_interval_s = 10", &["media.quality_interval_s"]),
        ] {
            assert_eq!(built.differing(&with(media)), keys, "{media}");
        }
        let eco = |tick_us| with(&format!("wait = \"eco\"\ntick_us = {tick_us}"));
        assert_eq!(Built::of(&eco(200)).differing(&eco(300)), ["media.wait"]);
    }
}
