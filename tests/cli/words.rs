//! Documents, help and schema are in plain technical English: archaic words and personifications are refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use walkdir::WalkDir;

/// What is refused, as a regular expression, and what to write instead.
const REFUSED: [(&str, &str); 36] = [
    (r"who(m|so)?ever", "name the person or the thing"),
    (r"whom", "name the person or the thing"),
    (
        r"(thence|whence|hitherto|forthwith|thereof|therein|wherein|whereof)",
        "from there, until now, at once, in it",
    ),
    (
        r"(lest|whilst|amongst|albeit|ere|nought|betwixt)",
        "so that … not, while, among, although, before, nothing, between",
    ),
    (r"beside", "next to, in addition to, and"),
    (r"told", "say what happens: reports, prints, recognises, distinguishes"),
    (
        r"tells? (the |its |their |them |these )?(classes |people |turtles |two |emotions )?apart",
        "distinguishes, classifies",
    ),
    (r"(comes?|came) to", "is, results in"),
    (r"(is|are|was|were|can be) to be (had|found|seen|looked)", "is free, is available"),
    (r"can be had", "is available"),
    (r"borne", "tolerated, allowed"),
    (r"(stands|stood|standing)", "is, remains, is written"),
    (r"stand (in|on|at|there|by|still|above|below|under|behind|apart)", "is, are, means"),
    (r"of itself", "automatically"),
    (r"of one's own", "a separate, your own"),
    (r"anew", "again"),
    (r"unasked", "by default"),
    (r"needs must", "must"),
    (r"need be", "if needed"),
    (r"what the file says is what happened", "say which promise is meant"),
    (r"shares? holds?", "percentages are approximate"),
    (r"moves? no other", "never moves another"),
    (r"is known by", "is identified by, its cache key covers"),
    (r"who (trains|train|joins|join|watches|teaches|moved|moves)", "which parameters, the user, the teacher"),
    (r"what joins", "the newly unfrozen parameters"),
    (r"behind the back of", "without"),
    (r"cures?", "fix, hint"),
    (r"(says|said|say|speaks|speak) of", "reports, describes, mentions"),
    (r"which is said", "and prints a note"),
    (r"said so", "reported"),
    (r"walk back", "backward pass"),
    (r"reckoned", "estimated, computed"),
    (r"dearer", "more expensive, slower"),
    (r"come by", "obtained"),
    (r"makes? of an? image", "the features of an image"),
    (r"are parted", "are divided"),
];

/// Every line of a text where such words are, with what to write instead.
fn refused(name: &str, text: &str) -> Vec<String> {
    let patterns: Vec<(Regex, &str)> = REFUSED
        .iter()
        .map(|(words, better)| (Regex::new(&format!(r"(?i)\b({words})\b")).expect("a pattern"), *better))
        .collect();
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        // What a symbol stands for is what it means.
        let line = line.replace("stands for", "means");
        for (pattern, better) in &patterns {
            if let Some(words) = pattern.find(&line) {
                found.push(format!("{name}:{}: `{}`; better: {better}", number + 1, words.as_str()));
            }
        }
    }
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn help(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_defrost"));
    let output = command.args(arguments).arg("--help").output().expect("defrost starts");
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn assert_none(found: Vec<String>) {
    assert!(found.is_empty(), "{} places:\n{}", found.len(), found.join("\n"));
}

#[test]
fn documents_are_in_plain_english() {
    let of_the_project = |path: &Path| {
        let first = path.strip_prefix(root()).expect("below the root").iter().next();
        first.is_none_or(|name| name != "target" && !name.to_string_lossy().starts_with('.'))
    };
    let walk = WalkDir::new(root()).sort_by_file_name().into_iter();
    let files =
        walk.filter_entry(|entry| of_the_project(entry.path())).map(|entry| entry.unwrap().into_path());
    let mut found = Vec::new();
    for path in files {
        let name = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
        let is_pipeline = name.starts_with("pipelines/") && name.ends_with(".toml");
        if name.ends_with(".md") || is_pipeline {
            found.extend(refused(&name, &fs::read_to_string(&path).expect("UTF-8")));
        }
    }
    assert_none(found);
}

#[test]
fn help_is_in_plain_english() {
    let overview = help(&[]);
    let (_, commands) = overview.split_once("Commands:\n").expect("a list of commands");
    let commands: Vec<&str> = commands
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
        .filter(|name| *name != "help" && name.starts_with(|letter: char| letter.is_ascii_lowercase()))
        .collect();
    assert!(commands.len() > 15, "{commands:?}");
    let mut found = refused("defrost --help", &overview);
    for command in commands {
        found.extend(refused(&format!("defrost {command} --help"), &help(&[command])));
    }
    assert_none(found);
}

#[test]
fn the_schema_is_in_plain_english() {
    let file = root().join("schemas/pipeline.schema.json");
    assert_none(refused("schemas/pipeline.schema.json", &fs::read_to_string(file).expect("UTF-8")));
}
