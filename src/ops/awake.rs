//! The threads of a pool kept awake while a pass runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// While this lives, the other threads of the current pool look for work without pause.
///
/// A pass is hundreds of short parallel loops with a little work between them, in which a thread without work would go
/// to sleep, and waking it takes longer than many a loop. Made for the length of a pass, and not for waiting: what looks
/// for work takes every processor that nobody else wants.
pub struct Awake {
    over: Arc<AtomicBool>,
}

impl Awake {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (here, flag) = (rayon::current_thread_index(), Arc::clone(&over));
        rayon::spawn_broadcast(move |thread| {
            // The thread that the pass runs on must not wait for itself.
            while Some(thread.index()) != here && here.is_some() && !flag.load(Ordering::Acquire) {
                if rayon::yield_now() != Some(rayon::Yield::Executed) {
                    // Another process may need the processor more.
                    std::thread::yield_now();
                }
            }
        });
        Self { over }
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_and_the_pool_is_free_again() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        for _ in 0..100 {
            let sum = pool.install(|| {
                let _awake = Awake::new();
                let (a, b) = rayon::join(|| (0..1000u64).sum::<u64>(), || (1000..2000).sum::<u64>());
                a + b
            });
            assert_eq!(sum, 1_999_000);
        }
        // Every thread answers: none is left looking for work that has ended.
        assert_eq!(pool.broadcast(|thread| thread.index()), [0, 1, 2]);
    }
}
