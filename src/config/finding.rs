//! What is wrong with a configuration, and where.

use std::fmt;

/// One thing worth saying about a configuration.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// `error`: the node does not run on it; `note`: it does.
    pub kind: Kind,
    /// The file.
    pub file: String,
    /// Line, from 1; 0: the file as a whole.
    pub line: usize,
    /// Column in characters, from 1; 0: the line as a whole.
    pub column: usize,
    /// The key, as `trunk[2].peers[0]`; empty: none.
    pub key: String,
    /// What is wrong.
    pub what: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The node does not run on it.
    Error,
    /// Worth knowing.
    Note,
}

impl Finding {
    /// An error about a whole file.
    pub fn error(file: &str, what: String) -> Self {
        let (file, key) = (file.to_owned(), String::new());
        Self { kind: Kind::Error, file, line: 0, column: 0, key, what }
    }

    /// A note about a whole file.
    pub fn note(file: &str, what: String) -> Self {
        Self { kind: Kind::Note, ..Self::error(file, what) }
    }

    /// Whether the node runs in spite of it.
    pub fn is_note(&self) -> bool {
        self.kind == Kind::Note
    }
}

impl fmt::Display for Finding {
    /// `file:line:column: error: key: what`, as editors understand it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        f.write_str(if self.is_note() { ": note: " } else { ": error: " })?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)
    }
}

/// All that is wrong, errors and notes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// Just one.
    pub fn one(finding: Finding) -> Self {
        Self(vec![finding])
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, finding) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str("\n")?;
            }
            finding.fmt(f)?;
        }
        Ok(())
    }
}

/// ` (did you mean ...?)` for the nearest of `known`, or what there is to choose from.
pub fn hint<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let near = known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(word, k), *k))
        .filter(|(distance, k)| *distance <= 1 + k.len().max(word.len()) / 4)
        .min();
    match near {
        Some((_, k)) => format!("; did you mean `{k}`?"),
        None if known.is_empty() => String::new(),
        None if known.len() <= 12 => format!("; there is {}", known.join(", ")),
        None => String::new(),
    }
}
