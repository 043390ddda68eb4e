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
use tdk_tests::backend::Backend;
use tdk_tests::{assert_no_handles, oracle, over_both_backends};
use tpm_derived_keys::KeyInfo;
use tpm_derived_keys::identity::{Identity, Realm, Scope, Subject};
use tpm_derived_keys::request::Request;
use tpm_derived_keys::tpm::{Cause, Patience, RootKey, TpmError};

over_both_backends!(
    a_device_leads_to_the_same_keys,
    a_device_that_hangs_keeps_nobody,
);

/// A pseudo-terminal that passes bytes as they are: the side to serve, and the
/// device, which has to stay open (a pseudo-terminal that is closed for a moment
/// ends), and its TCTI.
fn device() -> (File, File, String) {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let path = ptsname(&controller, Vec::new()).unwrap();
    let mut settings = tcgetattr(&controller).unwrap();
    settings.make_raw();
    tcsetattr(&controller, OptionalActions::Now, &settings).unwrap();
    let path = path.to_str().unwrap();
    let device = File::options().read(true).write(true).open(path).unwrap();
    (controller.into(), device, format!("device:{path}"))
}

fn derive(backend: Backend, tcti: &str, hold: Duration) -> Result<Vec<u8>, TpmError> {
    let patience = Patience {
        hold,
        ..Patience::default()
    };
    let mut tpm = backend.open(tcti, &patience)?;
    let mut root = RootKey::create(&mut tpm)?;
    let identity = Identity::new(Subject::Id, Scope::Uid, 0, Realm::default()).unwrap();
    let key = root.identity_key(&identity.digest())?;
    root.flush()?;
    let request = Request::parse(b"user", b"tpm2:derived:x", b"32 id").unwrap();
    Ok(key.expand(&KeyInfo::from(&request)).as_bytes().to_vec())
}

fn a_device_leads_to_the_same_keys(backend: Backend) {
    let tpm = Swtpm::builder().start().unwrap();
    let (mut controller, device, tcti) = device();
    let expected = oracle::key(&tpm.tcti(), &oracle::Request::user("x", "32 id", 0, ""));
    let socket = tpm.tcti().replace("swtpm:path=", "");
    let bridge = thread::spawn(move || {
        let mut tpm = UnixStream::connect(socket).unwrap();
        // Commands and answers are shorter than what one read brings. Until
        // there is nobody any more.
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = controller.read(&mut buffer) {
            tpm.write_all(&buffer[..length]).unwrap();
            let length = tpm.read(&mut buffer).unwrap();
            controller.write_all(&buffer[..length]).unwrap();
        }
    });
    let key = derive(backend, &tcti, Duration::from_mins(1)).unwrap();
    drop(device);
    bridge.join().unwrap();
    assert_eq!(key, expected);
    assert_no_handles(&tpm);
}

fn a_device_that_hangs_keeps_nobody(backend: Backend) {
    let (controller, _device, tcti) = device();
    let start = Instant::now();
    let error = derive(backend, &tcti, Duration::from_millis(300)).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(20));
    let expected = match backend {
        Backend::Direct => "TPM2_ReadPublic: the TPM has not answered within 0.3 s".into(),
        Backend::Plain => "TPM2_CreatePrimary: the TPM has not answered within 0.3 s".into(),
        // On opening a device libtss2 sends a command of its own.
        Backend::Tss => format!("can't open the TPM at {tcti}: timed out"),
    };
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.cause(), Cause::Busy);
    drop(controller);
}
