//! Buffers for activations and arenas: aligned, and reused every step.
//!
//! On the CPU, page faults of fresh large tensors cost a naive trainer more than its arithmetic.
//! So a step takes its buffers from a free list keyed by length, and in the steady state asks the
//! system for nothing.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    collections::HashMap,
    ops::{Deref, DerefMut},
    ptr::NonNull,
};

const HUGE_PAGE: usize = 2 << 20;
const CACHE_LINE: usize = 64;

/// A fixed-length slice of plain numbers, aligned to a cache line, or to a huge page when large.
pub struct Buffer<R> {
    /// Aligned; within the allocation that begins at `base`.
    start: NonNull<R>,
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a Buffer owns its memory as a Box<[R]> does.
unsafe impl<R: Send> Send for Buffer<R> {}
// SAFETY: as for Box<[R]>.
unsafe impl<R: Sync> Sync for Buffer<R> {}

impl<R: Copy> Buffer<R> {
    /// `len` zeros. `R` must be a plain number, for which all-zero bytes are a value. Large ones are
    /// pages that the system zeroes when they are first touched: room for an arena costs nothing.
    pub fn zeros(len: usize) -> Self {
        if len == 0 {
            return Self {
                start: NonNull::dangling(),
                base: NonNull::dangling(),
                len,
            };
        }
        let (layout, align) = Self::layout(len);
        // SAFETY: the layout has a size above zero.
        let Some(base) = NonNull::new(unsafe { alloc_zeroed(layout) }) else {
            handle_alloc_error(layout)
        };
        let skipped = base.as_ptr().align_offset(align);
        // SAFETY: the layout has `align` bytes more than the numbers need.
        let bytes = unsafe { base.add(skipped) };
        #[cfg(target_os = "linux")]
        if align == HUGE_PAGE {
            // SAFETY: the range was just allocated; the advice changes no contents.
            unsafe {
                libc::madvise(
                    bytes.as_ptr().cast(),
                    len * size_of::<R>(),
                    libc::MADV_HUGEPAGE,
                )
            };
        }
        Self {
            start: bytes.cast(),
            base,
            len,
        }
    }

    pub fn from_slice(values: &[R]) -> Self {
        let mut buffer = Self::zeros(values.len());
        buffer.copy_from_slice(values);
        buffer
    }
}

impl<R: Copy> Default for Buffer<R> {
    /// Nothing.
    fn default() -> Self {
        Self::zeros(0)
    }
}

impl<R> Buffer<R> {
    /// What is allocated, and to what its numbers are aligned. Not by the allocator: for more than 16
    /// bytes it zeroes by writing, which touches every page.
    fn layout(len: usize) -> (Layout, usize) {
        let bytes = len * size_of::<R>();
        let align = match bytes >= HUGE_PAGE {
            true => HUGE_PAGE,
            false => CACHE_LINE,
        };
        let layout = Layout::from_size_align(bytes + align, align_of::<R>());
        let layout = layout.expect("a buffer is smaller than the address space");
        (layout, align)
    }
}

impl<R> Drop for Buffer<R> {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: allocated in `zeros` with this very layout.
            unsafe { dealloc(self.base.as_ptr(), Self::layout(self.len).0) };
        }
    }
}

impl<R> Deref for Buffer<R> {
    type Target = [R];
    fn deref(&self) -> &[R] {
        // SAFETY: `len` initialised elements live at `start` as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<R> DerefMut for Buffer<R> {
    fn deref_mut(&mut self) -> &mut [R] {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

/// A free list of buffers by length.
pub struct Recycler<R> {
    free: HashMap<usize, Vec<Buffer<R>>>,
    bytes: usize,
}

impl<R: Copy> Recycler<R> {
    pub fn new() -> Self {
        Self {
            free: HashMap::new(),
            bytes: 0,
        }
    }

    /// A buffer of `len` elements with unspecified contents: one given back earlier, or a new one.
    pub fn take(&mut self, len: usize) -> Buffer<R> {
        if let Some(buffer) = self.free.get_mut(&len).and_then(Vec::pop) {
            return buffer;
        }
        self.bytes += len * size_of::<R>();
        Buffer::zeros(len)
    }

    pub fn give(&mut self, buffer: Buffer<R>) {
        self.free.entry(buffer.len).or_default().push(buffer);
    }

    /// Bytes ever asked of the system through this list: the peak, since nothing goes back.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl<R: Copy> Default for Recycler<R> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_zeroed_and_come_back() {
        let mut memory = Recycler::<f32>::new();
        for len in [1, 1000, HUGE_PAGE] {
            let buffer = memory.take(len);
            assert!(buffer.iter().all(|x| *x == 0.0));
            assert_eq!(buffer.as_ptr() as usize % CACHE_LINE, 0);
            let address = buffer.as_ptr();
            memory.give(buffer);
            let again = memory.take(len);
            assert_eq!(again.as_ptr(), address);
            memory.give(again);
        }
        assert_eq!(memory.bytes(), 4 * (1 + 1000 + HUGE_PAGE));
    }
}
