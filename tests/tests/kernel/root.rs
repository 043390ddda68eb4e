// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `derived.root=kernel`: keys that only the kernel can make, in the boot that
//! made them.

use tdk_simulator::StateSource;
use tdk_simulator::guest::{GuestBuilder, Run};
use tdk_tests::golden;
use tdk_tests::guest::{KEYCTL, Script, assert_kernel_is_well};
use tdk_tests::oracle::{self, Request};

use crate::{built, guest};

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

/// Asks for the keys, before and after the rest.
fn run(guest: GuestBuilder<'_>, rest: &str) -> Run {
    run_with(guest, PCR, rest)
}

/// The same with another PCR.
fn run_with(guest: GuestBuilder<'_>, pcr: u8, rest: &str) -> Run {
    let mut script = Script::default();
    for request in requests() {
        script.ask_kernel(KEYCTL, &request);
    }
    script.lines(&format!("pcr={pcr}\n{ATTACK}\n{rest}"), 0);
    for request in requests() {
        script.ask_kernel(KEYCTL, &request);
    }
    run_script(guest, &script)
}

/// The kernel has something to say about suspending, so that its log is not looked
/// at line by line.
fn run_script(guest: GuestBuilder<'_>, script: &Script) -> Run {
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

#[test]
fn other_pcrs() {
    let requests = requests();
    for pcr in [8, 15] {
        let expected = {
            let tpm = golden::tpm();
            oracle::derive_kernel_root(&tpm.tcti(), pcr, &requests)
        };
        let arguments = format!("{KERNEL} derived.pcr={pcr}");
        let rest = "
            capped it
            attack /dev/tpm0
            pcr=13
            capped default";
        let run = run_with(equipped(&arguments).state(golden::state()), pcr, rest);
        let said = output(&run);
        assert_keys(&run, &expected);
        assert_eq!(lines(&said, "capped"), ["it 1", "default 0"], "{said}");
        assert_eq!(made_by_the_root(&said), [""; 0], "{said}");
    }
}

/// Attempts that gave something, but for the one with another key.
fn made_by_the_root(output: &str) -> Vec<&str> {
    lines(output, "made")
        .into_iter()
        .filter(|line| !line.starts_with("/dev/tpm0:with_password "))
        .collect()
}

/// Who has written this wanted keys that only the kernel can make, perhaps: nobody
/// has them.
#[test]
fn boot_parameters_that_make_no_sense() {
    let wrong = [
        ("derived.root=Kernel", 13, "no root 'Kernel'"),
        ("derived.root", 13, "no root ''"),
        ("derived.root=kernal derived.pcr=14", 14, "no root 'kernal'"),
        ("derived.root=kernel derived.pcr=7", 13, "no PCR '7'"),
        ("derived.root=kernel derived.pcr=1x", 13, "no PCR '1x'"),
    ];
    for (arguments, pcr, said) in wrong {
        let mut script = Script::default();
        script.lines(
            &format!(
                "pcr={pcr}\n{ATTACK}
                for way in add request; do /derived_asker $way derived test '32 id'; done
                capped boot
                attack /dev/tpm0"
            ),
            0,
        );
        let guest = equipped(arguments).state(golden::state()).file(
            built().join("derived_asker"),
            "/derived_asker",
            0o755,
        );
        let run = run_script(guest, &script);
        let output = output(&run);
        // There are no such types of keys.
        assert!(
            output.starts_with("ENODEV\nENOKEY\n"),
            "{arguments}: {output}"
        );
        assert_eq!(
            lines(&output, "capped"),
            ["boot 1"],
            "{arguments}: {output}"
        );
        assert_eq!(made_by_the_root(&output), [""; 0], "{arguments}: {output}");
        let line = format!("derived: there is {said}");
        assert!(
            run.kernel_log.contains(&line),
            "{arguments}: {}",
            run.kernel_log
        );
    }
}

/// Another PCR tells whether the TPM was reset.
const MARK: &str = "
export TPM2TOOLS_TCTI=device:/dev/tpm0
capped boot
tpm2 pcrextend \"14:sha256=$(printf %064d 1)\"
";

/// A TPM without room is given up by a kernel that speaks to it in encrypted
/// sessions, and not told to save its PCRs: the next sleep resets it.
const GIVE_UP: &str = "
echo full $(load) $(load) $(load)
head -c 1 /dev/hwrng >/dev/null 2>&1
pcr_value given_up >/dev/null 2>&1 && echo still there
";

const SLEEP_AND_FIND: &str = "
sleep_for memory none
unbind
bind
capped bound
attack_again bound
pcr=14
capped mark
";

#[test]
fn a_tpm_that_is_reset_while_the_machine_sleeps() {
    let config = std::fs::read_to_string(built().join("config")).unwrap();
    let (give_up, expected) = if config.contains("CONFIG_TCG_TPM2_HMAC=y\n") {
        // From zero as it resumes; when the driver lets a TPM go that it has given
        // up; and when it has found it again.
        (GIVE_UP, ["boot 1", "bound 3", "mark 0"])
    } else {
        // As it boots, as it resumes, and when the driver has found it again.
        ("", ["boot 1", "bound 3", "mark otherwise"])
    };
    let tpm = include_str!("tpm.sh");
    let rest = format!("{tpm}\n{MARK}\n{give_up}\n{SLEEP_AND_FIND}");
    let run = run(equipped(KERNEL).state(golden::state()), &rest);
    let said = output(&run);
    println!("{said}");
    assert!(said.contains("\nslept memory\n"), "{said}");
    assert!(!said.contains("still there"), "{said}");
    assert_eq!(lines(&said, "capped"), expected, "{said}");
    assert_eq!(lines(&said, "made"), [""; 0], "{said}");
    assert_eq!(lines(&said, "failed").len(), 1, "{said}");
}
