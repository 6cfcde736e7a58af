//! The commands of Slurm: `sbatch`, `scancel`, `scontrol`. `squeue` is in [`super::queue`].

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use defrost::{Error, Result, sanitize};

/// The size of arrays where the cluster does not say.
const MAX_ARRAY: usize = 1000;
/// The number of jobs that one `scancel` gets.
const CANCELLED_AT_ONCE: usize = 500;

/// A cluster; `None` is the one of this machine.
#[derive(Clone, Copy)]
pub struct Cluster<'a>(pub Option<&'a str>);

impl Cluster<'_> {
    /// Submits a script, and returns the id of the job. `options` are further options of `sbatch`.
    pub fn submit(&self, script: &Path, logs: &Path, after: &[String], options: &[String]) -> Result<String> {
        let mut command = self.command("sbatch");
        command.arg("--parsable");
        // A `%` of the path itself is doubled.
        let logs = logs.display().to_string().replace('%', "%%");
        command.arg(format!("--output={logs}/%A_%a.log"));
        if !after.is_empty() {
            command.arg(format!("--dependency=afterany:{}", after.join(":")));
        }
        let answer = ask(command.args(options).arg(script))?;
        // `id`, or `id;cluster`. Plugins of a cluster may print other lines before it.
        let id = answer.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let id = id.split(';').next().unwrap_or_default().trim();
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Error::failed(format!("`sbatch` answered `{}`, which is no job id", short(&answer)))
                .hint("look for the job with `squeue --me`, and cancel it with `scancel` if it is there"));
        }
        Ok(id.to_owned())
    }

    /// Cancels jobs or tasks of arrays.
    pub fn cancel(&self, ids: &[String]) -> Result<()> {
        ids.chunks(CANCELLED_AT_ONCE).try_for_each(|ids| ask(self.command("scancel").args(ids)).map(drop))
    }

    /// Puts a task of an array back into the queue. It is always named by array and index: the last task of an array has
    /// the id of the whole array as its own.
    pub fn requeue(&self, array: &str, index: usize) -> Result<()> {
        ask(self.command("scontrol").args(["requeue", &format!("{array}_{index}")])).map(drop)
    }

    /// The most tasks of an array.
    pub fn max_array(&self) -> Result<usize> {
        let text = ask(self.command("scontrol").args(["show", "config"]))?;
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix("MaxArraySize"));
        let size: Option<usize> =
            line.and_then(|line| line.trim_start().strip_prefix('=')?.trim().parse().ok());
        match size {
            // Indices are below the size.
            Some(size) if size > 1 => Ok(size),
            Some(_) => Err(Error::failed("this cluster allows no job arrays (MaxArraySize)")),
            None => Ok(MAX_ARRAY),
        }
    }

    /// A command that works on this cluster.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(self.0.iter().flat_map(|cluster| ["-M", cluster])).stdin(Stdio::null());
        command
    }
}

/// Runs a command of Slurm, and returns what it prints.
pub fn ask(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::failed(format!("`{name}` is not on this machine"))
            .hint("Slurm's commands are on the login nodes of a cluster; on one machine, `defrost run FILE --jobs N`"),
        _ => Error::failed(format!("cannot start `{name}`: {error}")),
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let given: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    let said = if text.trim().is_empty() { output.status.to_string() } else { short(&text) };
    Err(Error::failed(format!("`{name}` failed: {said}"))
        .hint(format!("the command was `{name} {}`", short(&given.join(" ")))))
}

/// The beginning of what a command printed, on one line.
fn short(text: &str) -> String {
    const MOST: usize = 400;
    let text = text.trim();
    let cut: String = text.chars().take(MOST).collect();
    let cut = if cut.len() < text.len() { cut + "…" } else { cut };
    sanitize::line(&cut.lines().map(str::trim).collect::<Vec<_>>().join("; ")).into_owned()
}
