//! What a connection remembers of a command, from its delivery to its status.

use super::error::DataOutError;
use super::event::TaskId;
use super::pdu::{NO_TAG, RejectReason};
use super::tags::Tags;
use super::transfer::Transfer;
use crate::base::buffer::Buffer;
use crate::base::clock::Instant;
use crate::base::slots::Slots;
use serde::{Deserialize, Serialize};

/// What a task answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    Command,
    TaskManagement,
}

/// One task.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) kind: Kind,
    pub(super) tag: u32,
    pub(super) lun: [u8; 8],
    pub(super) immediate: bool,
    /// Bytes the initiator has room for.
    pub(super) read_length: u32,
    /// The command both reads and writes.
    pub(super) bidirectional: bool,
    /// The data of the write; of no bytes if there is none.
    pub(super) transfer: Transfer,
    /// The window's memory.
    pub(super) buffer: Option<Buffer>,
    /// Data-In PDUs sent.
    pub(super) data_sn: u32,
    /// When Data-Out last moved.
    pub(super) progress: Instant,
}

impl Task {
    /// The window, when it is over.
    pub(super) fn finish(&mut self) -> Option<(Buffer, Result<(), DataOutError>)> {
        let result = self.transfer.finish()?;
        self.buffer.take().map(|buffer| (buffer, result))
    }
}

/// All tasks of a connection, in memory that is allocated once.
#[derive(Debug)]
pub(super) struct Tasks {
    slots: Slots<Task>,
    tags: Tags,
    commands_max: u32,
    immediates_max: u32,
    immediates: u32,
}

impl Tasks {
    /// Room for so many numbered and so many immediate tasks.
    pub(super) fn new(commands_max: u32, immediates_max: u32) -> Self {
        let capacity = commands_max.saturating_add(immediates_max);
        Self {
            slots: Slots::with_capacity(capacity),
            tags: Tags::with_capacity(capacity),
            commands_max,
            immediates_max,
            immediates: 0,
        }
    }

    /// The tasks of another table under the names that they had there; nothing where they don't fit, or
    /// two have one tag.
    pub(super) fn restored(
        commands_max: u32,
        immediates_max: u32,
        tasks: Vec<(TaskId, Task)>,
    ) -> Option<Self> {
        let capacity = commands_max.saturating_add(immediates_max);
        let mut tags = Tags::with_capacity(capacity);
        let mut immediates = 0;
        if tasks.len() > capacity as usize {
            return None;
        }
        for (id, task) in &tasks {
            tags.vacancy(task.tag)?.fill(*id);
            immediates += u32::from(task.immediate);
        }
        let tasks = tasks.into_iter().map(|(id, task)| (id.0, task));
        Some(Self {
            slots: Slots::restored(capacity, tasks.collect())?,
            tags,
            commands_max,
            immediates_max,
            immediates,
        })
    }

    /// Whether one more task finds room.
    #[inline]
    pub(super) fn has_room(&self, immediate: bool) -> bool {
        if immediate {
            self.immediates < self.immediates_max
        } else {
            self.free_commands() > 0
        }
    }

    /// Whether a numbered task of that tag would be taken in.
    #[inline]
    pub(super) fn could_insert(&self, tag: u32) -> bool {
        self.free_commands() > 0 && (self.slots.is_empty() || self.tags.find(tag).is_none())
    }

    /// Numbered commands that still find room: what the window may let in.
    #[inline]
    pub(super) fn free_commands(&self) -> u32 {
        let tasks = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.commands_max
            .saturating_sub(tasks.saturating_sub(self.immediates))
    }

    /// Takes in the task that `make` makes of its tag and of whether it is immediate.
    ///
    /// # Errors
    /// Why not: the tag is none or in use, or there is no room.
    #[inline]
    pub(super) fn insert(
        &mut self,
        tag: u32,
        immediate: bool,
        make: impl FnOnce() -> Task,
    ) -> Result<TaskId, RejectReason> {
        let has_room = self.has_room(immediate);
        if tag == NO_TAG {
            return Err(RejectReason::InvalidField);
        }
        let vacancy = self.tags.vacancy(tag).ok_or(RejectReason::TaskInProgress)?;
        let inserted = has_room.then(|| self.slots.insert_with(make)).flatten();
        let id = TaskId(inserted.ok_or(RejectReason::TooManyImmediate)?);
        vacancy.fill(id);
        self.immediates += u32::from(immediate);
        Ok(id)
    }

    /// The task that an Initiator Task Tag names.
    pub(super) fn find(&self, tag: u32) -> Option<TaskId> {
        self.tags.find(tag)
    }

    #[inline]
    pub(super) fn get(&self, id: TaskId) -> Option<&Task> {
        self.slots.get(id.0)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: TaskId) -> Option<&mut Task> {
        self.slots.get_mut(id.0)
    }

    /// Takes a task out; its tag is free.
    pub(super) fn remove(&mut self, id: TaskId) -> Option<Task> {
        let task = self.slots.remove(id.0)?;
        self.tags.remove(task.tag);
        self.immediates -= u32::from(task.immediate);
        Some(task)
    }

    /// Forgets a task; its tag is free.
    #[inline]
    pub(super) fn release(&mut self, id: TaskId) {
        let Some(task) = self.slots.get(id.0) else {
            return;
        };
        let (tag, immediate) = (task.tag, task.immediate);
        self.slots.release(id.0);
        self.tags.remove(tag);
        self.immediates -= u32::from(immediate);
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Task> {
        self.slots.iter_mut().map(|(_, task)| task)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (TaskId, &Task)> {
        self.slots.iter().map(|(key, task)| (TaskId(key), task))
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::Parameters;
    use super::*;

    fn task(tag: u32, immediate: bool) -> Task {
        Task {
            kind: Kind::Command,
            tag,
            lun: [0; 8],
            immediate,
            read_length: 0,
            bidirectional: false,
            transfer: Transfer::new(0, 0, false, &Parameters::default()),
            buffer: None,
            data_sn: 0,
            progress: Instant::ZERO,
        }
    }

    #[test]
    fn immediate_and_numbered_tasks_have_room_of_their_own() {
        let mut tasks = Tasks::new(2, 1);
        let insert = |tasks: &mut Tasks, tag, immediate| {
            tasks.insert(tag, immediate, || task(tag, immediate))
        };
        let first = insert(&mut tasks, 1, false).unwrap();
        let second = insert(&mut tasks, 2, true).unwrap();
        let refused = insert(&mut tasks, 3, true);
        assert_eq!(refused, Err(RejectReason::TooManyImmediate));
        assert_eq!(
            insert(&mut tasks, 1, false),
            Err(RejectReason::TaskInProgress)
        );
        assert_eq!(
            insert(&mut tasks, NO_TAG, false),
            Err(RejectReason::InvalidField)
        );
        assert_eq!(tasks.free_commands(), 1);
        insert(&mut tasks, 3, false).unwrap();
        assert!(insert(&mut tasks, 4, false).is_err());
        tasks.release(second);
        assert_eq!(tasks.find(2), None);
        assert!(insert(&mut tasks, 2, true).is_ok());
        assert_eq!(tasks.remove(first).map(|task| task.tag), Some(1));
        assert_eq!(tasks.find(1), None);
        assert_eq!(tasks.free_commands(), 1);
    }
}
