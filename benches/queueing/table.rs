// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Measures by turns, and prints rows.

use std::time::Duration;

use tdk_tests::storm::{Answered, Refused, Summary};

use crate::Result;
use crate::ways::{Contender, bus_name};

/// What came of so many clients at once, by one way.
#[derive(Default)]
pub(crate) struct Table {
    waited: Vec<Duration>,
    took: Duration,
    failed: Vec<String>,
}

impl Table {
    pub(crate) const HEAD: &str = "\
| TPM | conversation | clients | way | derivations | failed | a second | p50, ms | p99, ms |
|---|---|---:|---|---:|---:|---:|---:|---:|";

    /// Each of the contenders, with so many clients at once, until there were so many in all.
    pub(crate) fn measure(
        tpm: &str,
        levels: &[usize],
        total: usize,
        contenders: &[Contender],
        expected: &[[u8; 32]],
    ) -> Result<()> {
        for clients in levels {
            let contenders: Vec<_> = contenders
                .iter()
                .filter(|contender| *clients <= contender.way.most())
                .collect();
            let rounds = total.div_ceil(*clients);
            let mut rows: Vec<_> = contenders.iter().map(|_| Self::default()).collect();
            for round in 0..rounds {
                eprint!("\r{tpm}, {clients} clients: {}/{rounds}   ", round + 1);
                let mut turns: Vec<_> = rows.iter_mut().zip(&contenders).collect();
                if round % 2 == 1 {
                    turns.reverse();
                }
                for (row, contender) in turns {
                    row.add(&contender.clients(*clients), expected)?;
                }
            }
            eprintln!();
            for (row, contender) in rows.iter_mut().zip(&contenders) {
                row.print(tpm, *clients, contender);
            }
        }
        Ok(())
    }

    fn add(&mut self, answers: &[Answered], expected: &[[u8; 32]]) -> Result<()> {
        self.took += Summary::of(answers).total;
        for (answer, expected) in answers.iter().zip(expected) {
            match &answer.key {
                Ok(key) if key == expected => self.waited.push(answer.waited()),
                Ok(_) => return Err("a wrong key".into()),
                Err(Refused::Other(why)) => self.failed.push(why.clone()),
                Err(Refused::Later) => self.failed.push("later".into()),
            }
        }
        Ok(())
    }

    fn print(&mut self, tpm: &str, clients: usize, contender: &Contender) {
        self.waited.sort();
        let keys = u32::try_from(self.waited.len()).unwrap_or(u32::MAX);
        let at = |percent: usize| {
            let index = self.waited.len().saturating_sub(1) * percent / 100;
            let waited = self.waited.get(index).copied().unwrap_or_default();
            format!("{:.1}", waited.as_secs_f64() * 1e3)
        };
        println!(
            "| {tpm} | {} | {clients} | {} | {} | {} | {:.1} | {} | {} |",
            bus_name(contender.bus),
            contender.way.name(),
            self.waited.len() + self.failed.len(),
            self.failed.len(),
            f64::from(keys) / self.took.as_secs_f64(),
            at(50),
            at(99),
        );
        // One of a kind.
        self.failed.sort();
        self.failed.dedup();
        for why in self.failed.iter().take(5) {
            eprintln!("  {}: {why}", contender.way.name());
        }
    }
}
