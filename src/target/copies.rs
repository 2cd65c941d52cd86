//! What a nexus may ask about its copies: the last operations, by list identifier.

use crate::base::limits::{COPIES_CONCURRENT_MAX, COPY_OPERATIONS_MAX};
use crate::scsi::copy::results::{CopyOperation, CopyState};
use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

/// The copies of one nexus, newest last.
#[derive(Debug, Default)]
pub(crate) struct CopyDesk {
    entries: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    list_identifier: u32,
    operation: CopyOperation,
    cancel: Rc<Cell<bool>>,
}

impl CopyDesk {
    /// Enters a copy that begins; one with the same identifier that has ended is forgotten. False
    /// when the identifier is in use, or too many copies run.
    pub(crate) fn begin(
        &mut self,
        list_identifier: u32,
        operation: CopyOperation,
        cancel: Rc<Cell<bool>>,
    ) -> bool {
        let running = |entry: &Entry| entry.operation.state == CopyState::InProgress;
        let same = |entry: &Entry| entry.list_identifier == list_identifier;
        if self
            .entries
            .iter()
            .any(|entry| same(entry) && running(entry))
        {
            return false;
        }
        let under_way = self.entries.iter().filter(|entry| running(entry)).count();
        if under_way >= usize::from(COPIES_CONCURRENT_MAX) {
            return false;
        }
        self.entries.retain(|entry| !same(entry));
        if self.entries.len() >= COPY_OPERATIONS_MAX {
            let Some(oldest) = self.entries.iter().position(|entry| !running(entry)) else {
                return false;
            };
            self.entries.remove(oldest);
        }
        self.entries.push_back(Entry {
            list_identifier,
            operation,
            cancel,
        });
        true
    }

    /// Notes how far a copy has come, or how it ended.
    pub(crate) fn update(&mut self, list_identifier: u32, operation: CopyOperation) {
        let same = |entry: &&mut Entry| entry.list_identifier == list_identifier;
        if let Some(entry) = self.entries.iter_mut().find(same) {
            entry.operation = operation;
        }
    }

    /// What is known of a copy.
    pub(crate) fn find(&self, list_identifier: u32) -> Option<&CopyOperation> {
        let same = |entry: &&Entry| entry.list_identifier == list_identifier;
        self.entries.iter().find(same).map(|entry| &entry.operation)
    }

    /// Cancels a copy that runs; whether there was one.
    pub(crate) fn cancel(&self, list_identifier: u32) -> bool {
        let running = self.entries.iter().find(|entry| {
            entry.list_identifier == list_identifier
                && entry.operation.state == CopyState::InProgress
        });
        if let Some(entry) = running {
            entry.cancel.set(true);
        }
        running.is_some()
    }
}
