// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tdk ssh-agent`, called wrongly. With a kernel that answers: `guest::ssh`.

use tdk_tests::programs::{run_tdk, stderr, stdout};

/// `tdk ssh-agent` by path, with more arguments.
fn say(more: &[&str]) -> String {
    let agent = ["ssh-agent", "--identity", "path"];
    stderr(&run_tdk(&[&agent[..], more].concat()), 2)
}

#[test]
fn what_is_called_wrongly() {
    let place = "tdk: ssh-agent asks the kernel, whose callout has its own configuration: leave \
                 out --tcti, --backend and --config\n";
    let words =
        "tdk: --what is rsa2048, rsa3072 or rsa4096: the kernel has no other private keys\n";
    for (what, more, expected) in [
        ("p256", &["--key-id", "x"][..], words),
        ("rsa1024", &["--key-id", "x"], words),
        ("2048", &["--key-id", "x"], words),
        (
            "rsa2048 path",
            &["--key-id", "x"],
            "tdk: --what takes one word\n",
        ),
        (
            "rsa2048",
            &["--key-id", "a", "--key-id", "b", "--key-id", "a"],
            "tdk: --key-id a is given twice\n",
        ),
        (
            "rsa2048",
            &["--key-id", ""],
            "tdk: the key id is empty: a key id has 1 to 255 bytes, none of them 0\n",
        ),
        (
            "rsa2048",
            &["--key-id", "x", "--gen", "-1"],
            "tdk: 'gen=-1' is no generation: write gen=N with N from 0 to 4294967295\n",
        ),
        (
            "rsa2048",
            &["--key-id", "x", "--tcti", "device:/dev/tpm0"],
            place,
        ),
        ("rsa2048", &["--key-id", "x", "--config", "x"], place),
    ] {
        let arguments = [&["--what", what], more].concat();
        assert_eq!(say(&arguments), expected, "{what} {more:?}");
    }
}

#[test]
fn options_that_do_not_go_together() {
    let key = ["--key-id", "x", "--what", "rsa2048"];
    for (more, expected) in [
        (&["-D", "--", "true"][..], "'-D' cannot be used with"),
        (&["-c", "-s"], "'-c' cannot be used with '-s'"),
        (&["-c", "--", "true"], "'-c' cannot be used with"),
        (&["true"], "unexpected argument 'true'"),
        (&["--type", "user"], "unexpected argument '--type'"),
    ] {
        let text = say(&[&key, more].concat());
        assert!(text.contains(expected), "{more:?}: {text}");
    }
    let text = say(&["--what", "rsa2048"]);
    assert!(text.contains("--key-id <ID>"), "{text}");
}

#[test]
fn the_help_says_what_becomes_of_the_keys() {
    let help = stdout(&run_tdk(&["ssh-agent", "--help"]));
    assert!(
        help.contains("When the agent ends, the keys are gone"),
        "{help}"
    );
}
