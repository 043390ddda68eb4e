// SPDX-License-Identifier: Apache-2.0 OR MIT
//! TPMs that misbehave, as askers see it: an errno in time, no key under construction,
//! nothing left in the TPM, and the right key when they ask again. All of it, without the
//! kernel, is in `tpm::matrix`.

use std::time::{Duration, Instant};

use tdk_simulator::proxy::{Plan, Proxy, command_name};
use tdk_tests::backend::Backend;
use tdk_tests::live::{Rule, errno};
use tdk_tests::{assert_no_handles, golden};

/// What goes wrong, and what the asker hears where it does before the key is there.
const WRONG: [(&str, Option<&str>); 12] = [
    ("rc=TPM_RC_RETRY", None),
    ("rc=TPM_RC_TESTING", None),
    ("rc=TPM_RC_OBJECT_MEMORY", None),
    ("rc=TPM_RC_LOCKOUT", Some("EAGAIN")),
    ("rc=TPM_RC_FAILURE", Some("EKEYREJECTED")),
    ("delay=20", None),
    ("close", Some("EAGAIN")),
    ("cut=5", Some("EAGAIN")),
    ("duplicate", Some("EKEYREJECTED")),
    ("corrupt=9", Some("EKEYREJECTED")),
    ("reset", Some("ENODEV")),
    ("drop", Some("EAGAIN")),
];

#[test]
fn every_command_with_some_faults() {
    let tpm = golden::tpm();
    let proxy = Proxy::before(&tpm).start().unwrap();
    // Long enough for a TPM that is at work before and after.
    let config = format!("tcti = \"{}\"\ndeadline_seconds = 5\n", proxy.tcti());
    let rule = Rule::direct(&config);
    let key = rule.ask("x", "32 path").unwrap();
    let commands = Backend::Direct.commands();
    assert_eq!(proxy.commands(), commands);

    for (place, command) in commands.iter().enumerate() {
        for (fault, expected) in WRONG {
            // One that never answers is waited for.
            if fault == "drop" && ![0, 4, 7].contains(&place) {
                continue;
            }
            let what = format!("{fault} at {place}, {}", command_name(*command));
            let before = proxy.fired().len();
            let wrong = format!("any@{}:{fault}", place + 1).parse().unwrap();
            proxy.set_plan(Plan::script([wrong]));
            let start = Instant::now();
            let answer = rule.ask("x", "32 path");
            assert!(start.elapsed() < Duration::from_mins(1), "{what}");
            let fired = &proxy.fired()[before..];
            let happened = (command_name(*command), fault.parse().unwrap());
            assert_eq!(fired, [happened], "{what}");
            match expected {
                // The key is there by then.
                Some(name) if place < 8 => assert_eq!(answer, errno(name), "{what}"),
                _ => assert_eq!(answer.as_ref(), Ok(&key), "{what}"),
            }
            rule.assert_nothing_left();
            if fault == "reset" {
                // As firmware would.
                tpm.send(&[0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x44, 0, 0])
                    .unwrap();
            }
            assert_no_handles(&tpm);
            // Whoever comes next also looks for what may have been left.
            proxy.set_plan(Plan::default());
            assert_eq!(rule.ask("x", "32 path").as_ref(), Ok(&key), "after {what}");
        }
    }
}
