//! What is drawn, and what the keys do. There is no terminal here: a key changes the state, and the
//! state draws itself on whatever it is given.

use std::cmp::Ordering;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row, Table, Tabs};

use super::rates::{Rates, SessionRates, VolumeRates};
use super::text;
use crate::cli::time::utc;

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    Volumes,
    Sessions,
    Reactors,
    Reservations,
}

const VIEWS: [(View, &str); 4] = [
    (View::Volumes, "1 volumes"),
    (View::Sessions, "2 sessions"),
    (View::Reactors, "3 reactors"),
    (View::Reservations, "4 reservations"),
];

const KEYS: &str = "Tab view  s sort  r reverse  arrows scroll  space hold  q quit";

/// A column: its title, its width, and whether it holds numbers.
type Column = (&'static str, u16, bool);

const VOLUMES: [Column; 11] = [
    ("VOLUME", 20, false),
    ("READ/S", 8, true),
    ("WRITE/S", 8, true),
    ("READ B/S", 10, true),
    ("WRITE B/S", 10, true),
    ("READ P50", 9, true),
    ("P99", 9, true),
    ("WRITE P50", 9, true),
    ("P99", 9, true),
    ("IN FLIGHT", 9, true),
    ("FAILED/S", 8, true),
];
const SESSIONS: [Column; 10] = [
    ("SESSION", 20, false),
    ("INITIATOR", 34, false),
    ("ADDRESS", 21, false),
    ("READ/S", 8, true),
    ("WRITE/S", 8, true),
    ("READ B/S", 10, true),
    ("WRITE B/S", 10, true),
    ("IN FLIGHT", 9, true),
    ("CONFLICTS/S", 11, true),
    ("REACTOR", 7, true),
];
const REACTORS: [Column; 9] = [
    ("REACTOR", 7, true),
    ("BUSY", 8, true),
    ("ROUNDS/S", 8, true),
    ("BUSY ROUND", 10, true),
    ("PDUS/S", 8, true),
    ("CONNECTIONS", 11, true),
    ("BACKEND", 7, true),
    ("STARVING", 8, true),
    ("BUFFERS LENT", 22, true),
];
const RESERVATIONS: [Column; 5] = [
    ("VOLUME", 20, false),
    ("SESSIONS", 9, true),
    ("REGISTERED", 10, true),
    ("CONFLICTS/S", 11, true),
    ("RESERVATION", 36, false),
];

/// What the rows are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SortBy {
    Operations,
    Bandwidth,
    Latency,
    Failures,
    Name,
}

const ORDERS: [(SortBy, &str); 5] = [
    (SortBy::Operations, "operations"),
    (SortBy::Bandwidth, "bandwidth"),
    (SortBy::Latency, "latency"),
    (SortBy::Failures, "failures"),
    (SortBy::Name, "name"),
];

/// What a key asks of whoever holds the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// To draw again.
    Draw,
    /// To end.
    Quit,
}

/// The state of the screen.
#[derive(Debug)]
pub(super) struct Screen {
    rates: Rates,
    view: usize,
    order: usize,
    is_reversed: bool,
    is_held: bool,
    scroll: usize,
    /// Why there is nothing new.
    trouble: Option<String>,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self {
            rates: Rates::default(),
            view: 0,
            order: 0,
            is_reversed: false,
            is_held: false,
            scroll: 0,
            trouble: None,
        }
    }

    /// Takes in what the last look has brought, unless it is to hold still.
    pub(super) fn take(&mut self, looked: Result<Rates, String>) {
        match looked {
            Ok(rates) => {
                self.trouble = None;
                if !self.is_held {
                    self.rates = rates;
                }
            }
            Err(trouble) => self.trouble = Some(trouble),
        }
    }

    /// Does what a key says.
    pub(super) fn key(&mut self, key: KeyEvent) -> Asked {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Asked::Quit,
            KeyCode::Char('c') if control => return Asked::Quit,
            KeyCode::Tab | KeyCode::Right => self.show((self.view + 1) % VIEWS.len()),
            KeyCode::BackTab | KeyCode::Left => {
                self.show((self.view + VIEWS.len() - 1) % VIEWS.len());
            }
            KeyCode::Char(digit @ '1'..='4') => {
                let number = digit.to_digit(10).unwrap_or(1);
                self.show(usize::try_from(number - 1).unwrap_or(0));
            }
            KeyCode::Char('s') => self.order = (self.order + 1) % ORDERS.len(),
            KeyCode::Char('S') => self.order = (self.order + ORDERS.len() - 1) % ORDERS.len(),
            KeyCode::Char('r') => self.is_reversed = !self.is_reversed,
            KeyCode::Char(' ') => self.is_held = !self.is_held,
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.scroll += 1,
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(10),
            KeyCode::PageDown => self.scroll += 10,
            KeyCode::Home => self.scroll = 0,
            _ => {}
        }
        Asked::Draw
    }

    fn show(&mut self, view: usize) {
        self.view = view;
        self.scroll = 0;
    }

    /// Draws itself on all of the frame, however small that is.
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let [head, tabs, body, foot] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Min(1),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        frame.render_widget(Paragraph::new(self.summary()), head);
        let titles = VIEWS.map(|(_, title)| title);
        let chosen = Tabs::new(titles)
            .select(self.view)
            .highlight_style(Style::new().add_modifier(Modifier::REVERSED));
        frame.render_widget(chosen, tabs);
        let (columns, rows) = self.rows();
        // One line is the titles'.
        let room = usize::from(body.height.saturating_sub(1));
        self.scroll = self.scroll.min(rows.len().saturating_sub(room));
        draw_table(frame, body, columns, rows.into_iter().skip(self.scroll));
        frame.render_widget(self.footer(), foot);
    }

    fn summary(&self) -> Line<'static> {
        let mut operations = 0.0;
        let mut bandwidth = 0.0;
        for volume in &self.rates.volumes {
            let (more, bytes) = text::both(&volume.read, &volume.write);
            operations += more;
            bandwidth += bytes;
        }
        let busiest = self
            .rates
            .reactors
            .iter()
            .map(|reactor| reactor.utilisation)
            .fold(0.0, f64::max);
        let sessions: u64 = self.rates.volumes.iter().map(|one| one.sessions).sum();
        let held = if self.is_held { "  (held)" } else { "" };
        Line::from(format!(
            "holdfast {}  {} operations/s  {}/s  {sessions} sessions  busiest reactor {}{held}",
            utc(self.rates.at_ms),
            text::count(operations),
            text::bytes(bandwidth),
            text::percent(busiest),
        ))
    }

    fn footer(&self) -> Paragraph<'static> {
        let dim = Style::new().add_modifier(Modifier::DIM);
        match &self.trouble {
            Some(trouble) => {
                let trouble = trouble.lines().next().unwrap_or_default().to_owned();
                Paragraph::new(trouble).style(Style::new().add_modifier(Modifier::BOLD))
            }
            None => {
                let (_, order) = ORDERS[self.order];
                let turned = if self.is_reversed { ", reversed" } else { "" };
                Paragraph::new(format!("by {order}{turned}  |  {KEYS}")).style(dim)
            }
        }
    }

    fn rows(&self) -> (&'static [Column], Vec<Vec<String>>) {
        match VIEWS[self.view].0 {
            View::Volumes => {
                let mut cells: Vec<_> = self.volumes().into_iter().map(text::volume).collect();
                cells.iter_mut().for_each(|row| row.truncate(VOLUMES.len()));
                (&VOLUMES, cells)
            }
            View::Sessions => {
                let sessions = self.sessions().into_iter();
                (&SESSIONS, sessions.map(text::session).collect())
            }
            View::Reactors => {
                let reactors = self.rates.reactors.iter();
                (&REACTORS, reactors.map(text::reactor).collect())
            }
            View::Reservations => {
                let volumes = self.volumes().into_iter().map(|volume| {
                    vec![
                        volume.name.clone(),
                        format!("{}/{}", volume.sessions, volume.sessions_max),
                        volume.registrations.to_string(),
                        text::count(volume.conflicts_per_second),
                        volume
                            .reservation
                            .clone()
                            .unwrap_or_else(|| text::NOTHING.to_owned()),
                    ]
                });
                (&RESERVATIONS, volumes.collect())
            }
        }
    }

    fn volumes(&self) -> Vec<&VolumeRates> {
        let by = ORDERS[self.order].0;
        let weight = |volume: &VolumeRates| {
            let (operations, bandwidth) = text::both(&volume.read, &volume.write);
            let slowest =
                |one: Option<f64>, other: Option<f64>| one.unwrap_or(0.0).max(other.unwrap_or(0.0));
            match by {
                SortBy::Operations => operations,
                SortBy::Bandwidth => bandwidth,
                SortBy::Latency => slowest(volume.read.p99_us, volume.write.p99_us),
                SortBy::Failures => volume.failures_per_second,
                SortBy::Name => 0.0,
            }
        };
        let mut volumes: Vec<_> = self.rates.volumes.iter().collect();
        volumes.sort_by(|a, b| largest_first(weight(a), weight(b)).then(a.name.cmp(&b.name)));
        self.turned(volumes)
    }

    fn sessions(&self) -> Vec<&SessionRates> {
        let by = ORDERS[self.order].0;
        let weight = |session: &SessionRates| match by {
            SortBy::Operations | SortBy::Latency => {
                session.reads_per_second + session.writes_per_second
            }
            SortBy::Bandwidth => session.read_bytes_per_second + session.write_bytes_per_second,
            SortBy::Failures => session.conflicts_per_second,
            SortBy::Name => 0.0,
        };
        let name = |session: &SessionRates| (session.volume.clone(), session.tsih);
        let mut sessions: Vec<_> = self.rates.sessions.iter().collect();
        sessions.sort_by(|a, b| largest_first(weight(a), weight(b)).then(name(a).cmp(&name(b))));
        self.turned(sessions)
    }

    fn turned<T>(&self, mut rows: Vec<T>) -> Vec<T> {
        if self.is_reversed {
            rows.reverse();
        }
        rows
    }
}

fn largest_first(one: f64, other: f64) -> Ordering {
    other.total_cmp(&one)
}

fn draw_table(
    frame: &mut Frame<'_>,
    area: Rect,
    columns: &[Column],
    rows: impl Iterator<Item = Vec<String>>,
) {
    let aligned = |text: String, is_number: bool| {
        let side = if is_number {
            Alignment::Right
        } else {
            Alignment::Left
        };
        Cell::from(Line::from(text).alignment(side))
    };
    let titles = columns
        .iter()
        .map(|(title, _, is_number)| aligned((*title).to_owned(), *is_number));
    let head = Row::new(titles).style(Style::new().add_modifier(Modifier::BOLD));
    let rows = rows.map(|cells| {
        let cells = cells.into_iter().zip(columns);
        Row::new(cells.map(|(text, (_, _, is_number))| aligned(text, *is_number)))
    });
    let widths = columns
        .iter()
        .map(|(_, width, _)| Constraint::Length(*width));
    let table = Table::new(rows, widths).header(head).column_spacing(2);
    frame.render_widget(table, area);
}

#[cfg(test)]
mod tests {
    use super::super::rates::tests::example;
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn screen() -> Screen {
        let mut screen = Screen::new();
        screen.take(Ok(example()));
        screen
    }

    fn drawn(screen: &mut Screen, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    fn press(screen: &mut Screen, code: KeyCode) -> Asked {
        screen.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn volumes_come_first_the_busiest_on_top() {
        insta::assert_snapshot!(drawn(&mut screen(), 132, 8));
    }

    #[test]
    fn sessions_reactors_and_reservations_are_a_key_away() {
        let mut screen = screen();
        let mut all = String::new();
        for _ in 0..3 {
            press(&mut screen, KeyCode::Tab);
            all.push_str(&drawn(&mut screen, 160, 7));
        }
        insta::assert_snapshot!(all);
    }

    #[test]
    fn a_small_terminal_is_no_reason_to_fail() {
        let mut screen = screen();
        for (width, height) in [(1, 1), (20, 3), (40, 4), (500, 200)] {
            drawn(&mut screen, width, height);
        }
    }

    #[test]
    fn keys_sort_turn_and_hold() {
        let mut screen = screen();
        let first = |screen: &mut Screen| screen.volumes()[0].name.clone();
        assert_eq!(first(&mut screen), "db");
        press(&mut screen, KeyCode::Char('r'));
        assert_eq!(first(&mut screen), "archive");
        press(&mut screen, KeyCode::Char('r'));
        press(&mut screen, KeyCode::Char('S'));
        assert_eq!(first(&mut screen), "archive", "by name");
        assert!(drawn(&mut screen, 100, 8).contains("by name"));
        press(&mut screen, KeyCode::Char(' '));
        screen.take(Ok(Rates::default()));
        assert_eq!(screen.volumes().len(), 2, "it holds still");
        press(&mut screen, KeyCode::Char(' '));
        screen.take(Ok(Rates::default()));
        assert!(screen.volumes().is_empty());
    }

    #[test]
    fn scrolling_ends_where_the_rows_do() {
        let mut screen = screen();
        for _ in 0..5 {
            press(&mut screen, KeyCode::PageDown);
        }
        let low = drawn(&mut screen, 100, 5);
        assert!(!low.contains("db ") && low.contains("archive"), "{low}");
        press(&mut screen, KeyCode::Home);
        assert!(drawn(&mut screen, 100, 5).contains("db "));
    }

    #[test]
    fn a_server_that_is_gone_is_told_and_the_last_look_stays() {
        let mut screen = screen();
        screen.take(Err("no server answers\n  hint: start one".to_owned()));
        let shown = drawn(&mut screen, 100, 8);
        assert!(
            shown.contains("no server answers") && shown.contains("db "),
            "{shown}"
        );
    }

    #[test]
    fn q_escape_and_control_c_end_it() {
        let mut screen = screen();
        assert_eq!(press(&mut screen, KeyCode::Char('q')), Asked::Quit);
        assert_eq!(press(&mut screen, KeyCode::Esc), Asked::Quit);
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(screen.key(control_c), Asked::Quit);
        assert_eq!(press(&mut screen, KeyCode::Char('c')), Asked::Draw);
    }
}
