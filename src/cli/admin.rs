//! The admin API of a running node, asked from the command line.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use reqwest::blocking::{Client, Response};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

/// The variable that holds the admin token: a command line can be read by others, this cannot.
const TOKEN_VARIABLE: &str = "COOEE_TOKEN";

/// How long the node has to answer.
const ANSWER: Duration = Duration::from_secs(15);

/// The admin token, where one is set.
pub fn token() -> Option<String> {
    std::env::var(TOKEN_VARIABLE).ok()
}

/// Which node is meant. Its token, where it wants one, is taken from COOEE_TOKEN.
#[derive(Args, Debug)]
pub struct At {
    /// Where the admin API is.
    #[arg(long, global = true, value_name = "URL", default_value = "http://127.0.0.1:8060")]
    admin: String,
}

impl At {
    /// The node there.
    pub fn node<'a>(&'a self, token: Option<&'a str>) -> Node<'a> {
        Node { admin: self.admin.trim_end_matches('/'), token }
    }
}

/// A running node, by its admin API.
pub struct Node<'a> {
    admin: &'a str,
    token: Option<&'a str>,
}

impl Node<'_> {
    /// Asks it.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Refused`].
    pub fn ask(&self, method: Method, path: &str) -> Result<Response, Error> {
        self.carry(method, path, None)
    }

    /// Asks it, with a body.
    ///
    /// # Errors
    /// As [`Node::ask`].
    pub fn send(&self, method: Method, path: &str, body: &Value) -> Result<Response, Error> {
        self.carry(method, path, Some(body))
    }

    fn carry(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Response, Error> {
        let client = Client::builder().timeout(ANSWER).build()?;
        let mut request = client.request(method, format!("{}{path}", self.admin));
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(token) = self.token {
            request = request.bearer_auth(token);
        }
        let answer = request.send()?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let problem: Problem = answer.json().unwrap_or_default();
        if !problem.findings.is_empty() {
            return Err(Error::Findings(problem.findings));
        }
        Err(Error::Refused(status, problem.error, problem.hint))
    }
}

#[derive(Deserialize)]
struct Problem {
    error: String,
    hint: String,
    #[serde(default)]
    findings: Vec<String>,
}

impl Default for Problem {
    fn default() -> Self {
        let error = "an error without a reason".to_owned();
        let hint = "is --admin the address of a cooee?".to_owned();
        Self { error, hint, findings: Vec::new() }
    }
}

/// Why there is nothing to show.
#[derive(Debug)]
pub enum Error {
    /// Nobody answered at that address.
    Unreachable(reqwest::Error),
    /// The node answered with an error: status, what is wrong, what to do.
    Refused(StatusCode, String, String),
    /// The configuration is broken: all that is wrong with it.
    Findings(Vec<String>),
    /// What answered is not a cooee of this version.
    NotUnderstood(serde_json::Error),
    /// A call was not transferred: the last status, and why.
    NotTransferred(u16, String),
    /// The file or the terminal could not be written.
    Output(io::Error),
}

impl Error {
    /// The exit code of the command line: 3 where the node is out of reach, else 1.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Unreachable(_) => 3,
            Self::Refused(..)
            | Self::Findings(_)
            | Self::NotUnderstood(_)
            | Self::NotTransferred(..)
            | Self::Output(_) => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(cause) => {
                let at = cause.url().map(ToString::to_string).unwrap_or_default();
                write!(f, "no answer from {at}: is cooee running, and is --admin right?")
            }
            Self::Refused(status, error, hint) => write!(f, "{status}: {error} ({hint})"),
            Self::Findings(findings) => {
                f.write_str("the configuration is broken; the one before stays in force")?;
                findings.iter().try_for_each(|finding| write!(f, "\n{finding}"))
            }
            Self::NotUnderstood(cause) => write!(f, "the answer is not from this cooee: {cause}"),
            Self::NotTransferred(0, why) => write!(f, "not transferred: {why}"),
            Self::NotTransferred(code, why) => write!(f, "not transferred: {code} {why}"),
            Self::Output(cause) => write!(f, "could not write: {cause}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable(cause) => Some(cause),
            Self::Refused(..) | Self::Findings(_) | Self::NotTransferred(..) => None,
            Self::NotUnderstood(cause) => Some(cause),
            Self::Output(cause) => Some(cause),
        }
    }
}

impl From<reqwest::Error> for Error {
    fn from(cause: reqwest::Error) -> Self {
        Self::Unreachable(cause)
    }
}

impl From<serde_json::Error> for Error {
    fn from(cause: serde_json::Error) -> Self {
        Self::NotUnderstood(cause)
    }
}

impl From<io::Error> for Error {
    fn from(cause: io::Error) -> Self {
        Self::Output(cause)
    }
}

/// Prints an answer of the API, indented.
///
/// # Errors
/// [`Error::NotUnderstood`], [`Error::Output`].
pub fn pretty(answer: &str, out: &mut dyn Write) -> Result<(), Error> {
    let value: Value = serde_json::from_str(answer)?;
    writeln!(out, "{}", serde_json::to_string_pretty(&value)?)?;
    Ok(())
}
