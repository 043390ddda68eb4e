// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What can be done by who takes the callout over, by what it is asked or answered.

use std::fs;

use tdk_tests::live::{Rule, errno};
use tdk_tests::programs;

/// What became of each thing that was tried.
fn report(rule: &Rule) -> Vec<(String, String)> {
    let report = fs::read_to_string(rule.directory().join("report")).unwrap();
    let pairs = report.lines().map(|line| line.split_once(": ").unwrap());
    let owned = |(what, outcome): (&str, &str)| (what.to_owned(), outcome.to_owned());
    pairs.map(owned).collect()
}

fn assert_nothing_works(config: &str) {
    let rule = Rule::with_program(&programs::taken_over_callout(), config);
    assert_eq!(rule.ask("x", "32 path"), errno("EACCES"));
    let report = report(&rule);
    assert!(report.len() > 21, "{report:#?}");
    for (what, outcome) in report {
        let expected = match what.as_str() {
            "capabilities" => "none",
            "in a thread" => "false",
            // What the log gets, it gets.
            "write to the log" => "done",
            _ => "permission denied",
        };
        assert_eq!(outcome, expected, "{what}");
    }
    rule.assert_nothing_left();
}

#[test]
fn nothing_else_can_be_done() {
    // Whichever way to the TPM stays open. Nothing is listening on that port.
    assert_nothing_works("tcti = \"device:/dev/null\"\n");
    assert_nothing_works("tcti = \"swtpm:host=127.0.0.1,port=2\"\n");
}

#[test]
fn what_only_attackers_do_ends_it() {
    for what in ["-execute", "-request"] {
        let rule = Rule::with_program(&programs::taken_over_callout(), "");
        assert_eq!(rule.ask(what, "32 path"), errno("EKEYREJECTED"), "{what}");
        assert!(report(&rule).is_empty(), "{what}");
        rule.assert_nothing_left();
    }
}
