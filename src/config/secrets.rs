//! Values from outside the file: `${env:NAME}`, `${file:/path}`, `${cred:name}`.

use std::path::{Path, PathBuf};

use secrecy::SecretString;

use crate::table::Value;

/// Longest file that a value is read from, bytes. A longer one is a finding.
const FILE_BYTES: u64 = 65_536;

/// Looks a variable of the environment up.
type Environment<'e> = dyn Fn(&str) -> Option<String> + 'e;

/// What surrounds a configuration: its folder and the environment.
pub struct Surroundings<'e> {
    /// Folder of the configuration; relative paths begin there.
    pub dir: PathBuf,
    env: Box<Environment<'e>>,
}

impl<'e> Surroundings<'e> {
    /// A folder and an environment of one's own, for tests and tools.
    pub fn new(dir: &Path, env: impl Fn(&str) -> Option<String> + 'e) -> Self {
        Self { dir: dir.to_owned(), env: Box::new(env) }
    }

    /// The environment of this process.
    pub fn of_process(dir: &Path) -> Self {
        Self::new(dir, |name| std::env::var(name).ok())
    }

    /// The text of a file named in the configuration.
    ///
    /// # Errors
    /// In words, with the path.
    pub fn file(&self, path: &str) -> Result<String, String> {
        let path = self.dir.join(path);
        let size = std::fs::metadata(&path).map(|m| m.len());
        let shown = path.display();
        if size.is_ok_and(|bytes| bytes > FILE_BYTES * 4096) {
            return Err(format!("{shown} is too large"));
        }
        std::fs::read_to_string(&path).map_err(|e| format!("{shown} cannot be read: {e}"))
    }

    /// `text` with every reference replaced.
    fn resolve(&self, text: &str) -> Result<String, String> {
        let mut resolved = String::new();
        let mut rest = text;
        while let Some((before, tail)) = rest.split_once("${") {
            resolved.push_str(before);
            let Some((reference, after)) = tail.split_once('}') else {
                return Err("`${` without `}`".to_owned());
            };
            let (kind, name) = reference.split_once(':').unwrap_or((reference, ""));
            let value = match kind {
                "env" => (self.env)(name)
                    .ok_or_else(|| format!("the environment variable {name} is not set"))?,
                "file" => self.file(name)?,
                "cred" => {
                    let dir = (self.env)("CREDENTIALS_DIRECTORY")
                        .ok_or("the environment variable CREDENTIALS_DIRECTORY is not set")?;
                    self.file(&format!("{dir}/{name}"))?
                }
                _ => return Err(format!("`${{{kind}:}}` is not known: env, file or cred")),
            };
            // Editors end files with a line break that is no part of the secret.
            resolved.push_str(value.trim_end_matches(['\r', '\n']));
            rest = after;
        }
        resolved.push_str(rest);
        Ok(resolved)
    }

    /// The text of a value with every reference replaced; what is missing is a finding.
    pub fn plain(&self, value: &Value<'_>) -> Option<String> {
        match self.resolve(&value.text()?) {
            Ok(text) => Some(text),
            Err(what) => {
                value.error(what);
                None
            }
        }
    }

    /// As [`Surroundings::plain`], for what must never be printed; empty is a finding.
    pub fn secret(&self, value: &Value<'_>) -> Option<SecretString> {
        let text = self.plain(value)?;
        if text.is_empty() || text.chars().any(|c| matches!(c, '\r' | '\n' | '\0')) {
            value.error("a secret must be one line that is not empty".to_owned());
            return None;
        }
        Some(SecretString::from(text))
    }
}

impl std::fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").field("dir", &self.dir).finish_non_exhaustive()
    }
}
