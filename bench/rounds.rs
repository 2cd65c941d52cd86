//! The command line of a benchmark that is made of rounds.

/// How many rounds, and how they are told.
pub(crate) struct Options {
    /// Rounds of each line.
    pub(crate) rounds: u32,
    /// For programs.
    pub(crate) json: bool,
}

impl Options {
    /// As this process was asked; `rounds` unless it was said otherwise.
    pub(crate) fn of_process(rounds: u32) -> Self {
        let mut options = Self {
            rounds,
            json: false,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--json" => options.json = true,
                "--rounds" => {
                    let rounds = arguments.next().and_then(|rounds| rounds.parse().ok());
                    options.rounds = rounds.expect("--rounds takes a number");
                }
                // What cargo says to every benchmark.
                "--bench" => {}
                other => panic!("{other}: expected --json or --rounds N"),
            }
        }
        options
    }
}
