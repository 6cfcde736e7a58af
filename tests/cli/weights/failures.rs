//! Servers that break off, lie, refuse or fall silent, and downloads that are stopped.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::server::{FakeHub, Reply, Request, Server, bytes, sha256};
use super::{User, content, ended, noise};

const NAME: &str = "hf://me/net";

/// Fails as often as `times`, then delivers.
fn after(
    times: usize,
    fail: impl Fn(&Request, &[u8]) -> Reply + Send + Sync,
) -> impl Fn(&Request, &[u8]) -> Reply + Send + Sync {
    let calls = AtomicUsize::new(0);
    move |request, content| match calls.fetch_add(1, Ordering::Relaxed) {
        call if call < times => fail(request, content),
        _ => bytes(request, content),
    }
}

#[test]
fn a_broken_download_continues_where_it_ended() {
    let weights = noise(400_000);
    let cut = |request: &Request, content: &[u8]| Reply { cut: Some(150_000), ..bytes(request, content) };
    let fake = FakeHub::with_storage(vec![("model.safetensors", weights.clone())], after(2, cut));
    let user = User::new(&fake.hub.address);
    assert_eq!(content(&user.fetched(NAME)), weights);
    let firsts: Vec<_> =
        fake.storage.requests().iter().map(|request| request.headers.get("range").cloned()).collect();
    assert_eq!(firsts, [None, Some("bytes=150000-".into()), Some("bytes=300000-".into())]);

    // The server is gone for longer: the next call continues.
    let calls = AtomicUsize::new(0);
    let fake =
        FakeHub::with_storage(vec![("model.safetensors", weights.clone())], move |request, content| {
            match calls.fetch_add(1, Ordering::Relaxed) {
                0 => Reply { cut: Some(100_000), ..bytes(request, content) },
                1..4 => Reply::status(503),
                _ => bytes(request, content),
            }
        });
    let user = User::new(&fake.hub.address);
    let failed = user.run(&["weights", "fetch", NAME]);
    assert!(
        failed.code == 1 && failed.text.contains("answers with status 503; what arrived is kept"),
        "{failed:?}"
    );
    assert_eq!(user.unfinished().len(), 1);
    assert_eq!(content(&user.fetched(NAME)), weights);
    assert_eq!(fake.storage.requests().last().unwrap().headers["range"], "bytes=100000-");
    assert!(user.unfinished().is_empty());
}

#[test]
fn old_bytes_that_are_wrong_are_fetched_again() {
    let weights = noise(100_000);
    let fake = FakeHub::new(vec![("model.safetensors", weights.clone())]);
    let user = User::new(&fake.hub.address);
    let blobs = user.repository().join("blobs");
    fs::create_dir_all(&blobs).unwrap();
    // As older versions of Python's library name it.
    fs::write(blobs.join(format!("{}.incomplete", sha256(&weights))), [0; 5000]).unwrap();
    assert_eq!(content(&user.fetched(NAME)), weights);
    assert!(user.unfinished().is_empty());
}

#[test]
fn servers_that_lie_are_noticed() {
    let refused = |deliver: fn(&Request, &[u8]) -> Reply, parts: &[&str]| {
        let fake = FakeHub::with_storage(vec![("model.safetensors", noise(50_000))], deliver);
        let user = User::new(&fake.hub.address);
        let ended = user.run(&["weights", "fetch", NAME]);
        assert_eq!(ended.code, 1, "{ended:?}");
        parts.iter().for_each(|part| assert!(ended.text.contains(part), "{part}\n{}", ended.text));
        assert!(user.unfinished().is_empty() && !user.repository().join("refs/main").exists());
        assert!(ended.text.contains("By hand: download `"), "{}", ended.text);
    };
    refused(
        |_, content| Reply { status: 200, body: vec![7; content.len()], ..Reply::default() },
        &["is damaged: its digest is", "try again"],
    );
    refused(
        |_, _| Reply { status: 200, body: b"<html>Log in</html>".to_vec(), ..Reply::default() },
        &["has 50000 bytes, but 19 were announced", "a proxy may answer"],
    );
    refused(
        |request, content| bytes(request, content).header("Content-Length", "60000"),
        &["has 50000 bytes, but 60000 were announced"],
    );
}

#[test]
fn a_server_that_ignores_ranges_sends_everything_again() {
    let weights = noise(200_000);
    let whole =
        |_: &Request, content: &[u8]| Reply { status: 200, body: content.to_vec(), ..Reply::default() };
    let calls = AtomicUsize::new(0);
    let fake =
        FakeHub::with_storage(vec![("model.safetensors", weights.clone())], move |request, content| {
            let cut = (calls.fetch_add(1, Ordering::Relaxed) == 0).then_some(70_000);
            Reply { cut, ..whole(request, content) }
        });
    assert_eq!(content(&User::new(&fake.hub.address).fetched(NAME)), weights);
}

#[test]
fn refusals_say_what_to_do() {
    let fake = FakeHub::new(vec![("model.safetensors", noise(10))]);
    let user = User::new(&fake.hub.address);
    let tell = |name: &str, code: i32, parts: &[&str]| {
        let ended = user.run(&["weights", "fetch", name]);
        assert_eq!(ended.code, code, "{ended:?}");
        parts.iter().for_each(|part| assert!(ended.text.contains(part), "{part}\n{}", ended.text));
    };
    tell("hf://me/gated", 1, &["`me/gated` is gated", "accept its conditions at", "HF_TOKEN", "By hand"]);
    tell("hf://me/nothing", 2, &["no repository `me/nothing`, or it is private", "HF_TOKEN"]);
    tell("hf://me/net@v7", 2, &["no revision `v7`"]);
    tell("hf:/me/net", 2, &["write `hf://me/net`"]);
    tell("me/net", 2, &["write `hf://me/net`"]);
    tell("resnet50.a1_in1k", 2, &["write `hf://timm/resnet50.a1_in1k`"]);
    let offline = user.with(("HF_HUB_OFFLINE", "1"), &["weights", "fetch", NAME]);
    let by_hand = format!("By hand: download `{}/me/net/resolve/main/model.safetensors`", fake.hub.address);
    assert!(
        offline.code == 1 && offline.text.contains("`HF_HUB_OFFLINE` forbids connections"),
        "{offline:?}"
    );
    assert!(offline.text.contains(&by_hand), "{offline:?}");
    let unknown = user.with(("HF_ENDPOINT", "http://no-such-host.invalid"), &["weights", "fetch", NAME]);
    assert!(
        unknown.code == 1 && unknown.text.contains("`no-such-host.invalid` cannot be found (DNS)"),
        "{unknown:?}"
    );
    let refused = user.with(("HF_ENDPOINT", "http://127.0.0.1:9"), &["weights", "fetch", NAME]);
    assert!(refused.code == 1 && refused.text.contains("connection refused"), "{refused:?}");
    let proxy =
        ended(user.command(&["weights", "fetch", NAME]).env("ALL_PROXY", "http://me:secret@127.0.0.1:9"));
    assert!(proxy.code == 1 && proxy.text.contains("through the proxy `127.0.0.1:9`"), "{proxy:?}");
    assert!(!proxy.text.contains("secret"), "{proxy:?}");
    let direct = user
        .command(&["weights", "fetch", NAME])
        .envs([("ALL_PROXY", "http://127.0.0.1:9"), ("NO_PROXY", "localhost,127.0.0.1")])
        .status();
    assert!(direct.unwrap().success());
}

#[test]
fn a_file_without_a_digest_is_resumed_only_if_it_did_not_change() {
    let version = Arc::new(AtomicUsize::new(0));
    let of = |version: usize| noise(100_000).iter().map(|byte| byte ^ version as u8).collect::<Vec<_>>();
    let served = Arc::clone(&version);
    let server = Server::new(move |request| {
        let call = served.load(Ordering::Relaxed);
        let (number, down) = (call / 2, call == 0);
        let etag = format!("\"v{number}\"");
        // RFC 9110, section 13.1.5: another version is sent whole.
        let mut request = request.clone();
        if request.headers.get("if-range").is_some_and(|value| *value != etag) {
            request.headers.remove("range");
        }
        let cut = (down && !request.headers.contains_key("range")).then_some(40_000);
        let reply = if down && cut.is_none() { Reply::status(503) } else { bytes(&request, &of(number)) };
        Reply { cut, ..reply }.header("ETag", etag)
    });
    let address = format!("{}/net.pth", server.address);
    for (next, whole) in [(1, false), (2, true)] {
        let user = User::new("http://127.0.0.1:9");
        version.store(0, Ordering::Relaxed);
        assert_eq!(user.run(&["weights", "fetch", &address]).code, 1);
        assert_eq!(user.unfinished().len(), 1);
        version.store(next, Ordering::Relaxed);
        assert_eq!(content(&user.fetched(&address)), of(next / 2));
        let last = server.requests().pop().unwrap();
        assert_eq!(!last.headers.contains_key("range"), whole, "{last:?}");
    }
}

#[test]
fn a_silent_server_is_given_up_and_asked_again() {
    let weights = noise(200_000);
    let silent = |request: &Request, content: &[u8]| Reply {
        pause: Duration::from_secs(30),
        ..bytes(request, content)
    };
    let fake = FakeHub::with_storage(vec![("model.safetensors", weights.clone())], after(1, silent));
    let user = User::new(&fake.hub.address);
    let ended = user.with(("HF_HUB_DOWNLOAD_TIMEOUT", "1"), &["weights", "fetch", NAME]);
    assert!(
        ended.code == 0 && ended.text.contains("`127.0.0.1` sent nothing for 1 s; trying again"),
        "{ended:?}"
    );
    assert_eq!(content(&user.fetched(NAME)), weights);
    assert_eq!(fake.storage.requests().last().unwrap().headers["range"], "bytes=100000-");
}

#[test]
fn a_killed_or_stopped_download_continues() {
    let weights = noise(600_000);
    let silent = |request: &Request, content: &[u8]| Reply {
        pause: Duration::from_secs(30),
        ..bytes(request, content)
    };
    let fake = FakeHub::with_storage(vec![("model.safetensors", weights.clone())], after(2, silent));
    let user = User::new(&fake.hub.address);
    for signal in ["-KILL", "-INT"] {
        let mut child = user.command(&["weights", "fetch", NAME]).spawn().unwrap();
        let have = || user.unfinished().iter().filter_map(|path| Some(fs::metadata(path).ok()?.len())).max();
        let mut waited = 0;
        while have().unwrap_or(0) < if signal == "-KILL" { 300_000 } else { 450_000 } {
            assert!(waited < 200, "{signal}");
            waited += 1;
            std::thread::sleep(Duration::from_millis(50));
        }
        let id = child.id().to_string();
        assert!(std::process::Command::new("kill").args([signal, &id]).status().unwrap().success());
        let status = child.wait().unwrap();
        assert_eq!(status.code(), if signal == "-KILL" { None } else { Some(130) });
    }
    assert_eq!(content(&user.fetched(NAME)), weights);
    assert_eq!(fake.storage.requests().last().unwrap().headers["range"], "bytes=450000-");
    assert!(user.unfinished().is_empty());
}
