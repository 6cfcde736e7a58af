//! The TOML examples of README and of `docs/pipeline-file.md` validate, and links and paths of documents exist.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use walkdir::WalkDir;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

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
    let blocks = blocks(&fs::read_to_string(root().join(page)).expect("the page is there"));
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
fn the_examples_of_the_detection_page_validate() {
    assert_valid("docs/detection.md");
}

#[test]
fn the_examples_of_the_readme_validate() {
    assert_valid("README.md");
}

/// The anchors that GitHub gives to the headings of a page.
fn anchors(page: &str) -> Vec<String> {
    let titles =
        page.lines().filter_map(|line| line.strip_prefix('#')?.trim_start_matches('#').strip_prefix(' '));
    let anchor = |title: &str| {
        let kept = title.to_lowercase().replace(' ', "-");
        kept.chars().filter(|letter| letter.is_alphanumeric() || "-_".contains(*letter)).collect()
    };
    titles.map(anchor).collect()
}

#[test]
fn the_links_of_documents_lead_to_files_and_headings() {
    let of_the_project = |path: &Path| {
        let first = path.strip_prefix(root()).expect("below the root").iter().next();
        first.is_none_or(|name| name != "target" && !name.to_string_lossy().starts_with('.'))
    };
    let link = Regex::new(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)").expect("a pattern");
    let code = Regex::new("(?s)```.*?```").expect("a pattern");
    let mut wrong = Vec::new();
    for entry in WalkDir::new(root()).into_iter().filter_entry(|entry| of_the_project(entry.path())) {
        let path = entry.expect("the folder can be read").into_path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("UTF-8");
        for found in link.captures_iter(&code.replace_all(&text, "")) {
            let (file, anchor) = (&found[1], found.get(2).map(|anchor| anchor.as_str()));
            if file.contains("://") {
                continue;
            }
            let target = if file.is_empty() { path.clone() } else { path.with_file_name("").join(file) };
            let has = |anchor: &str| {
                anchors(&fs::read_to_string(&target).unwrap_or_default()).iter().any(|known| known == anchor)
            };
            if !target.exists() || !anchor.is_none_or(has) {
                wrong.push(format!("{}: {}", path.display(), &found[0]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Files are named below the root, or below the `src` folder of a crate.
#[test]
fn the_paths_in_architecture_and_contributing_exist() {
    let crates = fs::read_dir(root().join("crates")).into_iter().flatten();
    let mut folders: Vec<PathBuf> =
        crates.map(|entry| entry.expect("the folder can be read").path().join("src")).collect();
    folders.extend([root(), root().join("src")]);
    let quoted = Regex::new(r"`([a-z0-9_-]+/[a-z0-9_/.-]*)`").expect("a pattern");
    let mut wrong = Vec::new();
    for page in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = fs::read_to_string(root().join(page)).expect("the page is there");
        for found in quoted.captures_iter(&text) {
            // What runs write is not in the repository.
            let written = found[1].starts_with("runs/");
            if !written && !folders.iter().any(|folder| folder.join(&found[1]).exists()) {
                wrong.push(format!("{page}: {}", &found[1]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
