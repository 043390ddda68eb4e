// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `make install` and `make uninstall`, into a directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tdk_tests::programs::{self, stdout};
use tdk_tests::project;

fn make(target: &str, destdir: &Path, prefix: &str) -> String {
    stdout(&run(target, destdir, prefix))
}

fn run(target: &str, destdir: &Path, prefix: &str) -> Output {
    // Builds what the other tests use, and would do so at the same time.
    programs::callout();
    Command::new("make")
        .current_dir(project())
        .args(["--silent", target])
        .arg(format!("DESTDIR={}", destdir.display()))
        .arg(format!("PREFIX={prefix}"))
        .output()
        .unwrap()
}

#[test]
fn what_tdk_lacks_is_told() {
    let directory = tempfile::tempdir().unwrap();
    programs::callout();
    let ldd = directory.path().join("ldd");
    fs::write(&ldd, "#!/bin/sh\necho 'libtss2-esys.so.0 => not found'\n").unwrap();
    fs::set_permissions(&ldd, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    let output = Command::new(project().join("scripts/install.sh"))
        .args([directory.path().to_str().unwrap(), "/usr"])
        .env("PATH", format!("{}:{path}", directory.path().display()))
        .output()
        .unwrap();
    let said = stdout(&output);
    assert!(said.contains("apt-get install libtss2-esys"), "{said}");
    assert!(!make("install", directory.path(), "/usr").contains("apt-get"));
}

fn files(directory: &Path) -> Vec<String> {
    let output = Command::new("find")
        .current_dir(directory)
        .args([".", "-type", "f"])
        .output()
        .unwrap();
    let mut files: Vec<_> = stdout(&output).lines().map(str::to_owned).collect();
    files.sort();
    files
}

#[test]
fn install_and_uninstall() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    make("install", root, "/usr");
    assert_eq!(
        files(root),
        [
            "./etc/request-key.d/tpm2-derived.conf",
            "./etc/tdk/config.toml",
            "./etc/tdk/policy.toml",
            "./usr/bin/tdk",
            "./usr/lib/modules-load.d/tpm2-derived.conf",
            "./usr/lib/systemd/system/tdk-unlock@.service",
            "./usr/sbin/key.tpm2_derived",
        ]
    );
    let mode = |file: &str| fs::metadata(root.join(file)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("usr/sbin/key.tpm2_derived"), 0o755);
    assert_eq!(mode("etc/tdk/config.toml"), 0o644);
    assert_eq!(mode("etc/tdk/policy.toml"), 0o644);

    // What is installed is a configuration, and the default one.
    let config = root.join("etc/tdk/config.toml");
    let loaded = tpm_derived_keys::config::Config::load(Some(&config)).unwrap();
    assert_eq!(loaded, tpm_derived_keys::config::Config::default());

    // The callout depends on no library.
    let linked = Command::new("ldd")
        .arg(root.join("usr/sbin/key.tpm2_derived"))
        .output()
        .unwrap();
    let text = [linked.stdout, linked.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.contains("statically linked") || text.contains("not a dynamic"),
        "{text}"
    );

    // What the administrator wrote stays.
    let line = root.join("etc/request-key.d/tpm2-derived.conf");
    fs::write(&config, "realm = \"blue\"\n").unwrap();
    let policy = root.join("etc/tdk/policy.toml");
    fs::write(&policy, "default = \"deny\"\n").unwrap();
    let mine = "create user tpm2:derived:* * /usr/sbin/key.tpm2_derived %k %t %d %c %u %g %S\n";
    fs::write(&line, mine).unwrap();
    let said = make("install", root, "/usr");
    assert!(
        said.contains("kept") && said.contains("config.toml"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(&config).unwrap(), "realm = \"blue\"\n");
    assert_eq!(fs::read_to_string(&policy).unwrap(), "default = \"deny\"\n");
    assert_eq!(fs::read_to_string(&line).unwrap(), mine);

    // Under another prefix, that line would run the program that was there.
    let output = run("install", root, "/usr/local");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("does not run /usr/local/sbin/key.tpm2_derived"),
        "{text}"
    );
    let said = make("uninstall", root, "/usr/local");
    assert!(
        said.contains("kept") && said.contains("tpm2-derived.conf"),
        "{said}"
    );
    assert!(line.exists());

    let said = make("uninstall", root, "/usr");
    assert!(said.contains("kept"), "{said}");
    assert_eq!(
        files(root),
        ["./etc/tdk/config.toml", "./etc/tdk/policy.toml"]
    );
}

#[test]
fn another_prefix() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    make("install", root, "/usr/local");
    let line = fs::read_to_string(root.join("etc/request-key.d/tpm2-derived.conf")).unwrap();
    assert!(
        line.contains("\t/usr/local/sbin/key.tpm2_derived %k"),
        "{line}"
    );
    assert!(root.join("usr/local/sbin/key.tpm2_derived").exists());
    let unit = root.join("usr/local/lib/systemd/system/tdk-unlock@.service");
    let unit = fs::read_to_string(unit).unwrap();
    assert!(
        unit.contains("ExecStart=/usr/local/bin/tdk request"),
        "{unit}"
    );
    make("uninstall", root, "/usr/local");
    assert_eq!(files(root), [""; 0]);
    assert!(!root.join("etc/tdk").exists());
}
