//! Runs that fail: by name, with what helps, and without harm to what was there.

use crate::project::{Project, STAGES};

#[test]
fn a_broken_image_is_named_or_left_out_and_counted() {
    let project = Project::new();
    let cut = project.path().join("photos/green/05.png");
    let bytes = std::fs::read(&cut).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let text = project.run_fails(1, &[]);
    assert!(text.contains("photos/green/05.png`") && text.contains("broken = \"skip\""), "{text}");
    assert!(STAGES.iter().any(|stage| text.contains(&format!("stage `{stage}`: cannot decode"))), "{text}");

    project.edit("image_size = 32", "image_size = 32\nbroken     = \"skip\"");
    let run = project.run(&[]);
    let count = |stage| run.metrics(stage)["broken_images"].as_u64().unwrap();
    assert_eq!((count("frozen") + count("test"), count("finetune")), (1, count("frozen")));
}

/// Planning has read an image, then someone changes it: what is computed from other bytes must not carry the plan's name.
#[test]
fn an_image_that_changes_while_the_run_is_under_way_fails_its_stage() {
    let project = Project::new();
    let table = Project::new().run(&[]).read("stages/test/predictions.csv");
    let image = table.lines().nth(1).unwrap().split(',').next().unwrap();
    let folder = std::path::PathBuf::from(project.plan(&[])["run_dir"].as_str().unwrap());
    let mut child = project.start(&[]);
    while !std::fs::read_to_string(folder.join("events.jsonl")).is_ok_and(|text| text.contains("\"frozen\""))
    {
        assert!(child.try_wait().unwrap().is_none(), "the run ended too early");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    project.image(&format!("photos/{image}"), [0, 0, 0], 7);
    let output = child.wait_with_output().unwrap();
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
    let plan = project.plan(&arguments);
    assert_eq!(plan["stages"][2]["status"], "resume", "{plan}");
    let folder = std::path::Path::new(plan["run_dir"].as_str().unwrap());
    assert_eq!(std::fs::read_to_string(folder.join("state")).unwrap().trim(), "failed");
    // The stages above are not lost to it.
    assert_eq!(project.run(&[]).those("cached"), ["start", "frozen"]);
}
