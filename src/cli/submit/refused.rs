//! What `defrost submit` refuses: options of `sbatch` that it sets itself, and searches.

use std::path::Path;

use defrost::pipeline::refused_option;
use defrost::{Error, Result};

use super::super::session::LoadedRuns;

/// Refuses them among the options after `--`.
pub fn check(options: &[String]) -> Result<()> {
    for option in options {
        if let Some((name, instead)) = refused_option(option) {
            return Err(Error::usage(format!("`{name}` cannot be passed on to `sbatch`")).hint(instead));
        }
    }
    match options.first() {
        Some(first) if !first.starts_with('-') => {
            Err(Error::usage(format!("`{first}` is not an option of `sbatch`"))
                .hint("after `--` come options of `sbatch`, such as `--account=vision`"))
        }
        _ => Ok(()),
    }
}

/// A search decides after each rung what runs next, which no job of an array can know.
pub fn search(runs: &LoadedRuns, file: &Path) -> Result<()> {
    if runs.iter().all(|(run, _)| run.of_search.is_none()) {
        return Ok(());
    }
    let file = file.display();
    Err(Error::usage("a search cannot be submitted: what runs in a rung follows from the rung before").hint(format!(
        "run it in one job, such as `sbatch --cpus-per-task=8 --wrap \"defrost run {file} --jobs 4\"`: if the job ends early, \
         the same command continues; `defrost submit {file} --only sample=1` submits one sample"
    )))
}
