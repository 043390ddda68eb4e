// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tdk policy`. What the callout makes of a policy: the live suite's `policy`.

mod agreement;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output};

use tdk_tests::programs::{stderr, stdout, tdk};
use tdk_tests::project;
use tpm_derived_keys::policy::Policy;

/// A directory as /etc/tdk.
struct Etc(tempfile::TempDir);

impl Etc {
    fn new(policy: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let etc = Self(directory);
        etc.write("config.toml", "");
        etc.write("policy.toml", policy);
        etc
    }

    fn path(&self, name: &str) -> PathBuf {
        // As messages have it.
        self.0.path().canonicalize().unwrap().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    fn policy(&self, arguments: &[&str]) -> Output {
        let mut command = tdk();
        command.arg("--config").arg(self.path("config.toml"));
        command.arg("policy").args(arguments).output().unwrap()
    }
}

/// A process to be explained.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Self {
        Self(Command::new("/bin/sleep").arg("600").spawn().unwrap())
    }

    fn explain(&self, etc: &Etc, more: &[&str]) -> Output {
        let pid = self.0.id().to_string();
        let arguments = ["explain", "--pid", &pid, "--key-id", "k", "--what", "32"];
        etc.policy(&[&arguments, more].concat())
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn uid() -> String {
    let output = Command::new("id").arg("-u").output().unwrap();
    stdout(&output)
}

/// What `explain` printed, with its exit status. (Whoever is not root is warned.)
fn said(output: &Output) -> (Option<i32>, Vec<String>) {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    (
        output.status.code(),
        text.lines().map(str::to_owned).collect(),
    )
}

#[test]
fn check_says_what_there_is() {
    let etc = Etc::new("default = \"deny\"\n[[rule]]\naction = \"allow\"\n");
    fs::create_dir(etc.path("policy.d")).unwrap();
    etc.write(
        "policy.d/b.toml",
        "[[rule]]\naction = \"deny\"\n[[rule]]\naction = \"deny\"\n",
    );
    etc.write("policy.d/a.toml", "");
    let expected = format!(
        "{}: 1 rule\n{}: 0 rules\n{}: 2 rules\ndefault: deny",
        etc.path("policy.toml").display(),
        etc.path("policy.d/a.toml").display(),
        etc.path("policy.d/b.toml").display(),
    );
    assert_eq!(stdout(&etc.policy(&["check"])), expected);

    fs::remove_dir_all(etc.path("policy.d")).unwrap();
    fs::remove_file(etc.path("policy.toml")).unwrap();
    let expected = format!(
        "no policy in {}\ndefault: allow every key that is bound to its asker's uid",
        etc.path("").display().to_string().trim_end_matches('/'),
    );
    assert_eq!(stdout(&etc.policy(&["check"])), expected);
}

#[test]
fn check_names_file_line_and_column() {
    let etc = Etc::new("[[rule]]\naction = \"allow\"\n  uid = \"bob\"\n");
    let file = etc.path("policy.toml");
    let expected = format!(
        "tdk: {}:3:9: uid is a number; a name is called user: docs/policy.md says what rules are \
         made of\n",
        file.display()
    );
    assert_eq!(stderr(&etc.policy(&["check"]), 1), expected);
    let sleeper = Sleeper::start();
    let output = sleeper.explain(&etc, &["--identity", "id"]);
    assert_eq!(stderr(&output, 1), expected);

    // All of what is wrong, one a file.
    fs::create_dir(etc.path("policy.d")).unwrap();
    etc.write("policy.d/a.toml", "rule = 1\n");
    etc.write("policy.d/b.toml", "");
    let text = stderr(&etc.policy(&["check"]), 1);
    let (first, second) = text.split_at(expected.len());
    assert_eq!(first, expected);
    let place = format!("tdk: {}:1:8: ", etc.path("policy.d/a.toml").display());
    assert!(
        second.starts_with(&place) && second.lines().count() == 1,
        "{text}"
    );
    fs::remove_dir_all(etc.path("policy.d")).unwrap();

    etc.write("policy.toml", "");
    fs::set_permissions(&file, Permissions::from_mode(0o664)).unwrap();
    let text = stderr(&etc.policy(&["check"]), 1);
    assert!(
        text.ends_with(&format!(": chmod go-w {}\n", file.display())),
        "{text}"
    );
}

#[test]
fn explain_says_which_rule_decides_and_why() {
    let uid = uid();
    let etc = Etc::new(&format!(
        "[[rule]]\naction = \"deny\"\nkey_id = [\"x\", \"y*\"]\n\n\
         [[rule]]\nname = \"sleepers\"\naction = \"allow\"\nuid = {uid}\n\
         exe = \"/usr/bin/sle*\"\ntimeout_seconds = 60\npermissions = 0x3f010000\n\n\
         [[rule]]\naction = \"deny\"\nidentity = \"csum\"\n"
    ));
    let file = etc.path("policy.toml");
    let file = file.display();
    let sleeper = Sleeper::start();
    let (status, lines) = said(&sleeper.explain(&etc, &["--identity", "csum", "--all"]));
    let expected = [
        format!("allowed by rule 'sleepers' at {file}:5"),
        format!("  uid \"{uid}\" is {uid}"),
        "  exe \"/usr/bin/sleep\" is /usr/bin/sle*".into(),
        "  given permissions 0x3f010000".into(),
        "  given for 60 seconds".into(),
        "passed over:".into(),
        format!("  the rule at {file}:1: key_id \"k\" is not x, y*"),
    ];
    assert_eq!((status, lines), (Some(0), expected.into()));

    etc.write(
        "policy.toml",
        "[[rule]]\naction = \"deny\"\nidentity = \"csum\"\n",
    );
    let (status, lines) = said(&sleeper.explain(&etc, &["--identity", "csum"]));
    let expected = [
        format!("refused: the rule at {file}:1 of the policy denies it"),
        "  identity \"csum\" is csum".into(),
    ];
    assert_eq!((status, lines), (Some(1), expected.into()));
    let (status, lines) = said(&sleeper.explain(&etc, &["--identity", "path"]));
    let expected = [
        "allowed by the default".into(),
        "  no rule is about this request".into(),
    ];
    assert_eq!((status, lines), (Some(0), expected.into()));
    let output = sleeper.explain(&etc, &["--identity", "path", "--scope", "any"]);
    let (status, lines) = said(&output);
    assert_eq!(status, Some(1));
    assert!(
        lines[0].starts_with("refused: scope=any is refused: the default"),
        "{lines:?}"
    );
}

#[test]
fn explain_of_nobody_or_nonsense() {
    let etc = Etc::new("");
    let explain = |pid: &str, more: &[&str]| {
        let arguments = ["explain", "--pid", pid, "--key-id", "k"];
        etc.policy(&[&arguments, more].concat())
    };
    // No process has such a number.
    let output = explain("4194305", &["--what", "32", "--identity", "id"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("thread 4194305, is gone"), "{text}");
    let text = stderr(&explain("1", &["--what", "32", "--identity", "paht"]), 2);
    assert!(text.contains("'paht' is no identity"), "{text}");
    let mut command = tdk();
    let output = command
        .args(["policy", "check", "--tcti", "x"])
        .output()
        .unwrap();
    assert_eq!(
        stderr(&output, 2),
        "tdk: policy needs no TPM: leave out --tcti and --backend\n"
    );
    // Refused whatever the policy says.
    let sleeper = Sleeper::start();
    let (status, lines) = said(&sleeper.explain(&etc, &["--identity", "verity"]));
    assert_eq!(status, Some(1));
    assert!(
        lines[0].starts_with("refused before any rule is looked at: "),
        "{lines:?}"
    );
}

#[test]
fn the_policies_of_the_page() {
    let page = fs::read_to_string(project().join("docs/policy.md")).unwrap();
    let mut policies = 0;
    for block in page.split("```toml\n").skip(1) {
        let text = block.split("```").next().unwrap();
        Policy::parse(text).unwrap_or_else(|error| panic!("docs/policy.md: {error}:\n{text}"));
        policies += 1;
    }
    assert!(policies >= 5, "{policies}");
    // Every key is explained.
    let etc = Etc::new("[[rule]]\nx = 1\n");
    let text = stderr(&etc.policy(&["check"]), 1);
    let keys = text.split('`').skip(3).step_by(2);
    for key in keys {
        assert!(
            page.contains(&format!("| `{key}` |")),
            "docs/policy.md: {key}"
        );
    }
}

#[test]
fn what_the_page_shows_is_said() {
    let page = fs::read_to_string(project().join("docs/policy.md")).unwrap();
    let first = page.split("```toml\n").nth(1).unwrap();
    let etc = Etc::new(first.split("```").next().unwrap());
    fs::create_dir(etc.path("policy.d")).unwrap();
    etc.write(
        "policy.d/50-web.toml",
        "[[rule]]\naction = \"deny\"\nuid = 33\n",
    );
    // The process that the page asks about is uid 1000's.
    let mut command = Command::new("/bin/sleep");
    let uid = match uid().as_str() {
        "0" => {
            command = Command::new("setpriv");
            command.args(["--reuid", "1000", "--clear-groups", "/bin/sleep"]);
            "1000".to_owned()
        }
        other => other.to_owned(),
    };
    let sleeper = Sleeper(command.arg("600").spawn().unwrap());
    let pid = sleeper.0.id().to_string();
    while fs::read_to_string(format!("/proc/{pid}/comm")).unwrap() != "sleep\n" {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let mut shown = 0;
    for block in page.split("```\n# tdk policy ").skip(1) {
        let (typed, said) = block.split_once('\n').unwrap();
        let words: Vec<_> = typed
            .split(' ')
            .map(|word| if word == "3127" { pid.as_str() } else { word })
            .collect();
        let directory = etc.path("").display().to_string();
        let expected = said
            .split("```")
            .next()
            .unwrap()
            .replace("/etc/tdk", directory.trim_end_matches('/'))
            .replace("\"1000\"", &format!("\"{uid}\""));
        let said = String::from_utf8(etc.policy(&words).stdout).unwrap();
        assert_eq!(said, expected, "{typed}");
        shown += 1;
    }
    assert!(shown >= 2, "{shown}");
}

#[test]
fn the_policy_that_is_installed_is_the_shipped_one() {
    let text = fs::read_to_string(project().join("callout/etc/policy.toml")).unwrap();
    let expected = Policy::parse("").unwrap();
    assert_eq!(Policy::parse(&text).unwrap(), expected);
    // What is commented out is a policy.
    let commented: Vec<_> = text
        .lines()
        .map(|line| {
            line.strip_prefix('#')
                .filter(|rest| !rest.starts_with(' '))
                .unwrap_or("")
        })
        .collect();
    let policy = Policy::parse(&commented.join("\n")).unwrap();
    assert_ne!(policy, expected);
}
