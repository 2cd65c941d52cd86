//! Memory whose place does not depend on the run.
//!
//! A copy takes a few instructions more or less as its ends are aligned, and where the heap puts
//! something depends on which thread of the preparation was first to free what it had. So whatever is
//! large enough to be copied by a loop starts a page here.

use std::alloc::{GlobalAlloc, Layout, System};

const PAGE_BYTES: usize = 4096;
/// The C library copies more than that by a loop that looks at alignment.
const LOOP_BYTES: usize = 128;

/// The system's allocator, with everything of some size at the start of a page.
pub(crate) struct Paged;

fn paged(layout: Layout) -> Layout {
    if layout.size() < LOOP_BYTES {
        return layout;
    }
    layout.align_to(PAGE_BYTES).unwrap_or(layout)
}

#[allow(unsafe_code, reason = "an allocator is unsafe by contract")]
// SAFETY: the system's allocator does the work; the layout is the same function of the caller's when
// memory is freed as when it was asked for, and never of smaller alignment than asked.
unsafe impl GlobalAlloc for Paged {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, of a layout of the same size.
        unsafe { System.alloc(paged(layout)) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, of a layout of the same size.
        unsafe { System.alloc_zeroed(paged(layout)) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` was asked for with this layout, by the caller's promise.
        unsafe { System.dealloc(memory, paged(layout)) }
    }
}
