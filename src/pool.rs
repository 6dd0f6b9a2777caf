//! One small thread pool per trainer: a short spin, then sleep.
//!
//! Pools that spin for ever collapse when cores are shared, and a training step has hundreds of
//! short parallel regions, so sleeping at once would cost as much as the work. Work is cut into
//! pieces by the caller, never by the number of threads, so sums come out the same on any pool.

use std::{
    cell::UnsafeCell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

/// About twenty microseconds: longer than the serial gaps inside a step, shorter than an evaluation.
const SPINS: u32 = 4_000;

type Job = *const (dyn Fn(usize) + Sync);

struct Shared {
    generation: AtomicU64,
    /// Written by the caller before `generation` moves, read by workers after they see it move.
    job: UnsafeCell<Option<Job>>,
    working: AtomicUsize,
    panicked: AtomicBool,
    stop: AtomicBool,
    sleepers: Mutex<usize>,
    wake: Condvar,
}

// SAFETY: `job` is written only while no worker runs (`working` is 0) and `generation`'s
// release/acquire pair orders the write before every read.
unsafe impl Sync for Shared {}
// SAFETY: as above; the raw pointer in `job` never outlives `Pool::run`.
unsafe impl Send for Shared {}

/// `threads` threads, the caller's included.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Of each thread's share of a region's pieces, the next that nobody has taken. The lock on
    /// all of them is what makes regions come one at a time.
    shares: Mutex<Box<[Share]>>,
}

/// On a cache line of its own.
#[repr(align(64))]
#[derive(Default)]
struct Share {
    next: AtomicUsize,
    end: usize,
}

impl Pool {
    /// A pool of `threads` threads (at least one: the caller's own).
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            generation: AtomicU64::new(0),
            job: UnsafeCell::new(None),
            working: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            sleepers: Mutex::new(0),
            wake: Condvar::new(),
        });
        let workers = (1..threads.max(1))
            .map(|idx| {
                let shared = shared.clone();
                std::thread::spawn(move || work(&shared, idx))
            })
            .collect();
        Self {
            shared,
            workers,
            shares: Mutex::new((0..threads.max(1)).map(|_| Share::default()).collect()),
        }
    }

    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `f(thread)` once on every thread and returns when all are done. The caller holds the
    /// lock on the shares.
    fn run(&self, f: &(dyn Fn(usize) + Sync)) {
        let s = &*self.shared;
        // SAFETY: the lifetime is erased only until the wait below, before `f` goes out of scope.
        let job: Job = unsafe { std::mem::transmute(std::ptr::from_ref(f)) };
        // SAFETY: `working` is 0, so no worker reads `job`; `generation` publishes it.
        unsafe { *s.job.get() = Some(job) };
        s.working.store(self.workers.len(), Ordering::Relaxed);
        {
            let sleepers = lock(&s.sleepers);
            s.generation.fetch_add(1, Ordering::Release);
            if *sleepers > 0 {
                s.wake.notify_all();
            }
        }
        let mine = catch_unwind(AssertUnwindSafe(|| f(0)));
        let mut spins = 0;
        while s.working.load(Ordering::Acquire) != 0 {
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        if mine.is_err() || s.panicked.swap(false, Ordering::Relaxed) {
            panic!("a parallel region panicked");
        }
    }

    /// Calls `f(piece)` for every piece in `0..pieces`, each once. Neighbours share a thread, which
    /// has last touched the same rows in its cache; a thread that is done takes over pieces of one
    /// that is late.
    pub fn each(&self, pieces: usize, f: impl Fn(usize) + Sync) {
        let threads = self.threads();
        if threads.min(pieces) <= 1 {
            return (0..pieces).for_each(f);
        }
        let mut shares = lock(&self.shares);
        for (thread, share) in shares.iter_mut().enumerate() {
            *share.next.get_mut() = thread * pieces / threads;
            share.end = (thread + 1) * pieces / threads;
        }
        let shares = &*shares;
        self.run(&|thread| {
            for share in shares[thread..].iter().chain(&shares[..thread]) {
                loop {
                    let piece = share.next.fetch_add(1, Ordering::Relaxed);
                    if piece >= share.end {
                        break;
                    }
                    f(piece);
                }
            }
        });
    }

    /// Cuts `out` in pieces of `len` (the last may be shorter): `f(piece, &mut out[piece])`.
    pub fn pieces<A: Send>(&self, out: &mut [A], len: usize, f: impl Fn(usize, &mut [A]) + Sync) {
        let parts = Parts::new(out, len);
        self.each(parts.count(), |i| {
            // SAFETY: `each` hands every index out once.
            f(i, unsafe { parts.get(i) });
        });
    }

    /// The same over two slices that are cut into equally many pieces.
    pub fn pieces2<A: Send, B: Send>(
        &self,
        (a, a_len): (&mut [A], usize),
        (b, b_len): (&mut [B], usize),
        f: impl Fn(usize, &mut [A], &mut [B]) + Sync,
    ) {
        let (a, b) = (Parts::new(a, a_len), Parts::new(b, b_len));
        assert_eq!(a.count(), b.count(), "slices cut into as many pieces");
        self.each(a.count(), |i| {
            // SAFETY: `each` hands every index out once.
            f(i, unsafe { a.get(i) }, unsafe { b.get(i) });
        });
    }

    /// The same over three.
    pub fn pieces3<A: Send, B: Send, C: Send>(
        &self,
        (a, a_len): (&mut [A], usize),
        (b, b_len): (&mut [B], usize),
        (c, c_len): (&mut [C], usize),
        f: impl Fn(usize, &mut [A], &mut [B], &mut [C]) + Sync,
    ) {
        let c = Parts::new(c, c_len);
        self.pieces2((a, a_len), (b, b_len), |i, a, b| {
            // SAFETY: `pieces2` hands every index out once.
            f(i, a, b, unsafe { c.get(i) });
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        {
            let _sleepers = lock(&self.shared.sleepers);
            self.shared.generation.fetch_add(1, Ordering::Release);
            self.shared.wake.notify_all();
        }
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

/// A slice that several threads write, each its own pieces.
struct Parts<A> {
    start: *mut A,
    total: usize,
    len: usize,
}

// SAFETY: pieces are disjoint and each is handed to one thread (`get`'s contract).
unsafe impl<A: Send> Sync for Parts<A> {}

impl<A> Parts<A> {
    fn new(slice: &mut [A], len: usize) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            total: slice.len(),
            len: len.max(1),
        }
    }

    fn count(&self) -> usize {
        self.total.div_ceil(self.len)
    }

    /// SAFETY: each index at most once while the slice is borrowed.
    #[allow(clippy::mut_from_ref)]
    unsafe fn get(&self, index: usize) -> &mut [A] {
        let first = index * self.len;
        assert!(first < self.total);
        // SAFETY: in bounds by the assertion; disjoint from other indices by construction.
        unsafe {
            std::slice::from_raw_parts_mut(self.start.add(first), self.len.min(self.total - first))
        }
    }
}

fn work(s: &Shared, thread: usize) {
    let mut seen = 0;
    loop {
        let mut spins = 0;
        while s.generation.load(Ordering::Acquire) == seen {
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop();
                continue;
            }
            let mut sleepers = lock(&s.sleepers);
            *sleepers += 1;
            while s.generation.load(Ordering::Acquire) == seen {
                sleepers = s
                    .wake
                    .wait(sleepers)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            *sleepers -= 1;
        }
        seen += 1;
        if s.stop.load(Ordering::Relaxed) {
            return;
        }
        // SAFETY: `run` wrote the job before it moved `generation`, and waits for `working`.
        let job = unsafe { *s.job.get() };
        if let Some(job) = job {
            // SAFETY: `run` keeps the closure alive until `working` is 0.
            if catch_unwind(AssertUnwindSafe(|| unsafe { (*job)(thread) })).is_err() {
                s.panicked.store(true, Ordering::Relaxed);
            }
        }
        s.working.fetch_sub(1, Ordering::Release);
    }
}

/// A poisoned lock guards plain counters here, which stay meaningful.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_visited_once_at_any_thread_count() {
        for threads in 1..5 {
            let pool = Pool::new(threads);
            for n in [0, 1, 2, 7, 1000] {
                let mut visits = vec![0u32; n];
                pool.pieces(&mut visits, 3, |_, piece| {
                    piece.iter_mut().for_each(|v| *v += 1)
                });
                assert!(
                    visits.iter().all(|v| *v == 1),
                    "{threads} threads, {n} items"
                );
            }
        }
    }

    #[test]
    fn a_thousand_regions_with_sleeps_between_lose_no_wake_up() {
        let pool = Pool::new(3);
        let sum = AtomicUsize::new(0);
        for i in 0..1000 {
            pool.each(3, |_| {
                sum.fetch_add(1, Ordering::Relaxed);
            });
            if i % 100 == 0 {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        }
        assert_eq!(sum.into_inner(), 3000);
    }

    #[test]
    fn a_panic_in_a_worker_reaches_the_caller() {
        let pool = Pool::new(2);
        let result = catch_unwind(AssertUnwindSafe(|| {
            pool.each(2, |i| assert_ne!(i, 1));
        }));
        assert!(result.is_err());
        pool.each(2, |_| {});
    }
}
