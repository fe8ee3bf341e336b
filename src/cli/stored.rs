//! What the verbs on the database have in common: how they fail, and how they print.

use std::fmt;
use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};
use std::process::ExitCode;

use cooee_records::shown;
use cooee_store::error::StoreError;
use serde::Serialize;

/// Standard output, for many lines.
pub(crate) type Out = BufWriter<StdoutLock<'static>>;

/// Why there is nothing to show.
#[derive(Debug)]
pub(crate) enum Failure {
    /// There is no such row: what is said then.
    Missing(&'static str),
    /// A time cannot be read.
    Instant(shown::NotAnInstant),
    /// The database cannot be reached.
    Store(StoreError),
    /// The output cannot be written.
    Output(io::Error),
}

impl Failure {
    /// 1 nothing there, 2 an argument cannot be read, 3 the database or the output failed.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Missing(_) => 1,
            Self::Instant(_) => 2,
            Self::Store(_) | Self::Output(_) => 3,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(what) => f.write_str(what),
            Self::Instant(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Output(error) => error.fmt(f),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<csv::Error> for Failure {
    fn from(error: csv::Error) -> Self {
        match error.into_kind() {
            csv::ErrorKind::Io(error) => Self::Output(error),
            other => Self::Output(io::Error::other(format!("{other:?}"))),
        }
    }
}

/// Runs a verb, and says how it ended.
pub(crate) fn run(name: &str, answer: impl FnOnce(&mut Out) -> Result<(), Failure>) -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    match answer(&mut out).and_then(|()| Ok(out.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of a pipe has seen enough.
        Err(Failure::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(io::stderr(), "cooee {name}: {failure}");
            failure.exit_code().into()
        }
    }
}

/// Writes a value as one line of JSON.
pub(crate) fn line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    writeln!(out)
}
