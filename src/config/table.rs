//! Reading TOML with spans: each key is asked for once, what nobody asked for is a finding.
//!
//! All findings of a document are collected, so one run tells everything. A value of the wrong
//! type or out of range is told and its default goes on, so that the rest is still looked at.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::finding::{Finding, Kind, hint};

/// One TOML file and what was found wrong with it.
#[derive(Debug)]
pub struct Document<'t> {
    file: String,
    text: &'t str,
    table: Option<Spanned<DeTable<'t>>>,
    findings: RefCell<Vec<Finding>>,
}

impl<'t> Document<'t> {
    /// Parses the text; broken syntax becomes findings.
    pub fn new(file: &str, text: &'t str) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        let document = Self {
            file: file.to_owned(),
            text,
            table: errors.is_empty().then_some(table),
            findings: RefCell::default(),
        };
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            document.add(Kind::Error, &span, "", error.message().to_owned());
        }
        document
    }

    /// The table at the top; `None` where the syntax is broken.
    pub fn root(&self) -> Option<Section<'_>> {
        let table = self.table.as_ref()?;
        Some(Section::new(self, String::new(), table.span(), table.get_ref()))
    }

    /// All findings, by their place.
    pub fn into_findings(self) -> Vec<Finding> {
        let mut findings = self.findings.into_inner();
        findings.sort_by_key(|f| (f.line, f.column));
        findings
    }

    fn add(&self, kind: Kind, span: &Range<usize>, key: &str, what: String) {
        let before = self.text.get(..span.start.min(self.text.len())).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        self.findings.borrow_mut().push(Finding {
            kind,
            file: self.file.clone(),
            line: before.bytes().filter(|&b| b == b'\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            key: key.to_owned(),
            what,
        });
    }
}

/// A table of a document that is being read.
#[derive(Debug)]
pub struct Section<'d> {
    document: &'d Document<'d>,
    path: String,
    span: Range<usize>,
    table: &'d DeTable<'d>,
    asked: BTreeSet<String>,
}

/// A value with its place.
#[derive(Clone, Debug)]
pub struct Value<'d> {
    document: &'d Document<'d>,
    /// The key path.
    pub path: String,
    span: Range<usize>,
    value: &'d DeValue<'d>,
}

impl<'d> Section<'d> {
    fn new(
        document: &'d Document<'d>,
        path: String,
        span: Range<usize>,
        table: &'d DeTable<'d>,
    ) -> Self {
        Self { document, path, span, table, asked: BTreeSet::new() }
    }

    /// The value of a key, whatever it is.
    pub fn value(&mut self, key: &str) -> Option<Value<'d>> {
        self.asked.insert(key.to_owned());
        let value = self.table.get(key)?;
        Some(Value {
            document: self.document,
            path: self.key(key),
            span: value.span(),
            value: value.get_ref(),
        })
    }

    /// Whether the key is there.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A text.
    pub fn text(&mut self, key: &str) -> Option<String> {
        self.value(key)?.text()
    }

    /// A text that must be there.
    pub fn needed(&mut self, key: &str) -> String {
        match self.text(key) {
            Some(text) if !text.is_empty() => text,
            Some(_) => {
                self.error(key, "is empty".to_owned());
                String::new()
            }
            None if !self.has(key) => {
                self.error("", format!("`{key}` is missing"));
                String::new()
            }
            None => String::new(),
        }
    }

    /// A whole number within bounds.
    pub fn int(&mut self, key: &str, default: u32, bounds: RangeInclusive<u32>) -> u32 {
        self.value(key).and_then(|v| v.int(bounds)).unwrap_or(default)
    }

    /// A yes or no.
    pub fn flag(&mut self, key: &str, default: bool) -> bool {
        let Some(value) = self.value(key) else { return default };
        value.value.as_bool().unwrap_or_else(|| {
            value.error("must be true or false".to_owned());
            default
        })
    }

    /// One of some words.
    pub fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)], default: T) -> T {
        let Some(value) = self.value(key) else { return default };
        let Some(text) = value.text() else { return default };
        value.word(&text, words).unwrap_or(default)
    }

    /// A list of texts, with their places.
    pub fn texts(&mut self, key: &str) -> Vec<(Value<'d>, String)> {
        self.list(key).into_iter().filter_map(|v| v.text().map(|text| (v, text))).collect()
    }

    /// A list.
    pub fn list(&mut self, key: &str) -> Vec<Value<'d>> {
        self.value(key).map(|v| v.list()).unwrap_or_default()
    }

    /// A table.
    pub fn table(&mut self, key: &str) -> Option<Section<'d>> {
        self.value(key)?.table()
    }

    /// The tables of `[[key]]`.
    pub fn tables(&mut self, key: &str) -> Vec<Section<'d>> {
        self.list(key).into_iter().filter_map(|v| v.table()).collect()
    }

    /// All keys, so that a table of free words can be read.
    pub fn keys(&self) -> Vec<String> {
        self.table.keys().map(|k| k.get_ref().to_string()).collect()
    }

    /// Says an error about a key, or about the table itself where `key` is empty.
    pub fn error(&self, key: &str, what: String) {
        self.say(Kind::Error, key, what);
    }

    /// Says a note about a key, or about the table itself where `key` is empty.
    pub fn note(&self, key: &str, what: String) {
        self.say(Kind::Note, key, what);
    }

    fn say(&self, kind: Kind, key: &str, what: String) {
        let found = self.table.get(key).map(Spanned::span);
        let span = found.unwrap_or_else(|| self.span.clone());
        let path = if key.is_empty() { self.path.clone() } else { self.key(key) };
        self.document.add(kind, &span, &path, what);
    }

    /// Adds findings about another file.
    pub fn add(&self, findings: Vec<Finding>) {
        self.document.findings.borrow_mut().extend(findings);
    }

    /// Ends the reading: keys that nobody asked for are findings.
    pub fn finish(&self) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if !self.asked.contains(name) {
                let known = self.asked.iter().map(String::as_str);
                let known = known.filter(|k| !self.table.contains_key(*k));
                let what = format!("unknown key{}", hint(name, known));
                self.document.add(Kind::Error, &key.span(), &self.key(name), what);
            }
        }
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

impl<'d> Value<'d> {
    /// The text of it; anything else is a finding.
    pub fn text(&self) -> Option<String> {
        let text = self.value.as_str().map(str::to_owned);
        if text.is_none() {
            self.error(format!("must be a text, is {}", self.value.type_str()));
        }
        text
    }

    /// Whether it is a text.
    pub fn is_text(&self) -> bool {
        self.value.is_str()
    }

    /// Text, number or truth as text: for values that are compared as text.
    pub fn scalar(&self) -> Option<String> {
        match self.value {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Integer(number) => Some(number.to_string()),
            DeValue::Boolean(truth) => Some(truth.to_string()),
            _ => {
                self.error(format!("must be a text or a number, is {}", self.value.type_str()));
                None
            }
        }
    }

    /// A whole number within bounds.
    pub fn int(&self, bounds: RangeInclusive<u32>) -> Option<u32> {
        let number = self.value.as_integer();
        let number = number.and_then(|n| i64::from_str_radix(n.as_str(), n.radix()).ok());
        let within = number.and_then(|n| u32::try_from(n).ok()).filter(|n| bounds.contains(n));
        if within.is_none() {
            let (low, high) = (bounds.start(), bounds.end());
            self.error(format!("must be a whole number from {low} to {high}"));
        }
        within
    }

    /// The truth of it, if it is one.
    pub fn flag(&self) -> Option<bool> {
        self.value.as_bool()
    }

    /// One of some words.
    pub fn word<T: Copy>(&self, text: &str, words: &[(&str, T)]) -> Option<T> {
        let found = words.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            let near = hint(text, words.iter().map(|(name, _)| *name));
            self.error(format!("`{text}` is not known{near}"));
        }
        found
    }

    /// The elements of an array; anything else is a finding.
    pub fn list(&self) -> Vec<Value<'d>> {
        let Some(array) = self.value.as_array() else {
            self.error(format!("must be a list, is {}", self.value.type_str()));
            return Vec::new();
        };
        array
            .iter()
            .enumerate()
            .map(|(place, value)| Value {
                document: self.document,
                path: format!("{}[{place}]", self.path),
                span: value.span(),
                value: value.get_ref(),
            })
            .collect()
    }

    /// Whether it is an array.
    pub fn is_list(&self) -> bool {
        self.value.is_array()
    }

    /// The table; anything else is a finding.
    pub fn table(&self) -> Option<Section<'d>> {
        let Some(table) = self.value.as_table() else {
            self.error(format!("must be a table, is {}", self.value.type_str()));
            return None;
        };
        Some(Section::new(self.document, self.path.clone(), self.span.clone(), table))
    }

    /// Says an error about it.
    pub fn error(&self, what: String) {
        self.document.add(Kind::Error, &self.span, &self.path, what);
    }

    /// Says a note about it.
    pub fn note(&self, what: String) {
        self.document.add(Kind::Note, &self.span, &self.path, what);
    }
}
