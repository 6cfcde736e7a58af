//! Runs that are killed or interrupted anywhere, and then resume to the same bytes.

use std::process::Child;
use std::time::{Duration, Instant};

use defrost::random::{Purpose, Stream};

use crate::project::{Project, Run, STAGES, ended};

/// More epochs than elsewhere, so that there is more time for kills.
const LONG: [&str; 4] = ["--set", "stage.frozen.epochs=8", "--set", "stage.finetune.epochs=5"];
/// How often a run may finish before it is killed: on a loaded machine the killer may be late.
const CHANCES: usize = 20;
/// A general timeout.
const PATIENCE: Duration = Duration::from_secs(120);

/// The events that a run has written so far.
struct Events(std::path::PathBuf);

impl Events {
    fn of(project: &Project, arguments: &[&str]) -> Self {
        let plan = project.plan(arguments);
        Self(std::path::Path::new(plan["run_dir"].as_str().unwrap()).join("events.jsonl"))
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap_or_default()
    }

    /// Waits until the run has written enough events, or has ended.
    fn wait(&self, child: &mut Child, enough: impl Fn(&str) -> bool) {
        let started = Instant::now();
        while !enough(&self.text()) && child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < PATIENCE, "nothing happens: {}", self.text());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Kills runs repeatedly until there were `least` kills, on a machine of any speed: some time after a start, or
/// some time after a few more events, in both train stages. Every run must end with the bytes of an undisturbed
/// one.
fn kill_until_complete(device: &str, checkpoint_seconds: &str, seed: u64, least: usize) {
    let long = [&LONG[..], &["--device", device]].concat();
    let reference = Project::new().run(&long).manifest();
    let setting = format!("run.checkpoint_seconds={checkpoint_seconds}");
    let arguments = [&long[..], &["--set", &setting]].concat();
    let mut draws = Stream::new(seed, Purpose::Shuffle, 0, 0);
    let mut kills: Vec<String> = Vec::new();
    let mut resumed = false;
    let both = |kills: &[String]| {
        ["frozen", "finetune"].iter().all(|stage| kills.iter().any(|killed| killed == stage))
    };
    while kills.len() < least || !resumed || !both(&kills) {
        let project = Project::new();
        let events = Events::of(&project, &arguments);
        let run = kill_one(&project, &arguments, &events, &mut draws, &mut kills);
        assert_eq!(run.state(), "complete");
        assert_eq!(run.manifest(), reference, "after kills in {kills:?}");
        resumed |= events.text().contains("\"outcome\":\"resumed\"");
        let verified = project.defrost(&["verify", "colours"]);
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    }
}

/// Kills one run repeatedly, recording the stages in which it was killed, until it finishes.
fn kill_one(
    project: &Project,
    arguments: &[&str],
    events: &Events,
    draws: &mut Stream,
    kills: &mut Vec<String>,
) -> Run {
    // A run killed before its first checkpoint each time would never finish, so the time grows.
    for attempt in 0..40 {
        let mut child = project.start(arguments);
        let before = events.text().lines().count();
        if draws.below(4) == 0 {
            std::thread::sleep(Duration::from_millis(u64::from(draws.below(200 + 20 * attempt))));
        } else {
            let more = draws.below(14 + attempt) as usize;
            events.wait(&mut child, |text| text.lines().count() > before + more);
            std::thread::sleep(Duration::from_millis(u64::from(draws.below(20))));
        }
        if child.try_wait().unwrap().is_some() {
            return Run::of(&ended(child));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let text = events.text();
        let last = text.lines().rev().find_map(|line| line.split("\"stage\":\"").nth(1)?.split('"').next());
        kills.push(last.unwrap_or("nothing").to_owned());
    }
    Run::of(&ended(project.start(arguments)))
}

#[test]
fn killed_anywhere_with_a_checkpoint_at_every_step_it_ends_in_the_same_bytes() {
    kill_until_complete("auto", "0", 1, 10);
}

#[test]
fn killed_anywhere_with_checkpoints_on_the_clock_it_ends_in_the_same_bytes() {
    kill_until_complete("auto", "0.1", 2, 5);
}

#[cfg(feature = "cuda")]
#[test]
#[ignore = "asks for a GPU, or tests/cuda/emulated"]
fn cuda_killed_anywhere_it_ends_in_the_same_bytes() {
    kill_until_complete("cuda:0", "0", 3, 4);
}

#[test]
fn asked_to_stop_it_checkpoints_and_goes_on_from_there() {
    let reference = Project::new().run(&LONG).manifest();
    let signals = [
        ("TERM", "finetune"),
        ("INT", "finetune"),
        ("USR1", "frozen"),
        ("HUP", "finetune"),
        ("USR2", "frozen"),
        ("XCPU", "frozen"),
    ];
    // Under `nohup`, neither these tests nor their child processes end on a hang-up.
    for (signal, stage) in signals.into_iter().filter(|(signal, _)| *signal != "HUP" || !ignores_hang_up()) {
        // Long enough to be interrupted, without checkpoints except the requested one.
        let arguments =
            if stage == "frozen" { ["--set", "stage.frozen.epochs=3000"].to_vec() } else { LONG.to_vec() };
        let begun = format!(
            "\"epoch\":1,\"epochs\":{},\"event\":\"epoch_finished\"",
            if stage == "frozen" { 3000 } else { 5 }
        );
        let asked = || {
            let project = Project::new();
            let events = Events::of(&project, &arguments);
            let mut child = project.start(&arguments);
            events.wait(&mut child, |text| {
                text.contains(&begun) && text.contains(&format!("\"stage\":\"{stage}\""))
            });
            let id = child.id().to_string();
            assert!(std::process::Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
            (project, events, ended(child))
        };
        // Early enough that the stage is not finishing.
        let stopped = |output: &std::process::Output| {
            String::from_utf8_lossy(&output.stderr).contains("stopped on request after a checkpoint")
        };
        let in_the_middle = (0..CHANCES).map(|_| asked()).find(|(.., output)| stopped(output));
        let (project, events, output) = in_the_middle.expect("a run that is asked in time stops");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(130), "{signal}: {said}");
        assert!(said.contains("run the same command again"), "{said}");
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(document["error"]["message"].as_str().unwrap().contains("stopped on request"), "{document}");
        let index = STAGES.iter().position(|name| *name == stage).unwrap();
        assert_eq!(document["stages"][index]["status"], "interrupted", "{document}");
        assert_eq!(document["stages"][STAGES.len() - 1]["status"], "not_run", "{document}");
        let folder = events.0.parent().unwrap();
        assert_eq!(std::fs::read_to_string(folder.join("state")).unwrap().trim(), "interrupted");
        let plan = project.plan(&arguments);
        assert_eq!(plan["stages"][index]["status"], "resume", "{plan}");
        if stage == "finetune" {
            let run = project.run(&arguments);
            assert_eq!(run.those("resumed"), ["finetune"], "{signal}");
            assert_eq!(run.those("cached"), ["start", "frozen"]);
            assert_eq!(run.manifest(), reference, "{signal}");
        }
    }
}

fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or("0");
    u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 1 == 1)
}

/// A program started with `nohup` must survive its terminal.
#[cfg(target_os = "linux")]
#[test]
fn a_hang_up_that_was_ignored_from_the_start_stays_ignored() {
    let project = Project::new();
    let events = Events::of(&project, &LONG);
    let command = project.command(&[&["run", "colours.toml", "--json"][..], &LONG].concat());
    let mut child = std::process::Command::new("sh")
        .args(["-c", "trap '' HUP; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(project.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    events.wait(&mut child, |text| text.contains("\"epoch\":1"));
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-s", "HUP", &id]).status().unwrap().success());
    assert_eq!(Run::of(&ended(child)).state(), "complete");
}

/// A kill may come between publishing a stage and removing its attempt.
#[test]
fn what_a_kill_left_of_a_finished_stage_goes_when_it_is_found() {
    let project = Project::new();
    let run = project.run(&[]);
    let left = project.path().join("runs/.work").join(run.key("frozen")).join("000001");
    std::fs::create_dir_all(left.join("checkpoint-000007")).unwrap();
    let plan: serde_json::Value = serde_json::from_str(&run.read("plan.json")).unwrap();
    let record = serde_json::json!({ "variant": plan["profile"], "uses": [], "forced": false });
    std::fs::write(left.join("attempt.json"), record.to_string()).unwrap();
    let lock = std::fs::File::create(left.join("lock")).unwrap();
    lock.lock().unwrap();
    project.run(&[]);
    assert!(left.exists(), "somebody is at work in it");
    drop(lock);
    assert_eq!(project.run(&[]).those("cached"), STAGES);
    assert!(!left.parent().unwrap().exists());
}

/// Images skipped before the kill are skipped and counted after it.
#[test]
fn broken_images_are_counted_once_across_a_resume() {
    let make = || {
        let project = Project::new();
        for number in 0..4 {
            let path = project.path().join(format!("photos/green/broken{number}.png"));
            std::fs::write(path, "no picture at all").unwrap();
        }
        project.edit("image_size = 32", "image_size = 32\nbroken     = \"skip\"");
        // No batch may shrink to one image, which batch normalization rejects.
        project.edit("batch_size = 5", "batch_size = 9");
        project
    };
    let whole = make();
    let reference = whole.run(&LONG);
    let counts = |run: &Run| {
        STAGES[1..]
            .iter()
            .map(|stage| run.metrics(stage)["broken_images"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    let counted = counts(&reference);
    assert!(counted[0] > 0 && counted[0] == counted[1] && counted[1] + counted[2] == 4, "{counted:?}");

    let arguments = [&LONG[..], &["--set", "run.checkpoint_seconds=0"]].concat();
    let resumed = || {
        let project = make();
        let events = Events::of(&project, &arguments);
        for epoch in [1, 3] {
            let mut child = project.start(&arguments);
            let mark = format!("\"epoch\":{epoch},\"epochs\":5,");
            events.wait(&mut child, |text| text.contains(&mark));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let run = project.run(&arguments);
        assert_eq!(counts(&run), counted);
        assert_eq!(run.manifest(), reference.manifest());
        run.those("resumed") == ["finetune"]
    };
    assert!((0..CHANCES).any(|_| resumed()), "a run that is killed in time resumes");
}
