//! `submit`, `status` and `cancel` with a Slurm that is played by shell scripts. `tests/interop/slurm.py` has a real one.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::project::{Project, document, ended};

/// Each command writes its arguments, one a line, and answers from a file. `sbatch` also keeps the script.
const FAKE: &str = r#"#!/bin/bash
here=$(dirname "$0"); name=$(basename "$0")
{ echo "== $name"; printf '%s\n' "$@"; } >>"$here/calls"
[[ -e $here/$name.error ]] && { cat "$here/$name.error" >&2; exit 1; }
if [[ -e $here/$name.answer ]]; then cat "$here/$name.answer"; exit 0; fi
case $name in
    sbatch)
        number=$(($(cat "$here/number" 2>/dev/null || echo 99) + 1))
        echo $number >"$here/number"
        cp "${@: -1}" "$here/script-$number"
        [[ -e $here/refuse-$number ]] && { echo "sbatch: error: Batch job submission failed: Invalid account" >&2; exit 1; }
        echo $number ;;
    scontrol) echo "MaxArraySize            = 1001" ;;
esac
"#;

const SEEDS: &str = "\n[[matrix]]\npath = \"seed\"\nvalues = [1, 2]\n";
const HEADS: &str = "\n[[matrix]]\npath = \"stage.finetune.epochs\"\nname = \"tuned\"\nvalues = [1, 2, 3]\n";

struct Cluster {
    project: Project,
    bin: tempfile::TempDir,
}

impl Cluster {
    fn new(addition: &str) -> Self {
        let (project, bin) = (Project::new(), tempfile::tempdir().unwrap());
        project.write(&format!("{}{addition}", project.text()));
        let cluster = Self { project, bin };
        for name in ["sbatch", "squeue", "scancel", "scontrol"] {
            cluster.set(name, FAKE);
            let path = cluster.bin.path().join(name);
            Command::new("chmod").arg("+x").arg(path).status().unwrap();
        }
        cluster
    }

    fn set(&self, name: &str, text: &str) {
        std::fs::write(self.bin.path().join(name), text).unwrap();
    }

    fn forget(&self, name: &str) {
        std::fs::remove_file(self.bin.path().join(name)).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.project.command(arguments);
        let path = format!("{}:{}", self.bin.path().display(), std::env::var("PATH").unwrap());
        command.env("PATH", path).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command
    }

    fn defrost(&self, arguments: &[&str]) -> Output {
        ended(self.command(arguments).spawn().unwrap())
    }

    fn json(&self, arguments: &[&str]) -> Value {
        document(&self.defrost(&[&["--json"], arguments].concat()))
    }

    /// The error of a command that fails with this code.
    #[track_caller]
    fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.defrost(arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}");
        text
    }

    /// The calls of Slurm's commands since the last look.
    fn calls(&self) -> Vec<Vec<String>> {
        let text = std::fs::read_to_string(self.bin.path().join("calls")).unwrap_or_default();
        let _ = std::fs::remove_file(self.bin.path().join("calls"));
        let calls = text.split("== ").skip(1);
        calls.map(|call| call.lines().map(str::to_owned).collect()).collect()
    }

    fn submissions(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.project.path().join("runs/.submissions")).into_iter().flatten();
        let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        found.sort();
        found
    }

    /// Executes a task as its job would, with the variables of Slurm.
    fn job(&self, submission: &Path, array: usize, index: usize) -> Command {
        let mut command = self.command(&["task", submission.to_str().unwrap(), &array.to_string()]);
        command.env("SLURM_ARRAY_JOB_ID", "100").env("SLURM_ARRAY_TASK_ID", index.to_string());
        command.current_dir("/");
        command
    }
}

fn actions(document: &Value) -> Vec<String> {
    let runs = document["runs"].as_array().unwrap();
    runs.iter().map(|run| run["action"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_preview_shows_the_script_and_asks_nobody() {
    let slurm =
        "\n[run.slurm]\npartition = \"gpu\"\ntime = \"02:00:00\"\ngpus = 1\nsetup = [\"module load cuda\"]\n";
    let cluster = Cluster::new(&format!("{SEEDS}{slurm}"));
    let output = cluster.defrost(&["submit", "colours.toml", "--dry-run"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for line in [
        "#SBATCH --job-name=defrost-colours",
        "#SBATCH --array=0-1",
        "#SBATCH --signal=B:USR1@120",
        "#SBATCH --requeue",
        "#SBATCH --gres=gpu:1",
        "module load cuda\nexec '",
        "would submit 2 jobs",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(cluster.submissions().is_empty());
    assert!(cluster.calls().iter().all(|call| call[0] == "scontrol"));
    // A machine without Slurm shows it too.
    cluster.set("scontrol.error", "scontrol: error: no controller\n");
    assert!(cluster.defrost(&["submit", "colours.toml", "--dry-run"]).status.success());
}

#[test]
fn shared_stages_are_an_array_before_the_runs_and_every_command_gets_its_options() {
    let slurm =
        "\n[run.slurm]\ncluster = \"west\"\nmax_parallel = 2\nextra = [\"--account=vision\", \"-q night\"]\n";
    let cluster = Cluster::new(&format!("{HEADS}{slurm}"));
    let submitted = cluster.json(&["submit", "colours.toml", "--", "--nice=100"]);
    assert_eq!(actions(&submitted), ["submitted"; 3]);
    assert_eq!(submitted["runs"][2]["job"], "101_2");
    let calls = cluster.calls();
    let sbatch: Vec<&Vec<String>> = calls.iter().filter(|call| call[0] == "sbatch").collect();
    let [first, second] = &sbatch[..] else { panic!("{calls:?}") };
    let folder = &cluster.submissions()[0];
    let logs = format!("--output={}/logs/%A_%a.log", folder.display());
    assert_eq!(first[1..5], ["-M", "west", "--parsable", &logs].map(str::to_owned));
    assert_eq!(first[5..9], ["--account=vision", "-q", "night", "--nice=100"].map(str::to_owned));
    assert!(first[9].ends_with("array-0.sh"));
    assert!(second.contains(&"--dependency=afterany:100".to_owned()), "{second:?}");
    assert!(calls.iter().all(|call| call[1..3] == ["-M".to_owned(), "west".to_owned()]), "{calls:?}");
    let script = |number: &str| std::fs::read_to_string(cluster.bin.path().join(number)).unwrap();
    assert!(
        script("script-100").contains("--array=0-0%2\n") && script("script-101").contains("--array=0-2%2\n")
    );

    let record: Value =
        serde_json::from_slice(&std::fs::read(folder.join("submission.json")).unwrap()).unwrap();
    assert_eq!(
        record["arrays"][0]["tasks"],
        json!([{ "run": 0, "stages": ["frozen"], "serves": [0, 1, 2] }])
    );
    assert_eq!(record["arrays"][1]["after"], json!([0]));
    assert_eq!(record["arrays"][0]["job"], "100");
}

/// Heads that train on the same features.
const RATES: &str =
    "\n[[matrix]]\npath = \"stage.frozen.optimizer.lr\"\nname = \"lr\"\nvalues = [0.01, 0.02, 0.03]\n";

#[test]
fn a_large_matrix_is_divided_and_shared_features_come_first() {
    let cluster = Cluster::new(RATES);
    cluster.set("scontrol.answer", "Configuration data\nMaxArraySize = 2\nMaxJobCount = 10000\n");
    let submitted = cluster.json(&["submit", "colours.toml"]);
    let arrays = submitted["arrays"].as_array().unwrap();
    let tasks: Vec<usize> = arrays.iter().map(|array| array["tasks"].as_array().unwrap().len()).collect();
    assert_eq!(tasks, [1, 2, 1]);
    assert_eq!(arrays[0]["tasks"][0]["features"], true, "{submitted}");
    assert_eq!((&arrays[2]["after"], &submitted["runs"][2]["job"]), (&json!([0]), &json!("102_0")));

    // The task for features ends once they are stored, and its run continues from there.
    let submission = &cluster.submissions()[0];
    let finished = |array: usize, index: usize| {
        let ended = ended(cluster.job(submission, array, index).spawn().unwrap());
        let text = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.success(), "{text}");
        text
    };
    let text = finished(0, 0);
    assert!(!text.contains("epoch 2/3"), "{text}");
    let text = finished(1, 1);
    assert!(text.contains("27 from the store") || text.contains("all from the store"), "{text}");
    assert!(finished(1, 0).contains("resuming"));
    let plain = Cluster::new(RATES);
    assert!(plain.defrost(&["run", "colours.toml", "--only", "0.01"]).status.success());
    let manifest = |cluster: &Cluster| {
        let below = Path::new(submitted["runs"][0]["run_dir"].as_str().unwrap());
        let below = below.strip_prefix(submission.ancestors().nth(3).unwrap()).unwrap();
        std::fs::read(cluster.project.path().join(below).join("manifest.json")).unwrap()
    };
    assert_eq!(manifest(&cluster), manifest(&plain));

    let none = Cluster::new(SEEDS);
    none.set("scontrol.answer", "MaxArraySize = 1\n");
    assert!(none.fails(1, &["submit", "colours.toml"]).contains("allows no job arrays"));
}

#[test]
fn what_sbatch_refuses_leaves_nothing_in_the_queue() {
    let cluster = Cluster::new(HEADS);
    cluster.set("refuse-101", "");
    let text = cluster.fails(1, &["submit", "colours.toml"]);
    assert!(text.contains("Invalid account") && text.contains("nothing is in the queue"), "{text}");
    let calls = cluster.calls();
    assert_eq!(calls.last().unwrap(), &["scancel".to_owned(), "100".to_owned()]);

    cluster.forget("refuse-101");
    cluster.set("sbatch.answer", "welcome to the cluster\n");
    let text = cluster.fails(1, &["submit", "colours.toml"]);
    assert!(text.contains("which is no job id") && text.contains("squeue --me"), "{text}");
    cluster.set("sbatch.answer", "site plugin: ok\n4711;west\n");
    assert_eq!(cluster.json(&["submit", "colours.toml"])["runs"][1]["job"], "4711_1");

    let bare = cluster.project.command(&["submit", "colours.toml"]);
    let mut bare = bare;
    bare.env("PATH", "/nonexistent")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let output = ended(bare.spawn().unwrap());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("is not on this machine") && text.contains("login nodes"), "{text}");
}

#[test]
fn options_that_belong_to_the_submission_are_refused() {
    let cluster = Cluster::new(SEEDS);
    for option in ["--array=0-3", "-M west", "--no-requeue"] {
        let text = cluster.fails(2, &["submit", "colours.toml", "--", option]);
        assert!(text.contains("cannot be passed on to `sbatch`"), "{text}");
    }
    assert!(cluster.fails(2, &["submit", "colours.toml", "--", "gpu"]).contains("not an option"));
    assert!(cluster.calls().is_empty() && cluster.submissions().is_empty());
}

#[test]
fn submitting_again_submits_what_is_neither_complete_nor_queued() {
    let cluster = Cluster::new(SEEDS);
    let first = cluster.json(&["submit", "colours.toml"]);
    assert_eq!(first["runs"][1]["job"], "100_1", "nothing is shared: {first}");
    // The first run has ended, the second waits.
    let done = cluster.job(&cluster.submissions()[0], 0, 0).spawn().unwrap();
    let done = ended(done);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    cluster.set("squeue.answer", "100|1|PENDING|0:00|1:00:00||Resources\n");
    cluster.calls();
    let again = cluster.json(&["submit", "colours.toml"]);
    assert_eq!(actions(&again), ["complete", "queued"]);
    let asked = cluster.calls();
    assert_eq!(asked.len(), 1, "one squeue, and no submission: {asked:?}");
    assert_eq!((asked[0][0].as_str(), asked[0][6].as_str()), ("squeue", "100"), "{asked:?}");

    // Its job is gone.
    cluster.forget("squeue.answer");
    cluster.set("squeue.error", "slurm_load_jobs error: Invalid job id specified\n");
    let again = cluster.json(&["submit", "colours.toml"]);
    assert_eq!(actions(&again), ["complete", "submitted"]);
    assert_eq!(again["runs"][1]["job"], "101_0");
    let table = cluster.json(&["status", "colours.toml"]);
    assert_eq!(
        (&table["runs"][0]["state"], &table["runs"][1]["state"]),
        (&json!("complete"), &json!("waiting"))
    );

    cluster.set("squeue.error", "slurm_load_jobs error: Unable to contact slurm controller\n");
    let text = cluster.fails(1, &["submit", "colours.toml"]);
    assert!(text.contains("it is unknown which runs are in the queue"), "{text}");
}

#[test]
fn a_submission_is_frozen_and_ends_in_the_bytes_of_a_plain_run() {
    let plain = Cluster::new(HEADS);
    assert!(plain.defrost(&["run", "colours.toml"]).status.success());
    let cluster = Cluster::new(HEADS);
    let runs = cluster.json(&["submit", "colours.toml"])["runs"].clone();
    let submission = &cluster.submissions()[0];
    // A later edit changes no task.
    let text = cluster.project.text();
    cluster.project.write(
        &text.replace("epochs    = 3", "epochs = 1").replace("name = \"colours\"", "name = \"other\""),
    );
    for (array, index) in [(0, 0), (1, 0), (1, 1), (1, 2)] {
        let ended = ended(cluster.job(submission, array, index).spawn().unwrap());
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
    for run in runs.as_array().unwrap() {
        let below = Path::new(run["run_dir"].as_str().unwrap()).strip_prefix(cluster.project.path()).unwrap();
        let manifest =
            |project: &Project| std::fs::read(project.path().join(below).join("manifest.json")).unwrap();
        assert_eq!(manifest(&cluster.project), manifest(&plain.project), "{below:?}");
        let events =
            std::fs::read_to_string(cluster.project.path().join(below).join("events.jsonl")).unwrap();
        let label = run["label"].as_str().unwrap();
        let begun =
            events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(|event| {
                event["event"] == "stage_started" && event["stage"] == "frozen" && event["outcome"] == "ran"
            });
        let computed = begun.count() == 1;
        assert_eq!(computed, label == "tuned=1", "{label}: {events}");
    }
    // Other images are another run.
    cluster.project.image("photos/red/99.png", [200, 0, 0], 99);
    let ended = ended(cluster.job(submission, 1, 0).spawn().unwrap());
    let text = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{text}");
    assert!(text.contains("have changed since the run was submitted"), "{text}");
}

/// Starts a task, sends it a signal once it trains, and returns its output. A task that stays is killed once `until` holds.
fn signalled(cluster: &Cluster, mut command: Command, signal: &str, until: &dyn Fn() -> bool) -> Output {
    let started = std::time::Instant::now();
    let wait = |what: &dyn Fn() -> bool| {
        while !what() {
            assert!(started.elapsed().as_secs() < 120, "nothing happens");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    let epochs = || -> usize {
        let runs = std::fs::read_dir(cluster.project.path().join("runs/colours")).into_iter().flatten();
        let events = runs.flatten().map(|run| std::fs::read_to_string(run.path().join("events.jsonl")));
        events.map(|text| text.unwrap_or_default().matches("\"event\":\"epoch_finished\"").count()).sum()
    };
    let before = epochs();
    let child = command.spawn().unwrap();
    let id = child.id().to_string();
    wait(&|| epochs() > before);
    Command::new("kill").args(["-s", signal, &id]).status().unwrap();
    wait(until);
    Command::new("kill").args(["-s", "KILL", &id]).status().unwrap();
    ended(child)
}

#[test]
fn before_the_time_limit_a_task_requeues_itself_and_after_sigterm_it_stays() {
    let long = ["--set", "stage.frozen.epochs=2000"];
    let cluster = Cluster::new("");
    cluster.json(&[&["submit", "colours.toml"], &long[..]].concat());
    let submission = &cluster.submissions()[0];
    let report = || std::fs::read_to_string(submission.join("tasks/0-0.json")).unwrap_or_default();
    let calls = || std::fs::read_to_string(cluster.bin.path().join("calls")).unwrap_or_default();
    let output = signalled(&cluster, cluster.job(submission, 0, 0), "USR1", &|| {
        calls().contains("== scontrol\nrequeue\n100_0\n") && report().contains("interrupted")
    });
    assert_eq!(output.status.code(), None, "it stays until Slurm ends it");
    cluster.calls();
    let output =
        signalled(&cluster, cluster.job(submission, 0, 0), "TERM", &|| report().contains("interrupted"));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("resuming") && text.contains("waiting until Slurm ends the job"), "{text}");
    assert!(cluster.calls().is_empty(), "Slurm itself decides");

    let table = |answer: &str| {
        cluster.set("squeue.answer", answer);
        cluster.json(&["status", "colours.toml"])["runs"][0].clone()
    };
    let queued = table("100|0|PENDING|0:00|1:00:00||BeginTime\n");
    assert_eq!((&queued["state"], &queued["note"]), (&json!("interrupted"), &Value::Null));
    let held = table("100|0|PENDING|0:00|1:00:00||launch_failed_requeued_held\n");
    assert!(held["note"].as_str().unwrap().contains("scontrol release 100_0"), "{held}");
    let gone = table("\n");
    assert!(gone["note"].as_str().unwrap().contains("defrost submit colours.toml"), "{gone}");
}

#[test]
fn a_restart_without_a_new_checkpoint_ends_as_failed() {
    let cluster = Cluster::new("");
    cluster.json(&["submit", "colours.toml"]);
    let submission = &cluster.submissions()[0];
    // Another process works in the run, so that the task waits.
    let blocker = cluster.project.start(&["--set", "stage.frozen.epochs=3"]);
    drop(ended(blocker));
    let lock = cluster.json(&["status", "colours"])["path"].as_str().unwrap().to_owned();
    let events = std::fs::File::options().append(true).open(Path::new(&lock).join("events.jsonl")).unwrap();
    events.lock().unwrap();
    let mut command = cluster.job(submission, 0, 0);
    let child = command.env("SLURM_RESTART_COUNT", "2").spawn().unwrap();
    let report = || std::fs::read_to_string(submission.join("tasks/0-0.json")).unwrap_or_default();
    while !report().contains("running") {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    std::thread::sleep(std::time::Duration::from_millis(1000));
    Command::new("kill").args(["-s", "USR1", &child.id().to_string()]).status().unwrap();
    let output = ended(child);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("no checkpoint was saved") && text.contains("longer `time`"), "{text}");
    assert!(report().contains("failed"));
}

#[test]
fn a_shared_stage_that_failed_fails_its_runs_at_once() {
    let cluster = Cluster::new(HEADS);
    cluster.json(&["submit", "colours.toml"]);
    let submission = &cluster.submissions()[0];
    let mut failing = cluster.job(submission, 0, 0);
    // No network has a step of this size: the loss is not finite.
    std::fs::write(
        submission.join("runs/0.toml"),
        std::fs::read_to_string(submission.join("runs/0.toml")).unwrap().replace("lr = 0.01", "lr = 0.02"),
    )
    .unwrap();
    let output = ended(failing.spawn().unwrap());
    assert_eq!(output.status.code(), Some(1));
    let output = ended(cluster.job(submission, 1, 1).spawn().unwrap());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("the shared stages failed (frozen)"), "{text}");
    let table = cluster.json(&["status", "colours.toml"]);
    let row = &table["runs"][1];
    assert_eq!(row["state"], "failed");
    assert!(row["error"].as_str().unwrap().contains("the shared stages failed"), "{row}");
}

#[test]
fn cancel_cancels_what_is_in_the_queue() {
    let cluster = Cluster::new(HEADS);
    assert!(cluster.fails(2, &["cancel", "colours.toml"]).contains("was not submitted"));
    cluster.json(&["submit", "colours.toml"]);
    let waiting = "100|0|RUNNING|0:10|59:50|n1|None\n101|0|PENDING|0:00|1:00:00||Dependency\n\
                   101|1|PENDING|0:00|1:00:00||Dependency\n";
    cluster.set("squeue.answer", waiting);
    cluster.calls();
    let some = cluster.json(&["cancel", "colours.toml", "--only", "tuned=2"]);
    assert_eq!(some["cancelled"], json!(["101_1"]));
    let all = cluster.json(&["cancel", "colours.toml"]);
    assert_eq!(all["cancelled"], json!(["100_0", "101_0", "101_1"]));
    let calls = cluster.calls();
    assert_eq!(calls.last().unwrap(), &["scancel", "100_0", "101_0", "101_1"].map(str::to_owned));
    cluster.set("squeue.answer", "");
    let text = String::from_utf8(cluster.defrost(&["cancel", "colours.toml"]).stdout).unwrap();
    assert!(text.contains("no job of this file"), "{text}");
}

#[test]
fn the_table_joins_runs_shared_stages_and_jobs() {
    let cluster = Cluster::new(HEADS);
    cluster.json(&["submit", "colours.toml"]);
    cluster.set(
        "squeue.answer",
        "100|0|RUNNING|0:10|59:50|n1|None\n101|0|PENDING|0:00|1:00:00||Dependency\n\
         101|1|COMPLETED|0:00|1:00:00||None\n101|2|PENDING|0:00|1:00:00||JobHeldUser\n",
    );
    let text = String::from_utf8(cluster.defrost(&["status", "colours.toml"]).stdout).unwrap();
    for part in [
        "shared: frozen",
        "100_0 RUNNING on n1, 59:50 left",
        "101_0 PENDING (Dependency)",
        "it waits until `scontrol release 101_2`",
        "no job: `defrost submit colours.toml` continues it",
        "0 of 3 runs are complete; 3 jobs are in the queue",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    cluster.set("squeue.error", "slurm_load_jobs error: Unable to contact slurm controller\n");
    let output = cluster.defrost(&["status", "colours.toml"]);
    assert!(
        output.status.success() && String::from_utf8(output.stderr).unwrap().contains("the queue is unknown")
    );
    cluster.forget("squeue.error");
    cluster.set("squeue.answer", "");
    assert!(
        cluster.defrost(&["status", "colours.toml", "--watch"]).status.success(),
        "nothing is left to watch"
    );
}
