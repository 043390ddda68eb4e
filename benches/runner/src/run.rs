// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What was measured: the raw data.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::size::Size;
use crate::{Result, timing};

/// One run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    /// When it began, in UTC.
    pub(crate) date: String,
    pub(crate) size: Size,
    pub(crate) machine: Machine,
    /// The commit, if nothing else than that was measured.
    pub(crate) source: String,
    /// The load of the last minute before and after.
    pub(crate) load: [f64; 2],
    pub(crate) seconds: f64,
    pub(crate) rows: Vec<Row>,
    pub(crate) levels: Vec<Level>,
    pub(crate) missing: Vec<NotRun>,
}

/// Something that was done several times.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) section: String,
    pub(crate) name: String,
    /// How long or how many, where rows differ in that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) at: Option<u64>,
    /// Microseconds. One is a median that somebody else has found.
    pub(crate) micros: Vec<f64>,
}

/// So many askers at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Level {
    /// Before which TPM.
    pub(crate) tpm: String,
    pub(crate) askers: usize,
    /// In which all of them were answered.
    pub(crate) seconds: f64,
    /// How long each waited, in microseconds.
    pub(crate) micros: Vec<f64>,
    pub(crate) failed: usize,
}

/// What could not be measured here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NotRun {
    pub(crate) what: String,
    pub(crate) why: String,
}

impl Run {
    pub(crate) fn begin(size: Size) -> Result<Self> {
        let now = jiff::Timestamp::now();
        Ok(Self {
            date: now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            size,
            machine: Machine::look()?,
            source: crate::machine::source(),
            load: [crate::machine::load(), 0.0],
            seconds: 0.0,
            rows: Vec::new(),
            levels: Vec::new(),
            missing: Vec::new(),
        })
    }

    pub(crate) fn end(&mut self) {
        self.load[1] = crate::machine::load();
        let began = self.date.parse::<jiff::Timestamp>();
        let took = began.map(|began| jiff::Timestamp::now().duration_since(began));
        self.seconds = took.map_or(0.0, |took| took.as_secs_f64().round());
    }

    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .map_err(|error| format!("{} can't be read: {error}", path.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// A row or level a line, so that runs can be compared.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string(self)?;
        let text = text
            .replace("{\"section\"", "\n{\"section\"")
            .replace("{\"tpm\"", "\n{\"tpm\"")
            .replace("\"rows\"", "\n\"rows\"")
            .replace("\"missing\"", "\n\"missing\"");
        Ok(fs::write(path, text + "\n")?)
    }

    pub(crate) fn add(
        &mut self,
        section: &str,
        name: impl Into<String>,
        at: Option<u64>,
        micros: Vec<f64>,
    ) {
        self.rows.push(Row::new(section, name, at, micros));
    }

    /// Says what is missing; in CI nothing may be.
    pub(crate) fn leave_out(&mut self, what: &str, why: impl std::fmt::Display) -> Result<()> {
        if std::env::var_os("CI").is_some_and(|ci| ci == "true") {
            return Err(format!("not run: {what} ({why})").into());
        }
        self.note_missing(what, why);
        Ok(())
    }

    /// Says what no machine of this kind has.
    pub(crate) fn note_missing(&mut self, what: &str, why: impl std::fmt::Display) {
        eprintln!("  not run: {what} ({why})");
        self.missing.push(NotRun {
            what: what.into(),
            why: why.to_string(),
        });
    }

    pub(crate) fn section<'a>(&'a self, section: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| row.section == section)
    }

    /// The median of a row, if it was measured.
    pub(crate) fn median(&self, section: &str, name: &str) -> Option<f64> {
        let row = self.section(section).find(|row| row.name == name)?;
        Some(row.median())
    }

    pub(crate) fn median_at(&self, section: &str, name: &str, at: u64) -> Option<f64> {
        let mut rows = self.section(section);
        let row = rows.find(|row| row.name == name && row.at == Some(at))?;
        Some(row.median())
    }
}

impl Row {
    pub(crate) fn new(
        section: &str,
        name: impl Into<String>,
        at: Option<u64>,
        micros: Vec<f64>,
    ) -> Self {
        Self {
            section: section.into(),
            name: name.into(),
            at,
            micros: micros.into_iter().map(rounded).collect(),
        }
    }

    pub(crate) fn median(&self) -> f64 {
        timing::quantile(&self.micros, 0.5)
    }
}

impl Level {
    pub(crate) fn per_second(&self) -> f64 {
        timing::count(self.micros.len()) / self.seconds
    }

    pub(crate) fn quantile(&self, part: f64) -> f64 {
        timing::quantile(&self.micros, part)
    }
}

/// To four digits: more were not measured.
pub(crate) fn rounded(value: f64) -> f64 {
    if value <= 0.0 {
        return 0.0;
    }
    let digits = 3.0 - value.log10().floor();
    let scale = 10_f64.powf(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_digits() {
        for (value, expected) in [
            (1234.56, 1235.0),
            (0.000_123_456, 0.000_123_5),
            (98_765_432.0, 98_770_000.0),
            (1.0, 1.0),
            (0.0, 0.0),
        ] {
            let found = rounded(value);
            assert!((found - expected).abs() <= expected * 1e-9, "{found}");
        }
    }
}
