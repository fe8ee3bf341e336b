//! `maps/*.csv`: autodialers, agents, blacklist, holidays.
//!
//! A file that the configuration names must be there. The two that it does not name
//! (`autodialers.csv`, `agents.csv`) are read where they are.

use cooee_signalling::profile::limits::MAP_ROWS;
use cooee_signalling::profile::plan::{Agent, Autodialer};
use cooee_signalling::profile::policy::{Blacklist, Holidays};
use cooee_signalling::profile::zone::parse_date;

use crate::e164::digits;
use crate::finding::{Finding, Kind, hint};
use crate::secrets::Surroundings;
use crate::table::Section;

/// One map as rows of named columns.
struct Map<'m> {
    file: &'m str,
    findings: Vec<Finding>,
    rows: Vec<(usize, Vec<String>)>,
}

impl<'m> Map<'m> {
    /// Reads CSV text with a heading; `columns` is what the map may have, in the order in which
    /// rows are handed out.
    fn read(file: &'m str, text: &str, columns: &[&str]) -> Self {
        let mut map = Self { file, findings: Vec::new(), rows: Vec::new() };
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .comment(Some(b'#'))
            .flexible(true)
            .from_reader(text.as_bytes());
        let heading = match reader.headers() {
            Ok(heading) => heading.clone(),
            Err(e) => {
                map.error(1, format!("{e}"));
                return map;
            }
        };
        for name in &heading {
            // `number|prefix` may be written as either.
            if !columns.contains(&name) {
                map.error(1, format!("unknown column `{name}`{}", hint(name, columns.to_vec())));
            }
        }
        let places: Vec<Option<usize>> =
            columns.iter().map(|c| heading.iter().position(|name| name == *c)).collect();
        for record in reader.records() {
            let record = match record {
                Ok(record) => record,
                Err(e) => {
                    map.error(0, format!("{e}"));
                    continue;
                }
            };
            let line = record.position().map_or(0, csv::Position::line);
            let line = usize::try_from(line).unwrap_or(0);
            if map.rows.len() >= MAP_ROWS {
                map.error(line, format!("more than {MAP_ROWS} rows"));
                break;
            }
            if record.len() > heading.len() {
                map.error(line, "has more fields than the heading".to_owned());
            }
            let cell = |place: &Option<usize>| place.and_then(|p| record.get(p)).unwrap_or("");
            map.rows.push((line, places.iter().map(|p| cell(p).to_owned()).collect()));
        }
        map
    }

    fn error(&mut self, line: usize, what: String) {
        let (file, key) = (self.file.to_owned(), String::new());
        let column = usize::from(line > 0);
        self.findings.push(Finding { kind: Kind::Error, file, line, column, key, what });
    }

    /// Hands out the rows as arrays of the wanted width; a missing column is empty.
    fn rows<const N: usize>(&mut self) -> Vec<(usize, [String; N])> {
        let rows = std::mem::take(&mut self.rows);
        rows.into_iter()
            .filter_map(|(line, cells)| Some((line, <[String; N]>::try_from(cells).ok()?)))
            .collect()
    }
}

/// The text of a map that need not be there.
fn optional(around: &Surroundings<'_>, path: &str) -> Option<String> {
    around.dir.join(path).exists().then(|| around.file(path).ok())?
}

/// The text of a map that a key names.
fn named(
    section: &mut Section<'_>,
    key: &str,
    around: &Surroundings<'_>,
) -> Option<(String, String)> {
    let path = section.text(key).filter(|path| !path.is_empty())?;
    match around.file(&path) {
        Ok(text) => Some((path, text)),
        Err(what) => {
            section.error(key, what);
            None
        }
    }
}

const fn is_active(cell: &str) -> bool {
    !matches!(cell.as_bytes(), b"0" | b"false" | b"no")
}

/// Reads `maps/autodialers.csv`.
pub(crate) fn autodialers(root: &Section<'_>, around: &Surroundings<'_>) -> Vec<Autodialer> {
    let path = "maps/autodialers.csv";
    let Some(text) = optional(around, path) else { return Vec::new() };
    let columns = [
        "autodialer_id",
        "initiative",
        "trunk",
        "did",
        "queue_name",
        "direct_code",
        "portal",
        "active",
    ];
    let mut map = Map::read(path, &text, &columns);
    let mut rows: Vec<Autodialer> = Vec::new();
    for (line, cells) in map.rows::<8>() {
        let [id, initiative, trunk, did, queue, direct_code, portal, active] = cells;
        if !is_active(&active) {
            continue;
        }
        let did = match (did.as_str(), digits(&did)) {
            ("", _) => String::new(),
            (_, Ok(found)) => found,
            (_, Err(what)) => {
                map.error(line, format!("did: {what}"));
                continue;
            }
        };
        if rows.iter().any(|row| row.id == id) {
            map.error(line, format!("autodialer `{id}` is there twice"));
            continue;
        }
        rows.push(Autodialer { id, initiative, trunk, did, queue, direct_code, portal });
    }
    root.add(map.findings);
    rows
}

/// Reads `maps/agents.csv`.
pub(crate) fn agents(root: &Section<'_>, around: &Surroundings<'_>) -> Vec<Agent> {
    let path = "maps/agents.csv";
    let Some(text) = optional(around, path) else { return Vec::new() };
    let columns = ["extension", "bitrix24_user_id", "unitalk_line", "name", "state", "active"];
    let mut map = Map::read(path, &text, &columns);
    let mut rows: Vec<Agent> = Vec::new();
    for (line, cells) in map.rows::<6>() {
        let [extension, user, unitalk_line, name, state, active] = cells;
        if !is_active(&active) {
            continue;
        }
        let Ok(bitrix24_user_id) = user.parse() else {
            map.error(line, format!("bitrix24_user_id: `{user}` is no number"));
            continue;
        };
        if rows.iter().any(|row| row.extension == extension) {
            map.error(line, format!("extension `{extension}` is there twice"));
            continue;
        }
        rows.push(Agent { extension, bitrix24_user_id, unitalk_line, name, state });
    }
    root.add(map.findings);
    rows
}

/// Reads the blacklist that `[policy]` names.
pub(crate) fn blacklist(section: &mut Section<'_>, around: &Surroundings<'_>) -> Blacklist {
    let mut list = Blacklist::default();
    let Some((path, text)) = named(section, "blacklist", around) else { return list };
    let mut map = Map::read(&path, &text, &["number", "prefix", "until", "reason"]);
    for (line, [number, prefix, until, reason]) in map.rows::<4>() {
        let until = match (until.as_str(), parse_date(&until)) {
            ("", _) => None,
            (_, Some(date)) => Some(date),
            (_, None) => {
                map.error(line, format!("until: `{until}` is no date, as 2026-12-31"));
                continue;
            }
        };
        // A beginning is written in its own column, or as a number with a star.
        let prefix = number.strip_suffix('*').map_or(prefix, str::to_owned);
        if prefix.is_empty() {
            match digits(&number) {
                Ok(found) => list.add(found, false, until, reason),
                Err(what) => map.error(line, format!("number: {what}")),
            }
            continue;
        }
        let beginning = prefix.trim_start_matches('+');
        if beginning.is_empty() || !beginning.bytes().all(|b| b.is_ascii_digit()) {
            map.error(line, format!("prefix: `{prefix}` is not `+` and digits"));
            continue;
        }
        list.add(beginning.to_owned(), true, until, reason);
    }
    section.add(map.findings);
    list
}

/// Reads the holidays that `work_time` names.
pub(crate) fn holidays(section: &mut Section<'_>, around: &Surroundings<'_>) -> Holidays {
    let mut days = Holidays::new();
    let Some((path, text)) = named(section, "holidays", around) else { return days };
    let mut map = Map::read(&path, &text, &["date", "state", "name"]);
    for (line, [date, state, _name]) in map.rows::<3>() {
        match parse_date(&date) {
            Some(date) => {
                let state = if state == "ANY" { String::new() } else { state };
                days.insert((date, state));
            }
            None => map.error(line, format!("`{date}` is no date, as 2026-12-25")),
        }
    }
    section.add(map.findings);
    days
}
