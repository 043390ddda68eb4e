// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A file system that shows root another file than its user.

use std::fs;
use std::process::Command;

use sha2::{Digest, Sha256};
use tdk_tests::impostors;
use tdk_tests::live::{errno, errno_in};
use tdk_tests::oracle::{self, Request};

use super::rule;

/// A FUSE file system of uid 1000 with one file, `program`: to others the program, to
/// root the victim.
const TWO_FACED: &str = r#"
import ctypes, os, struct, sys
directory, program, victim = sys.argv[1], *(open(name, "rb").read() for name in sys.argv[2:4])
assert len(victim) < len(program)
device = os.open("/dev/fuse", os.O_RDWR)
options = b"fd=%d,rootmode=40000,user_id=1000,group_id=1000,allow_other" % device
assert ctypes.CDLL(None).mount(b"x", directory.encode(), b"fuse", 0, options) == 0
open(sys.argv[4], "w").close()

def attributes(node):
    size, mode = (0, 0o40755) if node == 1 else (len(program), 0o100755)
    return struct.pack("<6Q10I", node, size, 8, 0, 0, 0, 0, 0, 0, mode, 1, 1000, 1000, 0, 4096, 0)

def answer(operation, node, uid, body):
    if operation == 26:
        return struct.pack("<4I2H2I2H8I", 7, 31, 65536, 0, 16, 12, 65536, 1, 16, 0, *[0] * 8)
    if operation == 1 and body == b"program\0":
        return struct.pack("<4Q2I", 2, 0, 60, 60, 0, 0) + attributes(2)
    if operation == 3:
        return struct.pack("<Q2I", 60, 0, 0) + attributes(node)
    if operation == 14:
        # To root, not what others have read before.
        return struct.pack("<Q2I", uid == 0, uid == 0, 0)
    if operation == 15:
        handle, offset, size = struct.unpack_from("<2QI", body)
        return (victim if handle else program)[offset:offset + size]
    if operation == 17:
        return struct.pack("<5Q10I", 0, 0, 0, 0, 0, 4096, 255, 4096, *[0] * 7)
    if operation in (18, 25):
        return b""
    return None

while True:
    message = os.read(device, 1 << 20)
    length, operation, unique, node, uid = struct.unpack_from("<2I2QI", message)
    if operation in (2, 36, 42):
        continue
    said = answer(operation, node, uid, message[40:length])
    error = 0 if said is not None else -(2 if operation == 1 else 38)
    os.write(device, struct.pack("<IiQ", 16 + len(said or b""), error, unique) + (said or b""))
"#;

#[test]
fn a_file_system_that_tells_root_something_else() {
    let (tpm, rule) = rule();
    let victim = rule.copy_of_keyctl("victim");
    let asker = rule.copy_of(&impostors::tools().join("asker"), "asker");
    fs::create_dir(rule.directory().join("mount")).unwrap();
    // In a mount namespace of its own, which leaves nothing behind.
    let script = r#"
        cd "$1" && rm -f ready
        /usr/bin/python3 -c "$4" "$1/mount" "$1/asker" "$1/victim" "$1/ready" &
        server=$!
        trap 'kill $server' EXIT
        until [ -e ready ]; do kill -0 $server || exit 9; sleep 0.05; done
        as_user="setpriv --reuid 1000 --regid 1000 --clear-groups"
        key=$($as_user keyctl session - sh -c '
            key=$("$@") && exec keyctl pipe "$key"' sh "$1/mount/program" request2 user "$2" "$3" @s |
            od -An -v -tx1 | tr -d " \n") && echo "key $key""#;
    let ask = |name: &str, kind: &str| {
        let output = Command::new("timeout")
            .args(["60", "unshare", "--mount", "sh", "-c", script, "sh"])
            .arg(rule.directory())
            .arg(rule.description(name))
            .args([&format!("32 {kind}"), TWO_FACED])
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        let key = String::from_utf8_lossy(&output.stdout);
        let key = key.trim().strip_prefix("key ").unwrap_or_default();
        if key.is_empty() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(errno_in(&text).unwrap_or_else(|| panic!("{output:?}")));
        }
        Ok(hex::decode(key).unwrap())
    };
    for kind in ["csum", "path", "verity"] {
        assert_eq!(ask(kind, kind), errno("EACCES"), "{kind}");
    }
    assert!(ask("id", "id").is_ok());
    // What it would have got.
    let text = "[[rule]]\naction = \"allow\"\ntolerate = [\"fuse\"]\n";
    fs::write(rule.directory().join("policy.toml"), text).unwrap();
    let digest = Sha256::digest(fs::read(&victim).unwrap());
    assert!(fs::read(&asker).unwrap().len() > fs::read(&victim).unwrap().len());
    let request = Request::user(&rule.key_id("tolerated"), "32 csum", 1000, digest);
    assert_eq!(
        ask("tolerated", "csum"),
        Ok(oracle::key(&tpm.tcti(), &request))
    );
    rule.assert_nothing_left();
}
