// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What it is measured on.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::Result;

/// The machine and the programs that are compared.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    pub(crate) system: String,
    /// By their names in Debian.
    pub(crate) packages: BTreeMap<String, String>,
}

const PACKAGES: [&str; 9] = [
    "clevis",
    "keyutils",
    "libtss2-esys-3.0.2-0",
    "openssl",
    "python3",
    "python3-tpm2-pytss",
    "swtpm",
    "tpm2-tools",
    "libtpms0",
];

impl Machine {
    pub(crate) fn look() -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let memory = fs::read_to_string("/proc/meminfo")?;
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let kilobytes = field(&memory, "MemTotal", ':');
        let kilobytes = kilobytes.split(' ').next().and_then(|n| n.parse().ok());
        let versions = PACKAGES.map(|package| Some((package.to_owned(), version(package)?)));
        Ok(Self {
            processor: field(&cpuinfo, "model name", ':'),
            cores: std::thread::available_parallelism()?.get(),
            memory_mib: kilobytes.unwrap_or(0_u64) / 1024,
            kernel: kernel.trim().into(),
            system: field(&system, "PRETTY_NAME", '=').trim_matches('"').into(),
            packages: versions.into_iter().flatten().collect(),
        })
    }
}

fn field(text: &str, name: &str, separator: char) -> String {
    let mut fields = text.lines().filter_map(|line| line.split_once(separator));
    let found = fields.find(|(field, _)| field.trim() == name);
    found.map_or("?", |(_, value)| value.trim()).into()
}

fn version(package: &str) -> Option<String> {
    let mut query = Command::new("dpkg-query");
    query.args(["-W", "-f", "${Version}", package]);
    let output = query.output().ok()?;
    let version = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !version.is_empty()).then_some(version)
}

/// The load of the last minute.
pub(crate) fn load() -> f64 {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = load.split(' ').next().and_then(|load| load.parse().ok());
    first.unwrap_or(f64::NAN)
}

/// The commit that was measured, and whether that is all.
pub(crate) fn source() -> String {
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.current_dir(tdk_tests::project()).args(arguments);
        let output = git.output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "?".into());
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit}, changed"),
    }
}
