// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The callout taken over, for the tests: instead of serving it tries what it has no
//! business to do, and writes beside its configuration what became of it. What ends
//! it, it tries when the key id ends in that.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::net::{TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use linux_keyutils::{Key, KeySerialId};
use rustix::mount::UnmountFlags;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketType, ipproto, send,
    sendmsg, socket,
};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CapabilitySet, capabilities};
use tdk_request_key::{Errno, Failure, main_with};

fn main() {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let is_config = |pair: &&[OsString]| pair[0] == "--config";
    let config = arguments.windows(2).find(is_config);
    let config = PathBuf::from(&config.expect("--config comes first")[1]);
    let mut report = File::create(config.with_file_name("report")).expect("writable");
    let says = |end: &str| {
        let mut words = arguments.iter().map(|word| word.as_encoded_bytes());
        words.any(|word| word.ends_with(end.as_bytes()))
    };
    let (execute, request, mounts) = (says("-execute"), says("-request"), says("-mount"));
    let serial: i32 = arguments[3]
        .to_str()
        .and_then(|serial| serial.parse().ok())
        .expect("the key's number comes behind --config");
    let open = Open::new(&config).expect("nothing is closed yet");
    open.log.send(b"x").expect("somebody listens");
    for (what, result) in open.attempts() {
        result.expect(what);
    }

    tdk_sys::run_and_wipe(std::panic::AssertUnwindSafe(move || {
        main_with(|_| {
            if execute {
                let error = Command::new("/bin/true").exec();
                let _ = writeln!(report, "execute: {error}");
            }
            if request {
                let _ = tdk_sys::request_key(c"user", c"x", None, tdk_sys::SESSION_KEYRING);
                let _ = writeln!(report, "request: went on");
            }
            if mounts {
                let error = rustix::mount::unmount("/proc", UnmountFlags::DETACH);
                let _ = writeln!(report, "mount: went on: {error:?}");
            }
            for (what, result) in attempts(serial, &config) {
                let _ = writeln!(report, "{what}: {}", outcome(result));
            }
            // Landlock knows the ports of TCP alone. (Not every kernel has the other.)
            let multipath = socket(
                AddressFamily::INET,
                SocketType::STREAM,
                Some(ipproto::MPTCP),
            );
            let multipath = multipath.map(drop).map_err(Into::into);
            let more = [("make a multipath socket", multipath)];
            for (what, result) in open.attempts().into_iter().chain(more) {
                let _ = writeln!(report, "{what}: {}", outcome(not_permitted(result)));
            }
            let told = open.log.send(b"x").map(drop);
            let _ = writeln!(report, "write to the log: {}", outcome(told));
            let left = capabilities(None).map(|sets| sets.permitted | sets.effective);
            let _ = writeln!(report, "capabilities: {}", names(left));
            // A thread has no more rights than who starts it.
            let thread = std::thread::spawn(|| fs::read("/etc/shadow").map(drop));
            let outcome = thread.join().expect("does not panic");
            let _ = writeln!(report, "in a thread: {}", outcome.is_ok());
            Err(Failure::new(Errno::Refused, "it was a test", ""))
        })
    }))
}

fn outcome(result: io::Result<()>) -> String {
    match result {
        Ok(()) => "done".into(),
        Err(error) => error.kind().to_string(),
    }
}

/// What seccomp refuses; nothing else may be the reason.
fn not_permitted(result: io::Result<()>) -> io::Result<()> {
    result.map_err(|error| match error.raw_os_error() {
        Some(libc::EPERM) => error,
        _ => io::Error::other(error),
    })
}

/// Sockets from before the sandbox, over which all of this can be done then.
struct Open {
    log: UnixDatagram,
    udp: UdpSocket,
    other: PathBuf,
    file: File,
    _listeners: [UnixDatagram; 2],
    _stream: UnixListener,
}

impl Open {
    fn new(config: &Path) -> io::Result<Self> {
        let [daemon, other] = ["daemon", "other"].map(|name| config.with_file_name(name));
        let listeners = [UnixDatagram::bind(&daemon)?, UnixDatagram::bind(&other)?];
        let stream = UnixListener::bind(config.with_file_name("stream"))?;
        let log = UnixDatagram::unbound()?;
        log.set_nonblocking(true)?;
        log.connect(&daemon)?;
        Ok(Self {
            log,
            udp: UdpSocket::bind("127.0.0.1:0")?,
            other,
            file: File::open("/dev/null")?,
            _listeners: listeners,
            _stream: stream,
        })
    }

    fn attempts(&self) -> Vec<(&'static str, io::Result<()>)> {
        let fast_open = SendFlags::from_bits_retain(libc::MSG_FASTOPEN.unsigned_abs());
        let to_itself = |udp: &UdpSocket| udp.send_to(b"x", udp.local_addr()?);
        let datagrams = socket(AddressFamily::INET, SocketType::DGRAM, None);
        let local = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None);
        vec![
            (
                "write to another daemon over the log's socket",
                self.log.send_to(b"x", &self.other).map(drop),
            ),
            ("pass a file on", self.pass_on().map(drop)),
            (
                "connect by sending",
                send(&self.log, b"x", fast_open)
                    .map(drop)
                    .map_err(Into::into),
            ),
            ("send over a UDP socket", to_itself(&self.udp).map(drop)),
            ("make a UDP socket", datagrams.map(drop).map_err(Into::into)),
            ("make a local socket", local.map(drop).map_err(Into::into)),
        ]
    }

    fn pass_on(&self) -> io::Result<usize> {
        let files = [self.file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&files));
        let flags = SendFlags::empty();
        Ok(sendmsg(
            &self.log,
            &[IoSlice::new(b"x")],
            &mut control,
            flags,
        )?)
    }
}

fn names(left: rustix::io::Result<CapabilitySet>) -> String {
    match left {
        Ok(left) if left.is_empty() => "none".into(),
        other => format!("{other:?}"),
    }
}

fn attempts(serial: i32, config: &Path) -> Vec<(&'static str, io::Result<()>)> {
    let keyutils = |result: Result<(), linux_keyutils::KeyError>| {
        result.map_err(|error| match error {
            linux_keyutils::KeyError::PermissionDenied => io::ErrorKind::PermissionDenied.into(),
            other => io::Error::other(other.to_string()),
        })
    };
    let key = Key::from_id(KeySerialId(serial));
    let other = Key::from_id(KeySerialId(tdk_sys::SESSION_KEYRING));
    let init = Pid::from_raw(1).expect("not 0");
    vec![
        ("read a secret of root's", fs::read("/etc/shadow").map(drop)),
        ("read a program", fs::read("/bin/true").map(drop)),
        (
            "look at another process",
            fs::read_dir("/proc/1/fd").map(drop),
        ),
        (
            "write a file",
            fs::write("/tmp/tdk-prisoner", "x").map(drop),
        ),
        (
            "change the policy",
            OpenOptions::new()
                .append(true)
                .create(true)
                .open(config.with_file_name("policy.toml"))
                .map(drop),
        ),
        ("make a directory", fs::create_dir("/run/tdk-prisoner")),
        ("remove a file", fs::remove_file(config)),
        (
            "connect by TCP",
            TcpStream::connect("127.0.0.1:1").map(drop),
        ),
        (
            "connect to a local daemon",
            UnixStream::connect(config.with_file_name("stream")).map(drop),
        ),
        ("send by UDP", UdpSocket::bind("127.0.0.1:0").map(drop)),
        (
            "tell another daemon",
            UnixDatagram::bind("/run/tdk-prisoner").map(drop),
        ),
        (
            "signal another process",
            kill_process(init, Signal::WINCH).map_err(Into::into),
        ),
        ("join a keyring", tdk_sys::join_new_session()),
        (
            "read keys",
            tdk_sys::keys_in(tdk_sys::SESSION_KEYRING).map(drop),
        ),
        ("revoke the key", keyutils(key.revoke())),
        (
            "change another key's timeout",
            keyutils(other.set_timeout(1_usize)),
        ),
    ]
}
