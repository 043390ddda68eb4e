// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Askers known by what they can't change by themselves: their cgroup, and the
//! content that fs-verity holds their executable to.

use tdk_tests::golden;
use tdk_tests::guest::{KEYCTL, Machine, NEW, OLD, Script, debian, verity_digests, verity_disk};
use tdk_tests::live::{Answer, errno};
use tdk_tests::oracle::{self, Request};

/// What the other implementation makes of it with the TPM of `tests/golden`.
fn key(request: &Request) -> Vec<u8> {
    oracle::key(&golden::tpm().tcti(), request)
}

const COPY: &str = "/tmp/copy";

fn cgroups(machine: &Machine) {
    let asked = |uid, value: &str| Request::user("a", "32 cgroup", uid, value);
    let (web, inner, users) = (asked(0, "/web"), asked(0, "/web/a b"), asked(1000, "/web"));
    let mut script = Script::default();
    script
        .lines("cp /usr/bin/keyctl /tmp/copy", 0)
        .lines("mkdir -p '/sys/fs/cgroup/web/a b' && cd /sys/fs/cgroup", 0)
        .ask(KEYCTL, &web)
        .lines("echo $$ >web/cgroup.procs", 0)
        .ask(KEYCTL, &web)
        .ask(COPY, &web)
        .ask(KEYCTL, &users)
        // A namespace shows the cgroup as the root of all, but not to us.
        .lines("ask unshare -C sh -c \"$read_key\" sh keyctl request2 user tpm2:derived:a '32 cgroup'", 1)
        // A user can't leave it.
        .lines("setpriv --reuid 1000 --regid 1000 --clear-groups sh -c 'echo $$ >/sys/fs/cgroup/cgroup.procs' && echo left", 0)
        .lines("echo $$ >'web/a b/cgroup.procs'", 0)
        .ask(KEYCTL, &inner);
    let (answers, run) = script.run(
        machine
            .guest()
            .state(golden::state())
            // busybox's knows no cgroup namespaces.
            .file("/usr/bin/unshare", "/usr/bin/unshare", 0o755),
    );
    let expected = [&web, &web, &users, &web, &inner].map(|request| Ok(key(request)));
    assert_eq!(answers[0], errno("EACCES"));
    assert_eq!(answers[1..], expected);
    let console = String::from_utf8_lossy(&run.stdout);
    assert!(!console.contains("left"), "{console}");
    let log = run.kernel_log_of_script();
    assert!(log.contains("the asker is in the root cgroup"), "{log}");
}

#[test]
fn cgroups_on_6_1() {
    cgroups(&OLD);
}

#[test]
fn cgroups_on_6_12() {
    cgroups(&NEW);
}

/// No rule but by label, for processes of the default namespace of AppArmor's and of
/// another one.
const BY_LABEL: &str = r#"
default = "deny"

[[rule]]
action = "allow"
key_id = "a"
label = "unconfined"

[[rule]]
action = "allow"
key_id = "b"
label = ["confined", ":other:*"]

[[rule]]
action = "deny"
key_id = "c"
label = "unconfined"

[[rule]]
action = "allow"
key_id = "c"
"#;

fn labels(machine: &Machine) {
    let mut script = Script::default();
    script.lines(
        "mount -t securityfs none /sys/kernel/security && \
         mkdir /sys/kernel/security/apparmor/policy/namespaces/other && \
         echo label $(cat /proc/self/attr/current)",
        0,
    );
    let requests = ["a", "b", "c"].map(|key_id| Request::user(key_id, "32 path", 0, KEYCTL));
    for request in &requests {
        script.ask(KEYCTL, request);
    }
    // What a profile would do without a program that compiles one.
    let change = "echo changeprofile :other:unconfined >/proc/self/attr/current";
    script.lines(&format!("read_key='{change} && '\"$read_key\""), 0);
    for request in &requests {
        script.ask(KEYCTL, request);
    }
    let guest = machine.guest().state(golden::state());
    let (answers, run) = script.run(guest.text("/etc/tdk/policy.toml", BY_LABEL));
    let output = String::from_utf8_lossy(&run.stdout);
    assert!(output.contains("label unconfined\n"), "{output}");
    let [a, b, c] = requests.map(|request| Ok(key(&request)));
    let no = || errno("EACCES");
    assert_eq!(answers, [a, no(), no(), no(), b, c], "{output}");
}

#[test]
fn labels_on_6_1() {
    labels(&OLD);
}

#[test]
fn labels_on_6_12() {
    labels(&NEW);
}

/// What a host has whose cgroups are all of version 1.
#[test]
fn a_host_without_cgroups_of_version_2() {
    let Some(machine) = debian() else { return };
    let asked = |info: &str, value: &str| Request::user("a", info, 0, value);
    let id = asked("32 id", "");
    let mut script = Script::default();
    script
        .lines("cat /proc/self/cgroup", 0)
        .ask(KEYCTL, &asked("32 cgroup", ""))
        .ask(KEYCTL, &asked("32 cgroup scope=any", ""))
        .ask(KEYCTL, &id);
    // No rule by unit allows, and each denies.
    for action in ["allow", "deny"] {
        let default = if action == "allow" { "deny" } else { "allow" };
        let policy = format!(
            "printf 'default = \"{default}\"\n[[rule]]\naction = \"{action}\"\nunit = \"*\"\n' \
             >/etc/tdk/policy.toml"
        );
        script.lines(&policy, 0).ask(KEYCTL, &id);
    }
    let guest = machine
        .guest()
        .state(golden::state())
        .text("/etc/tdk/policy.toml", "")
        .kernel_arguments(
            "systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1",
        );
    let (answers, run) = script.run(guest);
    let output = String::from_utf8_lossy(&run.stdout);
    assert!(output.contains(":name=systemd:/"), "{output}");
    assert!(!output.contains("0::"), "{output}");
    let no = || errno("EACCES");
    assert_eq!(answers, [no(), no(), Ok(key(&id)), no(), no()], "{output}");
    let cause = "this system has no cgroup v2 hierarchy";
    assert_eq!(run.journal.matches(cause).count(), 2, "{}", run.journal);
}

#[test]
fn executables_under_fs_verity() {
    let directory = tempfile::tempdir().unwrap();
    let request = |value: &[u8]| Request::user("a", "32 verity", 0, value);
    let nothing = request(&[]);
    let mut script = Script::default();
    script
        .lines("mount /dev/vda /mnt && cp /usr/bin/keyctl /mnt/one", 0)
        .ask("/mnt/one", &nothing)
        .lines(
            "cp /mnt/one /mnt/two && cp /mnt/one /mnt/other && echo >>/mnt/other",
            0,
        )
        .lines("fsverity enable /mnt/one && fsverity enable /mnt/other", 0)
        .lines(
            "fsverity enable --hash-alg=sha512 /mnt/two && cp /mnt/one /mnt/copy",
            0,
        )
        .lines("fsverity measure /mnt/one /mnt/two /mnt/other", 0)
        .ask("/mnt/one", &nothing)
        .ask("/mnt/two", &nothing)
        .ask("/mnt/other", &nothing)
        // Elsewhere it is the same file; a copy is only that once it has been enabled.
        .lines("mkdir /mnt/elsewhere && mv /mnt/one /mnt/elsewhere/one", 0)
        .ask("/mnt/elsewhere/one", &nothing)
        .ask("/mnt/copy", &nothing)
        // Nobody changes it.
        .lines("echo >>/mnt/elsewhere/one && echo changed", 0)
        .ask(KEYCTL, &nothing);
    let guest = NEW
        .guest()
        .state(golden::state())
        .file("/usr/bin/fsverity", "/usr/bin/fsverity", 0o755)
        .module("ext4")
        .disk(verity_disk(directory.path()));
    let (answers, run) = script.run(guest);
    let output = String::from_utf8_lossy(&run.stdout);
    assert!(!output.contains("changed"), "{output}");
    let digests = verity_digests(&output);
    let [one, two, other] = &digests[..] else {
        panic!("{output}");
    };
    let of = |algorithm: u8, digest: &[u8]| -> Answer {
        Ok(key(&request(&[&[0, algorithm], digest].concat())))
    };
    let no = errno("EACCES");
    let (one, two, other) = (of(1, one), of(2, two), of(1, other));
    assert_eq!(
        answers,
        [no.clone(), one.clone(), two, other, one, no.clone(), no]
    );
    let log = run.kernel_log_of_script();
    let cause = "executable has no fs-verity digest: No data available";
    assert!(log.contains(cause), "{log}");
}
