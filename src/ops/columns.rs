//! A matrix whose columns several threads write, each its own.

use std::ops::Range;

/// Rows of some columns, handed out as slices to threads that never ask for the same columns.
pub struct Columns<R> {
    start: *mut R,
    len: usize,
}

// SAFETY: `part`'s contract keeps threads apart.
unsafe impl<R: Send> Sync for Columns<R> {}

impl<R> Columns<R> {
    pub fn new(matrix: &mut [R]) -> Self {
        Self {
            start: matrix.as_mut_ptr(),
            len: matrix.len(),
        }
    }

    /// The columns of the row that starts at element `row_start`.
    ///
    /// # Safety
    /// The matrix is still borrowed, no two threads ask for overlapping columns, and a thread is done
    /// with a part before it asks for one that overlaps.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn part(&self, row_start: usize, columns: &Range<usize>) -> &mut [R] {
        assert!(columns.start <= columns.end && row_start + columns.end <= self.len);
        // SAFETY: in bounds by the assertion.
        unsafe {
            std::slice::from_raw_parts_mut(self.start.add(row_start + columns.start), columns.len())
        }
    }
}
