//! POPULATE TOKEN and WRITE USING TOKEN (SBC-3 section 4.22): offloaded copies, as Windows asks for
//! them.

use super::copy::Copy;
use super::space::steps;
use crate::base::limits::BUFFER_BYTES_MAX;
use crate::base::rcu;
use crate::reservation::Access;
use crate::scsi::Failure;
use crate::scsi::copy::token::{PopulateToken, RodToken, TokenSource, WriteUsingToken};
use crate::scsi::sense::{Code, SenseKey};
use crate::target::local::Answer;
use crate::target::medium::Medium;
use crate::target::message::Call;
use crate::target::procedure::Procedure;
use crate::target::tokens::Rod;
use crate::target::volume::Volume;
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq;

/// Service actions of THIRD-PARTY COPY OUT.
const POPULATE_TOKEN: u8 = 0x10;
const WRITE_USING_TOKEN: u8 = 0x11;

impl Procedure {
    pub(crate) async fn populate_token(&self, request: PopulateToken) -> Result<Answer, Failure> {
        let mut copy = self
            .begin_copy(Some(request.list_identifier), POPULATE_TOKEN)
            .await?;
        let result = self.make_token(request, &mut copy).await;
        self.end_copy(copy, result)
            .await
            .map(|()| Answer::Good { asked: 0 })
    }

    async fn make_token(&self, request: PopulateToken, copy: &mut Copy) -> Result<(), Failure> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|_| Failure::target("no random bytes"))?;
        let timeout = Duration::from_secs(u64::from(request.inactivity_timeout_s));
        let length = request.ranges.iter().map(|range| range.length).sum();
        let identifier = self.shared.next_token();
        let rod = Rod::new(
            identifier,
            secret,
            request.ranges,
            self.local.now() + timeout,
        );
        let volume = self.volume.index;
        self.call_home(Call::AddToken {
            volume,
            rod: Arc::new(rod),
        })
        .await?;
        // A write that was issued before the token was published does not revoke it; it must be over
        // before the token stands for anything.
        self.local.call_all(|| Call::Quiesce(volume), None).await?;
        let naa = self.volume.unit.load(&rcu::pin()).identity.naa;
        copy.operation.token = Some(RodToken {
            identifier,
            naa,
            length,
            secret,
        });
        copy.operation.bytes_done = length;
        Ok(())
    }

    pub(crate) async fn write_using_token(
        &self,
        request: WriteUsingToken,
    ) -> Result<Answer, Failure> {
        let copy = self
            .begin_copy(Some(request.list_identifier), WRITE_USING_TOKEN)
            .await?;
        if request.immediate {
            let detached = self.detached(copy.cancel()).await?;
            self.local.spawn(async move {
                let _ = detached.run_token_write(request, copy).await;
            });
            return Ok(Answer::Good { asked: 0 });
        }
        self.run_token_write(request, copy)
            .await
            .map(|()| Answer::Good { asked: 0 })
    }

    async fn run_token_write(
        &self,
        request: WriteUsingToken,
        mut copy: Copy,
    ) -> Result<(), Failure> {
        let result = match &request.source {
            TokenSource::Zeros => self.write_token_zeros(&request, &mut copy).await,
            TokenSource::Token { token, offset } => {
                self.write_token_data(&request, token, *offset, &mut copy)
                    .await
            }
        };
        self.end_copy(copy, result).await
    }

    async fn write_token_zeros(
        &self,
        request: &WriteUsingToken,
        copy: &mut Copy,
    ) -> Result<(), Failure> {
        let medium = self.medium(Access::Write).paced();
        for step in request.ranges.iter().flat_map(|range| steps(*range)) {
            copy.check()?;
            let length = step.end - step.start;
            medium.write_zeros(step, true).await?;
            copy.operation.bytes_done += length;
        }
        medium.settle_cache().await
    }

    async fn write_token_data(
        &self,
        request: &WriteUsingToken,
        token: &RodToken,
        offset: u64,
        copy: &mut Copy,
    ) -> Result<(), Failure> {
        let (volume, rod) = self.find_token(token)?;
        // The token is the right to read; it was made under the source's reservation.
        let source = Medium::new(&self.local, &volume).abortable(&self.aborted);
        let source = source.paced();
        let destination = self.medium(Access::Write).paced();
        let mut at = offset;
        for range in &request.ranges {
            let mut done = 0;
            while done < range.length {
                copy.check()?;
                let length = (range.length - done).min(BUFFER_BYTES_MAX as u64);
                // What the token does not reach is not written (SBC-3 section 5.45.2).
                let Some(part) = rod.locate(at, length) else {
                    return Ok(());
                };
                let buffer = source.read(part.offset, part.length).await?;
                if rod.is_revoked() {
                    return Err(token_failure(Code::TOKEN_REVOKED));
                }
                destination
                    .write(range.offset + done, buffer, false)
                    .await?;
                done += part.length;
                at += part.length;
                copy.operation.bytes_done += part.length;
            }
        }
        destination.settle_cache().await?;
        if request.delete_token {
            rod.revoke();
        }
        Ok(())
    }

    fn find_token(&self, token: &RodToken) -> Result<(Arc<Volume>, Arc<Rod>), Failure> {
        let guard = rcu::pin();
        let directory = self.shared.directory.load(&guard);
        let of_volume = |volume: &&Arc<Volume>| volume.unit.load(&guard).identity.naa == token.naa;
        let volume = directory
            .targets
            .values()
            .find(of_volume)
            .ok_or_else(|| token_failure(Code::TOKEN_UNKNOWN))?;
        let rod = volume
            .tokens
            .load(&guard)
            .iter()
            .find(|rod| rod.identifier == token.identifier)
            .ok_or_else(|| token_failure(Code::TOKEN_UNKNOWN))?;
        if !bool::from(rod.secret.ct_eq(&token.secret)) {
            return Err(token_failure(Code::TOKEN_CORRUPT));
        }
        if rod.is_revoked() {
            return Err(token_failure(Code::TOKEN_REVOKED));
        }
        if rod.expires < self.local.now() {
            return Err(token_failure(Code::TOKEN_EXPIRED));
        }
        Ok((Arc::clone(volume), Arc::clone(rod)))
    }
}

fn token_failure(code: Code) -> Failure {
    Failure::check(SenseKey::IllegalRequest, code)
}
