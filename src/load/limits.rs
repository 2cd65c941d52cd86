//! What limits of a server of ours are worth: how near a limited volume comes to its limit, how fair it
//! is between sessions, and what it costs its neighbours.
//!
//! All of it is measured in one run against one server. A neighbour is measured with and without the
//! limited volume under load, by turns and over the same sessions, and once more without as a control.
//! Both loads come from one thread: it is the same client that polls one socket or two.

use std::time::Duration;

use super::compare::{Quartiles, Server, ServerError};
use super::plan::{BlockSize, Plan};
use super::rig::{Burst, LoadError, Rig};

/// The shortest burst of a limit: what is saved up between two bursts of the load is then little.
const BURST: &str = "10ms";
/// The limit of a volume that has a neighbour, in operations per second.
pub const NEIGHBOUR_LIMIT: u64 = 2000;
/// The limit that sessions share which are compared with each other, in operations per second: so low
/// that the shallow one is back before its next turn, or the client's own speed would be measured.
pub const SHARED_LIMIT: u64 = 200;
/// What the deeper of them keeps outstanding.
pub const DEEP: u32 = 64;
/// The neighbour.
const NEIGHBOUR: &str = "neighbour";
/// The volume that is limited; a server of ours has it from its start.
const LIMITED: &str = super::compare::VOLUME;

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum LimitsError {
    /// A session can't be opened, or failed.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The server refused.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// I/Os failed, so that it is not known what was measured.
    #[error("{0} I/Os failed")]
    Failed(u64),
    /// A load did nothing at all.
    #[error("a load came to nothing")]
    Nothing,
}

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Operations per second, in pieces of 4 KiB.
    Iops,
    /// Bytes per second, in pieces of 64 KiB.
    Bandwidth,
}

impl Kind {
    /// Bytes of a piece.
    const fn piece_bytes(self) -> u32 {
        match self {
            Self::Iops => 4 << 10,
            Self::Bandwidth => 64 << 10,
        }
    }

    const fn flag(self) -> &'static str {
        match self {
            Self::Iops => "--iops-max",
            Self::Bandwidth => "--bandwidth-max",
        }
    }
}

/// How near a volume came to one limit.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub struct Accuracy {
    /// What is limited.
    pub kind: Kind,
    /// To how much per second.
    pub limit: u64,
    /// By how many sessions it was loaded.
    pub sessions: usize,
    /// Commands that each of them kept outstanding.
    pub depth: u32,
    /// What went through per second.
    pub measured: f64,
    /// That over the limit.
    pub ratio: f64,
}

/// What two sessions got of one limit.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub struct Fairness {
    /// What they shared, in operations per second.
    pub limit: u64,
    /// What the deeper session kept outstanding; the other one kept one.
    pub depth: u32,
    /// I/Os of the deep session, but for those that it had outstanding at the end.
    pub deep_ios: u64,
    /// I/Os of the shallow one.
    pub shallow_ios: u64,
    /// Those of the shallow one over those of the deep one.
    pub ratio: f64,
}

/// What a limited volume under load costs a volume without limits, as ratios of with to without.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub struct Neighbour {
    /// The limit of the loaded volume, in operations per second.
    pub limit: u64,
    /// I/Os per second of the neighbour.
    pub iops: Quartiles,
    /// The latency that 999 of 1000 of its I/Os don't exceed.
    pub p999: Quartiles,
    /// The same without a load on either side.
    pub control_iops: Quartiles,
    /// Likewise.
    pub control_p999: Quartiles,
}

/// Loads the server's volume under one limit, for `span`.
///
/// # Errors
/// When the limit can't be set, a session can't be opened, or I/Os fail.
pub fn accuracy(
    server: &Server,
    plan: &Plan,
    (kind, limit): (Kind, u64),
    span: Duration,
) -> Result<Accuracy, LimitsError> {
    server.set_volume(
        LIMITED,
        &[
            "--limits",
            "none",
            kind.flag(),
            &limit.to_string(),
            "--burst",
            BURST,
        ],
    )?;
    let mut plan = Plan {
        volumes: vec![server.address().clone()],
        ..plan.clone()
    };
    plan.workload.blocks = vec![BlockSize {
        bytes: kind.piece_bytes(),
        weight: 1,
    }];
    let (sessions, depth) = (plan.sessions, plan.depth);
    let mut rig = Rig::connect(plan)?;
    sound(rig.burst(span / 4)?)?;
    let burst = sound(rig.burst(span)?)?;
    let measured = match kind {
        Kind::Iops => burst.iops(),
        Kind::Bandwidth => burst.iops() * f64::from(kind.piece_bytes()),
    };
    #[allow(clippy::cast_precision_loss, reason = "a ratio needs no 53 bits")]
    let ratio = measured / limit as f64;
    Ok(Accuracy {
        kind,
        limit,
        sessions,
        depth,
        measured,
        ratio,
    })
}

/// Loads the server's volume by a deep and a shallow session at the same time, for `span`.
///
/// # Errors
/// As [`accuracy`].
pub fn fairness(server: &Server, plan: &Plan, span: Duration) -> Result<Fairness, LimitsError> {
    limit_operations(server, SHARED_LIMIT)?;
    let with_depth = |depth| Plan {
        volumes: vec![server.address().clone()],
        sessions: 1,
        depth,
        ..plan.clone()
    };
    let mut deep = Rig::connect(with_depth(DEEP))?;
    let mut shallow = Rig::connect(with_depth(1))?;
    let (deep, shallow) = std::thread::scope(|scope| {
        let deep = scope.spawn(move || deep.burst(span));
        let shallow = shallow.burst(span);
        (deep.join(), shallow)
    });
    let deep = sound(deep.map_err(|_| LimitsError::Nothing)??)?;
    // What is outstanding when the time is over is still answered, without a rival.
    let deep_ios = deep.ios().saturating_sub(DEEP.into());
    let shallow_ios = sound(shallow?)?.ios();
    #[allow(clippy::cast_precision_loss, reason = "a ratio needs no 53 bits")]
    let ratio = shallow_ios as f64 / deep_ios as f64;
    Ok(Fairness {
        limit: SHARED_LIMIT,
        depth: DEEP,
        deep_ios,
        shallow_ios,
        ratio,
    })
}

/// Measures a neighbour with and without a load on the limited volume, `pairs` times.
///
/// # Errors
/// As [`accuracy`].
pub fn neighbour(
    server: &Server,
    plan: &Plan,
    burst: Duration,
    pairs: usize,
) -> Result<Neighbour, LimitsError> {
    limit_operations(server, NEIGHBOUR_LIMIT)?;
    let neighbour = server.add_volume(NEIGHBOUR)?;
    let of = |volumes| Plan {
        volumes,
        ..plan.clone()
    };
    let mut alone = Rig::connect(of(vec![neighbour.clone()]))?;
    let mut control = Rig::connect(of(vec![neighbour.clone()]))?;
    let mut beside = Rig::connect(of(vec![neighbour, server.address().clone()]))?;
    let (mut iops, mut p999) = (Vec::new(), Vec::new());
    let (mut control_iops, mut control_p999) = (Vec::new(), Vec::new());
    for round in 0..=pairs {
        let order: [&mut Rig; 3] = match round % 2 {
            0 => [&mut alone, &mut beside, &mut control],
            _ => [&mut control, &mut beside, &mut alone],
        };
        let mut figures = Vec::with_capacity(order.len());
        for rig in order {
            figures.push(Figures::of(&sound(rig.burst(burst)?)?, burst)?);
        }
        if round % 2 == 1 {
            figures.reverse();
        }
        // The first round meets cold caches and small windows.
        if round > 0 {
            let [alone, beside, control] = [figures[0], figures[1], figures[2]];
            iops.push(beside.iops / alone.iops);
            p999.push(beside.p999 / alone.p999);
            control_iops.push(control.iops / alone.iops);
            control_p999.push(control.p999 / alone.p999);
        }
    }
    let spread = |ratios| Quartiles::of(ratios).ok_or(LimitsError::Nothing);
    Ok(Neighbour {
        limit: NEIGHBOUR_LIMIT,
        iops: spread(iops)?,
        p999: spread(p999)?,
        control_iops: spread(control_iops)?,
        control_p999: spread(control_p999)?,
    })
}

/// What the neighbour did in a burst.
#[derive(Clone, Copy)]
struct Figures {
    iops: f64,
    p999: f64,
}

impl Figures {
    /// The neighbour is the first job. A burst lasts until the last answer, which the limited volume's is;
    /// the neighbour's come at once, so that its time is what was asked for.
    fn of(burst: &Burst, asked: Duration) -> Result<Self, LimitsError> {
        let own = burst.jobs.first().filter(|job| job.ios() > 0);
        let own = own.ok_or(LimitsError::Nothing)?;
        #[allow(clippy::cast_precision_loss, reason = "a ratio needs no 53 bits")]
        Ok(Self {
            iops: own.ios() as f64 / asked.as_secs_f64(),
            p999: own.latency().value_at_quantile(0.999) as f64,
        })
    }
}

fn limit_operations(server: &Server, limit: u64) -> Result<(), LimitsError> {
    let limit = limit.to_string();
    let arguments = ["--limits", "none", "--iops-max", &limit, "--burst", BURST];
    Ok(server.set_volume(LIMITED, &arguments)?)
}

fn sound(burst: Burst) -> Result<Burst, LimitsError> {
    match (burst.failures(), burst.ios()) {
        (0, 0) => Err(LimitsError::Nothing),
        (0, _) => Ok(burst),
        (failures, _) => Err(LimitsError::Failed(failures)),
    }
}
