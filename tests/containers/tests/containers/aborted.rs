// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests that can't clean up, and those that are run where no Docker is. Both are this
//! program once more.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};

use tdk_containers::{Docker, swtpm};

use crate::{is_there, name};

/// Runs the test of that name, with other variables.
fn once_more(test: &str, variables: &[(&str, &str)]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env_remove("TDK_CONTAINERS_OWNER")
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Has a TPM until the end of its standard input, which does not come.
#[test]
#[ignore = "part of another test"]
fn victim() {
    let tpm = swtpm().start().unwrap();
    println!("\nhas {}", name(&tpm));
    std::io::stdin().lines().for_each(drop);
}

#[test]
fn what_a_killed_test_leaves_is_removed_by_the_next() {
    let own = swtpm().start().unwrap();
    let mut victim = once_more("aborted::victim", &[]);
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let has = |line: String| line.strip_prefix("has ").map(str::to_owned);
    let left = lines.map_while(Result::ok).find_map(has).unwrap();

    let docker = Docker::get();
    docker.remove_left().unwrap();
    assert!(is_there(&left), "whose owner was alive");
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert!(is_there(&left), "as nobody could remove it");
    docker.remove_left().unwrap();
    assert!(!is_there(&left));
    assert!(is_there(&name(&own)), "whose owner is alive");
    own.transient_handles().unwrap();
}

/// Fails where there is no Docker.
#[test]
#[ignore = "part of another test"]
fn needs_docker() {
    Docker::get();
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
        let child = once_more("aborted::needs_docker", &[("DOCKER_HOST", &host)]);
        let output = child.wait_with_output().unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let expected = "no Docker answers: `make test-containers` starts one where it may: ";
        let (_, reason) = said.split_once(expected).expect(&said);
        assert!(reason.starts_with(why), "{said}");
    }
}
