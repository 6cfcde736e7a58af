//! `[run.slurm]`: what `defrost submit` asks a Slurm cluster for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::Node;
use super::unchecked::UncheckedPipeline;

/// What each run asks a Slurm cluster for, with `defrost submit`. Other commands ignore it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Slurm {
    /// The partition, or several separated by commas. Without it, the cluster's default.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_.][A-Za-z0-9_.,-]*$"), length(max = 200))]
    pub partition: Option<String>,
    /// The time limit of each run: `HH:MM:SS` or `D-HH:MM:SS`. A run that needs longer saves a checkpoint before the limit
    /// and continues as a new job. Without it, the partition's default.
    #[schemars(regex(pattern = r"^([0-9]{1,3}-)?[0-9]{1,3}:[0-5][0-9]:[0-5][0-9]$"))]
    pub time: Option<String>,
    /// Number of GPUs. A run computes on one. For a GPU of a certain type, use `extra`, such as `--gres=gpu:a100:1`.
    #[schemars(range(min = 1, max = 64))]
    pub gpus: Option<u32>,
    /// Number of processors, which is also the number of compute threads if `run.threads` is not set.
    #[schemars(range(min = 1, max = 1024))]
    pub cpus: Option<u32>,
    /// Memory, such as `16GiB`. Without it, the partition's default.
    #[schemars(regex(pattern = r"^[0-9]{1,6} ?(MB|GB|TB|MiB|GiB|TiB)$"))]
    pub memory: Option<String>,
    /// The cluster, if there are several. It is passed to every command of Slurm.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"), length(max = 100))]
    pub cluster: Option<String>,
    /// The most runs at a time. Without it, as many as the cluster starts.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_parallel: Option<u32>,
    /// Lines of shell that each job runs first, such as `module load cuda`. If one fails, the job fails.
    #[schemars(inner(length(min = 1, max = 4000)), length(max = 100))]
    pub setup: Vec<String>,
    /// Further options of `sbatch`, such as `--account=vision`.
    #[schemars(inner(regex(pattern = r"^-.+$")), length(max = 100))]
    pub extra: Vec<String>,
}

/// Options of `sbatch` that a submission sets itself, by long and short name, and what to do instead.
const OWN_OPTIONS: [(&[&str], &str); 12] = [
    (&["--array", "-a"], "the runs of the file are the tasks: select some with `--only`"),
    (
        &["--clusters", "--cluster", "-M"],
        "set `cluster` in `[run.slurm]`, which reaches every command of Slurm",
    ),
    (
        &["--dependency", "-d"],
        "runs depend on the stages that they share; wait for another job with `--begin`",
    ),
    (&["--signal"], "a run saves a checkpoint 2 minutes before its time limit"),
    (&["--requeue"], "runs are always requeued"),
    (&["--no-requeue"], "runs continue from their checkpoint after a requeue"),
    (&["--open-mode"], "logs are always appended to"),
    (
        &["--output", "-o", "--error", "-e"],
        "logs are in the folder of the submission, which `defrost status` shows",
    ),
    (&["--chdir", "-D"], "a run works in the folder in which it was submitted"),
    (
        &["--parsable", "--quiet", "-Q", "--wait", "-W"],
        "`defrost submit` reads the answer of `sbatch` itself",
    ),
    (&["--wrap", "--test-only"], "see what would be submitted with `defrost submit FILE --dry-run`"),
    (&["--ntasks", "-n", "--nodes", "-N"], "a run is one task on one node"),
];

/// Why an option of `sbatch` cannot be passed on, if so: the option by its name, and what to do instead.
pub fn refused_option(option: &str) -> Option<(&'static str, &'static str)> {
    let name = option.split(['=', ' ']).next().unwrap_or(option);
    let is_own = |own: &str| {
        // Short options have their value attached: `-n4`.
        name == own || (own.len() == 2 && name.starts_with(own) && !name.starts_with("--"))
    };
    OWN_OPTIONS
        .iter()
        .find_map(|(names, instead)| names.iter().find(|own| is_own(own)).map(|own| (*own, *instead)))
}

/// Checks what the schema cannot express.
pub(super) fn check(draft: &mut UncheckedPipeline) {
    let extra = draft.get("run.slurm.extra").map(Node::items).unwrap_or_default();
    for option in extra {
        if let Some((name, instead)) = option.text().and_then(refused_option) {
            let message = format!("`{name}` cannot be passed on to `sbatch`");
            draft.report(option.span(), "conflict", message, instead.to_owned());
        }
    }
    let setup = draft.get("run.slurm.setup").map(Node::items).unwrap_or_default();
    for line in setup {
        if line.text().is_some_and(|text| text.contains('\0') || text.contains('\r')) {
            let help = "write one line of shell for each string".to_owned();
            draft.report(line.span(), "bad-value", "a control character in a line of shell".to_owned(), help);
        }
    }
}

impl Slurm {
    /// The time limit in seconds.
    pub fn seconds(&self) -> Option<u64> {
        let text = self.time.as_deref()?;
        let (days, clock) = text.split_once('-').unwrap_or(("0", text));
        let clock =
            clock.split(':').try_fold(0, |sum: u64, part| Some(sum * 60 + part.parse::<u64>().ok()?))?;
        Some(days.parse::<u64>().ok()? * 86_400 + clock)
    }

    /// The memory in MiB, rounded up.
    pub fn mebibytes(&self) -> Option<u64> {
        super::run_settings::bytes(self.memory.as_deref()?).map(|bytes| bytes.div_ceil(1 << 20))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_memory_are_numbers() {
        let slurm = |time: &str, memory: &str| Slurm {
            time: Some(time.into()),
            memory: Some(memory.into()),
            ..Slurm::default()
        };
        assert_eq!(slurm("00:02:00", "1GB").seconds(), Some(120));
        assert_eq!(slurm("2-01:00:30", "1GB").seconds(), Some(2 * 86_400 + 3630));
        assert_eq!(slurm("1:00:00", "16GiB").mebibytes(), Some(16 * 1024));
        assert_eq!(slurm("1:00:00", "1MB").mebibytes(), Some(1), "it is rounded up");
        assert_eq!((Slurm::default().seconds(), Slurm::default().mebibytes()), (None, None));
    }

    #[test]
    fn options_that_a_submission_sets_are_refused_in_every_spelling() {
        for option in ["--array=0-3", "-a0-3", "-a 3", "--requeue", "--clusters=a", "-Ma", "-o log", "-N2"] {
            assert!(refused_option(option).is_some(), "{option}");
        }
        for option in ["--account=x", "-A x", "--constraint=a100", "--nodelist=n1", "--gres=gpu:1", "--nice"]
        {
            assert_eq!(refused_option(option), None, "{option}");
        }
    }
}
