// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What goes wrong: TPMs that are not there, refuse, are full or hang, and askers
//! that want too much or are killed.

use tdk_simulator::guest::{GuestBuilder, Run, Stream};
use tdk_tests::guest::{PRELUDE, assert_kernel_is_well};

use crate::{built, guest, text};

const BEGINNING: &str = concat!(
    include_str!("tpm.sh"),
    r#"
add() { /derived_asker "$@" add derived test "32 id"; }
right=$(add)
is_right() { [ "$(add)" = "$right" ] && [ ${#right} = 64 ] && echo "the key"; }
"#
);

fn with_asker(guest: GuestBuilder<'_>) -> GuestBuilder<'_> {
    guest.file(built().join("derived_asker"), "/derived_asker", 0o755)
}

/// Runs it, and gives back its output.
fn run(guest: GuestBuilder<'_>, script: &str) -> (String, Run) {
    let script = format!("{PRELUDE}{BEGINNING}{script}");
    let run = with_asker(guest).script(script).run();
    let run = run.unwrap_or_else(|error| panic!("{error}"));
    assert_kernel_is_well(&run);
    let errors = text(&run.stderr);
    assert_eq!(run.status, 0, "{errors}{}", run.kernel_log_of_script());
    (text(&run.stdout), run)
}

#[test]
fn no_keys_without_a_tpm() {
    let script = "for way in add request; do /derived_asker $way derived test '32 id'; done; :";
    let (output, _) = run(guest().without_tpm(), script);
    assert_eq!(output, "ENODEV\nENODEV\n");
}

#[test]
fn no_keys_from_a_tpm_1_2() {
    let script = "[ -c /dev/tpm0 ] && echo a TPM
        for way in add request; do /derived_asker $way derived test '32 id'; done; :";
    let (output, _) = run(guest().tpm_1_2(), script);
    assert_eq!(output, "a TPM\nENODEV\nENODEV\n");
}

#[test]
fn no_keys_with_a_realm_that_is_too_long() {
    let realm = "r".repeat(65);
    let guest = guest().kernel_arguments(&format!("derived.realm={realm}"));
    let (output, run) = run(guest, "add; :");
    assert_eq!(output, "ENODEV\n");
    assert!(
        run.kernel_log.contains("derived: the realm is longer than"),
        "{}",
        run.kernel_log
    );
}

/// The owner's password, no device, no room; and in between the key again.
const TPM_ERRORS: &str = "
is_right
echo password $(set_owner_password) $(add) $(/derived_asker request derived test '32 id')
echo none $(remove_owner_password)
is_right
for time in 1 2 3; do
    unbind
    [ -e /dev/tpm0 ] || echo gone $(add)
    bind
    is_right
done
echo full $(load) $(load) $(load) $(add)
";
const NO_LONGER_FULL: &str = "
for handle in 80000000 80000001 80000002; do flush $handle; done
is_right
";

#[test]
fn a_tpm_that_refuses_is_taken_out_or_is_full() {
    let mut expected = vec![
        "the key",
        "password 00000000 EACCES EACCES",
        "none 00000000",
        "the key",
    ];
    expected.extend(["gone ENODEV", "the key"].repeat(3));
    let config = std::fs::read_to_string(built().join("config")).unwrap();
    let script = if config.contains("CONFIG_TCG_TPM2_HMAC=y\n") {
        // The kernel then switches the TPM off until it boots again: it takes what
        // it can't load its own key into for a TPM that somebody has exchanged.
        expected.push("full 00000000 00000000 00000000 ENODEV");
        TPM_ERRORS.into()
    } else {
        expected.push("full 00000000 00000000 00000000 Resource temporarily unavailable");
        expected.extend(["00000000", "00000000", "00000000", "the key"]);
        format!("{TPM_ERRORS}{NO_LONGER_FULL}")
    };
    let (output, _) = run(guest(), &script);
    assert_eq!(output.lines().collect::<Vec<_>>(), expected);
}

/// Requests of a megabyte, the most that add_key(2) takes, and a user's quota.
const TOO_MUCH: &str = r#"
for size in 1048575 131072 4096; do
    head -c $size /dev/zero | tr '\0' 1 | keyctl padd derived much @s 2>&1
    { printf '32 id'; head -c $size /dev/zero | tr '\0' ' '; } | head -c $size |
        keyctl padd derived much @s >/dev/null && echo "blanks $size"
done
echo 600 >/proc/sys/kernel/keys/maxbytes
for way in add request; do
    for size in 1024 16 1024; do
        answer=$(/derived_asker as 1000 $way derived test "$size id")
        echo $way $size $answer | cut -c1-20
    done
done
# Nothing is left of them, once what is no longer used has been collected.
for time in 1 2 3 4 5 6 7 8 9 10; do
    used=$(sed -n 's/^ *1000: *[0-9]* .* \([0-9]*\)\/600$/\1/p' /proc/key-users)
    [ "${used:-0}" = 0 ] && break
    sleep 1
done
echo "used ${used:-0}"
"#;

#[test]
fn an_asker_that_wants_too_much() {
    let (output, _) = run(guest(), TOO_MUCH);
    let lines: Vec<_> = output.lines().collect();
    let key = lines
        .iter()
        .find_map(|line| line.strip_prefix("add 16 "))
        .unwrap();
    let with_key = format!("request 16 {}", &key[..4]);
    let lines: Vec<_> = lines
        .iter()
        .map(|line| {
            if line.starts_with(&with_key) {
                "request 16 KEY"
            } else if line.starts_with("add 16 ") {
                "add 16 KEY"
            } else {
                line
            }
        })
        .collect();
    let expected = [
        "add_key: Invalid argument",
        "blanks 1048575",
        "add_key: Invalid argument",
        "blanks 131072",
        "add_key: Invalid argument",
        "blanks 4096",
        "add 1024 EDQUOT",
        "add 16 KEY",
        "add 1024 EDQUOT",
        "request 1024 EDQUOT",
        "request 16 KEY",
        "request 1024 EDQUOT",
        "used 0",
    ];
    assert_eq!(lines, expected);
}

/// A TPM that hangs while somebody waits for it: signals end who waits, at the
/// latest when the TPM answers, and the next one has a key.
///
/// The kernel asks the TPM for random numbers, too, and soon cancels that if there
/// is no answer, which stops QEMU until the TPM goes on: it is not to.
const KILLED: &str = r#"
is_right
echo none >/sys/class/misc/hw_random/rng_current
echo halt; read -r _
/derived_asker add derived test "32 id" >/tmp/killed & killed=$!
/derived_asker request derived test "32 path" >/tmp/terminated & terminated=$!
sleep 2
kill -KILL $killed
kill -TERM $terminated
sleep 1
echo resume; read -r _
wait $killed; echo "killed $?"
wait $terminated; echo "terminated $?"
cat /tmp/killed /tmp/terminated
is_right
"#;

#[test]
fn an_asker_that_is_killed_while_it_waits() {
    let guest = guest().watch(|machine, line| {
        match (line.stream, &*line.text()) {
            (Stream::Stdout, "halt") => machine.halt_tpm().unwrap(),
            (Stream::Stdout, "resume") => machine.resume_tpm().unwrap(),
            _ => return,
        }
        machine.say("done\n").unwrap();
    });
    let (output, _) = run(guest, KILLED);
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(
        lines,
        [
            "the key",
            "halt",
            "resume",
            "killed 137",
            "terminated 143",
            "the key"
        ]
    );
}

/// A program of a gigabyte, most of it a hole, that is killed while the kernel
/// hashes it. It has not been refused anything: the next one to ask, with the same
/// keyring, has a key.
const KILLED_AND_FORGOTTEN: &str = r#"
mkdir /tmp/large && mount -t tmpfs large /tmp/large
cp "$(command -v keyctl)" /tmp/large/keyctl
dd if=/dev/null of=/tmp/large/keyctl bs=1048576 seek=1024 count=0 2>/dev/null
cat >/tmp/with_keyring <<'END'
/tmp/large/keyctl request2 derived test "32 csum" @s >/tmp/killed 2>&1 & killed=$!
sleep 1
kill -KILL $killed
wait $killed; echo "killed $?"
cat /tmp/killed
key=$(keyctl request2 derived test "32 id" @s) && keyctl pipe $key | hexdump -v -e '/1 "%02x"'
END
keyctl session - sh /tmp/with_keyring >/tmp/out
sed "s/^$right\$/the key/" /tmp/out
"#;

#[test]
fn an_asker_that_is_killed_leaves_no_refusal() {
    let (output, _) = run(guest(), KILLED_AND_FORGOTTEN);
    assert_eq!(output.trim_end(), "killed 137\nthe key");
}
