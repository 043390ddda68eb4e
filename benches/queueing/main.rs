// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ways in which many may share one TPM, side by side: many processes at once, each of
//! which makes one derivation. `cargo bench --package tdk-benches --bench queueing` runs
//! it, as root, and prints a table: that of `docs/benchmarks.md`. `-- chips` is one section.
#![forbid(unsafe_code)]

mod broker;
mod context;
mod guest;
mod table;
mod ways;
mod wire;

use std::env;
use std::error::Error;
use std::process::ExitCode;

use tdk_simulator::proxy::{Chip, Proxy};
use tpm_derived_keys::tpm::Bus;

use table::Table;
use ways::{Contender, State, Way};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// With these as its first argument this program is something else.
const CLIENT: &str = "client";
const BROKER: &str = "broker";
const IN_GUEST: &str = "in-guest";

/// How many clients at most.
const MOST: usize = 256;
/// The chips that a derivation takes long on for different reasons: making and using ECC
/// keys; hashing.
const CHIPS: [&str; 2] = ["slb9670", "slb9673"];

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let is_test = words.contains(&"--test");
    let done = match words[..] {
        [CLIENT, number, way, bus, place] => ways::client(number, way, bus, place),
        [BROKER, way, bus, tcti, socket] => broker::serve(way, bus, tcti, socket),
        [IN_GUEST, levels] => guest::inside(levels),
        _ if words.contains(&"--list") => Ok(()),
        _ if !rustix::process::geteuid().is_root() => {
            println!("not run: queueing (it needs root, for the lock)");
            Ok(())
        }
        _ => measure(is_test, &words),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("queueing: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is measured, by the names that may be given: all, if none is.
const SECTIONS: [&str; 3] = ["swtpm", "chips", "guest"];

/// All ways, on TPMs of these kinds.
fn measure(is_test: bool, wanted: &[&str]) -> Result<()> {
    let pick = |full: &'static [usize]| if is_test { &[2][..] } else { full };
    let kept = ways::state_with_storage_key()?;
    let expected = kept.expected(MOST)?;
    println!("{}", Table::HEAD);
    for section in SECTIONS {
        let named = |word: &&str| SECTIONS.contains(word);
        if wanted.iter().any(named) && !wanted.contains(&section) {
            continue;
        }
        match section {
            "swtpm" => {
                let total = if is_test { 2 } else { MOST };
                of_swtpm(&kept, pick(&[1, 8, 64, MOST]), total, &expected)?;
            }
            "chips" => {
                let total = if is_test { 2 } else { 16 };
                of_chips(&kept, pick(&[1, 16]), total, &expected)?;
            }
            _ => guest::measure(&kept, pick(&[1, 8, 32]))?,
        }
    }
    Ok(())
}

fn of_swtpm(kept: &State, levels: &[usize], total: usize, expected: &[[u8; 32]]) -> Result<()> {
    for bus in [Bus::Plain, Bus::Encrypted] {
        let contenders = Way::of(bus).map(|way| Contender::new(way, bus, kept.tpm(way)?));
        let contenders = contenders.collect::<Result<Vec<_>>>()?;
        Table::measure("swtpm", levels, total, &contenders, expected)?;
    }
    Ok(())
}

fn of_chips(kept: &State, levels: &[usize], total: usize, expected: &[[u8; 32]]) -> Result<()> {
    for chip in CHIPS {
        let chip: Chip = chip.parse()?;
        for bus in [Bus::Plain, Bus::Encrypted] {
            let ways = Way::of(bus).filter(|way| *way != Way::NoLockTcp);
            let contenders = ways.map(|way| {
                let tpm = kept.tpm(way)?;
                let proxy = Proxy::before(&tpm).chip(chip).start()?;
                Contender::behind(way, bus, tpm, proxy)
            });
            let contenders = contenders.collect::<Result<Vec<_>>>()?;
            Table::measure(chip.name, levels, total, &contenders, expected)?;
        }
    }
    Ok(())
}
