//! Limits of memory and time for code that reads hostile input, and generation of inputs.
//!
//! A test that calls [`bounded`] or [`fuzz`] runs again in its own process. There an allocation beyond the limit
//! fails, an endless loop is killed, and an abort or a stack overflow ends only that process. Each is a failed
//! test.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use super::inputs::changed;

/// The variable that names the test to run within limits.
const INSIDE: &str = "DEFROST_FUZZ_INSIDE";
/// The variable with the duration of [`fuzz`] in seconds, instead of a fixed number of inputs.
const SECONDS: &str = "DEFROST_FUZZ_SECONDS";

/// Counts heap bytes, and rejects allocations beyond the limit.
pub struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);
/// Extra bytes for the failure message of a process at the limit.
const LAST_WORDS: usize = 4 << 20;

impl Counting {
    fn take(size: usize) -> bool {
        let live = LIVE.fetch_add(size, Relaxed).saturating_add(size);
        if live > LIMIT.load(Relaxed) {
            LIVE.fetch_sub(size, Relaxed);
            // The message needs memory too.
            let _ = LIMIT.fetch_update(Relaxed, Relaxed, |limit| Some(limit.saturating_add(LAST_WORDS)));
            return false;
        }
        PEAK.fetch_max(live, Relaxed);
        true
    }

    /// Starts counting; returns the peak above the bytes in use now.
    fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
        let before = LIVE.load(Relaxed);
        PEAK.store(before, Relaxed);
        let result = work();
        (result, PEAK.load(Relaxed) - before)
    }
}

// SAFETY: every block is the system's; an allocator reports failure with a null pointer.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !Self::take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !Self::take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new block may exist at once.
        if !Self::take(size) {
            return std::ptr::null_mut();
        }
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Runs `work`, a closure written in the test itself, with at most `memory` bytes of heap and for at most `time`.
///
/// # Panics
/// It panics, aborts, overflows its stack, or exceeds a limit.
pub fn bounded<F: FnOnce()>(memory: usize, time: Duration, work: F) {
    apart(test_of::<F>(), memory, time, work);
}

/// The limits for reading one input.
#[derive(Clone, Copy)]
pub struct Bounds {
    /// Heap bytes for any input.
    pub memory: usize,
    /// Further heap bytes per byte of input.
    pub memory_per_byte: usize,
    pub time: Duration,
}

/// Reads every file of `tests/fuzz/corpus/FORMAT`, then changed ones and random bytes, each within `bounds`.
///
/// `read` is a closure defined in the test itself. It may reject the input, and asserts other properties.
/// Without `DEFROST_FUZZ_SECONDS`, it tries `cases` inputs, the same in every run.
///
/// # Panics
/// An input exceeds the bounds or fails an assertion. The message names the file that keeps it.
pub fn fuzz<F: Fn(&[u8])>(format: &str, cases: u32, bounds: Bounds, read: F) {
    let seconds = std::env::var(SECONDS).ok().map(|text| text.parse::<u64>().expect("whole seconds"));
    let long = seconds.map(Duration::from_secs);
    let memory = 64 << 20;
    let whole = Duration::from_secs(300) + long.unwrap_or_default();
    let kept = kept(format);
    apart(test_of::<F>(), memory + 4 * bounds.memory, whole, || {
        let seeds = corpus(format);
        for (path, bytes) in &seeds {
            eprintln!("reading {}", path.display());
            within(bounds, bytes, &read);
        }
        let seeds: Vec<Vec<u8>> = seeds.into_iter().map(|(_, bytes)| bytes).collect();
        let begin = Instant::now();
        let mut round = 0u64;
        loop {
            round += 1;
            random_inputs(&seeds, cases, round, |input| {
                std::fs::write(&kept, input).expect("the input is kept");
                within(bounds, input, &read);
            });
            if long.is_none_or(|long| begin.elapsed() >= long) {
                eprintln!("{} inputs in {:.1} s", round * u64::from(cases), begin.elapsed().as_secs_f64());
                break;
            }
        }
        std::fs::remove_file(&kept).expect("no input is kept");
    });
}

/// The committed inputs of a format, by path.
pub fn corpus(format: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(format);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn within(bounds: Bounds, input: &[u8], read: &impl Fn(&[u8])) {
    let begin = Instant::now();
    let ((), peak) = Counting::peak_of(|| read(input));
    let allowed = bounds.memory + bounds.memory_per_byte * input.len();
    assert!(peak <= allowed, "{peak} bytes of heap for an input of {}, {allowed} allowed", input.len());
    let time = begin.elapsed();
    assert!(time <= bounds.time, "{time:?} for an input of {} bytes", input.len());
}

/// Shrinks an input that makes `read` panic, and panics with its message.
fn random_inputs(seeds: &[Vec<u8>], cases: u32, round: u64, read: impl Fn(&[u8])) {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 4096, ..Config::default() };
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&round.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let verdict = runner.run(&changed(seeds.to_vec()), |input| {
        read(&input.0);
        Ok(())
    });
    match verdict {
        Ok(()) => {}
        // Again, so that the smallest input is the one in the file and the message.
        Err(TestError::Fail(reason, input)) => {
            read(&input.0);
            panic!("{reason}");
        }
        Err(error) => panic!("{error}"),
    }
}

/// The path of the test that defines the closure `F`, as the test binary knows it.
fn test_of<F>() -> &'static str {
    let name = std::any::type_name::<F>();
    let name = name.split_once("::").map_or(name, |(_, path)| path);
    name.split("::{{closure}}").next().unwrap_or(name)
}

/// The file that keeps the current input, for investigating a failure.
fn kept(format: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    std::fs::create_dir_all(&folder).expect("a folder for the input at hand");
    folder.join(format!("{format}.input"))
}

fn apart(test: &str, memory: usize, time: Duration, work: impl FnOnce()) {
    if std::env::var(INSIDE).is_ok_and(|inside| inside == test) {
        LIMIT.store(LIVE.load(Relaxed).saturating_add(memory), Relaxed);
        work();
        LIMIT.store(usize::MAX, Relaxed);
        return;
    }
    let program = std::env::current_exe().expect("a test knows its binary");
    let said = tempfile::NamedTempFile::new().expect("a file for what the process says");
    // One file offset for both streams, so that neither overwrites the other.
    let handle = || said.as_file().try_clone().expect("the file is open");
    let mut child = Command::new(program)
        .args([test, "--exact", "--nocapture", "--include-ignored"])
        .env(INSIDE, test)
        // A backtrace needs memory, and hides the message.
        .env("RUST_BACKTRACE", "0")
        .stdout(handle())
        .stderr(handle())
        .spawn()
        .expect("the test binary starts");
    let status = wait(&mut child, time);
    let said = std::fs::read_to_string(said.path()).unwrap_or_else(|error| error.to_string());
    let (lines, kept) = (tail(&said), Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz"));
    let kept = format!("the input at hand, if it is not a committed one, is in {}", kept.display());
    match status {
        None => panic!("still running after {time:?}\n{lines}\n{kept}"),
        Some(status) if !status.success() => panic!("{status}\n{lines}\n{kept}"),
        Some(_) => assert!(said.contains("1 passed"), "`{test}` did not run\n{lines}"),
    }
    eprintln!("{lines}");
}

/// `None` if it runs longer; then it is killed.
fn wait(child: &mut Child, time: Duration) -> Option<ExitStatus> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("the process can be waited for") {
            return Some(status);
        }
        if begin.elapsed() > time {
            child.kill().and_then(|()| child.wait().map(drop)).expect("the process can be killed");
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn tail(said: &str) -> String {
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

mod tests {
    use super::*;

    const BOMB: &str = "DEFROST_FUZZ_BOMB";
    const MINUTE: Duration = Duration::from_secs(60);

    /// Simulates a recursive reader: the stack overflows before the last call.
    fn deep(calls: usize) -> usize {
        let frame = std::hint::black_box([calls; 64]);
        if calls == 0 { 0 } else { std::hint::black_box(deep as fn(usize) -> usize)(calls - 1) + frame[7] }
    }

    #[test]
    fn a_bomb_is_a_failure() {
        if let Ok(bomb) = std::env::var(BOMB) {
            return match bomb.as_str() {
                "memory" => bounded(1 << 20, MINUTE, || drop(std::hint::black_box(vec![1u8; 2 << 20]))),
                "stack" => bounded(1 << 20, MINUTE, || {
                    std::hint::black_box(deep(100_000_000));
                }),
                "panic" => bounded(1 << 20, MINUTE, || panic!("as asked")),
                _ => bounded(1 << 20, Duration::from_secs(1), || {
                    loop {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                }),
            };
        }
        for (bomb, expected) in [
            ("memory", "allocation"),
            ("stack", "overflow"),
            ("panic", "as asked"),
            ("time", "still running"),
        ] {
            let mut tried = Command::new(std::env::current_exe().unwrap());
            let test = "support::tests::a_bomb_is_a_failure";
            let tried = tried.args([test, "--exact", "--nocapture"]).env(BOMB, bomb).output().unwrap();
            let said = String::from_utf8_lossy(&tried.stderr);
            assert!(!tried.status.success() && said.contains(expected), "{bomb}: {said}");
        }
    }

    #[test]
    fn an_input_that_takes_too_much_for_its_length_is_a_failure() {
        bounded(64 << 20, MINUTE, || {
            let bounds = Bounds { memory: 100, memory_per_byte: 1, time: MINUTE };
            let take = |input: &[u8]| drop(std::hint::black_box(vec![1u8; 150.max(input.len())]));
            assert!(std::panic::catch_unwind(|| within(bounds, &[0; 20], &take)).is_err());
            within(bounds, &[0; 100], &take);
        });
    }
}
