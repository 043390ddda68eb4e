// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A TPM that does not answer, behind the kernel's own driver.
use tdk_simulator::guest::Stream;
use tdk_tests::guest::{KEYCTL, Machine, NEW, OLD, Script};
use tdk_tests::oracle::Request;

fn experiment(machine: &Machine, device: &str) {
    let request = Request::user("x", "32 path", 0, KEYCTL);
    let mut script = Script::default();
    script.ask(KEYCTL, &request);
    script.lines(
        "echo halt; read -r word; t=$(cut -d' ' -f1 /proc/uptime)",
        0,
    );
    script.ask(KEYCTL, &request);
    script.lines("u=$(cut -d' ' -f1 /proc/uptime); echo took $t $u; ps -o pid,ppid,stat,comm,args|grep derived; ls -l /proc/[0-9]*/fd 2>/dev/null | grep tpm", 0);
    script.ask(KEYCTL, &Request::user("y", "32 path", 0, KEYCTL));
    script.lines("v=$(cut -d' ' -f1 /proc/uptime); echo took $u $v; for p in /proc/[0-9]*; do grep -q derived $p/comm && cat $p/comm $p/stack; done ; cat /proc/locks", 0);
    script.lines("echo resume; read -r word; sleep 1; ps | grep derived", 0);
    script.ask(KEYCTL, &request);
    let guest = machine
        .guest()
        .text(
            "/etc/tdk/config.toml",
            format!("deadline_seconds = 1\ntcti = \"device:{device}\"\n"),
        )
        .watch(|machine, line| {
            eprintln!("{:?} {}", line.stream, line.text());
            if line.stream == Stream::Stdout {
                match &*line.text() {
                    "halt" => {
                        machine.halt_tpm().unwrap();
                        machine.say("ok\n").unwrap();
                    }
                    "resume" => {
                        machine.resume_tpm().unwrap();
                        machine.say("ok\n").unwrap();
                    }
                    _ => {}
                }
            }
        });
    script.run(guest);
}

#[test]
fn rm_new() {
    experiment(&NEW, "/dev/tpmrm0");
}
#[test]
fn raw_new() {
    experiment(&NEW, "/dev/tpm0");
}
#[test]
fn rm_old() {
    experiment(&OLD, "/dev/tpmrm0");
}
