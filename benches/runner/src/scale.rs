// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Many askers at once.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tdk_tests::live::Rule;
use tdk_tests::programs;
use tdk_tests::storm::{self, Asking, Summary};

use crate::progress::Progress;
use crate::run::{Level, Run, rounded};
use crate::{Result, peers, timing, upcall};

/// The TPM without a chip's latencies.
pub(crate) const SWTPM: &str = "swtpm";

/// How many at once.
pub(crate) const LEVELS: [usize; 11] = [1, 2, 4, 8, 16, 32, 64, 125, 250, 500, 1000];

pub(crate) fn measure(run: &mut Run) -> Result<()> {
    if let Some(why) = upcall::lacks() {
        return run.leave_out("many askers at once", why);
    }
    let tpm = peers::tpm_with_storage_key()?;
    let rule = Rule::direct(&format!("tcti = \"{}\"\n", tpm.tcti()));
    let levels = run
        .size
        .of(&LEVELS[..], &[1, 4, 16, 64, 250, 1000], &[1, 8]);
    let total = run.size.of(1000, 500, 8);
    let mut progress = Progress::new("askers at once", levels.len());
    for (number, askers) in levels.iter().enumerate() {
        progress.at(number);
        run.levels
            .push(level(&rule, SWTPM, *askers, total.max(*askers))?);
    }
    // Once more, so that what the machine does meanwhile is seen.
    run.levels.push(level(&rule, SWTPM, 1, total)?);
    Ok(())
}

/// So many askers at once, until there were so many requests in all.
pub(crate) fn level(rule: &Rule, tpm: &str, askers: usize, total: usize) -> Result<Level> {
    let program = asker(rule)?;
    let rounds = total.div_ceil(askers);
    let (mut took, mut failed) = (Duration::ZERO, 0);
    let mut micros = Vec::new();
    for round in 0..rounds {
        let answers = storm::at_once(&program, &askings(rule, round, askers));
        took += Summary::of(&answers).total;
        for answer in answers {
            match answer.key {
                Ok(_) => micros.push(rounded(timing::micros(answer.waited()))),
                Err(_) => failed += 1,
            }
        }
    }
    Ok(Level {
        tpm: tpm.into(),
        askers,
        seconds: rounded(took.as_secs_f64()),
        micros,
        failed,
    })
}

/// The program that asks, beside the rule's configuration: each of its processes asks once.
fn asker(rule: &Rule) -> Result<PathBuf> {
    let path = rule.directory().join("asker");
    if !path.exists() {
        // By another process: one that is started meanwhile would have it open for writing.
        let mut copy = Command::new("cp");
        timing::process(copy.arg(programs::asker()).arg(&path))?;
    }
    Ok(path)
}

/// Each for a key of its own.
fn askings(rule: &Rule, round: usize, askers: usize) -> Vec<Asking> {
    let asking = |number| Asking {
        uid: 0,
        key_type: "user",
        key_id: rule.key_id(&format!("{round}-{number}")),
        what: "32".into(),
        identity: "path",
    };
    (0..askers).map(asking).collect()
}
