// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a request takes where something is long or many: paths, executables, policies,
//! keyrings.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use tdk_sys::SESSION_KEYRING;
use tdk_tests::live::Rule;
use tdk_tests::rules;

use crate::peers::{self, ASKER};
use crate::run::Run;
use crate::timing::{self, Contender};
use crate::{Result, upcall};

pub(crate) const PATH: &str = "length of the path, bytes";
pub(crate) const CSUM: &str = "csum: size of the executable, KiB";
pub(crate) const RULES: &str = "rules in the policy";
pub(crate) const KEYRING: &str = "keys in the asker's keyring";

/// How long or how many.
pub(crate) const LENGTHS: [u64; 3] = [100, 1000, 4000];
pub(crate) const KIB: [u64; 4] = [64, 1 << 10, 16 << 10, 128 << 10];
pub(crate) const COUNTS: [u64; 4] = [0, 10, 100, 1000];
pub(crate) const KEYS: [u64; 4] = [0, 100, 1000, 10_000];

pub(crate) fn measure(run: &mut Run) -> Result<()> {
    if let Some(why) = upcall::lacks() {
        return run.leave_out("requests where something is long or many", why);
    }
    let tpm = peers::tpm_with_storage_key()?;
    let config = format!("tcti = \"{}\"\n", tpm.tcti());
    let rounds = run.size.of(60, 10, 1);
    paths(run, &config, rounds)?;
    executables(run, &config, rounds)?;
    policies(run, &config, rounds)?;
    keyrings(run, &config, rounds)
}

fn paths(run: &mut Run, config: &str, rounds: usize) -> Result<()> {
    let rule = Rule::direct(config);
    let mut askers = Vec::new();
    for length in LENGTHS {
        let copy = keyctl_at(&rule, usize::try_from(length)?)?;
        askers.push(asks(&rule, copy, "32 path", PATH, length));
    }
    timing::by_turns(run, PATH, rounds, askers)
}

/// A copy whose path has so many bytes.
fn keyctl_at(rule: &Rule, length: usize) -> Result<PathBuf> {
    let mut directory = rule.directory().join(format!("path{length}"));
    loop {
        let left = length - directory.as_os_str().len() - 1;
        let name = "k".repeat(left.min(200));
        // What is left is a name, or another directory with one in it.
        if left <= 200 {
            fs::create_dir_all(&directory)?;
            return copy(&directory.join(name));
        }
        directory.push(&name[..name.len() - 2]);
    }
}

fn copy(path: &Path) -> Result<PathBuf> {
    // By another process: one that is started meanwhile would have it open for writing.
    let mut cp = std::process::Command::new("cp");
    timing::process(cp.arg(ASKER).arg(path))?;
    Ok(path.to_owned())
}

fn executables(run: &mut Run, config: &str, rounds: usize) -> Result<()> {
    let rule = Rule::direct(config);
    let most = run.size.of(128 << 10, 16 << 10, 1 << 10);
    let mut askers = Vec::new();
    for kib in KIB {
        if kib > most {
            continue;
        }
        let path = copy(&rule.directory().join(format!("keyctl-{kib}")))?;
        // A program is not disturbed by what follows it.
        let file = OpenOptions::new().append(true).open(&path)?;
        file.set_len(kib << 10)?;
        askers.push(asks(&rule, path, "32 csum", CSUM, kib));
    }
    timing::by_turns(run, CSUM, rounds, askers)
}

fn policies(run: &mut Run, config: &str, rounds: usize) -> Result<()> {
    let rules = COUNTS.map(|_| Rule::direct(config));
    let mut askers = Vec::new();
    for (rule, count) in rules.iter().zip(COUNTS) {
        if count > 0 {
            fs::write(
                rule.directory().join("policy.toml"),
                rules::rules(count, "*"),
            )?;
        }
        askers.push(asks(rule, ASKER.into(), "32 path", RULES, count));
    }
    timing::by_turns(run, RULES, rounds, askers)
}

fn keyrings(run: &mut Run, config: &str, rounds: usize) -> Result<()> {
    let rule = Rule::direct(config);
    let most = run.size.of(10_000, 1000, 100);
    let ring = tdk_sys::add_key(c"keyring", c"tdk-bench", b"", SESSION_KEYRING)?;
    let mut there = 0;
    for count in KEYS {
        if count > most {
            continue;
        }
        while there < count {
            let name = CString::new(format!("tdk-bench {there}"))?;
            tdk_sys::add_key(c"user", &name, b"x", ring)?;
            there += 1;
        }
        let asker = asks(&rule, ASKER.into(), "32 path", KEYRING, count);
        timing::by_turns(run, KEYRING, rounds, vec![asker])?;
    }
    upcall::forget(ring)
}

/// Asks by this copy of keyctl.
fn asks<'a>(
    rule: &'a Rule,
    keyctl: PathBuf,
    info: &'static str,
    name: &str,
    at: u64,
) -> Contender<'a> {
    let mut number = 0;
    let ask = move || {
        number += 1;
        let key_id = rule.key_id(&format!("{at}-{number}"));
        let (took, serial) = upcall::request2(&keyctl, &key_id, info)?;
        upcall::forget(serial)?;
        Ok(took)
    };
    Contender::new(name, ask).at(at)
}
