// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The proxy: what it does to commands, and that it writes down what it did.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::{bytes, code, create_primary, start};
use tdk_simulator::proxy::{Fault, Plan, Proxy, Rule, What};
use tdk_simulator::{Endpoint, Swtpm};

/// TPM2_GetRandom of 8 bytes, whose answer has 20.
const RANDOM: &str = "8001 0000000c 0000017b 0008";
const GET_RANDOM: u32 = 0x17B;

/// A connection to the proxy, which is not waited for for ever.
fn connect(proxy: &Proxy) -> UnixStream {
    let tcti = proxy.tcti();
    let path = tcti.strip_prefix("swtpm:path=").expect("a path");
    let stream = UnixStream::connect(path).expect("a connection");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a time limit");
    stream
}

fn with(tpm: &Swtpm, rule: &str) -> Proxy {
    let rule: Rule = rule.parse().expect("a rule");
    Proxy::before(tpm)
        .plan(Plan::script([rule]))
        .start()
        .expect("a proxy")
}

fn exchange(stream: &mut UnixStream) -> std::io::Result<Vec<u8>> {
    stream.write_all(&bytes(RANDOM))?;
    let mut answer = vec![0; 10];
    stream.read_exact(&mut answer)?;
    let size = u32::from_be_bytes(answer[2..6].try_into().expect("4 bytes"));
    answer.resize(usize::try_from(size).expect("short"), 0);
    stream.read_exact(&mut answer[10..])?;
    Ok(answer)
}

#[test]
fn everything_is_passed_on_and_written_down() {
    let tpm = start();
    let proxy = Proxy::before(&tpm).start().expect("a proxy");
    let (mut one, mut other) = (connect(&proxy), connect(&proxy));
    // Connections don't wait for each other.
    for first in [true, false, true] {
        let stream = if first { &mut one } else { &mut other };
        let answer = exchange(stream).expect("an answer");
        assert_eq!((code(&answer), answer.len()), (0, 20));
    }
    assert_eq!(proxy.commands(), [GET_RANDOM; 3]);
    assert!(proxy.fired().is_empty());
    let answers = proxy.events().into_iter().filter(
        |event| matches!(&event.what, What::Answer(GET_RANDOM, answer) if answer.len() == 20),
    );
    assert_eq!(answers.count(), 3);
    // Nor does whoever asks the TPM itself.
    assert!(tpm.transient_handles().expect("handles").is_empty());
}

#[test]
fn answers_of_its_own() {
    let tpm = start();
    let proxy = with(&tpm, "TPM2_GetRandom@2:rc=TPM_RC_RETRY");
    let mut stream = connect(&proxy);
    let codes: Vec<_> = (0..3)
        .map(|_| code(&exchange(&mut stream).expect("an answer")))
        .collect();
    assert_eq!(codes, [0, 0x922, 0]);
    assert_eq!(
        proxy.fired(),
        [("TPM2_GetRandom".into(), Fault::Answer(0x922))]
    );
    let proxy = Proxy::alone()
        .plan(Plan::script([Rule::always(Fault::Answer(0x101))]))
        .start()
        .expect("a proxy");
    let answer = exchange(&mut connect(&proxy)).expect("an answer");
    assert_eq!(answer, bytes("8001 0000000a 00000101"));
}

/// What comes after a command, until the other side has closed.
fn all_of(stream: &mut UnixStream) -> Vec<u8> {
    stream.write_all(&bytes(RANDOM)).expect("sent");
    stream
        .shutdown(std::net::Shutdown::Write)
        .expect("said all");
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("an end");
    all
}

#[test]
fn answers_that_are_spoilt() {
    let tpm = start();
    let spoilt = |fault: &str| {
        let proxy = with(&tpm, &format!("any:{fault}"));
        let all = all_of(&mut connect(&proxy));
        assert_eq!(proxy.fired().len(), 1, "{fault}");
        all
    };
    assert_eq!(spoilt("close"), []);
    assert_eq!(spoilt("cut=0"), []);
    assert_eq!(spoilt("cut=15").len(), 15);
    assert_eq!(spoilt("corrupt=0")[..2], [0x7F, 0x01]);
    assert_eq!(spoilt("corrupt=9")[6..10], [0, 0, 0, 0xFF]);
    assert_eq!(spoilt("corrupt=999").len(), 20);
    let twice = spoilt("duplicate");
    assert_eq!(twice[..20], twice[20..]);
    assert_eq!(spoilt("hang"), []);
    assert_eq!(spoilt("drop"), []);
    assert_eq!(spoilt("raw=0102"), [1, 2]);
    assert_eq!(spoilt("instead=0102"), [1, 2]);
}

#[test]
fn what_the_tpm_sees_of_it() {
    for (fault, seen) in [
        ("rc=0x101", 0),
        ("close", 0),
        ("hang", 0),
        ("raw=01", 0),
        ("cut=3", 1),
        ("drop", 1),
        ("corrupt=3", 1),
        ("duplicate", 1),
        ("instead=01", 1),
    ] {
        let tpm = start();
        let before = Proxy::before(&tpm).start().expect("a proxy");
        let chain = Proxy::before_tcti(&before.tcti())
            .expect("a TCTI string")
            .plan(Plan::script([format!("any:{fault}")
                .parse()
                .expect("a rule")]))
            .start()
            .expect("a proxy");
        all_of(&mut connect(&chain));
        assert_eq!(before.commands().len(), seen, "{fault}");
    }
}

#[test]
fn delays() {
    let tpm = start();
    let proxy = with(&tpm, "any:delay=200");
    let start = Instant::now();
    exchange(&mut connect(&proxy)).expect("an answer");
    assert!(start.elapsed() >= Duration::from_millis(200));
    let proxy = Proxy::before(&tpm)
        .chip("slb9673".parse().expect("a chip"))
        .start()
        .expect("a proxy");
    let start = Instant::now();
    exchange(&mut connect(&proxy)).expect("an answer");
    // A quarter of a kilobyte at 6.6 KB/s.
    assert!(start.elapsed() >= Duration::from_millis(37));
}

#[test]
fn power() {
    for (fault, expected) in [("power-cycle", 0), ("reset", 0x100)] {
        let tpm = start();
        assert_eq!(code(&create_primary(&tpm, b"")), 0);
        assert_eq!(tpm.transient_handles().expect("handles").len(), 1);
        let proxy = with(&tpm, &format!("any@2:{fault}"));
        let mut stream = connect(&proxy);
        assert_eq!(code(&exchange(&mut stream).expect("an answer")), 0);
        assert_eq!(code(&exchange(&mut stream).expect("an answer")), expected);
        if fault == "power-cycle" {
            assert!(tpm.transient_handles().expect("handles").is_empty());
        }
        let resets = proxy.events().into_iter();
        let resets = resets.filter(|event| event.what == What::PowerCycled);
        assert_eq!(resets.count(), 1);
    }
    let tpm = start();
    create_primary(&tpm, b"");
    let proxy = Proxy::before(&tpm).start().expect("a proxy");
    proxy.power_cycle().expect("done");
    assert!(tpm.transient_handles().expect("handles").is_empty());
}

#[test]
fn the_control_channel_over_both_kinds_of_sockets() {
    // CMD_SET_LOCALITY to 3, which shows in what the TPM answers to nothing here; that
    // it is done is what it says.
    let ask = |mut stream: Box<dyn ReadWrite>| {
        stream.write_all(&bytes("00000005 03")).expect("sent");
        let mut answer = [1; 4];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(answer, [0; 4]);
    };
    for endpoint in [Endpoint::Unix, Endpoint::Tcp] {
        let tpm = Swtpm::builder().endpoint(endpoint).start().expect("a TPM");
        let proxy = Proxy::before(&tpm)
            .endpoint(endpoint)
            .start()
            .expect("a proxy");
        let tcti = proxy.tcti();
        match tcti.rsplit_once('=').expect("a value").1 {
            path if endpoint == Endpoint::Unix => {
                let stream = UnixStream::connect(format!("{path}.ctrl")).expect("connected");
                ask(Box::new(stream));
            }
            port => {
                let port: u16 = port.parse().expect("a port");
                let stream = TcpStream::connect(("127.0.0.1", port + 1)).expect("connected");
                ask(Box::new(stream));
                let mut data = TcpStream::connect(("127.0.0.1", port)).expect("connected");
                data.write_all(&bytes(RANDOM)).expect("sent");
                data.read_exact(&mut [0; 20]).expect("an answer");
            }
        }
        let seen = |event: &&tdk_simulator::proxy::Event| {
            event.what == What::Control(bytes("00000005 03"))
        };
        assert!(proxy.events().iter().any(|event| seen(&event)));
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// Where a trace goes that is to be read again.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panics").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_trace() {
    let tpm = start();
    let written = Written::default();
    let proxy = Proxy::before(&tpm)
        .plan(Plan::script(["any@1:corrupt=9".parse().expect("a rule")]))
        .trace(written.clone())
        .start()
        .expect("a proxy");
    exchange(&mut connect(&proxy)).expect("an answer");
    proxy.stop().expect("written");
    let text = String::from_utf8(written.0.lock().expect("nobody panics").clone()).expect("text");
    let what: Vec<_> = text.lines().take(5).map(|line| line[16..].trim()).collect();
    assert_eq!(
        what,
        [
            "connected",
            "> TPM2_GetRandom, 12 bytes",
            "! corrupt=9",
            "x TPM_RC_SUCCESS (0x0), 20 bytes",
            "< response code 0xff, 20 bytes",
        ]
    );
}

/// The program, with a command of its own.
fn tdk_sim(arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_tdk-sim"))
        .arg("proxy")
        .args(arguments)
        .output()
        .expect("tdk-sim")
}

#[test]
fn by_hand() {
    let directory = tempfile::tempdir().expect("a directory");
    let (trace, pcap) = (
        directory.path().join("trace"),
        directory.path().join("pcap"),
    );
    // A shell can't speak to Unix sockets; over TCP bash can.
    let script = r"port=${0##*=}
        exec 3<>/dev/tcp/127.0.0.1/$port
        printf '\x80\x01\0\0\0\x0c\0\0\x01\x7b\0\x08' >&3
        head -c 10 <&3 | od -An -tx1
        exit 7";
    let output = tdk_sim(&[
        "--tcp",
        "--fault",
        "TPM2_GetRandom:rc=TPM_RC_LOCKOUT",
        "--trace",
        trace.to_str().expect("UTF-8"),
        "--pcap",
        pcap.to_str().expect("UTF-8"),
        "--",
        "bash",
        "-c",
        script,
        "{}",
    ]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, " 80 01 00 00 00 0a 00 00 09 21\n");
    let text = std::fs::read_to_string(trace).expect("a trace");
    assert!(text.contains("! rc=TPM_RC_LOCKOUT\n"), "{text}");
    assert!(
        text.contains("< TPM_RC_LOCKOUT (0x921), 10 bytes\n"),
        "{text}"
    );
    // The file's header, and two packets with theirs.
    let length = std::fs::metadata(pcap).expect("a file").len();
    assert_eq!(length, 24 + (16 + 40 + 12) + (16 + 40 + 10));
}

#[test]
fn called_wrongly() {
    for arguments in [
        &["--fault", "TPM2_HMAC"][..],
        &["--fault", "TPM2_Hmac:hang"],
        &["--profile", "slb9999"],
        &["--random", "7"],
        &["--random", "7", "--random-fault", "explode"],
        &["--tpm", "device:/dev/tpm0"],
        &["--tpm", "swtpm:path=/x", "--state", "/x"],
    ] {
        let output = tdk_sim(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?} {output:?}");
        assert!(output.stdout.is_empty());
    }
    let output = tdk_sim(&["--", "/nonexistent/program"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
