// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A thousand askers at once, and one TPM. On the live kernel, as `live`, but when nothing
//! else is tested, which would have to wait for them.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tdk_simulator::Swtpm;
use tdk_simulator::proxy::{Plan, Proxy, Rule, What};
use tdk_tests::live::Rule as Line;
use tdk_tests::oracle;
use tdk_tests::storm::{Answered, Asking, Refused, Summary, at_once, in_a_row, under_construction};
use tdk_tests::{assert_no_handles, golden, programs};

/// One storm at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// How many ask, and for which keys: those of 40 users, 25 each, so that nobody's quota
/// of keys is full.
fn askings(line: &Line, count: usize) -> Vec<Asking> {
    (0..count)
        .map(|number| Asking {
            uid: u32::try_from(2000 + number % 40).unwrap(),
            key_type: "user",
            key_id: line.key_id(&format!("{}", number % 200)),
            what: format!("{}", 16 + number % 49),
            // By the executable; by the user alone.
            identity: ["path", "id"][number / 40 % 2],
        })
        .collect()
}

/// What asks: where every user can run it.
fn asker(line: &Line) -> PathBuf {
    line.copy_of(&programs::asker(), "asker")
}

fn line(tcti: &str) -> Line {
    Line::direct(&format!("tcti = \"{tcti}\"\n"))
}

/// Fails if a key is not the one that the oracle computes.
fn assert_right(tpm: &Swtpm, program: &Path, askings: &[Asking], answers: &[Answered]) {
    let program = program.to_str().unwrap();
    let requests: Vec<_> = askings
        .iter()
        .map(|asking| asking.request(program))
        .collect();
    let expected = oracle::derive(&tpm.tcti(), &requests);
    for ((answer, expected), asking) in answers.iter().zip(expected).zip(askings) {
        match &answer.key {
            Ok(key) => assert_eq!(*key, expected.unwrap(), "{asking:?}"),
            Err(error) => panic!("{asking:?}: {error:?}"),
        }
    }
}

fn print(what: &str, answers: &[Answered]) {
    println!("{what}: {}", Summary::of(answers));
}

/// Fails if a key of an asker's is still under construction.
fn assert_all_done(askings: &[Asking]) {
    let key_users = std::fs::read_to_string("/proc/key-users").unwrap();
    assert_eq!(under_construction(&key_users, askings), 0, "{key_users}");
}

#[test]
fn a_thousand_at_once() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let tpm = golden::tpm();
    let line = line(&tpm.tcti());
    let askings = askings(&line, 1000);
    let program = asker(&line);
    let answers = in_a_row(&program, &askings[..200]);
    print("one after the other", &answers);
    assert_right(&tpm, &program, &askings[..200], &answers);
    let answers = at_once(&program, &askings);
    print("at once", &answers);
    assert_right(&tpm, &program, &askings, &answers);
    line.assert_nothing_left();
    assert_all_done(&askings);
    assert_no_handles(&tpm);
}

/// Has a crash happen to one callout after the other, until told to stop: how many.
fn crash_some(line: &Line, stop: &AtomicBool) -> usize {
    let mut crashed = 0;
    while !stop.load(Ordering::SeqCst) && crashed < 5 {
        thread::sleep(Duration::from_millis(200));
        // The oldest has been there for long enough to answer its asker, and may well
        // have the TPM. As a fault in its own code would.
        if let Some(callout) = line.callouts().into_iter().min() {
            let pid = Pid::from_raw(i32::try_from(callout).unwrap()).unwrap();
            let signal = [Signal::SEGV, Signal::TERM][crashed % 2];
            let sent = rustix::process::kill_process(pid, signal);
            crashed += usize::from(sent.is_ok());
        }
    }
    crashed
}

/// How long somebody was connected to the TPM, of those who have gone.
fn in_use(proxy: &Proxy) -> Duration {
    let (mut since, mut total) = (HashMap::new(), Duration::ZERO);
    for event in proxy.events() {
        match event.what {
            What::Connected => drop(since.insert(event.connection, event.at)),
            What::Closed => {
                let began = since.remove(&event.connection).unwrap_or(event.at);
                total += event.at.saturating_sub(began);
            }
            _ => {}
        }
    }
    total
}

#[test]
fn with_trouble_in_the_middle() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let tpm = golden::tpm();
    // Some four hundred commands are of fifty derivations.
    let trouble: [Rule; 2] = [
        "any@1000:power-cycle".parse().unwrap(),
        "TPM2_HMAC@250..260:rc=TPM_RC_LOCKOUT".parse().unwrap(),
    ];
    let proxy = Proxy::before(&tpm)
        .plan(Plan::script(trouble))
        .start()
        .unwrap();
    let line = line(&proxy.tcti());
    let program = asker(&line);
    let askings = askings(&line, 500);
    let stop = Arc::new(AtomicBool::new(false));
    let (mut answers, crashed) = thread::scope(|scope| {
        let crashing = scope.spawn(|| crash_some(&line, &stop));
        let answers = at_once(&program, &askings);
        stop.store(true, Ordering::SeqCst);
        (answers, crashing.join().unwrap())
    });
    print("with trouble", &answers);
    let busy = in_use(&proxy).as_secs_f64() / Summary::of(&answers).total.as_secs_f64();
    println!("somebody had the TPM for {:.0} % of the time", busy * 100.0);
    let fired = proxy.fired();
    assert_eq!(fired.len(), 12, "{fired:?}");
    let resets = proxy.events().into_iter();
    assert_eq!(
        resets
            .filter(|event| event.what == What::PowerCycled)
            .count(),
        1
    );

    let mut later = 0;
    for (asking, answer) in askings.iter().zip(&mut answers) {
        match &answer.key {
            Ok(_) => continue,
            Err(Refused::Later) => later += 1,
            Err(error) => panic!("{asking:?}: {error:?}"),
        }
        // Once more.
        *answer = in_a_row(&program, std::slice::from_ref(asking)).remove(0);
    }
    println!("{later} EAGAIN, {crashed} crashes");
    assert!(later >= 11, "{later}");
    assert!(crashed > 0);
    assert_right(&tpm, &program, &askings, &answers);
    line.assert_nothing_left();
    assert_all_done(&askings);
    assert_no_handles(&tpm);
}
