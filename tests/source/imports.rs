//! What a Rust file imports: its paths, `use` trees spelt out, and what only tests compile.

use crate::source::{is_word, tokens};

const TEST_ONLY: &str = "#[cfg(test)]";

/// The code without what only tests compile: items under `#[cfg(test)]`.
pub fn shipped(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some((before, after)) = rest.split_once(TEST_ONLY) {
        kept.push_str(before);
        let item = item_len(after);
        let (gone, left) = after.split_at_checked(item).unwrap_or((after, ""));
        // Lines stay where they are.
        kept.extend(gone.chars().filter(|c| *c == '\n'));
        rest = left;
    }
    kept.push_str(rest);
    kept
}

/// The modules that only tests compile and that live in files of their own.
pub fn test_modules(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for after in code.split(TEST_ONLY).skip(1) {
        let mut words = after.split_whitespace().skip_while(|word| word.starts_with("pub"));
        if words.next() == Some("mod")
            && let Some(name) = words.next().and_then(|word| word.strip_suffix(';'))
        {
            found.push(name.to_owned());
        }
    }
    found
}

/// Length of the item (attributes, then `...;` or `...{...}`) that `code` begins with.
fn item_len(code: &str) -> usize {
    let mut depth = 0_u32;
    for (at, c) in code.char_indices() {
        match c {
            ';' if depth == 0 => return at + 1,
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && c == '}' {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

/// Every path of two words or more that the code names, `use` trees spelt out, with its line.
pub fn paths(code: &str) -> Vec<(usize, Vec<String>)> {
    let all = tokens(code);
    let mut found = Vec::new();
    let mut rest = all.as_slice();
    let mut before = "";
    while let Some(((line, token), tail)) = rest.split_first() {
        if *token == "use" {
            rest = use_tree(tail, &[], &mut found);
        } else if token.chars().all(is_word) && before != "::" {
            let (path, after) = chain(rest);
            if path.len() > 1 {
                found.push((*line, path));
            }
            rest = after;
        } else {
            rest = tail;
        }
        before = token;
    }
    found
}

type Tokens<'a> = &'a [(usize, &'a str)];

/// The words joined by `::` at the front.
fn chain(mut rest: Tokens<'_>) -> (Vec<String>, Tokens<'_>) {
    let mut path = Vec::new();
    while let [(_, word), tail @ ..] = rest {
        if !word.chars().all(is_word) {
            break;
        }
        path.push((*word).to_owned());
        rest = tail;
        match rest {
            [(_, "::"), after @ ..] => rest = after,
            _ => break,
        }
    }
    (path, rest)
}

/// Spells one `use` tree out under `prefix` and gives what follows it.
fn use_tree<'a>(
    mut rest: Tokens<'a>,
    prefix: &[String],
    found: &mut Vec<(usize, Vec<String>)>,
) -> Tokens<'a> {
    if let [(_, "::"), tail @ ..] = rest {
        rest = tail;
    }
    let line = rest.first().map_or(0, |(line, _)| *line);
    let (words, after) = chain(rest);
    let path: Vec<String> = prefix.iter().cloned().chain(words).collect();
    match after {
        [(_, "{"), tail @ ..] => {
            let mut inner = tail;
            loop {
                match inner {
                    [(_, "}"), tail @ ..] => return tail,
                    [(_, ","), tail @ ..] => inner = tail,
                    [] => return inner,
                    _ => {
                        let next = use_tree(inner, &path, found);
                        // A broken tree must not hang the checker.
                        inner = if next.len() == inner.len() { &[] } else { next };
                    }
                }
            }
        }
        [(_, "*"), tail @ ..] | [(_, "as"), _, tail @ ..] => {
            found.push((line, path));
            tail
        }
        _ => {
            found.push((line, path));
            after
        }
    }
}
