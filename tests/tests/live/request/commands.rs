// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Commands that `tdk request` hands a key to.

use std::fs;

use tdk_tests::programs;
use tdk_tests::programs::{stderr, stdout};

use super::{Bench, run_as, script, with};

/// tdk locks as much memory as it likes, if it may; commands may what its caller may.
#[test]
fn a_command_has_the_limits_of_who_called() {
    let bench = Bench::new();
    let request = with(
        &bench.request("x"),
        &["--", "sh", "-c", "ulimit -S -l; ulimit -H -l"],
    );
    let output = run_as(0, &script(r#"ulimit -l 64; exec "$@""#, &request));
    assert_eq!(stdout(&output), "64\n64", "{output:?}");
    bench.rule.assert_nothing_left();
}

#[test]
fn a_command_reads_it_from_a_file_descriptor() {
    let bench = Bench::new();
    let key = bench.expected("x", 1000);
    let request = bench.request("x");
    let run = |more: &[&str]| run_as(1000, &with(&request, more));

    let output = run(&["--", "sh", "-c", "cat <&3; echo fd $TDK_KEY_FD >&2; exit 7"]);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(output.stdout, key);
    assert_eq!(output.stderr, b"fd 3\n");
    // By name, by other numbers (4 and 5 are those of the pipe itself), and as
    // standard input.
    for (fd, script) in [
        ("3", "cat /proc/self/fd/3"),
        ("4", "cat <&4"),
        ("5", "cat /dev/fd/5"),
        ("9", "cat <&9"),
        ("0", "cat"),
    ] {
        assert_eq!(run(&["--fd", fd, "--", "sh", "-c", script]).stdout, key);
    }
    // It dumps no core.
    assert_eq!(stdout(&run(&["--", "sh", "-c", "ulimit -H -c"])), "0");
    // It can be read once, and nothing else is left open.
    assert_eq!(run(&["--", "sh", "-c", "cat <&3; cat <&3"]).stdout, key);
    let list = ["sh", "-c", "ls /proc/$$/fd"];
    let mut open: Vec<String> = stdout(&run_as(1000, &with(&[], &list)))
        .lines()
        .chain(["3"])
        .map(str::to_owned)
        .collect();
    open.sort();
    let output = run(&[&["--"], &list[..]].concat());
    assert_eq!(stdout(&output), open.join("\n"));
    // Nor is it in the environment or among the arguments.
    let output = run(&[
        "--format",
        "hex",
        "--",
        "sh",
        "-c",
        "cat <&3; env; cat /proc/$$/cmdline",
    ]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.matches(&hex::encode(&key)).count(), 1, "{text}");
    bench.rule.assert_nothing_left();
}

#[test]
fn commands_that_expect_a_key_or_password() {
    let bench = Bench::new();
    let request = bench.request("x");
    let hex = hex::encode(bench.expected("x", 1000));
    let encrypt = [
        "openssl",
        "enc",
        "-aes-256-cbc",
        "-pbkdf2",
        "-nosalt",
        "-in",
        "/etc/passwd",
    ];
    let encrypt = encrypt.join(" ");
    let by_fd = with(&request, &["--format", "hex", "--", "sh", "-c"]);
    let by_fd = run_as(1000, &with(&by_fd, &[&format!("{encrypt} -pass fd:3")]));
    let by_hand = programs::run("sh", &["-c", &format!("{encrypt} -pass pass:{hex}")]);
    assert!(
        by_fd.status.success() && by_hand.status.success(),
        "{by_fd:?}"
    );
    assert!(!by_fd.stdout.is_empty());
    assert_eq!(by_fd.stdout, by_hand.stdout);

    // A disk that one key opens and no other.
    let image = bench.rule.directory().join("image");
    let image = image.to_str().unwrap();
    fs::File::create(image).unwrap().set_len(32 << 20).unwrap();
    let key = bench.rule.directory().join("key");
    let by_file = ["--key-file", key.to_str().unwrap(), image];
    fs::write(&key, bench.expected("disk", 0)).unwrap();
    let quick = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
    let format = [&["luksFormat", "--batch-mode"], &quick[..], &by_file].concat();
    stdout(&programs::run("/usr/sbin/cryptsetup", &format));
    for (name, status) in [("disk", 0), ("other", 2)] {
        let open = ["--", "/usr/sbin/cryptsetup", "open", "--test-passphrase"];
        let by_fd = [&open[..], &["--key-file", "/dev/fd/3", image]].concat();
        let output = run_as(0, &with(&bench.request(name), &by_fd));
        assert_eq!(output.status.code(), Some(status), "{output:?}");
    }
}

#[test]
fn commands_that_can_not_be_run() {
    let bench = Bench::new();
    let request = bench.request("x");
    let run = |more: &[&str]| run_as(1000, &with(&request, more));
    assert_eq!(
        stderr(&run(&["--", "/nonexistent/program"]), 1),
        "tdk: can't run /nonexistent/program: No such file or directory (os error 2)\n"
    );
    assert_eq!(
        stderr(&run(&["--", "/etc/passwd"]), 1),
        "tdk: can't run /etc/passwd: Permission denied (os error 13)\n"
    );
    let in_use = script(
        r#"exec 3</dev/null; exec "$@""#,
        &with(&request, &["--", "true"]),
    );
    assert_eq!(
        stderr(&run_as(1000, &in_use), 2),
        "tdk: file descriptor 3 is in use: give another one by --fd\n"
    );
}
