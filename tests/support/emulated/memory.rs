//! Memory in which a step too far is seen: a page that faults before and behind each allocation, marks
//! in what is left of its pages, NaN until it is written, and nothing at all once it is freed.

use std::{
    collections::{BTreeMap, VecDeque},
    ptr, slice,
};
use windtunnel::device::gpu::At;

const PAGE: usize = 4096;

/// Where allocations end, and so begin: kernels load at most 16 bytes at once. A real device gives
/// multiples of 256, but then up to 255 bytes too far would go unseen here.
const ALIGNMENT: usize = 16;

/// NaN as bf16 and as f32.
const POISON: [u8; 2] = 0x7fe1_u16.to_le_bytes();

/// Of the bytes around an allocation that belong to nobody.
const MARK: u8 = 0xa5;

/// How much of them is looked at.
const MARKED: usize = 64;

/// Freed ones whose addresses are not used again, so that what still points there faults.
const QUARANTINE: usize = 512;

#[derive(Debug)]
struct Allocation {
    /// Of the whole mapping, whose first and last page fault.
    base: usize,
    mapped: usize,
    bytes: usize,
}

#[derive(Debug)]
pub struct Memory {
    live: BTreeMap<At, Allocation>,
    freed: VecDeque<(At, Allocation)>,
    pub used: u64,
    pub total: u64,
}

impl Memory {
    pub fn new(total: u64) -> Self {
        Self {
            live: BTreeMap::new(),
            freed: VecDeque::new(),
            used: 0,
            total,
        }
    }

    /// Nothing where more would be in use than there is.
    pub fn alloc(&mut self, bytes: usize) -> Option<At> {
        if bytes as u64 > self.total.saturating_sub(self.used) {
            return None;
        }
        let room = bytes.max(1).next_multiple_of(PAGE);
        let mapped = room + 2 * PAGE;
        let base = map(mapped);
        let at = base + PAGE + room - bytes.max(1).next_multiple_of(ALIGNMENT);
        protect(base, PAGE);
        protect(base + PAGE + room, PAGE);
        // SAFETY: between the two pages there are `room` bytes, mapped just now and known to no one else.
        let all = unsafe { slice::from_raw_parts_mut((base + PAGE) as *mut u8, room) };
        all.fill(MARK);
        let begin = at - base - PAGE;
        for (i, byte) in all[begin..begin + bytes].iter_mut().enumerate() {
            *byte = POISON[i % 2];
        }
        self.used += bytes as u64;
        let allocation = Allocation {
            base,
            mapped,
            bytes,
        };
        self.live.insert(at as At, allocation);
        Some(at as At)
    }

    /// Panics when `at` is not an allocation's, or bytes around it were written.
    pub fn free(&mut self, at: At) {
        let Some(allocation) = self.live.remove(&at) else {
            panic!("{at:#x} is freed, but it was not allocated, or freed before");
        };
        allocation.check(at);
        protect(allocation.base, allocation.mapped);
        self.used -= allocation.bytes as u64;
        self.freed.push_back((at, allocation));
        if self.freed.len() > QUARANTINE
            && let Some((_, oldest)) = self.freed.pop_front()
        {
            oldest.unmap();
        }
    }

    /// Panics when bytes around an allocation were written.
    pub fn check(&self) {
        for (&at, allocation) in &self.live {
            allocation.check(at);
        }
    }

    /// What these bytes are, if they are not all in one allocation: "4 bytes past the end of 4096 bytes".
    pub fn outside(&self, at: At, bytes: usize) -> Option<String> {
        let inside = self.live.range(..=at).next_back();
        let end = at.saturating_add(bytes as At);
        match inside {
            Some((&begin, it)) if end <= begin + it.bytes as At => None,
            _ => Some(self.describe(end.max(at + 1) - 1)),
        }
    }

    /// Where an address is that is in no allocation.
    pub fn describe(&self, at: At) -> String {
        let near = |begin: At, it: &Allocation| {
            let (begin, end) = (begin as i128, begin as i128 + it.bytes as i128);
            (begin - at as i128).max(at as i128 - end)
        };
        let live = self
            .live
            .iter()
            .map(|(&begin, it)| (begin, it, "allocated"));
        let freed = self.freed.iter().map(|(begin, it)| (*begin, it, "freed"));
        let nearest = live
            .chain(freed)
            .min_by_key(|&(begin, it, _)| near(begin, it));
        match nearest {
            Some((begin, it, state)) if near(begin, it) < (1 << 20) => {
                let offset = at as i128 - begin as i128;
                format!("byte {offset} of {} bytes that are {state}", it.bytes)
            }
            _ => format!("{at:#x}, near nothing that was allocated"),
        }
    }
}

impl Allocation {
    fn check(&self, at: At) {
        let (at, begin) = (at as usize, self.base + PAGE);
        let end = self.base + self.mapped - PAGE;
        for (from, to) in [(begin.max(at - MARKED), at), (at + self.bytes, end)] {
            // SAFETY: both lie between the mapping's first and last page.
            let around = unsafe { slice::from_raw_parts(from as *const u8, to - from) };
            if let Some(i) = around.iter().position(|&byte| byte != MARK) {
                let offset = (from + i) as i64 - at as i64;
                panic!(
                    "byte {offset} of an allocation of {} bytes was written",
                    self.bytes
                );
            }
        }
    }

    fn unmap(&self) {
        // SAFETY: the mapping is ours, and no allocation that anyone may use lies in it.
        unsafe { libc::munmap(self.base as *mut libc::c_void, self.mapped) };
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        for allocation in self
            .live
            .values()
            .chain(self.freed.iter().map(|(_, it)| it))
        {
            allocation.unmap();
        }
    }
}

fn map(bytes: usize) -> usize {
    // SAFETY: a new mapping, of nothing.
    let at = unsafe {
        libc::mmap(
            ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(at, libc::MAP_FAILED, "mmap of {bytes} bytes");
    at as usize
}

/// Makes pages fault, and gives back what they held.
fn protect(at: usize, bytes: usize) {
    // SAFETY: whole pages of a mapping of ours.
    let failed = unsafe {
        libc::madvise(at as *mut libc::c_void, bytes, libc::MADV_DONTNEED);
        libc::mprotect(at as *mut libc::c_void, bytes, libc::PROT_NONE)
    };
    assert_eq!(failed, 0, "mprotect of {bytes} bytes");
}
