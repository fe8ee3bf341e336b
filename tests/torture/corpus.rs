//! The published torture messages, where a checkout beside this one has them. They are not part of
//! the project; its own cases are in `cases.txt`.

use std::path::PathBuf;

use serde_json::Value;

use crate::wire::{Came, send};
use crate::world::World;

/// Where conformance material lies: `COOEE_CONFORMANCE`, or beside the repository.
fn place() -> PathBuf {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/conformance");
    std::env::var_os("COOEE_CONFORMANCE").map_or_else(|| beside.into(), PathBuf::from)
}

fn words(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Whether an outcome is one of those that the manifest accepts.
fn fits(came: &Came, wanted: &[&str]) -> bool {
    let word = came.word();
    let taken = wanted.contains(&"accept") || wanted.contains(&"process-first");
    wanted.contains(&word.as_str()) || (taken && !["400", "drop"].contains(&word.as_str()))
}

#[test]
fn every_published_message_ends_as_its_manifest_accepts() {
    let torture = place().join("torture");
    let Ok(manifest) = std::fs::read(torture.join("manifest.json")) else {
        println!("no published corpus at {}: skipped", torture.display());
        return;
    };
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let mut wrong = Vec::new();
    let messages = manifest["messages"].as_array().unwrap();
    for message in messages {
        let file = message["file"].as_str().unwrap();
        let bytes = std::fs::read(torture.join(file)).unwrap();
        let came = send(&mut World::transparent(), bytes);
        let wanted = words(&message["acceptable"]);
        let invite = message["b2bua"] == "accept" && message["method"] == "INVITE";
        let as_wished = came.elsewhere == 0
            && came.finals() <= 1
            && (came.dialled.is_empty() || invite || wanted.contains(&"accept"));
        if !fits(&came, &wanted) || !as_wished {
            wrong.push(format!("{file}: {} of {:?}, wanted {wanted:?}", came.word(), came.codes));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    println!("{} of {} published messages", messages.len(), messages.len());
}
