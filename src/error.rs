//! The one error of the library: what went wrong, whose move it is, and what to do about it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crate::regular::Refused;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whose move it is; the binary turns it into the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The file, an input or the command line is wrong: exit code 2.
    Usage,
    /// Something failed while running: exit code 1.
    Failed,
    /// Stopped on request, resumable: exit code 130.
    Interrupted,
}

/// An error that names the thing, the place and the cause, and where possible the cure.
///
/// `message` is lowercase and without a full stop; `hint` is one imperative sentence.
#[derive(Debug)]
pub struct Error {
    pub kind: Kind,
    pub message: String,
    pub hint: Option<String>,
    /// More that is wrong, found in the same pass.
    pub others: Vec<Error>,
}

impl Error {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, others: Vec::new() }
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    pub fn interrupted(message: impl Into<String>) -> Self {
        Self::new(Kind::Interrupted, message)
    }

    /// An I/O failure on a path: `cannot read `x.toml`: permission denied`.
    pub fn io(action: &str, path: &Path, error: std::io::Error) -> Self {
        let cause = match error.kind() {
            // It says more than its kind does.
            _ if error.get_ref().is_some_and(|cause| cause.is::<Refused>()) => error.to_string(),
            std::io::ErrorKind::NotFound => "no such file or folder".to_owned(),
            std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            _ => error.to_string(),
        };
        Self::failed(format!("cannot {action} `{}`: {cause}", path.display()))
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what was being done when the error came: `stage `frozen`: …`.
    pub fn within(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    pub fn as_usage(mut self) -> Self {
        self.kind = Kind::Usage;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::failed(format!("tensor error: {error}"))
    }
}

/// What is wrong with one input: the first mistakes as they are, the rest counted by kind.
#[derive(Debug, Default)]
pub struct Mistakes {
    kept: Vec<Error>,
    more: BTreeMap<&'static str, usize>,
}

impl Mistakes {
    /// As many as a person reads.
    const KEPT: usize = 40;

    /// `kind` is what such a mistake is called: `image that cannot be read`.
    pub fn add(&mut self, kind: &'static str, error: Error) {
        match self.kept.len() < Self::KEPT {
            true => self.kept.push(error),
            false => *self.more.entry(kind).or_default() += 1,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.kept.len() + self.more.values().sum::<usize>()
    }

    /// # Errors
    /// The first mistake with all others, if there is one.
    pub fn into_result(self) -> Result<()> {
        let mut all = self.kept.into_iter();
        let Some(mut first) = all.next() else { return Ok(()) };
        first.others.extend(all);
        if !self.more.is_empty() {
            let kinds: Vec<String> =
                self.more.iter().map(|(kind, count)| format!("{kind}: {count}")).collect();
            let count: usize = self.more.values().sum();
            first.others.push(Error::usage(format!("{count} more mistakes ({})", kinds.join(", "))));
        }
        Err(first)
    }

    /// All of them with another one, after which no more can be looked for.
    pub fn with(self, last: Error) -> Error {
        match self.into_result() {
            Ok(()) => last,
            Err(mut first) => {
                first.others.push(last);
                first
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_mistakes_are_counted_by_kind() {
        assert!(Mistakes::default().into_result().is_ok());
        let mut mistakes = Mistakes::default();
        for i in 0..45 {
            let kind = if i % 2 == 0 { "even" } else { "odd" };
            mistakes.add(kind, Error::usage(format!("{i}")));
        }
        let error = mistakes.into_result().unwrap_err();
        assert_eq!((error.message.as_str(), error.others.len()), ("0", 40));
        assert_eq!(error.others[39].message, "5 more mistakes (even: 3, odd: 2)");
    }
}
