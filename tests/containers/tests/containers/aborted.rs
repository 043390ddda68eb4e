// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a test leaves that is killed, and what one says where no Docker is. Both are
//! the program `holder`.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};

use tdk_containers::{Docker, swtpm};

use crate::{is_there, name};

/// Starts it, with other variables.
fn holder(variables: &[(&str, &str)]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_holder"))
        .env_remove("TDK_CONTAINERS_OWNER")
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn what_a_killed_test_leaves_is_removed_by_the_next() {
    let own = swtpm().start().unwrap();
    let mut victim = holder(&[]);
    let mut said = BufReader::new(victim.stdout.take().unwrap()).lines();
    let left = name(&said.next().unwrap().unwrap());

    let docker = Docker::get();
    docker.remove_left().unwrap();
    assert!(is_there(&left), "whose owner was alive");
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert!(is_there(&left), "as nobody could remove it");
    docker.remove_left().unwrap();
    assert!(!is_there(&left));
    assert!(is_there(&name(&own.tcti())), "whose owner is alive");
    own.transient_handles().unwrap();
}

#[test]
fn no_docker_and_one_that_does_not_answer() {
    let directory = tempfile::tempdir().unwrap();
    let [nobody, silent, stale] = ["nobody", "silent", "stale"].map(|name| {
        let path = directory.path().join(name);
        path.to_str().unwrap().to_owned()
    });
    let _listener = UnixListener::bind(&silent).unwrap();
    drop(UnixListener::bind(&stale).unwrap());
    for (socket, why) in [(nobody, ""), (silent, "nothing within 10s"), (stale, "")] {
        let host = format!("unix://{socket}");
        let child = holder(&[("DOCKER_HOST", &host)]);
        let output = child.wait_with_output().unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let expected = "no Docker answers: `make test-containers` starts one where it may: ";
        let (_, reason) = said.split_once(expected).expect(&said);
        assert!(reason.starts_with(why), "{said}");
    }
}
