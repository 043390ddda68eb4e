// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Askers who are doubted, and rules that tolerate it.

use std::process::Command;

use tdk_tests::{impostors, programs};

use super::{rule, set_policy};

/// Somebody who is doubted: how they ask, by what of theirs that matters, and what rules
/// call it.
const DOUBTED: [(&str, &str, &[&str], &str); 7] = [
    ("", "$own/asker traced", &["path", "csum", "id"], "traced"),
    ("", "unshare -U $own/asker", &["path", "csum", "id"], "user-namespace"),
    (
        "cp $own/asker $own/daemon && chown 1001 $own/daemon && chmod 4755 $own/daemon",
        "$user $own/daemon",
        &["path", "csum"],
        "set-uid",
    ),
    // CAP_NET_RAW, permitted and effective.
    (
        "cp $own/asker $own/capable && /usr/bin/python3 -c 'import os, sys
os.setxattr(sys.argv[1], \"security.capability\", bytes.fromhex(\"01000002\" \"00200000\") + bytes(12))' $own/capable",
        "$user $own/capable",
        &["path", "csum"],
        "set-uid",
    ),
    (
        "mkdir $own/open && cp $own/asker $own/open && chmod 777 $own/open",
        "$user $own/open/asker",
        &["path"],
        "writable-path",
    ),
    ("", "$user $own/asker forged $own/victim", &["path", "csum"], "unmapped"),
    ("", "$user $own/asker", &[], ""),
];

#[test]
fn whoever_forges_is_who_a_rule_denies() {
    let (_tpm, rule) = rule();
    rule.copy_of(&impostors::tools().join("asker"), "asker");
    rule.copy_of_keyctl("victim");
    let own = rule.directory().canonicalize().unwrap();
    let mut number = 0;
    let mut ask = |words: &str| {
        number += 1;
        // By `id`, to which the executable does not matter.
        let script = format!("key=$($own/asker {words} request2 user \"$description\" '32 id' @s)");
        let output = Command::new("setpriv")
            .args(["--reuid", "1000", "--regid", "1000", "--clear-groups"])
            .args(["keyctl", "session", "-", "sh", "-c", &script])
            .env("own", &own)
            .env("description", rule.description(number.to_string()))
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        tdk_tests::live::answer(&output).map(|_| ())
    };
    let forged = "forged $own/victim";
    assert_eq!((ask(""), ask(forged)), (Ok(()), Ok(())));
    let no = || Err("EACCES".to_owned());
    let digest = |name: &str| {
        let output = programs::run("sha256sum", &[own.join(name).to_str().unwrap()]);
        programs::stdout(&output)[..64].to_owned()
    };
    // What the rule is about, and whether that is the honest asker. The forged one it
    // could always be.
    for (condition, is_honest) in [
        (format!("exe = \"{}/asker\"", own.display()), true),
        (format!("exe = \"{}/victim\"", own.display()), false),
        ("exe = \"/usr/sbin/nobody\"".into(), false),
        (format!("sha256 = \"{}\"", digest("asker")), true),
        (format!("sha256 = \"{}\"", "0".repeat(64)), false),
        ("package = \"nothing\"".into(), false),
    ] {
        set_policy(
            &rule,
            &format!("[[rule]]\naction = \"deny\"\n{condition}\n"),
        );
        let expected = if is_honest { no() } else { Ok(()) };
        assert_eq!((ask(""), ask(forged)), (expected, no()), "{condition}");
    }
    rule.assert_nothing_left();
}

#[test]
fn what_rules_tolerate() {
    let (_tpm, rule) = rule();
    rule.copy_of(&impostors::tools().join("asker"), "asker");
    rule.copy_of_keyctl("victim");
    let names = [
        "traced",
        "user-namespace",
        "set-uid",
        "writable-path",
        "fuse",
        "unmapped",
    ];
    let mut number = 0;
    let mut ask = |words: &str, kind: &str| {
        number += 1;
        let script = format!(
            "key=$({words} request2 user \"$description\" '32 {kind}' @s) && exec keyctl pipe $key"
        );
        let output = Command::new("keyctl")
            .args(["session", "-", "sh", "-c", &script])
            .env("own", rule.directory())
            .env("user", "setpriv --reuid 1000 --regid 1000 --clear-groups")
            .env("description", rule.description(number.to_string()))
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        tdk_tests::live::answer(&output).map(|_| ())
    };
    let no = || Err("EACCES".to_owned());
    for (before, words, kinds, doubt) in DOUBTED {
        let made = Command::new("sh")
            .args(["-ec", before])
            .env("own", rule.directory())
            .status();
        assert!(made.unwrap().success(), "{before}");
        let others: Vec<_> = names.iter().filter(|name| **name != doubt).collect();
        let tolerates = |what: &str| {
            set_policy(&rule, &format!("[[rule]]\naction = \"allow\"\n{what}\n"));
        };
        for kind in ["path", "csum", "id"] {
            let expected = if kinds.contains(&kind) { no() } else { Ok(()) };
            for what in ["", "exe = \"/**\"", &format!("tolerate = {others:?}")] {
                tolerates(what);
                // The rule asks for the executable's path, if the request does not.
                let asks = what.starts_with("exe") && !doubt.is_empty();
                let expected = if asks { no() } else { expected.clone() };
                assert_eq!(ask(words, kind), expected, "{words}: {kind}, {what}");
            }
            tolerates(&format!("tolerate = [\"{doubt}\"]\nexe = \"/**\"").replace("[\"\"]", "[]"));
            assert_eq!(ask(words, kind), Ok(()), "{words}: {kind}");
        }
    }
    rule.assert_nothing_left();
}
