// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A policy by packages on a machine that has RPM's database, beside dpkg's or alone.
//! rpmbuild(8) and rpm(8) make the packages and the database.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tdk_tests::guest::{KEYCTL, Script, debian};
use tdk_tests::live::errno;
use tdk_tests::oracle::{self, Request};
use tdk_tests::{golden, not_run, programs};

/// Where RPM has it on today's distributions.
const DATABASE: &str = "/usr/lib/sysimage/rpm/rpmdb.sqlite";

/// Has programs, one of them only by name.
const ASKER: &str = "Name: asker
Version: 1
Release: 1
Summary: asks
License: none
BuildArch: noarch
%description
asks
%install
mkdir -p %{buildroot}/usr/bin
for name in asker shared ghost; do echo 1 >%{buildroot}/usr/bin/$name; done
%files
%attr(755, root, root) /usr/bin/asker
%attr(755, root, root) /usr/bin/shared
%ghost %attr(755, root, root) /usr/bin/ghost
";

/// Has one of them, too, and is installed later.
const SECOND: &str = "Name: second
Version: 1
Release: 1
Summary: asks as well
License: none
BuildArch: noarch
%description
asks as well
%install
mkdir -p %{buildroot}/usr/bin
echo 2 >%{buildroot}/usr/bin/shared
%files
%attr(755, root, root) /usr/bin/shared
";

/// Has no files. When it is nearly installed, it keeps what is not in the database yet.
const BUSY: &str = "Name: busy
Version: 1
Release: 1
Summary: looks on
License: none
BuildArch: noarch
%description
looks on
%post
cp DIRECTORY/database/rpmdb.sqlite-wal DIRECTORY/log
%files
";

/// Runs a program of RPM's, and gives what it says.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The database of a system on which all are installed, and the log that was beside it
/// meanwhile, if RPM is here.
fn database(directory: &Path) -> Option<[PathBuf; 2]> {
    for program in ["rpmbuild", "rpm"] {
        if Command::new(program).arg("--version").output().is_err() {
            not_run(&format!(
                "packages of RPM's ({program} is missing: make deps-guest)"
            ));
            return None;
        }
    }
    let database = directory.join("database");
    let topdir = format!("_topdir {}", directory.display());
    let busy = BUSY.replace("DIRECTORY", directory.to_str().unwrap());
    for (name, spec) in [("asker", ASKER), ("second", SECOND), ("busy", &busy)] {
        let file = directory.join(name);
        fs::write(&file, spec).unwrap();
        // Its files stay where they are.
        let no_files = (name != "busy").then_some("--justdb");
        run(Command::new("rpmbuild")
            .args(["-bb", "--quiet", "--define", &topdir])
            .arg(file));
        run(Command::new("rpm")
            .arg("--dbpath")
            .arg(&database)
            .args(["--install", "--nodeps", "--replacefiles"])
            .args(no_files)
            .arg(directory.join(format!("RPMS/noarch/{name}-1-1.noarch.rpm"))));
    }
    // As the test needs it.
    let states = run(Command::new("rpm")
        .arg("--dbpath")
        .arg(&database)
        .args(["--query", "--state", "asker"]));
    let mut states: Vec<_> = states.lines().map(|line| line.split_whitespace()).collect();
    states.sort_by_key(|line| line.clone().next_back());
    let states: Vec<Vec<_>> = states.into_iter().map(Iterator::collect).collect();
    assert_eq!(
        states,
        [
            ["normal", "/usr/bin/asker"],
            ["normal", "/usr/bin/ghost"],
            ["replaced", "/usr/bin/shared"]
        ]
    );
    let size = |file: &Path| fs::metadata(file).unwrap().len();
    let log = directory.join("log");
    assert_eq!(size(&database.join("rpmdb.sqlite-wal")), 0);
    assert_ne!(size(&log), 0);
    Some([database.join("rpmdb.sqlite"), log])
}

const POLICY: &str = r#"
default = "deny"

[[rule]]
name = "RPM's"
action = "allow"
package = "asker"

[[rule]]
name = "dpkg's"
action = "allow"
package = "keyutils"

[[rule]]
name = "whoever may be bad"
action = "deny"
package = "bad"
"#;

const COPIES: &str = r"
for name in bin/asker bin/shared bin/ghost bin/other local/bin/asker; do
    cp /usr/bin/keyctl /usr/$name
done
";

/// A process that is of the package, as the operator sees it.
const EXPLAIN: &str = r#"
mkfifo /run/input
/usr/bin/asker prequest2 user tpm2:derived:a @s </run/input >/dev/null 2>&1 &
exec 9>/run/input
until [ "$(readlink /proc/$!/exe)" = /usr/bin/asker ]; do sleep 0.1; done
explain() {
    tdk policy explain --pid $! --key-id a --what 32 --identity path || true
}
explain
cp /root/log $database-wal
explain
rm $database-wal
chmod 666 $database
explain
chmod 644 $database
kill $!
exec 9>&-
wait || true
"#;

#[test]
fn a_policy_by_packages_of_rpm() {
    let Some(machine) = debian() else { return };
    let directory = tempfile::tempdir().unwrap();
    let Some([file, log]) = database(directory.path()) else {
        return;
    };
    let guest = machine
        .guest()
        .state(golden::state())
        .file(programs::tdk_file(), "/usr/bin/tdk", 0o755)
        .file(file, DATABASE, 0o644)
        .file(log, "/root/log", 0o644)
        .text("/etc/tdk/policy.toml", POLICY);
    let by = |program: &str| Request::user("a", "32 path", 0, program.as_bytes());
    let mut script = Script::default();
    script.lines(&format!("database={DATABASE}"), 0);
    script.lines(COPIES, 0);
    let mut ask = |program: &str| {
        script.ask(program, &by(program));
    };
    ask("/usr/bin/asker");
    for program in ["shared", "ghost", "other", "asker"] {
        let directory = if program == "asker" { "local/" } else { "" };
        ask(&format!("/usr/{directory}bin/{program}"));
    }
    ask(KEYCTL);
    // RPM is at work: nothing is sure, of dpkg's packages neither.
    script.lines("cp /root/log $database-wal", 0);
    script.ask("/usr/bin/asker", &by("/usr/bin/asker"));
    script.ask(KEYCTL, &by(KEYCTL));
    script.lines(": >$database-wal", 0);
    script.lines(EXPLAIN, 0);
    // RPM's alone, and by the name that it had before.
    script.lines("mv /var/lib/dpkg /var/lib/none", 0);
    script.lines("ln -s ../../usr/lib/sysimage/rpm /var/lib/rpm", 0);
    script.ask("/usr/bin/asker", &by("/usr/bin/asker"));
    script.ask(KEYCTL, &by(KEYCTL));
    script.lines("rm /var/lib/rpm; mv /usr/lib/sysimage/rpm /var/lib/rpm", 0);
    script.ask("/usr/bin/asker", &by("/usr/bin/asker"));
    script.ask("/usr/bin/other", &by("/usr/bin/other"));
    // As it was before 4.16, and none at all.
    script.lines("mv /var/lib/rpm/rpmdb.sqlite /var/lib/rpm/Packages", 0);
    script.ask("/usr/bin/asker", &by("/usr/bin/asker"));
    script.lines("rm /var/lib/rpm/Packages", 0);
    script.ask("/usr/bin/asker", &by("/usr/bin/asker"));
    script.lines("mv /var/lib/none /var/lib/dpkg", 0);
    script.ask(KEYCTL, &by(KEYCTL));
    let (answers, run) = script.run(guest);
    let output = String::from_utf8(run.stdout).unwrap();

    let expected = oracle::derive(&golden::tpm().tcti(), &[by("/usr/bin/asker"), by(KEYCTL)]);
    let [asker, keyctl] = <[_; 2]>::try_from(expected).unwrap();
    let no = || errno("EACCES");
    let expected = [
        // Replaced, only named, of no package, elsewhere.
        vec![asker.clone(), no(), no(), no(), no(), keyctl.clone()],
        vec![no(), no()],
        vec![asker.clone(), no(), asker, no()],
        vec![no(), no(), keyctl],
    ];
    assert_eq!(answers, expected.concat(), "{output}");

    let explained: Vec<_> = output
        .lines()
        .filter(|line| line.starts_with("allowed") || line.starts_with("refused"))
        .collect();
    let rule = "allowed by rule 'RPM's' at /etc/tdk/policy.toml:4";
    let bad = "refused: rule 'whoever may be bad' at /etc/tdk/policy.toml:14 of the policy denies it, \
               as the asker's package can't be told";
    assert_eq!(explained, [rule, bad, bad], "{output}");
    for why in [
        "rpmdb.sqlite-wal has changes that are not in it yet",
        "others than root can write /usr/lib/sysimage/rpm/rpmdb.sqlite",
    ] {
        assert!(output.contains(why), "{output}");
    }
    let layers = "sandbox=no_new_privs,landlock,capabilities,seccomp";
    assert!(run.journal.contains(layers), "{}", run.journal);
}
