// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `--backend`: who speaks to the TPM, and to which ones.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tdk_simulator::Swtpm;
use tdk_tests::abrmd::Abrmd;
use tdk_tests::backend::Backend;
use tdk_tests::mssim::Mssim;
use tdk_tests::programs::{run_tdk, stderr, stdout, tdk};
use tdk_tests::{assert_no_handles, golden, not_run, oracle};

/// `tdk derive` of one key.
fn derive(tcti: &str) -> Command {
    let mut command = tdk();
    command.args(["derive", "--tcti", tcti, "--what", "32", "--key-id", "x"]);
    command.args(["--identity", "path", "--value", "/usr/bin/keyctl"]);
    command.args(["--uid", "1000"]);
    command
}

/// The same key by the oracle.
fn expected(tpm: &Swtpm) -> String {
    let request = oracle::Request::user("x", "32 path", 1000, "/usr/bin/keyctl");
    hex::encode(oracle::key(&tpm.tcti(), &request))
}

/// Fails unless that was the key, no more was said, and nothing is left.
fn assert_key(tpm: &Swtpm, output: &Output) {
    assert_eq!(stdout(output), expected(tpm));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_no_handles(tpm);
}

#[test]
fn both_give_the_same() {
    let tpm = golden::tpm();
    let tcti = tpm.tcti();
    for backend in Backend::ALL {
        let arguments = ["--backend", backend.name()];
        assert_key(&tpm, &derive(&tcti).args(arguments).output().unwrap());

        let output = run_tdk(&[
            "root",
            "--json",
            "--tcti",
            &tcti,
            "--backend",
            backend.name(),
        ]);
        let expected = format!(
            "{{\n  \"backend\": \"{}\",\n  \"name\": \"{}\",\n  \"tcti\": \"{tcti}\"\n}}",
            backend.name(),
            golden::root()
        );
        assert_eq!(stdout(&output), expected);
    }
}

#[test]
fn libtss2_is_asked_only_for_what_tdk_does_not_speak() {
    let tpm = golden::tpm();
    let relay = cmd(&tpm);
    for (tcti, backend) in [(tpm.tcti(), "direct"), (relay, "tss")] {
        let json = stdout(&run_tdk(&["root", "--json", "--tcti", &tcti]));
        assert!(
            json.contains(&format!("\"backend\": \"{backend}\"")),
            "{json}"
        );
    }
    // What is configured is the callout's, and can be had by both.
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.toml");
    fs::write(&config, format!("tcti = \"{}\"\n", tpm.tcti())).unwrap();
    let config = config.to_str().unwrap();
    for backend in Backend::ALL {
        let output = run_tdk(&["root", "--config", config, "--backend", backend.name()]);
        assert_eq!(stdout(&output), golden::root());
    }
}

#[test]
fn what_goes_with_neither() {
    let long = format!("swtpm:path=/{}", "x".repeat(102));
    for (arguments, status, expected) in [
        (
            &["--backend", "direct", "--tcti", "mssim:host=127.0.0.1"][..],
            2,
            "TCTI 'mssim:host=127.0.0.1': mssim is spoken by libtss2 only (tdk --backend tss); \
             use device or swtpm",
        ),
        (
            &["--backend", "tss", "--tcti", "device"],
            2,
            "TCTI 'device': name the device, as in device:/dev/tpmrm0",
        ),
        (
            &["--tcti", "mssim"],
            2,
            "TCTI 'mssim': write mssim:host=ADDRESS,port=NUMBER",
        ),
        (
            &["--tcti", "null"],
            2,
            "TCTI 'null': it begins with none of device:, swtpm:, tabrmd:, mssim:, cmd:, pcap:, \
             libtpms:",
        ),
        (
            &["--backend", "tss", "--tcti", "swtpm:path=/a=b"],
            2,
            "TCTI 'swtpm:path=/a=b': libtss2 takes no = in a socket's path; use --backend direct",
        ),
        (
            &["--backend", "tss", "--tcti", "swtpm:path=/nonexistent"],
            1,
            "can't open the TPM at swtpm:path=/nonexistent: No such file or directory (os error \
             2): start that software TPM, or let tcti name the one that runs",
        ),
        (
            &["--backend", "tss", "--tcti", "device:/dev/null"],
            1,
            "can't open the TPM at device:/dev/null: it is not a TPM device: check that the TPM is \
             switched on in the firmware setup and that the kernel has made /dev/tpmrm0",
        ),
        (
            &["--tcti", "mssim:port=1"],
            1,
            "can't open the TPM at mssim:host=127.0.0.1,port=1: Connection refused (os error \
             111): start that simulator, or name the one that runs",
        ),
        (
            // Takes a command, and ends.
            &["--tcti", "cmd:dd bs=4096 count=1 >/dev/null 2>&1"],
            1,
            "TPM2_ReadPublic: the answer is no TPM 2.0 response: it is malformed (libtss2, \
             layer TCTI: 0xa0011): make sure that a TPM 2.0 is at the other end",
        ),
    ] {
        let output = run_tdk(&[&["root"], arguments].concat());
        assert_eq!(stderr(&output, status), format!("tdk: {expected}\n"));
    }
    let text = stderr(&run_tdk(&["root", "--backend", "tss", "--tcti", &long]), 2);
    assert!(text.contains("longer than the 107 bytes"), "{text}");
    let text = stderr(&run_tdk(&["root", "--backend", "both"]), 2);
    assert!(text.contains("[possible values: direct, tss]"), "{text}");
}

#[test]
fn a_file_that_is_no_device_is_not_written_to() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "content").unwrap();
    let tcti = format!("device:{}", file.display());
    let output = run_tdk(&["root", "--backend", "tss", "--tcti", &tcti]);
    let text = stderr(&output, 1);
    assert!(text.contains("not a character device"), "{text}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "content");
}

/// The TCTI of a command that leads to `tpm`.
fn cmd(tpm: &Swtpm) -> String {
    let relay = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tdk/relay.py");
    let socket = tpm.tcti().replace("swtpm:path=", "");
    format!("cmd:python3 '{}' '{socket}'", relay.display())
}

#[test]
fn by_a_command() {
    let tpm = golden::tpm();
    assert_key(&tpm, &derive(&cmd(&tpm)).output().unwrap());
}

#[test]
fn by_the_simulators_protocol() {
    let tpm = golden::tpm();
    let tcti = Mssim::before(&tpm).tcti();
    assert_key(&tpm, &derive(&tcti).output().unwrap());
}

#[test]
fn by_the_resource_manager_of_user_space() {
    for program in Abrmd::PROGRAMS {
        if !is_installed(program) {
            not_run(&format!("tabrmd: ({program} is missing)"));
            return;
        }
    }
    let tpm = golden::tpm();
    let abrmd = Abrmd::before(&tpm);
    let output = derive(abrmd.tcti())
        .env("DBUS_SESSION_BUS_ADDRESS", abrmd.address())
        .output()
        .unwrap();
    assert_eq!(stdout(&output), {
        // Which serves one connection at a time.
        drop(abrmd);
        expected(&tpm)
    });
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_no_handles(&tpm);
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .any(|directory| directory.join(program).exists())
}

#[test]
fn nobody_is_there_to_manage_resources() {
    let output = tdk()
        .args(["root", "--tcti", "tabrmd:bus_type=session"])
        .env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
        .output()
        .unwrap();
    let text = stderr(&output, 1);
    // GLib says something before that.
    assert!(
        text.ends_with(
            "tdk: can't open the TPM at tabrmd:bus_name=com.intel.tss2.Tabrmd,bus_type=session: no \
             connection (libtss2, layer TCTI: 0xa0008): start tpm2-abrmd, or name the bus that it \
             is on\n"
        ),
        "{text}"
    );
}

#[test]
fn a_recording_is_warned_of() {
    let tpm = golden::tpm();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("recording");
    let output = derive(&format!("pcap:{}", tpm.tcti()))
        .env("TCTI_PCAP_FILE", &file)
        .output()
        .unwrap();
    assert_eq!(stdout(&output), expected(&tpm));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "tdk: warning: pcap writes everything to a file\n"
    );
    // A section header of pcapng.
    assert!(fs::read(&file).unwrap().starts_with(b"\n\r\r\n"));
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
}

#[test]
fn libtss2_says_what_the_environment_wants() {
    let output = tdk()
        .args(["root", "--tcti", "libtpms:/nonexistent/state"])
        .env("TSS2_LOG", "all+error")
        .output()
        .unwrap();
    let text = stderr(&output, 1);
    assert!(text.contains("ERROR:tcti:"), "{text}");
    assert!(
        text.contains("tdk: can't open the TPM at libtpms:/nonexistent/state: "),
        "{text}"
    );
}
