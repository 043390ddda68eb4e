// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where the TPM is: the strings of tctildr(7), checked, never guessed.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::Place;

/// A place to find a TPM at.
///
/// ```
/// use tpm_derived_keys::tpm::Tcti;
/// let tcti: Tcti = "swtpm:host=127.0.0.1,port=2321".parse()?;
/// assert_eq!(tcti.to_string(), "swtpm:host=127.0.0.1,port=2321");
/// assert!("swtpm".parse::<Tcti>().is_err());
/// # Ok::<(), tpm_derived_keys::tpm::TctiError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tcti {
    /// `device:PATH`: a character device of the kernel.
    Device(PathBuf),
    /// `swtpm:path=PATH`: a software TPM's unix socket.
    SwtpmUnix(PathBuf),
    /// `swtpm:host=ADDRESS,port=NUMBER`: a software TPM's TCP port.
    SwtpmTcp(SocketAddr),
}

impl Tcti {
    /// The kernel's resource manager, which keeps users of the TPM apart.
    pub const RESOURCE_MANAGER: &str = "/dev/tpmrm0";
    /// The TPM itself, for kernels without resource manager.
    pub const RAW_DEVICE: &str = "/dev/tpm0";

    /// What is used when nothing is configured: the first of `/dev/tpmrm0` and
    /// `/dev/tpm0` that exists, and `/dev/tpmrm0` when neither does.
    pub fn of_this_machine() -> Self {
        let resource_manager = Path::new(Self::RESOURCE_MANAGER);
        let raw = Path::new(Self::RAW_DEVICE);
        Self::Device(if !resource_manager.exists() && raw.exists() {
            raw.into()
        } else {
            resource_manager.into()
        })
    }
}

impl Place for Tcti {
    fn chip(&self) -> String {
        // tpm0 and tpmrm0 are one chip.
        self.to_string().replace("tpmrm", "tpm")
    }

    fn keeps_objects(&self) -> bool {
        match self {
            Self::Device(path) => !path.to_string_lossy().contains("tpmrm"),
            Self::SwtpmUnix(_) | Self::SwtpmTcp(_) => true,
        }
    }

    fn hint(&self) -> &'static str {
        match self {
            Self::Device(_) => {
                "check that the TPM is switched on in the firmware setup and that the kernel \
                 has made /dev/tpmrm0"
            }
            Self::SwtpmUnix(_) | Self::SwtpmTcp(_) => {
                "start that software TPM, or let tcti name the one that runs"
            }
        }
    }
}

impl fmt::Display for Tcti {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(path) => write!(f, "device:{}", path.display()),
            Self::SwtpmUnix(path) => write!(f, "swtpm:path={}", path.display()),
            Self::SwtpmTcp(address) => {
                write!(f, "swtpm:host={},port={}", address.ip(), address.port())
            }
        }
    }
}

impl FromStr for Tcti {
    type Err = TctiError;

    fn from_str(text: &str) -> Result<Self, TctiError> {
        let error = |why: String| TctiError::new(text, why);
        let (name, conf) = text.split_once(':').unwrap_or((text, ""));
        match name {
            "device" => absolute(conf)
                .map(Self::Device)
                .ok_or_else(|| error("name the device, as in device:/dev/tpmrm0".into())),
            "swtpm" => swtpm(conf).map_err(error),
            "mssim" | "tabrmd" | "cmd" | "pcap" | "libtpms" => Err(error(format!(
                "{name} is spoken by libtss2 only (tdk --backend tss); use device or swtpm"
            ))),
            _ => Err(error("it begins with neither device: nor swtpm:".into())),
        }
    }
}

/// What follows `swtpm:`.
fn swtpm(conf: &str) -> Result<Tcti, String> {
    let (mut path, mut host, mut port) = (None, None, None);
    for pair in conf.split(',') {
        let (key, value) = pair
            .split_once('=')
            .ok_or("write swtpm:path=SOCKET or swtpm:host=ADDRESS,port=NUMBER")?;
        let slot = match key {
            "path" => &mut path,
            "host" => &mut host,
            "port" => &mut port,
            _ => return Err(format!("'{key}' is none of path, host, port")),
        };
        if slot.replace(value).is_some() {
            return Err(format!("{key} is there twice"));
        }
    }
    match (path, host, port) {
        (Some(path), None, None) => socket_path(path),
        (Some(_), ..) => Err("path goes with neither host nor port".into()),
        (None, host, port) => {
            let ip = match host.unwrap_or("localhost") {
                "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
                ip => ip.parse().map_err(|_| {
                    format!("'{ip}' is no IP address (names are not looked up, but for localhost)")
                })?,
            };
            let port = match port {
                None => 2321,
                Some(text) => text
                    .parse()
                    .ok()
                    .filter(|port| *port != 0)
                    .ok_or_else(|| format!("'{text}' is no port from 1 to 65535"))?,
            };
            Ok(Tcti::SwtpmTcp(SocketAddr::new(ip, port)))
        }
    }
}

fn socket_path(path: &str) -> Result<Tcti, String> {
    let path = absolute(path).ok_or("the socket's path has to be absolute")?;
    if path.as_os_str().len() > 107 {
        return Err("the socket's path is longer than the 107 bytes of a unix socket's".into());
    }
    Ok(Tcti::SwtpmUnix(path))
}

fn absolute(path: &str) -> Option<PathBuf> {
    (path.starts_with('/') && !path.contains('\0')).then(|| path.into())
}

/// A string that names no TPM we know how to reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TctiError {
    text: String,
    why: String,
}

impl TctiError {
    /// For a string, and what is wrong with it.
    pub fn new(text: &str, why: String) -> Self {
        let text = text.to_owned();
        Self { text, why }
    }

    /// What is wrong.
    pub fn why(&self) -> &str {
        &self.why
    }
}

impl fmt::Display for TctiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TCTI '{}': {}", self.text.escape_debug(), self.why)
    }
}

impl std::error::Error for TctiError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_understood() {
        for (text, canonical) in [
            ("device:/dev/tpmrm0", "device:/dev/tpmrm0"),
            ("device:/dev/tpm1", "device:/dev/tpm1"),
            ("swtpm:path=/run/x/sock", "swtpm:path=/run/x/sock"),
            (
                "swtpm:host=127.0.0.1,port=2321",
                "swtpm:host=127.0.0.1,port=2321",
            ),
            ("swtpm:port=7,host=::1", "swtpm:host=::1,port=7"),
            (
                "swtpm:host=localhost,port=99",
                "swtpm:host=127.0.0.1,port=99",
            ),
            ("swtpm:port=99", "swtpm:host=127.0.0.1,port=99"),
            ("swtpm:host=10.0.0.1", "swtpm:host=10.0.0.1,port=2321"),
        ] {
            let tcti: Tcti = text.parse().unwrap();
            assert_eq!(tcti.to_string(), canonical);
            assert_eq!(canonical.parse::<Tcti>().unwrap(), tcti);
        }
    }

    #[test]
    fn nothing_becomes_something_else() {
        let long = format!("swtpm:path=/{}", "x".repeat(107));
        for text in [
            "",
            "device",
            "device:",
            "device:tpm0",
            "device:/dev/\0",
            "Device:/dev/tpm0",
            "swtpm",
            "swtpm:",
            "swtpm:/run/sock",
            "swtpm:path=",
            "swtpm:path=run/sock",
            &long,
            "swtpm:path=/a,path=/b",
            "swtpm:path=/a,port=1",
            "swtpm:host=example.org,port=1",
            "swtpm:host=127.0.0.1,port=0",
            "swtpm:host=127.0.0.1,port=65536",
            "swtpm:port=",
            "swtpm:host=127.0.0.1,port=1,",
            "swtpm:host=,port=1",
            "swtpm:ports=1",
            "tabrmd",
            "tabrmd:bus_name=x",
            "mssim:host=localhost",
            "cmd:nc x",
            "pcap:device",
            "libtss2-tcti-device.so.0:/dev/tpm0",
            "/dev/tpmrm0",
            "\u{1b}[2J",
        ] {
            let error = text.parse::<Tcti>().unwrap_err();
            assert!(!error.to_string().contains('\u{1b}'), "{error}");
        }
    }

    #[test]
    fn one_chip_has_one_name() {
        let name = |text: &str| text.parse::<Tcti>().unwrap().chip();
        assert_eq!(name("device:/dev/tpm0"), name("device:/dev/tpmrm0"));
        assert_ne!(name("device:/dev/tpm0"), name("device:/dev/tpm1"));
        assert_ne!(name("swtpm:path=/a"), name("swtpm:path=/b"));
    }

    #[test]
    fn whose_objects_stay() {
        let keeps = |text: &str| text.parse::<Tcti>().unwrap().keeps_objects();
        assert!(keeps("device:/dev/tpm0"));
        assert!(!keeps("device:/dev/tpmrm0"));
        assert!(keeps("swtpm:path=/run/x/sock"));
    }
}
