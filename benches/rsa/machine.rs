// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What it is measured on.

use std::fs;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Result;

/// Those this process may run on.
pub(crate) fn cores() -> Result<CpuSet> {
    Ok(sched_getaffinity(None)?)
}

/// The last of them: the first is where interrupts go.
pub(crate) fn one_of(cores: &CpuSet) -> Result<CpuSet> {
    let last = (0..CpuSet::MAX_CPU).rfind(|&core| cores.is_set(core));
    let mut one = CpuSet::new();
    one.set(last.ok_or("no core")?);
    Ok(one)
}

/// This thread, and what it starts from now on.
pub(crate) fn run_on(cores: &CpuSet) -> Result<()> {
    Ok(sched_setaffinity(None, cores)?)
}

/// Whether AWS-LC can compute two powers at a time: AVX-512 IFMA.
pub(crate) fn has_ifma() -> Result<bool> {
    Ok(field("flags")?.is_some_and(|flags| flags.split(' ').any(|flag| flag == "avx512ifma")))
}

/// The processor and what matters of it.
pub(crate) fn description() -> Result<String> {
    let of = |name| field(name).map(|value| value.unwrap_or_else(|| "?".into()));
    Ok(format!(
        "Processor: {} ({} family {} model {}), {} cores, {} AVX-512 IFMA.\n",
        of("model name")?,
        of("vendor_id")?,
        of("cpu family")?,
        of("model")?,
        cores()?.count(),
        if has_ifma()? { "with" } else { "without" },
    ))
}

/// Of the first processor in /proc/cpuinfo.
fn field(name: &str) -> Result<Option<String>> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    Ok(fields
        .filter(|(field, _)| field.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
        .next())
}
