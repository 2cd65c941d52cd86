//! Servers that a benchmark starts: of this very program, or of another build of it.

use super::Failure;
use super::bench_load::usage;
use crate::control::config::CoreList;
use crate::load::Cores;
use crate::load::compare::{Server, Setup};
use crate::load::report::explain;
use crate::profile::Profile;
use std::path::Path;

/// The one volume of such a server.
pub(super) struct Measured<'a> {
    /// As `volume create --backend` takes it.
    pub(super) backend: &'a str,
    pub(super) bytes: u64,
    pub(super) sessions_max: usize,
}

/// Starts one whose reactors are on `cores`; where those are not named, as many as the profile takes,
/// which then share cores with the client. Without a `program` it is this very one.
pub(super) fn start(
    program: Option<&Path>,
    profile: &str,
    cores: &Cores,
    volume: &Measured<'_>,
) -> Result<Server, Failure> {
    let knobs = Profile::find(profile).map_err(Failure::new)?.tuning;
    let cores = match cores {
        Cores::These(list) => {
            let names: Vec<String> = list.iter().map(ToString::to_string).collect();
            let text = names.join(",");
            text.parse::<CoreList>().map_err(|error| usage(&error))?;
            Some(text)
        }
        Cores::Any | Cores::Last => None,
    };
    let setup = Setup {
        program: match program {
            Some(program) => program.to_owned(),
            None => std::env::current_exe().map_err(Failure::new)?,
        },
        profile: profile.to_owned(),
        knobs: format!("{knobs:?}"),
        cores,
        backend: volume.backend.to_owned(),
        volume_bytes: volume.bytes,
        sessions_max: volume.sessions_max,
    };
    Server::start(&setup).map_err(|error| {
        let why = explain(&error);
        Failure::new(match program {
            Some(program) => format!("{}: {why}", program.display()),
            None => why,
        })
    })
}
