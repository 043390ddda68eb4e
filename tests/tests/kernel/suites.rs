// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The tests that are part of the series: KUnit's, which run as the kernel
//! boots, and the selftest.

use tdk_simulator::guest::Run;
use tdk_tests::guest::assert_kernel_is_well;

use crate::{built, guest};

/// The selftest, with a cgroup hierarchy if it is to find one.
const SELFTEST: &str = "mount | grep -q cgroup2 && sh /selftest/derived.sh";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What KUnit has to say about the suite.
fn assert_kunit(run: &Run) {
    let suite = run
        .kernel_log
        .lines()
        .find(|line| line.contains("# derived-keys: pass:"))
        .unwrap_or_else(|| panic!("KUnit did not run: {}", run.kernel_log));
    assert!(
        suite.contains("pass:8 fail:0 skip:0 total:8"),
        "{}",
        run.kernel_log
    );
}

#[test]
fn kunit_and_the_selftest() {
    let directory = built();
    let run = guest()
        .file(
            directory.join("derived_asker"),
            "/selftest/derived_asker",
            0o755,
        )
        .file(directory.join("derived.sh"), "/selftest/derived.sh", 0o755)
        .script(SELFTEST)
        .run()
        .unwrap_or_else(|error| panic!("{error}"));
    let output = text(&run.stdout) + &text(&run.stderr);
    assert_eq!(run.status, 0, "{output}{}", run.kernel_log_of_script());
    assert!(!output.contains("not ok"), "{output}");
    assert!(!output.contains("SKIP"), "{output}");
    assert!(output.contains("ok 1 "), "{output}");
    assert_kunit(&run);
    assert_kernel_is_well(&run);
    println!("{output}{:?}", run.duration);
}

#[test]
fn no_keys_without_a_tpm() {
    let asker = built().join("derived_asker");
    let run = guest()
        .without_tpm()
        .file(asker, "/derived_asker", 0o755)
        .script("for way in add request; do /derived_asker $way derived test '32 id'; done; :")
        .run()
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(text(&run.stdout), "ENODEV\nENODEV\n");
    assert_kernel_is_well(&run);
}

#[test]
fn no_keys_with_a_realm_that_is_too_long() {
    let asker = built().join("derived_asker");
    let realm = "r".repeat(65);
    let run = guest()
        .kernel_arguments(&format!("derived.realm={realm}"))
        .file(asker, "/derived_asker", 0o755)
        .script("/derived_asker add derived test '32 id'; :")
        .run()
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(text(&run.stdout), "ENODEV\n");
    assert!(
        run.kernel_log.contains("derived: the realm is longer than"),
        "{}",
        run.kernel_log
    );
    assert_kernel_is_well(&run);
}
