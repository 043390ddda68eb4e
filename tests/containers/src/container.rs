// SPDX-License-Identifier: Apache-2.0 OR MIT
//! swtpm in a container.

use std::fmt::Display;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;

use testcontainers::bollard::models::HostConfig;
use testcontainers::core::{IntoContainerPort, Mount};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};

use tdk_simulator::{Place, Runner, Running, SimError};

use crate::docker::{Docker, LABEL};
use crate::owner;

/// Names the image that tests are run on.
const VARIABLE: &str = "TDK_CONTAINERS_IMAGE";

/// The directory of swtpm's state, and its ports, in the image: `image/Dockerfile`.
const STATE: &str = "/state";
const DATA: u16 = 2321;
const CONTROL: u16 = 2322;

/// How many seconds swtpm may take to end by itself when it was told to.
const STOP_SECONDS: i32 = 2;

/// An image with swtpm, that was built from one of the Dockerfiles in `image`.
#[derive(Clone, Debug)]
pub struct Image {
    name: String,
    tag: String,
}

impl Image {
    /// The one in `TDK_CONTAINERS_IMAGE`, or `tdk-swtpm:debian`.
    pub fn chosen() -> Self {
        let image = std::env::var(VARIABLE).unwrap_or_else(|_| "tdk-swtpm:debian".into());
        Self::named(&image)
    }

    /// By name and tag.
    pub fn named(image: &str) -> Self {
        let (name, tag) = image.split_once(':').unwrap_or((image, "latest"));
        Self {
            name: name.into(),
            tag: tag.into(),
        }
    }

    /// A container that can do nothing but run swtpm, as this process's user.
    fn request(&self, place: &Place<'_>) -> ContainerRequest<GenericImage> {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        let request = GenericImage::new(self.name.as_str(), self.tag.as_str())
            .with_container_name(name(place))
            .with_label(LABEL, owner::of_this_process())
            .with_mapped_port(place.data, DATA.tcp())
            .with_mapped_port(place.control, CONTROL.tcp())
            .with_host_config_modifier(on_loopback)
            .with_mount(Mount::bind_mount(place.state.display().to_string(), STATE))
            .with_user(format!("{}:{}", uid.as_raw(), gid.as_raw()))
            .with_readonly_rootfs(true)
            .with_cap_drop("ALL")
            .with_security_opt("no-new-privileges");
        if place.startup {
            request
        } else {
            request.with_cmd(["not-need-init"])
        }
    }
}

/// Nobody else has that port.
fn name(place: &Place<'_>) -> String {
    format!("tdk-swtpm-{}", place.data)
}

/// Has the ports be those of 127.0.0.1, and not of all the machine's addresses.
fn on_loopback(config: &mut HostConfig) {
    let ports = config
        .port_bindings
        .iter_mut()
        .flat_map(|ports| ports.values_mut());
    for binding in ports.flatten().flatten() {
        binding.host_ip = Some("127.0.0.1".into());
    }
}

impl Runner for Image {
    fn start(&self, place: &Place<'_>) -> Result<Box<dyn Running>, SimError> {
        let docker = Docker::get();
        let image = format!("{}:{}", self.name, self.tag);
        if !docker
            .has_image(&image)
            .map_err(failed("looking for an image"))?
        {
            let missing = format!("there is no {image}: `make test-containers` makes it");
            return Err(failed("looking for an image")(missing));
        }
        let name = name(place);
        let doing = format!("starting the container {name}");
        let container = docker.run(self.request(place).start()).map_err(|error| {
            // One that could not be started is still there.
            let _ = docker.remove_own(&name);
            failed(&doing)(error)
        })?;
        let mut started = Container {
            running: Some(container),
            name,
            pid: 0,
        };
        started.pid = started.inspect_pid()?;
        Ok(Box::new(started))
    }
}

/// A container that is gone when this is dropped.
#[derive(Debug)]
struct Container {
    running: Option<ContainerAsync<GenericImage>>,
    name: String,
    pid: u32,
}

impl Container {
    fn inspect_pid(&self) -> Result<u32, SimError> {
        let docker = Docker::get();
        let known = docker
            .inspect(&self.name)
            .map_err(failed("looking at a container"))?;
        let pid = known.and_then(|known| known.state?.pid);
        Ok(pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0))
    }

    fn log(&self) -> String {
        let Some(container) = &self.running else {
            return String::new();
        };
        let written = Docker::get().run(async {
            let output = container.stdout_to_vec().await.unwrap_or_default();
            let errors = container.stderr_to_vec().await.unwrap_or_default();
            [output, errors].concat()
        });
        String::from_utf8_lossy(&written).into_owned()
    }
}

impl Running for Container {
    fn program(&self) -> PathBuf {
        format!("swtpm in the container {}", self.name).into()
    }

    fn pid(&self) -> u32 {
        self.pid
    }

    fn said(&self) -> String {
        self.log()
    }

    fn check(&mut self) -> Result<(), SimError> {
        let docker = Docker::get();
        let known = docker
            .inspect(&self.name)
            .map_err(failed("looking at a container"))?;
        let state = known.and_then(|known| known.state).unwrap_or_default();
        if state.running == Some(true) {
            return Ok(());
        }
        let code = state.exit_code.and_then(|code| i32::try_from(code).ok());
        Err(SimError::Exited {
            program: self.program(),
            // As wait(2) has it.
            status: ExitStatus::from_raw(code.unwrap_or(0) << 8),
            stderr: self.log(),
        })
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(container) = self.running.take() else {
            return Ok(());
        };
        Docker::get().run(async {
            let stopped = container.stop_with_timeout(Some(STOP_SECONDS)).await;
            container.rm().await.and(stopped).map_err(io::Error::other)
        })
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Some(container) = self.running.take() {
            // Nobody is left to be told.
            let _ = Docker::get().run(container.rm());
        }
    }
}

/// For `map_err`: what Docker says to what was done.
fn failed<E: Display>(doing: &str) -> impl FnOnce(E) -> SimError {
    let doing = doing.to_owned();
    move |error| SimError::Io {
        doing,
        source: io::Error::other(error.to_string()),
    }
}
