// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where libtss2 finds TPMs: the strings of tctildr(7), checked before it sees
//! them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use tpm_derived_keys::tpm::{Place, Tcti, TctiError};

/// A place to find a TPM at by libtss2.
///
/// It is displayed as it is given to libtss2: with nothing left to default
/// values there.
///
/// ```
/// use tpm_derived_keys_tss::TssTcti;
/// let tcti: TssTcti = "tabrmd".parse()?;
/// assert_eq!(
///     tcti.to_string(),
///     "tabrmd:bus_name=com.intel.tss2.Tabrmd,bus_type=system"
/// );
/// assert!("device".parse::<TssTcti>().is_err());
/// # Ok::<(), tpm_derived_keys::tpm::TctiError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TssTcti {
    /// `device:` and `swtpm:`, which need no libtss2.
    Plain(Tcti),
    /// `tabrmd:bus_name=NAME,bus_type=system|session`: tpm2-abrmd(8).
    Tabrmd {
        /// Its name on the bus.
        bus_name: String,
        /// Whether it is the session's bus, and not the system's.
        session: bool,
    },
    /// `mssim:host=ADDRESS,port=NUMBER`: the reference simulator; the next port
    /// is its platform's.
    Mssim(SocketAddr),
    /// `cmd:COMMAND`: a shell command that passes TPM commands on.
    Cmd(String),
    /// `pcap:TCTI`: another one, and a file that everything is written to.
    Pcap(Box<TssTcti>),
    /// `libtpms:FILE`: a software TPM in this process, with its state in a file.
    Libtpms(PathBuf),
}

impl TssTcti {
    /// Whether the conversation with the TPM is written to a file, secrets in
    /// it.
    pub fn is_recorded(&self) -> bool {
        matches!(self, Self::Pcap(_))
    }

    /// The name of libtss2's module for it.
    pub(crate) fn module(&self) -> &'static str {
        match self {
            Self::Plain(Tcti::Device(_)) => "device",
            Self::Plain(_) => "swtpm",
            Self::Tabrmd { .. } => "tabrmd",
            Self::Mssim(_) => "mssim",
            Self::Cmd(_) => "cmd",
            Self::Pcap(_) => "pcap",
            Self::Libtpms(_) => "libtpms",
        }
    }
}

impl Place for TssTcti {
    fn chip(&self) -> String {
        match self {
            Self::Plain(tcti) => tcti.chip(),
            Self::Pcap(tcti) => tcti.chip(),
            other => other.to_string(),
        }
    }

    fn keeps_objects(&self) -> bool {
        match self {
            Self::Plain(tcti) => tcti.keeps_objects(),
            Self::Pcap(tcti) => tcti.keeps_objects(),
            Self::Tabrmd { .. } => false,
            Self::Mssim(_) | Self::Cmd(_) | Self::Libtpms(_) => true,
        }
    }

    fn hint(&self) -> &'static str {
        match self {
            Self::Plain(tcti) => tcti.hint(),
            Self::Pcap(tcti) => tcti.hint(),
            Self::Tabrmd { .. } => "start tpm2-abrmd, or name the bus that it is on",
            Self::Mssim(_) => "start that simulator, or name the one that runs",
            Self::Cmd(_) => {
                "try the command by hand: it has to read TPM commands and to write the answers"
            }
            Self::Libtpms(_) => {
                "check that libtss2 has a module for it (Debian 12's has none) and that the file \
                 may be written"
            }
        }
    }
}

impl fmt::Display for TssTcti {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(tcti) => tcti.fmt(f),
            Self::Tabrmd { bus_name, session } => {
                let bus_type = if *session { "session" } else { "system" };
                write!(f, "tabrmd:bus_name={bus_name},bus_type={bus_type}")
            }
            Self::Mssim(address) => {
                write!(f, "mssim:host={},port={}", address.ip(), address.port())
            }
            Self::Cmd(command) => write!(f, "cmd:{command}"),
            Self::Pcap(tcti) => write!(f, "pcap:{tcti}"),
            Self::Libtpms(path) => write!(f, "libtpms:{}", path.display()),
        }
    }
}

impl FromStr for TssTcti {
    type Err = TctiError;

    fn from_str(text: &str) -> Result<Self, TctiError> {
        let error = |why: String| TctiError::new(text, why);
        let (name, conf) = text.split_once(':').unwrap_or((text, ""));
        if conf.contains('\0') {
            return Err(error("it has a byte 0 in it".into()));
        }
        match name {
            "tabrmd" => tabrmd(conf).map_err(error),
            "mssim" => mssim(conf).map_err(error),
            "cmd" if conf.trim().is_empty() => Err(error("name the command".into())),
            "cmd" => Ok(Self::Cmd(conf.into())),
            "pcap" => match conf.parse() {
                Ok(Self::Pcap(_)) => Err(error("pcap is there twice".into())),
                Ok(inner) => Ok(Self::Pcap(Box::new(inner))),
                Err(inner) => Err(error(format!("after pcap: comes a TCTI; {}", inner.why()))),
            },
            "libtpms" if conf.starts_with('/') => Ok(Self::Libtpms(conf.into())),
            "libtpms" => Err(error(
                "name the file of its state, as in libtpms:/var/lib/tpm".into(),
            )),
            "device" | "swtpm" => {
                let tcti: Tcti = text.parse()?;
                match unfit(&tcti) {
                    None => Ok(Self::Plain(tcti)),
                    Some(why) => Err(error(why.into())),
                }
            }
            "i2c-helper" | "spi-helper" => Err(error(format!(
                "{name} is for programs that bring the bus themselves"
            ))),
            _ => Err(error(
                "it begins with none of device:, swtpm:, tabrmd:, mssim:, cmd:, pcap:, libtpms:"
                    .into(),
            )),
        }
    }
}

/// Why libtss2 would not find what the string means to us.
fn unfit(tcti: &Tcti) -> Option<&'static str> {
    /// What a unix socket's address has room for, without the 0 at its end.
    const LONGEST: usize = 107;
    match tcti {
        Tcti::SwtpmUnix(path) => {
            let path = path.to_string_lossy();
            if path.contains('=') {
                Some("libtss2 takes no = in a socket's path; use --backend direct")
            } else if path.len() + ".ctrl".len() > LONGEST {
                Some(
                    "libtss2 also needs PATH.ctrl, which is longer than the 107 bytes of a unix \
                     socket's path; use --backend direct",
                )
            } else {
                None
            }
        }
        Tcti::SwtpmTcp(address) if address.port() == u16::MAX => {
            Some("libtss2 also needs the next port, and there is none; use --backend direct")
        }
        Tcti::Device(_) | Tcti::SwtpmTcp(_) => None,
    }
}

/// The values of `key=value,...`, of which nothing is there twice or unknown.
fn pairs<'a>(conf: &'a str, keys: &[&str]) -> Result<BTreeMap<&'a str, &'a str>, String> {
    let mut pairs = BTreeMap::new();
    for pair in conf.split(',').filter(|_| !conf.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !keys.contains(&key) {
            let keys = keys.join(" and ");
            return Err(format!("'{}' is none of {keys}", key.escape_debug()));
        }
        if value.is_empty() {
            return Err(format!("{key} has no value"));
        }
        if pairs.insert(key, value).is_some() {
            return Err(format!("{key} is there twice"));
        }
    }
    Ok(pairs)
}

/// What follows `tabrmd:`.
fn tabrmd(conf: &str) -> Result<TssTcti, String> {
    let pairs = pairs(conf, &["bus_name", "bus_type"])?;
    let bus_name = *pairs.get("bus_name").unwrap_or(&"com.intel.tss2.Tabrmd");
    if !is_bus_name(bus_name) {
        return Err(format!("'{}' is no name on a bus", bus_name.escape_debug()));
    }
    let session = match *pairs.get("bus_type").unwrap_or(&"system") {
        "system" => false,
        "session" => true,
        other => {
            let other = other.escape_debug();
            return Err(format!("bus_type is system or session, not '{other}'"));
        }
    };
    Ok(TssTcti::Tabrmd {
        bus_name: bus_name.into(),
        session,
    })
}

/// A well-known name, by the D-Bus specification.
fn is_bus_name(name: &str) -> bool {
    let element = |element: &str| {
        element
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
            && !element.is_empty()
            && !element.starts_with(|first: char| first.is_ascii_digit())
    };
    name.len() <= 255 && name.contains('.') && name.split('.').all(element)
}

/// What follows `mssim:`.
fn mssim(conf: &str) -> Result<TssTcti, String> {
    let pairs = pairs(conf, &["host", "port"])?;
    if pairs.is_empty() {
        return Err("write mssim:host=ADDRESS,port=NUMBER".into());
    }
    let ip = match *pairs.get("host").unwrap_or(&"localhost") {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        ip => ip.parse().map_err(|_| {
            let ip = ip.escape_debug();
            format!("'{ip}' is no IP address (names are not looked up, but for localhost)")
        })?,
    };
    let port = match pairs.get("port") {
        None => 2321,
        Some(text) => text
            .parse()
            .ok()
            .filter(|port| (1..u16::MAX).contains(port))
            .ok_or_else(|| {
                let text = text.escape_debug();
                format!("'{text}' is no port from 1 to 65534 (the next one is the platform's)")
            })?,
    };
    Ok(TssTcti::Mssim(SocketAddr::new(ip, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_understood() {
        for (text, canonical) in [
            ("device:/dev/tpmrm0", "device:/dev/tpmrm0"),
            ("swtpm:path=/run/x/sock", "swtpm:path=/run/x/sock"),
            ("swtpm:port=99", "swtpm:host=127.0.0.1,port=99"),
            (
                "tabrmd",
                "tabrmd:bus_name=com.intel.tss2.Tabrmd,bus_type=system",
            ),
            (
                "tabrmd:",
                "tabrmd:bus_name=com.intel.tss2.Tabrmd,bus_type=system",
            ),
            (
                "tabrmd:bus_type=session,bus_name=a.b-c_2",
                "tabrmd:bus_name=a.b-c_2,bus_type=session",
            ),
            ("mssim:port=7", "mssim:host=127.0.0.1,port=7"),
            ("mssim:host=::1", "mssim:host=::1,port=2321"),
            ("cmd:nc -U /run/x, 'y'=z:", "cmd:nc -U /run/x, 'y'=z:"),
            ("pcap:device:/dev/tpm0", "pcap:device:/dev/tpm0"),
            (
                "pcap:tabrmd",
                "pcap:tabrmd:bus_name=com.intel.tss2.Tabrmd,bus_type=system",
            ),
            ("pcap:cmd:x", "pcap:cmd:x"),
            ("libtpms:/var/lib/tpm", "libtpms:/var/lib/tpm"),
        ] {
            let tcti: TssTcti = text.parse().unwrap();
            assert_eq!(tcti.to_string(), canonical);
            assert_eq!(canonical.parse::<TssTcti>().unwrap(), tcti);
        }
    }

    #[test]
    fn nothing_becomes_something_else() {
        let long = format!("swtpm:path=/{}", "x".repeat(102));
        assert!(long.parse::<Tcti>().is_ok());
        for (text, why) in [
            ("", "none of device:"),
            ("device", "name the device"),
            ("device:", "name the device"),
            ("swtpm", "write swtpm:path=SOCKET"),
            ("swtpm:path=/a=b", "no = in a socket's path"),
            (&long, "PATH.ctrl"),
            ("swtpm:port=65535", "the next port"),
            ("swtpm:path=/a,port=1", "neither host nor port"),
            ("tabrmd:x", "'x' is none of bus_name and bus_type"),
            ("tabrmd:bus_name=", "bus_name has no value"),
            ("tabrmd:bus_name=one", "'one' is no name on a bus"),
            ("tabrmd:bus_name=a.1", "no name on a bus"),
            ("tabrmd:bus_name=a..b", "no name on a bus"),
            ("tabrmd:bus_name=:1.5", "no name on a bus"),
            ("tabrmd:bus_name=a.b,bus_name=a.b", "there twice"),
            ("tabrmd:bus_type=user", "system or session, not 'user'"),
            ("tabrmd:bus_type=session,", "'' is none of"),
            ("mssim", "write mssim:host=ADDRESS"),
            ("mssim:", "write mssim:host=ADDRESS"),
            ("mssim:path=/run/x", "'path' is none of host and port"),
            ("mssim:host=example.org", "no IP address"),
            ("mssim:port=0", "no port from 1"),
            ("mssim:port=65535", "no port from 1"),
            ("cmd", "name the command"),
            ("cmd: ", "name the command"),
            ("cmd:a\0b", "byte 0"),
            ("pcap", "after pcap: comes a TCTI"),
            ("pcap:", "after pcap: comes a TCTI"),
            ("pcap:device", "name the device"),
            ("pcap:pcap:device:/dev/tpm0", "twice"),
            ("libtpms", "name the file"),
            ("libtpms:state", "name the file"),
            ("i2c-helper", "bring the bus"),
            ("spi-helper:x", "bring the bus"),
            ("Tabrmd:", "none of device:"),
            ("libtss2-tcti-device.so.0:/dev/tpm0", "none of device:"),
            ("/tmp/evil.so:x", "none of device:"),
        ] {
            let error = text.parse::<TssTcti>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        let error = "mssim:\u{1b}[2J=1".parse::<TssTcti>().unwrap_err();
        assert!(!error.to_string().contains('\u{1b}'), "{error}");
    }

    #[test]
    fn the_same_tpm_has_the_same_name() {
        let chip = |text: &str| text.parse::<TssTcti>().unwrap().chip();
        let plain: Tcti = "device:/dev/tpmrm0".parse().unwrap();
        assert_eq!(chip("device:/dev/tpm0"), plain.chip());
        assert_eq!(chip("pcap:device:/dev/tpm0"), plain.chip());
        assert_ne!(chip("cmd:a"), chip("cmd:b"));
    }

    #[test]
    fn whose_objects_stay() {
        let keeps = |text: &str| text.parse::<TssTcti>().unwrap().keeps_objects();
        assert!(keeps("device:/dev/tpm0"));
        assert!(!keeps("device:/dev/tpmrm0"));
        assert!(!keeps("tabrmd"));
        assert!(!keeps("pcap:tabrmd"));
        assert!(keeps("cmd:x"));
    }
}
