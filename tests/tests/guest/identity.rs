// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Askers who are not, or might not be, who they seem to be: all of them in one
//! guest for each kernel.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use tdk_tests::golden;
use tdk_tests::guest::{Machine, NEW, OLD, Script};
use tdk_tests::impostors::{ANYWHERE, IN_GUESTS, Impostor, Told, answers, check, tools};

const KEY_ID: &str = "impostor";

/// Runs one, between lines with its name and its exit status.
const TRY: &str = r#"
cp /usr/bin/keyctl /usr/sbin/victim
export victim=/usr/sbin/victim tools=/tools
export description=tpm2:derived:impostor
try() {
    export own=/home/$1
    mkdir -p "$own"
    chown "$2:$2" "$own"
    echo "impostor $1"
    status=0
    /usr/bin/setpriv --reuid "$2" --regid "$2" --clear-groups sh "/impostors/$1" </dev/null ||
        status=$?
    echo "ended $status"
}
"#;

/// What each got from a kernel.
type Results = BTreeMap<String, Vec<Told>>;

fn try_all(machine: &Machine) -> Results {
    let mut guest = machine
        .guest()
        .state(golden::state())
        .time_limit(Duration::from_mins(6))
        .module("overlay")
        .file("/usr/bin/perl", "/usr/bin/perl", 0o755);
    for tool in ["ask", "asker", "asker.so"] {
        guest = guest.file(tools().join(tool), format!("/tools/{tool}"), 0o755);
    }
    let mut calls = String::from(TRY);
    for Impostor { name, uid, .. } in ANYWHERE.iter().chain(IN_GUESTS) {
        writeln!(calls, "try {name} {uid}").unwrap();
    }
    for impostor in ANYWHERE.iter().chain(IN_GUESTS) {
        guest = guest.text(format!("/impostors/{}", impostor.name), impostor.script());
    }
    let mut script = Script::default();
    // 6.1 has no attributes of files in memory, which it would use.
    script.lines(&calls, 0).may_warn("] overlayfs: ");
    let count = |output: &str| results(output).values().map(Vec::len).sum();
    let run = script.run_counting(guest, count);
    results(&String::from_utf8_lossy(&run.stdout))
}

fn results(output: &str) -> Results {
    let result = |told: &str| {
        let (name, rest) = told.split_once('\n').unwrap();
        let (told, end) = rest.split_once("ended ").unwrap();
        assert!(end.starts_with("0\n"), "{name}: {rest}");
        (name.to_owned(), answers(told))
    };
    output.split("impostor ").skip(1).map(result).collect()
}

/// What one got from both kernels, as it should have been.
fn try_there(name: &str) {
    static RESULTS: OnceLock<Option<[Results; 2]>> = OnceLock::new();
    let results = RESULTS.get_or_init(|| {
        let [old, new] = [OLD, NEW].map(|machine| thread::spawn(move || try_all(&machine)));
        Some([old.join().ok()?, new.join().ok()?])
    });
    let results = results.as_ref().expect("both machines ran to their end");
    let tpm = golden::tpm();
    for results in results {
        check(&results[name], KEY_ID, &tpm.tcti());
    }
}

macro_rules! tests {
    ($($name:ident $uid:literal,)*) => {$(
        #[test]
        fn $name() {
            try_there(stringify!($name));
        }
    )*};
}
tdk_tests::impostors!(tests);
tdk_tests::impostors_for_guests!(tests);
