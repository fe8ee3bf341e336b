//! The habits of the house, kept by a test: each file says what it is for, nothing grows into a
//! giant, nothing is left half done, and a trunk profile never comes without its proofs.

use std::collections::BTreeMap;

mod source;

use source::{Source, files, read, root, rust_files, tokens};

const LINES: usize = 600;
const WIDTH: usize = 100;
const FUNCTION_LINES: usize = 90;

/// Names that say nothing; what such a file holds has a name of its own.
const EMPTY_NAMES: &[&str] =
    &["manager", "handler", "handlers", "helper", "helpers", "util", "utils", "common", "misc"];

/// What the root of the repository holds.
const EXPECTED: &[&str] = &[
    "LICENSE",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "deny.toml",
    ".ci/run",
    "docs/architecture.md",
];

#[test]
fn every_source_file_is_tidy() {
    let sources = rust_files(&["src", "tests", "bench"]);
    assert!(sources.len() > 10, "only {} files were found", sources.len());
    let complaints: Vec<String> = sources.iter().flat_map(complaints_about).collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn no_file_names_a_machine_or_leaves_a_note() {
    let texts = ["rs", "toml", "md", "sh", "py", "xml", "csv", "sql", "html", "js", "css", "json"];
    let mut complaints = Vec::new();
    for path in files("") {
        let name = path.rsplit('/').next().unwrap_or(&path);
        if texts.iter().any(|end| name.ends_with(end)) || !name.contains('.') {
            complaints.extend(text_complaints(&path, &read(&path)));
        }
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn the_root_holds_what_a_reader_looks_for() {
    let missing: Vec<_> = EXPECTED.iter().filter(|path| !root().join(path).is_file()).collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
}

#[test]
fn every_profile_has_golden_pairs_and_a_scenario() {
    let csv = read("sipp-scenarios/profiles.csv");
    let mut complaints = Vec::new();
    let scenarios = scenarios_by_profile(&csv);
    for path in files("sip-profiles").iter().filter(|path| path.ends_with(".toml")) {
        let profile = path.trim_start_matches("sip-profiles/").trim_end_matches(".toml");
        let golden = files(&format!("tests/golden/profiles/{profile}"));
        complaints.extend(golden_complaints(profile, &golden));
        match scenarios.get(profile) {
            None => complaints.push(format!("{profile}: no row in sipp-scenarios/profiles.csv")),
            Some(scenario) if !root().join("sipp-scenarios").join(scenario).is_file() => {
                complaints.push(format!("{profile}: sipp-scenarios/{scenario} does not exist"));
            }
            Some(_) => {}
        }
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn complaints_about(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let mut complain = |line: usize, what: String| {
        found.push(format!("{}:{line}: {what}", source.path));
    };
    if !source.text.starts_with("//!") {
        complain(1, "does not begin by saying what it is for (`//!`)".to_owned());
    }
    let lines = source.text.lines().count();
    if lines > LINES {
        complain(lines, format!("{lines} lines; the limit is {LINES}"));
    }
    let code = source.code();
    for (number, (line, bare)) in source.text.lines().zip(code.lines()).enumerate() {
        let width = line.chars().count();
        // Tables, addresses and long strings are kept whole; code and prose are not.
        let table = line.trim_start_matches(['/', '!', ' ']).starts_with('|');
        let string = bare.trim_end().chars().count() <= WIDTH && !line.contains("//");
        if width > WIDTH && !table && !string && !line.contains("://") {
            complain(number + 1, format!("{width} wide; the limit is {WIDTH}"));
        }
    }
    for (line, name, length) in functions(&code) {
        if length > FUNCTION_LINES {
            complain(line, format!("{name} has {length} lines; the limit is {FUNCTION_LINES}"));
        }
    }
    let all = tokens(&code);
    for (at, next) in all.iter().zip(all.iter().skip(1)) {
        if ["todo", "unimplemented"].contains(&at.1) && next.1 == "!" {
            complain(at.0, format!("{}! is not an answer", at.1));
        }
    }
    for part in source.path.trim_end_matches(".rs").split('/') {
        if EMPTY_NAMES.contains(&part) {
            complain(1, format!("`{part}` says nothing; name it for what it holds"));
        }
    }
    found
}

/// Each function with its line, name, and how many lines with code it spans.
fn functions(code: &str) -> Vec<(usize, String, usize)> {
    let filled: Vec<bool> = code.lines().map(|line| !line.trim().is_empty()).collect();
    let all = tokens(code);
    let mut found = Vec::new();
    for (place, (line, token)) in all.iter().enumerate() {
        let after = all.get(place + 1..).unwrap_or_default();
        let Some((_, name)) = after.first() else { continue };
        if *token != "fn" || *name == "(" {
            continue;
        }
        if let Some(end) = body_end(after) {
            let span = filled.iter().skip(line - 1).take(end + 1 - line);
            found.push((*line, (*name).to_owned(), span.filter(|filled| **filled).count()));
        }
    }
    found
}

/// The line of the brace that closes the body that follows; `None` for a bodiless declaration.
fn body_end(tokens: &[(usize, &str)]) -> Option<usize> {
    let (mut braces, mut round) = (0_u32, 0_i32);
    for (line, token) in tokens {
        match *token {
            "(" | "[" => round += 1,
            ")" | "]" => round -= 1,
            ";" if braces == 0 && round == 0 => return None,
            "{" => braces += 1,
            "}" => {
                braces = braces.saturating_sub(1);
                if braces == 0 {
                    return Some(*line);
                }
            }
            _ => {}
        }
    }
    None
}

/// Paths of some machine and notes to self, in any text file.
fn text_complaints(path: &str, text: &str) -> Vec<String> {
    // Cut in two, so that this file does not complain about itself.
    let machines =
        [["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"], ["/tm", "p/"]].map(|p| p.concat());
    let notes = [["FIX", "ME"], ["XX", "X"], ["TO", "DO"]].map(|p| p.concat());
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut complain = |what: &str| found.push(format!("{path}:{}: says {what}", number + 1));
        for machine in &machines {
            let absolute = line.match_indices(machine.as_str()).any(|(at, _)| {
                let before = line.get(..at).and_then(|head| head.chars().next_back());
                !before.is_some_and(|c| c.is_alphanumeric() || "./_-}".contains(c))
            });
            if absolute {
                complain(machine);
            }
        }
        let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        for word in words.filter(|word| notes.iter().any(|note| note == word)) {
            complain(word);
        }
    }
    found
}

/// `profile,scenario` rows below a header.
fn scenarios_by_profile(csv: &str) -> BTreeMap<&str, &str> {
    let rows = csv.lines().skip(1).filter_map(|row| row.split_once(','));
    rows.map(|(profile, scenario)| (profile.trim(), scenario.trim())).collect()
}

fn golden_complaints(profile: &str, files: &[String]) -> Vec<String> {
    let ins: Vec<&str> = files.iter().filter_map(|f| f.strip_suffix(".in.sip")).collect();
    let outs: Vec<&str> = files.iter().filter_map(|f| f.strip_suffix(".out.sip")).collect();
    let mut found = Vec::new();
    if ins.is_empty() {
        found.push(format!("{profile}: no golden pair in tests/golden/profiles/{profile}"));
    }
    for lonely in ins.iter().filter(|i| !outs.contains(i)) {
        found.push(format!("{profile}: {lonely}.in.sip has no .out.sip"));
    }
    for lonely in outs.iter().filter(|o| !ins.contains(o)) {
        found.push(format!("{profile}: {lonely}.out.sip has no .in.sip"));
    }
    found
}

/// Each planted untidiness is found.
#[test]
fn a_planted_mess_is_caught() {
    let long_line = format!("//! a\n// {}", "x".repeat(WIDTH));
    let long_file = format!("//! a\n{}", "\n".repeat(LINES));
    let body = "    g();\n".repeat(FUNCTION_LINES);
    let long_function = format!("//! a\nfn f() {{\n{body}}}\nfn after() {{}}");
    let unfinished = format!("//! a\nfn f() {{ {}!() }}", "todo");
    let planted = [
        ("src/a.rs", "fn f() {}", "what it is for"),
        ("src/a.rs", &long_line, "wide"),
        ("src/a.rs", &long_file, "lines; the limit"),
        ("src/a.rs", &long_function, "f has 92 lines"),
        ("src/a.rs", &unfinished, "not an answer"),
        ("src/web/helpers.rs", "//! a", "says nothing"),
        ("src/utils/a.rs", "//! a", "says nothing"),
    ];
    for (path, text, wanted) in planted {
        let found = complaints_about(&Source::new(path, text));
        assert_eq!(found.len(), 1, "{path}: {found:?}");
        assert!(found.iter().any(|c| c.contains(wanted)), "{path}: {found:?}");
    }
    for text in [["see /ho", "me/me/x"], ["// FIX", "ME later"], ["# XX", "X"], ["cd /wo", "rk/a"]]
    {
        assert_eq!(text_complaints("a.md", &text.concat()).len(), 1, "{text:?}");
    }
    assert!(text_complaints("a.md", "61491XXXXXX from src/work/a.rs").is_empty());
    assert_eq!(golden_complaints("p", &[]).len(), 1);
    assert_eq!(golden_complaints("p", &["a.in.sip".to_owned()]).len(), 1);
    assert!(golden_complaints("p", &["a.in.sip".to_owned(), "a.out.sip".to_owned()]).is_empty());
    assert_eq!(scenarios_by_profile("profile,scenario\np,uac.xml").get("p"), Some(&"uac.xml"));
}
