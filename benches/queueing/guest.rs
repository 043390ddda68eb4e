// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel's resource manager, in a virtual machine: with the lock and without. There
//! this program measures, and prints its rows.

use std::env;
use std::time::Duration;

use tdk_simulator::guest::{Guest, Kernel, Stream};
use tpm_derived_keys::tpm::Bus;

use crate::table::Table;
use crate::ways::{self, Contender, State, Way};
use crate::{IN_GUEST, Result};

const DEVICE: &str = "/dev/tpmrm0";
const PROGRAM: &str = "/usr/bin/queueing";

pub(crate) fn measure(state: &State, levels: &[usize]) -> Result<()> {
    if let Err(error) = Guest::check(&Kernel::V6_12) {
        println!("not run: the kernel's resource manager ({error})");
        return Ok(());
    }
    let levels: Vec<_> = levels.iter().map(usize::to_string).collect();
    let run = Guest::builder()
        .state(state.source())
        .memory(1024)
        .time_limit(Duration::from_mins(10))
        .file(env::current_exe()?, PROGRAM, 0o755)
        .script(format!(
            "chmod 666 {DEVICE}; exec {PROGRAM} {IN_GUEST} {}\n",
            levels.join(",")
        ))
        .watch(|_, line| match line.stream {
            Stream::Stdout => println!("{}", line.text()),
            Stream::Stderr => eprintln!("  {}", line.text()),
            _ => {}
        })
        .run()?;
    match run.status {
        0 => Ok(()),
        status => Err(format!("it failed in the virtual machine: {status}").into()),
    }
}

/// In there.
pub(crate) fn inside(levels: &str) -> Result<()> {
    let levels: Vec<usize> = levels
        .split(',')
        .map(str::parse)
        .collect::<std::result::Result<_, _>>()?;
    let most = levels.iter().copied().max().unwrap_or_default();
    let expected = ways::expected(&format!("device:{DEVICE}"), most)?;
    for bus in [Bus::Plain, Bus::Encrypted] {
        let ways = [Way::Lock, Way::NoLock];
        let contenders = ways.map(|way| Contender::device(way, bus, DEVICE));
        let contenders = contenders.into_iter().collect::<Result<Vec<_>>>()?;
        Table::measure("/dev/tpmrm0", &levels, most, &contenders, &expected)?;
    }
    Ok(())
}
