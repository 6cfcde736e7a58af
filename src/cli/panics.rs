//! A panic is reported as a bug, with its location, and then as any other error: exit code 1, one JSON document.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::{Mutex, PoisonError};

use defrost::{Error, Result, data};

use super::console::tell;

/// The message of the first panic. Later panics follow from it.
static FIRST: Mutex<Option<String>> = Mutex::new(None);

/// Runs a command. A panic becomes an error that the caller prints. If another thread panicked first, that panic is the
/// cause.
pub fn guarded<T>(command: impl FnOnce() -> Result<T>) -> Result<T> {
    set_hook(Box::new(|panic| {
        // The caller of the decoder reports it, with the name of the broken file.
        if data::is_decoding() {
            return;
        }
        let place = panic.location().map(|place| format!("{place}: ")).unwrap_or_default();
        let words = format!("{place}{}", message(panic.payload()));
        let trace = Backtrace::capture();
        if trace.status() == BacktraceStatus::Captured {
            tell(format_args!("panicked at {words}\n{trace}"));
        }
        FIRST.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(words);
    }));
    // Nothing of the command's state is used again: the process prints the error and exits.
    let outcome = catch_unwind(AssertUnwindSafe(command));
    outcome.unwrap_or_else(|payload| {
        let words = FIRST.lock().unwrap_or_else(PoisonError::into_inner).take();
        Err(unexpected(&words.unwrap_or_else(|| message(&*payload).to_owned())))
    })
}

fn unexpected(words: &str) -> Error {
    let mut error = Error::bug(format!("panicked at {words}"));
    if let Some(hint) = &mut error.hint {
        hint.push_str("; finished stages are kept: run the same command again to continue");
    }
    error
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let owned = || payload.downcast_ref::<String>().map(String::as_str);
    payload.downcast_ref::<&str>().copied().or_else(owned).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use defrost::error::ErrorKind;

    use super::*;

    #[test]
    fn a_panic_is_a_bug_that_names_its_place() {
        let error = guarded::<()>(|| panic!("an epoch of {} batches", 0)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Bug);
        assert!(error.message.starts_with("panicked at src/cli/panics.rs:"), "{error}");
        assert!(error.message.ends_with(": an epoch of 0 batches"), "{error}");
        assert!(error.hint.unwrap().contains("run the same command again"));
        // If a spawned thread panics first, its message is reported as the cause of the panic that follows in the
        // parent thread.
        let error = guarded::<()>(|| {
            let thread = std::thread::spawn(|| panic!("the cause"));
            thread.join().map_err(|_| ()).expect("a thread panicked");
            Ok(())
        });
        assert!(error.unwrap_err().message.ends_with("the cause"));
        assert_eq!(guarded(|| Ok(1)).unwrap(), 1);
    }
}
