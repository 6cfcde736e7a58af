//! Stages that unfreeze parameters on a schedule: the reports before and after, and runs killed around
//! unfreezing.

use crate::project::{Project, STAGES, killed_runs_end_in};

/// The head alone, after one epoch the layer below it, after two the last block with its own warmup.
fn gradual() -> Project {
    let project = Project::new();
    project.edit(
        "train     = [\"@head\"]\nepochs    = 3\n",
        "train     = [\"@head\"]\nepochs    = 4\nunfreeze  = [{ after_epochs = 1, last = 2, lr_scale = 0.1 }, \
         { after_epochs = 2, match = [\"_blocks.15\"], lr = 1e-4, warmup_epochs = 1 }]\n",
    );
    project
}

#[test]
fn what_joins_when_is_in_the_plan_the_table_the_history_and_the_pictures() {
    let project = gradual();
    let output = project.defrost(&["plan", "colours.toml", "--no-estimates"]);
    let said = String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("from epoch")).map(str::trim).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
        from epoch 1: 2 tensors, 3,843 parameters at lr 0.01, _fc
        from epoch 2: 3 tensors, 412,160 parameters at lr 1e-3, _conv_head
        from epoch 3: 9 tensors, 605,440 parameters at lr 1e-4, _blocks.15
        from epoch 2: the first 17 layers run once per image; their features are kept
        from epoch 3: the first 16 layers run once per image; their features are kept
        "#);
    let plan = project.plan(&[]);
    let frozen = &plan["stages"][1];
    let phases: Vec<(u64, u64)> = frozen["phases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|phase| (phase["after_epochs"].as_u64().unwrap(), phase["tensors"].as_u64().unwrap()))
        .collect();
    assert_eq!(phases, [(0, 2), (1, 3), (2, 9)]);
    assert_eq!(frozen["features"]["layers"], 18);
    assert_eq!(frozen["later_features"][1]["layers"], 16);

    let run = project.run(&[]);
    let parameters = run.read("stages/frozen/parameters.csv");
    let row = |name: &str| parameters.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(
        parameters.starts_with("name,shape,trainable,rule,group,lr,weight_decay,layer,after_epochs,blake3\n")
    );
    assert!(row("_conv_head.weight").contains(",true,unfreeze[0].last = 2,,0.001,0.01,_conv_head,1,"));
    assert!(row("_blocks.14._bn0.weight").contains(",false,(default),,,,_blocks.14,,"));
    let history = run.read("stages/frozen/history.csv");
    let trained: Vec<&str> = history.lines().map(|line| line.rsplit_once(',').unwrap().1).collect();
    assert_eq!(trained, ["trainable_parameters", "3843", "416003", "1021443", "1021443"]);
    assert_eq!(run.read("stages/frozen/curves.svg").matches(">thaws ").count(), 4);
    assert!(run.read("report.html").contains("<li>from epoch 2: 3 tensors, "));
    assert!(!run.read("stages/finetune/history.csv").contains("trainable_parameters"));
    // The closing table counts all trainable parameters, whichever epoch was the best.
    let shown = String::from_utf8(project.defrost(&["run", "colours.toml"]).stderr).unwrap();
    let line = shown.lines().find(|line| line.starts_with("frozen ")).expect("a row for each stage");
    assert!(line.split_whitespace().any(|word| word == "1,021,443"), "{shown}");
    assert_eq!(run.metrics("frozen")["broken_images"], 0);
    assert_eq!(run.metrics("frozen")["parameters"]["phases"][2]["after_epochs"], 2);
    let verified = project.defrost(&["verify", "colours"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    assert_eq!(project.run(&[]).those("cached"), STAGES);
    assert_eq!(project.misses(&["--set", "stage.frozen.unfreeze[1].lr=2e-4"])[0], "frozen");
    assert_eq!(
        project.misses(&["--set", "stage.frozen.unfreeze[1].match=[\"_blocks.15.*\"]"]),
        Vec::<String>::new()
    );
    let features_off = gradual();
    let other = features_off.run(&["--set", "run.feature_cache=off"]);
    assert_eq!(
        other.files()["stages/frozen/best.safetensors"],
        run.files()["stages/frozen/best.safetensors"]
    );
}

/// There is a checkpoint at each step, so kills come before, at, and after unfreezing.
#[test]
fn killed_around_a_thaw_it_ends_in_the_same_bytes() {
    let reference = gradual().run(&[]).manifest();
    let arguments = ["--set", "run.checkpoint_seconds=0"];
    killed_runs_end_in(&reference, gradual, (&[1, 2, 2, 3], 4), 2, &arguments);
}
