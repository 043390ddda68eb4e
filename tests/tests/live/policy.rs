// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The policy, for real askers: each thing that a rule can ask about, how keys are
//! given, and that `tdk policy explain` says beforehand what comes of it.

mod doubts;

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use sha2::{Digest, Sha256};
use tdk_tests::live::{Asker, Killed, Rule, errno};
use tdk_tests::random::Random;
use tdk_tests::{golden, programs};

fn rule() -> (tdk_simulator::Swtpm, Rule) {
    let tpm = golden::tpm();
    let rule = Rule::direct(&format!("tcti = \"{}\"\n", tpm.tcti()));
    (tpm, rule)
}

fn set_policy(rule: &Rule, text: &str) {
    fs::write(rule.directory().join("policy.toml"), text).unwrap();
}

/// Asks again and again, as long as there are lines `description TAB info` to read,
/// each time in a new session keyring; writes `ok` or the errno.
const ASKER: &str = r#"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
for line in sys.stdin.buffer:
    description, info = line.rstrip(b"\n").split(b"\t")
    libc.syscall(250, 1, None)
    key = libc.syscall(249, b"user", description, info, -3)
    print("ok" if key > 0 else ctypes.get_errno(), flush=True)
"#;

/// A process that asks when told to.
struct Waiting {
    process: Killed,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Waiting {
    fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = Killed(child.unwrap());
        let input = process.0.stdin.take().unwrap();
        let output = BufReader::new(process.0.stdout.take().unwrap());
        Self {
            process,
            input,
            output,
        }
    }

    /// uid 1 (daemon), in group 27 (sudo), as every Debian has them.
    fn as_daemon() -> Self {
        Self::start(
            Command::new("setpriv")
                .args(["--reuid", "1", "--regid", "1", "--groups", "27"])
                .args(["/usr/bin/python3", "-c", ASKER]),
        )
    }

    fn as_root() -> Self {
        Self::start(Command::new("/usr/bin/python3").args(["-c", ASKER]))
    }

    /// uid 1, by a program where others can write.
    fn as_daemon_from(directory: &Path) -> Self {
        let open = directory.join("open");
        fs::create_dir(&open).unwrap();
        let copied = Command::new("cp")
            .arg("/usr/bin/python3")
            .arg(&open)
            .status();
        assert!(copied.unwrap().success());
        fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        Self::start(
            Command::new("setpriv")
                .args(["--reuid", "1", "--regid", "1", "--groups", "27"])
                .arg(open.join("python3"))
                .args(["-c", ASKER]),
        )
    }

    fn pid(&self) -> u32 {
        self.process.0.id()
    }

    fn ask(&mut self, rule: &Rule, name: &str, info: &str) -> String {
        let description = rule.description(name);
        writeln!(self.input, "{}\t{info}", description.display()).unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }

    /// Whether `tdk policy explain` says that it gets the key.
    fn is_explained(&self, rule: &Rule, name: &str, info: &str) -> bool {
        let words: Vec<_> = info.split(' ').collect();
        let output = programs::tdk()
            .arg("--config")
            .arg(rule.config_file())
            .args(["policy", "explain", "--pid", &self.pid().to_string()])
            .args(["--key-id", &rule.key_id(name)])
            .args(["--what", words[0], "--identity", words[1]])
            .output()
            .unwrap();
        assert!(output.stderr.is_empty(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let allowed = text.starts_with("allowed by ");
        let refused = text.starts_with("refused: ");
        // What no rule tolerates, such as where others can write.
        let ruled_out = text.starts_with("refused before any rule is looked at: others can ");
        assert!(allowed || refused || ruled_out, "{text}");
        assert_eq!(output.status.code(), Some(i32::from(!allowed)));
        allowed
    }
}

/// Tries a condition that holds and one that does not, each in a rule that allows and
/// in one that denies.
fn try_both(rule: &Rule, asker: &mut Waiting, yes: &str, no: &str) {
    for (number, (action, condition, expected)) in [
        ("allow", yes, true),
        ("allow", no, false),
        ("deny", yes, false),
        ("deny", no, true),
    ]
    .into_iter()
    .enumerate()
    {
        let default = if action == "allow" { "deny" } else { "allow" };
        let text =
            format!("default = \"{default}\"\n[[rule]]\naction = \"{action}\"\n{condition}\n");
        set_policy(rule, &text);
        let answer = asker.ask(rule, &number.to_string(), "32 id");
        assert_eq!(answer, if expected { "ok" } else { "13" }, "{text}");
        let explained = asker.is_explained(rule, &number.to_string(), "32 id");
        assert_eq!(explained, expected, "{text}");
    }
}

#[test]
fn each_thing_that_a_rule_asks_about() {
    let (_tpm, rule) = rule();
    let mut asker = Waiting::as_daemon();
    let python = fs::canonicalize("/usr/bin/python3").unwrap();
    let content = fs::read(&python).unwrap();
    let digest = hex::encode(Sha256::digest(content));
    let python = python.display();
    for (yes, no) in [
        ("key_id = \"*tdk-test-*\"", "key_id = \"tdk-test\""),
        ("key_type = [\"logon\", \"user\"]", "key_type = \"logon\""),
        ("what = 32", "what = [31, \"rsa*\"]"),
        ("identity = \"id\"", "identity = [\"path\", \"csum\"]"),
        ("uid = 1", "uid = [0, 11]"),
        ("user = \"daemon\"", "user = [\"root\", \"Daemon\"]"),
        ("gid = 1", "gid = 0"),
        ("gid = 27", "gid = 2"),
        ("group = \"daemon\"", "group = \"root\""),
        ("group = [\"root\", \"sudo\"]", "group = \"sud\""),
        (&format!("exe = \"{python}\""), "exe = \"/usr/bin/python3\""),
        ("exe = \"/usr/**\"", "exe = \"/*\""),
        (
            &format!("sha256 = \"{digest}\""),
            &format!("sha256 = \"{}\"", "0".repeat(64)),
        ),
        (
            "package = \"python3.*-minimal\"",
            "package = [\"keyutils\", \"python3\"]",
        ),
        (
            "uid = 1\nexe = \"/usr/bin/*\"\ngroup = \"sudo\"",
            "uid = 1\nexe = \"/usr/sbin/*\"",
        ),
    ] {
        try_both(&rule, &mut asker, yes, no);
    }
    rule.assert_nothing_left();
}

#[test]
fn a_unit_by_its_cgroup() {
    let (_tpm, rule) = rule();
    let hierarchy = rule.directory().join("cgroup");
    fs::create_dir(&hierarchy).unwrap();
    let name = format!("{}x.service", rule.key_id(""));
    // In a mount namespace of its own; the cgroup is everybody's.
    let script = r#"mount -t cgroup2 none "$1" && mkdir -p "$1/$2" && echo $$ >"$1/$2/cgroup.procs" &&
        exec /usr/bin/python3 -c "$3""#;
    let mut asker = Waiting::start(
        Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh"])
            .arg(&hierarchy)
            .args([&name, ASKER]),
    );
    try_both(
        &rule,
        &mut asker,
        &format!("unit = \"{}*.service\"", rule.key_id("")),
        "unit = \"nginx.service\"",
    );
    drop(asker);
    let script = r#"mount -t cgroup2 none "$1" && rmdir "$1/$2""#;
    let removed = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(&hierarchy)
        .arg(&name)
        .status();
    assert!(removed.unwrap().success());
    rule.assert_nothing_left();
}

#[test]
fn a_label_or_that_there_is_none() {
    let (_tpm, rule) = rule();
    let mut asker = Waiting::as_root();
    if let Ok(label) = fs::read_to_string("/proc/self/attr/current") {
        let label = label.trim_end_matches(['\n', '\0']);
        let yes = format!("label = '''{}'''", label.replace('\\', "\\\\"));
        try_both(&rule, &mut asker, &yes, "label = \"no such label\"");
        return;
    }
    // It can't be told: no rule allows for it, and every rule denies.
    for (action, default) in [("allow", "deny"), ("deny", "allow")] {
        let text =
            format!("default = \"{default}\"\n[[rule]]\naction = \"{action}\"\nlabel = \"*\"\n");
        set_policy(&rule, &text);
        assert_eq!(asker.ask(&rule, action, "32 id"), "13", "{text}");
        assert!(!asker.is_explained(&rule, action, "32 id"), "{text}");
    }
}

#[test]
fn an_asker_whose_executable_can_not_be_told() {
    let (_tpm, rule) = rule();
    // A program of another root directory: no path of ours is its.
    let script = r#"mkdir "$1/lent" && mount -t tmpfs none "$1/lent" && cp /usr/bin/keyctl "$1/lent/" &&
        key=$("$1/lent/keyctl" request2 user "$2" "32 id" @s) && exec keyctl pipe $key"#;
    let ask = |name: &str| {
        let _ = fs::remove_dir(rule.directory().join("lent"));
        let output = Command::new("keyctl")
            .args([
                "session", "-", "unshare", "--mount", "sh", "-c", script, "sh",
            ])
            .arg(rule.directory())
            .arg(rule.description(name))
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        tdk_tests::live::answer(&output)
    };
    assert!(ask("any").is_ok());
    for (action, default) in [("allow", "deny"), ("deny", "allow")] {
        for field in ["exe = \"**\"", "package = \"*\""] {
            set_policy(
                &rule,
                &format!("default = \"{default}\"\n[[rule]]\naction = \"{action}\"\n{field}\n"),
            );
            assert_eq!(
                ask(&format!("{action} {field}")),
                errno("EACCES"),
                "{action} {field}"
            );
        }
    }
    rule.assert_nothing_left();
}

#[test]
fn how_a_key_is_given() {
    let (_tpm, rule) = rule();
    let rules = "default = \"deny\"\n\
        [[rule]]\naction = \"allow\"\nkey_id = \"*limited\"\npermissions = 0x0b0b0000\n\
        timeout_seconds = 3000\n\
        [[rule]]\naction = \"allow\"\nkey_id = \"*short\"\ntimeout_seconds = 1\n\
        [[rule]]\naction = \"allow\"\nkey_id = \"*new\"\nminimum_generation = 2\n\
        [[rule]]\naction = \"allow\"\nkey_id = \"*any\"\nscope_any = true\n\
        [[rule]]\naction = \"allow\"\nkey_id = \"*plain\"\n";
    set_policy(&rule, rules);
    let asker = Asker {
        uid: Some(1000),
        ..Asker::default()
    };
    let describe = |name: &str| {
        let text = asker.describe(rule.description(name), "32 path").unwrap();
        String::from_utf8(text).unwrap()
    };
    let shown = describe("limited");
    assert!(shown.starts_with("user;1000;0;0b0b0000;"), "{shown}");
    // It can read it, and neither change that nor keep it for longer.
    let script = r#"key=$("$@" @s) && keyctl pipe $key >/dev/null && grep -Eq ' (49|50)m 0b0b0000 ' /proc/keys &&
        ! keyctl timeout $key 0 && ! keyctl setperm $key 0x3f3f0000"#;
    let output = asker
        .command(script, &rule.description("limited"), "32 path".as_ref())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    // When it is over, there is another one to be had.
    let script = r#"first=$("$@" @s) && sleep 2 && ! keyctl pipe $first && second=$("$@" @s) &&
        [ $first != $second ] && keyctl pipe $second >/dev/null"#;
    let output = asker
        .command(script, &rule.description("short"), "32 path".as_ref())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");

    let ask = |name: &str, info: &str| asker.ask(rule.description(name), info);
    assert_eq!(ask("1 new", "32 path"), errno("EACCES"));
    assert_eq!(ask("2 new", "32 path gen=1"), errno("EACCES"));
    assert!(ask("3 new", "32 path gen=2").is_ok());
    assert!(ask("1 any", "32 path scope=any").is_ok());
    assert_eq!(ask("1 plain", "32 path scope=any"), errno("EACCES"));
    assert!(ask("2 plain", "32 path").is_ok());
    assert_eq!(ask("other", "32 path"), errno("EACCES"));
    rule.assert_nothing_left();
}

#[test]
fn permissions_that_can_not_be_given() {
    let (_tpm, rule) = rule();
    set_policy(
        &rule,
        "[[rule]]\naction = \"allow\"\nkey_id = \"*limited\"\npermissions = 0x0b0b0000\n\
         [[rule]]\naction = \"allow\"\ntimeout_seconds = 3000\n",
    );
    // Into a keyring that the asker does not search.
    let ask = |name: &str| {
        let output = Command::new("keyctl")
            .args(["session", "-", "keyctl", "request2", "user"])
            .arg(rule.description(name))
            .args(["32 path", "@u"])
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        if output.status.success() {
            let key = String::from_utf8(output.stdout).unwrap();
            let _ = Command::new("keyctl")
                .args(["unlink", key.trim(), "@u"])
                .output();
            return Ok(Vec::new());
        }
        tdk_tests::live::answer(&output)
    };
    assert_eq!(ask("limited"), errno("EACCES"));
    assert_eq!(ask("timed"), Ok(Vec::new()));
    rule.assert_nothing_left();
}

#[test]
fn a_policy_that_can_not_be_used_gets_nobody_a_key() {
    let (_tpm, rule) = rule();
    let mut n = 0;
    let mut refused = || {
        n += 1;
        assert_eq!(rule.ask(&format!("r{n}"), "32 path"), errno("EKEYREJECTED"));
    };
    set_policy(&rule, "[[rule]]\naction = \"allwo\"\n");
    refused();
    set_policy(&rule, "");
    assert!(rule.ask("fine", "32 path").is_ok());
    let weak = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let file = rule.directory().join("policy.toml");
    weak(&file, 0o666);
    refused();
    weak(&file, 0o644);
    let more = rule.directory().join("policy.d");
    fs::create_dir(&more).unwrap();
    fs::write(more.join("x.toml"), "").unwrap();
    assert!(rule.ask("still fine", "32 path").is_ok());
    weak(&more, 0o775);
    refused();
    weak(&more, 0o755);
    std::os::unix::fs::chown(more.join("x.toml"), Some(1000), None).unwrap();
    refused();
    std::os::unix::fs::chown(more.join("x.toml"), Some(0), None).unwrap();
    std::os::unix::fs::symlink("/proc/self/environ", more.join("y.toml")).unwrap();
    refused();
    fs::remove_file(more.join("y.toml")).unwrap();
    weak(rule.directory(), 0o777);
    refused();
    weak(rule.directory(), 0o755);
    assert!(rule.ask("fine again", "32 path").is_ok());
    rule.assert_nothing_left();
}

/// Random rules about what two askers differ in, or not.
fn random_policy(random: &mut Random) -> String {
    const CONDITIONS: [&str; 16] = [
        "key_id = \"*a\"",
        "key_id = [\"*b\", \"*c\"]",
        "what = 32",
        "what = \"1?\"",
        "identity = \"id\"",
        "identity = [\"csum\", \"path\"]",
        "uid = 0",
        "uid = 1",
        "user = \"daemon\"",
        "gid = 27",
        "group = \"root\"",
        "group = [\"sudo\", \"x\"]",
        "exe = \"/usr/bin/python*\"",
        "exe = \"/usr/*\"",
        "package = \"python*\"",
        "label = \"unconfined\"",
    ];
    let mut text = ["default = \"allow\"\n", "default = \"deny\"\n"][random.below(2)].to_owned();
    for _ in 0..random.below(5) {
        text += [
            "[[rule]]\naction = \"allow\"\n",
            "[[rule]]\naction = \"deny\"\n",
            "[[rule]]\naction = \"allow\"\ntolerate = [\"writable-path\", \"fuse\"]\n",
        ][random.below(3)];
        let mut names = Vec::new();
        for _ in 0..random.below(4) {
            let condition = CONDITIONS[random.below(CONDITIONS.len())];
            let name = condition.split(' ').next().unwrap();
            if !names.contains(&name) {
                names.push(name);
                text += condition;
                text += "\n";
            }
        }
    }
    text
}

#[test]
fn explain_says_what_comes_of_it() {
    let (_tpm, rule) = rule();
    let mut random = Random::new(11);
    let mut askers = [
        Waiting::as_root(),
        Waiting::as_daemon(),
        Waiting::as_daemon_from(rule.directory()),
    ];
    let mut answers = [0, 0];
    for number in 0..60 {
        let text = random_policy(&mut random);
        set_policy(&rule, &text);
        let name = format!("{number}{}", ["a", "b", "c"][random.below(3)]);
        let info = ["32 id", "16 path", "32 csum", "17 id"][random.below(4)];
        for asker in &mut askers {
            let explained = asker.is_explained(&rule, &name, info);
            let expected = if explained { "ok" } else { "13" };
            assert_eq!(
                asker.ask(&rule, &name, info),
                expected,
                "{name} {info}\n{text}"
            );
            answers[usize::from(explained)] += 1;
        }
    }
    assert!(answers.iter().all(|count| *count > 20), "{answers:?}");
    rule.assert_nothing_left();
}
