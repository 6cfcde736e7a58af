//! The TOML examples of README and of `docs/pipeline-file.md` validate.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The TOML blocks of a page, each with the number of its first line.
fn blocks(page: &str) -> Vec<(usize, String)> {
    let (mut blocks, mut open) = (Vec::new(), None);
    for (line, text) in page.lines().enumerate() {
        match (&mut open, text) {
            (None, "```toml") => open = Some((line + 2, String::new())),
            (Some(_), "```") => blocks.extend(open.take()),
            (Some((_, block)), text) => {
                block.push_str(text);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    blocks
}

/// The first example of a page is a whole file. Every other one is a whole file too, if it begins with `name` or
/// `extends`, or else what a file adds that extends the first.
fn assert_valid(page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let blocks = blocks(&fs::read_to_string(&path).expect("the page is there"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(folder.path().join("runs")).expect("the folder is ours");
    let (_, first) = blocks.first().expect("the page has an example");
    fs::write(folder.path().join("common.toml"), first).expect("the folder is ours");
    // Another pipeline, for examples that load its weights.
    let other = first.replace("[stage.frozen]", "[stage.domain]").replace("frozen@best", "domain@best");
    fs::write(folder.path().join("pretrain.toml"), other).expect("the folder is ours");
    let mut wrong = Vec::new();
    for (line, block) in &blocks {
        let whole = ["name ", "extends "].iter().any(|key| block.starts_with(key));
        let head = if whole { "" } else { "extends = \"common.toml\"\n" };
        let file = folder.path().join("example.toml");
        fs::write(&file, format!("{head}{block}")).expect("the folder is ours");
        let mut command = Command::new(env!("CARGO_BIN_EXE_defrost"));
        let output = command.args(["validate", "--no-inputs"]).arg(&file).output().expect("defrost starts");
        if !output.status.success() {
            wrong.push(format!("{page}:{line}: {}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_examples_of_the_reference_validate() {
    assert_valid("docs/pipeline-file.md");
}

#[test]
fn the_examples_of_the_readme_validate() {
    assert_valid("README.md");
}
