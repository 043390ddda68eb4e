// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `docs/signing.md`, typed as it is there: RSA keys that only the kernel has.

use tdk_simulator::StateSource;
use tdk_tests::guest::{Machine, NEW, OLD, Script};
use tdk_tests::live::errno;
use tdk_tests::oracle::Request;
use tdk_tests::transcript::{self, Part};
use tdk_tests::{golden, programs};

/// What signing needs of the kernel.
const PARSER: &str = "pkcs8_key_parser";

/// In one session, as somebody who has logged in.
const IN_SESSION: &str = r#"
if [ -z "${in_session:-}" ]; then
    export in_session=1
    exec keyctl session - sh "$0"
fi
"#;

/// The sum of a signature by a key that is bound to keyctl's checksum, asked for
/// twice.
const BY_CHECKSUM: &str = r#"
echo hello | openssl dgst -sha256 -binary >digest
for time in first second; do
    key=$(keyctl request2 asymmetric tpm2:derived:test "32 csum" @s)
    echo "by checksum $(keyctl pkey_sign "$key" 0 digest enc=pkcs1 hash=sha256 | sha256sum)"
    keyctl unlink "$key" @s
done
"#;

/// How the checksum of nothing begins: of a signature that failed.
const NOTHING: &str = "e3b0c44298fc1c14";

/// Has a machine type a part of the page, and gives back the sums by checksum.
fn replay(machine: &Machine, state: StateSource, part: &Part) -> (Vec<String>, StateSource) {
    let openssl = "/usr/bin/openssl";
    let guest = machine
        .guest()
        .state(state)
        .module(PARSER)
        .file(openssl, openssl, 0o755)
        .file(programs::tdk_file(), "/usr/bin/tdk", 0o755)
        .script([IN_SESSION, &part.script(None), BY_CHECKSUM].concat());
    let run = guest.run().unwrap_or_else(|error| panic!("{error}"));
    let output = String::from_utf8(run.stdout).unwrap();
    part.compare(&output);
    let sums = output
        .lines()
        .filter_map(|line| line.strip_prefix("by checksum "))
        .map(str::to_owned)
        .collect();
    (sums, StateSource::Resume(run.state.unwrap()))
}

#[test]
fn the_same_signature_every_time() {
    let parts = transcript::parts("docs/signing.md");
    let names: Vec<_> = parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["first", "reboot", "another TPM"]);
    let [first, reboot, another_tpm] = <[_; 3]>::try_from(parts).unwrap();

    let (sums, state) = replay(&NEW, golden::state(), &first);
    assert_eq!(sums.len(), 2);
    assert_eq!(sums[0], sums[1]);
    assert!(!sums[0].starts_with(NOTHING));
    let (again, _) = replay(&OLD, state, &reboot);
    assert_eq!(again, sums);
    let (others, _) = replay(&NEW, StateSource::Fresh, &another_tpm);
    assert_ne!(others[0], sums[0]);
}

#[test]
fn a_kernel_without_parser() {
    let mut request = Request::user("x", "rsa2048 path", 0, "/usr/bin/keyctl");
    request.key_type = "asymmetric".into();
    let mut script = Script::default();
    script
        .ask("/usr/bin/keyctl", &request)
        .lines("dmesg | grep key.tpm2_derived", 0);
    let (answers, run) = script.run(NEW.guest());
    assert_eq!(answers, [errno("EKEYREJECTED")]);
    let output = String::from_utf8_lossy(&run.stdout);
    let cause = "it has no parser for private keys (EBADMSG): load it: modprobe pkcs8_key_parser";
    assert!(output.contains(cause), "{output}");
}
