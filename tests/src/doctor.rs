// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What `tdk doctor --json` says, and what changes in it.

use std::collections::BTreeMap;

use serde_json::Value;

/// The lines of a report that need the TPM to answer.
pub const ANSWERS: [&str; 10] = [
    "tpm.answer",
    "tpm.hierarchy",
    "tpm.owner-auth",
    "tpm.lockout",
    "tpm.leftovers",
    "tpm.conversation",
    "tpm.root",
    "tpm.enrolment",
    "tpm.hmac",
    "tpm.time",
];

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// ok, note, warning, wrong or not checked.
    pub status: String,
    /// What was seen.
    pub seen: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// All lines, by their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    lines: BTreeMap<String, Line>,
    order: Vec<String>,
}

/// What a change is told as.
pub type Change<'t> = (&'t str, &'t str, &'t str);

impl Report {
    /// From the JSON.
    pub fn parse(json: &str) -> Self {
        let json: Value = serde_json::from_str(json).unwrap_or_else(|_| panic!("{json}"));
        let mut report = Self {
            lines: BTreeMap::new(),
            order: Vec::new(),
        };
        for line in json.as_array().unwrap() {
            let text = |name: &str| line[name].as_str().map(str::to_owned);
            let id = text("id").unwrap();
            report.order.push(id.clone());
            let line = Line {
                status: text("status").unwrap(),
                seen: text("seen").unwrap(),
                remedy: text("remedy"),
            };
            let before = report.lines.insert(id, line);
            assert!(before.is_none(), "an id is there twice");
        }
        report
    }

    /// Leaves a line out.
    #[must_use]
    pub fn without(mut self, id: &str) -> Self {
        self.lines.remove(id).expect("it is there");
        self.order.retain(|other| other != id);
        self
    }

    /// The ids, in their order.
    pub fn ids(&self) -> Vec<&str> {
        self.order.iter().map(String::as_str).collect()
    }

    /// One line.
    pub fn line(&self, id: &str) -> &Line {
        &self.lines[id]
    }

    /// The exit status that belongs to it.
    pub fn exit_status(&self) -> i32 {
        i32::from(self.lines.values().any(|line| line.status == "wrong"))
    }

    /// Fails unless exactly these lines are other than in `healthy`.
    pub fn assert_changes(&self, healthy: &Self, what: &str, expected: &[Change<'_>]) {
        let faults = self.faults(healthy, expected);
        assert!(faults.is_empty(), "{what}: {faults:#?}");
    }

    /// What is not as it should be if exactly these lines are other than in
    /// `healthy`: id, status, and a part of what was seen. How long a derivation
    /// took is of no interest.
    pub fn faults(&self, healthy: &Self, expected: &[Change<'_>]) -> Vec<String> {
        assert_eq!(self.order, healthy.order);
        let mut faults = Vec::new();
        for id in &self.order {
            let (line, before) = (self.line(id), healthy.line(id));
            let change = expected.iter().find(|(changed, ..)| changed == id);
            let is_right = match change {
                Some((_, status, seen)) => {
                    let needs_remedy = ["warning", "wrong"].contains(status);
                    line.status == *status
                        && line.seen.contains(seen)
                        && line != before
                        && (line.remedy.is_some() || !needs_remedy)
                }
                None if id == "tpm.time" => line.status == before.status,
                None => line == before,
            };
            if !is_right {
                faults.push(format!("{id}: {line:?} instead of {change:?}"));
            }
        }
        for (id, ..) in expected {
            assert!(self.lines.contains_key(*id), "no line {id}");
        }
        faults
    }
}

/// The lines that depend on another one that went wrong.
pub fn depend<'t>(ids: &[&'t str], on: &'t str) -> Vec<Change<'t>> {
    ids.iter().map(|id| (*id, "not checked", on)).collect()
}
