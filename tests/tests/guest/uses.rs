// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What keys are good for in the kernel, typed as the pages have it: all pages in one
//! machine, which is then started again, and at last with another TPM.

use std::fmt::Write;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tdk_simulator::StateSource;
use tdk_simulator::guest::{GuestBuilder, Run};
use tdk_tests::golden;
use tdk_tests::guest::{KEYCTL, Machine, NEW, OLD, Script, assert_kernel_is_well};
use tdk_tests::live::errno;
use tdk_tests::oracle::{self, Request};
use tdk_tests::programs::{self, stdout};
use tdk_tests::transcript::{self, Part};

const PAGES: [&str; 5] = [
    "docs/volumes.md",
    "docs/kernel-crypto.md",
    "docs/encrypted-keys.md",
    "docs/lifetimes.md",
    "docs/sharing.md",
];

/// What the pages need of the kernel, where it is not built in.
const MODULES: [&str; 6] = [
    "dm_crypt",
    "xts",
    "ecb",
    "algif_skcipher",
    "ctr",
    "pkcs8_key_parser",
];

/// What a Debian has, and the machine has not: its shell, which takes no program for
/// its own, and these.
const PROGRAMS: [&str; 9] = [
    "blkid",
    "blockdev",
    "cryptsetup",
    "mkfs.ext4",
    "mount",
    "openssl",
    "python3",
    "setpriv",
    "umount",
];

/// The modules of Python that the pages' programs import, sooner or later, as files.
const IMPORTED: &str = "
import ctypes, os, signal, site, socket, struct, sys, warnings
for module in list(sys.modules.values()):
    if getattr(module, '__file__', None):
        print(module.__file__)
";

const PASSWD: &str = "\
root:x:0:0::/root:/bin/sh
alice:x:1000:1000::/:/bin/sh
bob:x:1001:1001::/:/bin/sh
carol:x:1002:1002::/:/bin/sh
dave:x:1003:1003::/:/bin/sh
";
const GROUP: &str = "\
root:x:0:
alice:x:1000:
bob:x:1001:
carol:x:1002:
dave:x:1003:
team:x:1100:alice,bob
";

/// What udev does in a Debian, and the disk for files.
const BEFORE: &str = r#"
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
cat >/usr/sbin/dmsetup <<'END'
#!/bin/sh
/sbin/dmsetup "$@" && /sbin/dmsetup mknodes
END
chmod 755 /usr/sbin/dmsetup
mkdir /srv
mount /dev/vda /srv
"#;

/// Where Debian has a program.
fn find(program: &str) -> String {
    let script = r#"PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH; command -v "$1""#;
    stdout(&programs::run("sh", &["-c", script, "sh", program]))
}

fn installed<'a>(machine: &Machine, directory: &Path) -> GuestBuilder<'a> {
    let mut guest = machine
        .guest()
        .time_limit(Duration::from_mins(5))
        .disk(directory.join("files"))
        .disk(directory.join("volume"))
        .text("/etc/passwd", PASSWD)
        .text("/etc/group", GROUP)
        .file("/bin/sh", "/bin/sh", 0o755)
        .file(find("dmsetup"), "/sbin/dmsetup", 0o755)
        .file(programs::tdk_file(), "/usr/bin/tdk", 0o755);
    for program in PROGRAMS {
        let path = find(program);
        guest = guest.file(&path, &path, 0o755);
    }
    let imported = programs::run(&find("python3"), &["-I", "-S", "-c", IMPORTED]);
    for file in stdout(&imported).lines() {
        guest = guest.file(file, file, 0o644);
    }
    for page in PAGES {
        for (path, text) in transcript::files(page) {
            guest = guest.text(path, text);
        }
    }
    MODULES.into_iter().fold(guest, GuestBuilder::module)
}

/// Has a machine type the parts of all pages that are called so.
fn replay(guest: GuestBuilder<'_>, names: &[&str]) -> Run {
    let parts: Vec<(&str, Part)> = PAGES
        .into_iter()
        .flat_map(|page| {
            transcript::parts(page)
                .into_iter()
                .map(move |part| (page, part))
        })
        .filter(|(_, part)| names.contains(&part.name.as_str()))
        .collect();
    let mut script = String::from(BEFORE);
    for (page, part) in &parts {
        let typed = part.script(None);
        writeln!(script, "echo '== {page}'\nkeyctl clear @u\n{typed}").unwrap();
    }
    let run = guest.script(script + "umount /srv\n").run();
    let run = run.unwrap_or_else(|error| panic!("{error}"));
    let output = String::from_utf8(run.stdout.clone()).unwrap();
    println!(
        "{names:?}: {:?}\n{output}\n{}",
        run.duration, run.kernel_log
    );
    assert_eq!(run.status, 0, "{}", String::from_utf8_lossy(&run.stderr));
    for (page, part) in &parts {
        let (_, typed) = output.split_once(&format!("== {page}\n")).unwrap();
        part.compare(typed);
    }
    assert_kernel_is_well(&run);
    run
}

fn contains(file: &Path, what: &[u8]) -> bool {
    let content = fs::read(file).unwrap();
    content.windows(what.len()).any(|at| at == what)
}

fn the_pages(machine: &Machine) {
    let directory = tempfile::tempdir().unwrap();
    let [files, volume] = ["files", "volume"].map(|name| directory.path().join(name));
    File::create(&volume).unwrap().set_len(16 << 20).unwrap();
    let mut mke2fs = Command::new(find("mke2fs"));
    let output = mke2fs
        .args(["-q", "-t", "ext4"])
        .arg(&files)
        .arg("16M")
        .output();
    assert!(output.as_ref().unwrap().status.success(), "{output:?}");

    let guest = installed(machine, directory.path()).state(golden::state());
    let run = replay(guest, &["first", &machine.kernel.to_string()]);
    // Nothing on the disks but what is to be there.
    assert!(contains(&files, b"default user:tpm2:derived:kmk 32 "));
    assert!(!contains(&volume, b"hello from before"));
    let tpm = golden::tpm();
    let kmk = oracle::key(&tpm.tcti(), &Request::user("kmk", "32 id", 0, ""));
    for key in [&kmk[..], hex::encode(&kmk).as_bytes()] {
        assert!(!contains(&files, key));
    }

    let state = StateSource::Resume(run.state.unwrap());
    replay(
        installed(machine, directory.path()).state(state),
        &["reboot"],
    );

    let before = fs::read(&volume).unwrap();
    let guest = installed(machine, directory.path()).state(StateSource::Fresh);
    replay(guest, &["another TPM"]);
    assert!(
        before == fs::read(&volume).unwrap(),
        "the volume was written to"
    );
}

/// Fills a user's quota of keys but for what a short key needs; and back.
const FULL: &str = r#"
alice() { setpriv --reuid alice --regid alice --init-groups "$@"; }
charged() { sed -n 's|^ *1000: .* \([0-9]*\)/[0-9]*$|\1|p' /proc/key-users; }
most=/proc/sys/kernel/keys/maxbytes
allowed=$(cat $most)
echo 2000 >$most
alice keyctl request2 user tpm2:derived:first "1024 id" @u >/dev/null
before=$(charged)
"#;
const AFTER: &str = r#"
alice tdk request --key-id second --what 1024 --identity id 2>&1
timeout 30 sh -c "until grep -q '^ *1000: .* $before/2000' /proc/key-users; do sleep 0.1; done" &&
    echo nothing left
echo $allowed >$most
"#;
/// What the kernel itself takes for no description of a `logon` key.
const NO_DESCRIPTIONS: &str = r#"
for description in nocolon :x; do
    ask sh -c 'keyctl request2 logon "$1" "32 id" @s' sh $description
done
"#;

#[test]
fn what_there_is_no_room_for() {
    let request = |info| Request::user("second", info, 1000, "");
    let logon = |key_id: &str| Request {
        key_type: "logon".into(),
        ..Request::user(key_id, "1024 id", 1000, "")
    };
    let mut script = Script::default();
    script
        .lines(FULL, 1)
        .ask(KEYCTL, &request("1024 id"))
        .ask(KEYCTL, &logon("second"))
        .ask(KEYCTL, &request("32 id"))
        .lines(AFTER, 1)
        .ask(KEYCTL, &request("1024 id"))
        .ask(KEYCTL, &logon(""))
        .lines(NO_DESCRIPTIONS, 0);
    let guest = NEW
        .guest()
        .time_limit(Duration::from_mins(2))
        .state(golden::state())
        .text("/etc/passwd", PASSWD)
        .text("/etc/group", GROUP)
        .file("/bin/sh", "/bin/sh", 0o755)
        .file(programs::tdk_file(), "/usr/bin/tdk", 0o755);
    let (answers, run) = script.run(guest);
    let tpm = golden::tpm();
    let key = |info| Ok(oracle::key(&tpm.tcti(), &request(info)));
    let [full, malformed] = ["EDQUOT", "EINVAL"].map(errno);
    let expected = [
        full.clone(),
        full,
        key("32 id"),
        key("1024 id"),
        malformed.clone(),
        malformed.clone(),
        malformed,
    ];
    assert_eq!(answers, expected);

    let output = String::from_utf8_lossy(&run.stdout);
    let said = "tdk: this user's quota of keys is full (EDQUOT): see /proc/key-users, and raise \
                kernel.keys.maxkeys and maxbytes\nnothing left\n";
    assert!(output.contains(said), "{output}");
    let cause = "errno=EDQUOT";
    let log = run.kernel_log.lines().filter(|line| line.contains(cause));
    let cause = "no room for it: see /proc/key-users, and raise kernel.keys.maxbytes";
    assert_eq!(log.filter(|line| line.contains(cause)).count(), 3);
}

#[test]
fn the_pages_on_6_1() {
    the_pages(&OLD);
}

#[test]
fn the_pages_on_6_12() {
    the_pages(&NEW);
}
