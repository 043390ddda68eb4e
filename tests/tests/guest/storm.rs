// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Many askers at once behind the kernel's resource manager, for keys of several types.

use std::fmt::Write;

use tdk_tests::golden;
use tdk_tests::guest::{KEYCTL, NEW, Script};
use tdk_tests::oracle::{self, Request};

/// How many ask: as many as an emulated processor can start in time.
const ASKERS: usize = 30;

/// Key types, and what is asked of them; nobody can read the last two.
const TYPES: [(&str, &str); 3] = [("user", "32 path"), ("logon", "32 path"), ("user", "64 id")];

#[test]
fn thirty_at_once() {
    let mut script = Script::default();
    // Those of four users each in a session keyring of its own; what comes of it goes to
    // a file each, and those are shown in order.
    let mut text = String::from("mkdir -p /tmp/storm; cd /tmp/storm\n");
    let _ = write!(
        text,
        r#"one() {{
    /usr/bin/setpriv --reuid $1 --regid $1 --clear-groups keyctl session - sh -c '
        key=$({KEYCTL} request2 "$2" "tpm2:derived:$1" "$3" @s) || exit
        if [ "$2" = logon ]; then keyctl rdescribe $key; else keyctl pipe $key; fi
    ' sh "$2" "$3" "$4" >out.$2 2>err.$2
}}
"#
    );
    for number in 0..ASKERS {
        let (key_type, info) = TYPES[number % TYPES.len()];
        let uid = 1000 + number % 4;
        let _ = writeln!(text, "one {uid} {number} {key_type} '{info}' &");
    }
    text += r#"wait
n=0
while [ $n -lt 30 ]; do
    echo "answer $n $(hexdump -v -e '/1 "%02x"' out.$n)"
    n=$((n + 1))
done"#;
    script.lines(&text, ASKERS);
    // A processor that others need as well does not have the TPM's answer in time.
    let guest = NEW
        .guest()
        .state(golden::state())
        .memory(1024)
        .text("/etc/tdk/config.toml", "deadline_seconds = 60\n");
    let (_, run) = script.run(guest);

    let requests: Vec<_> = (0..ASKERS)
        .map(|number| {
            let (key_type, info) = TYPES[number % TYPES.len()];
            let uid = u32::try_from(1000 + number % 4).unwrap();
            let value = if info.ends_with("path") { KEYCTL } else { "" };
            let mut request = Request::user(&number.to_string(), info, uid, value);
            request.key_type = key_type.into();
            request
        })
        .collect();
    let expected = oracle::derive(&golden::tpm().tcti(), &requests);
    let output = String::from_utf8(run.stdout).unwrap();
    let answers: Vec<_> = output
        .lines()
        .filter_map(|line| line.strip_prefix("answer "))
        .map(|line| hex::decode(line.split_once(' ').unwrap().1).unwrap())
        .collect();
    assert_eq!(answers.len(), ASKERS, "{output}");
    for ((answer, expected), request) in answers.iter().zip(expected).zip(&requests) {
        if request.key_type == "logon" {
            let described = String::from_utf8_lossy(answer);
            let name = String::from_utf8_lossy(&request.description).into_owned();
            let expected = format!("logon;{};0;", request.uid);
            assert!(described.starts_with(&expected), "{described}");
            assert!(described.trim_end().ends_with(&name), "{described}");
        } else {
            assert_eq!(*answer, expected.unwrap(), "{request:?}");
        }
    }
}
