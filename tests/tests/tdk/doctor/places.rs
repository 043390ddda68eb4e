// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where the TPM is said to be, and machines that have none.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tdk_simulator::{Endpoint, Swtpm};
use tdk_tests::doctor::{ANSWERS, Report, depend};
use tdk_tests::programs::{run_tdk, stderr};

use super::{configured, doctor, is_root, report};

#[test]
fn where_there_is_no_tpm() {
    let before = doctor(&Swtpm::builder().start().unwrap().tcti());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let file = file.display();
    for (tcti, seen) in [
        ("device:/nonexistent", "there is no /nonexistent"),
        ("swtpm:path=/nonexistent", "there is no /nonexistent"),
        (&*format!("device:{file}"), "is no character device"),
        (&*format!("swtpm:path={file}"), "is no socket"),
    ] {
        let mut expected = depend(&ANSWERS, "tpm.device");
        expected.push(("tpm.device", "wrong", seen));
        expected.push(("tpm.access", "not checked", "tpm.device"));
        doctor(tcti).assert_changes(&before, tcti, &expected);
    }
    // Something that is not a TPM, and that everybody may write to.
    let mut expected = depend(&ANSWERS[1..], "tpm.answer");
    expected.push(("tpm.device", "ok", "/dev/null is there"));
    expected.push(("tpm.access", "wrong", "everybody can use /dev/null"));
    expected.push(("tpm.answer", "wrong", "not a TPM device"));
    doctor("device:/dev/null").assert_changes(&before, "/dev/null", &expected);
}

#[test]
fn tpms_that_are_none_of_the_callouts() {
    let tpm = Swtpm::builder().start().unwrap();
    let before = doctor(&tpm.tcti());
    let all = [&["tpm.device", "tpm.access"], &ANSWERS[..]].concat();
    let by_libtss2 = depend(&all, "by libtss2 is nothing that the callout uses");
    doctor("tabrmd:").assert_changes(&before, "tabrmd", &by_libtss2);
    let output = run_tdk(&[
        "doctor",
        "--json",
        "--backend",
        "tss",
        "--tcti",
        &tpm.tcti(),
    ]);
    report(&output).assert_changes(&before, "--backend tss", &by_libtss2);
    let output = run_tdk(&["doctor", "--backend", "direct", "--tcti", "tabrmd:"]);
    assert!(stderr(&output, 2).contains("TCTI 'tabrmd:'"));
}

#[test]
fn who_can_use_a_software_tpm() {
    let tpm = Swtpm::builder().start().unwrap();
    let before = doctor(&tpm.tcti());
    let socket = tpm.tcti().replace("swtpm:path=", "");
    let directory = Path::new(&socket).parent().unwrap();
    let allow =
        |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    allow(Path::new(&socket), 0o666);
    doctor(&tpm.tcti()).assert_changes(&before, "nobody can come near", &[]);
    allow(directory, 0o755);
    doctor(&tpm.tcti()).assert_changes(
        &before,
        "everybody",
        &[("tpm.access", "wrong", "and so derive every key")],
    );

    let tcp = Swtpm::builder()
        .state(tdk_simulator::StateSource::CopyOf(tpm.state_dir().into()))
        .endpoint(Endpoint::Tcp)
        .start()
        .unwrap();
    doctor(&tcp.tcti()).assert_changes(
        &before,
        "TCP",
        &[
            ("tpm.device", "note", "a software TPM"),
            (
                "tpm.access",
                "warning",
                "every user of this machine can connect to 127.0.0.1:",
            ),
        ],
    );
}

#[test]
fn configurations() {
    let tpm = Swtpm::builder().start().unwrap();
    let tcti = tpm.tcti();
    let before = doctor(&tcti);
    if !is_root() {
        let report = configured("", Some(&tcti));
        assert_eq!(report.line("callout.config").status, "wrong");
        return;
    }
    let good = configured("deadline_seconds = 3\nrealm = \"blue\"\n", Some(&tcti));
    let seen = "3 s, a realm of 4 bytes";
    good.assert_changes(&before, "good", &[("callout.config", "ok", seen)]);

    let wrong = ("callout.config", "wrong", "unknown field `tctii`");
    configured("tctii = 1\n", Some(&tcti)).assert_changes(&before, "bad", &[wrong]);
    let mut expected = depend(&ANSWERS, "callout.config");
    expected.extend(depend(&["tpm.device", "tpm.access"], "callout.config"));
    expected.push(wrong);
    configured("tctii = 1\n", None).assert_changes(&before, "bad", &expected);
}

/// Runs doctor where a system call fails, as a container's system call filter
/// has it.
#[cfg(target_arch = "x86_64")]
fn filtered(tcti: &str, call: &str, errno: &str) -> Report {
    // Load the call's number; if it is this one, fail; else allow it.
    let filter = r"
import ctypes, errno, os, struct, sys
call = {'add_key': 248, 'request_key': 249}[sys.argv[1]]
number = getattr(errno, sys.argv[2])
program = b''.join(struct.pack('HBBI', *step) for step in [
    (0x20, 0, 0, 0), (0x15, 0, 1, call), (0x06, 0, 0, 0x00050000 | number),
    (0x06, 0, 0, 0x7fff0000)])
buffer = ctypes.create_string_buffer(program)
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
fprog = ctypes.create_string_buffer(struct.pack('HxxxxxxQ', 4, ctypes.addressof(buffer)))
assert libc.prctl(22, 2, fprog, 0, 0) == 0
os.execv(sys.argv[3], sys.argv[3:])
";
    let output = std::process::Command::new("python3")
        .args(["-c", filter, call, errno])
        .arg(tdk_tests::programs::tdk().get_program())
        .args(["doctor", "--json", "--tcti", tcti])
        .output()
        .unwrap();
    report(&output)
}

#[cfg(target_arch = "x86_64")]
#[test]
fn kernels_and_containers_without_keys() {
    let tpm = Swtpm::builder().start().unwrap();
    let tcti = tpm.tcti();
    let before = doctor(&tcti);
    for (call, errno, expected) in [
        (
            "request_key",
            "ENOSYS",
            &[
                ("kernel.keyrings", "wrong", "request_key(2) is not there"),
                ("kernel.key-types", "not checked", "kernel.keyrings"),
            ][..],
        ),
        (
            "request_key",
            "EPERM",
            &[
                ("kernel.keyrings", "wrong", "request_key(2) is forbidden"),
                ("kernel.key-types", "not checked", "kernel.keyrings"),
            ],
        ),
        (
            "add_key",
            "ENODEV",
            &[("kernel.key-types", "wrong", "no keys of type user")],
        ),
        (
            "add_key",
            "EDQUOT",
            &[("kernel.key-types", "not checked", "quota")],
        ),
    ] {
        let what = format!("{call} {errno}");
        filtered(&tcti, call, errno).assert_changes(&before, &what, expected);
    }
}
