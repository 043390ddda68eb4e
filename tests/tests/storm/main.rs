// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A thousand askers at once, and one TPM. On the live kernel, as `live`, but when nothing
//! else is tested, which would have to wait for them.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tdk_simulator::Swtpm;
use tdk_simulator::proxy::{Plan, Proxy, Rule, What};
use tdk_tests::live::Rule as Line;
use tdk_tests::oracle;
use tdk_tests::queue::{self, Queue, assert_served_in_order};
use tdk_tests::storm::{Answered, Asking, Refused, Summary, at_once, in_a_row, under_construction};
use tdk_tests::{assert_no_handles, golden, programs};

/// One storm at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// How many ask, and for which keys: those of 40 users, 25 each, so that nobody's quota
/// of keys is full.
fn askings(line: &Line, count: usize, key_ids: usize) -> Vec<Asking> {
    (0..count)
        .map(|number| Asking {
            uid: u32::try_from(2000 + number % 40).unwrap(),
            key_type: "user",
            key_id: line.key_id(&format!("{}", number % key_ids)),
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
    let proxy = Proxy::before(&tpm).start().unwrap();
    let start = Instant::now();
    let line = line(&proxy.tcti());
    let askings = askings(&line, 1000, 200);
    let program = asker(&line);
    let answers = in_a_row(&program, &askings[..200]);
    print("one after the other", &answers);
    assert_right(&tpm, &program, &askings[..200], &answers);
    let (answers, lines) = watched(&Queue::of(&proxy.tcti()), || at_once(&program, &askings));
    print("at once", &answers);
    assert_in_order(&proxy, start, [200, 1000], &lines);
    assert_right(&tpm, &program, &askings, &answers);
    line.assert_nothing_left();
    assert_all_done(&askings);
    assert_no_handles(&tpm);
}

/// Fails if one of those who ask at once was overtaken when all of them stood in line. (Before,
/// who comes just when the lock is handed on may take it, and the line forms anew.)
fn assert_in_order(
    proxy: &Proxy,
    start: Instant,
    [before, count]: [usize; 2],
    lines: &[(Instant, queue::Line)],
) {
    let events = proxy.events().into_iter();
    let served: Vec<_> = events
        .filter(|event| event.what == What::Connected)
        .map(|event| start + event.at)
        .collect();
    assert_eq!(served.len(), before + count, "each connects once");
    let all_have_come = |(at, line): &(Instant, queue::Line)| {
        let served = served.iter().filter(|served| *served <= at).count();
        // The first has the lock.
        served - before + line.len() - 1 == count
    };
    let longest = lines.iter().map(|(_, line)| line.len()).max().unwrap();
    let settled = lines.iter().position(all_have_come).unwrap_or(lines.len());
    let (_, settled) = lines.split_at(settled);
    println!(
        "at most {longest} in line, and {} when all had come",
        settled.first().map_or(0, |(_, line)| line.len())
    );
    assert_served_in_order(settled);
}

/// Does it while the line is watched.
fn watched<T>(queue: &Queue, what: impl FnOnce() -> T) -> (T, Vec<(Instant, queue::Line)>) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let watching = scope.spawn(|| queue.watch(&stop));
        let done = what();
        stop.store(true, Ordering::SeqCst);
        (done, watching.join().unwrap())
    })
}

/// However many come: once all stand in line, they are served as they stand.
#[test]
fn who_stands_in_line_is_served_in_its_order() {
    const MANY: usize = 300;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let tpm = golden::tpm();
    let line = line(&tpm.tcti());
    let askings = askings(&line, MANY, MANY);
    let program = asker(&line);
    let queue = Queue::of(&tpm.tcti());
    let ((answers, all), lines) = watched(&queue, || {
        let closed = queue.close();
        thread::scope(|scope| {
            let asking = scope.spawn(|| at_once(&program, &askings));
            let mut line = queue.look();
            while line.len() <= MANY && !asking.is_finished() {
                thread::sleep(Duration::from_millis(20));
                line = queue.look();
            }
            let all = (Instant::now(), line);
            drop(closed);
            (asking.join().unwrap(), all)
        })
    });
    print("as they stood in line", &answers);
    assert_eq!(all.1.len(), MANY + 1);
    let later = lines.into_iter().filter(|(at, _)| *at >= all.0);
    let lines: Vec<_> = [all.clone()].into_iter().chain(later).collect();
    assert!(lines.len() > 1);
    assert_served_in_order(&lines);
    assert_right(&tpm, &program, &askings, &answers);
    line.assert_nothing_left();
    assert_all_done(&askings);
    assert_no_handles(&tpm);
}

/// A callout that was ended before its time.
#[derive(Debug)]
struct Crashed {
    /// The key that it was to make.
    description: String,
    had_the_tpm: bool,
}

/// What a process was started for, if it is a callout that is still there.
fn description(callout: u32) -> Option<String> {
    let command = std::fs::read(format!("/proc/{callout}/cmdline")).ok()?;
    let words = command.split(|byte| *byte == 0);
    let words = words.filter_map(|word| std::str::from_utf8(word).ok());
    let mut descriptions = words.filter(|word| word.starts_with("tpm2:derived:"));
    descriptions.next().map(str::to_owned)
}

fn signal(process: u32, signal: Signal) -> bool {
    let pid = Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).is_ok()
}

/// Whether it stands still.
fn is_stopped(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .map(|(_, rest)| rest.starts_with('T'));
    state.unwrap_or_default()
}

/// Has whoever has the TPM crash, as a fault in its own code would, while it has it: it is
/// stopped first, and looked at.
fn crash_in_front(queue: &Queue) -> Option<Crashed> {
    let callout = *queue.look().first()?;
    let description = description(callout)?;
    if !signal(callout, Signal::STOP) {
        return None;
    }
    for _ in 0..100 {
        if is_stopped(callout) {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    let had_the_tpm = is_stopped(callout) && queue.look().first() == Some(&callout);
    if had_the_tpm {
        signal(callout, Signal::SEGV);
    }
    signal(callout, Signal::CONT);
    had_the_tpm.then_some(Crashed {
        description,
        had_the_tpm,
    })
}

/// Ends one that waits.
fn end_in_line(queue: &Queue) -> Option<Crashed> {
    let line = queue.look();
    let callout = *line.get(line.len() / 2).filter(|_| line.len() > 1)?;
    let description = description(callout)?;
    signal(callout, Signal::TERM).then_some(Crashed {
        description,
        had_the_tpm: false,
    })
}

/// Has callouts crash, one after the other, until told to stop: those that did.
fn crash_some(queue: &Queue, stop: &AtomicBool) -> Vec<Crashed> {
    let mut crashed = Vec::new();
    while !stop.load(Ordering::SeqCst) && crashed.len() < 6 {
        thread::sleep(Duration::from_millis(100));
        crashed.extend(match crashed.len() % 2 {
            0 => crash_in_front(queue),
            _ => end_in_line(queue),
        });
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
    // Each has a name of its own, by which it is seen who was hit.
    let askings = askings(&line, 1000, 1000);
    let queue = Queue::of(&proxy.tcti());
    let stop = AtomicBool::new(false);
    let (mut answers, crashed) = thread::scope(|scope| {
        let crashing = scope.spawn(|| crash_some(&queue, &stop));
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

    // Who was waiting for a callout that crashed is told to ask again.
    let was_hit = |crashed: &&Crashed| {
        let mut pairs = askings.iter().zip(&answers);
        pairs.any(|(asking, answer)| {
            crashed.description.ends_with(&asking.key_id) && answer.key == Err(Refused::Later)
        })
    };
    let hit: Vec<_> = crashed.iter().filter(was_hit).collect();
    println!("{} crashes, of which {} hit", crashed.len(), hit.len());
    assert!(hit.len() >= 2, "{crashed:?}");
    assert!(hit.iter().any(|crashed| crashed.had_the_tpm), "{crashed:?}");
    let hit = hit.len();

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
    println!("{later} EAGAIN");
    // Some of those who met the lockout may have crashed.
    assert!(later >= 11.max(hit), "{later}");
    assert_right(&tpm, &program, &askings, &answers);
    line.assert_nothing_left();
    assert_all_done(&askings);
    assert_no_handles(&tpm);
}
