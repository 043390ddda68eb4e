// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The keys that never change.

use tdk_tests::guest::{KEYCTL, Machine, NEW, OLD, Script};
use tdk_tests::live::errno;
use tdk_tests::oracle::Request;
use tdk_tests::{golden, programs};
use tpm_derived_keys::tpm::{Direct, Name, Patience, RootKey, Trust};

/// What libtss2 loads to speak to a device. ldd(1) does not know of it.
const MODULE: &str = "/usr/lib/x86_64-linux-gnu/libtss2-tcti-device.so.0";

/// tdk over both backends and both devices, a line each.
const TDK: &str = r#"
    for backend in direct tss; do
        for device in /dev/tpmrm0 /dev/tpm0; do
            echo "tdk $(tdk root --backend $backend --tcti device:$device)"
        done
    done"#;

/// What keyctl(1) can ask for in a guest: not another program's keys, nor those
/// of a service or of another realm.
fn can_be_asked(request: &Request) -> bool {
    let words: Vec<_> = request.info.split(|byte| *byte == b' ').collect();
    let is = |word: &str| words.contains(&word.as_bytes());
    request.key_type == "user"
        && request.realm.is_empty()
        && ((is("path") && request.value == KEYCTL.as_bytes()) || is("id"))
        // setpriv takes no larger ones.
        && i32::try_from(request.uid).is_ok()
}

/// The storage key's Name of the TPM that the golden keys are from.
fn storage_key() -> Name {
    let tpm = golden::tpm();
    let (tcti, trust) = (tpm.tcti().parse().unwrap(), Trust::default());
    let mut direct = Direct::open(&tcti, &Patience::default(), &trust).unwrap();
    RootKey::create(&mut direct).unwrap().flush().unwrap();
    direct.storage_key().unwrap()
}

/// On a machine that knows its TPM by what is on the kernel's command line.
fn golden_keys(machine: &Machine) {
    let mut script = Script::default();
    let mut expected = Vec::new();
    for entry in golden::entries() {
        if can_be_asked(&entry.request) {
            script.ask(KEYCTL, &entry.request);
            expected.push(Ok(entry.payload));
        }
    }
    assert!(expected.len() >= 20, "only {}", expected.len());
    script.lines(TDK, 0);
    // What the kernel says is another TPM: first its storage key, then its root key.
    let another = format!("000b{}", "11".repeat(32));
    let mut entries = golden::entries().into_iter().map(|entry| entry.request);
    let request = entries.find(can_be_asked).unwrap();
    for word in ["tdk.srk_name", "tdk.root_name"] {
        let command_line = format!(
            "sed 's/{word}=[0-9a-f]*/{word}={another}/' /proc/cmdline >/tmp/{word}
             mount --bind /tmp/{word} /proc/cmdline"
        );
        script.lines(&command_line, 0);
        script.ask(KEYCTL, &request);
        expected.push(errno("EKEYREVOKED"));
        script.lines("umount /proc/cmdline", 0);
    }
    let (root, srk) = (golden::root(), storage_key());
    let guest = machine
        .guest()
        .kernel_arguments(&format!("tdk.root_name={root} tdk.srk_name={srk}"))
        .state(golden::state())
        .file(programs::tdk_file(), "/usr/bin/tdk", 0o755)
        .file(MODULE, MODULE, 0o644);
    let (keys, run) = script.run(guest);
    assert_eq!(keys, expected);
    let output = String::from_utf8_lossy(&run.stdout);
    let roots: Vec<_> = output
        .lines()
        .filter_map(|line| line.strip_prefix("tdk "))
        .collect();
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert_eq!(roots, vec![golden::root(); 4], "{stderr}");
}

#[test]
fn golden_keys_on_6_1() {
    golden_keys(&OLD);
}

#[test]
fn golden_keys_on_6_12() {
    golden_keys(&NEW);
}
