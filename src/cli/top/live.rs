//! The terminal: taken, drawn on, and left as it was, however it ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossterm::event::{self, Event, KeyEventKind};
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::Looks;
use super::screen::{Asked, Screen};
use crate::base::clock::Instant;
use crate::cli::Failure;

/// How long a key may wait for a signal to be noticed.
const ATTENTION: Duration = Duration::from_millis(100);

/// Shows what `looks` brings every `interval`, until a key or a signal ends it.
pub(super) fn run(looks: &mut Looks<'_>, interval: Duration) -> Result<(), Failure> {
    let signals = Signals::watch().map_err(Failure::new)?;
    // Restores the terminal before a panic is told, too.
    let terminal = ratatui::try_init();
    let _restored = Restored;
    let mut terminal = terminal.map_err(|error| {
        Failure::new(format!(
            "the terminal can't be taken: {error}; --once needs none"
        ))
    })?;
    let mut screen = Screen::new();
    let mut next_look = Instant::now();
    loop {
        if Instant::now() >= next_look {
            screen.take(looks.next().map_err(|failure| failure.message));
            next_look = Instant::now() + interval;
        }
        // It asks the terminal for its size each time.
        terminal
            .draw(|frame| screen.draw(frame))
            .map_err(Failure::new)?;
        if signals.came() {
            return Ok(());
        }
        let patience = next_look.since(Instant::now()).min(ATTENTION);
        if pressed(patience, &mut screen).map_err(Failure::new)? == Asked::Quit {
            return Ok(());
        }
    }
}

/// Waits for a key, a change of size or the end of `patience`.
fn pressed(patience: Duration, screen: &mut Screen) -> io::Result<Asked> {
    match event::poll(patience) {
        Ok(false) => return Ok(Asked::Draw),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Asked::Draw),
        Err(error) => return Err(error),
        Ok(true) => {}
    }
    Ok(match event::read()? {
        Event::Key(key) if key.kind == KeyEventKind::Press => screen.key(key),
        _ => Asked::Draw,
    })
}

/// Leaves the terminal as it was.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Signals that end a program: noticed, so that the terminal is restored first.
struct Signals {
    came: Arc<AtomicBool>,
    ids: Vec<SigId>,
}

impl Signals {
    fn watch() -> io::Result<Self> {
        let came = Arc::new(AtomicBool::new(false));
        let ids = [SIGHUP, SIGINT, SIGTERM]
            .into_iter()
            .map(|signal| signal_hook::flag::register(signal, Arc::clone(&came)))
            .collect::<io::Result<_>>()?;
        Ok(Self { came, ids })
    }

    fn came(&self) -> bool {
        self.came.load(Ordering::Relaxed)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}
