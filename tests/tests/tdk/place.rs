// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where the TPM is, and how the command is configured.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use tdk_simulator::Swtpm;
use tdk_tests::assert_no_handles;
use tdk_tests::programs::{run_tdk, stderr, stdout, tdk};
use tdk_tests::{golden, oracle};

use crate::derive::derive;

#[test]
fn what_is_no_device_is_not_written_to() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "content").unwrap();
    let tcti = format!("device:{}", file.display());
    let text = stderr(&run_tdk(&["root", "--tcti", &tcti]), 1);
    assert!(text.contains("not a character device"), "{text}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "content");
    let text = stderr(&run_tdk(&["root", "--tcti", "device:/dev/null"]), 1);
    assert!(text.contains("not a TPM device"), "{text}");
}

#[test]
fn the_root_keys_name() {
    let tpm = golden::tpm();
    let tcti = tpm.tcti();
    assert_eq!(stdout(&run_tdk(&["root", "--tcti", &tcti])), golden::root());
    let json = stdout(&run_tdk(&["root", "--json", "--tcti", &tcti]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["name"], golden::root());
    assert_eq!(json["tcti"], tcti);
    assert_no_handles(&tpm);
}

#[test]
fn where_the_tpm_is() {
    let tpm = golden::tpm();
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.toml");
    let path = config.to_str().unwrap();
    fs::write(&config, format!("tcti = \"{}\"\n", tpm.tcti())).unwrap();
    assert_eq!(
        stdout(&run_tdk(&["root", "--config", path])),
        golden::root()
    );

    // The environment that TSS programs heed is not.
    let output = tdk()
        .args(["root", "--config", path])
        .env("TPM2TOOLS_TCTI", "swtpm:path=/nonexistent")
        .env("TCTI", "swtpm:path=/nonexistent")
        .output();
    assert_eq!(stdout(&output.unwrap()), golden::root());

    fs::write(&config, "realm = \"blue\"\ntcti = 'tabrmd:'\n").unwrap();
    let text = stderr(&run_tdk(&["root", "--config", path]), 1);
    assert!(text.contains("config.toml:2:8: TCTI 'tabrmd:'"), "{text}");
    let text = stderr(&run_tdk(&["root", "--tcti", "swtpm"]), 2);
    assert!(text.contains("TCTI 'swtpm': write"), "{text}");
    let text = stderr(&run_tdk(&["root", "--tcti", "device:/nonexistent"]), 1);
    assert!(
        text.contains("can't open the TPM at device:/nonexistent"),
        "{text}"
    );
}

#[test]
fn a_configured_realm_counts() {
    let tpm = Swtpm::builder().start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.toml");
    fs::write(&config, "realm = \"blue\"\n").unwrap();
    let mut request = oracle::Request::user("x", "32 path", 1000, "/usr/bin/keyctl");
    request.realm = b"blue".into();
    let realm = hex::encode(oracle::key(&tpm.tcti(), &request));
    let asked = [
        "--what",
        "32",
        "--key-id",
        "x",
        "--config",
        config.to_str().unwrap(),
    ];
    assert_eq!(stdout(&derive(&tpm.tcti(), &asked)), realm);
    let asked = ["--what", "32", "--key-id", "x", "--realm", "blue"];
    assert_eq!(stdout(&derive(&tpm.tcti(), &asked)), realm);
}

#[test]
fn configurations_that_can_not_be_used() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.toml");
    let say = |path: &std::path::Path| {
        let output = run_tdk(&["root", "--config", path.to_str().unwrap()]);
        stderr(&output, 1)
    };
    assert!(say(&path).contains("No such file"));
    assert!(say(directory.path()).contains("not a regular file"));
    fs::write(&path, "tctii = 1\n").unwrap();
    assert!(say(&path).contains("config.toml:1:1: unknown field `tctii`"));
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    assert!(say(&path).contains("others than root"));
    std::os::unix::fs::symlink("loop", directory.path().join("loop")).unwrap();
    assert!(say(&directory.path().join("loop")).contains("symbolic links"));
}

#[test]
fn broken_tpms_are_named() {
    let tpm = Swtpm::builder().start().unwrap();
    tpm.set_owner_auth(b"secret").unwrap();
    let text = stderr(&derive(&tpm.tcti(), &["--what", "32", "--key-id", "x"]), 1);
    assert!(
        text.contains("TPM2_CreatePrimary: TPM_RC_BAD_AUTH (0x9a2)") && text.contains("owner_auth"),
        "{text}"
    );
}
