// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Records of the callout's, and of those who would like theirs to be.

use super::*;

const LINE: &[u8] = br#"key=7 decision=refused errno=EINVAL ms=0.4 tpm_commands=0 uid="1000" type="user" info="32 id\ndecision=granted" tid=9 cause="'x\"y' is no \\ identity" id="a\xff\x00" exe="/bin/k"#;

#[test]
fn lines() {
    let entry = Entry::of_line(LINE, Some(3));
    for (field, value) in [
        (Field::Key, &b"7"[..]),
        (Field::Decision, b"refused"),
        (Field::Errno, b"EINVAL"),
        (Field::Uid, b"1000"),
        (Field::Info, b"32 id\ndecision=granted"),
        (Field::Cause, b"'x\"y' is no \\ identity"),
        (Field::KeyId, b"a\xff\0"),
        // Cut.
        (Field::Executable, b"/bin/k"),
    ] {
        assert_eq!(entry.get(field), Some(value), "{field:?}");
    }
    assert_eq!(entry.get(Field::Rule), None);
    assert_eq!(entry.time, Some(3));

    let other = Entry::of_line(b"called wrongly, unknown option: see --help=x", None);
    assert_eq!(other.fields, []);
    for broken in [
        &b""[..],
        b"=",
        b"key=",
        b"id=\"\\",
        b"id=\"\\x4",
        b"id=\"\"\"\"",
        b"a=b=c",
    ] {
        let _ = Entry::of_line(broken, None);
    }
    let twice = Entry::of_line(b"decision=refused id=\"x\" decision=granted", None);
    assert_eq!(twice.text(Field::Decision), Some("refused"));
}

#[test]
fn the_journals() {
    let json = |fields: &str| {
        format!(
            r#"{{"__REALTIME_TIMESTAMP":"1700000000000001","SYSLOG_IDENTIFIER":"key.tpm2_derived",
            "MESSAGE":"key=7 decision=granted",{fields}}}"#
        )
    };
    let ours = json(
        r#""_UID":"0","_TRANSPORT":"journal","TDK_KEY_SERIAL":"7","TDK_DECISION":"refused",
        "TDK_KEY_ID":[97,10,255],"TDK_UID":["5","6"],"TDK_EXE":null"#,
    );
    let entry = Entry::of_journal(ours.as_bytes()).unwrap();
    assert_eq!(entry.time, Some(1_700_000_000_000_001));
    assert_eq!(entry.text(Field::Decision), Some("refused"));
    assert_eq!(entry.get(Field::KeyId), Some(&b"a\n\xff"[..]));
    assert_eq!(entry.text(Field::Uid), Some("5"));
    assert_eq!(entry.get(Field::Executable), None);

    // What the kernel's log had.
    let early = json(r#""_TRANSPORT":"kernel""#);
    let early = Entry::of_journal(early.as_bytes()).unwrap();
    assert_eq!(early.text(Field::Decision), Some("granted"));

    for others in [
        r#""_UID":"1000","_TRANSPORT":"journal","TDK_DECISION":"granted""#,
        r#""_UID":["1000","0"],"_TRANSPORT":"journal""#,
        r#""_TRANSPORT":"journal""#,
        r#""_UID":"0","_TRANSPORT":"syslog","SYSLOG_IDENTIFIER":"sudo""#,
    ] {
        assert_eq!(Entry::of_journal(json(others).as_bytes()), None, "{others}");
    }
    for broken in ["", "{", "7", "[]", "{}", "{\"_UID\":\"0\"}"] {
        assert_eq!(Entry::of_journal(broken.as_bytes()), None);
    }
}

#[test]
fn syslogs() {
    let before: &[u8] = b"2026-11-22T12:00:00.1+00:00 host";
    let line = [before, b" key.tpm2_derived[77]: key=7"].concat();
    assert_eq!(of_syslog(&line), Some((before, &b"key=7"[..])));
    assert!(of_syslog(b"Nov  2 12:00:00 host key.tpm2_derived[77]: key=7").is_some());
    for other in [
        &b"Nov 22 12:00:00 host sudo[1]: x key.tpm2_derived[77]: key=7"[..],
        b"Nov 22 12:00:00 host key.tpm2_derived: key=7",
        b"Nov 22 12:00:00 host key.tpm2_derived[]: key=7",
        b"Nov 22 12:00:00 host key.tpm2_derived[7] key=7",
        b"",
    ] {
        assert_eq!(of_syslog(other), None);
    }
}

#[test]
fn what_a_terminal_sees() {
    for (value, expected) in [
        (&b"disk"[..], "disk"),
        (b"", "\"\""),
        (b"a b", "\"a b\""),
        (b"\x1b[2J\n", "\\u{1b}[2J\\n"),
        (b"\"", "\"\\\"\""),
        (b"\\n", "\\\\n"),
        (b"\xff", "\\xff"),
        ("ü\u{202e}".as_bytes(), "ü\\u{202e}"),
        ("\u{a0}".as_bytes(), "\\u{a0}"),
    ] {
        assert_eq!(shown(value), expected);
    }
}
