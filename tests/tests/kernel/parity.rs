// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel's own key type, the callout and the oracle give the same keys, and
//! refuse the same requests.

use sha2::{Digest, Sha256};
use tdk_simulator::StateSource;
use tdk_simulator::guest::{GuestBuilder, Run};
use tdk_tests::guest::{KEYCTL, Script, verity_digests, verity_disk};
use tdk_tests::live::Answer;
use tdk_tests::oracle::{self, Request};
use tdk_tests::random::Random;
use tdk_tests::{golden, malformed, programs};

use crate::guest;

/// Where the askers are, for keys by cgroup.
const CGROUP: &str = "/tdk";
const ENTER_CGROUP: &str = "mkdir /sys/fs/cgroup/tdk
    echo $$ >/sys/fs/cgroup/tdk/cgroup.procs || exit 1";

/// What a machine is set to.
#[derive(Clone, Copy)]
struct Settings {
    realm: &'static [u8],
    scope_any: bool,
}

const DEFAULT: Settings = Settings {
    realm: b"",
    scope_any: false,
};
const OTHER: Settings = Settings {
    realm: b"blue 7",
    scope_any: true,
};

/// A random request that both could serve: for raw bytes, from a keyctl(1).
fn well_formed(random: &mut Random, settings: Settings) -> Request {
    loop {
        let mut request = random.request();
        let info = String::from_utf8(request.info.clone()).unwrap();
        let words: Vec<_> = info.split([' ', '\t']).filter(|w| !w.is_empty()).collect();
        // setpriv takes no larger ones.
        if words[0].parse::<u16>().is_err() || i32::try_from(request.uid).is_err() {
            continue;
        }
        request.key_type = "user".into();
        request.realm = settings.realm.into();
        request.value = match words[1] {
            "path" => KEYCTL.into(),
            "csum" => Sha256::digest(std::fs::read(KEYCTL).unwrap()).to_vec(),
            "cgroup" => CGROUP.into(),
            // No file in memory has a digest of fs-verity; any will do here.
            "verity" => [&[0, 1][..], &[0; 32]].concat(),
            _ => Vec::new(),
        };
        return request;
    }
}

/// One with a byte changed, taken out or added, in what the kernel and the
/// callout have to understand alike.
fn changed(random: &mut Random, settings: Settings) -> Request {
    const BYTES: &[u8] = b" \t\n=0159gvanyphidcs\x01\xff";
    let mut request = well_formed(random, settings);
    let at = random.below(request.info.len());
    let byte = BYTES[random.below(BYTES.len())];
    match random.below(3) {
        0 => request.info[at] = byte,
        1 => request.info.insert(at, byte),
        _ => {
            request.info.remove(at);
        }
    }
    request
}

/// What a request is to get, by the oracle and what it can't know of.
fn expected(request: &Request, key: Result<Vec<u8>, String>, settings: Settings) -> Answer {
    let has = |word: &[u8]| {
        let mut words = request.info.split(|byte| b" \t".contains(byte));
        words.any(|other| other == word)
    };
    match key {
        // A value that belongs to another identity than the changed request's
        // is the oracle's only other complaint, and is not made here.
        Err(_) => Err("EINVAL".into()),
        Ok(_) if has(b"verity") => Err("EACCES".into()),
        Ok(_) if has(b"scope=any") && !settings.scope_any => Err("EACCES".into()),
        Ok(key) => Ok(key),
    }
}

/// Asks both, in turns.
fn ask(guest: GuestBuilder<'_>, requests: &[Request]) -> (Vec<Answer>, Run) {
    let mut script = Script::default();
    script.lines(ENTER_CGROUP, 0);
    for request in requests {
        script.ask_kernel(KEYCTL, request);
        script.ask(KEYCTL, request);
    }
    script.run(guest)
}

fn assert_answers(requests: &[Request], expected: &[Answer], answers: &[Answer]) {
    assert_eq!(answers.len(), 2 * requests.len());
    for ((request, expected), pair) in requests.iter().zip(expected).zip(answers.chunks(2)) {
        assert_eq!(&pair[0], expected, "the kernel: {request:?}");
        assert_eq!(&pair[1], expected, "the callout: {request:?}");
    }
}

fn by_the_oracle(requests: &[Request], settings: Settings) -> Vec<Answer> {
    let tpm = golden::tpm();
    oracle::derive(&tpm.tcti(), requests)
        .into_iter()
        .zip(requests)
        .map(|(key, request)| expected(request, key, settings))
        .collect()
}

fn requests(seed: u64, settings: Settings, count: usize) -> Vec<Request> {
    let mut random = Random::new(seed);
    (0..count)
        .map(|number| match number % 4 {
            0 => changed(&mut random, settings),
            _ => well_formed(&mut random, settings),
        })
        .collect()
}

#[test]
fn the_same_keys_and_after_a_reboot_again() {
    let requests = requests(1, DEFAULT, 200);
    let expected = by_the_oracle(&requests, DEFAULT);
    let keys = expected.iter().filter(|answer| answer.is_ok()).count();
    assert!((80..190).contains(&keys), "{keys} of 200 get a key");

    // How the callout speaks to the TPM makes no difference but for the time.
    let guest = || guest().text("/etc/tdk/config.toml", "bus = \"plain\"\n");
    let (answers, run) = ask(guest().state(golden::state()), &requests);
    assert_answers(&requests, &expected, &answers);

    let state = StateSource::Resume(run.state.unwrap());
    let (answers, _) = ask(guest().state(state), &requests[..60]);
    assert_answers(&requests[..60], &expected[..60], &answers);
}

#[test]
fn the_same_requests_are_not_understood() {
    let requests: Vec<_> = malformed::callout_info()
        .into_iter()
        .enumerate()
        .map(|(number, info)| Request {
            info,
            ..Request::user(&number.to_string(), "", 0, "")
        })
        .collect();
    let (answers, _) = ask(guest().state(golden::state()), &requests);
    let expected = vec![Err("EINVAL".into()); requests.len()];
    assert_answers(&requests, &expected, &answers);
}

#[test]
fn the_same_keys_with_a_realm_and_for_any_user() {
    let requests = requests(2, OTHER, 60);
    let expected = by_the_oracle(&requests, OTHER);
    let guest = guest()
        .state(golden::state())
        .kernel_arguments("derived.scope_any=1 \"derived.realm=blue 7\"")
        .text("/etc/tdk/config.toml", "realm = \"blue 7\"\n")
        .text(
            "/etc/tdk/policy.toml",
            "[[rule]]\naction = \"allow\"\nscope_any = true\n",
        );
    let (answers, _) = ask(guest, &requests);
    assert_answers(&requests, &expected, &answers);
}

#[test]
fn executables_under_fs_verity() {
    let directory = tempfile::tempdir().unwrap();
    let request = |value: &[u8]| Request::user("a", "32 verity", 0, value);
    let nothing = request(&[]);
    let mut script = Script::default();
    script
        .lines("mount /dev/vda /mnt && cp /usr/bin/keyctl /mnt/one", 0)
        .lines(
            "cp /mnt/one /mnt/two && fsverity enable --hash-alg=sha512 /mnt/two",
            0,
        )
        .lines("fsverity enable /mnt/one && cp /mnt/one /mnt/copy", 0)
        .lines("fsverity measure /mnt/one /mnt/two", 0);
    for program in ["/mnt/one", "/mnt/two", "/mnt/copy"] {
        script.ask_kernel(program, &nothing).ask(program, &nothing);
    }
    let guest = guest()
        .state(golden::state())
        .file("/usr/bin/fsverity", "/usr/bin/fsverity", 0o755)
        .disk(verity_disk(directory.path()));
    let (answers, run) = script.run(guest);
    let digests = verity_digests(&String::from_utf8_lossy(&run.stdout));
    // FS_VERITY_HASH_ALG_SHA256 and _SHA512.
    let requests: Vec<_> = [1, 2]
        .into_iter()
        .zip(&digests)
        .map(|(algorithm, digest)| request(&[&[0, algorithm], &digest[..]].concat()))
        .collect();
    let keys = oracle::derive(&golden::tpm().tcti(), &requests);
    let mut expected: Vec<Answer> = keys.into_iter().map(|key| Ok(key.unwrap())).collect();
    assert_eq!(expected.len(), 2);
    expected.push(Err("EACCES".into()));
    for (pair, expected) in answers.chunks(2).zip(&expected) {
        assert_eq!(pair, [expected.clone(), expected.clone()]);
    }
    assert_eq!(answers.len(), 6);
}

#[test]
fn golden_keys() {
    let tdk = programs::tdk_file();
    let mut script = Script::default();
    let mut expected = Vec::new();
    for entry in golden::entries() {
        let request = entry.request;
        let words: Vec<_> = request.info.split(|byte| *byte == b' ').collect();
        let raw = entry.payload.len() <= 1024 && words[0].iter().all(u8::is_ascii_digit);
        let here = words.contains(&&b"id"[..])
            || (words.contains(&&b"path"[..]) && request.value == KEYCTL.as_bytes());
        let plain = request.key_type == "user" && request.realm.is_empty();
        if raw && here && plain && i32::try_from(request.uid).is_ok() {
            script.ask_kernel(KEYCTL, &request);
            expected.push(Ok(entry.payload));
        }
    }
    assert!(expected.len() >= 15, "only {}", expected.len());
    script.lines("echo \"tdk $(tdk root --tcti device:/dev/tpmrm0)\"", 0);
    let guest = guest()
        .state(golden::state())
        .file(tdk, "/usr/bin/tdk", 0o755);
    let (answers, run) = script.run(guest);
    assert_eq!(answers, expected);
    let output = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(
        output.contains(&format!("tdk {}\n", golden::root())),
        "{output}"
    );
}
