//! The metrics endpoint: OpenMetrics text for Prometheus, and two pages for whoever watches the process.
//!
//! | page | answer |
//! |---|---|
//! | `/metrics` | everything that is counted ([`FAMILIES`]) |
//! | `/healthz` | 200: the process answers |
//! | `/readyz` | 200: initiators are served and changes can be made durable; else 503 and the reason |
//!
//! It is off unless asked for, and on loopback unless told otherwise: it asks nobody who he is. It runs
//! on plain threads and reaches the reactors as every other question does.

mod http;
mod page;
mod place;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) use http::Bound;
pub use http::Endpoint;
pub use page::{FAMILIES, Family};
pub(super) use page::{Named, Scrape};
pub use place::Place;

use self::http::Answer;
use super::service::Service;

/// The endpoint can't be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "can't serve metrics on {address}: {source}; choose another address with --metrics ADDR:PORT \
     (metrics.listen)"
)]
pub struct MetricsError {
    /// Where it was to listen.
    pub address: SocketAddr,
    /// The refusal.
    pub source: std::io::Error,
}

/// What the endpoint shows.
pub(super) struct Pages {
    /// Whom it asks.
    pub(super) service: Arc<Service>,
    /// Whether each session has metrics of its own.
    pub(super) sessions: Arc<AtomicBool>,
}

const PLAIN: &str = "text/plain; charset=utf-8";
/// OpenMetrics 1.0, as `prometheus-client` writes it.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Pages {
    /// The answer to a GET.
    fn answer(&self, path: &str) -> Answer {
        match path {
            "/metrics" => {
                let sessions = self.sessions.load(Ordering::Relaxed);
                match self.service.metrics(sessions).and_then(page::text) {
                    Ok(text) => Answer::ok(OPEN_METRICS, text),
                    Err(error) => Answer::unavailable(PLAIN, format!("{error}\n")),
                }
            }
            "/healthz" => Answer::ok(PLAIN, "alive\n".to_owned()),
            "/readyz" => match self.service.readiness() {
                Ok(()) => Answer::ok(PLAIN, "ready\n".to_owned()),
                Err(why) => Answer::unavailable(PLAIN, format!("{why}\n")),
            },
            "/" => Answer::ok(PLAIN, "holdfast: /metrics /healthz /readyz\n".to_owned()),
            _ => Answer::not_found(PLAIN, "pages: /metrics /healthz /readyz\n".to_owned()),
        }
    }
}
