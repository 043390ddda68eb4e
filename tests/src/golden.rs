// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Keys that have to be the same in every release: `tests/golden`.

use std::path::PathBuf;

use serde_json::Value;
use tdk_simulator::{StateSource, Swtpm};

use crate::oracle::Request;
use crate::project;

/// A request and the key it has to get.
#[derive(Debug)]
pub struct Entry {
    /// The request.
    pub request: Request,
    /// The key: for raw keys `okm`, for others the `payload` made of it.
    pub payload: Vec<u8>,
}

fn directory() -> PathBuf {
    project().join("tests/golden")
}

/// A TPM that the golden keys come from: a copy, the original is never touched.
pub fn tpm() -> Swtpm {
    Swtpm::builder().state(state()).start().unwrap()
}

/// The state of that TPM, as a copy.
pub fn state() -> StateSource {
    StateSource::CopyOf(directory().join("swtpm"))
}

/// The Name of its root key, in hex.
pub fn root() -> String {
    let name = std::fs::read_to_string(directory().join("root")).unwrap();
    name.trim().into()
}

/// All entries.
pub fn entries() -> Vec<Entry> {
    let lines = std::fs::read_to_string(directory().join("keys.jsonl")).unwrap();
    let entries: Vec<_> = lines
        .lines()
        .map(|line| {
            let json: Value = serde_json::from_str(line).unwrap();
            let payload = json.get("payload").unwrap_or(&json["okm"]);
            Entry {
                request: Request::from_json(&json),
                payload: hex::decode(payload.as_str().unwrap()).unwrap(),
            }
        })
        .collect();
    assert!(entries.len() >= 30, "entries are only ever added");
    entries
}
