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
    let targets = [
        floor(
            run,
            "a request, plain, to the floor and the TPM",
            upcall::PLAIN,
            commands::PLAIN,
        ),
        floor(
            run,
            "a request, encrypted, to the floor and the TPM",
            upcall::ENCRYPTED,
            commands::ENCRYPTED,
        ),
        ratio(
            run,
            "a request, encrypted to plain",
            (upcall::SECTION, upcall::ENCRYPTED),
            (upcall::SECTION, upcall::PLAIN),
            Bound::Most(2.0),
        ),
        ratio(
            run,
            "a request, encrypted with no storage key kept, to plain",
            (upcall::SECTION, upcall::NONE_KEPT),
            (upcall::SECTION, upcall::PLAIN),
            Bound::Most(2.0),
        ),
        ratio(
            run,
            "a request by tpm2-tools to an encrypted one",
            (upcall::SECTION, upcall::TOOLS),
            (upcall::SECTION, upcall::ENCRYPTED),
            Bound::Least(10.0),
        ),
        ratio(
            run,
            "a request by tpm2-tools to a plain one (they encrypt nothing)",
            (upcall::SECTION, upcall::TOOLS),
            (upcall::SECTION, upcall::PLAIN),
            Bound::Least(10.0),
        ),
        ratio(
            run,
            "a request by Python to an encrypted one",
            (upcall::SECTION, upcall::PYTHON),
            (upcall::SECTION, upcall::ENCRYPTED),
            Bound::Least(30.0),
        ),
        ratio(
            run,
            "a request by Python to a plain one (it encrypts nothing)",
            (upcall::SECTION, upcall::PYTHON),
            (upcall::SECTION, upcall::PLAIN),
            Bound::Least(30.0),
        ),
        ratio(
            run,
            "a process of tpm2-tools to tdk derive, encrypted",
            (process::SECTION, process::TOOLS),
            (process::SECTION, process::ENCRYPTED),
            Bound::Least(10.0),
        ),
        ratio(
            run,
            "a process of Python to tdk derive, encrypted",
            (process::SECTION, process::PYTHON),
            (process::SECTION, process::ENCRYPTED),
            Bound::Least(30.0),
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
        operations(run),
        storm(run),
        failures(run),
    ];
    targets.into_iter().flatten().collect()
}

type Place = (&'static str, &'static str);

fn ratio(run: &Run, what: &'static str, of: Place, to: Place, bound: Bound) -> Option<Target> {
    let (of, to) = (run.median(of.0, of.1)?, run.median(to.0, to.1)?);
    Some(Target {
        what,
        ratio: of / to,
        bound,
        how: format!("{:.2} ms / {:.2} ms", of / 1e3, to / 1e3),
    })
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
    Some(Target {
        what,
        ratio: ours / (noop + tpm),
        bound: Bound::Most(1.3),
        how: format!(
            "{:.2} ms / ({:.2} ms + {:.2} ms)",
            ours / 1e3,
            noop / 1e3,
            tpm / 1e3
        ),
    })
}

/// Microseconds a key, as the ratio to one.
fn many(run: &Run, what: &'static str, section: &str, name: &str) -> Option<Target> {
    let all = run.median_at(section, name, 100_000)?;
    Some(Target {
        what,
        ratio: all / 1e5,
        bound: Bound::Most(2.0),
        how: format!("{:.1} ms / 100,000", all / 1e3),
    })
}

fn operations(run: &Run) -> Option<Target> {
    let count = run.median_at(keys::OPERATIONS, keys::FILE, 100_000)?;
    Some(Target {
        what: "TPM2_HMAC commands for 100,000 keys of one identity",
        ratio: count,
        bound: Bound::Most(1.0),
        how: "counted between tdk derive and the TPM".into(),
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
    })
}

fn failures(run: &Run) -> Option<Target> {
    let crowd = run.levels.iter().find(|level| level.askers == 1000)?;
    Some(Target {
        what: "failures of 1,000 askers at once",
        ratio: crate::timing::count(crowd.failed),
        bound: Bound::Most(0.0),
        how: format!("{} were answered", crowd.micros.len()),
    })
}
