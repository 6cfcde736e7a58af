//! `run.tensorboard`: event files next to a run, which change nothing else. `tests/interop` reads them with TensorBoard.

use crate::project::{Project, document};

#[test]
fn event_files_are_no_part_of_a_run() {
    let project = Project::new();
    let run = project.run(&["--set", "run.tensorboard=true"]);
    for stage in ["frozen", "finetune"] {
        let folder = run.directory.join("tensorboard").join(stage);
        let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        let bytes = std::fs::read(&files[0]).unwrap();
        assert!(String::from_utf8_lossy(&bytes).contains("accuracy/validation"));
    }
    assert!(!run.read("manifest.json").contains("tensorboard"));
    let verified = document(&project.defrost(&["verify", "colours", "--json"]));
    assert_eq!(verified["problems"], serde_json::json!([]), "{verified}");
    // Without the setting it is the same run, and cached.
    let again = project.run(&[]);
    assert_eq!(again.directory, run.directory);
    assert!(again.document["stages"].as_array().unwrap().iter().all(|stage| stage["status"] == "cached"));
}
