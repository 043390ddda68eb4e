// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Character devices, with a pseudo-terminal in the place of one.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tdk_simulator::Swtpm;
use tdk_tests::assert_no_handles;
use tdk_tests::oracle;
use tpm_derived_keys::KeyInfo;
use tpm_derived_keys::identity::{Identity, Realm, Scope, Subject};
use tpm_derived_keys::request::Request;
use tpm_derived_keys::tpm::{Direct, Patience, RootKey, TpmError};

/// A pseudo-terminal that passes bytes as they are: the side to serve, and the
/// device's path.
fn device() -> (File, String) {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let path = ptsname(&controller, Vec::new()).unwrap();
    let mut settings = tcgetattr(&controller).unwrap();
    settings.make_raw();
    tcsetattr(&controller, OptionalActions::Now, &settings).unwrap();
    (
        controller.into(),
        format!("device:{}", path.to_str().unwrap()),
    )
}

fn derive(tcti: &str, hold: Duration) -> Result<Vec<u8>, TpmError> {
    let patience = Patience {
        hold,
        ..Patience::default()
    };
    let mut tpm = Direct::open(&tcti.parse().unwrap(), &patience)?;
    let mut root = RootKey::create(&mut tpm)?;
    let identity = Identity::new(Subject::Id, Scope::Uid, 0, Realm::default()).unwrap();
    let key = root.identity_key(&identity.digest())?;
    root.flush()?;
    let request = Request::parse(b"user", b"tpm2:derived:x", b"32 id").unwrap();
    Ok(key.expand(&KeyInfo::from(&request)).as_bytes().to_vec())
}

#[test]
fn a_device_leads_to_the_same_keys() {
    let tpm = Swtpm::builder().start().unwrap();
    let (mut controller, tcti) = device();
    let expected = oracle::key(&tpm.tcti(), &oracle::Request::user("x", "32 id", 0, ""));
    let socket = tpm.tcti().replace("swtpm:path=", "");
    let bridge = thread::spawn(move || {
        let mut tpm = UnixStream::connect(socket).unwrap();
        // Three commands, each shorter than what one read brings.
        for _ in 0..3 {
            let mut buffer = [0; 4096];
            let length = controller.read(&mut buffer).unwrap();
            tpm.write_all(&buffer[..length]).unwrap();
            let length = tpm.read(&mut buffer).unwrap();
            controller.write_all(&buffer[..length]).unwrap();
        }
        // What is closed too soon loses what is still on its way.
        controller
    });
    assert_eq!(derive(&tcti, Duration::from_mins(1)).unwrap(), expected);
    bridge.join().unwrap();
    assert_no_handles(&tpm);
}

#[test]
fn a_device_that_hangs_keeps_nobody() {
    let (controller, tcti) = device();
    let start = Instant::now();
    let error = derive(&tcti, Duration::from_millis(300)).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(20));
    assert!(matches!(error, TpmError::Deadline { .. }), "{error}");
    drop(controller);
}
