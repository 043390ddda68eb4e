// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A kernel that looks for errors in itself, while keys are made, asked for,
//! revoked and invalidated by many at once, allocations fail, and the TPM does:
//! it finds none, until it is made to make some.

use std::env;
use std::time::Duration;

use tdk_simulator::guest::Run;
use tdk_tests::guest::PRELUDE;

use crate::suites::{SELFTEST, assert_kunit};
use crate::{built, guest, text};

/// What a debug kernel says of errors.
const REPORTS: [&str; 14] = [
    "BUG:",
    "WARNING:",
    "UBSAN:",
    "KASAN:",
    "kmemleak: ",
    "Oops",
    "Call Trace",
    "general protection",
    "possible circular locking",
    "inconsistent lock state",
    "suspicious RCU",
    "sleeping function",
    "blocked for more",
    "page allocation failure",
];

/// How many operations there are to be.
fn operations() -> u32 {
    let number = env::var("TDK_TEST_OPERATIONS").unwrap_or_else(|_| "1000".into());
    number.parse().expect("TDK_TEST_OPERATIONS is a number")
}

/// What the debug kernel must have, or it could not find what is looked for.
const OPTIONS: [&str; 13] = [
    "CONFIG_KASAN=y",
    "CONFIG_KASAN_GENERIC=y",
    "CONFIG_UBSAN=y",
    "CONFIG_UBSAN_BOUNDS=y",
    "CONFIG_PROVE_LOCKING=y",
    "CONFIG_LOCKDEP=y",
    "CONFIG_DEBUG_ATOMIC_SLEEP=y",
    "CONFIG_DEBUG_KMEMLEAK=y",
    "CONFIG_FAULT_INJECTION=y",
    "CONFIG_FAULT_INJECTION_DEBUG_FS=y",
    "CONFIG_FAILSLAB=y",
    "CONFIG_FAIL_PAGE_ALLOC=y",
    "CONFIG_DERIVED_KEYS=y",
];

fn script() -> String {
    let operations = operations();
    format!(
        "{PRELUDE}\noperations={operations}\nselftest() {{ {SELFTEST}; }}\n{}\n{}",
        include_str!("tpm.sh"),
        include_str!("debug.sh")
    )
}

/// The numbers in the line that begins so.
fn numbers(output: &str, beginning: &str) -> Vec<u64> {
    let line = output
        .lines()
        .find(|line| line.starts_with(beginning))
        .unwrap_or_else(|| panic!("no {beginning}: {output}"));
    line.split(' ')
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// The kernel's log, before anything was planted and after.
fn parts(run: &Run) -> (&str, &str) {
    let log = run.kernel_log.as_str();
    log.split_once("tdk: what is planted\n")
        .unwrap_or_else(|| panic!("it did not get there: {log}"))
}

fn assert_clean(log: &str) {
    for line in log.lines() {
        let bad = REPORTS.iter().find(|report| line.contains(*report));
        // As it says at its start that it is there.
        let starts = line.contains("kmemleak: Kernel memory leak detector initialized");
        assert!(bad.is_none() || starts, "{log}");
    }
}

#[test]
fn no_report_but_of_what_is_planted() {
    let directory = built();
    let config = std::fs::read_to_string(directory.join("config")).unwrap();
    for option in OPTIONS {
        assert!(config.lines().any(|line| line == option), "{option}");
    }
    assert!(!config.contains("CONFIG_SLUB_TINY=y"));

    let mut guest = guest();
    for (name, mode) in [("derived_asker", 0o755), ("derived.sh", 0o755)] {
        guest = guest.file(directory.join(name), format!("/selftest/{name}"), mode);
    }
    let run = guest
        .file(directory.join("stress"), "/stress", 0o755)
        .memory(1024)
        // What ACPI says of interrupts is a program that takes longer here than the
        // kernel allows; the firmware has routed them.
        .kernel_arguments("acpi=noirq")
        .time_limit(Duration::from_mins(30) + Duration::from_secs(operations().into()))
        .script(script())
        .run()
        .unwrap_or_else(|error| panic!("{error}"));
    let output = text(&run.stdout);
    let shown = format!(
        "{output}{}{}",
        text(&run.stderr),
        run.kernel_log_of_script()
    );
    println!("{output}{:?}", run.duration);

    let (clean, planted) = parts(&run);
    assert_clean(clean);
    assert_kunit(&run);
    assert!(!output.contains("not ok"), "{shown}");
    assert!(!output.contains("wrong:"), "{shown}");
    assert_eq!(run.status, 0, "{shown}");
    // All that was to be done was done, and most of it worked, or failed.
    let wanted = u64::from(operations());
    for (part, least_keys) in [("plain: ", 4), ("allocations: ", 20), ("tpm: ", 20)] {
        let line = numbers(&output, &format!("{part}operations "));
        assert!(line[0] >= wanted / 4, "{part}{shown}");
        assert!(line[1] >= line[0] / least_keys, "{part}{shown}");
        assert_eq!(line[2], 0, "{part}{shown}");
    }
    for failed in ["allocations: error ENOMEM ", "tpm: error EAGAIN "] {
        assert!(numbers(&output, failed)[0] > 0, "{failed}{shown}");
    }
    for line in [
        "leaks at boot 0",
        "lockdep 1",
        "leaks 0",
        "handles 0",
        "keys left 0",
    ] {
        assert!(output.lines().any(|other| other == line), "{line}: {shown}");
    }

    for found in [
        "possible circular locking dependency",
        "UBSAN: array-index-out-of-bounds",
        "BUG: KASAN: slab-out-of-bounds",
    ] {
        assert!(planted.contains(found), "{found}: {shown}");
    }
    assert!(output.contains("planted leak found"), "{shown}");
}
