//! Limits of volumes and groups: from what is set to what the data path keeps.
//!
//! A volume's limits are made anew only when their values change: those who wait keep their place in
//! line, and a burst that has been used up is not given again, when something else of a volume is set.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Service, refusal::about_volume};
use crate::base::clock::Instant;
use crate::base::rate::{Limiter, Rates};
use crate::control::api::{
    GroupLimitsView, GroupSet, LimitBurst, LimitValue, LimitsPreset, LimitsSet, LimitsUsageView,
    LimitsView,
};
use crate::control::catalogue::Volume;
use crate::control::error::{ControlError, ErrorKind};
use crate::control::plane::PlaneError;
use crate::target::{LimitUsage, Limits};
use crate::volume::{
    EffectiveLimits, GroupName, LimitChange, LimitPreset, LimitSettings, VolumeId,
};

/// For how long a volume's present rate is measured.
const LOOK: Duration = Duration::from_millis(250);

/// The limits that the data path keeps.
#[derive(Default)]
pub(super) struct LimitBook {
    groups: BTreeMap<GroupName, Arc<Limiter>>,
    volumes: BTreeMap<VolumeId, Kept>,
}

/// Those of one volume.
struct Kept {
    own: Rates,
    group: Option<Arc<Limiter>>,
    limits: Arc<Limits>,
}

impl LimitBook {
    /// What all volumes of a group share; `None` where it has no limits.
    fn group(&mut self, name: &GroupName, rates: Rates) -> Option<Arc<Limiter>> {
        if rates.is_unlimited() {
            self.groups.remove(name);
            return None;
        }
        let kept = self.groups.get(name).filter(|kept| *kept.rates() == rates);
        if kept.is_none() {
            let limiter = Arc::new(Limiter::new(rates));
            self.groups.insert(name.clone(), limiter);
        }
        self.groups.get(name).cloned()
    }
}

impl Kept {
    fn is(&self, own: Rates, group: Option<&Arc<Limiter>>) -> bool {
        let same_group = match (&self.group, group) {
            (Some(kept), Some(group)) => Arc::ptr_eq(kept, group),
            (None, None) => true,
            _ => false,
        };
        self.own == own && same_group
    }
}

impl Service {
    /// Has the data path keep what the catalogue says of every volume of a group.
    pub(super) fn limit_group(&self, name: &GroupName) -> Result<(), ControlError> {
        let model = self.catalogue.model();
        let mut result = Ok(());
        for volume in model.volumes_of(self.catalogue.san(), name) {
            if self.problems().contains_key(&volume.id) {
                continue;
            }
            if let Err(error) = self.limit(volume) {
                tracing::error!(volume = %volume.name, %error, "limits hold from the next start");
                result = Err(error);
            }
        }
        result
    }

    /// Has the data path keep what the catalogue says of a volume.
    ///
    /// # Errors
    /// It does not serve the volume, or did not answer.
    pub(super) fn limit(&self, volume: &Volume) -> Result<(), ControlError> {
        let effective = self.effective(volume);
        let own = effective.rates();
        let mut book = self.limits();
        let group = book.group(&volume.group, self.group_limits(volume).together());
        if let Some(kept) = book.volumes.get(&volume.id)
            && kept.is(own, group.as_ref())
        {
            return Ok(());
        }
        let limits = Limits::new(own, group.clone()).map(Arc::new);
        if limits.is_none() && !book.volumes.contains_key(&volume.id) {
            return Ok(());
        }
        let set = self.plane.set_limits(volume.id, limits.clone());
        set.map_err(|error: PlaneError| about_volume(&volume.name, &error))?;
        match limits {
            Some(limits) => {
                let kept = Kept { own, group, limits };
                book.volumes.insert(volume.id, kept);
            }
            None => drop(book.volumes.remove(&volume.id)),
        }
        Ok(())
    }

    /// The data path keeps nothing of a volume any more, or knows nothing of it yet.
    pub(super) fn forget_limits(&self, volume: VolumeId) {
        self.limits().volumes.remove(&volume);
    }

    /// A volume's limits, with what it has made of them since `before` was taken.
    pub(super) fn limits_view(&self, volume: &Volume, before: Option<&Glance>) -> LimitsView {
        let effective = self.effective(volume);
        let group = self.group_limits(volume);
        let burst_ms = u64::try_from(effective.burst.0.as_millis()).unwrap_or(u64::MAX);
        LimitsView {
            iops_max: effective.iops_max.0,
            iops_origin: effective.iops_max.1,
            bandwidth_max: effective.bandwidth_max.0,
            bandwidth_origin: effective.bandwidth_max.1,
            burst_ms,
            burst_origin: effective.burst.1,
            group: (!group.together().is_unlimited()).then(|| group_view(&group)),
            usage: before.and_then(|before| before.since(&self.glance(volume.id)?)),
        }
    }

    /// Looks at what a volume has done, for a second look after [`LOOK`].
    pub(super) fn glance_at(&self, volume: VolumeId) -> Option<Glance> {
        let glance = self.glance(volume)?;
        let end = Instant::now() + LOOK;
        while let left @ 1.. = end.nanos().saturating_sub(Instant::now().nanos()) {
            std::thread::park_timeout(Duration::from_nanos(left));
        }
        Some(glance)
    }

    fn glance(&self, volume: VolumeId) -> Option<Glance> {
        let book = self.limits();
        let limits = Arc::clone(&book.volumes.get(&volume)?.limits);
        Some(Glance {
            at: Instant::now(),
            usage: limits.usage(),
            limits,
        })
    }

    fn effective(&self, volume: &Volume) -> EffectiveLimits {
        let group = self.group_limits(volume);
        EffectiveLimits::of(&volume.settings.limits, &group, volume.size_bytes)
    }

    /// What is set for a volume's group. One that is being made with the volume has nothing set.
    fn group_limits(&self, volume: &Volume) -> LimitSettings {
        let model = self.catalogue.model();
        let group = model.group(&volume.san, &volume.group);
        group.map_or_else(|_| LimitSettings::default(), |group| group.settings.limits)
    }

    fn limits(&self) -> MutexGuard<'_, LimitBook> {
        // Each use changes one entry after the data path has taken it.
        self.limit_book
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a volume had done at one time.
pub(super) struct Glance {
    at: Instant,
    usage: LimitUsage,
    limits: Arc<Limits>,
}

impl Glance {
    /// What it has done until `later`; nothing where its limits are others by then.
    fn since(&self, later: &Self) -> Option<LimitsUsageView> {
        if !Arc::ptr_eq(&self.limits, &later.limits) {
            return None;
        }
        let (before, after) = (&self.usage, &later.usage);
        let span = later.at.since(self.at);
        let micros = span.as_micros();
        if micros == 0 {
            return None;
        }
        let share = |part: u128, whole: u128| u64::try_from(part / whole).unwrap_or(u64::MAX);
        let per_second = |count: u64| share(u128::from(count) * 1_000_000 + micros / 2, micros);
        let operations = after.operations - before.operations;
        let delayed = after.delayed - before.delayed;
        let limited = after.limited.saturating_sub(before.limited);
        Some(LimitsUsageView {
            span_ms: u64::try_from(span.as_millis()).unwrap_or(u64::MAX),
            iops: per_second(operations),
            bytes_per_second: per_second(after.bytes - before.bytes),
            delayed_percent: delayed * 100 / operations.max(1),
            // Several reactors may have waited at the same time.
            limited_percent: share(limited.as_micros() * 100, micros).min(100),
            operations: after.operations,
            operations_delayed: after.delayed,
        })
    }
}

/// What is set for a group, as it is shown.
pub(super) fn group_view(settings: &LimitSettings) -> GroupLimitsView {
    let together = settings.together();
    GroupLimitsView {
        iops_max: together.operations,
        bandwidth_max: together.bytes,
        burst_ms: u64::try_from(together.burst.as_millis()).unwrap_or(u64::MAX),
        preset: settings.preset.map(|preset| match preset {
            LimitPreset::None => LimitsPreset::None,
            LimitPreset::Provisioned => LimitsPreset::Provisioned,
        }),
    }
}

impl LimitsSet {
    /// The change that it asks for.
    pub(super) fn change(&self) -> LimitChange {
        let value = |value| match value {
            LimitValue::Of(value) => Some(value),
            LimitValue::None(_) => None,
        };
        LimitChange {
            preset: self.preset.map(|preset| match preset {
                LimitsPreset::None => Some(LimitPreset::None),
                LimitsPreset::Provisioned => Some(LimitPreset::Provisioned),
                LimitsPreset::Inherit => None,
            }),
            iops_max: self.iops_max.map(value),
            bandwidth_max: self.bandwidth_max.map(value),
            burst_ms: self.burst_ms.map(|burst| match burst {
                LimitBurst::Own(ms) => Some(ms),
                LimitBurst::Common(_) => None,
            }),
        }
    }
}

/// What `group.set` makes of a group's limits.
///
/// # Errors
/// They can't be so.
pub(super) fn of_group_set(
    set: &GroupSet,
    present: &LimitSettings,
) -> Result<LimitSettings, ControlError> {
    let refused = |message: String| {
        let group = format!("group {}", set.name);
        ControlError::new(
            ErrorKind::Invalid,
            group.clone(),
            format!("{group} {message}"),
        )
    };
    if set.limits.preset == Some(LimitsPreset::Inherit) {
        return Err(
            refused("can't inherit its limits: there is nothing above it".to_owned())
                .expected("provisioned or none"),
        );
    }
    let mut limits = present.changed_by(&set.limits.change());
    // A group that asks for nothing says nothing.
    limits.preset = limits.preset.filter(|preset| *preset != LimitPreset::None);
    limits
        .check()
        .map_err(|error| refused(format!("can't be set so: {error}")))?;
    Ok(limits)
}

#[cfg(test)]
mod tests;
