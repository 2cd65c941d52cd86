//! What lets others watch the server: events, the audit log, the metrics endpoint.

use std::net::SocketAddr;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::ServeError;
use crate::control::api::EventKind;
use crate::control::audit::Audit;
use crate::control::catalogue::Catalogue;
use crate::control::config::Config;
use crate::control::events::{Event, Listener};
use crate::control::metrics::{Bound, Endpoint, Pages};
use crate::control::service::Service;
use crate::target::{Happening, Journal};

/// What is taken before anything is started.
pub(super) struct Prepared {
    journal: Journal,
    heard: Receiver<Happening>,
    metrics: Option<Bound>,
}

impl Prepared {
    /// Takes what another server may hold.
    pub(super) fn take(config: &Config) -> Result<Self, ServeError> {
        let (journal, heard) = Journal::new();
        let listen = config.metrics.listen;
        Ok(Self {
            journal,
            heard,
            metrics: listen.map(|listen| Endpoint::bind(listen.0)).transpose()?,
        })
    }

    /// The end of the reactors.
    pub(super) fn journal(&self) -> Journal {
        self.journal.clone()
    }

    /// Listens to the reactors and answers scrapers from now on.
    pub(super) fn start(
        self,
        config: &Config,
        service: &Arc<Service>,
        catalogue: &Arc<Catalogue>,
    ) -> Result<Watching, ServeError> {
        let events = service.events();
        events.keep_in(catalogue.directory());
        let audit = config.audit.path.as_deref();
        let audit = audit.map(|path| Audit::open(path, events.clone()).map(Arc::new));
        let audit = audit.transpose()?;
        if let Some(audit) = &audit {
            service.set_audit(audit.clone());
        }
        let told = (self.journal, self.heard);
        let listener = Listener::start(told, events.clone(), catalogue.clone(), audit)?;
        let pages = Pages {
            service: service.clone(),
            sessions: config.metrics.sessions,
        };
        let metrics = self.metrics.map(|bound| bound.serve(pages)).transpose()?;
        Ok(Watching { listener, metrics })
    }
}

/// What runs.
pub(super) struct Watching {
    listener: Listener,
    metrics: Option<Endpoint>,
}

impl Watching {
    /// Where metrics are served.
    pub(super) fn metrics(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(Endpoint::address)
    }

    /// The server serves.
    pub(super) fn note_start(&self, service: &Service) {
        let (version, pid) = (env!("CARGO_PKG_VERSION"), std::process::id());
        let text = format!("version {version} serves, as process {pid}");
        let event = Event::new(EventKind::ServerStarted, text);
        service.events().note(event);
    }

    /// The server is about to drain.
    pub(super) fn note_stop(&self, service: &Service) {
        service.begin_to_stop();
        let text = "the server drains and stops";
        let event = Event::new(EventKind::ServerStopping, text);
        service.events().note(event);
    }

    /// Ends, once the reactors have: all that they have told is written down first.
    pub(super) fn finish(self) {
        drop(self.metrics);
        self.listener.finish();
    }
}
