//! What is fetched, where it is, and that it is fetched once.

use std::fs;
use std::time::Duration;

use super::server::{COMMIT, FakeHub, Reply, Request, Server, bytes, sha256};
use super::{User, content, ended, noise};

const NAME: &str = "hf://me/net";

#[test]
fn a_file_of_the_hub_is_where_python_expects_it_and_is_fetched_once() {
    let weights = noise(300_000);
    let fake = FakeHub::new(vec![("README.md", b"x".to_vec()), ("model.safetensors", weights.clone())]);
    let user = User::new(&fake.hub.address);
    let ended = ended(user.command(&["weights", "fetch", NAME, "--json"]).env("HF_TOKEN", "hf_secret"));
    assert!(
        ended.code == 0 && ended.text.contains("fetching") && !ended.text.contains("hf_secret"),
        "{ended:?}"
    );
    let fetched: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    let fetched = &fetched["weights"][0];
    assert_eq!(content(fetched), weights);
    assert_eq!(fetched["pinned"], format!("hf://me/net@{COMMIT}/model.safetensors"));
    assert_eq!(fetched["sha256"], sha256(&weights));

    let repository = user.repository();
    assert_eq!(fs::read_to_string(repository.join("refs/main")).unwrap(), COMMIT);
    let pointer = repository.join(format!("snapshots/{COMMIT}/model.safetensors"));
    assert_eq!(fetched["path"], pointer.to_str().unwrap());
    let target = format!("../../blobs/{}", sha256(&weights));
    assert_eq!(fs::read_link(&pointer).unwrap().to_str(), Some(target.as_str()));
    assert!(user.unfinished().is_empty());

    // The token goes to the hub alone.
    let has_token =
        |request: &Request| request.headers.get("authorization").is_some_and(|a| a == "Bearer hf_secret");
    assert!(fake.hub.requests().iter().all(has_token));
    assert!(!fake.storage.requests().iter().any(has_token) && fake.storage.count("GET") == 1);

    let before = fake.hub.requests().len();
    user.fetched(NAME);
    user.fetched(&format!("hf://me/net@{COMMIT}/model.safetensors"));
    assert_eq!(fake.hub.requests().len(), before, "it is in the cache");
    // Another name of the same content costs no download.
    user.fetched("hf://me/net@v1");
    assert_eq!(fs::read_to_string(repository.join("refs/v1")).unwrap(), COMMIT);
    assert_eq!(fake.storage.count("GET"), 1);
}

#[test]
fn a_cache_of_python_is_used_without_a_connection() {
    let user = User::new("http://127.0.0.1:9");
    let weights = noise(2000);
    let snapshot = user.repository().join("snapshots").join(COMMIT);
    for folder in ["blobs", "refs", "snapshots"] {
        fs::create_dir_all(user.repository().join(folder)).unwrap();
    }
    fs::create_dir_all(&snapshot).unwrap();
    fs::write(user.repository().join("blobs").join(sha256(&weights)), &weights).unwrap();
    // As on file systems without links: a copy.
    fs::write(snapshot.join("pytorch_model.bin"), &weights).unwrap();
    fs::write(user.repository().join("refs/main"), COMMIT).unwrap();
    let named = user.fetched("hf://me/net/pytorch_model.bin");
    assert_eq!((content(&named), &named["sha256"]), (weights.clone(), &sha256(&weights).into()));
    // Without a name, another machine might get `model.safetensors`, unless there is none.
    assert_eq!(user.run(&["weights", "fetch", NAME]).code, 1);
    let lacking = user.repository().join(".no_exist").join(COMMIT);
    fs::create_dir_all(&lacking).unwrap();
    fs::write(lacking.join("model.safetensors"), "").unwrap();
    assert_eq!(content(&user.fetched(NAME)), weights);
}

#[test]
fn the_usual_file_of_a_repository_is_chosen_or_the_choice_is_listed() {
    let user = |files: &[&'static str]| {
        let fake = FakeHub::new(files.iter().map(|name| (*name, noise(1500))).collect());
        (User::new(&fake.hub.address), fake)
    };
    let (bin, _fake) = user(&["pytorch_model.bin", "training_args.bin"]);
    assert_eq!(bin.fetched(NAME)["pinned"], format!("hf://me/net@{COMMIT}/pytorch_model.bin"));
    assert!(bin.repository().join(".no_exist").join(COMMIT).join("model.safetensors").is_file());
    let (only, fake) = user(&["dinov2.pth", "config.json"]);
    assert_eq!(only.fetched(NAME)["pinned"], format!("hf://me/net@{COMMIT}/dinov2.pth"));
    let before = fake.hub.requests().len();
    only.fetched(NAME);
    assert_eq!(fake.hub.requests().len(), before, "the cache knows that the usual files do not exist");

    let refused = |files: &[&'static str], name: &str, parts: &[&str]| {
        let (user, _fake) = user(files);
        let ended = user.run(&["weights", "fetch", name]);
        assert_eq!(ended.code, 2, "{ended:?}");
        parts.iter().for_each(|part| assert!(ended.text.contains(part), "{part}\n{}", ended.text));
    };
    refused(&["a.pth", "sub/b.pth"], NAME, &["`a.pth`, `sub/b.pth`", "hf://me/net/a.pth"]);
    refused(&["README.md"], NAME, &["no weights"]);
    let shards = [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ];
    refused(&shards, NAME, &["in several files", "save_file"]);
    refused(&shards, "hf://me/net/model-00001-of-00002.safetensors", &["in several files", "save_file"]);
    refused(&["a.pth"], "hf://me/net/b.pth", &["no file `b.pth`", "`a.pth`"]);
}

#[test]
fn small_files_and_renamed_repositories_are_fetched() {
    let fake = FakeHub::new(vec![("model.safetensors", noise(500))]);
    let user = User::new(&fake.hub.address);
    let fetched = user.fetched("hf://me/old");
    assert_eq!((content(&fetched), &fetched["sha256"]), (noise(500), &sha256(&noise(500)).into()));
    assert_eq!(fake.storage.requests().len(), 0);
}

#[test]
fn an_address_is_fetched_into_the_own_cache_and_checked_by_its_name() {
    let weights = noise(60_000);
    let digest = sha256(&weights);
    let name = format!("/models/net-{}.pth", &digest[..8]);
    let content_of_server = weights.clone();
    let server = Server::new(move |request| match request.path.as_str() {
        "/moved.pth" => Reply::status(302).header("Location", "/plain.pth?signature=x"),
        path if path.starts_with("/models/") || path.starts_with("/plain") => {
            bytes(request, &content_of_server)
        }
        "/broken.pth" => Reply::status(500),
        _ => Reply::status(404),
    });
    let user = User::new("http://127.0.0.1:9");
    let fetched = user.fetched(&format!("{}{name}", server.address));
    assert_eq!((content(&fetched), &fetched["sha256"]), (weights.clone(), &digest.into()));
    let path = fetched["path"].as_str().unwrap();
    assert!(path.contains("/.cache/defrost/weights/") && path.ends_with(".pth"), "{path}");
    let before = server.requests().len();
    user.fetched(&format!("{}{name}", server.address));
    assert_eq!(server.requests().len(), before);
    assert_eq!(content(&user.fetched(&format!("{}/moved.pth", server.address))), weights);

    let tell = |path: &str, code: i32, part: &str| {
        let ended = user.run(&["weights", "fetch", &format!("{}{path}", server.address)]);
        assert!(ended.code == code && ended.text.contains(part), "{ended:?}");
    };
    tell("/models/net-00000000.pth", 1, "is damaged: its digest is");
    tell("/nothing.pth", 2, "has no file");
    tell("/broken.pth", 1, "answers with status 500");

    // PyTorch has it already: no request.
    let other = User::new("http://127.0.0.1:9");
    let checkpoints = other.path().join(".cache/torch/hub/checkpoints");
    fs::create_dir_all(&checkpoints).unwrap();
    fs::write(checkpoints.join(name.rsplit('/').next().unwrap()), &weights).unwrap();
    let before = server.requests().len();
    assert_eq!(content(&other.fetched(&format!("{}{name}", server.address))), weights);
    assert_eq!(server.requests().len(), before);
}

#[test]
fn two_processes_fetch_a_file_once() {
    let weights = noise(300_000);
    let slow = |request: &Request, content: &[u8]| Reply {
        pause: Duration::from_millis(700),
        ..bytes(request, content)
    };
    let fake = FakeHub::with_storage(vec![("model.safetensors", weights.clone())], slow);
    let user = User::new(&fake.hub.address);
    std::thread::scope(|scope| {
        let fetch = || content(&user.fetched(NAME));
        let both = [scope.spawn(fetch), scope.spawn(fetch)];
        both.into_iter().for_each(|one| assert_eq!(one.join().unwrap(), weights));
    });
    assert_eq!(fake.storage.count("GET"), 1);
}

#[test]
fn an_update_asks_whether_the_branch_moved() {
    let fake = FakeHub::new(vec![("model.safetensors", noise(3000))]);
    let user = User::new(&fake.hub.address);
    user.fetched(NAME);
    let old = "f".repeat(40);
    let snapshots = user.repository().join("snapshots");
    fs::rename(snapshots.join(COMMIT), snapshots.join(&old)).unwrap();
    fs::write(user.repository().join("refs/main"), &old).unwrap();
    assert_eq!(user.fetched(NAME)["pinned"], format!("hf://me/net@{old}/model.safetensors"));
    let updated = user.run(&["weights", "fetch", NAME, "--update"]);
    assert!(updated.code == 0 && updated.text.contains(COMMIT), "{updated:?}");
    assert_eq!(user.fetched(NAME)["pinned"], format!("hf://me/net@{COMMIT}/model.safetensors"));
}
