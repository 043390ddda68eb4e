// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Configurations of request-key, and what is said about them.

use std::os::unix::fs::symlink;

use super::*;
use crate::doctor::report::Status;

const OURS: &str = "create * tpm2:derived:* * /usr/sbin/key.tpm2_derived %k %t %d %c %u %g %S\n";

/// The three findings in short, for one file.
fn judged(content: &str) -> Vec<(Status, String)> {
    let files = vec![File {
        path: "f".into(),
        content: content.into(),
    }];
    let configuration = Configuration {
        files,
        ..Configuration::default()
    };
    let (findings, _) = judge(&configuration, &["user", "logon", "big_key"]);
    let checks: Vec<_> = findings.iter().map(|finding| finding.check).collect();
    assert_eq!(
        checks,
        [Check::RequestKeyConfig, Check::Line, Check::OtherLines]
    );
    findings
        .into_iter()
        .map(|finding| (finding.status, finding.seen))
        .collect()
}

#[test]
fn as_it_is_installed() {
    let shipped = include_str!("../../../etc/tpm2-derived.conf");
    for content in [OURS, shipped] {
        let findings = judged(content);
        assert!(findings.iter().all(|(status, _)| *status == Status::Ok));
    }
    assert_eq!(judged(OURS)[1].1, "f:1 runs /usr/sbin/key.tpm2_derived");
}

#[test]
fn our_line_in_all_its_forms() {
    let say = |line: &str| judged(&format!("{line}\n")).swap_remove(1);
    for (line, status, seen) in [
        (
            "create * tpm2:derived:* * |/x/key.tpm2_derived %t %d %c %u %g",
            Status::Ok,
            "f:1 runs /x/key.tpm2_derived",
        ),
        (
            "create * tpm2:derived:* * /x/key.tpm2_derived --config /c -- %k %t %d %c %u %g %S",
            Status::Ok,
            "f:1 runs /x/key.tpm2_derived",
        ),
        (
            "create * tpm2:derived:* * |/x/key.tpm2_derived %k %t %d %c %u %g %S",
            Status::Wrong,
            "f:1 passes '%k %t %d %c %u %g %S' to /x/key.tpm2_derived",
        ),
        (
            "create * tpm2:derived:* * /x/key.tpm2_derived",
            Status::Wrong,
            "f:1 passes '' to /x/key.tpm2_derived",
        ),
        (
            "create * tpm2:derived:* * key.tpm2_derived %k %t %d %c %u %g %S",
            Status::Wrong,
            "f:1 runs 'key.tpm2_derived'",
        ),
        (
            "create user tpm2:derived:* * /x/key.tpm2_derived %k %t %d %c %u %g %S",
            Status::Warning,
            "f:1 (create user tpm2:derived:* *) leaves out keys of type logon, big_key",
        ),
        (
            "create * tpm2:derived:disk * /x/key.tpm2_derived %k %t %d %c %u %g %S",
            Status::Warning,
            "f:1 (create * tpm2:derived:disk *) leaves out keys of type user, logon, big_key",
        ),
        (
            "create * tpm2:derived * /x/key.tpm2_derived %k %t %d %c %u %g %S",
            Status::Wrong,
            "no line of request-key's configuration runs key.tpm2_derived",
        ),
        (
            "create * * * /x/other %k",
            Status::Wrong,
            "no line of request-key's configuration runs key.tpm2_derived",
        ),
    ] {
        assert_eq!(say(line), (status, seen.into()), "{line}");
    }
}

#[test]
fn lines_in_the_way() {
    let say = |line: &str| judged(&format!("{OURS}{line}\n")).swap_remove(2);
    let before = "is chosen before f:1 for the";
    for (line, status, seen) in [
        (
            "create user * * /bin/other %k",
            Status::Wrong,
            format!("f:2 (create user * *) {before} user key tpm2:derived:x, and runs /bin/other"),
        ),
        (
            "create * tpm2:derived:d* * |/bin/other",
            Status::Wrong,
            format!(
                "f:2 (create * tpm2:derived:d* *) {before} user key tpm2:derived:d, and runs \
                 /bin/other"
            ),
        ),
        (
            "create big_key * * /bin/a\ncreate logon * * /bin/b",
            Status::Wrong,
            format!(
                "f:3 (create logon * *) {before} logon key tpm2:derived:x, and runs /bin/b \
                 (and 1 more)"
            ),
        ),
        (
            "create * tpm2:derived:t * /y/key.tpm2_derived %k",
            Status::Note,
            format!(
                "f:2 (create * tpm2:derived:t *) {before} user key tpm2:derived:t, and runs \
                 /y/key.tpm2_derived"
            ),
        ),
        (
            "create * tpm2:* * /bin/other",
            Status::Ok,
            "none is chosen for tpm2:derived:*".into(),
        ),
    ] {
        assert_eq!(say(line), (status, seen), "{line}");
    }
}

#[test]
fn files_that_request_key_stumbles_over() {
    let findings = judged(&format!("{OURS}create user\n"));
    assert_eq!(
        findings[0],
        (
            Status::Wrong,
            "f:2 breaks off, and request-key gives up there".into()
        )
    );
    assert_eq!(findings[1].0, Status::NotChecked);
    assert_eq!(findings[2].0, Status::NotChecked);

    let findings = judged(OURS.trim_end());
    assert_eq!(findings[0].0, Status::Warning, "{findings:?}");
    assert_eq!(
        findings[1].1,
        "f:1 passes '%k %t %d %c %u %g %' to /usr/sbin/key.tpm2_derived"
    );
}

#[test]
fn which_files_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let lines = directory.path().join("request-key.d");
    let file = directory.path().join("request-key.conf");
    let read = || {
        let read = Configuration::read(&lines, &file).unwrap();
        let mut names: Vec<_> = read
            .files
            .iter()
            .map(|file| file.path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        (names.join(" "), read.ignored)
    };
    assert_eq!(read(), (String::new(), vec![]));
    fs::create_dir(&lines).unwrap();
    for name in ["a.conf", ".b.conf", "c.conf.bak", "conf", "d.CONF"] {
        fs::write(lines.join(name), "").unwrap();
    }
    fs::write(&file, "").unwrap();
    symlink("a.conf", lines.join("e.conf")).unwrap();
    let expected = "a.conf request-key.conf";
    assert_eq!(read(), (expected.into(), vec![lines.join("e.conf")]));

    let ignored = no_line(&[lines.join("e.conf")]);
    assert!(ignored.seen.contains("e.conf is no regular file"));

    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let (path, _) = Configuration::read(&lines, &file).unwrap_err();
    assert_eq!(path, file);
}
