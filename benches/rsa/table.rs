// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The results as Markdown.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::cost::Cost;
use crate::generators::{Cores, Generator, YARDSTICK};

/// A section for each size, a row for each generator, in their order.
#[derive(Default)]
pub(crate) struct Table(BTreeMap<u32, Vec<Row>>);

struct Row {
    name: &'static str,
    cores: Cores,
    makes_keys: bool,
    /// By the seeds' numbers.
    costs: BTreeMap<usize, Cost>,
}

impl Table {
    pub(crate) fn add(&mut self, generator: &Generator, bits: u32, seed: usize, cost: Cost) {
        let rows = self.0.entry(bits).or_default();
        if rows.last().is_none_or(|row| row.name != generator.name) {
            rows.push(Row {
                name: generator.name,
                cores: generator.cores,
                makes_keys: generator.makes_keys,
                costs: BTreeMap::new(),
            });
        }
        let row = rows.last_mut().expect("there is one now");
        row.costs.insert(seed, cost);
    }
}

impl Row {
    /// What counts, in milliseconds, the least first.
    fn times(&self) -> Vec<f64> {
        let time = |cost: &Cost| -> Duration {
            match self.cores {
                Cores::One => cost.cpu,
                Cores::All => cost.wall,
            }
        };
        let mut times: Vec<f64> = self
            .costs
            .values()
            .map(|cost| 1e3 * time(cost).as_secs_f64())
            .collect();
        times.sort_by(f64::total_cmp);
        times
    }
}

/// Mean, its standard error, and median.
struct Summary {
    mean: f64,
    error: f64,
    median: f64,
}

impl Summary {
    #[allow(clippy::cast_precision_loss)] // Of a number of seeds.
    fn of(times: &[f64]) -> Self {
        let count = times.len() as f64;
        let mean = times.iter().sum::<f64>() / count;
        let squares: f64 = times.iter().map(|time| (time - mean).powi(2)).sum();
        let (low, high) = (times[(times.len() - 1) / 2], times[times.len() / 2]);
        Self {
            mean,
            error: (squares / (count - 1.0).max(1.0) / count).sqrt(),
            median: f64::midpoint(low, high),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bits, rows) in &self.0 {
            let seeds = rows.iter().map(|row| row.costs.len()).max().unwrap_or(0);
            writeln!(f, "RSA-{bits}, milliseconds, {seeds} a row:\n")?;
            writeln!(f, "| | mean | median | times faster by mean | by median |")?;
            writeln!(f, "|---|---:|---:|---:|---:|")?;
            let yardstick = rows.iter().find(|row| row.name == YARDSTICK);
            let yardstick = yardstick.map(|row| Summary::of(&row.times()));
            for row in rows {
                let Summary {
                    mean,
                    error,
                    median,
                } = Summary::of(&row.times());
                write!(f, "| {} | {mean:.1} ± {error:.1} | {median:.1} |", row.name)?;
                match &yardstick {
                    Some(than) if row.makes_keys => writeln!(
                        f,
                        " {:.1} | {:.1} |",
                        than.mean / mean,
                        than.median / median
                    )?,
                    _ => writeln!(f, " | |")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
