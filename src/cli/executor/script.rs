//! The batch script of an array, as text.

use std::path::Path;

use defrost::pipeline::Slurm;

/// Seconds before the time limit at which a job gets the signal to save a checkpoint.
const NOTICE: u64 = 120;

/// What a script contains.
pub struct Script<'a> {
    pub name: &'a str,
    /// The number of tasks.
    pub tasks: usize,
    pub slurm: &'a Slurm,
    pub program: &'a Path,
    /// The folder of the submission.
    pub submission: &'a Path,
    /// The index of the array in the submission.
    pub array: usize,
}

impl Script<'_> {
    /// The text. After the lines of `setup`, the program takes the place of the shell, so that it gets the signals itself.
    pub fn text(&self) -> String {
        let slurm = self.slurm;
        let last = self.tasks.saturating_sub(1);
        let most = slurm.max_parallel.map_or_else(String::new, |most| format!("%{most}"));
        let mut options = vec![
            format!("job-name=defrost-{}", self.name),
            format!("array=0-{last}{most}"),
            "nodes=1".to_owned(),
            "ntasks=1".to_owned(),
            "requeue".to_owned(),
            "open-mode=append".to_owned(),
            format!("signal=B:USR1@{}", notice(slurm.seconds())),
        ];
        options.extend(slurm.partition.iter().map(|partition| format!("partition={partition}")));
        options.extend(slurm.time.iter().map(|time| format!("time={time}")));
        options.extend(slurm.gpus.iter().map(|gpus| format!("gres=gpu:{gpus}")));
        options.extend(slurm.cpus.iter().map(|cpus| format!("cpus-per-task={cpus}")));
        options.extend(slurm.mebibytes().iter().map(|memory| format!("mem={memory}M")));

        let mut text = "#!/bin/bash\n".to_owned();
        options.iter().for_each(|option| text += &format!("#SBATCH --{option}\n"));
        text += "set -e\n";
        slurm.setup.iter().for_each(|line| text += &format!("{line}\n"));
        let (program, submission) = (quoted(self.program), quoted(self.submission));
        text + &format!("exec {program} task {submission} {}\n", self.array)
    }
}

/// A job with a short limit gets the signal later, so that it has time to begin. Slurm may send it up to a minute early.
fn notice(limit: Option<u64>) -> u64 {
    limit.map_or(NOTICE, |limit| NOTICE.min(limit / 4)).max(1)
}

/// A path as one word of the shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_has_the_settings_and_ends_in_the_program() {
        let slurm = Slurm {
            partition: Some("gpu".into()),
            time: Some("01:00:00".into()),
            gpus: Some(1),
            cpus: Some(8),
            memory: Some("16GB".into()),
            max_parallel: Some(3),
            setup: vec!["module load cuda".into()],
            ..Slurm::default()
        };
        let script = Script {
            name: "turtles",
            tasks: 8,
            slurm: &slurm,
            program: Path::new("/opt/it's/defrost"),
            submission: Path::new("/data/runs/.submissions/1"),
            array: 2,
        };
        let expected = r"#!/bin/bash
#SBATCH --job-name=defrost-turtles
#SBATCH --array=0-7%3
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
#SBATCH --partition=gpu
#SBATCH --time=01:00:00
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --mem=15259M
set -e
module load cuda
exec '/opt/it'\''s/defrost' task '/data/runs/.submissions/1' 2
";
        assert_eq!(script.text(), expected);
        assert_eq!([None, Some(120), Some(2)].map(notice), [120, 30, 1]);
    }
}
