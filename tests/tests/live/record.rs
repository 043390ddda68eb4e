// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The line in the log: everything but the key.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tdk_tests::live::{Asker, File, Rule, errno};
use tdk_tests::{golden, not_run};

/// Whoever gets the lines: the journal where there is one, otherwise this test.
#[derive(Default)]
struct Log {
    received: Arc<Mutex<Vec<String>>>,
    ours: Option<File>,
}

const SOCKET: &str = "/dev/log";

/// There is one log; one test at a time makes it its own.
static ALONE: Mutex<()> = Mutex::new(());

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
    let _alone = ALONE.lock().unwrap();
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
        (
            "granted\\n\"",
            " uid=\"1000\" type=\"user\" info=\"32 path\" tid=",
            " decision=granted",
        ),
        (
            "refused\"",
            " decision=refused errno=EACCES",
            " cause=\"scope=any is refused",
        ),
        (
            "malformed\"",
            " decision=refused errno=EINVAL",
            " cause=\"'paht' is no identity",
        ),
        (
            "failed\"",
            " decision=failed errno=ENODEV",
            " cause=\"can't open the TPM",
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
    let ours = |line: &String| line.contains("key.tpm2_derived[");
    let lines = log.lines("key.tpm2_derived[");
    let called_wrongly = lines
        .iter()
        .filter(|line| ours(line) && line.contains("called wrongly"));
    assert_eq!(called_wrongly.count(), 0);
}

#[test]
fn a_log_daemon_that_hangs() {
    let _alone = ALONE.lock().unwrap();
    if Path::new(SOCKET).exists() {
        return not_run("a log daemon that hangs (there is one that doesn't)");
    }
    let log = UnixDatagram::bind(SOCKET).unwrap();
    let _file = File::adopt(SOCKET);
    let sender = UnixDatagram::unbound().unwrap();
    sender.set_nonblocking(true).unwrap();
    while sender.send_to(b"full", SOCKET).is_ok() {}

    let tpm = golden::tpm();
    let config = format!("tcti = \"{}\"\n", tpm.tcti());
    let start = Instant::now();
    let direct = Rule::direct(&config);
    assert!(direct.ask("granted", "32 path").is_ok());
    assert_eq!(direct.ask("refused", "32 paht"), errno("EINVAL"));
    direct.assert_nothing_left();
    // In the pipe form request-key(8) itself writes to the log when there is no
    // key, and waits; docs/data-flow.md says so.
    let pipe = Rule::pipe(&config);
    assert!(pipe.ask("granted", "32 path").is_ok());
    pipe.assert_nothing_left();
    assert!(start.elapsed() < Duration::from_mins(1));
    drop(log);
}
