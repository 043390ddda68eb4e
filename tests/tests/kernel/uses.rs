// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What keys are good for that only the kernel has: an encrypted disk, and a socket
//! that encrypts.

use aes::Aes256;
use aes::cipher::{BlockEncrypt, KeyInit};
use tdk_simulator::guest::Run;
use tdk_tests::golden;
use tdk_tests::guest::assert_kernel_is_well;
use tdk_tests::oracle::{self, Request};

use crate::{guest, text};

/// What the socket is to encrypt, and the IV that `socket.pl` gives it.
const PLAIN: &[u8; 48] = b"three blocks of 16 bytes each, so that they tie.";
const IV: [u8; 16] = *b"an IV, 16 bytes.";

/// The key of root for a request of the type that can't be read.
fn logon_key(key_id: &str, info: &str) -> Vec<u8> {
    let request = Request {
        key_type: "logon".into(),
        ..Request::user(key_id, info, 0, "")
    };
    oracle::key(&golden::tpm().tcti(), &request)
}

/// What AES in CBC mode makes of it, in hex.
fn sealed(key: &[u8]) -> String {
    let cipher = Aes256::new_from_slice(key).unwrap();
    let mut last = IV;
    let mut sealed = Vec::new();
    for plain in PLAIN.chunks(IV.len()) {
        for (byte, plain) in last.iter_mut().zip(plain) {
            *byte ^= plain;
        }
        cipher.encrypt_block((&mut last).into());
        sealed.extend(last);
    }
    hex::encode(sealed)
}

#[test]
fn a_disk_and_a_socket_whose_keys_nobody_has_seen() {
    let socket_key = logon_key("socket", "32 id");
    let run = guest()
        .state(golden::state())
        .file("/usr/sbin/dmsetup", "/usr/sbin/dmsetup", 0o755)
        .file("/usr/bin/perl", "/usr/bin/perl", 0o755)
        .text("/disk-key", hex::encode(logon_key("disk", "64 id")))
        .text("/disk.sh", include_str!("disk.sh"))
        .text("/socket-key", hex::encode(&socket_key))
        .text("/socket.sh", include_str!("socket.sh"))
        .text("/socket.pl", include_str!("socket.pl"))
        .text("/plain", text(PLAIN))
        // Each of them with one session keyring.
        .script(
            "keyctl session - sh /disk.sh && echo and a socket && uname -r &&
            keyctl session - sh /socket.sh",
        )
        .run()
        .unwrap_or_else(|error| panic!("{error}"));
    assert_kernel_is_well(&run);
    let output = text(&run.stdout);
    let shown = shown(&run);
    assert_eq!(run.status, 0, "{shown}");
    let (disk, socket) = output.split_once("and a socket\n").unwrap();
    assert_disk(disk, &shown);
    let (version, socket) = socket.split_once('\n').unwrap();
    assert_socket(socket, &socket_key, takes_serials(version), &shown);
}

/// Whether sockets take keys by their serial number, of the series' types too: in Linux
/// since 6.2, in the series for 6.12.
fn takes_serials(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map(|word| word.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (6_u32, 12_u32)
}

fn shown(run: &Run) -> String {
    text(&run.stdout) + &text(&run.stderr) + run.kernel_log_of_script()
}

fn assert_disk(output: &str, shown: &str) {
    let expected = [
        "without Required key not available",
        ":64:derived-logon:disk",
        "plain 0",
        "gone Required key not available",
        "again 1",
        "another 0",
        "short Invalid argument",
        "readable Required key not available",
        "its bytes 1",
    ];
    assert_eq!(output.lines().collect::<Vec<_>>(), expected, "{shown}");
}

fn assert_socket(output: &str, key: &[u8], by_serial: bool, shown: &str) {
    let right = sealed(key);
    let another = sealed(&logon_key("socket", "32 id gen=1"));
    let expected = [
        ("its bytes", &*right),
        ("a key", &right),
        ("without permission to search", "Permission denied"),
        ("with permission to search", &right),
        ("revoked", "Key has been revoked"),
        ("of 33 bytes", "Invalid argument"),
        ("another", &another),
        ("a key that can be read", "Protocol not available"),
    ];
    let expected = expected.map(|(name, answer)| match name {
        "its bytes" => format!("{name}: {answer}"),
        _ if by_serial => format!("{name}: {answer}"),
        _ => format!("{name}: Protocol not available"),
    });
    assert_eq!(output.lines().collect::<Vec<_>>(), expected, "{shown}");
}
