//! One call through the switch, and the rewrite alone: decide and compose.
#![allow(missing_docs)]

use std::hint::black_box;

use cooee_bench::{Bench, invite, plan};
use cooee_model::ids::CallId;
use cooee_model::moment::Moment;
use cooee_signalling::message::view::Message;
use cooee_signalling::profile::caller_id::Shown;
use cooee_signalling::profile::decision::Context;
use criterion::{Criterion, criterion_group, criterion_main};

fn whole_call(c: &mut Criterion) {
    let (mut bench, mut n) = (Bench::default(), 0_u64);
    c.bench_function("switch/whole_call", |b| {
        b.iter(|| {
            n += 1;
            if n.is_multiple_of(2000) {
                bench.forget();
            }
            black_box(bench.call(n))
        });
    });
}

fn rewrite(c: &mut Criterion) {
    let (plan, shown) = (plan(), Shown::default());
    let Ok(invite) = Message::read(invite(1)) else { return };
    let at = Moment::new(1, 1_770_000_000_000_000_000);
    c.bench_function("rewrite/decide", |b| {
        b.iter(|| plan.decide(0, black_box(&invite), at, &shown, None));
    });
    let Ok(decision) = plan.decide(0, &invite, at, &shown, None) else { return };
    let context = Context {
        call: CallId::new(1, 2),
        peer_host: "app.acc.voximplant.com",
        own_host: None,
        attempt: 1,
    };
    c.bench_function("rewrite/compose", |b| {
        b.iter(|| plan.compose(black_box(&decision), 0, context));
    });
}

criterion_group!(benches, whole_call, rewrite);
criterion_main!(benches);
