//! A whole run: warm-up, measurement, and reading back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use super::crew::Interval;
use super::plan::Plan;
use super::report::{Rates, Report};
use super::rig::{LoadError, Rig};
use super::tally::Tally;

/// Carries `plan` out. Setting `stop` ends it early; what was measured until then is reported.
/// `observe` gets each interval of the measurement.
///
/// # Errors
/// When it can't begin: the plan can't be carried out, or a session can't be opened. A session that
/// fails later ends the run, and the report says so.
pub fn run(
    plan: Plan,
    stop: &Arc<AtomicBool>,
    mut observe: impl FnMut(&Interval),
) -> Result<Report, LoadError> {
    let mut rig = Rig::connect(plan.clone())?;
    let mut outside = vec![Tally::default(); plan.volumes.len()];
    if !plan.warmup.is_zero() {
        let (warmed, failed) = rig.observed_burst(plan.warmup, stop, |_| {})?;
        if let Some(error) = failed {
            return Err(error);
        }
        merge(&mut outside, &warmed.jobs);
    }
    let started_at = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let mut rates = vec![Rates::default(); plan.volumes.len()];
    let (measured, mut error) = rig.observed_burst(plan.duration, stop, |interval| {
        for (rates, tally) in rates.iter_mut().zip(&interval.jobs) {
            rates.note(tally, interval.length);
        }
        observe(interval);
    })?;
    let only_writes = plan.workload.read_percent == 0;
    if plan.workload.verify && only_writes && error.is_none() && !stop.load(Ordering::Relaxed) {
        let (judged, failed) = rig.read_back(stop)?;
        merge(&mut outside, &judged.jobs);
        error = failed;
    }
    Ok(Report {
        plan,
        volumes: rig.volumes().to_vec(),
        started_at,
        measured,
        outside,
        rates,
        error,
    })
}

fn merge(jobs: &mut [Tally], others: &[Tally]) {
    for (job, other) in jobs.iter_mut().zip(others) {
        job.merge(other);
    }
}
