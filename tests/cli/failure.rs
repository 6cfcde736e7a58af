//! Failing runs: the error names the stage, gives a hint, and leaves earlier results intact.

use crate::project::{Project, Run, STAGES, document, ended};

#[test]
fn a_broken_image_is_named_or_left_out_and_counted() {
    let project = Project::new();
    let damaged = project.path().join("photos/green/05.png");
    let mut bytes = std::fs::read(&damaged).unwrap();
    // Inside the compressed data, so the headers are intact.
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xFF;
    std::fs::write(&damaged, &bytes).unwrap();
    let text = project.run_fails(1, &[]);
    assert!(text.contains("photos/green/05.png`") && text.contains("broken = \"skip\""), "{text}");
    assert!(STAGES.iter().any(|stage| text.contains(&format!("stage `{stage}`: cannot decode"))), "{text}");

    project.edit("image_size = 32", "image_size = 32\nbroken     = \"skip\"");
    let plan = project.defrost(&["plan", "colours.toml", "--no-estimates"]);
    assert!(
        String::from_utf8(plan.stdout).unwrap().contains("3 classes, except those that cannot be decoded")
    );
    for status in ["ran", "cached"] {
        let output = ended(project.start(&[]));
        let (run, text) = (Run::of(&output), String::from_utf8(output.stderr).unwrap());
        assert!(run.those(status).contains(&"finetune".to_owned()));
        let count = |stage| run.metrics(stage)["broken_images"].as_u64().unwrap();
        assert_eq!((count("frozen") + count("test"), count("finetune")), (1, count("frozen")));
        // Reported for each stage that skipped it, with the file that lists it.
        let said = |stage: &str| {
            let place = run.directory.join(format!("stages/{stage}/broken_images.csv"));
            let warning =
                format!("stage `{stage}`: 1 image of photos cannot be decoded and is left out: see `");
            assert_eq!(std::fs::read_to_string(&place).is_ok(), text.contains(&warning), "{text}");
            let list = text
                .contains(&format!("{}`", place.display()))
                .then(|| std::fs::read_to_string(place).unwrap())?;
            let (file, cause) = list.strip_prefix("file,cause\n").unwrap().split_once(',').unwrap();
            assert!(cause.contains("the PNG data is damaged: "), "{list}");
            Some(file.to_owned())
        };
        let lists: Vec<Option<String>> = ["frozen", "finetune", "test"].map(said).into();
        let list = Some("green/05.png".to_owned());
        let expected = if count("test") == 1 { [None, None, list] } else { [list.clone(), list, None] };
        assert_eq!(lists, expected);
    }
}

/// Planning has read an image, and then the image changes: a result from other bytes must not be stored under
/// the plan's key.
#[test]
fn an_image_that_changes_while_the_run_is_under_way_fails_its_stage() {
    let table = Project::new().run(&[]).read("stages/test/predictions.csv");
    let image = table.lines().nth(1).unwrap().split(',').next().unwrap();
    let changed = || {
        let project = Project::new();
        let folder = std::path::PathBuf::from(project.plan(&[])["run_dir"].as_str().unwrap());
        let mut child = project.start(&[]);
        let begun = |text: String| text.contains("\"frozen\"");
        let events = folder.join("events.jsonl");
        while !std::fs::read_to_string(&events).is_ok_and(begun) && child.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        project.image(&format!("photos/{image}"), [0, 0, 0], 7);
        (project, folder, ended(child))
    };
    // On a loaded machine, the test images may be read before the change.
    let in_time = (0..20).map(|_| changed()).find(|(.., output)| !output.status.success());
    let (project, folder, output) = in_time.expect("an image that changes in time is noticed");
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("stage `test`: `"), "{text}");
    assert!(text.contains(&format!("{image}` changed while the stage was running")), "{text}");
    assert_eq!(std::fs::read_to_string(folder.join("state")).unwrap().trim(), "failed");

    let run = project.run(&[]);
    assert_ne!(run.directory, folder, "another image is another run");
    assert_eq!(run.those("ran"), ["test"]);
}

#[test]
fn a_loss_that_is_not_finite_names_step_rate_and_images_and_keeps_the_checkpoint() {
    let project = Project::new();
    let arguments = [
        "--set",
        "stage.finetune.optimizer.lr=1e38",
        "--set",
        "run.checkpoint_seconds=0",
        "--set",
        "stage.finetune.schedule.kind=constant",
    ];
    let text = project.run_fails(1, &arguments);
    assert!(text.contains("stage `finetune`: the loss is "), "{text}");
    assert!(text.contains("epoch 1, step ") && text.contains("at a learning rate of 1e38"), "{text}");
    assert!(text.contains(".png`") && text.contains("lower the learning rate"), "{text}");
    // All stages are in the closing table.
    for (stage, status) in STAGES.iter().zip(["ran", "ran", "failed", "not run"]) {
        let row = |line: &str| line.trim_start().starts_with(stage) && line.contains(status);
        assert!(text.lines().any(row), "{stage} is {status}: {text}");
    }
    let plan = project.plan(&arguments);
    assert_eq!(plan["stages"][2]["status"], "resume", "{plan}");
    let folder = std::path::Path::new(plan["run_dir"].as_str().unwrap());
    assert_eq!(std::fs::read_to_string(folder.join("state")).unwrap().trim(), "failed");
    // Later commands show the cause.
    let status = document(&project.defrost(&["status", "colours", "--json"]));
    let message = status["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("stage `finetune`: the loss is "), "{status}");
    let said = String::from_utf8(project.defrost(&["status", "colours"]).stdout).unwrap();
    let hint = status["error"]["hint"].as_str().unwrap();
    assert!(hint.contains("lower the learning rate"), "{status}");
    assert!(said.contains(&format!("error: {message}\nhint: {hint}")), "{said}");
    // The stages above keep their results.
    assert_eq!(project.run(&[]).those("cached"), ["start", "frozen"]);
    assert!(document(&project.defrost(&["status", "colours", "--json"]))["error"].is_null());
}

/// Exceeding the file size limit is reported as a full disk; no signal ends the program.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_cannot_be_written_is_named_with_what_helps() {
    let project = Project::new();
    let limited = |arguments: &[&str]| {
        let command = project.command(&[&["run", "colours.toml", "--json"], arguments].concat());
        let output = std::process::Command::new("sh")
            .args(["-c", "ulimit -f 2000; exec \"$@\"", "sh"])
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir(project.path())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("`: the file exceeds the system's size limit"), "{text}");
        assert!(text.contains("hint: raise the limit, for instance with `ulimit -f unlimited`"), "{text}");
        (text, serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap())
    };
    let (text, document) = limited(&[]);
    assert!(text.contains("stage `start`: cannot write `"), "{text}");
    assert_eq!(document["state"], "failed");
    assert_eq!(document["stages"][0]["status"], "failed", "{document}");
    assert!(document["stages"][0]["error"].as_str().unwrap().contains("exceeds the system's size limit"));
    assert_eq!(document["stages"][3]["status"], "not_run", "{document}");
    assert!(document["error"]["hint"].as_str().unwrap().contains("ulimit"), "{document}");

    // A checkpoint in the middle of training.
    project.run(&["--until", "frozen"]);
    let (text, document) = limited(&["--set", "run.checkpoint_seconds=0"]);
    assert!(text.contains("stage `finetune`: cannot write `"), "{text}");
    assert!(text.contains("/tensors.safetensors`"), "{text}");
    assert_eq!(document["stages"][1]["status"], "cached", "{document}");
    assert_eq!(project.run(&[]).manifest(), Project::new().run(&[]).manifest());
}

/// A finished run is readable for a user without write permission.
#[test]
fn a_complete_run_that_cannot_be_written_to_is_a_result() {
    let project = Project::new();
    let run = project.run(&[]);
    let events = run.directory.join("events.jsonl");
    // Even root cannot open a folder of that name.
    std::fs::remove_file(&events).unwrap();
    std::fs::create_dir(&events).unwrap();
    let output = ended(project.start(&[]));
    let again = Run::of(&output);
    assert_eq!(again.those("cached"), STAGES);
    assert_eq!(again.metrics("test"), run.metrics("test"));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("events.jsonl`") && text.contains("the run is complete and remains unchanged"),
        "{text}"
    );
    assert_eq!(again.manifest(), run.manifest());
    assert_eq!(Run::of(&ended(project.start(&["--until", "frozen"]))).those("cached"), ["start", "frozen"]);

    // Missing or forced stages need a writable folder.
    assert!(project.run_fails(1, &["--force"]).contains("events.jsonl`"));
    let file = run.directory.join("stages/test/metrics.json");
    std::fs::remove_file(&file).unwrap();
    assert!(project.run_fails(1, &[]).contains("events.jsonl`"));
}
