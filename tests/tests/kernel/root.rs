// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `derived.root=kernel`: keys that only the kernel can make, in the boot that
//! made them.

use tdk_simulator::StateSource;
use tdk_simulator::guest::{GuestBuilder, Run};
use tdk_tests::golden;
use tdk_tests::guest::{KEYCTL, Script, assert_kernel_is_well};
use tdk_tests::oracle::{self, Request};

use crate::guest;

/// The PCR that it is about, unless the machine is told otherwise.
pub(crate) const PCR: u8 = 13;
const ATTACK: &str = include_str!("root.sh");
pub(crate) const KERNEL: &str = "derived.root=kernel";

/// Where a TPM may lose its PCRs: suspended as far as its driver is concerned,
/// suspended to memory, and without a driver.
const SLEEP: &str = "
sleep_for devices devices
pcr_value devices
attack_again devices
sleep_for memory none
pcr_value memory
attack_again memory
device=$(basename \"$(readlink -f /sys/class/tpm/tpm0/device)\")
driver=$(readlink -f /sys/class/tpm/tpm0/device/driver)
echo \"$device\" >\"$driver/unbind\"
[ ! -e /dev/tpm0 ] && echo unbound
sleep_for unbound none
echo \"$device\" >\"$driver/bind\"
pcr_value bound
attack_again bound
sleep_for again devices
";

/// Asks for keys of two users, with all that enters them.
fn requests() -> Vec<Request> {
    [
        Request::user("test", "32 id", 0, ""),
        Request::user("test", "32 path", 0, KEYCTL),
        Request::user("other", "1024 path gen=7", 1000, KEYCTL),
    ]
    .into()
}

/// A guest in which root has the tools of an attacker.
fn equipped<'a>(arguments: &str) -> GuestBuilder<'a> {
    let tcti = "/usr/lib/x86_64-linux-gnu/libtss2-tcti-device.so.0";
    guest()
        .kernel_arguments(arguments)
        .file("/usr/bin/tpm2", "/usr/bin/tpm2", 0o755)
        .file(tcti, tcti, 0o755)
}

/// Asks for the keys, before and after the rest. The kernel has something to say
/// about suspending, so that its log is not looked at line by line.
fn run(guest: GuestBuilder<'_>, rest: &str) -> Run {
    let mut script = Script::default();
    for request in requests() {
        script.ask_kernel(KEYCTL, &request);
    }
    script.lines(&format!("pcr={PCR}\n{ATTACK}\n{rest}"), 0);
    for request in requests() {
        script.ask_kernel(KEYCTL, &request);
    }
    let run = script.run_as_is(guest);
    assert_eq!(run.status, 0, "{}{}", output(&run), run.console);
    assert_kernel_is_well(&run);
    run
}

fn output(run: &Run) -> String {
    String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr)
}

/// Fails unless the kernel gave these keys, and in the end the same ones.
fn assert_keys(run: &Run, expected: &[Vec<u8>]) {
    let output = output(run);
    let keys: Vec<_> = lines(&output, "key")
        .iter()
        .map(|key| hex::decode(key).unwrap())
        .collect();
    assert_eq!(keys, [expected, expected].concat(), "{output}");
}

/// The rest of the lines that begin with a word.
fn lines<'a>(output: &'a str, word: &str) -> Vec<&'a str> {
    let prefix = format!("{word} ");
    output
        .lines()
        .filter_map(|line| line.strip_prefix(&prefix))
        .collect()
}

/// The attempts that gave this.
fn made<'a>(output: &'a str, secret: &str) -> Vec<&'a str> {
    lines(output, "made")
        .into_iter()
        .filter_map(|line| line.split_once(' '))
        .filter(|(_, made)| *made == secret)
        .map(|(attempt, _)| attempt)
        .collect()
}

#[test]
fn keys_only_the_kernel_can_make() {
    let requests = requests();
    let (expected, shared) = {
        let tpm = golden::tpm();
        let expected = oracle::derive_kernel_root(&tpm.tcti(), PCR, &requests);
        (expected, oracle::derive(&tpm.tcti(), &requests))
    };
    let shared: Vec<_> = shared.into_iter().map(Result::unwrap).collect();
    assert_ne!(expected, shared);

    let attacks = "
        pcr_value boot
        attack /dev/tpm0
        attack /dev/tpmrm0
        export TPM2TOOLS_TCTI=device:/dev/tpm0";
    let hibernate = "
        echo freezer >/sys/power/pm_test
        if echo disk >/sys/power/state; then echo hibernated; fi";

    // Where the kernel has the root to itself.
    let first = run(
        equipped(KERNEL).state(golden::state()),
        &format!("{attacks}\n{SLEEP}\n{hibernate}"),
    );
    let said = output(&first);
    println!("{said}");
    assert_keys(&first, &expected);

    // Where it is everybody's: the same attacker makes the kernel's secret.
    let state = StateSource::Resume(first.state.unwrap());
    let open = run(
        equipped("").state(state),
        &format!("{attacks}\n{hibernate}"),
    );
    let opened = output(&open);
    println!("{opened}");
    assert_keys(&open, &shared);
    let secret = lines(&opened, "made")
        .iter()
        .find_map(|line| line.strip_prefix("/dev/tpm0:policy "))
        .unwrap_or_else(|| panic!("the attacker does not even make it where it is open: {opened}"))
        .to_owned();
    // And with it the keys.
    assert_eq!(oracle::derive_from_secret(&secret, &requests), expected);
    let ways = made(&opened, &secret);
    for way in ["policy", "claim", "by_signature", "reset", "startup"] {
        for device in ["/dev/tpm0", "/dev/tpmrm0"] {
            assert!(
                ways.contains(&format!("{device}:{way}").as_str()),
                "{ways:?}"
            );
        }
    }
    assert!(opened.contains("\nhibernated\n"), "{opened}");

    // Which is not so in the first machine.
    assert_eq!(made(&said, &secret), [""; 0], "{said}");
    let attempts = lines(&said, "failed").len() + lines(&said, "made").len();
    assert_eq!(attempts, 2 * 9 + 3, "{said}");
    let events = [
        "slept devices",
        "slept memory",
        "unbound",
        // Nobody would extend the PCR again.
        "not slept unbound",
        "slept again",
    ];
    for event in events {
        assert!(said.contains(&format!("\n{event}\n")), "{event}: {said}");
    }
    // The PCR is never zero, and was extended each time.
    let value = |when: &str| {
        let mut values = lines(&said, "pcr").into_iter();
        let value = values.find_map(|line| line.strip_prefix(when));
        value.unwrap_or_else(|| panic!("{when}: {said}")).to_owned()
    };
    let mut values = ["boot", "devices", "memory", "bound"].map(value).to_vec();
    values.push(format!(" {}", "0".repeat(64)));
    values.sort_unstable();
    values.dedup();
    assert_eq!(values.len(), 5, "{said}");
    assert!(!said.contains("hibernated"), "{said}");
    assert!(
        first
            .kernel_log
            .contains("derived: no hibernation with derived.root=kernel"),
        "{}",
        first.kernel_log
    );

    // After a reboot all of it is as before.
    let state = StateSource::Resume(open.state.unwrap());
    let again = run(equipped(KERNEL).state(state), "");
    assert_keys(&again, &expected);
}
