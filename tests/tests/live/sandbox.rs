// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What can be done by who takes the callout over, by what it is asked or answered.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};

use tdk_tests::live::{Rule, errno};
use tdk_tests::programs;

/// What became of each thing that was tried.
fn report(rule: &Rule) -> Vec<(String, String)> {
    let report = fs::read_to_string(rule.directory().join("report")).unwrap();
    let pairs = report.lines().map(|line| line.split_once(": ").unwrap());
    let owned = |(what, outcome): (&str, &str)| (what.to_owned(), outcome.to_owned());
    pairs.map(owned).collect()
}

/// What is left to who takes the callout over.
#[derive(Clone, Copy)]
struct Left {
    /// As the callout's kernel has them.
    capabilities: &'static str,
    /// Whether other local daemons can be connected to.
    daemons: bool,
}

const NOTHING: Left = Left {
    capabilities: "none",
    daemons: false,
};

fn assert_nothing_works(rule: &Rule, config: &str, left: Left) {
    rule.configure(config);
    assert_eq!(rule.ask("x", "32 path"), errno("EACCES"));
    let report = report(rule);
    assert!(report.len() > 22, "{report:#?}");
    for (what, outcome) in report {
        let expected = match what.as_str() {
            "capabilities" => left.capabilities,
            "in a thread" => "false",
            // What the log gets, it gets.
            "write to the log" => "done",
            "connect to a local daemon" if left.daemons => "done",
            _ => "permission denied",
        };
        assert_eq!(outcome, expected, "{config}: {what}");
    }
    rule.assert_nothing_left();
}

fn taken_over() -> Rule {
    Rule::with_program(&programs::taken_over_callout(), "")
}

/// Has the callout keep what it takes to give keys permissions of their own.
fn set_permissions(rule: &Rule) {
    let policy = "[[rule]]\naction = \"allow\"\npermissions = 0x3f010000\n";
    fs::write(rule.directory().join("policy.toml"), policy).unwrap();
}

#[test]
fn nothing_else_can_be_done() {
    // Whichever way to the TPM stays open. Nothing is listening on that port.
    for config in [
        "tcti = \"device:/dev/null\"\n",
        "tcti = \"swtpm:host=127.0.0.1,port=2\"\n",
    ] {
        assert_nothing_works(&taken_over(), config, NOTHING);
    }
}

#[test]
fn with_a_policy_that_sets_permissions() {
    let left = Left {
        capabilities: "Ok(CapabilitySet(SYS_ADMIN))",
        ..NOTHING
    };
    let rule = taken_over();
    set_permissions(&rule);
    assert_nothing_works(&rule, "tcti = \"device:/dev/null\"\n", left);
}

/// As /dev/tpmrm0 is on Debian, and a software TPM's socket may be.
#[test]
fn with_a_tpm_that_is_somebody_elses() {
    for (kind, daemons) in [("device:", false), ("swtpm:path=", true)] {
        for (owner, capabilities) in [(0, "none"), (1000, "Ok(CapabilitySet(DAC_OVERRIDE))")] {
            let rule = taken_over();
            let tpm = rule.directory().join("tpm");
            fs::write(&tpm, "").unwrap();
            fs::set_permissions(&tpm, Permissions::from_mode(0o600)).unwrap();
            chown(&tpm, Some(owner), Some(owner)).unwrap();
            let config = format!("tcti = \"{kind}{}\"\n", tpm.display());
            let left = Left {
                capabilities,
                daemons,
            };
            assert_nothing_works(&rule, &config, left);
        }
    }
}

#[test]
fn what_only_attackers_do_ends_it() {
    for what in ["-execute", "-request", "-mount"] {
        let rule = taken_over();
        set_permissions(&rule);
        assert_eq!(rule.ask(what, "32 path"), errno("EKEYREJECTED"), "{what}");
        assert!(report(&rule).is_empty(), "{what}");
        rule.assert_nothing_left();
    }
}
