// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The tests that are part of the series: KUnit's, which run as the kernel
//! boots, and the selftest.

use tdk_simulator::guest::Run;
use tdk_tests::guest::assert_kernel_is_well;

use crate::{built, guest, text};

/// The selftest, with a cgroup hierarchy if it is to find one.
pub(crate) const SELFTEST: &str = "mount | grep -q cgroup2 && sh /selftest/derived.sh";

/// What KUnit has to say about the suite.
pub(crate) fn assert_kunit(run: &Run) {
    let suite = run
        .kernel_log
        .lines()
        .find(|line| line.contains("# derived-keys: pass:"))
        .unwrap_or_else(|| panic!("KUnit did not run: {}", run.kernel_log));
    assert!(
        suite.contains("pass:10 fail:0 skip:0 total:10"),
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
