// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The line in the log: everything but the key.

use std::collections::HashMap;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tdk_tests::live::{Asker, File, Rule, errno};
use tdk_tests::programs::run_tdk;
use tdk_tests::{golden, not_run};

/// Where the journal takes records as fields.
const JOURNAL: &str = "/run/systemd/journal/socket";

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
    assert!(lines[0].contains("exe=\"/usr/bin/keyctl\"") && lines[0].contains("tpm_commands=10"));
    // As much of the sandbox as every kernel here has.
    for layer in ["sandbox=no_new_privs,", "capabilities,seccomp "] {
        assert!(lines[0].contains(layer), "{}", lines[0]);
    }

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

/// The fields of a record, as systemd documents its "Native Journal Protocol".
fn fields(mut record: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut fields = Vec::new();
    while let Some(end) = record.iter().position(|byte| *byte == b'\n') {
        let (line, rest) = (&record[..end], &record[end + 1..]);
        let name = line.split(|byte| *byte == b'=').next().unwrap();
        let value = if name.len() < line.len() {
            record = rest;
            &line[name.len() + 1..]
        } else {
            let (length, rest) = rest.split_at(8);
            let length = u64::from_le_bytes(length.try_into().unwrap());
            let (value, rest) = rest.split_at(usize::try_from(length).unwrap());
            record = rest.strip_prefix(b"\n").unwrap();
            value
        };
        fields.push((String::from_utf8(name.to_vec()).unwrap(), value.to_vec()));
    }
    assert!(record.is_empty());
    fields
}

/// A socket in the journal's place; gone in the end.
struct Journal(UnixDatagram);

impl Journal {
    fn bind() -> Option<Self> {
        if Path::new(JOURNAL).exists() {
            not_run("a journal of the test's own (there is a real one)");
            return None;
        }
        fs::create_dir_all(Path::new(JOURNAL).parent().unwrap()).unwrap();
        Some(Self(UnixDatagram::bind(JOURNAL).unwrap()))
    }

    /// The records that have come and are about a key id with this in it.
    fn records(&self, what: &str) -> Vec<HashMap<String, Vec<u8>>> {
        self.0.set_nonblocking(true).unwrap();
        let mut buffer = vec![0; 65536];
        let mut records = Vec::new();
        while let Ok(length) = self.0.recv(&mut buffer) {
            let fields = fields(&buffer[..length]);
            let count = fields.len();
            let record: HashMap<_, _> = fields.into_iter().collect();
            assert_eq!(record.len(), count, "a field is there twice: {record:?}");
            let key_id = record.get("TDK_KEY_ID").cloned().unwrap_or_default();
            if String::from_utf8_lossy(&key_id).contains(what) {
                records.push(record);
            }
        }
        records
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let _ = fs::remove_file(JOURNAL);
        // Not if somebody else has put something there.
        let _ = fs::remove_dir(Path::new(JOURNAL).parent().unwrap());
        let _ = fs::remove_dir("/run/systemd");
    }
}

#[test]
fn fields_for_the_journal_that_no_asker_forges() {
    let _alone = ALONE.lock().unwrap();
    let Some(journal) = Journal::bind() else {
        return;
    };
    let tpm = golden::tpm();
    let rule = Rule::direct(&format!("tcti = \"{}\"\n", tpm.tcti()));
    let hostile = "x\nTDK_DECISION=granted\n\u{1b}[2J";
    let program = rule.copy_of_keyctl("key\nTDK_UID=0\nctl");
    let asker = Asker {
        uid: Some(1000),
        program: program.clone(),
        ..Asker::default()
    };
    asker.ask(rule.description(hostile), "32 id").unwrap();
    assert_eq!(
        asker.ask(rule.description(hostile), "32 id\nTDK_RULE=me"),
        errno("EINVAL")
    );
    rule.assert_nothing_left();

    let records = journal.records(&rule.key_id(""));
    assert_eq!(records.len(), 2, "{records:?}");
    let texts = |record: &HashMap<String, Vec<u8>>, name: &str| {
        String::from_utf8(record.get(name).cloned().unwrap_or_default()).unwrap()
    };
    for (record, decision, message_id) in [
        (&records[0], "granted", "44c08532c95746869f486110b79a8c2f"),
        (&records[1], "refused", "1592b57e729d4e00aacdf480166dd78a"),
    ] {
        let text = |name: &str| texts(record, name);
        assert_eq!(text("TDK_DECISION"), decision);
        assert_eq!(text("MESSAGE_ID"), message_id);
        assert_eq!(text("TDK_KEY_ID"), rule.key_id(hostile));
        assert_eq!(text("TDK_UID"), "1000");
        assert_eq!(text("TDK_EXE"), program.to_str().unwrap());
        assert_eq!(text("SYSLOG_IDENTIFIER"), "key.tpm2_derived");
        assert!(text("TDK_TID").parse::<u32>().is_ok());
        assert!(text("MESSAGE").starts_with("key=") && !text("MESSAGE").contains('\n'));
    }
    assert_eq!(texts(&records[0], "TDK_TPM_COMMANDS"), "10");
    assert_eq!(texts(&records[0], "PRIORITY"), "6");
    assert_eq!(texts(&records[1], "TDK_ERRNO"), "EINVAL");
    assert_eq!(texts(&records[1], "PRIORITY"), "4");
    assert_eq!(texts(&records[1], "TDK_INFO"), "32 id\nTDK_RULE=me");
    assert!(!texts(&records[1], "TDK_CAUSE").is_empty());
}

#[test]
fn a_journal_that_hangs() {
    let _alone = ALONE.lock().unwrap();
    let Some(journal) = Journal::bind() else {
        return;
    };
    let sender = UnixDatagram::unbound().unwrap();
    sender.set_nonblocking(true).unwrap();
    while sender.send_to(b"A=full\n", JOURNAL).is_ok() {}

    let tpm = golden::tpm();
    let rule = Rule::direct(&format!("tcti = \"{}\"\n", tpm.tcti()));
    let start = Instant::now();
    assert!(rule.ask("granted", "32 path").is_ok());
    assert_eq!(rule.ask("refused", "32 paht"), errno("EINVAL"));
    rule.assert_nothing_left();
    assert!(start.elapsed() < Duration::from_mins(1));
    drop(journal);
}

/// Where nobody listens, records go to the kernel's log; `tdk log` finds them there.
#[test]
fn read_back_from_the_kernels_log() {
    let _alone = ALONE.lock().unwrap();
    if Path::new(SOCKET).exists() || Path::new(JOURNAL).exists() {
        return not_run("records in the kernel's log (there is a log daemon)");
    }
    let tpm = golden::tpm();
    let rule = Rule::direct(&format!("tcti = \"{}\"\n", tpm.tcti()));
    let asker = Asker {
        uid: Some(1000),
        ..Asker::default()
    };
    let hostile = "x\n\u{1b}[2J decision=granted";
    asker.ask(rule.description("a"), "32 path").unwrap();
    assert_eq!(
        asker.ask(rule.description(hostile), "32 paht"),
        errno("EINVAL")
    );
    assert_eq!(rule.ask("b", "32 paht"), errno("EINVAL"));
    rule.assert_nothing_left();

    let log = |options: &[&str]| {
        let ours = rule.key_id("*");
        let output = run_tdk(&[&["log", "--since=-1h", "--key-id", &ours], options].concat());
        assert!(output.status.success(), "{output:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(told, "tdk: this is from the kernel's log\n");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let all = log(&[]);
    assert_eq!(all.len(), 3, "{all:#?}");
    let granted = format!("uid 1000    user {}  \"32 path\"", rule.key_id("a"));
    assert!(
        all[0].contains("  granted  ") && all[0].contains(&granted),
        "{all:#?}"
    );
    assert!(all[0].contains("/usr/bin/keyctl"), "{all:#?}");
    let shown = format!("\"{}\"", rule.key_id("x\\n\\u{1b}[2J decision=granted"));
    assert!(
        all[1].contains("  refused  EINVAL") && all[1].contains(&shown),
        "{all:#?}"
    );
    for (options, expected) in [
        (&["--uid", "0"][..], &all[2..]),
        (&["--user", "root"], &all[2..]),
        (&["--decision", "granted"], &all[..1]),
        (&["-n", "2"], &all[1..]),
        (&["--exe", "/usr/bin/key*", "-n1"], &all[2..]),
        (&["--exe", "/usr/*"], &[]),
        (&["--until=-1h"], &[]),
    ] {
        assert_eq!(log(options), expected, "{options:?}");
    }
    let json: serde_json::Value = serde_json::from_str(&log(&["--json"])[1]).unwrap();
    assert_eq!(json["id"], rule.key_id(hostile));
    assert_eq!(json["uid"], 1000);
    assert_eq!(json["decision"], "refused");
}
