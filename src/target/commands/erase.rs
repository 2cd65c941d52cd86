//! FORMAT UNIT and SANITIZE: long work over the whole medium, with progress that REQUEST SENSE shows.

use super::space::steps;
use crate::base::limits::BUFFER_BYTES_MAX;
use crate::base::rcu;
use crate::reservation::Access;
use crate::scsi::plan::{FormatPlan, SanitizeKind, SanitizePlan};
use crate::scsi::unit::Medium as MediumState;
use crate::scsi::{ByteRange, Failure};
use crate::target::local::Answer;
use crate::target::medium::Medium;
use crate::target::message::{Call, UnitChange};
use crate::target::procedure::Procedure;
use futures_channel::oneshot;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// How soon a command that waits for an erasure notices that it has been aborted.
const ABORT_CHECK_INTERVAL: Duration = Duration::from_millis(5);

impl Procedure {
    pub(crate) async fn format(&self, plan: FormatPlan) -> Result<Answer, Failure> {
        let work = Erasure {
            kind: Kind::Format,
            range: plan.range,
            unrestricted_exit: true,
        };
        self.erase(work, plan.immediate).await
    }

    pub(crate) async fn sanitize(&self, plan: SanitizePlan) -> Result<Answer, Failure> {
        let range = {
            let guard = rcu::pin();
            let geometry = self.volume.unit.load(&guard).geometry;
            ByteRange {
                offset: 0,
                length: geometry.bytes(),
            }
        };
        let kind = match plan.kind {
            SanitizeKind::ExitFailureMode => {
                let by = self.nexus.asking();
                let change = UnitChange::ExitSanitizeFailure { by };
                return self
                    .change(Call::Change {
                        volume: self.volume.index,
                        change,
                    })
                    .await;
            }
            kind => Kind::Sanitize(kind),
        };
        let work = Erasure {
            kind,
            range,
            unrestricted_exit: plan.unrestricted_exit,
        };
        self.erase(work, plan.immediate).await
    }

    async fn erase(&self, work: Erasure, immediate: bool) -> Result<Answer, Failure> {
        let (volume, nexus) = (self.volume.index, self.nexus.index);
        let medium = work.state(0);
        self.call_home(Call::BeginErasure {
            volume,
            nexus,
            medium,
        })
        .await?;
        // The work outlives the command where the initiator asked for an early status, and also
        // where the command is aborted: half an erasure is finished, not left (SBC-4 section 4.11).
        let background = Background {
            procedure: self.detached(&Rc::new(Cell::new(false))).await?,
            work,
        };
        let (ended, end) = oneshot::channel();
        self.local.spawn(async move {
            let _ = ended.send(background.run().await);
        });
        if !immediate {
            self.unless_aborted(end).await??;
        }
        Ok(Answer::Good { asked: 0 })
    }

    /// Waits for work that goes on when the command is aborted.
    async fn unless_aborted<R>(&self, mut end: oneshot::Receiver<R>) -> Result<R, Failure> {
        loop {
            match end.try_recv() {
                Ok(None) if !self.aborted.get() => self.local.sleep(ABORT_CHECK_INTERVAL).await,
                Ok(Some(result)) => return Ok(result),
                Ok(None) | Err(oneshot::Canceled) => return Err(Failure::aborted()),
            }
        }
    }

    /// START STOP UNIT that loads or ejects (SBC-4 section 5.31).
    pub(crate) async fn move_medium(&self, load: bool) -> Result<Answer, Failure> {
        // What is loaded has nothing to flush, and everybody may load.
        if !load {
            self.medium(Access::Write).flush().await?;
        }
        self.change(Call::MoveMedium {
            volume: self.volume.index,
            sender: self.nexus.asking(),
            load,
        })
        .await
    }
}

struct Erasure {
    kind: Kind,
    range: ByteRange,
    unrestricted_exit: bool,
}

enum Kind {
    Format,
    Sanitize(SanitizeKind),
}

impl Erasure {
    fn state(&self, progress: u16) -> MediumState {
        match self.kind {
            Kind::Format => MediumState::Formatting { progress },
            Kind::Sanitize(_) => MediumState::Sanitizing { progress },
        }
    }

    /// Where the work ends if it fails: a sanitize that failed must not let old data be read
    /// (SBC-4 section 4.11.3); a format that failed leaves the medium as far as it got.
    fn failed(&self) -> MediumState {
        match self.kind {
            Kind::Format => MediumState::Ready,
            Kind::Sanitize(_) => MediumState::SanitizeFailed {
                unrestricted_exit: self.unrestricted_exit,
            },
        }
    }
}

struct Background {
    procedure: Procedure,
    work: Erasure,
}

impl Background {
    async fn run(self) -> Result<(), Failure> {
        let medium = self.procedure.medium(Access::Write).paced();
        let result = match self.pass(&medium).await {
            Ok(()) => medium.flush().await,
            failed => failed,
        };
        let medium = if result.is_ok() {
            MediumState::Ready
        } else {
            self.work.failed()
        };
        let (volume, nexus) = (self.procedure.volume.index, self.procedure.nexus.index);
        self.procedure
            .call_home(Call::EndErasure {
                volume,
                nexus,
                medium,
            })
            .await?;
        result
    }

    async fn pass(&self, medium: &Medium) -> Result<(), Failure> {
        match &self.work.kind {
            Kind::Sanitize(SanitizeKind::Overwrite {
                pattern,
                count,
                invert,
            }) => {
                let passes = u64::from((*count).max(1));
                for pass in 0..passes {
                    let inverted = *invert && pass % 2 == 1;
                    self.overwrite(medium, pattern, inverted, pass, passes)
                        .await?;
                }
                Ok(())
            }
            Kind::Format | Kind::Sanitize(_) => {
                for step in steps(self.work.range) {
                    let done = step.start - self.work.range.offset;
                    medium.write_zeros(step, true).await?;
                    self.report(done, self.work.range.length).await?;
                }
                Ok(())
            }
        }
    }

    async fn overwrite(
        &self,
        medium: &Medium,
        pattern: &[u8],
        inverted: bool,
        pass: u64,
        passes: u64,
    ) -> Result<(), Failure> {
        let whole = self.work.range.length;
        for step in steps(self.work.range) {
            let done = pass * whole + (step.start - self.work.range.offset);
            let mut filled = self.procedure.local.allocate(BUFFER_BYTES_MAX).await?;
            // A pattern repeats from the start of every block; its length divides the block's.
            for (byte, pattern) in filled.iter_mut().zip(pattern.iter().cycle()) {
                *byte = if inverted { !pattern } else { *pattern };
            }
            medium.fill(step, filled, false).await?;
            self.report(done, whole * passes).await?;
        }
        Ok(())
    }

    async fn report(&self, done: u64, whole: u64) -> Result<(), Failure> {
        let progress = u128::from(done) * 65_536 / u128::from(whole.max(1));
        let progress = u16::try_from(progress).unwrap_or(u16::MAX);
        let change = UnitChange::Medium(self.work.state(progress));
        let volume = self.procedure.volume.index;
        self.procedure
            .call_home(Call::Change { volume, change })
            .await
            .map(drop)
    }
}
