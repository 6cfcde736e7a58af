//! Signals: those that ask a run to stop, and the one for a file that exceeds the size limit.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use defrost::run::Interrupt;
use defrost::{Error, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU, SIGXFSZ};
use signal_hook::flag;

/// The request to stop, from signals that are listened to once it matters.
#[derive(Default)]
pub struct Stop {
    interrupt: Interrupt,
    listens: Cell<bool>,
}

impl Stop {
    /// From now on, signals no longer end the process but request a stop.
    pub fn listen(&self) -> Result<&Interrupt> {
        if !self.listens.replace(true) {
            stop_on_signals(&self.interrupt)?;
        }
        Ok(&self.interrupt)
    }
}

/// Which of the signals of a scheduler have arrived.
#[derive(Default)]
pub struct SchedulerSignals {
    notice: Arc<AtomicBool>,
    terminated: Arc<AtomicBool>,
}

impl SchedulerSignals {
    pub fn listen() -> Result<Self> {
        let signals = Self::default();
        for signal in [SIGUSR1, SIGUSR2] {
            flag::register(signal, Arc::clone(&signals.notice)).map_err(failed)?;
        }
        flag::register(SIGTERM, Arc::clone(&signals.terminated)).map_err(failed)?;
        Ok(signals)
    }

    /// SIGUSR1 or SIGUSR2: the time limit is near, or the user's signal before a preemption.
    pub fn notice(&self) -> bool {
        self.notice.load(Ordering::Relaxed)
    }

    /// SIGTERM: the scheduler ends the job, and decides whether it starts again.
    pub fn terminated(&self) -> bool {
        self.terminated.load(Ordering::Relaxed)
    }
}

/// Ctrl-C, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2 and SIGXCPU request a checkpoint and a clean stop. A second Ctrl-C ends
/// the process immediately.
fn stop_on_signals(interrupt: &Interrupt) -> Result<()> {
    flag::register_conditional_shutdown(SIGINT, 130, interrupt.flag()).map_err(failed)?;
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU] {
        // A process started with `nohup` continues after its terminal closes.
        if signal != SIGHUP || !is_ignored(SIGHUP) {
            flag::register(signal, interrupt.flag()).map_err(failed)?;
        }
    }
    Ok(())
}

fn failed(error: std::io::Error) -> Error {
    Error::failed(format!("cannot listen for signals: {error}"))
}

/// Turns writing past the file size limit into an error that names the file. Otherwise the signal would end the
/// process.
pub fn report_large_files() {
    // If this fails, the signal ends the process, as it does by default.
    let _ = flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
}

/// Whether the process was started with a signal ignored, if the system reports it.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
