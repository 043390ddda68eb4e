// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The line in the log: everything but the key.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tdk_tests::golden;
use tdk_tests::live::{Asker, File, Rule, errno};

/// Whoever gets the lines: the journal where there is one, otherwise this test.
#[derive(Default)]
struct Log {
    received: Arc<Mutex<Vec<String>>>,
    ours: Option<File>,
}

const SOCKET: &str = "/dev/log";

impl Log {
    fn open() -> Self {
        let mut log = Self::default();
        if !Path::new(SOCKET).exists() {
            let socket = UnixDatagram::bind(SOCKET).unwrap();
            log.ours = Some(File::adopt(SOCKET));
            // request-key(8) waits for whoever does not read what it logs, so
            // somebody always does, to the end of the tests.
            let received = Arc::clone(&log.received);
            thread::spawn(move || {
                let mut buffer = [0; 8192];
                while let Ok(length) = socket.recv(&mut buffer) {
                    let line = String::from_utf8(buffer[..length].to_vec()).unwrap();
                    received.lock().unwrap().push(line);
                }
            });
        }
        log
    }

    /// All lines that contain `what`.
    fn lines(&self, what: &str) -> Vec<String> {
        // What has been sent is on its way.
        thread::sleep(Duration::from_secs(1));
        let mut lines = if self.ours.is_some() {
            self.received.lock().unwrap().clone()
        } else {
            in_the_journal()
        };
        lines.retain(|line| line.contains(what));
        lines
    }
}

fn in_the_journal() -> Vec<String> {
    let output = Command::new("journalctl")
        .args(["--identifier", "key.tpm2_derived", "--output", "cat"])
        .output()
        .expect("a syslog socket whose lines the journal has");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn one_line_per_request_and_no_secret_in_it() {
    let tpm = golden::tpm();
    let rule = Rule::direct(&format!("tcti = \"{}\"\n", tpm.tcti()));
    let pipe = Rule::pipe(&format!("tcti = \"{}\"\n", tpm.tcti()));
    let log = Log::open();

    let asker = Asker {
        uid: Some(1000),
        ..Asker::default()
    };
    let key = asker.ask(rule.description("granted\n"), "32 path").unwrap();
    assert_eq!(rule.ask("refused", "32 id scope=any"), errno("EACCES"));
    assert_eq!(rule.ask("malformed", "32 paht"), errno("EINVAL"));
    rule.configure("tcti = \"device:/dev/nonexistent\"\nlog_level = \"error\"\n");
    assert_eq!(rule.ask("failed", "32 path"), errno("ENODEV"));
    assert_eq!(rule.ask("silent", "32 paht"), errno("EINVAL"));

    let lines = log.lines(&rule.key_id(""));
    let expected = [
        ("granted\\n\"", " uid=\"1000\" tid=", " decision=granted"),
        (
            "refused\"",
            " decision=refused",
            " errno=EACCES cause=\"scope=any is refused",
        ),
        (
            "malformed\"",
            " decision=refused",
            " errno=EINVAL cause=\"'paht' is no identity",
        ),
        (
            "failed\"",
            " decision=failed",
            " errno=ENODEV cause=\"can't open the TPM",
        ),
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, (name, first, second)) in lines.iter().zip(expected) {
        assert!(
            line.contains(name) && line.contains(first) && line.contains(second),
            "{line}"
        );
        assert!(
            !line.contains('\n') && !line.contains(&hex::encode(&key)),
            "{line}"
        );
    }
    assert!(lines[0].contains("exe=\"/usr/bin/keyctl\"") && lines[0].contains("tpm_commands=3"));

    // request-key runs a program that wrote nothing twice; that is no request.
    assert_eq!(pipe.ask("x", "32 paht"), errno("EINVAL"));
    assert_eq!(
        log.lines("key.tpm2_derived")
            .iter()
            .filter(|line| line.contains("called wrongly"))
            .count(),
        0
    );
}
