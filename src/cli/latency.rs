//! `cooee latency show|reset|export`: the histograms of a running node, over its admin API.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, ValueEnum};
use cooee_records::shown::iso_utc;
use cooee_telemetry::measure::{Measure, Window};
use reqwest::Method;
use serde::Deserialize;

use super::admin::{At, Error, pretty};

/// Shows, forgets or saves the latency histograms of a running node.
#[derive(Args, Debug)]
pub struct Latency {
    #[command(flatten)]
    at: At,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Prints the percentiles.
    Show {
        /// Only this histogram.
        #[arg(value_parser = names())]
        name: Option<String>,
        /// How far back to look.
        #[arg(long, default_value = "all", value_parser = windows())]
        window: String,
        /// Prints the API's answer: spans in nanoseconds.
        #[arg(long)]
        json: bool,
    },
    /// Forgets all samples; Prometheus' counters go on.
    Reset {
        /// Only of this histogram.
        #[arg(value_parser = names())]
        name: Option<String>,
        /// Prints the API's answer.
        #[arg(long)]
        json: bool,
    },
    /// Saves one histogram as a file that HdrHistogram's tools read.
    Export {
        /// The histogram.
        #[arg(value_parser = names())]
        name: String,
        /// The file's format.
        #[arg(long, value_enum, default_value = "hgrm")]
        format: Format,
        /// How far back to look.
        #[arg(long, default_value = "all", value_parser = windows())]
        window: String,
        /// Where to; without it, to the terminal.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Percentile distribution in milliseconds, for the HdrHistogram plotter.
    Hgrm,
    /// Interval log: one compressed histogram per slice of the window.
    Hlog,
    /// Percentile distribution in nanoseconds, comma-separated.
    Csv,
}

fn names() -> PossibleValuesParser {
    Measure::ALL.map(Measure::name).into()
}

fn windows() -> PossibleValuesParser {
    Window::ALL.map(Window::name).into()
}

/// Asks the node and writes what it says to `out`; `token` is the admin token, where one is set.
///
/// # Errors
/// Where the node is out of reach or refuses, or the output cannot be written.
pub fn run(latency: &Latency, token: Option<&str>, out: &mut dyn Write) -> Result<(), Error> {
    let node = latency.at.node(token);
    match &latency.verb {
        Verb::Show { name, window, json } => {
            let place = name.as_ref().map(|name| format!("/{name}")).unwrap_or_default();
            let path = format!("/v1/latency{place}?window={window}");
            let answer = node.ask(Method::GET, &path)?.text()?;
            if *json { pretty(&answer, out) } else { table(&answer, out) }
        }
        Verb::Reset { name, json } => {
            let only = name.as_ref().map(|name| format!("?name={name}")).unwrap_or_default();
            let path = format!("/v1/latency/reset{only}");
            let answer = node.ask(Method::POST, &path)?.text()?;
            if *json {
                return pretty(&answer, out);
            }
            let reset: Reset = serde_json::from_str(&answer)?;
            writeln!(out, "forgotten: {}", reset.reset.join(", "))?;
            Ok(())
        }
        Verb::Export { name, format, window, output } => {
            let suffix = match format {
                Format::Hgrm => "hgrm",
                Format::Hlog => "hlog",
                Format::Csv => "csv",
            };
            let path = format!("/v1/latency/{name}.{suffix}?window={window}");
            let answer = node.ask(Method::GET, &path)?.text()?;
            match output {
                Some(file) => fs::write(file, answer)?,
                None => out.write_all(answer.as_bytes())?,
            }
            Ok(())
        }
    }
}

#[derive(Deserialize)]
struct Reset {
    reset: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Shown {
    List { histograms: Vec<Summary> },
    One(Summary),
}

#[derive(Deserialize)]
struct Summary {
    name: String,
    window: String,
    since_us: i64,
    count: u64,
    min: u64,
    p50: u64,
    p90: u64,
    p99: u64,
    p99_9: u64,
    p99_99: u64,
    max: u64,
    mean: f64,
}

const TITLES: [&str; 10] =
    ["histogram", "samples", "min", "p50", "p90", "p99", "p99.9", "p99.99", "max", "mean"];

fn table(answer: &str, out: &mut dyn Write) -> Result<(), Error> {
    let summaries = match serde_json::from_str(answer)? {
        Shown::List { histograms } => histograms,
        Shown::One(summary) => vec![summary],
    };
    if let Some(first) = summaries.first() {
        writeln!(out, "window {}, since {}", first.window, iso_utc(first.since_us))?;
    }
    let titles = TITLES.map(str::to_owned);
    let rows: Vec<_> = std::iter::once(titles).chain(summaries.iter().map(row)).collect();
    let mut widths = [0; TITLES.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in &rows {
        let mut cells = row.iter().zip(widths);
        if let Some((name, width)) = cells.next() {
            write!(out, "{name:<width$}")?;
        }
        for (cell, width) in cells {
            write!(out, "  {cell:>width$}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn row(summary: &Summary) -> [String; TITLES.len()] {
    let span = |ns: u64| if summary.count == 0 { "-".to_owned() } else { shown(ns as f64) };
    let mean = if summary.count == 0 { "-".to_owned() } else { shown(summary.mean) };
    [
        summary.name.clone(),
        summary.count.to_string(),
        span(summary.min),
        span(summary.p50),
        span(summary.p90),
        span(summary.p99),
        span(summary.p99_9),
        span(summary.p99_99),
        span(summary.max),
        mean,
    ]
}

/// A span with three digits and a unit.
fn shown(ns: f64) -> String {
    let scales = [(1e9, "s"), (1e6, "ms"), (1e3, "µs")];
    let Some((scale, unit)) = scales.into_iter().find(|(scale, _)| ns >= *scale) else {
        return format!("{ns:.0} ns");
    };
    let figure = ns / scale;
    let places = match figure {
        figure if figure >= 99.95 => 0,
        figure if figure >= 9.995 => 1,
        _ => 2,
    };
    format!("{figure:.places$} {unit}")
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::thread;

    use clap::Parser;
    use serde_json::Value;

    use super::*;

    const ONE: &str = r#"{"name":"queue","unit":"ns","window":"5m","since_us":1767225600000000,
        "count":3,"min":900,"p50":1500,"p90":18040000,"p99":9000000000,"p99_9":9000000000,
        "p99_99":9000000000,"max":61500000000,"mean":2345678.9}"#;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        latency: Latency,
    }

    /// Runs one command against a node that gives one answer; returns the request line, the
    /// Authorization header and what was printed.
    fn told(
        words: &[&str],
        token: Option<&str>,
        status: &str,
        body: &str,
    ) -> (String, Option<String>, Result<String, Error>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let admin = format!("http://{}/", listener.local_addr().unwrap());
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
        let node = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let lines = BufReader::new(&stream).lines().map(Result::unwrap);
            let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
            (&stream).write_all(answer.as_bytes()).unwrap();
            head
        });
        let words = ["latency", "--admin", &admin].into_iter().chain(words.iter().copied());
        let line = Line::try_parse_from(words).unwrap();
        let mut out = Vec::new();
        let done = run(&line.latency, token, &mut out);
        let head = node.join().unwrap();
        let lower = head.iter().map(|line| line.to_lowercase());
        let authorization = lower.clone().find(|line| line.starts_with("authorization:"));
        (head[0].clone(), authorization, done.map(|()| String::from_utf8(out).unwrap()))
    }

    #[test]
    fn one_histogram_as_a_table() {
        let words = ["show", "queue", "--window", "5m"];
        let (request, authorization, shown) = told(&words, None, "200 OK", ONE);
        assert_eq!(request, "GET /v1/latency/queue?window=5m HTTP/1.1");
        assert_eq!(authorization, None);
        let want = "\
window 5m, since 2026-01-01T00:00:00.000Z
histogram  samples     min      p50      p90     p99   p99.9  p99.99     max     mean
queue            3  900 ns  1.50 µs  18.0 ms  9.00 s  9.00 s  9.00 s  61.5 s  2.35 ms
";
        assert_eq!(shown.unwrap(), want);
    }

    #[test]
    fn all_histograms_and_json() {
        let list = format!(r#"{{"window":"all","histograms":[{ONE},{ONE}]}}"#);
        let (request, _, shown) = told(&["show"], None, "200 OK", &list);
        assert_eq!(request, "GET /v1/latency?window=all HTTP/1.1");
        assert_eq!(shown.unwrap().lines().count(), 4);
        let (_, _, shown) = told(&["show", "--json"], None, "200 OK", &list);
        let value: Value = serde_json::from_str(&shown.unwrap()).unwrap();
        assert_eq!(value["histograms"][1]["max"], 61_500_000_000_u64);
    }

    #[test]
    fn reset_brings_the_token() {
        let body = r#"{"reset":["queue"]}"#;
        let words = ["reset", "queue"];
        let (request, authorization, shown) = told(&words, Some("s3"), "200 OK", body);
        assert_eq!(request, "POST /v1/latency/reset?name=queue HTTP/1.1");
        assert_eq!(authorization.as_deref(), Some("authorization: bearer s3"));
        assert_eq!(shown.unwrap(), "forgotten: queue\n");
    }

    #[test]
    fn an_export_goes_to_its_file_byte_by_byte() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("talk.hlog");
        let path = file.to_str().unwrap();
        let words = ["export", "talk", "--format", "hlog", "--window", "1h", "-o", path];
        let (request, _, shown) = told(&words, None, "200 OK", "#[StartTime: 1]\n");
        assert_eq!(request, "GET /v1/latency/talk.hlog?window=1h HTTP/1.1");
        assert_eq!(shown.unwrap(), "");
        assert_eq!(fs::read_to_string(file).unwrap(), "#[StartTime: 1]\n");
    }

    #[test]
    fn errors_say_what_to_do() {
        let body = r#"{"error":"no valid token","hint":"send it"}"#;
        let (_, _, shown) = told(&["show"], None, "401 Unauthorized", body);
        let error = shown.unwrap_err();
        assert_eq!(error.to_string(), "401 Unauthorized: no valid token (send it)");
        assert_eq!(error.exit_code(), 1);
        let (_, _, shown) = told(&["show"], None, "200 OK", "<html>");
        assert!(matches!(shown, Err(Error::NotUnderstood(_))));
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let admin = format!("http://{free}");
        let line = Line::try_parse_from(["latency", "--admin", &admin, "show"]).unwrap();
        let error = run(&line.latency, None, &mut Vec::new()).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().contains("is cooee running"));
    }

    #[test]
    fn what_names_nothing_is_refused_before_anyone_is_asked() {
        for words in [
            ["latency", "show", "nothing"].as_slice(),
            &["latency", "show", "--window", "2m"],
            &["latency", "export", "queue", "--format", "exe"],
            &["latency", "export"],
        ] {
            assert!(Line::try_parse_from(words).is_err(), "{words:?}");
        }
    }
}
