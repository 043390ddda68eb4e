// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Asking as a careful program does: `tdk request`, and the library below it.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use linux_keyutils::{KeyRing, KeyRingIdentifier};
use tdk_client::{Error, Identity, What};
use tdk_simulator::Swtpm;
use tdk_tests::live::{Asker, File, Rule};
use tdk_tests::middle::{Action, Middle};
use tdk_tests::oracle::{self, Request};
use tdk_tests::programs::{stderr, stdout};
use tdk_tests::{golden, programs};

/// A rule, and a `tdk` that every user can run.
struct Bench {
    tpm: Swtpm,
    rule: Rule,
    tdk: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let tpm = golden::tpm();
        let rule = Rule::direct(&format!("tcti = \"{}\"\n", tpm.tcti()));
        let tdk = rule.copy_of(&programs::tdk_file(), "tdk");
        Self { tpm, rule, tdk }
    }

    /// `tdk request` for 32 bytes, as an argument list.
    fn request(&self, name: &str) -> Vec<String> {
        let tdk = self.tdk.to_str().unwrap();
        let key_id = self.rule.key_id(name);
        let words = [
            tdk,
            "request",
            "--key-id",
            &key_id,
            "--what",
            "32",
            "--identity",
            "path",
        ];
        words.map(str::to_owned).to_vec()
    }

    /// The key that it has to get.
    fn expected(&self, name: &str, uid: u32) -> Vec<u8> {
        let tdk = self.tdk.to_str().unwrap();
        let request = Request::user(&self.rule.key_id(name), "32 path", uid, tdk);
        oracle::key(&self.tpm.tcti(), &request)
    }
}

/// Runs a command as this user, in a directory where that user may be, with no
/// open files but the standard ones.
fn run_as(uid: u32, command: &[String]) -> Output {
    let uid = uid.to_string();
    let close = r#"exec 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-; exec "$@""#;
    let command = script(close, command);
    Command::new("setpriv")
        .args(["--reuid", &uid, "--regid", &uid, "--clear-groups"])
        .args(command)
        .current_dir("/")
        .env("LC_ALL", "C")
        .output()
        .unwrap()
}

/// A shell script with a command as its arguments.
fn script(script: &str, command: &[String]) -> Vec<String> {
    let shell = ["sh", "-c", script, "sh"].map(str::to_owned);
    [&shell, command].concat()
}

/// The same in a session keyring of its own.
fn in_session(text: &str, command: &[String]) -> Vec<String> {
    let keyctl = ["keyctl", "session", "-"].map(str::to_owned);
    [&keyctl[..], &script(text, command)].concat()
}

fn with(command: &[String], more: &[&str]) -> Vec<String> {
    let mut command = command.to_vec();
    command.extend(more.iter().map(|word| (*word).to_owned()));
    command
}

#[test]
fn ones_own_key() {
    let bench = Bench::new();
    for uid in [0, 1000] {
        let request = bench.request("x");
        let key = bench.expected("x", uid);
        let output = run_as(uid, &request);
        assert_eq!(stdout(&output), hex::encode(&key));
        assert!(output.stderr.is_empty(), "{output:?}");
        let raw = run_as(uid, &with(&request, &["--format", "raw"]));
        assert_eq!(raw.stdout, key);
        // Asked for by the rest of the grammar.
        let tdk = bench.tdk.to_str().unwrap();
        let digest = programs::run("sha256sum", &[tdk]);
        let digest = hex::decode(&stdout(&digest)[..64]).unwrap();
        let key_id = bench.rule.key_id("y");
        for (what, identity, generation, value) in [
            ("1024", "path", "7", tdk.as_bytes()),
            ("1", "csum", "0", &digest),
            ("32", "id", "4294967295", b""),
        ] {
            let request = [
                tdk,
                "request",
                "--key-id",
                &key_id,
                "--what",
                what,
                "--identity",
                identity,
                "--gen",
                generation,
                "--format",
                "raw",
            ];
            let info = format!("{what} {identity} gen={generation}");
            let expected = Request::user(&key_id, &info, uid, value);
            assert_eq!(
                run_as(uid, &request.map(str::to_owned)).stdout,
                oracle::key(&bench.tpm.tcti(), &expected),
                "{info}"
            );
        }
    }
    bench.rule.assert_nothing_left();
}

#[test]
fn odd_key_ids() {
    let bench = Bench::new();
    let longest = "k".repeat(255 - bench.rule.key_id("").len());
    for name in ["a;b;0;c", "two\nlines", "-", "", &longest] {
        let output = run_as(1000, &bench.request(name));
        assert_eq!(stdout(&output), hex::encode(bench.expected(name, 1000)));
    }
    let output = run_as(1000, &bench.request(&(longest + "k")));
    assert!(stderr(&output, 2).contains("the key id is 256 bytes long"));
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

#[test]
fn planted_keys_are_passed_by() {
    let bench = Bench::new();
    let expected = hex::encode(bench.expected("x", 1000));
    let description = bench.rule.description("x").into_string().unwrap();
    let request = bench.request("x");
    let careless = Asker {
        uid: Some(1000),
        ..Asker::default()
    };
    for (keyring, plant) in [
        (
            "session",
            format!("keyctl add user {description} planted @s"),
        ),
        (
            "user",
            format!("keyctl link @u @s; keyctl add user {description} planted @u"),
        ),
    ] {
        // Not so who asks without care.
        let text = format!(r#"({plant}) >/dev/null; keyctl pipe $("$@" @s)"#);
        let command = careless.command(&text, description.as_ref(), "32 path".as_ref());
        let output = { command }.output().unwrap();
        assert_eq!(stdout(&output), "planted", "{keyring}");

        let text = format!(r#"({plant}) >/dev/null; exec "$@""#);
        let output = run_as(1000, &in_session(&text, &request));
        assert_eq!(stdout(&output), expected, "{keyring}");
    }
    // By somebody else, in a session keyring that both can write to.
    let text = format!(
        "keyctl setperm @s 0x3f3f3f3f; exec 3>&1; {{ setpriv --reuid 1001 --regid 1001 \
         --clear-groups keyctl add user {description} planted @s; }} >/dev/null; \
         keyctl setperm $(keyctl search @s user {description}) 0x3f3f3f3f; exec 3>&-; exec \"$@\""
    );
    let as_victim = [
        "setpriv",
        "--reuid",
        "1000",
        "--regid",
        "1000",
        "--clear-groups",
    ];
    let as_victim = [&as_victim.map(str::to_owned)[..], &request].concat();
    let output = run_as(0, &in_session(&text, &as_victim));
    assert_eq!(stdout(&output), expected);
    // In the keyring of the user, for a process without a session keyring.
    let plant = format!(
        r#"keyctl add user {description} planted @u >/dev/null; "$@"; keyctl unlink $(keyctl search @u user {description}) @u"#
    );
    let output = run_as(1000, &script(&plant, &request));
    assert!(stdout(&output).contains(&expected), "{output:?}");
    bench.rule.assert_nothing_left();
}

#[test]
fn old_refusals_are_passed_by() {
    let bench = Bench::new();
    let text = format!(
        r#"keyctl request2 user {} "32 paht" @s 2>/dev/null && exit 99; exec "$@""#,
        bench.rule.description("x").to_str().unwrap()
    );
    let output = run_as(1000, &in_session(&text, &bench.request("x")));
    assert_eq!(stdout(&output), hex::encode(bench.expected("x", 1000)));
}

#[test]
fn another_default_for_where_keys_go() {
    let bench = Bench::new();
    let expected = hex::encode(bench.expected("x", 1000));
    // KEYCTL_SET_REQKEY_KEYRING: thread, process, session, user, user session.
    let text = r"
import ctypes, os, sys
assert ctypes.CDLL(None).syscall(250, 14, int(sys.argv[1])) >= 0
os.execv(sys.argv[2], sys.argv[2:])
";
    for default in ["1", "2", "3", "4", "5"] {
        let python = ["/usr/bin/python3", "-c", text, default].map(str::to_owned);
        let output = run_as(1000, &[&python[..], &bench.request("x")].concat());
        assert_eq!(stdout(&output), expected, "{default}");
    }
}

#[test]
fn a_full_quota() {
    let bench = Bench::new();
    // Nobody else uses this user's.
    let text = r#"
        n=0
        while keyctl add user filler$n x @s; do n=$((n + 1)); done >/dev/null 2>&1
        exec "$@""#;
    let output = run_as(4007, &in_session(text, &bench.request("x")));
    let text = stderr(&output, 1);
    let end = text.lines().last().unwrap();
    assert_eq!(
        end,
        "tdk: this user's quota of keys is full (EDQUOT): see /proc/key-users, and raise \
         kernel.keys.maxkeys and maxbytes"
    );
    // When the keys have gone with their keyring, which takes the kernel a moment.
    let start = Instant::now();
    let output = loop {
        let output = run_as(4007, &bench.request("x"));
        if output.status.success() || start.elapsed() > Duration::from_secs(30) {
            break output;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(stdout(&output), hex::encode(bench.expected("x", 4007)));
}

#[test]
fn what_another_program_has_made_is_no_key() {
    let rule = Rule::direct("");
    let tdk = rule.copy_of(&programs::tdk_file(), "tdk");
    // A line that outranks the callout's.
    let key_id = rule.key_id("other");
    let _other = File::create(
        &format!("/etc/request-key.d/{key_id}.conf"),
        &format!(
            "create user tpm2:derived:{key_id} * /usr/bin/keyctl instantiate %k {} %S\n",
            "x".repeat(32)
        ),
    );
    let request = [
        tdk.to_str().unwrap(),
        "request",
        "--key-id",
        &key_id,
        "--what",
        "32",
        "--identity",
        "path",
    ]
    .map(str::to_owned);
    let text = stderr(&run_as(1000, &request), 1);
    assert!(
        text.starts_with(
            "tdk: the key was not made by the callout: it belongs to group 1000, not to root's: "
        ),
        "{text}"
    );
    // Of group root is all that root's other programs make; but it can be of the
    // wrong length.
    let longer = request.map(|word| if word == "32" { "33".into() } else { word });
    let text = stderr(&run_as(0, &longer), 1);
    assert!(
        text.starts_with("tdk: the key was not made by the callout: it has 32 bytes: "),
        "{text}"
    );
}

#[test]
fn a_callout_that_asks_for_itself() {
    // A program that request-key runs for somebody would find that asker's keys,
    // and be refused for not being the one who waits.
    let bench = Bench::new();
    let outer = bench.rule.key_id("outer-");
    let program = bench.rule.directory().join("outer.sh");
    let result = bench.rule.directory().join("result");
    let text = format!(
        "#!/bin/sh\n{} >{} 2>&1\nkeyctl instantiate $1 done 0\n",
        bench.request("x").join(" "),
        result.display(),
    );
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let _outer = File::create(
        &format!("/etc/request-key.d/{outer}.conf"),
        &format!("create user {outer}* * {} %k\n", program.display()),
    );
    let text = format!(
        r#"keyctl add user {} planted @s >/dev/null; keyctl pipe $("$@" @s)"#,
        bench.rule.description("x").to_str().unwrap()
    );
    let asker = Asker {
        uid: Some(1000),
        ..Asker::default()
    };
    let asking = asker.command(&text, format!("{outer}x").as_ref(), "x".as_ref());
    assert_eq!(stdout(&{ asking }.output().unwrap()), "done");
    let result = fs::read_to_string(result).unwrap();
    assert_eq!(result.trim_end(), hex::encode(bench.expected("x", 0)));
    bench.rule.assert_nothing_left();
}

#[test]
fn keys_are_given_to_group_root() {
    let bench = Bench::new();
    let asker = Asker {
        uid: Some(1000),
        ..Asker::default()
    };
    let description = bench.rule.description("x");
    let run = |text: &str| {
        let output = asker
            .command(text, &description, "32 path".as_ref())
            .output();
        stdout(&output.unwrap())
    };
    let described = |text: &str| {
        let text = run(text);
        let (start, _) = text.split_once(";3f010000;").expect(&text);
        start.to_owned()
    };
    // The owner, who pays, remains.
    assert_eq!(described(r#"keyctl rdescribe $("$@" @s)"#), "user;1000;0");
    assert_eq!(
        described(r#"keyctl link @u @s; k=$("$@" @u); keyctl rdescribe $k; keyctl unlink $k @u"#),
        "user;1000;0"
    );
    // Who may do with it as with any key, but can't give it to root's group again.
    let text = r#"
        k=$("$@" @s)
        keyctl setperm $k 0x3f3f0000 && keyctl chgrp $k 1000 || exit 99
        keyctl chgrp $k 0 2>/dev/null && exit 98
        keyctl pipe $k >/dev/null && keyctl link $k @u && keyctl unlink $k @u &&
            keyctl timeout $k 100 && keyctl invalidate $k && echo all"#;
    assert_eq!(run(text), "all");
    // The kernel lets nobody change what the callout can't see.
    let text = r#"k=$("$@" @u); keyctl link @u @s; keyctl rdescribe $k; keyctl unlink $k @u"#;
    assert_eq!(described(text), "user;1000;1000");
    // A logon key, and the pipe form.
    let logon = Asker {
        key_type: "logon",
        ..asker.clone()
    };
    let described = logon.describe(&description, "32 path").unwrap();
    assert!(described.starts_with(b"logon;1000;0;"), "{described:?}");
    let pipe = Rule::pipe(&format!("tcti = \"{}\"\n", bench.tpm.tcti()));
    let described = asker.describe(pipe.description("x"), "32 path").unwrap();
    assert!(described.starts_with(b"user;1000;0;"), "{described:?}");
    bench.rule.assert_nothing_left();
}

#[test]
fn refusals_and_failures_are_told_in_words() {
    let bench = Bench::new();
    let say = |name: &str, through: &[&str]| {
        let through: Vec<String> = through.iter().map(|word| (*word).to_owned()).collect();
        let output = run_as(1000, &[&through[..], &bench.request(name)].concat());
        stderr(&output, 1)
    };
    let log = "the callout's log says why, for root: journalctl -t key.tpm2_derived, or dmesg\n";
    assert_eq!(
        say("refused", &["unshare", "--user"]),
        format!("tdk: the key is refused (EACCES): {log}")
    );
    bench.rule.configure("tcti = \"device:/dev/nonexistent\"\n");
    assert_eq!(
        say("absent", &[]),
        "tdk: there is no usable TPM (ENODEV): run 'tdk root' as root: it says what is wrong with \
         the TPM\n"
    );
    let silent = Middle::alone(Action::Silence);
    let config = format!("tcti = \"{}\"\ndeadline_seconds = 1\n", silent.tcti());
    bench.rule.configure(&config);
    assert_eq!(
        say("silent", &[]),
        "tdk: the TPM is busy or does not answer (EAGAIN): try again later\n"
    );
    bench.rule.configure("tctii = 1\n");
    assert_eq!(
        say("failed", &[]),
        format!("tdk: the key can't be made (EKEYREJECTED): {log}")
    );
    let key_id = "tdk-test-nobody-answers";
    let output = Command::new(&bench.tdk)
        .args([
            "request",
            "--what",
            "32",
            "--identity",
            "id",
            "--key-id",
            key_id,
        ])
        .args(["--type", "user"])
        .output()
        .unwrap();
    let text = stderr(&output, 1);
    // An installed callout, if there is one, may answer this one.
    assert!(text.starts_with("tdk: ") && text.contains("(E"), "{text}");
    bench.rule.assert_nothing_left();
}

#[test]
fn the_librarys_example() {
    let bench = Bench::new();
    let mac = programs::mac();
    let key_id = bench.rule.key_id("x");
    let mut child = Command::new(&mac)
        .arg(&key_id)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"message").unwrap();
    let printed = stdout(&child.wait_with_output().unwrap());
    let path = mac.canonicalize().unwrap();
    let request = Request::user(&key_id, "32 path", 0, path.as_os_str().as_encoded_bytes());
    let key = format!(
        "hexkey:{}",
        hex::encode(oracle::key(&bench.tpm.tcti(), &request))
    );
    let by_hand = programs::run(
        "sh",
        &[
            "-c",
            &format!("printf message | openssl dgst -sha256 -mac HMAC -macopt {key}"),
        ],
    );
    assert_eq!(stdout(&by_hand).rsplit(' ').next(), Some(printed.as_str()));

    let output = Command::new(&mac).output().unwrap();
    assert_eq!(stderr(&output, 2), "usage: mac KEY-ID\n");
}

/// This test program asks by itself.
fn ask(rule: &Rule, name: &str) -> Result<tdk_client::Key, Error> {
    tdk_client::Request::new(rule.key_id(name), What::Bytes(32), Identity::Path).ask()
}

#[test]
fn a_process_that_asks_by_itself() {
    let bench = Bench::new();
    let program = std::env::current_exe().unwrap().canonicalize().unwrap();
    let program = program.as_os_str().as_encoded_bytes();
    let expected = |name: &str| {
        let request = Request::user(&bench.rule.key_id(name), "32 path", 0, program);
        oracle::key(&bench.tpm.tcti(), &request)
    };
    let key = ask(&bench.rule, "x").unwrap();
    assert_eq!(key.as_bytes(), expected("x"));
    assert_eq!(format!("{key:?}"), "Key(32 bytes)");

    // The asking thread's own keyring does not matter, and stays as it is.
    let description = bench.rule.description("x").into_string().unwrap();
    let keyring = |which| KeyRing::from_special_id(which, true).unwrap();
    let thread = keyring(KeyRingIdentifier::Thread);
    let session = || KeyRing::from_special_id(KeyRingIdentifier::Session, false);
    let before = session();
    let planted = thread.add_key(&description, b"planted").unwrap();
    assert_eq!(ask(&bench.rule, "x").unwrap().as_bytes(), expected("x"));
    assert_eq!(thread.search(&description).unwrap(), planted);
    assert_eq!(session(), before);

    // The process's would answer.
    let process = keyring(KeyRingIdentifier::Process);
    let planted = process.add_key(&description, b"planted").unwrap();
    assert!(matches!(ask(&bench.rule, "x"), Err(Error::Planted)));
    assert_eq!(ask(&bench.rule, "y").unwrap().as_bytes(), expected("y"));
    process.unlink_key(planted).unwrap();
    assert_eq!(ask(&bench.rule, "x").unwrap().as_bytes(), expected("x"));
    bench.rule.assert_nothing_left();
}

#[test]
fn many_threads_ask_at_once() {
    let bench = Bench::new();
    let keys: Vec<_> = std::thread::scope(|scope| {
        let ask = |_| scope.spawn(|| ask(&bench.rule, "x").unwrap());
        let threads: Vec<_> = (0..8).map(ask).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let first = keys[0].as_bytes();
    assert!(keys.iter().all(|key| key.as_bytes() == first));
    bench.rule.assert_nothing_left();
}
