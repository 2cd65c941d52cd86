//! Where the metrics are served, which may change while the server runs.

use std::net::SocketAddr;
#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError, Weak};

use super::http::{Bound, Endpoint};
use super::{MetricsError, Pages};
use crate::control::service::Service;

/// The endpoint, if there is one.
#[derive(Debug)]
#[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
pub struct Place {
    /// The service has this in turn.
    service: Weak<Service>,
    sessions: Arc<AtomicBool>,
    endpoint: Mutex<Option<Endpoint>>,
}

impl Place {
    /// Nowhere yet. With `sessions` each session has metrics of its own.
    #[must_use]
    #[allow(clippy::disallowed_types, reason = "control runs off the reactors")]
    pub fn new(service: &Arc<Service>, sessions: bool) -> Self {
        Self {
            service: Arc::downgrade(service),
            sessions: Arc::new(AtomicBool::new(sessions)),
            endpoint: Mutex::new(None),
        }
    }

    /// Whether each session has metrics of its own, from now on.
    pub fn set_sessions(&self, sessions: bool) {
        self.sessions.store(sessions, Ordering::Relaxed);
    }

    /// Serves at an address that was taken, or nowhere, and no longer where it did.
    ///
    /// # Errors
    /// The thread can't be started; it is served where it was.
    pub(in crate::control) fn move_to(&self, bound: Option<Bound>) -> Result<(), MetricsError> {
        let next = match (bound, self.service.upgrade()) {
            (Some(bound), Some(service)) => {
                let address = bound.address();
                let sessions = self.sessions.clone();
                let endpoint = bound.serve(Pages { service, sessions });
                Some(endpoint.map_err(|source| MetricsError { address, source })?)
            }
            _ => None,
        };
        let former = std::mem::replace(&mut *self.endpoint(), next);
        // It waits for its thread; nobody needs to wait with it.
        drop(former);
        Ok(())
    }

    /// Where it is served.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.endpoint().as_ref().map(Endpoint::address)
    }

    /// Serves no longer.
    pub fn close(&self) {
        let former = self.endpoint().take();
        drop(former);
    }

    fn endpoint(&self) -> MutexGuard<'_, Option<Endpoint>> {
        // It is replaced as a whole.
        self.endpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
