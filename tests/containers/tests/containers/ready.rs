// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A container that runs is not yet a TPM that answers.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tdk_containers::{Image, swtpm};
use tdk_simulator::{Place, Runner, Running, SimError};

use crate::is_there;

/// Starts containers that stand still; `then` gets the name of each.
struct Paused<F>(F);

impl<F> std::fmt::Debug for Paused<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Paused")
    }
}

impl<F: Fn(String) + Send + Sync> Runner for Paused<F> {
    fn start(&self, place: &Place<'_>) -> Result<Box<dyn Running>, SimError> {
        let running = Image::chosen().start(place)?;
        let name = format!("tdk-swtpm-{}", place.data);
        docker("pause", &name);
        self.0(name);
        Ok(running)
    }
}

fn docker(command: &str, container: &str) {
    let output = Command::new("docker").args([command, container]).output();
    assert!(output.unwrap().status.success(), "docker {command}");
}

#[test]
fn an_answer_is_waited_for() {
    let goes_on = Arc::new(AtomicBool::new(false));
    let goes_on_later = Arc::clone(&goes_on);
    let runner = Paused(move |name: String| {
        let goes_on = Arc::clone(&goes_on_later);
        thread::spawn(move || {
            thread::sleep(Duration::from_secs(1));
            goes_on.store(true, Ordering::SeqCst);
            docker("unpause", &name);
        });
    });
    let tpm = swtpm().runner(runner).start().unwrap();
    assert!(goes_on.load(Ordering::SeqCst), "nobody could have answered");
    assert!(tpm.transient_handles().unwrap().is_empty());
}

#[test]
fn but_not_for_ever_and_nothing_is_left() {
    let names = Arc::<Mutex<Vec<String>>>::default();
    let started = Arc::clone(&names);
    let runner = Paused(move |name| started.lock().unwrap().push(name));
    let limit = Duration::from_secs(1);
    let error = swtpm()
        .runner(runner)
        .time_limit(limit)
        .start()
        .unwrap_err();
    assert!(matches!(error, SimError::NotReady { .. }), "{error}");
    let names = names.lock().unwrap();
    assert_eq!(names.len(), 1);
    assert!(!is_there(&names[0]));
}
