// SPDX-License-Identifier: Apache-2.0 OR MIT
mod doubts;
mod files;

use std::collections::HashMap;

use super::*;
use crate::identity::{Realm, Subject};

fn policy(text: &str) -> Policy {
    Policy::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

fn identified(key_id: &str, info: &str, uid: u32) -> Identified {
    let description = format!("tpm2:derived:{key_id}");
    let request = Request::parse(b"user", description.as_bytes(), info.as_bytes()).unwrap();
    let subject = match info.split(' ').nth(1) {
        Some("path") => Subject::path(b"/usr/bin/keyctl").unwrap(),
        Some("csum") => Subject::Csum([7; 32]),
        _ => Subject::Id,
    };
    request.identify(subject, uid, &Realm::default()).unwrap()
}

/// A source that counts what it is asked for.
#[derive(Default)]
struct Known {
    facts: HashMap<&'static str, Found>,
    asked: Vec<Field>,
    doubts: Doubts,
}

impl Known {
    fn new<const N: usize>(facts: [(Field, Found); N]) -> Self {
        let facts = facts.map(|(field, found)| (field.name(), found));
        Self {
            facts: facts.into(),
            ..Self::default()
        }
    }
}

impl Source for Known {
    fn find(&mut self, field: Field) -> Found {
        assert!(!self.asked.contains(&field), "{field} twice");
        self.asked.push(field);
        let found = self.facts.get(field.name()).cloned();
        found.unwrap_or_else(|| Found::unknown("not in this test"))
    }

    fn doubts(&self) -> Doubts {
        self.doubts.clone()
    }
}

fn allowed(policy: &Policy, identified: &Identified, known: &mut Known) -> bool {
    policy.judge_by(identified, known).0.verdict().is_ok()
}

#[test]
fn what_is_shipped() {
    let shipped = Policy::shipped();
    assert_eq!(
        policy(""),
        Policy {
            files: vec![File {
                path: "policy.toml".into(),
                rules: Rules::default(),
            }],
            ..shipped.clone()
        }
    );
    for info in ["32 path", "32 csum", "32 id", "32 id gen=7"] {
        let decision = shipped
            .decide(identified("x", info, 1000), &mut Nothing)
            .unwrap();
        assert_eq!(decision.grant(), Grant::default());
        assert_eq!(decision.by(), "the default");
    }
    let refusal = shipped
        .decide(identified("x", "32 id scope=any", 0), &mut Nothing)
        .unwrap_err();
    assert!(
        refusal.to_string().starts_with("scope=any is refused: "),
        "{refusal}"
    );
}

#[test]
fn the_first_rule_that_is_about_it_decides() {
    let policy = policy(
        "default = \"deny\"\n\n\
         [[rule]]\nname = \"not those\"\naction = \"deny\"\nkey_id = \"a*\"\nuid = [7, 8]\n\n\
         [[rule]]\naction = \"allow\"\nkey_id = [\"a*\", \"b\"]\n\n\
         [[rule]]\naction = \"deny\"\n\n\
         [[rule]]\naction = \"allow\"\n",
    );
    let decide = |key_id, uid| {
        let decision = policy.decide(identified(key_id, "32 id", uid), &mut Nothing);
        decision
            .map(|decision| decision.by().to_owned())
            .map_err(|refusal| refusal.to_string())
    };
    assert_eq!(decide("b", 7), Ok("the rule at policy.toml:9".into()));
    assert_eq!(decide("a", 9), Ok("the rule at policy.toml:9".into()));
    assert_eq!(
        decide("a", 8),
        Err("rule 'not those' at policy.toml:3 of the policy denies it".into())
    );
    assert_eq!(
        decide("c", 9),
        Err("the rule at policy.toml:13 of the policy denies it".into())
    );
    let none = Policy::parse("default = \"deny\"\n").unwrap();
    let refusal = none
        .decide(identified("x", "32 id", 0), &mut Nothing)
        .unwrap_err();
    assert_eq!(refusal.to_string(), "the default of the policy denies it");
}

/// A terminal obeys nothing in it, and a line of the log is one line.
#[test]
fn a_rules_name_is_told_in_one_line() {
    let policy = policy("[[rule]]\nname = \"a\tb\\n\\u001b[2J\"\naction = \"deny\"\n");
    let refusal = policy
        .decide(identified("x", "32 id", 0), &mut Nothing)
        .unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "rule 'a\\tb \\u{1b}[2J' at policy.toml:1 of the policy denies it"
    );
}

#[test]
fn a_policy_that_is_read_for_a_request_decides_it_as_all_of_it_does() {
    let text = "default = \"deny\"\n\
         [[rule]]\nname = \"a\"\naction = \"allow\"\nuid = 7\nkey_id = [\"b\", \"a*\"]\n\
         permissions = 0x3f010000\n\
         [[rule]]\naction = \"deny\"\nkey_type = \"logon\"\nkey_id = \"*\"\n\
         [[rule]]\naction = \"allow\"\nkey_id = \"c\"\ntolerate = [\"traced\"]\n\
         [[rule]]\naction = \"allow\"\nuser = \"bob\"\nkey_type = [\"logon\", \"user\"]\n";
    let all = policy(text);
    let mut kept = Vec::new();
    for key_id in ["a", "ab", "b", "c", "d"] {
        let facts = Facts::of_strings(b"user", format!("tpm2:derived:{key_id}").as_bytes());
        let read = Policy::parse_for(text, Some(&facts)).unwrap();
        kept.push(
            read.rules()
                .map(|(_, rule)| rule.line())
                .collect::<Vec<_>>(),
        );
        assert_eq!(read.sets_permissions(), all.sets_permissions());
        assert_eq!(
            read.files().collect::<Vec<_>>(),
            all.files().collect::<Vec<_>>()
        );
        for (uid, user) in [(7, "bob"), (8, "bob"), (8, "eve")] {
            let known = || Known::new([(Field::User, Found::known(user))]);
            let (mut asked, mut asked_all) = (known(), known());
            let decide = |policy: &Policy, known: &mut Known| {
                let decided = policy.decide(identified(key_id, "32 id", uid), known);
                decided.map(|decision| (decision.grant(), decision.by().to_owned()))
            };
            assert_eq!(decide(&read, &mut asked), decide(&all, &mut asked_all));
            assert_eq!(asked.asked, asked_all.asked);
        }
        let mut traced = Doubts::default();
        traced.add(Doubt::Traced, "it is traced");
        assert_eq!(read.rule_out(Kind::Id, &traced), Ok(()));
    }
    assert_eq!(
        kept,
        [
            vec![2, 16],
            vec![2, 16],
            vec![2, 16],
            vec![12, 16],
            vec![16]
        ]
    );
    // The last is wrong, whomever it is about.
    let wrong = text.to_owned() + "[[rule]]\nkey_id = \"z\"\naction = \"permit\"\n";
    let facts = Facts::of_strings(b"user", b"tpm2:derived:a");
    let error = Policy::parse_for(&wrong, Some(&facts)).unwrap_err();
    assert_eq!(
        error.to_string(),
        Policy::parse(&wrong).unwrap_err().to_string()
    );
}

#[test]
fn every_field() {
    for (condition, yes, no) in [
        ("key_id = \"x*\"", ("x1", "32 id"), ("y", "32 id")),
        ("key_type = \"user\"", ("x", "32 id"), ("", "")),
        ("key_type = \"logon\"", ("", ""), ("x", "32 id")),
        ("what = 32", ("x", "32 id"), ("x", "33 id")),
        (
            "what = [16, \"p*\", \"rsa2048\"]",
            ("x", "p256 id"),
            ("x", "rsa3072 id"),
        ),
        (
            "identity = [\"path\", \"csum\"]",
            ("x", "32 csum"),
            ("x", "32 id"),
        ),
        ("exe = \"/usr/bin/*\"", ("x", "32 path"), ("", "")),
        ("exe = \"/usr/*\"", ("", ""), ("x", "32 path")),
        (
            "sha256 = \"0707070707070707070707070707070707070707070707070707070707070707\"",
            ("x", "32 csum"),
            ("", ""),
        ),
        (
            "sha256 = \"AA07070707070707070707070707070707070707070707070707070707070707\"",
            ("", ""),
            ("x", "32 csum"),
        ),
    ] {
        let policy = policy(&format!(
            "default = \"deny\"\n[[rule]]\naction = \"allow\"\n{condition}\n"
        ));
        let allows =
            |(key_id, info)| allowed(&policy, &identified(key_id, info, 0), &mut Known::default());
        assert!(yes.0.is_empty() || allows(yes), "{condition}: {yes:?}");
        assert!(no.0.is_empty() || !allows(no), "{condition}: {no:?}");
    }
    for (condition, field, yes, no) in [
        ("uid = 1000", Field::Uid, "1000", "100"),
        ("user = [\"root\", \"b?b\"]", Field::User, "bob", "bobb"),
        ("gid = [4, 27]", Field::Gid, "27", "2"),
        ("group = \"tss\"", Field::Group, "tss", "tty"),
        ("exe = \"/opt/**\"", Field::Exe, "/opt/a/b", "/usr/a"),
        (
            "unit = \"user@*.service\"",
            Field::Unit,
            "user@1.service",
            "x.service",
        ),
        (
            "label = \"/usr/sbin/x (enforce)\"",
            Field::Label,
            "/usr/sbin/x (enforce)",
            "unconfined",
        ),
        ("package = \"lib*\"", Field::Package, "libx", "bash"),
    ] {
        let policy = policy(&format!(
            "default = \"deny\"\n[[rule]]\naction = \"allow\"\n{condition}\n"
        ));
        let allows = |value: &str| {
            if field == Field::Uid {
                return allowed(
                    &policy,
                    &identified("x", "32 id", value.parse().unwrap()),
                    &mut Known::default(),
                );
            }
            let others = Found::all(vec![b"other".to_vec(), value.into()]);
            let mut known = Known::new([(field, others)]);
            let allowed = allowed(&policy, &identified("x", "32 id", 0), &mut known);
            assert_eq!(known.asked, [field]);
            allowed
        };
        assert!(allows(yes), "{condition}");
        assert!(!allows(no), "{condition}");
    }
}

#[test]
fn what_can_not_be_told_gets_nobody_a_key() {
    let unit = |action| {
        policy(&format!(
            "default = \"{}\"\n[[rule]]\naction = \"{action}\"\nunit = \"x.service\"\nkey_id = \"a\"\n",
            if action == "deny" { "allow" } else { "deny" }
        ))
    };
    let unknown = || Known::new([(Field::Unit, Found::unknown("no reason"))]);
    assert!(!allowed(
        &unit("allow"),
        &identified("a", "32 id", 0),
        &mut unknown()
    ));
    assert!(!allowed(
        &unit("deny"),
        &identified("a", "32 id", 0),
        &mut unknown()
    ));
    // Where the rule is about somebody else anyway, it does not matter.
    let mut known = unknown();
    assert!(allowed(
        &unit("deny"),
        &identified("b", "32 id", 0),
        &mut known
    ));
    assert_eq!(known.asked, []);
    let none = || Known::new([(Field::Unit, Found::default())]);
    assert!(allowed(
        &unit("deny"),
        &identified("a", "32 id", 0),
        &mut none()
    ));
    // What is known is enough if it matches.
    let mut some = Found::known("x.service");
    some.unknown = Some("and perhaps others".into());
    let some = || Known::new([(Field::Unit, some.clone())]);
    assert!(allowed(
        &unit("allow"),
        &identified("a", "32 id", 0),
        &mut some()
    ));
    let refusal = unit("deny").decide(identified("a", "32 id", 0), &mut unknown());
    assert_eq!(
        refusal.unwrap_err().to_string(),
        "the rule at policy.toml:2 of the policy denies it, as the asker's unit can't be told"
    );
    // One condition can't be told, a later one fails.
    let policy = policy("[[rule]]\naction = \"deny\"\nuser = \"bob\"\nexe = \"/x\"\n");
    let known = |exe| Known::new([(Field::User, Found::unknown("")), (Field::Exe, exe)]);
    let identified = identified("a", "32 id", 0);
    assert!(allowed(
        &policy,
        &identified,
        &mut known(Found::known("/y"))
    ));
    assert!(!allowed(
        &policy,
        &identified,
        &mut known(Found::known("/x"))
    ));
    assert!(!allowed(
        &policy,
        &identified,
        &mut known(Found::unknown(""))
    ));
}

#[test]
fn nothing_is_found_out_that_does_not_matter() {
    let policy = policy(
        "[[rule]]\naction = \"allow\"\nsha256 = \"0707070707070707070707070707070707070707070707070707070707070707\"\nkey_id = \"hash\"\n\
         [[rule]]\naction = \"deny\"\npackage = \"x\"\nuid = 7\n",
    );
    for (key_id, info, uid, asked) in [
        ("a", "32 id", 0, &[][..]),
        ("hash", "32 id", 0, &[Field::Sha256]),
        // It is known by that.
        ("hash", "32 csum", 0, &[]),
        ("a", "32 id", 7, &[Field::Package]),
    ] {
        let mut known = Known::default();
        let _ = policy.judge_by(&identified(key_id, info, uid), &mut known);
        assert_eq!(known.asked, asked, "{key_id} {info} {uid}");
    }
}

#[test]
fn how_a_key_is_given() {
    let policy = policy(
        "[[rule]]\naction = \"allow\"\nkey_id = \"k\"\npermissions = 0x3f010000\n\
         timeout_seconds = 60\nminimum_generation = 2\nscope_any = true\n",
    );
    let decide = |info| policy.decide(identified("k", info, 0), &mut Nothing);
    let expected = Grant {
        permissions: Some(0x3f01_0000),
        timeout_seconds: Some(60),
        minimum_generation: 2,
        scope_any: true,
        tolerate: Tolerance::default(),
    };
    assert_eq!(decide("32 id gen=2").unwrap().grant(), expected);
    assert_eq!(decide("32 id gen=3 scope=any").unwrap().grant(), expected);
    let refusal = decide("32 id gen=1").unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "the rule at policy.toml:1 of the policy allows generation 2 and later"
    );
    decide("32 id").unwrap_err();
}

#[test]
fn explanations() {
    let policy = policy(
        "[[rule]]\nname = \"root's\"\naction = \"deny\"\nkey_id = \"k\"\nuid = 0\n\
         [[rule]]\naction = \"deny\"\npackage = [\"a\", \"b\"]\n\
         [[rule]]\naction = \"allow\"\nkey_id = \"k\"\nuser = \"bob\"\ntimeout_seconds = 5\n",
    );
    let explain = |identified: &Identified, known: &mut Known| {
        let (judgement, facts) = policy.judge_by(identified, known);
        policy.explain(&judgement, &facts)
    };
    let mut known = Known::new([
        (Field::User, Found::known("bob")),
        (Field::Package, Found::default()),
    ]);
    let explained = explain(&identified("k", "32 id", 1000), &mut known);
    let expected = Explained {
        allowed: true,
        decision: "allowed by the rule at policy.toml:9".into(),
        because: vec!["key_id \"k\" is k".into(), "user \"bob\" is bob".into()],
        given: vec!["for 5 seconds".into()],
        passed_over: vec![
            "rule 'root's' at policy.toml:1: uid \"1000\" is not 0".into(),
            "the rule at policy.toml:6: no package's file is not a, b".into(),
        ],
    };
    assert_eq!(explained, expected);
    let explained = explain(&identified("x", "32 id", 1000), &mut Known::default());
    assert_eq!(
        explained.decision,
        "refused: the rule at policy.toml:6 of the policy denies it, as the asker's package can't be told"
    );
    assert_eq!(
        explained.because,
        ["package can't be told (not in this test), so not whether it is a, b"]
    );
}
