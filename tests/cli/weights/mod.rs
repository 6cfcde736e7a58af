//! `defrost weights`, and weights that a pipeline names: fetched once, checked, and then a file like any other.

mod failures;
mod fetching;
mod pipelines;
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// A user with empty caches.
struct User {
    home: tempfile::TempDir,
    endpoint: String,
}

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    text: String,
}

impl User {
    fn new(endpoint: &str) -> Self {
        Self { home: tempfile::tempdir().unwrap(), endpoint: endpoint.to_owned() }
    }

    fn path(&self) -> &Path {
        self.home.path()
    }

    /// The repository `me/net` in the cache of the hub.
    fn repository(&self) -> PathBuf {
        self.path().join(".cache/huggingface/hub/models--me--net")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let program = std::env::var_os("DEFROST").unwrap_or_else(|| env!("CARGO_BIN_EXE_defrost").into());
        let mut command = Command::new(program);
        for name in
            ["HF_HOME", "HF_TOKEN", "XDG_CACHE_HOME", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]
        {
            command.env_remove(name);
        }
        command.current_dir(self.path()).args(arguments).stdin(Stdio::null());
        command
            .env("HOME", self.path())
            .env("HF_ENDPOINT", &self.endpoint)
            .env("HF_HUB_DOWNLOAD_TIMEOUT", "60");
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        ended(&mut self.command(arguments))
    }

    fn with(&self, variable: (&str, &str), arguments: &[&str]) -> Ended {
        ended(self.command(arguments).env(variable.0, variable.1))
    }

    /// Fetches a name, and returns what was fetched.
    #[track_caller]
    fn fetched(&self, name: &str) -> Value {
        let ended = self.run(&["weights", "fetch", name, "--json"]);
        assert_eq!(ended.code, 0, "{}", ended.text);
        let document: Value = serde_json::from_str(&ended.out).unwrap();
        document["weights"][0].clone()
    }

    /// Unfinished files below a folder.
    fn unfinished(&self) -> Vec<PathBuf> {
        let files = walkdir::WalkDir::new(self.path()).into_iter().flatten();
        let files = files.map(walkdir::DirEntry::into_path);
        files.filter(|path| path.extension().is_some_and(|end| end == "incomplete")).collect()
    }
}

fn ended(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        text: String::from_utf8(output.stderr).unwrap(),
    }
}

#[track_caller]
fn content(fetched: &Value) -> Vec<u8> {
    fs::read(fetched["path"].as_str().unwrap()).unwrap()
}

/// Bytes that are the same in every call.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn known_weights_are_listed_by_architecture() {
    let user = User::new("http://127.0.0.1:9");
    let listed = user.run(&["weights", "--arch", "resnet50"]);
    assert_eq!(listed.code, 0);
    for part in
        ["hf://timm/resnet50.a1_in1k", "resnet50-11ad3fa6.pth", "apache-2.0", "cc-by-nc-4.0", "224/232"]
    {
        assert!(listed.out.contains(part), "{part}\n{}", listed.out);
    }
    assert!(!listed.out.contains("resnet18"));
    let all: Value = serde_json::from_str(&user.run(&["weights", "--json"]).out).unwrap();
    let all = all["weights"].as_array().unwrap();
    assert!(all.len() > 50 && all.iter().all(|known| known["fetched"].is_null()));
    let unknown = user.run(&["weights", "--arch", "resnet51"]);
    assert!(unknown.code == 2 && unknown.text.contains("no published weights of `resnet51`"), "{unknown:?}");
}
