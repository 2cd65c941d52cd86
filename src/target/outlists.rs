//! Gather lists between two uses, shared by the connections of a reactor.
//!
//! A connection has one only while it has something to send. Where sends are over at once, all use
//! the same one in turn, which the caches then hold; a list for each connection would be cold
//! whenever its turn comes, and take memory while it is idle.

use crate::base::gather::Gather;
use crate::iscsi::Connection;

/// Room for copied bytes that the lists of a reactor keep while nobody uses them.
const ROOM_MAX: usize = 16 << 20;

/// The last one that came back is the first to be lent.
#[derive(Debug, Default)]
pub(crate) struct Outlists {
    lists: Vec<Gather>,
    /// Of all of them together.
    room: usize,
}

impl Outlists {
    /// Lends a connection a list to write into, unless it has one.
    #[inline]
    pub(crate) fn lend(&mut self, connection: &mut Connection) {
        if connection.lacks_output()
            && let Some(list) = self.lists.pop()
        {
            self.room -= list.room();
            connection.use_output(list);
        }
    }

    /// Takes an empty list back.
    pub(crate) fn take_back(&mut self, mut list: Gather) {
        if let Some(next) = self.lists.last_mut() {
            self.room -= next.room();
            next.make_room_as_in(&list);
            list.make_room_as_in(next);
            self.room += next.room();
        }
        let room = self.room + list.room();
        if list.room() > 0 && room <= ROOM_MAX {
            self.room = room;
            self.lists.push(list);
        }
    }
}
