//! The thread that hears what the reactors tell, and puts it into words.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{Event, EventLog};
use crate::control::api::EventKind;
use crate::control::audit::Audit;
use crate::control::catalogue::Catalogue;
use crate::control::service::reservation_views as views;
use crate::reservation::history::{Actor, Entry, Status};
use crate::target::{Happening, Journal, Login, SessionEnd, SlowIo, SlowKind};
use crate::volume::VolumeId;

/// The thread.
#[derive(Debug)]
pub struct Listener {
    quit: Sender<()>,
    thread: JoinHandle<()>,
}

impl Listener {
    /// Listens from now on. What is heard goes to the events, reservation commands to the audit log too.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn start(
        (journal, heard): (Journal, Receiver<Happening>),
        events: Arc<EventLog>,
        catalogue: Arc<Catalogue>,
        audit: Arc<Audit>,
    ) -> io::Result<Self> {
        let scribe = Scribe {
            events,
            catalogue,
            audit,
        };
        let (quit, asked_to_quit) = bounded::<()>(0);
        let work = move || {
            let mut goes_on = true;
            let mut lost = 0;
            while goes_on {
                crossbeam_channel::select! {
                    recv(heard) -> first => match first {
                        Ok(first) => scribe.take_note(&first),
                        Err(_) => goes_on = false,
                    },
                    recv(asked_to_quit) -> _ => goes_on = false,
                }
                heard.try_iter().for_each(|more| scribe.take_note(&more));
                if journal.lost() > lost {
                    let more = journal.lost() - lost;
                    lost += more;
                    let text = format!("{more} more things happened than could be taken note of");
                    tracing::warn!("{text}; reservation commands may be missing in the audit log");
                    scribe.events.note(Event::new(EventKind::EventsLost, text));
                }
                // One flush for all that had gathered.
                scribe.audit.settle();
            }
        };
        let thread = std::thread::Builder::new().name("events".to_owned());
        Ok(Self {
            quit,
            thread: thread.spawn(work)?,
        })
    }

    /// Ends when everything has been taken note of that the reactors have told; they have stopped.
    pub fn finish(self) {
        // The other end hears that there is nobody any more.
        drop(self.quit);
        // A panic there has been reported by its own thread.
        let _ = self.thread.join();
    }
}

struct Scribe {
    events: Arc<EventLog>,
    catalogue: Arc<Catalogue>,
    audit: Arc<Audit>,
}

impl Scribe {
    fn take_note(&self, happening: &Happening) {
        let event = match happening {
            Happening::LoggedIn(login) => self.login(login),
            Happening::LoggedOut {
                volume,
                nexus,
                address,
                end,
                ..
            } => {
                let (kind, text) = match end {
                    SessionEnd::LoggedOut => (EventKind::Logout, "logged out"),
                    SessionEnd::Lost => {
                        (EventKind::SessionLost, "the session ended without a logout")
                    }
                };
                Event::new(kind, text)
                    .of_volume(self.name(*volume))
                    .of_initiator(nexus.initiator.name())
                    .from_address(address.ip())
            }
            Happening::LoginRefused {
                initiator,
                address,
                target,
                reason,
            } => self
                .refusal(initiator.as_deref(), target.as_deref(), reason)
                .from_address(address.ip()),
            Happening::NearSessionLimit {
                volume,
                sessions,
                sessions_max,
            } => {
                let text = format!("{sessions} of at most {sessions_max} sessions are logged in");
                Event::new(EventKind::SessionLimitNear, text).of_volume(self.name(*volume))
            }
            Happening::Reinstated {
                volume,
                initiator,
                from,
                to,
            } => {
                let text = if from == to {
                    "logged in again; its former session is ended".to_owned()
                } else {
                    format!("logged in from {to}; its session from {from} is ended")
                };
                Event::new(EventKind::SessionReinstated, text)
                    .of_volume(self.name(*volume))
                    .of_initiator(initiator)
                    .from_address(to)
            }
            Happening::Reservation { volume, entry } => {
                let name = self.name(*volume);
                self.audit.reservation(&name, entry);
                match fence(entry) {
                    Some(event) => event.of_volume(name),
                    None => return,
                }
            }
            Happening::BackendFailed {
                volume,
                reason,
                failures,
            } => {
                let name = self.name(*volume);
                tracing::error!(
                    volume = name,
                    failures,
                    "a backend request failed: {reason}"
                );
                Event::new(EventKind::BackendError, reason).of_volume(name)
            }
            Happening::SlowIo(slow) => self.slow(slow),
        };
        self.events.note(event);
    }

    /// A volume's name, or its id when it is gone.
    fn name(&self, id: VolumeId) -> String {
        let model = self.catalogue.model();
        model
            .volume(id)
            .map_or_else(|_| id.to_string(), |volume| volume.name.to_string())
    }

    fn login(&self, login: &Login) -> Event {
        let digests = match (login.header_digest, login.data_digest) {
            (true, true) => "header and data digests",
            (true, false) => "header digests",
            (false, true) => "data digests",
            (false, false) => "no digests",
        };
        let text = format!(
            "logged in through portal group {}, on reactor {}, with {digests}",
            login.nexus.target_port, login.reactor
        );
        Event::new(EventKind::Login, text)
            .of_volume(self.name(login.volume))
            .of_initiator(login.nexus.initiator.name())
            .from_address(login.address.ip())
    }

    fn refusal(&self, initiator: Option<&str>, target: Option<&str>, reason: &str) -> Event {
        let model = self.catalogue.model();
        let wanted = |target: &&str| {
            let mut volumes = model.volumes();
            volumes
                .find(|volume| volume.target_name.to_string() == target.to_ascii_lowercase())
                .map(|volume| volume.name.to_string())
        };
        let volume = target.as_ref().and_then(wanted);
        let text = match (&volume, target) {
            // A name that no target has is the peer's own text.
            (None, Some(target)) => format!("login to {target:.80?} refused: {reason}"),
            _ => format!("login refused: {reason}"),
        };
        let mut event = Event::new(EventKind::LoginRefused, text);
        event.volume = volume;
        event.initiator = initiator.map(str::to_owned);
        event
    }

    /// An I/O that took long: a line of the log, and an event.
    fn slow(&self, slow: &SlowIo) -> Event {
        let volume = self.name(slow.volume);
        let SlowIo {
            initiator,
            address,
            total,
            kept_back,
            ..
        } = slow;
        let text = match &slow.kind {
            SlowKind::Piece {
                opcode,
                direction,
                bytes,
                waiting,
                transfer,
                queue,
                backend,
                unsent,
            } => {
                tracing::warn!(
                    target: "holdfast::slow_io",
                    volume, initiator, %address,
                    opcode = format_args!("{opcode:#04x}"),
                    direction = direction.name(),
                    bytes,
                    total_us = us(*total),
                    waiting_us = us(*waiting),
                    transfer_us = us(*transfer),
                    queue_us = us(*queue),
                    backend_us = us(*backend),
                    unsent_bytes = unsent,
                    kept_back,
                    "slow I/O"
                );
                let stages = [
                    ("waiting for its turn or a buffer", *waiting),
                    ("for its data from the initiator", *transfer),
                    ("on the way to the shard", *queue),
                    ("in the backend", *backend),
                ];
                let longest = stages.iter().max_by_key(|(_, time)| *time);
                let stage = longest.map_or("", |(stage, _)| stage);
                format!("a {} took too long, most of it {stage}", direction.name())
            }
            SlowKind::Procedure {
                opcode,
                waiting,
                working,
            } => {
                tracing::warn!(
                    target: "holdfast::slow_io",
                    volume, initiator, %address,
                    opcode = format_args!("{opcode:#04x}"),
                    total_us = us(*total),
                    waiting_us = us(*waiting),
                    working_us = us(*working),
                    kept_back,
                    "slow command"
                );
                format!("command {opcode:02X}h took too long")
            }
            SlowKind::Sending { bytes } => {
                tracing::warn!(
                    target: "holdfast::slow_io",
                    volume, initiator, %address, bytes,
                    total_us = us(*total),
                    sending_us = us(*total),
                    kept_back,
                    "slow send: the initiator does not take what it asked for"
                );
                "the initiator took too long to take its data".to_owned()
            }
        };
        Event::new(EventKind::SlowIo, text)
            .of_volume(volume)
            .of_initiator(initiator)
            .from_address(address.ip())
    }
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// What others, or an operator, have taken from initiators; nothing where nobody lost anything, or only
/// what was its own.
fn fence(entry: &Entry) -> Option<Event> {
    if entry.status != Status::Good {
        return None;
    }
    let actor = match &entry.actor {
        Actor::Nexus { nexus, .. } => Some(nexus),
        Actor::Operator { .. } => None,
        Actor::Target => return None,
    };
    let mut victims: Vec<_> = entry
        .losses
        .iter()
        .filter(|loss| (loss.registration || loss.reservation) && Some(&loss.nexus) != actor)
        .map(|loss| loss.nexus.initiator.name())
        .collect();
    victims.sort_unstable();
    victims.dedup();
    if victims.is_empty() {
        return None;
    }
    let mut text = format!(
        "{}: {} lost rights",
        views::entry(entry).action,
        victims.join(", ")
    );
    if entry.losses_left_out > 0 {
        text.push_str(&format!(", and {} more", entry.losses_left_out));
    }
    if let Some(fence_us) = entry.fence_us {
        text.push_str(&format!("; their writes were over after {fence_us} us"));
    }
    let mut event = Event::new(EventKind::Fence, text);
    match &entry.actor {
        Actor::Nexus { nexus, address } => {
            event = event.of_initiator(nexus.initiator.name());
            event.address = address.map(|address| address.ip().to_string());
        }
        _ => event.text.insert_str(0, "an operator: "),
    }
    Some(event)
}
