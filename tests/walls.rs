//! The walls of the house: which room may import which, and what the core must not touch.
//!
//! Cargo holds the crates apart; this test holds apart what Cargo cannot see (modules inside a
//! room, clocks, sockets, hash order), and says in one table which imports are meant.

use std::collections::{BTreeMap, BTreeSet};

#[path = "source/imports.rs"]
mod imports;
mod source;

use imports::{paths, shipped, test_modules};
use source::{Source, files, read, rust_files, tokens};

/// What each room may import, and nothing else. `main` and `cli` share the root package.
///
/// Every edge runs down through the layers
/// `main -> cli -> {server, web} -> {config, store} -> {signalling, media, records, journal,
/// telemetry, sim} -> model`; a new one is a decision and belongs here with its reason.
const ROOMS: &[(&str, u8, &[&str])] = &[
    ("model", 0, &[]),
    ("signalling", 1, &["model"]),
    ("media", 1, &["model"]),
    ("records", 1, &["model"]),
    ("journal", 1, &["model"]),
    ("telemetry", 1, &["model"]),
    ("sim", 1, &["model"]),
    // signalling: the profile, route and trunk types that a configuration is turned into.
    ("config", 2, &["model", "signalling"]),
    // journal: what the database is fed from; records: the rows that facts become.
    ("store", 2, &["model", "journal", "records"]),
    // store: reads for lists and reports; telemetry: exposition; records: the words of a report.
    ("web", 3, &["model", "store", "telemetry", "records"]),
    // The engine and the spine are the one place where the planes meet.
    (
        "server",
        3,
        &["model", "signalling", "media", "records", "journal", "telemetry", "config", "store"],
    ),
    (
        "cli",
        4,
        &[
            "model",
            "signalling",
            "media",
            "records",
            "journal",
            "telemetry",
            "sim",
            "config",
            "store",
            "server",
            "web",
        ],
    ),
    ("main", 5, &["cli", "config", "server"]),
];

/// Rooms that are values: no clock, thread, socket, file, seed or environment.
const CORE: &[&str] = &["model", "signalling", "records"];

/// Where tokio lives.
const TOKIO: &[&str] = &["server", "web", "sim", "cli"];

/// The only file that may say `unsafe`.
const UNSAFE: &str = "src/media/socket.rs";

/// Layers inside signalling; a module that is not named here is ground that all may stand on.
const SIGNALLING: &[(&str, u8)] =
    &[("message", 1), ("transaction", 2), ("profile", 2), ("leg", 3), ("call", 4), ("switch", 5)];

/// What the core must not name, and why.
const OUTSIDE: &[(&str, &str)] = &[
    ("std::time::Instant", "clock"),
    ("std::time::SystemTime", "clock"),
    ("Instant::now", "clock"),
    ("SystemTime::now", "clock"),
    ("nix::time", "clock"),
    ("libc::clock_gettime", "clock"),
    ("std::thread", "thread"),
    ("thread::spawn", "thread"),
    ("std::sync::Mutex", "thread"),
    ("std::sync::RwLock", "thread"),
    ("std::net::UdpSocket", "socket"),
    ("std::net::TcpStream", "socket"),
    ("std::net::TcpListener", "socket"),
    ("std::os::fd", "socket"),
    ("nix::sys", "socket"),
    ("std::fs", "file"),
    ("std::io::stdin", "file"),
    ("std::env", "environment"),
    ("std::process", "environment"),
    ("std::hash::RandomState", "random seed"),
    ("std::collections::hash_map::RandomState", "random seed"),
    ("rand", "random seed"),
    ("getrandom", "random seed"),
];

#[test]
fn no_import_runs_up_and_the_core_is_a_value() {
    let sources = rust_files(&["src"]);
    assert!(sources.len() > 10, "only {} files were found under src", sources.len());
    let complaints = complaints_about(&sources);
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn no_manifest_asks_for_a_room_above_or_beside() {
    let mut complaints = Vec::new();
    let manifests: Vec<_> = files("src").into_iter().filter(|p| is_manifest(p)).collect();
    assert!(manifests.len() > 5, "only {manifests:?} were found");
    for path in manifests {
        complaints.extend(manifest_complaints(&path, &read(&path)));
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn the_table_itself_runs_down() {
    let layers: BTreeMap<&str, u8> = ROOMS.iter().map(|(room, layer, _)| (*room, *layer)).collect();
    for (room, layer, below) in ROOMS {
        for other in *below {
            assert!(layers.get(other).is_some_and(|l| l < layer), "{room} -> {other} runs up");
        }
    }
}

/// Everything wrong with the sources, each as `path:line: what`.
fn complaints_about(sources: &[Source]) -> Vec<String> {
    let test_files = test_files(sources);
    let mut found = Vec::new();
    let mut edges: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for source in sources {
        let Some(room) = room_of(&source.path) else {
            found.push(format!("{}: lies in no room that the table knows", source.path));
            continue;
        };
        let all = source.code();
        found.extend(unsafe_complaints(source, &all));
        let own_tests = source.path.starts_with(&format!("src/{room}/tests/"));
        if own_tests || test_files.iter().any(|prefix| source.path.starts_with(prefix.as_str())) {
            continue;
        }
        let code = shipped(&all);
        let named = paths(&code);
        let module = module_of(room, &source.path);
        for (line, path) in &named {
            found.extend(
                path_complaint(room, path).map(|what| format!("{}:{line}: {what}", source.path)),
            );
            let inside = inside(&module, path);
            if let (Some(from), Some(to)) = (module.first(), inside.first())
                && from != to
            {
                edges.entry(room.to_owned()).or_default().insert((from.clone(), to.clone()));
                if room == "signalling" && runs_up(from, to) {
                    found.push(format!("{}:{line}: {from} imports {to}", source.path));
                }
            }
        }
        if CORE.contains(&room) {
            found.extend(core_complaints(source, &code));
        }
    }
    for (room, edges) in &edges {
        let modules: BTreeSet<String> = sources
            .iter()
            .filter(|s| room_of(&s.path) == Some(room))
            .filter_map(|s| module_of(room, &s.path).first().cloned())
            .collect();
        found.extend(circles(room, edges, &modules));
    }
    found
}

/// The room that a file lies in.
fn room_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    if inside == "main.rs" {
        return Some("main");
    }
    let room = inside.split('/').next()?;
    ROOMS.iter().any(|(known, ..)| *known == room).then_some(room)
}

/// The module path of a file inside its room: `src/signalling/leg/uas.rs` is `leg, uas`.
fn module_of(room: &str, path: &str) -> Vec<String> {
    let inside = path.trim_start_matches("src/").trim_start_matches(room).trim_start_matches('/');
    let stem = inside.trim_end_matches(".rs").trim_end_matches("mod").trim_end_matches('/');
    stem.split('/').filter(|part| !["", "lib", "main"].contains(part)).map(str::to_owned).collect()
}

/// Where a path leads inside the room, from the room's root; empty where it leads outside.
fn inside(module: &[String], path: &[String]) -> Vec<String> {
    let mut at: Vec<String> = match path.first().map(String::as_str) {
        Some("crate") => Vec::new(),
        Some("self" | "super") => module.to_vec(),
        _ => return Vec::new(),
    };
    for word in path {
        match word.as_str() {
            "crate" | "self" => {}
            "super" => {
                at.pop();
            }
            _ => at.push(word.clone()),
        }
    }
    at
}

/// Prefixes of the paths of modules in files of their own that only tests compile.
fn test_files(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let (dir, file) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
        let stem = file.trim_end_matches(".rs");
        for module in test_modules(&source.code()) {
            let own_dir = ["lib", "main", "mod"].contains(&stem);
            let base = if own_dir { dir.to_owned() } else { format!("{dir}/{stem}") };
            found.push(format!("{base}/{module}.rs"));
            found.push(format!("{base}/{module}/"));
        }
    }
    found
}

fn path_complaint(room: &str, path: &[String]) -> Option<String> {
    let first = path.first()?;
    if first == "tokio" && !TOKIO.contains(&room) {
        return Some(format!("tokio in {room}; it lives in {}", TOKIO.join(", ")));
    }
    let other = first.strip_prefix("cooee_")?;
    let allowed = allowed_for(room);
    (other != room && !allowed.contains(&other))
        .then(|| format!("{room} imports {other}; it may see {}", allowed.join(", ")))
}

fn allowed_for(room: &str) -> &'static [&'static str] {
    ROOMS.iter().find(|(known, ..)| *known == room).map_or(&[], |(_, _, below)| below)
}

fn runs_up(from: &str, to: &str) -> bool {
    let layer = |name: &str| SIGNALLING.iter().find(|(known, _)| *known == name).map(|(_, l)| *l);
    match (layer(from), layer(to)) {
        (Some(from), Some(to)) => to >= from,
        (None, Some(_)) => true,
        _ => false,
    }
}

/// Circles among the modules directly below a room's root.
fn circles(
    room: &str,
    edges: &BTreeSet<(String, String)>,
    modules: &BTreeSet<String>,
) -> Vec<String> {
    let mut found = Vec::new();
    for start in modules {
        let mut reached: BTreeSet<&str> = BTreeSet::new();
        let mut open = vec![start.as_str()];
        while let Some(at) = open.pop() {
            for (_, to) in edges.iter().filter(|(from, to)| from == at && modules.contains(to)) {
                if reached.insert(to) {
                    open.push(to);
                }
            }
        }
        if reached.contains(start.as_str()) {
            found.push(format!("src/{room}: the module {start} imports itself through others"));
        }
    }
    found
}

fn unsafe_complaints(source: &Source, code: &str) -> Option<String> {
    let (line, _) = tokens(code).into_iter().find(|(_, token)| *token == "unsafe")?;
    (source.path != UNSAFE).then(|| format!("{}:{line}: unsafe outside {UNSAFE}", source.path))
}

/// Clocks, threads, sockets, files, seeds, `async` and unordered maps in a room of the core.
fn core_complaints(source: &Source, code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut complain = |line: usize, what: String| {
        found.push(format!("{}:{line}: {what}", source.path));
    };
    for (line, path) in paths(code) {
        let spelt = path.join("::");
        let named = |what: &str| {
            spelt == what
                || spelt.starts_with(&format!("{what}::"))
                || (what.ends_with("::now") || what.ends_with("::spawn"))
                    && spelt.ends_with(&format!("::{what}"))
        };
        if let Some((what, kind)) = OUTSIDE.iter().find(|(what, _)| named(what)) {
            complain(line, format!("{what}: no {kind} in the core"));
        }
    }
    let all = tokens(code);
    for (place, (line, token)) in all.iter().enumerate() {
        let after = all.get(place + 1..).unwrap_or_default();
        match *token {
            "async" | "await" => complain(*line, format!("{token}: the core is driven by hand")),
            "RandomState" => complain(*line, "RandomState: no random seed in the core".to_owned()),
            "HashMap" | "HashSet" if seeded(token, after) => {
                complain(*line, format!("{token} with the default hasher: its order is random"));
            }
            _ => {}
        }
    }
    found
}

/// Whether a hash map or set, named just before `after`, takes the default hasher.
fn seeded(name: &str, after: &[(usize, &str)]) -> bool {
    let wanted = if name == "HashMap" { 3 } else { 2 };
    let after = match after {
        [(_, "::"), rest @ ..] => rest,
        _ => after,
    };
    match after.first() {
        Some((_, "new" | "with_capacity" | "from")) => true,
        Some((_, "<")) => generics(after) < wanted,
        _ => false,
    }
}

/// How many arguments the angle brackets at the front hold.
fn generics(tokens: &[(usize, &str)]) -> usize {
    let (mut depth, mut count) = (0_i32, 1);
    let mut last = "";
    for (_, token) in tokens {
        match *token {
            "<" | "(" | "[" => depth += 1,
            ">" if last == "-" => {}
            ">" | ")" | "]" => {
                depth -= 1;
                if depth == 0 {
                    return count - usize::from(last == ",");
                }
            }
            "," if depth == 1 => count += 1,
            _ => {}
        }
        last = token;
    }
    count
}

fn is_manifest(path: &str) -> bool {
    path.ends_with("/Cargo.toml")
}

fn manifest_complaints(path: &str, text: &str) -> Vec<String> {
    let Some(room) = room_of(path) else { return vec![format!("{path}: lies in no known room")] };
    let manifest: toml::Table = match text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![format!("{path}: {error}")],
    };
    let mut found = Vec::new();
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let names =
            manifest.get(section).and_then(|s| s.as_table()).into_iter().flat_map(|s| s.keys());
        for name in names {
            let path_like = [name.replace('-', "_")];
            found.extend(path_complaint(room, &path_like).map(|what| format!("{path}: {what}")));
            let outside = ["nix", "libc", "rand", "getrandom", "socket2", "mio"];
            if section == "dependencies" && CORE.contains(&room) && outside.contains(&name.as_str())
            {
                found.push(format!("{path}: {name} leads out of the core"));
            }
        }
    }
    found
}

/// Each planted violation is found, once and for the right reason; the clean samples pass.
#[test]
fn a_planted_violation_is_caught() {
    let planted = [
        (
            "src/media/worker.rs",
            "use cooee_signalling::message::Message;",
            "media imports signalling",
        ),
        ("src/model/ids.rs", "fn f() { cooee_server::run(); }", "model imports server"),
        (
            "src/config/lib.rs",
            "use {cooee_model::ids, cooee_media::latch};",
            "config imports media",
        ),
        ("src/signalling/leg/uas.rs", "use crate::{call::Call, message::M};", "leg imports call"),
        ("src/signalling/leg/uas.rs", "use super::super::switch::Switch;", "leg imports switch"),
        (
            "src/signalling/profile/mod.rs",
            "use crate::transaction::T;",
            "profile imports transaction",
        ),
        ("src/signalling/limits.rs", "use crate::message::M;", "limits imports message"),
        ("src/journal/head.rs", "use tokio::fs::File;", "tokio in journal"),
        ("src/records/cdr.rs", "fn f() { let t = std::time::Instant::now(); }", "no clock"),
        (
            "src/signalling/call/call.rs",
            "use std::time;\nfn f() { time::Instant::now(); }",
            "no clock",
        ),
        ("src/model/a.rs", "use std::{fs, thread::JoinHandle};", "no file"),
        ("src/records/a.rs", "use std::net::{SocketAddr, UdpSocket};", "no socket"),
        (
            "src/signalling/switch/mod.rs",
            "type M = HashMap<CallId, Vec<(u8, u8)>>;",
            "default hasher",
        ),
        ("src/signalling/switch/mod.rs", "fn f() { let m = HashMap::new(); }", "default hasher"),
        ("src/signalling/switch/mod.rs", "async fn f() {}", "driven by hand"),
        ("src/media/worker.rs", "fn f() { unsafe { g() } }", "unsafe outside"),
        ("src/attic/lib.rs", "", "lies in no room"),
    ];
    for (path, text, wanted) in planted {
        let found = complaints_about(&[Source::new(path, text)]);
        assert!(found.iter().any(|c| c.contains(wanted)), "{path}: {text}\nfound: {found:?}");
    }
    let circle = [
        Source::new("src/media/latch.rs", "use crate::worker::W;"),
        Source::new("src/media/worker/mod.rs", "use crate::stats::S;"),
        Source::new("src/media/stats.rs", "use super::latch::L;"),
    ];
    assert_eq!(complaints_about(&circle).len(), 3, "each module of the circle is named");

    let asks = "[dependencies]\ncooee-media.workspace = true\ntokio.workspace = true\nnix = \"1\"";
    assert_eq!(manifest_complaints("src/signalling/Cargo.toml", asks).len(), 3);
}

#[test]
fn what_is_allowed_passes() {
    let clean = [
        ("src/signalling/switch/mod.rs", "use crate::{call::Call, leg, message};"),
        ("src/signalling/leg/uas.rs", "use super::dialog::D; use crate::transaction::T;"),
        (
            "src/signalling/leg/a.rs",
            "// std::time::Instant::now()\nconst T: &str = \"tokio::spawn\";",
        ),
        ("src/signalling/leg/b.rs", "#[cfg(test)]\nmod tests { use std::time::Instant; }"),
        ("src/signalling/leg/c.rs", "type M = HashMap<Vec<(u8, u8)>, u8, Keyed>;"),
        ("src/signalling/leg/d.rs", "const Q: char = '\\''; const R: &str = r#\"unsafe\"#;"),
        ("src/media/socket.rs", "fn f() { unsafe { g() } }"),
        ("src/server/engine.rs", "use cooee_media::worker; use cooee_signalling::switch;"),
        ("src/web/api.rs", "use tokio::sync::mpsc; use std::time::Instant;"),
        ("src/records/cdr.rs", "use std::time::Duration; use std::net::SocketAddr;"),
    ];
    for (path, text) in clean {
        let found = complaints_about(&[Source::new(path, text)]);
        assert!(found.is_empty(), "{path}: {text}\nfound: {found:?}");
    }
    let tests_apart = [
        Source::new("src/signalling/lib.rs", "#[cfg(test)]\nmod worlds;"),
        Source::new("src/signalling/worlds.rs", "use crate::switch::Switch; use std::fs;"),
    ];
    let found = complaints_about(&tests_apart);
    assert!(found.is_empty(), "{found:?}");
}
