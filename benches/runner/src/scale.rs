// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Many askers at once.

use std::ffi::CString;
use std::sync::RwLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tdk_sys::SESSION_KEYRING;
use tdk_tests::live::Rule;

use crate::progress::Progress;
use crate::run::{Level, Run, rounded};
use crate::{Result, peers, timing, upcall};

/// The TPM without a chip's latencies.
pub(crate) const SWTPM: &str = "swtpm";

pub(crate) fn measure(run: &mut Run) -> Result<()> {
    if let Some(why) = upcall::lacks() {
        return run.leave_out("many askers at once", why);
    }
    let tpm = peers::tpm_with_storage_key()?;
    let rule = Rule::direct(&format!("tcti = \"{}\"\n", tpm.tcti()));
    let levels = run.size.of(
        &[1, 2, 4, 8, 16, 32, 64, 125, 250, 500, 1000][..],
        &[1, 4, 16, 64, 250, 1000],
        &[1, 8],
    );
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
    let rounds = total.div_ceil(askers);
    let (mut took, mut failed) = (Duration::ZERO, 0);
    let mut micros = Vec::new();
    for _ in 0..rounds {
        let (all, answers) = at_once(rule, askers)?;
        took += all;
        for answer in answers {
            match answer {
                Some(waited) => micros.push(rounded(timing::micros(waited))),
                None => failed += 1,
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

/// Each by a thread and for a key of its own; how long all took, and each of them.
fn at_once(rule: &Rule, askers: usize) -> Result<(Duration, Vec<Option<Duration>>)> {
    // A key that was removed is still in the way of its like for a moment.
    static ROUND: AtomicUsize = AtomicUsize::new(0);
    let round = ROUND.fetch_add(1, Ordering::Relaxed);
    let names = (0..askers).map(|number| rule.key_id(&format!("{round}-{number}")));
    let descriptions: Vec<_> = names
        .map(|name| CString::new(format!("tpm2:derived:{name}")))
        .collect::<std::result::Result<_, _>>()?;
    // Closed until all of them are there.
    let gate = RwLock::new(());
    let closed = gate.write().expect("nobody panics with it");
    let (took, answers) = thread::scope(|scope| {
        let threads: Vec<_> = descriptions
            .iter()
            .map(|description| {
                let gate = &gate;
                let asker = move || {
                    drop(gate.read());
                    let start = Instant::now();
                    let info = Some(c"32 path");
                    let key = tdk_sys::request_key(c"user", description, info, SESSION_KEYRING);
                    (start.elapsed(), key)
                };
                let thread = thread::Builder::new().stack_size(64 * 1024);
                thread.spawn_scoped(scope, asker)
            })
            .collect();
        let start = Instant::now();
        drop(closed);
        let answers: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.map(|thread| thread.join().expect("an asker")))
            .collect();
        (start.elapsed(), answers)
    });
    let mut waited = Vec::new();
    for answer in answers {
        let (took, key) = answer?;
        if let Ok(serial) = &key {
            upcall::forget(*serial)?;
        }
        waited.push(key.ok().map(|_| took));
    }
    Ok((took, waited))
}
