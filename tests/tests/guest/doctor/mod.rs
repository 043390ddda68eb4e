// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tdk doctor` on whole machines: in order, and with each thing broken in turn.
//! Each time exactly the lines change that have to.

mod cases;

use std::fmt::Write;
use std::time::Duration;

use tdk_simulator::guest::{GuestBuilder, Run};
use tdk_tests::doctor::{ANSWERS, Report, depend};
use tdk_tests::guest::{NEW, OLD};
use tdk_tests::{golden, programs};

use cases::Case;

const PRELUDE: &str = r#"
# Runs doctor, and tells the test of which state.
doctor() {
    echo "== $1"
    shift
    "$@" tdk doctor --json
    echo "-- $?"
}

# Sends a command to the TPM itself: its tag, and what follows the size.
tpm() {
    rest=$(echo "$2" | sed 's/ //g')
    command=$(printf '%s%08x%s' "$1" $((6 + ${#rest} / 2)) "$rest")
    exec 9<>/dev/tpm0
    printf "$(echo "$command" | sed 's/../\\x&/g')" >&9
    answer=$(dd bs=4096 count=1 <&9 2>/dev/null | hexdump -v -e '/1 "%02x"')
    exec 9>&-
    case $answer in
    ????????????00000000*) ;;
    *) echo "TPM: $answer" >&2 ;;
    esac
}

as_user() {
    /usr/bin/setpriv --reuid 1000 --regid 1000 --clear-groups "$@"
}

line=/etc/request-key.d/tpm2-derived.conf
rules=/etc/request-key.conf
callout=/usr/sbin/key.tpm2_derived
arguments="%k %t %d %c %u %g %S"
"#;

/// What the second transcript of `docs/doctor.md` is of.
const BROKEN: &str = "cp $rules /tmp; echo 'create user * * /usr/bin/local-keys %k' >>$rules; \
                      chmod 666 /dev/tpmrm0";
const MENDED: &str = "cp /tmp/request-key.conf $rules; chmod 600 /dev/tpmrm0";

/// The transcripts of `docs/doctor.md`.
fn transcripts() -> String {
    let page = include_str!("../../../../docs/doctor.md");
    let blocks = page.split("```\n");
    let transcripts = blocks.filter_map(|block| block.strip_prefix("# tdk doctor\n"));
    transcripts.collect()
}

/// Without what is another each time, or on other machines.
fn lasting(transcript: &str) -> String {
    let varying = [
        "firmware ",
        "one derivation took ",
        env!("CARGO_PKG_VERSION"),
    ];
    let line = |line: &str| {
        let found = varying.iter().find_map(|word| line.find(word));
        line[..found.unwrap_or(line.len())].to_owned() + "\n"
    };
    transcript.lines().map(line).collect()
}

/// What doctor said in each state.
fn reports(output: &str) -> Vec<(String, Report)> {
    output
        .split("== ")
        .skip(1)
        .map(|part| {
            let (name, rest) = part.split_once('\n').unwrap();
            let (json, rest) = rest.split_once("-- ").unwrap_or_else(|| panic!("{part}"));
            let report = Report::parse(json);
            let status = rest.lines().next();
            assert_eq!(
                status,
                Some(report.exit_status().to_string().as_str()),
                "{part}"
            );
            (name.to_owned(), report)
        })
        .collect()
}

/// Runs a script in a guest with a known TPM.
fn run(guest: GuestBuilder<'_>, script: &str) -> Run {
    let run = guest
        .file(programs::tdk().get_program(), "/usr/bin/tdk", 0o755)
        .state(golden::state())
        .script(format!("{PRELUDE}{script}"))
        .time_limit(Duration::from_mins(3))
        .run()
        .unwrap_or_else(|error| panic!("{error}"));
    let complaints = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!((run.status, complaints.as_str()), (0, ""));
    println!("{:?}", run.duration);
    run
}

#[test]
fn each_thing_broken_in_turn() {
    let cases = cases::all();
    // The first one makes what the others find.
    let mut script = String::from("doctor new\ndoctor healthy\ndoctor user as_user\n");
    let page = format!("echo '== page'; tdk doctor; {BROKEN}; tdk doctor; {MENDED}");
    writeln!(script, "{page}").unwrap();
    for case in &cases {
        let through = if case.name == "no /proc" {
            "unshare -m sh /tmp/bare"
        } else {
            ""
        };
        let name = case.name.replace('\'', "'\\''");
        let Case { make, mend, .. } = case;
        writeln!(script, "{make}\ndoctor '{name}' {through}\n{mend}").unwrap();
    }
    let run = run(NEW.guest(), &script);
    let output = std::str::from_utf8(&run.stdout).unwrap();
    let (_, rest) = output.split_once("== page\n").unwrap();
    let (page, _) = rest.split_once("== ").unwrap();
    assert_eq!(lasting(page), lasting(&transcripts()));

    let mut reports = reports(&output.replace(&format!("== page\n{page}"), "")).into_iter();
    let mut next = |expected: &str| {
        let (name, report) = reports.next().unwrap();
        assert_eq!(name, expected);
        report
    };
    let new = next("new");
    let healthy = next("healthy");
    for id in healthy.ids() {
        let status = healthy.line(id).status.as_str();
        let usual = [
            "kernel.key-types",
            "kernel.user-namespaces",
            "tpm.conversation",
            "tpm.enrolment",
        ];
        let expected = if usual.contains(&id) { "note" } else { "ok" };
        assert_eq!(status, expected, "{id}: {:?}", healthy.line(id));
    }
    let lock = ("tpm.lock", "ok", "is made by the first request");
    new.assert_changes(&healthy, "new", &[lock]);

    let user = next("user");
    let mut changes = depend(&ANSWERS[1..], "tpm.answer");
    changes.extend([
        ("tpm.answer", "not checked", "Permission denied"),
        ("tpm.lock", "not checked", "Permission denied"),
        ("request", "note", "a request got its key"),
    ]);
    user.assert_changes(&healthy, "user", &changes);

    let faults: Vec<_> = cases
        .iter()
        .map(|case| (case.name, next(case.name).faults(&healthy, &case.changes)))
        .filter(|(_, faults)| !faults.is_empty())
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn in_order_on_6_1() {
    let guest = OLD.guest().module("pkcs8_key_parser");
    let run = run(guest, "tdk doctor >/dev/null; tdk doctor");
    let transcripts = transcripts();
    let (healthy, _) = transcripts.split_once("nothing is wrong\n").unwrap();
    // There is one thing less to tell of.
    let parser = ", the parser for private keys (modprobe pkcs8_key_parser)";
    assert!(healthy.contains(parser));
    let expected = healthy.replace(parser, "") + "nothing is wrong\n";
    let output = std::str::from_utf8(&run.stdout).unwrap();
    assert_eq!(lasting(output), lasting(&expected));
    // What doctor tries leaves nothing in the kernel's log but the callout's line.
    let log = run.kernel_log_of_script();
    let ours = |line: &str| line.contains("key.tpm2_derived[");
    assert!(log.lines().all(ours) && log.lines().count() == 2, "{log}");
}
