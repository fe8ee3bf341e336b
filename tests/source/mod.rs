//! Reads Rust source as far as the walls and the tidy rules need it: files, code without comments
//! and strings, tokens.

use std::fs;
use std::path::{Path, PathBuf};

/// One source file.
pub struct Source {
    /// Path from the repository's root, with `/`.
    pub path: String,
    /// The file as it is.
    pub text: String,
}

impl Source {
    /// A file from its path and text.
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// The file with comments, strings and characters blanked; lines stay where they are.
    pub fn code(&self) -> String {
        code_of(&self.text)
    }
}

/// The repository's root.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().map(PathBuf::from).unwrap_or_default()
}

/// Every file below `dir` (a path from the root), except what is built or generated, sorted.
pub fn files(dir: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root().join(dir)];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                let skipped = ["target", ".git", "__pycache__", "results"];
                if !skipped.iter().any(|skip| name == *skip) {
                    open.push(path);
                }
            } else if let Ok(inside) = path.strip_prefix(root()) {
                found.push(inside.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

/// Every Rust file below the given directories.
pub fn rust_files(dirs: &[&str]) -> Vec<Source> {
    let paths = dirs.iter().flat_map(|dir| files(dir));
    paths
        .filter(|path| path.ends_with(".rs"))
        .map(|path| Source::new(&path, &read(&path)))
        .collect()
}

/// A file's text; empty where it is none or cannot be read.
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(Path::new(path))).unwrap_or_default()
}

/// Blanks comments, strings and character literals; newlines stay.
pub fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let in_word = code.chars().next_back().is_some_and(is_word);
        let skip = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment_len(rest),
            '\'' => character_len(rest),
            '"' | 'b' | 'c' | 'r' if !in_word => string_len(rest),
            _ => 0,
        };
        let taken = if skip == 0 { first.len_utf8() } else { skip };
        let (head, tail) = rest.split_at_checked(taken).unwrap_or((rest, ""));
        if skip == 0 {
            code.push(first);
        } else {
            code.extend(head.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        rest = tail;
    }
    code
}

/// Length of the block comment, which may be nested, that `text` begins with.
fn block_comment_len(text: &str) -> usize {
    let (mut depth, mut at) = (0_u32, 0);
    while let Some(rest) = text.get(at..) {
        let Some(next) = rest.chars().next() else { break };
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth = depth.saturating_sub(1);
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += next.len_utf8();
        }
    }
    at
}

/// Length of the character literal that `text` begins with; 0 for a lifetime.
fn character_len(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        // What is escaped stands at 2, so that the quote of `'\''` does not close it.
        Some((_, '\\')) => text.get(3..).and_then(|rest| rest.find('\'')).map_or(0, |n| n + 4),
        Some(_) => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        None => 0,
    }
}

/// Length of the string literal of any kind that `text` begins with; 0 where it is none.
fn string_len(text: &str) -> usize {
    let word = text.trim_start_matches(['b', 'c']);
    let raw = word.strip_prefix('r');
    let body = raw.unwrap_or(word);
    let unhashed = body.trim_start_matches('#');
    let hashes = body.len() - unhashed.len();
    let Some(inner) = unhashed.strip_prefix('"') else { return 0 };
    if text.len() - word.len() > 1 || (raw.is_none() && hashes > 0) {
        return 0;
    }
    let head = text.len() - inner.len();
    if raw.is_some() {
        let close = format!("\"{}", "#".repeat(hashes));
        return inner.find(&close).map_or(text.len(), |at| head + at + close.len());
    }
    let mut escaped = false;
    for (at, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return head + at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Whether the character can stand in a Rust word.
pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Words, `::`, and single punctuation marks, each with its line (from 1).
pub fn tokens(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let len = if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            let (token, tail) = rest.split_at_checked(len).unwrap_or((rest, ""));
            found.push((number + 1, token));
            rest = tail.trim_start();
        }
    }
    found
}
