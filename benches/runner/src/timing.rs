// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Measuring by turns.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::progress::Progress;
use crate::run::{Row, Run};

/// Something to be measured beside others.
pub(crate) struct Contender<'a> {
    name: String,
    at: Option<u64>,
    every: usize,
    work: Box<dyn FnMut() -> Result<Duration> + 'a>,
    micros: Vec<f64>,
}

impl<'a> Contender<'a> {
    pub(crate) fn new(
        name: impl Into<String>,
        work: impl FnMut() -> Result<Duration> + 'a,
    ) -> Self {
        Self {
            name: name.into(),
            at: None,
            every: 1,
            work: Box::new(work),
            micros: Vec::new(),
        }
    }

    /// So long or so many.
    pub(crate) fn at(mut self, at: u64) -> Self {
        self.at = Some(at);
        self
    }

    /// Only every so manieth time: it is slow.
    pub(crate) fn every(mut self, rounds: usize) -> Self {
        self.every = rounds;
        self
    }
}

/// Has all of them do it by turns, so that a load that changes hits all of them; every
/// second round the other way round, so that none always follows the same.
pub(crate) fn by_turns(
    run: &mut Run,
    section: &str,
    rounds: usize,
    contenders: Vec<Contender<'_>>,
) -> Result<()> {
    run.rows.extend(take_turns(section, rounds, contenders)?);
    Ok(())
}

/// The same, and gives the rows.
pub(crate) fn take_turns(
    section: &str,
    rounds: usize,
    mut contenders: Vec<Contender<'_>>,
) -> Result<Vec<Row>> {
    // Files and pages that are used for the first time.
    for contender in &mut contenders {
        (contender.work)().map_err(|error| format!("{}: {error}", contender.name))?;
    }
    let mut progress = Progress::new(section, rounds);
    for round in 0..rounds {
        progress.at(round);
        let due = contenders
            .iter_mut()
            .filter(|contender| round % contender.every == 0);
        let mut due: Vec<_> = due.collect();
        if round % 2 == 1 {
            due.reverse();
        }
        for contender in due {
            let took =
                (contender.work)().map_err(|error| format!("{}: {error}", contender.name))?;
            contender.micros.push(micros(took));
        }
    }
    let row = |contender: Contender<'_>| {
        Row::new(section, contender.name, contender.at, contender.micros)
    };
    Ok(contenders.into_iter().map(row).collect())
}

/// From the start of a process to its end, and what it printed.
pub(crate) fn process(command: &mut Command) -> Result<(Duration, Output)> {
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let start = Instant::now();
    let output = command.output();
    let took = start.elapsed();
    let output = output.map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {}: {said}", output.status).into());
    }
    Ok((took, output))
}

pub(crate) fn micros(took: Duration) -> f64 {
    took.as_secs_f64() * 1e6
}

#[allow(clippy::cast_precision_loss)] // Of what was counted here.
pub(crate) fn count(number: usize) -> f64 {
    number as f64
}

/// By nearest rank; the median of an even number is between two.
pub(crate) fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let place = count(last) * part;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Between 0 and last.
    let low = place.floor() as usize;
    let high = (low + 1).min(last);
    sorted[low] + (sorted[high] - sorted[low]) * (place - place.floor())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let close = |one: f64, other: f64| (one - other).abs() < 1e-9;
        assert!(close(quantile(&[3.0], 0.99), 3.0));
        assert!(close(quantile(&[4.0, 1.0, 2.0], 0.5), 2.0));
        assert!(close(quantile(&[4.0, 1.0, 2.0, 3.0], 0.5), 2.5));
        let hundred: Vec<_> = (0..=100).rev().map(f64::from).collect();
        assert!(close(quantile(&hundred, 0.99), 99.0));
        assert!(close(quantile(&hundred, 0.0), 0.0));
        assert!(quantile(&[], 0.5).is_nan());
    }
}
