//! `defrost schema`, and the copy of it that the repository keeps.

use assert_cmd::Command;

#[test]
fn the_schema_in_the_repository_is_the_program_s() {
    let output = Command::cargo_bin("defrost").unwrap().arg("schema").output().unwrap();
    assert!(output.status.success());
    let kept = include_str!("../../schemas/pipeline.schema.json");
    assert!(
        output.stdout == kept.as_bytes(),
        "out of date: run `defrost schema > schemas/pipeline.schema.json`"
    );
}
