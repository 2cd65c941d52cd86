//! What is counted, what happened, and whether all is well: for the command line and for scrapers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{Access, StatVfsMountFlags, access, statvfs};

use super::Service;
use super::views::hex;
use crate::base::clock::wall_clock_ms;
use crate::control::api::{
    EventsQuery, EventsView, LatencyView, MeasurementView, ReactorMeasureView, SessionMeasureView,
    VolumeMeasureView,
};
use crate::control::audit::Audit;
use crate::control::error::ControlError;
use crate::control::events::EventLog;
use crate::control::metrics::{Named, Scrape};
use crate::control::service::reservation_views::type_name;
use crate::target::{Direction, Latency, ReactorMeasure, SessionInfo, VolumeMeasure};
use crate::volume::VolumeId;

/// With less room than that a change may not become durable.
const CATALOGUE_ROOM_BYTES_MIN: u64 = 1 << 20;

impl Service {
    /// What happened.
    #[must_use]
    pub fn events(&self) -> &Arc<EventLog> {
        &self.events
    }

    /// What happened, as far as `query` asks for it.
    ///
    /// # Errors
    /// Too many wait for something to happen already.
    pub fn list_events(&self, query: &EventsQuery) -> Result<EventsView, ControlError> {
        if query.after.is_none() || query.wait_ms == 0 {
            return Ok(self.events.look(query));
        }
        let _seat = self.followers.take()?;
        Ok(self.events.follow(query))
    }

    /// Has changes be written down from now on.
    pub fn set_audit(&self, audit: Arc<Audit>) {
        // Set once, by the server's start; a second time would change nothing.
        let _ = self.audit.set(audit);
    }

    /// Where changes are written down, if anywhere.
    #[must_use]
    pub fn audit(&self) -> Option<&Arc<Audit>> {
        self.audit.get()
    }

    /// Initiators are told to leave: from now on the server is not ready.
    pub fn begin_to_stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Whether initiators are served and changes can be made durable; else why not.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn readiness(&self) -> Result<(), String> {
        if self.stopping.load(Ordering::Acquire) {
            return Err("draining: the server stops".to_owned());
        }
        if self.told_portals().is_none() {
            return Err("starting: the portals are not open yet".to_owned());
        }
        if let Err(error) = self.plane.sessions() {
            return Err(format!("the reactors do not answer: {error}"));
        }
        has_room(self.catalogue.directory())
    }

    /// Everything that is counted.
    ///
    /// # Errors
    /// The data path did not answer.
    pub fn measure(&self) -> Result<MeasurementView, ControlError> {
        let measured = self.plane.measure()?;
        let sessions = self.plane.sessions()?;
        let model = self.catalogue.model();
        let mut volumes: Vec<_> = model
            .volumes()
            .filter_map(|volume| {
                let measured = measured.volumes.get(&volume.id)?;
                let (name, group) = (volume.name.to_string(), volume.group.to_string());
                Some(volume_view(name, group, volume.size_bytes, measured))
            })
            .collect();
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        let names: BTreeMap<VolumeId, String> = model
            .volumes()
            .map(|volume| (volume.id, volume.name.to_string()))
            .collect();
        let reactors = measured.reactors.iter().enumerate();
        Ok(MeasurementView {
            at_ns: measured.at.nanos(),
            at_ms: wall_clock_ms(),
            volumes,
            reactors: reactors
                .map(|(number, one)| reactor_view(number, one))
                .collect(),
            sessions: sessions
                .iter()
                .filter_map(|session| {
                    let volume = names.get(&session.volume?)?;
                    Some(session_view(volume, session))
                })
                .collect(),
        })
    }

    /// What the metrics page is made of; with a line for each session if `sessions`.
    ///
    /// # Errors
    /// The data path did not answer.
    pub(in crate::control) fn metrics(&self, sessions: bool) -> Result<Scrape, ControlError> {
        let mut measurement = self.plane.measure()?;
        let infos = if sessions {
            self.plane.sessions()?
        } else {
            Vec::new()
        };
        let model = self.catalogue.model();
        let mut positions = BTreeMap::new();
        let mut volumes = Vec::new();
        for volume in model.volumes() {
            positions.insert(volume.id, volumes.len());
            volumes.push(Named {
                name: volume.name.to_string(),
                group: volume.group.to_string(),
                size_bytes: volume.size_bytes,
                measured: measurement.volumes.remove(&volume.id),
            });
        }
        let groups = self.list_groups().into_iter().map(|group| {
            let own = volumes.iter().filter(|volume| volume.group == group.name);
            let bytes = own.map(|volume| volume.size_bytes).sum();
            (group.name, group.volumes as u64, bytes)
        });
        let groups = groups.collect();
        let named = infos.into_iter().filter_map(|session| {
            let position = *positions.get(&session.volume?)?;
            Some((position, session))
        });
        Ok(Scrape {
            sessions: named.collect(),
            measurement,
            volumes,
            groups,
            events: self.events.counts(),
            audit_failures: self.audit().map_or(0, |audit| audit.failures()),
            is_ready: self.readiness().is_ok(),
        })
    }
}

/// Whether the catalogue can grow, as far as can be told without writing to it.
fn has_room(directory: &Path) -> Result<(), String> {
    let shown = directory.display();
    let file_system = statvfs(directory)
        .map_err(|error| format!("the data directory {shown} can't be looked at: {error}"))?;
    if file_system.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(format!(
            "the data directory {shown} is on a read-only file system"
        ));
    }
    access(directory, Access::WRITE_OK)
        .map_err(|error| format!("the data directory {shown} can't be written: {error}"))?;
    let free = file_system.f_bavail.saturating_mul(file_system.f_frsize);
    if free < CATALOGUE_ROOM_BYTES_MIN {
        return Err(format!(
            "the file system of the data directory {shown} is full: {free} bytes are free"
        ));
    }
    Ok(())
}

fn volume_view(
    name: String,
    group: String,
    size_bytes: u64,
    measured: &VolumeMeasure,
) -> VolumeMeasureView {
    let tally = &measured.tally;
    let latency = |direction: Direction| {
        let position = direction as usize;
        latency_view(tally.good[position], &measured.latency[position])
    };
    VolumeMeasureView {
        name,
        group,
        size_bytes,
        sessions: measured.sessions,
        sessions_max: measured.sessions_max,
        in_flight: measured.in_flight,
        registrations: measured.registrations,
        reservation: measured.reservation.map(|kind| type_name(kind).to_owned()),
        read_bytes: tally.read_bytes,
        written_bytes: tally.written_bytes,
        conflicts: tally.conflicts,
        busy: tally.busy,
        errors: tally.errors,
        aborted: tally.aborted,
        backend_errors: measured.backend_errors,
        read: latency(Direction::Read),
        write: latency(Direction::Write),
        other: latency(Direction::Other),
    }
}

fn latency_view(good: u64, latency: &Latency) -> LatencyView {
    LatencyView {
        good,
        sum_ns: latency.total.sum_nanos(),
        server_ns: latency.server_nanos,
        buckets: latency.total.buckets().collect(),
    }
}

fn reactor_view(reactor: usize, measured: &ReactorMeasure) -> ReactorMeasureView {
    ReactorMeasureView {
        reactor,
        busy_ns: measured.busy_nanos,
        ticks: measured.ticks,
        busy_ticks: measured.busy_ticks,
        waits: measured.waits,
        messages: measured.messages,
        backlog: measured.backlog,
        connections: measured.connections,
        pdus_received: measured.pdus_received,
        pdus_sent: measured.pdus_sent,
        backend_requests: measured.backend_requests,
        starving: measured.starving,
        buffer_bytes: measured.buffer_bytes,
        buffer_bytes_lent: measured.buffer_bytes_lent,
    }
}

fn session_view(volume: &str, session: &SessionInfo) -> SessionMeasureView {
    let tally = &session.tally;
    SessionMeasureView {
        volume: volume.to_owned(),
        initiator: session.initiator.clone(),
        isid: hex(&session.isid),
        tsih: session.tsih,
        port: session.port,
        address: session.address.to_string(),
        reactor: session.reactor,
        in_flight: session.in_flight,
        reads: tally.good[Direction::Read as usize],
        writes: tally.good[Direction::Write as usize],
        read_bytes: tally.read_bytes,
        written_bytes: tally.written_bytes,
        conflicts: tally.conflicts,
        errors: tally.errors,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{FakePlane, service};
    use crate::control::api::{EventCursor, EventKind, EventsQuery};
    use crate::control::events::Event;
    use crate::target::{Measurement, VolumeMeasure};
    use std::sync::Arc;

    #[test]
    fn what_was_counted_has_names() {
        let data = tempfile::tempdir().unwrap();
        let plane = Arc::new(FakePlane::default());
        let (service, _stopped) = service(data.path(), &plane);
        let id = plane.volumes()[0];
        let mut measured = VolumeMeasure::default();
        measured.tally.good = [3, 2, 1];
        measured.latency[0].total.record(50_000, 3);
        plane.set_measurement(Measurement {
            volumes: [(id, measured)].into(),
            ..Measurement::default()
        });
        plane.log_in(id);
        let told = service.measure().unwrap();
        let volume = &told.volumes[0];
        assert_eq!(
            (volume.name.as_str(), volume.size_bytes),
            ("volume-1", 1 << 30)
        );
        assert_eq!((volume.read.good, volume.read.sum_ns), (3, 150_000));
        assert_eq!(volume.read.buckets.len(), 1);
        assert_eq!(told.sessions[0].isid, "00023d000001");
        let scrape = service.metrics(true).unwrap();
        assert_eq!(scrape.groups, [("default".to_owned(), 1, 1 << 30)]);
        assert_eq!((scrape.volumes.len(), scrape.sessions.len()), (1, 1));
        assert!(service.metrics(false).unwrap().sessions.is_empty());
    }

    #[test]
    fn it_is_ready_from_the_portals_to_the_drain() {
        let data = tempfile::tempdir().unwrap();
        let plane = Arc::new(FakePlane::default());
        let (service, _stopped) = service(data.path(), &plane);
        let why = || service.readiness().unwrap_err();
        assert!(why().starts_with("starting"));
        service.set_portals(vec!["127.0.0.1:3260".to_owned()]);
        assert_eq!(service.readiness(), Ok(()));
        service.begin_to_stop();
        assert!(why().starts_with("draining"));
    }

    #[test]
    fn a_data_directory_that_is_gone_is_no_place_for_changes() {
        let data = tempfile::tempdir().unwrap();
        let why = super::has_room(&data.path().join("none")).unwrap_err();
        assert!(why.contains("can't be looked at"), "{why}");
        assert_eq!(super::has_room(data.path()), Ok(()));
    }

    #[test]
    fn who_follows_hears_of_what_comes_and_not_of_what_was() {
        let data = tempfile::tempdir().unwrap();
        let plane = Arc::new(FakePlane::default());
        let (service, _stopped) = service(data.path(), &plane);
        let events = service.events().clone();
        events.note(Event::new(EventKind::Login, "before"));
        let after = Some(events.cursor());
        let teller = std::thread::spawn(move || {
            events.note(Event::new(EventKind::Logout, "after"));
        });
        let query = EventsQuery {
            after,
            wait_ms: 20_000,
            ..EventsQuery::default()
        };
        let told = service.list_events(&query).unwrap();
        teller.join().unwrap();
        assert_eq!(told.events.len(), 1);
        assert_eq!(told.events[0].text, "after");
        let all = EventsQuery {
            after: Some(EventCursor::default()),
            ..query
        };
        assert_eq!(service.list_events(&all).unwrap().events.len(), 2);
    }
}
