// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The Docker daemon, and what may be left there.

use std::collections::HashMap;
use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use testcontainers::bollard;
use testcontainers::bollard::errors::Error;
use testcontainers::bollard::models::ContainerInspectResponse;
use testcontainers::bollard::query_parameters::{
    InspectContainerOptions, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
};
use testcontainers::core::client::docker_client_instance;
use tokio::runtime::Runtime;

use crate::owner;

/// The label of each container, with its [owner](crate::owner).
pub(crate) const LABEL: &str = "tpm-derived-keys.tests";

/// How long a daemon may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(10);

/// A daemon that answers.
#[derive(Debug)]
pub struct Docker {
    /// One for all, as connections belong to the one that they were made in.
    runtime: Runtime,
    client: bollard::Docker,
}

impl Docker {
    /// The one that `DOCKER_HOST` names, or the usual one. What tests that were
    /// aborted have left there is gone.
    ///
    /// # Panics
    ///
    /// If none answers: a test that needs it can't be run.
    pub fn get() -> &'static Self {
        static DOCKER: OnceLock<Docker> = OnceLock::new();
        DOCKER.get_or_init(|| {
            let docker = Self::connect().unwrap_or_else(|why| {
                panic!("no Docker answers: `make test-containers` starts one where it may: {why}")
            });
            docker
                .remove_left()
                .expect("what is left of other tests can be removed");
            docker
        })
    }

    fn connect() -> Result<Self, String> {
        let runtime = Runtime::new().map_err(|error| error.to_string())?;
        let client = runtime.block_on(async {
            let connect = async {
                let client = docker_client_instance().await;
                let client = client.map_err(|error| error.to_string())?;
                client.ping().await.map_err(|error| error.to_string())?;
                Ok(client)
            };
            tokio::time::timeout(PATIENCE, connect)
                .await
                .unwrap_or_else(|_| Err(format!("nothing within {PATIENCE:?}")))
        })?;
        Ok(Self { runtime, client })
    }

    pub(crate) fn run<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Whether there is such an image. One that is not would be looked for in
    /// registries, where somebody else may have that name.
    pub(crate) fn has_image(&self, image: &str) -> Result<bool, Error> {
        found(self.run(self.client.inspect_image(image))).map(|image| image.is_some())
    }

    /// What Docker knows of a container, if there is one of that name or id.
    ///
    /// # Errors
    ///
    /// Docker's.
    pub fn inspect(&self, name: &str) -> Result<Option<ContainerInspectResponse>, Error> {
        let options = None::<InspectContainerOptions>;
        found(self.run(self.client.inspect_container(name, options)))
    }

    /// Removes the containers whose owners are gone.
    ///
    /// # Errors
    ///
    /// Docker's.
    pub fn remove_left(&self) -> Result<(), Error> {
        self.remove_if(LABEL, |_, owner| !owner::is_alive(owner))
    }

    /// Removes the container of that name, if it is one of this process's.
    pub(crate) fn remove_own(&self, name: &str) -> Result<(), Error> {
        // As Docker has it.
        let name = format!("/{name}");
        let label = format!("{LABEL}={}", owner::of_this_process());
        self.remove_if(&label, |names, _| names.contains(&name))
    }

    fn remove_if(
        &self,
        label: &str,
        remove: impl Fn(&[String], &str) -> bool,
    ) -> Result<(), Error> {
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&filters)
            .build();
        for container in self.run(self.client.list_containers(Some(options)))? {
            let labels = container.labels.unwrap_or_default();
            let owner = labels.get(LABEL).map_or("", String::as_str);
            if remove(&container.names.unwrap_or_default(), owner) {
                self.remove(&container.id.unwrap_or_default())?;
            }
        }
        Ok(())
    }

    fn remove(&self, id: &str) -> Result<(), Error> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true);
        match self.run(self.client.remove_container(id, Some(options.build()))) {
            // Somebody else has, or is about to.
            Err(Error::DockerResponseServerError {
                status_code: 404 | 409,
                ..
            }) => Ok(()),
            other => other,
        }
    }
}

/// `None` for what is not there.
fn found<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(what) => Ok(Some(what)),
        Err(Error::DockerResponseServerError {
            status_code: 404, ..
        }) => Ok(None),
        Err(error) => Err(error),
    }
}
