// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Of which files a policy is, and what is in them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::super::*;
use super::policy;

const FAULTS: &[(&str, &str)] = &[
    ("defualt = \"deny\"\n", "1:1: unknown field `defualt`"),
    ("default = \"maybe\"\n", "1:11: unknown variant `maybe`"),
    (
        "default = \"\\u001b[2J\t\"\n",
        "1:11: unknown variant `\\u{1b}[2J\\t`",
    ),
    (
        "[[rule]]\n\naction = \"allow\"\n  key = 1\n",
        "4:3: unknown field `key`, expected one of",
    ),
    (
        "\n[[rule]]\nkey_id = \"x\"\n",
        "2:1: this rule has no action",
    ),
    (
        "[[rule]]\naction = \"permit\"\n",
        "2:10: unknown variant `permit`",
    ),
    (
        "[[rule]]\naction = \"deny\"\ntimeout_seconds = 1\n",
        "1:1: a rule that denies gives no key",
    ),
    (
        "[[rule]]\naction = \"allow\"\nuid = \"bob\"\n",
        "3:7: uid is a number; a name is called user",
    ),
    (
        "[[rule]]\naction = \"allow\"\ngid = [0, \"x\"]\n",
        "3:11: gid is a number; a name is called group",
    ),
    (
        "[[rule]]\naction = \"allow\"\nuid = -1\n",
        "3:7: -1 is no user's or group's",
    ),
    (
        "[[rule]]\naction = \"allow\"\nuid = 4294967295\n",
        "3:7: 4294967295 is no",
    ),
    (
        "[[rule]]\naction = \"allow\"\nkey_id = 7\n",
        "3:10: invalid type: integer `7`, expected a string",
    ),
    (
        "[[rule]]\naction = \"allow\"\nkey_id = []\n",
        "3:10: an empty list matches nobody",
    ),
    (
        "[[rule]]\naction = \"allow\"\nkey_id = \"\"\n",
        "3:10: an empty pattern",
    ),
    (
        "[[rule]]\naction = \"allow\"\nkey_id = true\n",
        "3:10: invalid type: boolean `true`",
    ),
    (
        "[[rule]]\naction = \"allow\"\nkey_type = \"users\"\n",
        "3:12: 'users' is no key type",
    ),
    (
        "[[rule]]\naction = \"allow\"\nwhat = 0\n",
        "3:8: 0 is no length from 1 to 1024",
    ),
    (
        "[[rule]]\naction = \"allow\"\nwhat = \"rsa1024\"\n",
        "3:8: 'rsa1024' is nothing that",
    ),
    (
        "[[rule]]\naction = \"allow\"\nidentity = [\"path\", \"uid\"]\n",
        "3:21: 'uid' is no identity",
    ),
    (
        "[[rule]]\naction = \"allow\"\nexe = \"usr/bin/x\"\n",
        "3:7: 'usr/bin/x' is no absolute path",
    ),
    (
        "[[rule]]\naction = \"allow\"\nunit = \"nginx\"\n",
        "3:8: 'nginx' is no unit",
    ),
    (
        "[[rule]]\naction = \"allow\"\nunit = \"/system.slice/x.service\"\n",
        "3:8: '/system.slice/x.service' is a path",
    ),
    (
        "[[rule]]\naction = \"allow\"\npackage = \"rpm:x\"\n",
        "3:11: 'rpm:x' is no package's name",
    ),
    (
        "[[rule]]\naction = \"allow\"\nsha256 = \"abc\"\n",
        "3:10: 'abc' is no SHA-256",
    ),
    (
        "[[rule]]\naction = \"allow\"\npermissions = 0x40000000\n",
        "3:15: 0x40000000 is no key's permissions",
    ),
    (
        "[[rule]]\naction = \"allow\"\ntimeout_seconds = 0\n",
        "3:19: 0 is not from 1 to 4294967295",
    ),
    (
        "[[rule]]\naction = \"allow\"\nminimum_generation = 4294967296\n",
        "3:22: 4294967296 is not from 0",
    ),
    (
        "[[rule]]\naction = \"allow\"\nscope_any = \"yes\"\n",
        "3:13: invalid type: string \"yes\"",
    ),
    (
        "[[rule]]\naction = \"allow\"\ntolerate = [\"fuse\", \"root\"]\n",
        "3:21: unknown variant `root`, expected one of `traced`",
    ),
    (
        "[[rule]]\naction = \"allow\"\nring = \"@u\"\n",
        "3:1: unknown field `ring`",
    ),
    ("rule = \"x\"\n", "1:8: invalid type"),
    ("[[rule]\n", "1:"),
];

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (text, expected) in FAULTS {
        let error = Policy::parse(text).unwrap_err().to_string();
        let expected = format!("policy.toml:{expected}");
        assert!(error.starts_with(&expected), "{text:?}: {error}");
        assert!(!error.contains(char::is_control), "{error}");
    }
}

#[test]
fn files_however_they_are_written() {
    let rule = |name: &str| format!("[[rule]]\nname = {name}\naction = \"deny\"\nuid = 1\n");
    let (a, b) = (rule("'a'"), rule("'b'"));
    for (text, lines) in [
        (String::new(), &[][..]),
        ("\n# nothing\n".into(), &[]),
        (format!("default = \"deny\"\n\n{a}# x\n\n{b}"), &[3, 9]),
        (format!("{a}{}", b.trim_end()), &[1, 5]),
        // What looks like a rule within a string, and within a list.
        (
            rule("\"\"\"\n[[rule]]\nx\"\"\"") + &rule("'''\n[[rule]]\naction = 'deny' '''"),
            &[1, 7],
        ),
        (
            format!("{a}key_id = [\n'x',\n]\n  [[rule]]\naction = \"allow\"\n{b}"),
            &[1, 8, 10],
        ),
        (a.replace('\n', "\r\n") + &b, &[1, 5]),
    ] {
        let policy = policy(&text);
        let found: Vec<_> = policy.rules().map(|(_, rule)| rule.line()).collect();
        assert_eq!(found, lines, "{text}");
    }
    // What only the whole shows to be wrong, or where.
    for (text, expected) in [
        (format!("{a}{}", rule("\"\"\"\n[[rule]]\n")), ":"),
        (format!("{a}{}", rule("7")), ":6:8: invalid type"),
        (
            format!("{a}[[rule]]\n[[rule]]\n"),
            ":5:1: this rule has no action",
        ),
        (format!("{a}[rule.x]\n"), ":5:"),
        (format!("{a}[rule]\n"), ":5:"),
        (format!("{a}[[rules]]\n"), ":5:3: unknown field `rules`"),
        (
            format!("{a}default = 'deny'\n"),
            ":5:1: unknown field `default`",
        ),
        (
            format!("default = 'deny'\ndefault = 'deny'\n{a}"),
            ":2:1: duplicate key",
        ),
    ] {
        let error = Policy::parse(&text).unwrap_err().to_string();
        let expected = format!("policy.toml{expected}");
        assert!(error.starts_with(&expected), "{text}: {error}");
    }
}

/// A directory that nobody else can write to, as /etc/tdk.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    directory
}

fn rule(key_id: &str) -> String {
    format!("[[rule]]\naction = \"deny\"\nkey_id = \"{key_id}\"\n")
}

#[test]
fn files_in_the_order_of_their_names() {
    let directory = directory();
    let path = directory.path();
    assert_eq!(Policy::load(path).unwrap(), Policy::shipped());
    assert_eq!(Policy::load(&path.join("none")).unwrap(), Policy::shipped());
    let more = path.join("policy.d");
    fs::create_dir(&more).unwrap();
    assert_eq!(Policy::load(path).unwrap(), Policy::shipped());
    for (name, key_id) in [("20-b.toml", "b"), ("10-a.toml", "a"), ("9.toml", "9")] {
        fs::write(more.join(name), rule(key_id)).unwrap();
    }
    for ignored in ["30.toml.bak", "x.conf", ".hidden.toml", "README"] {
        fs::write(more.join(ignored), "?").unwrap();
    }
    fs::write(
        path.join("policy.toml"),
        format!("default = \"deny\"\n{0}{0}", rule("first")),
    )
    .unwrap();
    let policy = Policy::load(path).unwrap();
    let files: Vec<_> = policy
        .files()
        .map(|(file, rules)| {
            (
                file.strip_prefix(path).unwrap().display().to_string(),
                rules,
            )
        })
        .collect();
    let expected = [
        ("policy.toml", 2),
        ("policy.d/10-a.toml", 1),
        ("policy.d/20-b.toml", 1),
        ("policy.d/9.toml", 1),
    ];
    assert_eq!(
        files,
        expected.map(|(name, rules)| (name.to_owned(), rules))
    );
    assert_eq!(policy.default_action(), Action::Deny);
    let places: Vec<_> = policy
        .rules()
        .map(|(place, rule)| (place.file, rule.line()))
        .collect();
    assert_eq!(places, [(0, 2), (0, 5), (1, 1), (2, 1), (3, 1)]);

    fs::write(more.join("20-b.toml"), "\ndefault = \"allow\"\n").unwrap();
    let error = Policy::load(path).unwrap_err().to_string();
    assert!(error.ends_with("20-b.toml:2:11: the default belongs into policy.toml; here, end with a rule without conditions"), "{error}");
}

#[test]
fn files_that_others_could_have_written_are_not_believed() {
    let directory = directory();
    let path = directory.path();
    let more = path.join("policy.d");
    fs::create_dir(&more).unwrap();
    let first = path.join("policy.toml");
    let second = more.join("x.toml");
    let elsewhere = path.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(&first, "").unwrap();
    fs::write(elsewhere.join("x.toml"), rule("x")).unwrap();
    symlink(elsewhere.join("x.toml"), &second).unwrap();
    Policy::load(path).unwrap();

    let weak = |what: &std::path::Path, mode, good| {
        fs::set_permissions(what, PermissionsExt::from_mode(mode)).unwrap();
        let error = Policy::load(path).unwrap_err();
        let text = format!("{error}: {}", error.hint());
        assert!(
            text.contains("could be another's: others than root can write"),
            "{text}"
        );
        assert!(
            text.ends_with(&format!(
                "chmod go-w {}",
                what.canonicalize().unwrap().display()
            )),
            "{text}"
        );
        fs::set_permissions(what, PermissionsExt::from_mode(good)).unwrap();
        Policy::load(path).unwrap();
    };
    for mode in [0o620, 0o602, 0o666] {
        weak(&first, mode, 0o644);
        weak(&elsewhere.join("x.toml"), mode, 0o644);
    }
    for mode in [0o775, 0o757, 0o777] {
        weak(path, mode, 0o755);
        weak(&more, mode, 0o755);
        weak(&elsewhere, mode, 0o755);
    }
    // Even where no policy is: there may have been one.
    fs::remove_file(&first).unwrap();
    fs::remove_dir_all(&more).unwrap();
    weak(path, 0o777, 0o755);
}

#[test]
fn files_that_are_none() {
    let directory = directory();
    let path = directory.path();
    let first = path.join("policy.toml");
    let says = |expected: &str| {
        let error = Policy::load(path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    fs::create_dir(&first).unwrap();
    says("policy.toml: not a regular file");
    fs::remove_dir(&first).unwrap();
    symlink("nowhere", &first).unwrap();
    says("policy.toml: entity not found");
    fs::remove_file(&first).unwrap();
    symlink("policy.toml", &first).unwrap();
    says("policy.toml: too many symbolic links");
    fs::remove_file(&first).unwrap();
    fs::write(&first, b"\xff").unwrap();
    says("policy.toml: stream did not contain valid UTF-8");
    fs::write(&first, "#".repeat(1024 * 1024 + 1)).unwrap();
    says("policy.toml: longer than 1048576 bytes");
    fs::remove_file(&first).unwrap();
    fs::write(path.join("policy.d"), "").unwrap();
    says("policy.d: ");
}
