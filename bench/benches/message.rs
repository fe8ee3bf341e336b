//! The header index, and the reading of typed values.
#![allow(missing_docs)]

use std::hint::black_box;

use cooee_bench::invite;
use cooee_signalling::message::name::Name;
use cooee_signalling::message::sdp::Session;
use cooee_signalling::message::view::Message;
use criterion::{Criterion, criterion_group, criterion_main};

fn message(c: &mut Criterion) {
    let bytes = invite(1);
    c.bench_function("message/index", |b| {
        b.iter(|| Message::read(black_box(bytes.clone())));
    });
    let Ok(read) = Message::read(bytes) else { return };
    c.bench_function("message/check", |b| b.iter(|| black_box(&read).check()));
    c.bench_function("message/from_address", |b| {
        b.iter(|| black_box(&read).address(Name::From).map(|a| a.display.len()));
    });
    c.bench_function("message/sdp", |b| b.iter(|| Session::read(black_box(read.body()))));
}

criterion_group!(benches, message);
criterion_main!(benches);
