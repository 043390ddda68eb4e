// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Two ports in a row, of this machine alone.

use std::io;
use std::net::TcpListener;

use tdk_containers::{Docker, Image, swtpm};
use tdk_simulator::proxy::Proxy;
use tdk_simulator::{Place, Runner};

use crate::{is_there, name, port};

#[test]
fn they_are_in_a_row_and_on_loopback() {
    let tpm = swtpm().start().unwrap();
    let port = port(&tpm.tcti());
    let known = Docker::get().inspect(&name(&tpm.tcti())).unwrap().unwrap();
    // Whatever the daemon would do by itself.
    let asked = known.host_config.unwrap().port_bindings.unwrap();
    for binding in asked.values().flatten().flatten() {
        assert_eq!(binding.host_ip.as_deref(), Some("127.0.0.1"));
    }
    let mapped = known.network_settings.unwrap().ports.unwrap();
    for (inside, outside) in [("2321/tcp", port), ("2322/tcp", port + 1)] {
        let bindings = mapped[inside].as_ref().unwrap();
        assert_eq!(bindings.len(), 1, "{bindings:?}");
        assert_eq!(bindings[0].host_ip.as_deref(), Some("127.0.0.1"));
        assert_eq!(bindings[0].host_port, Some(outside.to_string()));
        // All other addresses' are free, and this one's is not.
        TcpListener::bind(("127.0.0.2", outside)).unwrap();
        let error = TcpListener::bind(("127.0.0.1", outside)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}

/// The second is the control channel's: who is there takes the power from the TPM.
#[test]
fn the_second_is_for_control() {
    let tpm = swtpm().start().unwrap();
    // TPM2_StartAuthSession (Part 3, section 11.1): unsalted, unbound, HMAC.
    let session = "8001 0000002b 00000176 40000007 40000007 0010 00112233445566778899aabbccddeeff \
                   0000 00 0010 000b";
    let session = hex::decode(session.replace(' ', "")).unwrap();
    assert_eq!(tpm.send(&session).unwrap()[6..10], [0; 4]);
    assert_eq!(tpm.session_handles().unwrap().len(), 1);
    let proxy = Proxy::before_tcti(&tpm.tcti()).unwrap().start().unwrap();
    proxy.power_cycle().unwrap();
    assert!(tpm.session_handles().unwrap().is_empty());
}

/// A container that can't have its ports is not left behind.
#[test]
fn one_that_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let others = TcpListener::bind("127.0.0.1:0").unwrap();
    let data = others.local_addr().unwrap().port();
    let place = Place {
        state: directory.path(),
        data,
        control: data.wrapping_add(1),
        startup: true,
    };
    let error = Image::chosen().start(&place).unwrap_err().to_string();
    let expected = format!("starting the container tdk-swtpm-{data}: ");
    assert!(error.starts_with(&expected), "{error}");
    assert!(error.contains("address already in use"), "{error}");
    assert!(!is_there(&format!("tdk-swtpm-{data}")));
}
