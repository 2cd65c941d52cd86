//! What lets others watch the server: events, the audit log, the metrics endpoint.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
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
        Self::beside(config, None)
    }

    /// As [`Prepared::take`], where the server that is to be replaced serves metrics at `theirs`: the
    /// same address is taken when it has given its socket away ([`Prepared::inherit`]).
    pub(super) fn beside(config: &Config, theirs: Option<SocketAddr>) -> Result<Self, ServeError> {
        let (journal, heard) = Journal::new();
        let listen = config.metrics.listen.map(|listen| listen.0);
        let own = listen.filter(|listen| Some(*listen) != theirs);
        Ok(Self {
            journal,
            heard,
            metrics: own.map(Endpoint::bind).transpose()?,
        })
    }

    /// Takes the socket of the server that is to be replaced, if its address is wanted.
    pub(super) fn inherit(
        &mut self,
        config: &Config,
        socket: Option<TcpListener>,
    ) -> io::Result<()> {
        if let (Some(_), None, Some(socket)) = (&config.metrics.listen, &self.metrics, socket) {
            self.metrics = Some(Bound::adopt(socket)?);
        }
        Ok(())
    }

    /// The socket of the metrics, for a successor.
    pub(super) fn metrics_socket(&self) -> io::Result<Option<OwnedFd>> {
        self.metrics.as_ref().map(Bound::duplicate).transpose()
    }

    /// The end of the reactors.
    pub(super) fn journal(&self) -> Journal {
        self.journal.clone()
    }

    /// Opens the audit log and listens to the reactors. Nothing is written before [`Watching::begin`]
    /// unless something happens.
    pub(super) fn watch(
        self,
        config: &Config,
        service: &Arc<Service>,
        catalogue: &Arc<Catalogue>,
    ) -> Result<Watching, ServeError> {
        let events = service.events();
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
        Ok(Watching {
            listener,
            waiting: self.metrics.map(|bound| (bound, pages)),
            metrics: None,
        })
    }
}

/// What runs.
pub(super) struct Watching {
    listener: Listener,
    /// Metrics that are not served yet.
    waiting: Option<(Bound, Pages)>,
    metrics: Option<Endpoint>,
}

impl Watching {
    /// Keeps events on disk and answers scrapers from now on.
    pub(super) fn begin(&mut self, service: &Service, catalogue: &Catalogue) -> io::Result<()> {
        service.events().keep_in(catalogue.directory());
        if let Some((bound, pages)) = self.waiting.take() {
            self.metrics = Some(bound.serve(pages)?);
        }
        Ok(())
    }

    /// Where metrics are served.
    pub(super) fn metrics(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(Endpoint::address)
    }

    /// The server serves, in the place of the process `predecessor` if there was one.
    pub(super) fn note_start(&self, service: &Service, predecessor: Option<u32>) {
        let (version, pid) = (env!("CARGO_PKG_VERSION"), std::process::id());
        let mut text = format!("version {version} serves, as process {pid}");
        if let Some(predecessor) = predecessor {
            text.push_str(&format!(", in the place of process {predecessor}"));
        }
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
