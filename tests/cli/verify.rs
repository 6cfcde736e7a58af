use insta::assert_snapshot;

use crate::synthetic::{Runs, Turtles, change};

#[test]
fn a_run_that_tells_the_truth_is_verified() {
    let runs = Runs::new();
    runs.complete(&Turtles::default());
    assert_snapshot!(runs.say(&["verify", "turtles"]), @r"
    [runs]/turtles/ad44b9d9: 8 files unchanged since the run ended
    stages/finetune/best.safetensors: 2 frozen tensors, all bits unchanged
    stages/finetune/last.safetensors: 2 frozen tensors, all bits unchanged
    ");
    assert_eq!(runs.json(&["verify", "turtles"])["valid"], true);
    // Clocks, host names and the state are not verified.
    let run = runs.complete(&Turtles { at: 1, ..Turtles::default() });
    change(&run.path().join("log.txt"), |log| log.clear());
    assert!(runs.defrost(&["verify", "turtles"]).status.success());
}

#[test]
fn one_flipped_bit_of_a_frozen_tensor_is_found_and_named() {
    let runs = Runs::new();
    let run = runs.complete(&Turtles::default());
    let checkpoint = run.path().join("stages/finetune/best.safetensors");
    // -2.0 as f32, little endian: element 1 of `conv.weight`.
    let flip = |bytes: &mut Vec<u8>| {
        let place = bytes.windows(4).position(|bytes| bytes == (-2.0f32).to_le_bytes()).expect("it is there");
        bytes[place] ^= 1;
    };
    change(&checkpoint, flip);
    assert_eq!(runs.defrost(&["verify", "turtles"]).status.code(), Some(1));
    assert_snapshot!(runs.say(&["verify", "turtles"]), @r"
    [runs]/turtles/ad44b9d9: 7 files unchanged since the run ended
    stages/finetune/last.safetensors: 2 frozen tensors, all bits unchanged
    error: `stages/finetune/best.safetensors` changed since the run ended
    error: `stages/finetune/best.safetensors`: frozen `conv.weight` changed: element 1 was -2.0 (0xc0000000) and is -2.0000002 (0xc0000001)
    ");
    let problem = &runs.json(&["verify", "turtles"])["problems"][1];
    assert_eq!((&problem["tensor"], &problem["element"]), (&"conv.weight".into(), &1.into()));
}

#[test]
fn missing_changed_and_foreign_files_are_named() {
    let runs = Runs::new();
    let run = runs.complete(&Turtles::default());
    std::fs::remove_file(run.path().join("resolved.toml")).unwrap();
    std::fs::remove_file(run.path().join("stages/pretrained/weights.safetensors")).unwrap();
    std::fs::write(run.path().join("stages/notes.txt"), "mine").unwrap();
    std::os::unix::fs::symlink("/etc/hostname", run.path().join("link")).unwrap();
    change(&run.path().join("stages/finetune/last.safetensors"), |bytes| bytes.truncate(20));
    change(&run.path().join("stages/test/metrics.json"), |bytes| bytes.push(b' '));
    assert_snapshot!(runs.say(&["verify", "turtles"]), @r"
    [runs]/turtles/ad44b9d9: 4 files unchanged since the run ended
    error: `link` does not belong to this run
    error: `stages/notes.txt` does not belong to this run
    error: `resolved.toml` is missing
    error: `stages/finetune/last.safetensors` changed since the run ended
    error: `stages/pretrained/weights.safetensors` is missing
    error: `stages/test/metrics.json` changed since the run ended
    ");
}

#[test]
fn an_unfinished_run_cannot_be_verified() {
    let runs = Runs::new();
    runs.interrupted(&Turtles::default());
    assert_eq!(runs.defrost(&["verify", "turtles"]).status.code(), Some(2));
    assert_snapshot!(runs.say(&["verify", "turtles"]), @r"
    error: `[runs]/turtles/ad44b9d9` is interrupted: only a complete run can be verified
    hint: run its pipeline again to resume it
    ");
}
