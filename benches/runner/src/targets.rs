// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What was aimed at, as ratios of what was measured.

use crate::run::Run;
use crate::{commands, keys, process, scale, stages, upcall};

/// A ratio and its bound.
pub(crate) struct Target {
    pub(crate) what: &'static str,
    pub(crate) ratio: f64,
    pub(crate) bound: Bound,
    /// What the ratio is of.
    pub(crate) how: String,
    /// What it is missed by, where it is missed.
    pub(crate) why: String,
}

/// How far it may go.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    Most(f64),
    Least(f64),
}

impl Target {
    pub(crate) fn is_met(&self) -> bool {
        match self.bound {
            Bound::Most(most) => self.ratio <= most,
            Bound::Least(least) => self.ratio >= least,
        }
    }

    /// How far it is missed, as a factor.
    pub(crate) fn missed_by(&self) -> f64 {
        match self.bound {
            Bound::Most(most) => self.ratio / most,
            Bound::Least(least) => least / self.ratio,
        }
    }
}

/// Those that the run has measured.
pub(crate) fn of(run: &Run) -> Vec<Target> {
    all(run).into_iter().flatten().collect()
}

/// How many it lacks something for.
#[cfg(test)]
pub(crate) fn lacking(run: &Run) -> usize {
    let all = all(run);
    all.iter().filter(|target| target.is_none()).count()
}

fn all(run: &Run) -> Vec<Option<Target>> {
    let (plain, encrypted) = (upcall::PLAIN, upcall::ENCRYPTED);
    let by_tools = [upcall::SECTION, upcall::TOOLS];
    let by_python = [upcall::SECTION, upcall::PYTHON];
    vec![
        floor(
            run,
            "a request, plain, to the floor and the TPM",
            plain,
            commands::PLAIN,
        ),
        floor(
            run,
            "a request, encrypted, to the floor and the TPM",
            encrypted,
            commands::ENCRYPTED,
        ),
        bus(
            run,
            "a request, encrypted to plain",
            encrypted,
            commands::ENCRYPTED,
        ),
        bus(
            run,
            "a request, encrypted with no storage key kept, to plain",
            upcall::NONE_KEPT,
            commands::NONE_KEPT,
        ),
        peer(
            run,
            "a request by tpm2-tools to an encrypted one",
            by_tools,
            (encrypted, commands::ENCRYPTED),
            10.0,
        ),
        peer(
            run,
            "a request by tpm2-tools to a plain one (they encrypt nothing)",
            by_tools,
            (plain, commands::PLAIN),
            10.0,
        ),
        peer(
            run,
            "a request by Python to an encrypted one",
            by_python,
            (encrypted, commands::ENCRYPTED),
            30.0,
        ),
        peer(
            run,
            "a request by Python to a plain one (it encrypts nothing)",
            by_python,
            (plain, commands::PLAIN),
            30.0,
        ),
        peer(
            run,
            "a process of tpm2-tools to tdk derive, encrypted",
            [process::SECTION, process::TOOLS],
            (process::ENCRYPTED, commands::ENCRYPTED),
            10.0,
        ),
        peer(
            run,
            "a process of Python to tdk derive, encrypted",
            [process::SECTION, process::PYTHON],
            (process::ENCRYPTED, commands::ENCRYPTED),
            30.0,
        ),
        many(
            run,
            "microseconds a key, of 100,000 of one identity, by the library",
            stages::KEYS,
            stages::KEYS,
        ),
        many(
            run,
            "the same by tdk derive, from a file of key ids to printed keys",
            keys::SECTION,
            keys::FILE,
        ),
        many(
            run,
            "the same by tdk derive, from arguments to printed keys",
            keys::SECTION,
            keys::ARGUMENTS,
        ),
        operations(run),
        storm(run),
        failures(run),
    ]
}

/// Encrypted ways of asking beside the plain one.
fn bus(
    run: &Run,
    what: &'static str,
    callout: &'static str,
    commands: &'static str,
) -> Option<Target> {
    let ours = run.median(upcall::SECTION, callout)?;
    let plain = run.median(upcall::SECTION, upcall::PLAIN)?;
    let more = run.median(commands, commands::ALL)? - run.median(commands::PLAIN, commands::ALL)?;
    Some(Target {
        what,
        ratio: ours / plain,
        bound: Bound::Most(2.0),
        how: of_milliseconds(ours, plain),
        why: format!(
            "it takes {:.2} ms more, and the TPM {:.2} ms of that.",
            (ours - plain) / 1e3,
            more / 1e3
        ),
    })
}

/// What others take, as a multiple of what we do. What we can't do without is a callout
/// that does nothing, or a process that does, and the TPM.
fn peer(
    run: &Run,
    what: &'static str,
    [section, peer]: [&'static str; 2],
    (ours, bus): (&'static str, &'static str),
    bound: f64,
) -> Option<Target> {
    let (peer, ours) = (run.median(section, peer)?, run.median(section, ours)?);
    let (floor, nothing) = if section == upcall::SECTION {
        (run.median(section, upcall::NOOP)?, upcall::NOOP)
    } else {
        let nothing = "a process that does nothing";
        (run.median(process::START, process::TRUE)?, nothing)
    };
    let tpm = run.median(bus, commands::ALL)?;
    let (most, needed) = (peer / bound, floor + tpm);
    let left = if most > needed {
        format!("leaves {:.2} ms for all else", (most - needed) / 1e3)
    } else {
        "leaves nothing for all else".to_owned()
    };
    Some(Target {
        what,
        ratio: peer / ours,
        bound: Bound::Least(bound),
        how: of_milliseconds(peer, ours),
        why: format!(
            "{bound} times faster would be {:.2} ms, of which {nothing} takes {:.2} ms and the TPM \
             {:.2} ms. That {left}, which takes {:.2} ms.",
            most / 1e3,
            floor / 1e3,
            tpm / 1e3,
            (ours - needed) / 1e3
        ),
    })
}

fn of_milliseconds(one: f64, other: f64) -> String {
    format!("{:.2} ms / {:.2} ms", one / 1e3, other / 1e3)
}

fn floor(
    run: &Run,
    what: &'static str,
    callout: &'static str,
    bus: &'static str,
) -> Option<Target> {
    let ours = run.median(upcall::SECTION, callout)?;
    let noop = run.median(upcall::SECTION, upcall::NOOP)?;
    let tpm = run.median(bus, commands::ALL)?;
    let (bound, needed) = (1.3, noop + tpm);
    Some(Target {
        what,
        ratio: ours / needed,
        bound: Bound::Most(bound),
        how: format!(
            "{:.2} ms / ({:.2} ms + {:.2} ms)",
            ours / 1e3,
            noop / 1e3,
            tpm / 1e3
        ),
        why: format!(
            "the bound leaves {:.2} ms for all else that the callout does, and that takes {:.2} \
             ms: [what of it for what](#where-the-callouts-own-time-goes).",
            needed * (bound - 1.0) / 1e3,
            (ours - needed) / 1e3
        ),
    })
}

/// Microseconds a key, as the ratio to one.
fn many(run: &Run, what: &'static str, section: &str, name: &str) -> Option<Target> {
    let all = run.median_at(section, name, 100_000)?;
    let library = run.median_at(stages::KEYS, stages::KEYS, 100_000)?;
    Some(Target {
        what,
        ratio: all / 1e5,
        bound: Bound::Most(2.0),
        how: format!("{:.1} ms / 100,000", all / 1e3),
        why: if section == stages::KEYS {
            "it is HKDF-Expand, once for each key.".into()
        } else {
            format!(
                "of {:.2} µs a key, the library takes {:.2} to derive it. The rest is for handing \
                 over and parsing the key id, and printing the key.",
                all / 1e5,
                library / 1e5
            )
        },
    })
}

fn operations(run: &Run) -> Option<Target> {
    let count = run.median_at(keys::OPERATIONS, keys::FILE, 100_000)?;
    Some(Target {
        what: "TPM2_HMAC commands for 100,000 keys of one identity",
        ratio: count,
        bound: Bound::Most(1.0),
        how: "counted between tdk derive and the TPM".into(),
        why: "the TPM was asked again.".into(),
    })
}

fn storm(run: &Run) -> Option<Target> {
    let levels = || run.levels.iter().filter(|level| level.tpm == scale::SWTPM);
    let alone: Vec<_> = levels().filter(|level| level.askers == 1).collect();
    let crowd = levels().find(|level| level.askers == 1000)?;
    let one: f64 = alone.iter().map(|level| level.per_second()).sum();
    let one = one / crate::timing::count(alone.len());
    Some(Target {
        what: "requests a second, 1,000 askers at once to one after another",
        ratio: crowd.per_second() / one,
        bound: Bound::Least(0.9),
        how: format!("{:.0} / {one:.0}", crowd.per_second()),
        why: "[what a callout does more when many ask](reliability.md#a-thousand-askers-at-once)."
            .into(),
    })
}

fn failures(run: &Run) -> Option<Target> {
    let mut levels = run.levels.iter();
    let crowd = levels.find(|level| level.tpm == scale::SWTPM && level.askers == 1000)?;
    Some(Target {
        what: "failures of 1,000 askers at once",
        ratio: crate::timing::count(crowd.failed),
        bound: Bound::Most(0.0),
        how: format!("{} were answered", crowd.micros.len()),
        why: "those were told to ask again, or got another errno.".into(),
    })
}
