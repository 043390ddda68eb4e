// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The key type in the kernel beside the callout, and fs-verity beside csum: in one
//! virtual machine, whose kernel has the series of `kernel-patch/`.
//!
//! Its processor is emulated, and so slow, but equally slow for all of them. There, this
//! program measures ([`inside`]), and prints its rows.

use std::env;
use std::fmt::Write as _;
use std::time::Duration;

use tdk_simulator::StateSource;
use tdk_simulator::guest::{Guest, Kernel, Stream};
use tdk_tests::{guest, programs};

use crate::Result;
use crate::peers::{self, ASKER};
use crate::run::Run;

pub(crate) mod inside;

/// The system call alone, in the virtual machine.
pub(crate) const SECTION: &str = "virtual machine";
/// `keyctl request2`, in the virtual machine, by executables that are larger and larger.
pub(crate) const EXECUTABLES: &str = "virtual machine: executables";

const KERNEL: &str = "TDK_TEST_KERNEL";
const CALLOUT: &str = "/usr/libexec/tdk/key.tpm2_derived";
const NOOP: &str = "/usr/libexec/tdk/noop";
const BENCH: &str = "/usr/libexec/tdk/bench";

/// Executables of so many KiB.
pub(crate) const SIZES: [u64; 3] = [SMALLEST, 1 << 10, 16 << 10];
pub(crate) const SMALLEST: u64 = 64;

pub(crate) fn measure(run: &mut Run) -> Result<()> {
    let Some(kernel) = env::var_os(KERNEL) else {
        let why = format!("{KERNEL} names no kernel with the series; make bench builds one");
        return run.leave_out("the key type in the kernel, and verity beside csum", why);
    };
    let directory = tempfile::tempdir()?;
    let tpm = peers::tpm_with_storage_key()?;
    let mut guest = Guest::builder()
        .kernel(Kernel::At(kernel.into()))
        .kernel_arguments("rcupdate.rcu_cpu_stall_suppress=1")
        .time_limit(Duration::from_mins(20))
        .state(StateSource::Resume(tpm.stop()?))
        .disk(guest::verity_disk(directory.path()))
        .file("/usr/bin/fsverity", "/usr/bin/fsverity", 0o755)
        .file(programs::callout(), CALLOUT, 0o755)
        .file(peers::noop()?, NOOP, 0o755)
        .file(env::current_exe()?, BENCH, 0o755);
    let mut lines = String::new();
    for (name, program, config) in [
        (inside::NOOP, NOOP, ""),
        (inside::PLAIN, CALLOUT, "bus = \"plain\"\n"),
        (inside::ENCRYPTED, CALLOUT, ""),
    ] {
        let file = format!("/etc/tdk/{name}.toml");
        writeln!(
            lines,
            "create user tpm2:derived:{name}-* * {program} --config {file} %k %t %d %c %u %g %S"
        )?;
        guest = guest.text(file, config);
    }
    let rounds = run.size.of([60, 15], [10, 3], [1, 1]);
    let run_in_guest = guest
        .text("/etc/request-key.d/bench.conf", lines)
        .script(script(rounds))
        .watch(|_, line| {
            if line.stream == Stream::Stderr {
                eprintln!("{}", line.text());
            }
        })
        .run()?;
    if run_in_guest.status != 0 {
        return Err(format!("it failed in the virtual machine: {}", run_in_guest.status).into());
    }
    for line in String::from_utf8(run_in_guest.stdout)?.lines() {
        run.rows.push(serde_json::from_str(line)?);
    }
    Ok(())
}

/// Makes the executables, and has them measured.
fn script([calls, processes]: [usize; 2]) -> String {
    let mut script = String::from("set -e\nmount /dev/vda /mnt\n");
    for kib in SIZES {
        let path = inside::executable(kib);
        let _ = writeln!(
            script,
            "cp {ASKER} {path} && truncate -s {kib}K {path} && fsverity enable {path}"
        );
    }
    script + &format!("exec {BENCH} in-guest {calls} {processes}\n")
}
