// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How containers end.

use rustix::process::{Pid, Signal, kill_process};
use tdk_containers::{Docker, Image, swtpm};
use tdk_simulator::{Endpoint, SimError, StateSource, Swtpm};

use crate::{is_there, name};

#[test]
fn nothing_is_left_of_one_that_was_stopped_or_dropped() {
    let (first, second) = (swtpm().start().unwrap(), swtpm().start().unwrap());
    let names = [name(&first.tcti()), name(&second.tcti())];
    let known = Docker::get().inspect(&names[0]).unwrap().unwrap();
    // Nor could there be: it has no volume and no network of its own.
    let mounts = known.mounts.unwrap();
    assert_eq!(mounts.len(), 1, "{mounts:?}");
    let source = mounts[0].source.as_deref();
    assert_eq!(source, first.state_dir().to_str());
    let networks = known.network_settings.unwrap().networks.unwrap();
    assert_eq!(networks.keys().collect::<Vec<_>>(), ["bridge"]);

    assert!(names.iter().all(|name| is_there(name)));
    let state = first.stop().unwrap();
    drop(second);
    assert!(!names.iter().any(|name| is_there(name)));

    // What it kept is there, and is the user's, who can go on with it elsewhere.
    let mut elsewhere = Swtpm::builder()
        .state(StateSource::Resume(state))
        .start()
        .unwrap();
    elsewhere.check().unwrap();
}

#[test]
fn a_restart_is_another_container_at_the_same_place() {
    let mut tpm = swtpm().start().unwrap();
    let id = |tpm: &Swtpm| {
        Docker::get()
            .inspect(&name(&tpm.tcti()))
            .unwrap()
            .unwrap()
            .id
    };
    let (before, tcti) = (id(&tpm), tpm.tcti());
    tpm.restart().unwrap();
    assert_eq!(tpm.tcti(), tcti);
    assert_ne!(id(&tpm), before);
    tpm.check().unwrap();
}

#[test]
fn one_that_ends_by_itself() {
    let mut tpm = swtpm().start().unwrap();
    // Its own number in the container is 1, which nobody there can kill.
    let pid = Pid::from_raw(tpm.pid().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    let error = loop {
        match tpm.check() {
            Ok(()) => std::thread::yield_now(),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SimError::Exited { .. }), "{error}");
    assert!(error.to_string().contains(&name(&tpm.tcti())), "{error}");
    tpm.restart().unwrap();
    assert!(tpm.transient_handles().unwrap().is_empty());
}

#[test]
fn a_unix_socket_does_not_lead_into_a_container() {
    let error = swtpm().endpoint(Endpoint::Unix).start().unwrap_err();
    let expected = "choosing a socket for another's swtpm: it has to be TCP";
    assert_eq!(error.to_string(), expected);
}

/// It is not looked for in registries.
#[test]
fn an_image_that_is_not_there() {
    let missing = Image::named("tdk-swtpm:none");
    let error = Swtpm::builder().runner(missing).start().unwrap_err();
    let expected = "looking for an image: there is no tdk-swtpm:none: `make test-containers` \
                    makes it";
    assert_eq!(error.to_string(), expected);
}
