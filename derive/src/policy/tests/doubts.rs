// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Askers who may well not be who they seem to be.

use super::super::*;
use super::{Known, allowed, identified, policy};

#[test]
fn a_rule_that_denies_is_about_whoever_forges_what_it_looks_at() {
    let policy = policy("[[rule]]\naction = \"deny\"\nexe = \"/bin/tool\"\n");
    let asks = |exe: &str, doubt: Option<Doubt>| {
        let mut known = Known::new([(Field::Exe, Found::known(exe))]);
        if let Some(doubt) = doubt {
            known.doubts.add(doubt, "it is forged");
        }
        allowed(&policy, &identified("a", "32 id", 0), &mut known)
    };
    assert!(!asks("/bin/tool", None));
    assert!(asks("/bin/other", None));
    for (doubt, hides) in [
        (Doubt::Unmapped, true),
        (Doubt::Fuse, true),
        (Doubt::WritablePath, false),
        (Doubt::SetUid, false),
    ] {
        assert_eq!(asks("/bin/other", Some(doubt)), !hides, "{doubt}");
    }
}

#[test]
fn what_is_doubted_is_refused_unless_the_rule_tolerates_it() {
    let doubted = |doubts: &[Doubt]| {
        let mut known = Known::new([(Field::Exe, Found::known("/usr/bin/keyctl"))]);
        for doubt in doubts {
            known.doubts.add(*doubt, format_args!("this is {doubt}"));
        }
        known
    };
    let exe = "[[rule]]\naction = \"allow\"\nexe = \"/usr/bin/*\"\n";
    for (doubt, kinds, exe_too) in [
        (Doubt::Traced, &["path", "csum", "id"][..], true),
        (Doubt::UserNamespace, &["path", "csum", "id"], true),
        (Doubt::SetUid, &["path", "csum"], true),
        (Doubt::WritablePath, &["path"], true),
        (Doubt::Fuse, &["path", "csum"], true),
        (Doubt::Unmapped, &["path", "csum"], true),
    ] {
        let known = || doubted(&[doubt]);
        let all: Vec<_> = Doubt::ALL.iter().filter(|other| **other != doubt).collect();
        let tolerates = format!("[[rule]]\naction = \"allow\"\ntolerate = [\"{doubt}\"]\n");
        let others = format!("[[rule]]\naction = \"allow\"\ntolerate = {:?}\n", {
            all.iter().map(|other| other.name()).collect::<Vec<_>>()
        });
        for kind in ["path", "csum", "id"] {
            let request = identified("x", &format!("32 {kind}"), 0);
            let matters = kinds.contains(&kind);
            let allows = |text: &str| allowed(&policy(text), &request, &mut known());
            assert_eq!(allows(""), !matters, "{doubt} {kind}");
            assert_eq!(allows(&others), !matters, "{doubt} {kind}");
            assert!(allows(&tolerates), "{doubt} {kind}");
            assert_eq!(allows(exe), !(matters || exe_too), "{doubt} {kind}");
            let ruled_out = |text| policy(text).rule_out(request.request.kind(), &known().doubts);
            assert_eq!(ruled_out("").is_err(), matters, "{doubt} {kind}");
            assert_eq!(ruled_out(&others).is_err(), matters, "{doubt} {kind}");
            assert_eq!(ruled_out(&tolerates), Ok(()), "{doubt} {kind}");
        }
    }
    // It is the rule that decides, not a later one.
    let policy = policy(
        "[[rule]]\naction = \"allow\"\nuid = 0\n\
         [[rule]]\naction = \"allow\"\ntolerate = [\"traced\"]\n",
    );
    let refusal = policy.decide(identified("x", "32 id", 0), &mut doubted(&[Doubt::Traced]));
    let refusal = refusal.unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "this is traced, and the rule at policy.toml:1 of the policy does not tolerate that (traced)"
    );
    assert_eq!(refusal.hint(), "ask without a debugger");
    let mut known = doubted(&[Doubt::Fuse, Doubt::Traced]);
    let (judgement, facts) = policy.judge_by(&identified("x", "32 id", 1), &mut known);
    let explained = policy.explain(&judgement, &facts);
    assert!(explained.allowed);
    assert_eq!(
        explained.because,
        [
            "it has no conditions: it is about everybody",
            "it tolerates traced: this is traced"
        ]
    );
    // The names are those that are written.
    for doubt in Doubt::ALL {
        let text = format!("[[rule]]\naction = \"allow\"\ntolerate = [\"{doubt}\"]\n");
        Policy::parse(&text).unwrap();
    }
}
