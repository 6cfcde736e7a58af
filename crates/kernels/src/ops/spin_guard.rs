//! Keeps the threads of a pool spinning during a pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A thread that found no work this often goes to sleep, after about a millisecond.
///
/// It must not spin until the end of the pass unconditionally: the spin job may run on a thread that waits in
/// the middle of another job (rayon also sends broadcasts to waiting threads), and the pass cannot end before
/// that job does.
const PATIENCE: u32 = 5_000;

/// While this value exists, the other threads of the current pool look for work without sleeping.
///
/// A pass is hundreds of short parallel loops with little work between them. An idle thread would go to sleep,
/// and waking it takes longer than many of the loops. Use it for the length of a pass, never while waiting:
/// spinning threads use every free processor.
pub struct SpinGuard {
    over: Arc<AtomicBool>,
}

impl SpinGuard {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let Some(here) = rayon::current_thread_index().filter(|_| rayon::current_num_threads() > 1) else {
            return Self { over };
        };
        let flag = Arc::clone(&over);
        rayon::spawn_broadcast(move |thread| {
            // The pass's own thread must not wait for itself.
            if thread.index() == here {
                return;
            }
            let mut in_vain = 0;
            while !flag.load(Ordering::Acquire) && in_vain < PATIENCE {
                if rayon::yield_now() == Some(rayon::Yield::Executed) {
                    in_vain = 0;
                } else {
                    in_vain += 1;
                    // Another process may need the processor.
                    std::thread::yield_now();
                }
            }
        });
        Self { over }
    }
}

impl Drop for SpinGuard {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};
    use std::time::Duration;

    use super::*;

    #[test]
    fn work_is_done_and_the_pool_is_free_again() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        for _ in 0..100 {
            let sum = pool.install(|| {
                let _awake = SpinGuard::new();
                let (a, b) = rayon::join(|| (0..1000u64).sum::<u64>(), || (1000..2000).sum::<u64>());
                a + b
            });
            assert_eq!(sum, 1_999_000);
        }
        // Every thread answers: none still looks for work that has ended.
        assert_eq!(pool.broadcast(|thread| thread.index()), [0, 1, 2]);
    }

    /// The pass waits for a job whose thread was sent to spin from within it.
    #[test]
    fn a_thread_that_is_in_the_middle_of_a_job_comes_back_to_it() {
        let (done, wait) = mpsc::channel();
        std::thread::spawn(move || {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
            let (begun, awake) = (AtomicBool::new(false), Mutex::new(None));
            pool.install(|| {
                let pass = || {
                    until(|| begun.load(Ordering::Acquire));
                    *awake.lock().unwrap() = Some(SpinGuard::new());
                };
                let job = || {
                    begun.store(true, Ordering::Release);
                    until(|| awake.lock().unwrap().is_some());
                    // What a waiting thread does: it takes available work.
                    rayon::yield_now();
                };
                rayon::join(pass, job);
            });
            done.send(()).unwrap();
        });
        wait.recv_timeout(Duration::from_secs(60)).expect("the job ends, and with it the pass");
    }

    fn until(condition: impl Fn() -> bool) {
        while !condition() {
            std::thread::yield_now();
        }
    }
}
