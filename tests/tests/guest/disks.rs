// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `docs/disks.md`, typed as it is there: a volume that the TPM's key opens, and
//! what opens it when the TPM is gone.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use sha2::{Digest, Sha256};
use tdk_simulator::StateSource;
use tdk_simulator::guest::{GuestBuilder, Kernel};
use tdk_tests::guest::{NEW, debian};
use tdk_tests::oracle::{self, Request};
use tdk_tests::programs::{self, stdout};
use tdk_tests::transcript::{self, Part};
use tdk_tests::{golden, project};

/// What a volume and its file system need of the kernel.
const MODULES: [&str; 4] = ["dm_crypt", "xts", "ecb", "algif_skcipher"];

/// As `make install` installs it.
fn installed(guest: GuestBuilder<'_>) -> GuestBuilder<'_> {
    guest.file(programs::tdk().get_program(), "/usr/bin/tdk", 0o755)
}

/// Before a machine is switched off: much to be written to the volume, if it is
/// mounted, and the units on the console.
const END: &str = "
! mountpoint -q /srv || dd if=/dev/urandom of=/srv/much bs=1M count=20 2>/dev/null
systemctl log-target kmsg
echo on >/proc/sys/kernel/printk_devkmsg
echo 7 >/proc/sys/kernel/printk
";

/// Has a machine type a part of the page, and gives back what it wrote.
fn replay(
    guest: GuestBuilder<'_>,
    part: &Part,
    recovery_key: Option<&str>,
) -> (String, StateSource) {
    let guest = guest.script(part.script(recovery_key) + END);
    let run = guest.run().unwrap_or_else(|error| panic!("{error}"));
    let output = String::from_utf8(run.stdout).unwrap();
    println!("{}: {:?}\n{output}", part.name, run.duration);
    part.compare(&output);
    // What is mounted from the volume is unmounted before the volume is closed.
    let console = &run.console;
    let open = ["reboot", "another TPM"].contains(&part.name.as_str());
    let closing = console.find("Stopping tdk-unlock@data.service");
    let unmounted = console.find("srv.mount: Deactivated successfully");
    assert_eq!(closing.is_some(), open, "{console}");
    assert!(
        !open || unmounted.is_some() && unmounted < closing,
        "{console}"
    );
    (output, StateSource::Resume(run.state.unwrap()))
}

/// Which of these are somewhere in a file.
fn contained(file: &Path, what: &[&[u8]]) -> Vec<bool> {
    const SEARCH: &str = "
import mmap, sys
with open(sys.argv[1], 'rb') as file:
    content = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    for what in sys.argv[2:]:
        print(content.find(bytes.fromhex(what)) >= 0)
";
    let output = Command::new("python3")
        .args(["-c", SEARCH])
        .arg(file)
        .args(what.iter().map(hex::encode))
        .output()
        .unwrap();
    stdout(&output).lines().map(|line| line == "True").collect()
}

#[test]
fn a_disk_that_unlocks_itself() {
    let Some(machine) = debian() else { return };
    let parts = transcript::parts("docs/disks.md");
    let names: Vec<_> = parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["first", "reboot", "another system", "another TPM"]);
    let [first, reboot, another_system, another_tpm] = <[_; 4]>::try_from(parts).unwrap();

    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let disk = directory.path().join("disk");
    File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    let debian = |kernel, state| {
        let unit = project().join("callout/etc/tdk-unlock@.service");
        let guest = installed(machine.guest())
            .file(unit, "/usr/lib/systemd/system/tdk-unlock@.service", 0o644)
            .kernel(kernel)
            .state(state)
            .root(&root)
            .disk(&disk);
        MODULES.into_iter().fold(guest, GuestBuilder::module)
    };

    let guest = debian(Kernel::V6_12, golden::state());
    let (output, state) = replay(guest, &first, None);
    let recovery_key = transcript::recovery_key(&output).expect("a recovery key");
    let guest = debian(Kernel::V6_1, state);
    let (_, state) = replay(guest, &reboot, Some(recovery_key));

    // Whose sum the page shows, on this system and on another one.
    let request = Request::user("disk:data", "32 id", 0, "");
    let key = oracle::key(&golden::tpm().tcti(), &request);
    let printed = hex::encode(&key);
    let sum = hex::encode(Sha256::digest(format!("{printed}\n")));
    for part in [&reboot, &another_system] {
        let mut shown = part.shown();
        assert!(shown.any(|line| line.starts_with(&sum)), "{sum}");
    }
    replay(installed(NEW.guest()).state(state), &another_system, None);

    let guest = debian(Kernel::V6_12, StateSource::Fresh);
    replay(guest, &another_tpm, Some(recovery_key));

    // No secret is on a disk, but what is, is found.
    let secrets = [&key[..], printed.as_bytes(), recovery_key.as_bytes()];
    let note: &[u8] = b"tpm2:derived:disk:data";
    let found = |file, known| contained(file, &[&[known], &secrets[..]].concat());
    assert_eq!(found(&disk, note), [true, false, false, false]);
    assert_eq!(
        found(&root, b"Environment=GEN=1"),
        [true, false, false, false]
    );
}
