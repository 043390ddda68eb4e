// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The stages of a request, each by itself: `benches/stages`, which criterion measures.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::Result;
use crate::run::Run;
use crate::size::Size;

/// Criterion's groups in the table's sections.
pub(crate) const GROUPS: [&str; 4] = [STAGE, SEARCH, ENCODING, KEYS];
pub(crate) const STAGE: &str = "stage";
pub(crate) const SEARCH: &str = "search";
pub(crate) const ENCODING: &str = "encoding";
pub(crate) const KEYS: &str = "keys of one identity";

/// What it calls what it measures.
pub(crate) const STAGES: [&str; 8] = [
    "request parsed",
    "identity found (path)",
    "identity found (csum)",
    "identity found (id)",
    "policy judged (the default)",
    "identity digest",
    "HKDF-Expand, 32 bytes",
    "key instantiated (add_key(2), 32 bytes)",
];
pub(crate) const SEARCHES: [&str; 6] = [
    "RSA-2048",
    "RSA-3072",
    "RSA-4096",
    "ECDSA P-256",
    "ECDSA P-384",
    "Ed25519",
];
pub(crate) const ENCODINGS: [&str; 3] = ["RSA-2048", "ECDSA P-256", "Ed25519"];

pub(crate) fn measure(run: &mut Run) -> Result<()> {
    let home = tempfile::tempdir()?;
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(tdk_tests::project())
        .args(["bench", "--locked", "--package", "tdk-benches"])
        .args(["--bench", "stages", "--"])
        .env("CRITERION_HOME", home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit());
    match run.size {
        Size::Full => {}
        Size::Quick => {
            cargo.arg("--quick");
        }
        Size::Test => {
            cargo.arg("--test");
        }
    }
    if !cargo.status()?.success() {
        return Err("cargo bench failed".into());
    }
    for (group, function, micros) in found(home.path())? {
        let at = function.parse().ok();
        let name = if group == KEYS { KEYS.into() } else { function };
        run.add(&group, name, at, vec![micros]);
    }
    Ok(())
}

#[derive(Deserialize)]
struct Benchmark {
    group_id: String,
    function_id: Option<String>,
    value_str: Option<String>,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
}

/// Criterion's medians, in microseconds, by the names that it was given.
fn found(home: &Path) -> Result<Vec<(String, String, f64)>> {
    let mut found = Vec::new();
    for directory in directories(home)? {
        let file = directory.join("new/benchmark.json");
        let Ok(text) = fs::read_to_string(file) else {
            continue;
        };
        let benchmark: Benchmark = serde_json::from_str(&text)?;
        let text = fs::read_to_string(directory.join("new/estimates.json"))?;
        let estimates: BTreeMap<String, Option<Estimate>> = serde_json::from_str(&text)?;
        let median = estimates.get("median").and_then(Option::as_ref);
        let median = median.ok_or("criterion has no median")?.point_estimate;
        let name = benchmark.function_id.or(benchmark.value_str);
        let name = name.ok_or("criterion has no name")?;
        found.push((benchmark.group_id, name, median / 1000.0));
    }
    found.sort_by(|one, other| (&one.0, number(&one.1)).cmp(&(&other.0, number(&other.1))));
    Ok(found)
}

/// Numbers by their size, others after them by their letters.
fn number(name: &str) -> (u64, &str) {
    (name.parse().unwrap_or(u64::MAX), name)
}

/// All of them, at any depth.
fn directories(home: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![home.to_owned()];
    let mut at = 0;
    while at < found.len() {
        let entries = fs::read_dir(&found[at])?;
        let inner = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let inner: Vec<_> = inner.filter(|path| path.is_dir()).collect();
        found.extend(inner);
        at += 1;
    }
    Ok(found)
}
