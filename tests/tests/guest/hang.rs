// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A TPM that does not answer, behind the kernel's own driver: nobody waits
//! longer for it than is configured.

use tdk_simulator::guest::Stream;
use tdk_tests::guest::{KEYCTL, Machine, NEW, NEW_CRB, OLD, Script};
use tdk_tests::live::errno;
use tdk_tests::oracle::Request;
use tdk_tests::programs;

/// Sets how long a request waits for the TPM. Short only while the TPM hangs:
/// on a busy host, a TPM at work may need more than a second.
fn deadline(seconds: u32) -> String {
    format!("sed -i 's/^deadline_seconds = .*/deadline_seconds = {seconds}/' /etc/tdk/config.toml")
}

/// The kernel asks the TPM for random numbers, too, and soon cancels that if there
/// is no answer, which stops QEMU until the TPM goes on: it is not to.
const NOTHING_RANDOM: &str = "echo none >/sys/class/misc/hw_random/rng_current";

fn a_hanging_tpm(machine: &Machine, device: &str) {
    let request = |name: &str| Request::user(name, "32 path", 0, KEYCTL);
    let mut script = Script::default();
    script
        .ask(KEYCTL, &request("a"))
        .lines(NOTHING_RANDOM, 0)
        .lines(&format!("echo halt; read -r _; {}", deadline(1)), 0)
        .ask(KEYCTL, &request("a"))
        .ask(KEYCTL, &request("b"))
        // The operator's command ends, too.
        .lines("tdk root 2>&1", 0)
        // All have been answered by now, while the TPM still hangs.
        // What waits for the TPM is nobody's parent, and goes with the answer.
        .lines(
            &format!(
                "{}; echo resume; read -r _; sleep 1; pidof key.tpm2_derived tdk",
                deadline(60)
            ),
            0,
        )
        .ask(KEYCTL, &request("b"))
        .ask(KEYCTL, &request("a"));
    let config = format!("deadline_seconds = 60\ntcti = \"device:{device}\"\n");
    let guest = machine
        .guest()
        .file(programs::tdk().get_program(), "/usr/bin/tdk", 0o755)
        .text("/etc/tdk/config.toml", config)
        .watch(|machine, line| {
            match (line.stream, &*line.text()) {
                (Stream::Stdout, "halt") => machine.halt_tpm().unwrap(),
                (Stream::Stdout, "resume") => machine.resume_tpm().unwrap(),
                _ => return,
            }
            machine.say("done\n").unwrap();
        });
    let (answers, run) = script.run(guest);
    let [before, during, during_again, other, after] = &answers[..] else {
        panic!("{answers:?}");
    };
    before.as_ref().unwrap();
    other.as_ref().unwrap();
    assert_eq!(after, before);
    assert_eq!([during, during_again], [&errno("EAGAIN"); 2]);

    let output = String::from_utf8_lossy(&run.stdout);
    assert!(
        !output.lines().any(|line| line.parse::<u32>().is_ok()),
        "{output}"
    );
    // Without resource manager, the device is open until the TPM answers.
    let said = match device {
        "/dev/tpm0" => "tdk: can't open the TPM at device:/dev/tpm0: Device or resource busy",
        _ => "tdk: TPM2_ReadPublic: the TPM has not answered within 1 s",
    };
    assert!(output.contains(said), "{output}");
}

#[test]
fn a_hanging_tpm_on_6_1() {
    a_hanging_tpm(&OLD, "/dev/tpmrm0");
}

#[test]
fn a_hanging_tpm_in_firmware() {
    a_hanging_tpm(&NEW_CRB, "/dev/tpmrm0");
}

#[test]
fn a_hanging_tpm_without_resource_manager() {
    a_hanging_tpm(&NEW, "/dev/tpm0");
}
