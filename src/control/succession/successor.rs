//! The new process, until it serves.

use super::channel::{Channel, ChannelError};
use super::descriptors;
use super::message::{FORMAT, Greeting, Legacy, ToPredecessor, ToSuccessor};
use crate::backend::Bequest;
use crate::base::clock::Instant;
use crate::control::catalogue::TABLES_VERSION;
use crate::target::Record;
use crate::volume::VolumeId;
use std::collections::BTreeMap;
use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// How long the parts of an estate may take to come after its first.
const ESTATE_TIMEOUT: Duration = Duration::from_secs(10);

/// A process that is to take over, and the channel to the one that serves.
#[derive(Debug)]
pub struct Heir {
    channel: Channel,
    greeting: Greeting,
}

/// Everything that the predecessor has.
#[derive(Debug)]
pub struct Inheritance {
    /// What the data path knew.
    pub record: Record,
    /// The lock of the data directory.
    pub lock: File,
    /// The listening sockets, each with the portal as it was configured.
    pub listeners: Vec<(SocketAddr, TcpListener)>,
    /// The listening socket of the metrics.
    pub metrics: Option<TcpListener>,
    /// What is left of the volumes' stores.
    pub stores: BTreeMap<VolumeId, Bequest>,
    /// The connected sockets, in the order of the record's sessions.
    pub streams: Vec<TcpStream>,
}

impl Heir {
    /// Hears who serves, and counts time as that process does. To be called before this one first asks
    /// for the time.
    ///
    /// # Errors
    /// Nobody is at the other end of standard input, or somebody of another version; he has been told.
    pub fn greet() -> Result<Self, ChannelError> {
        let channel = Channel::from_stdin()?;
        let (greeting, _) = channel.receive::<ToSuccessor>(Some(ESTATE_TIMEOUT))?;
        let ToSuccessor::Greeting(greeting) = greeting else {
            return Err(ChannelError::Unreadable("no greeting".to_owned()));
        };
        let heir = Self { channel, greeting };
        let Greeting {
            format,
            version,
            catalogue,
            clock_zero_nanos,
            ..
        } = &heir.greeting;
        let own = env!("CARGO_PKG_VERSION");
        let differs = if *format != FORMAT {
            Some(("hands over", format!("{format:#x}"), format!("{FORMAT:#x}")))
        } else if *catalogue != TABLES_VERSION {
            let (theirs, ours) = (catalogue.to_string(), TABLES_VERSION.to_string());
            Some(("keeps its catalogue", theirs, ours))
        } else {
            None
        };
        if let Some((does, theirs, ours)) = differs {
            let message = format!(
                "version {version} {does} in format {theirs}, and version {own} in {ours}; stop the \
                 server and start it again with the new program"
            );
            heir.refuse(&message);
            return Err(ChannelError::Unreadable(message));
        }
        if !Instant::count_from(*clock_zero_nanos) {
            tracing::debug!("moments of the predecessor mean something else here");
        }
        Ok(heir)
    }

    /// The process that serves.
    #[must_use]
    pub const fn predecessor(&self) -> u32 {
        self.greeting.pid
    }

    /// Where it serves metrics, as configured.
    #[must_use]
    pub const fn metrics(&self) -> Option<SocketAddr> {
        self.greeting.metrics
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.greeting.data
    }

    /// Tells the predecessor why it has to go on.
    pub fn refuse(&self, message: &str) {
        // A message has to fit in a packet.
        let message: String = message.chars().take(4000).collect();
        // Where it is gone, nobody needs to know.
        let _ = self.channel.send(&ToPredecessor::Refused { message }, &[]);
    }

    /// Says that everything is ready, and waits for the estate.
    ///
    /// # Errors
    /// The predecessor has thought better of it, or what came is no estate.
    pub fn inherit(&self) -> Result<Inheritance, ChannelError> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.channel.send(&ToPredecessor::Ready { version }, &[])?;
        let (legacy, descriptors) = descriptors::receive(&self.channel, ESTATE_TIMEOUT)?;
        Inheritance::sort(legacy, descriptors)
    }

    /// Says that everything is taken up, and waits for the word to serve. A predecessor that has died
    /// since it gave everything away has no way back: that is the word, too.
    ///
    /// # Errors
    /// The channel fails otherwise.
    pub fn wait_for_word(&self) -> Result<(), ChannelError> {
        match self.channel.send(&ToPredecessor::Adopted, &[]) {
            Ok(()) | Err(ChannelError::Gone) => {}
            Err(error) => return Err(error),
        }
        match self.channel.receive::<ToSuccessor>(None) {
            Ok((ToSuccessor::Serve, _)) => Ok(()),
            Ok(_) => Err(ChannelError::Unreadable("no word to serve".to_owned())),
            Err(ChannelError::Gone) => {
                tracing::warn!("the predecessor is gone; serving in its place");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Says that it serves.
    pub fn confirm(&self) {
        // A predecessor that is gone does not need to know.
        let _ = self.channel.send(&ToPredecessor::Serving, &[]);
    }
}

impl Inheritance {
    fn sort(legacy: Legacy, descriptors: Vec<OwnedFd>) -> Result<Self, ChannelError> {
        let Legacy {
            record,
            portals,
            metrics,
            stores,
            sessions,
        } = legacy;
        let mut descriptors = descriptors.into_iter();
        let missing = || ChannelError::Unreadable("a descriptor is missing".to_owned());
        let lock = File::from(descriptors.next().ok_or_else(missing)?);
        let metrics = match metrics {
            true => Some(TcpListener::from(descriptors.next().ok_or_else(missing)?)),
            false => None,
        };
        let mut listeners = Vec::with_capacity(portals.len());
        for portal in portals {
            let listener = TcpListener::from(descriptors.next().ok_or_else(missing)?);
            listeners.push((portal, listener));
        }
        let mut inherited = BTreeMap::new();
        for (volume, has_file) in stores {
            let bequest = if has_file {
                Bequest::File(descriptors.next().ok_or_else(missing)?)
            } else {
                Bequest::Nothing
            };
            inherited.insert(volume, bequest);
        }
        let streams: Vec<_> = descriptors.map(TcpStream::from).collect();
        if u32::try_from(streams.len()) != Ok(sessions) {
            return Err(missing());
        }
        Ok(Self {
            record,
            lock,
            listeners,
            metrics,
            stores: inherited,
            streams,
        })
    }
}
