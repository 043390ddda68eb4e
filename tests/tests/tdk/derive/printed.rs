// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How keys are printed.

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;

use tdk_simulator::Swtpm;
use tdk_tests::programs::{stderr, stdout, tdk};

use super::{derive, oracles};

/// More than is written at once, in lines that its size is no multiple of.
#[test]
fn many_keys_are_all_there() {
    let tpm = Swtpm::builder().start().unwrap();
    let ids: Vec<_> = (0..3000).map(|number| number.to_string()).collect();
    let mut arguments = vec!["--what", "33"];
    arguments.extend(ids.iter().flat_map(|id| ["--key-id", id]));
    let printed = stdout(&derive(&tpm.tcti(), &arguments));
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(lines.len(), ids.len());
    assert!(lines.iter().all(|line| line.len() == 66));
    assert_eq!(lines.iter().collect::<HashSet<_>>().len(), ids.len());
    for number in [0, 977, 978, 2999] {
        let key = oracles(&tpm.tcti(), &ids[number], "33 path");
        assert_eq!(lines[number], hex::encode(key), "{number}");
    }
}

/// Whoever reads a few lines and goes away, as head(1) does.
#[test]
fn nobody_reads_the_rest() {
    let tpm = Swtpm::builder().start().unwrap();
    let mut command = tdk();
    command.args(["derive", "--tcti", &tpm.tcti(), "--what", "1024"]);
    command.args(["--identity", "id", "--uid", "0"]);
    command.args((0..200).map(|number| format!("--key-id={number}")));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut start = [0; 2048];
    child.stdout.take().unwrap().read_exact(&mut start).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(stderr(&output, 1).contains("can't write to standard output"));
}

/// Each of several keys that take long is printed when it has been made.
#[test]
fn a_pair_of_keys_does_not_wait_for_the_next() {
    let tpm = Swtpm::builder().start().unwrap();
    let mut command = tdk();
    command.args(["derive", "--tcti", &tpm.tcti(), "--what", "p256"]);
    command.args(["--identity", "id", "--uid", "0", "--format", "pem"]);
    command.args((0..3).map(|number| format!("--key-id={number}")));
    // Here each write is a message.
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    command.stdout(std::os::fd::OwnedFd::from(theirs));
    assert!(command.status().unwrap().success());
    drop(command);
    let mut message = [0; 1024];
    for _ in 0..3 {
        let length = ours.recv(&mut message).unwrap();
        let text = String::from_utf8_lossy(&message[..length]);
        assert!(text.ends_with("-----END PRIVATE KEY-----\n"), "{text}");
        assert_eq!(text.matches("BEGIN").count(), 1);
    }
}

#[test]
fn formats() {
    let tpm = Swtpm::builder().start().unwrap();
    let tcti = tpm.tcti();
    let key = oracles(&tcti, "x", "33 path");
    let in_format = |format| {
        let output = derive(
            &tcti,
            &["--what", "33", "--key-id", "x", "--format", format],
        );
        assert!(output.status.success());
        output.stdout
    };
    assert_eq!(in_format("raw"), key);
    assert_eq!(
        in_format("hex"),
        format!("{}\n", hex::encode(&key)).into_bytes()
    );
    let encoded = std::process::Command::new("base64")
        .args(["-d"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            use std::io::Write;
            child
                .stdin
                .take()
                .unwrap()
                .write_all(&in_format("base64"))?;
            child.wait_with_output()
        })
        .unwrap();
    assert_eq!(encoded.stdout, key);
}

#[test]
fn a_key_that_can_not_be_written_is_not_lost_silently() {
    let tpm = Swtpm::builder().start().unwrap();
    for format in ["raw", "hex"] {
        let output = tdk()
            .args([
                "derive",
                "--tcti",
                &tpm.tcti(),
                "--what",
                "32",
                "--uid",
                "0",
            ])
            .args(["--identity", "id", "--key-id", "x", "--format", format])
            .stdout(fs::File::options().write(true).open("/dev/full").unwrap())
            .output()
            .unwrap();
        assert!(stderr(&output, 1).contains("can't write to standard output"));
    }
}
