//! S24: an attacker that knows everything but our 64 random bits guesses tags and branches.

use bytes::Bytes;
use cooee_signalling::call::context::Output;
use cooee_signalling::message::transport::Transport;
use cooee_signalling::switch::input::Input;
use cooee_signalling::transaction::flow::Flow;

use crate::world::{A, B, SDP_A, STRANGER, World, b_says, header, invite, talking};

/// Numbers without a pattern.
struct Guesses(u64);

impl Guesses {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// One that differs from the right one in few bits, or in all.
    fn near(&mut self, right: u64) -> u64 {
        match self.next() % 3 {
            0 => right ^ (1 << (self.next() % 64)),
            1 => right.wrapping_add(self.next() % 1000 + 1),
            _ => self.next(),
        }
    }
}

fn rounds() -> u32 {
    if std::env::var_os("COOEE_LONG").is_some() { 500_000 } else { 50_000 }
}

/// The 64 bits at the end of a token of ours.
fn secret(token: &str) -> u64 {
    u64::from_str_radix(&token[token.len() - 16..], 16).unwrap()
}

#[test]
fn s24_no_guess_of_a_tag_or_a_branch_is_taken() {
    let mut world = World::new();
    // One call is up, another rings at B.
    let (ok, _) = talking(&mut world);
    let second = invite("", SDP_A).replace("call-a", "call-2").replace("z9hG4bKa1", "z9hG4bKa2");
    world.a(second.replace("tag=ta", "tag=t2"));
    let asked = world.last_b("INVITE");
    let answer = b_says(200, &asked, "", "");
    let branch = header(&asked, "Via").split("branch=").nth(1).unwrap()[..33].to_owned();
    let tag = header(&ok, "To").split("tag=").nth(1).unwrap().to_owned();
    let bye = crate::world::a_asks("BYE", 2, &ok, "");
    assert!(answer.contains(&branch) && bye.contains(&tag), "{answer}{bye}");

    let before = (world.facts.len(), world.switch.gauges());
    let mut guesses = Guesses(7);
    let (mut taken, mut out) = (0, Output::default());
    for round in 0..rounds() {
        let sources = if round % 2 == 0 { (B, STRANGER) } else { (STRANGER, A) };
        for (source, text, token) in [(sources.0, &answer, &branch), (sources.1, &bye, &tag)] {
            let guess = format!("{:016x}", guesses.near(secret(token)));
            let remote = source.parse().unwrap();
            let flow = Flow { transport: Transport::Udp, socket: 0, remote };
            let bytes = Bytes::from(text.replace(&token[token.len() - 16..], &guess));
            let input = Input::Datagram { flow, received: world.now, bytes };
            world.switch.handle(world.now, input, &mut out);
            // A trunk is told that there is no such call; nobody else is told anything.
            let told = out.sends.iter().all(|s| s.bytes.starts_with(b"SIP/2.0 481"));
            let silent = source == A || out.sends.is_empty();
            taken += u32::from(!told || !silent || !out.records.is_empty());
            out.clear();
        }
    }
    assert_eq!(taken, 0, "of {}", 2 * rounds());
    assert_eq!((world.facts.len(), world.switch.gauges()), before);
    // The right ones are.
    world.b(b_says(200, &asked, "", crate::world::SDP_B));
    world.a(bye);
    assert!(world.heard_b().contains(&"BYE".to_owned()));
    assert!(world.whats().contains(&"Ended"));
}
