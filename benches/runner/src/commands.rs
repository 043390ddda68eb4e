// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the TPM takes for each command of a derivation, and for all of them.

use std::fs;
use std::time::Duration;

use tdk_simulator::Swtpm;

use crate::Result;
use crate::peers::{self, KEY_ID};
use crate::progress::Progress;
use crate::run::Run;
use crate::timing;
use crate::wire::{self, Wire};

/// The sections: all commands of a derivation in their order, and their sum.
pub(crate) const PLAIN: &str = "TPM, plain";
pub(crate) const ENCRYPTED: &str = "TPM, encrypted";
pub(crate) const NONE_KEPT: &str = "TPM, encrypted, no storage key kept";
pub(crate) const ALL: &str = "all together";

pub(crate) fn measure(run: &mut Run) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("config.toml");
    let rounds = run.size.of(60, 10, 2);
    let kept = peers::tpm_with_storage_key()?;
    let bare = Swtpm::builder().start()?;
    for (section, tpm, text) in [
        (PLAIN, &kept, "bus = \"plain\"\n"),
        (ENCRYPTED, &kept, ""),
        (NONE_KEPT, &bare, ""),
    ] {
        fs::write(&config, text)?;
        let mut wire = Wire::before(tpm)?;
        let mut derive = peers::derive(&wire.tcti(), &config);
        derive.args(["--key-id", KEY_ID]);
        timing::process(&mut derive)?;
        let names = names(&wire.take());
        let mut times = vec![Vec::new(); names.len()];
        let mut sums = Vec::new();
        let mut progress = Progress::new(section, rounds);
        for round in 0..rounds {
            progress.at(round);
            timing::process(&mut derive)?;
            let seen = wire.take();
            if seen.len() != names.len() {
                // Something was repeated, or left by another: not what is measured.
                continue;
            }
            for (times, (_, took)) in times.iter_mut().zip(&seen) {
                times.push(timing::micros(*took));
            }
            let sum: Duration = seen.iter().map(|(_, took)| took).sum();
            sums.push(timing::micros(sum));
        }
        for (name, times) in names.into_iter().zip(times) {
            run.add(section, name, None, times);
        }
        run.add(section, ALL, None, sums);
    }
    Ok(())
}

/// Numbered where a command comes several times.
fn names(seen: &[wire::Timed]) -> Vec<String> {
    let count = |seen: &[wire::Timed], name| seen.iter().filter(|(other, _)| other == name).count();
    let numbered = seen
        .iter()
        .enumerate()
        .map(|(at, (name, _))| match count(seen, name) {
            1 => name.clone(),
            _ => format!("{name} ({})", count(&seen[..=at], name)),
        });
    numbered.collect()
}
