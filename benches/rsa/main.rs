// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How long it takes to make an RSA key: det-keygen's from a seed, and those of
//! the generators that one could have instead. `make bench` runs it.
//!
//! Each sample of criterion's is one key, of a seed of its own, since what one
//! key takes says little: it depends on how many candidates there are before the
//! two primes. Criterion is given CPU time where one core is used, which a busy
//! machine changes little, and wall-clock time where all are.
//!
//! `TDK_BENCH_SEEDS` says how many keys in a row of the table (100), `--test`
//! makes one of each, to see that everything works.

use std::cell::RefCell;
use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use criterion::{Criterion, SamplingMode};

mod cost;
mod generators;
mod machine;
mod table;
mod worker;

use generators::Cores;
use table::Table;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SIZES: [u32; 3] = [2048, 3072, 4096];
const MIN_SEEDS: usize = 30;
const DEFAULT_SEEDS: usize = 100;

fn main() -> ExitCode {
    let done = if env::args().nth(1).as_deref() == Some(worker::ARGUMENT) {
        worker::serve()
    } else {
        bench()
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<()> {
    let seeds = seeds()?;
    // One key a sample, and one before, to warm up.
    let mut criterion = Criterion::default()
        .sample_size(seeds)
        .warm_up_time(Duration::from_nanos(1))
        .measurement_time(Duration::from_nanos(1))
        .configure_from_args();

    let all_cores = machine::cores()?;
    let one_core = machine::one_of(&all_cores)?;
    machine::run_on(&one_core)?;
    let mut generators = generators::all()?;
    let table = RefCell::new(Table::default());
    for bits in SIZES {
        let mut group = criterion.benchmark_group(format!("rsa{bits}"));
        group.sampling_mode(SamplingMode::Flat);
        for generator in &mut generators {
            machine::run_on(match generator.cores {
                Cores::One => &one_core,
                Cores::All => &all_cores,
            })?;
            let mut number = 0;
            group.bench_function(generator.name, |bencher| {
                bencher.iter_custom(|times| {
                    let one = |_| {
                        // The sample that warms up is made once more at the end.
                        let seed = number % seeds;
                        number += 1;
                        let cost = (generator.generate)(bits, &self::seed(seed));
                        table.borrow_mut().add(generator, bits, seed, cost);
                        match generator.cores {
                            Cores::One => cost.cpu,
                            Cores::All => cost.wall,
                        }
                    };
                    (0..times).map(one).sum()
                });
            });
        }
        group.finish();
    }
    criterion.final_summary();

    machine::run_on(&all_cores)?;
    println!("\n{}", machine::description()?);
    for generator in &generators {
        println!("- {}: {}", generator.name, generator.what);
    }
    println!("\n{}", table.borrow());
    Ok(())
}

fn seeds() -> Result<usize> {
    let Some(seeds) = env::var_os("TDK_BENCH_SEEDS") else {
        return Ok(DEFAULT_SEEDS);
    };
    let number = seeds.to_str().and_then(|seeds| seeds.parse().ok());
    number
        .filter(|&seeds| seeds >= MIN_SEEDS)
        .ok_or_else(|| format!("TDK_BENCH_SEEDS is a number, {MIN_SEEDS} or more").into())
}

/// The seed of that number, the same in every row and every run.
fn seed(number: usize) -> [u8; 24] {
    let mut seed = *b"tpm-derived-keys bench..";
    seed[16..].copy_from_slice(&(number as u64).to_be_bytes());
    seed
}
