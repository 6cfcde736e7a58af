//! `defrost watch`, over a socket as any program on this machine may use it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::project::{Project, ended};
use crate::report::write_scores;
use crate::synthetic::{Runs, Turtles};

/// A running `watch`, killed on drop.
struct Watch {
    child: Child,
    port: u16,
    /// `/` and the secret.
    root: String,
}

struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Watch {
    fn start(runs_dir: &std::path::Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_defrost"));
        command.args(["watch", "--port", "0", "--runs-dir"]).arg(runs_dir).args(arguments);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("defrost starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let (address, tunnel) = (lines.next().unwrap().unwrap(), lines.next().unwrap().unwrap());
        let rest = address.strip_prefix("http://127.0.0.1:").expect("an address");
        let (port, secret) = rest.split_once('/').expect("a path");
        assert!(tunnel.contains(&format!("ssh -L {port}:127.0.0.1:{port} ")), "{tunnel}");
        assert_eq!(secret.len(), 33, "{secret}");
        Self { port: port.parse().unwrap(), root: format!("/{}", secret.trim_end_matches('/')), child }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    fn send(&self, request: &[u8]) -> Reply {
        let mut stream = self.connect();
        // The server may answer before it has read everything.
        let _ = stream.write_all(request);
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("an answer");
        let end = bytes.windows(4).position(|end| end == b"\r\n\r\n").expect("a head") + 4;
        let head = String::from_utf8(bytes[..end].to_vec()).expect("text");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Reply { status, head, body: bytes.split_off(end) }
    }

    fn get(&self, path: &str) -> Reply {
        let root = &self.root;
        self.send(format!("GET {root}{path} HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", self.port).as_bytes())
    }

    fn interrupt(self) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        let mut this = std::mem::ManuallyDrop::new(self);
        assert!(
            Command::new("kill")
                .args(["-s", "INT", &this.child.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
        let code = this.child.wait().unwrap().code();
        (code, begun.elapsed())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every file below a folder, with its size and time.
fn files(folder: &std::path::Path) -> Vec<String> {
    let entries = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().map(|entry| entry.unwrap());
    let entry = |entry: walkdir::DirEntry| {
        let metadata = entry.metadata().unwrap();
        format!("{} {} {:?}", entry.path().display(), metadata.len(), metadata.modified().unwrap())
    };
    entries.map(entry).collect()
}

#[test]
fn the_pages_of_runs_their_reports_and_linked_files_are_served_and_nothing_is_written() {
    let runs = Runs::new();
    let run = runs.complete(&Turtles::default());
    write_scores(&run, 1);
    runs.interrupted(&Turtles { lr: 3e-5, ..Turtles::default() });
    let before = files(runs.path());
    let watch = Watch::start(runs.path(), &[]);
    let list = watch.get("/");
    let text = list.text();
    assert_eq!((list.status, text.matches("class=\"tag complete\"").count()), (200, 1), "{text}");
    assert!(
        text.contains(&run.id())
            && text.contains("interrupted")
            && text.contains("0.9000 (epoch 2 of finetune)")
    );
    for expected in ["default-src 'none'; script-src 'self'", "no-store", "nosniff", "frame-ancestors 'none'"]
    {
        assert!(list.head.contains(expected), "{}", list.head);
    }
    assert!(watch.get("/watch.js").text().contains("fetch(location.pathname"));

    let page = format!("/run/turtles/{}/", run.id());
    let shown = watch.get(&page).text();
    assert!(shown.contains("<svg") && shown.contains("href=\"report.html\""), "{shown}");
    let report = watch.get(&format!("{page}report.html?x=1"));
    assert!(report.text().contains("Started 2026-11-22 01:59 UTC"), "{}", report.text());
    assert!(!report.head.contains("script-src"));
    let history = watch.get(&format!("{page}stages/finetune/history.csv"));
    assert_eq!(history.body, fs::read(run.stage("finetune").join("history.csv")).unwrap());
    let head = watch.send(format!("HEAD {}/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", watch.root).as_bytes());
    assert_eq!((head.status, head.body.len()), (200, 0));
    let (code, _) = watch.interrupt();
    assert_eq!(code, Some(130));
    assert_eq!(files(runs.path()), before);
}

#[test]
fn hostile_requests_get_nothing() {
    let runs = Runs::new();
    let run = runs.complete(&Turtles::default());
    write_scores(&run, 1);
    fs::write(runs.path().join("secret.csv"), "secret").unwrap();
    #[cfg(unix)]
    {
        // A link that leads out of a run, in place of a file that the report links.
        let file = run.stage("finetune").join("parameters.csv");
        std::os::unix::fs::symlink(runs.path().join("secret.csv"), file).unwrap();
    }
    let watch = Watch::start(runs.path(), &[]);
    let page = format!("/run/turtles/{}", run.id());
    for path in [
        "/../secret.csv",
        "/%2e%2e/secret.csv",
        "/run/../secret.csv",
        "/run/turtles/../secret.csv",
        "/run/turtles%2f..%2f../x/",
        "/run/.store/x/",
        &format!("{page}/../../secret.csv"),
        &format!("{page}/..%2f..%2fsecret.csv"),
        &format!("{page}/stages/finetune/../../../../secret.csv"),
        &format!("{page}/stages/finetune/parameters.csv"),
        &format!("{page}/events.jsonl"),
        &format!("{page}//etc/passwd"),
        &page,
    ] {
        let reply = watch.get(path);
        assert!(reply.status == 404 && !reply.text().contains("secret"), "{path}: {}", reply.text());
    }
    let (root, port) = (&watch.root, watch.port);
    let get =
        |line: &str, headers: &str| watch.send(format!("{line} HTTP/1.1\r\n{headers}\r\n").as_bytes()).status;
    let own = format!("Host: 127.0.0.1:{port}\r\n");
    // Without the secret, another user of the machine gets nothing.
    for path in ["/", "/watch.js", "/00000000000000000000000000000000/", &root.replace('/', "/x")] {
        assert_eq!(get(&format!("GET {path}"), &own), 404, "{path}");
    }
    for host in ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "169.254.1.1"] {
        assert_eq!(get(&format!("GET {root}/"), &format!("Host: {host}\r\n")), 403, "{host}");
    }
    assert_eq!(get(&format!("GET {root}/"), ""), 403);
    assert_eq!(get(&format!("GET {root}/"), &format!("{own}Sec-Fetch-Site: cross-site\r\n")), 403);
    assert_eq!(get(&format!("POST {root}/"), &own), 405);
    assert_eq!(get(&format!("DELETE {root}{page}/"), &own), 405);
    assert_eq!(get("nonsense", &own), 400);
    assert_eq!(watch.send(b"\xff\xfe\r\n\r\n").status, 400);
    // Megabytes of headers are not kept.
    for long in [
        format!("GET /{} HTTP/1.1\r\n{own}\r\n", "x".repeat(1 << 20)),
        format!("GET / HTTP/1.1\r\n{own}X: {}", "x".repeat(1 << 19)),
    ] {
        assert_eq!(watch.send(long.as_bytes()).status, 431);
    }
    assert_eq!(watch.get("/").status, 200);
}

#[test]
fn slow_clients_stop_neither_others_nor_ctrl_c() {
    let runs = Runs::new();
    runs.complete(&Turtles::default());
    let watch = Watch::start(runs.path(), &[]);
    // More than the server keeps at a time, with half a request each.
    let mut slow: Vec<TcpStream> = (0..40).map(|_| watch.connect()).collect();
    slow.iter_mut().for_each(|client| client.write_all(b"GET / HT").unwrap());
    let begun = Instant::now();
    assert_eq!(watch.get("/").status, 200);
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    // A client that reads nothing.
    let mut deaf = watch.connect();
    deaf.write_all(format!("GET {}/ HTTP/1.1\r\nHost: localhost\r\n\r\n", watch.root).as_bytes()).unwrap();
    let again: Vec<TcpStream> = (0..20).map(|_| watch.connect()).collect();
    let (code, time) = watch.interrupt();
    assert_eq!(code, Some(130));
    assert!(time < Duration::from_secs(5), "{time:?}");
    drop((slow, again, deaf));
}

#[test]
fn a_run_appears_and_its_pages_follow_it() {
    let project = Project::new();
    let watch = Watch::start(&project.path().join("runs"), &[]);
    assert!(watch.get("/").text().contains("No runs yet"));
    let run = project.start(&["--set", "stage.finetune.epochs=400"]);
    let begun = Instant::now();
    let follow = |what: &dyn Fn(&str) -> bool| {
        loop {
            let text = watch.get("/").text();
            if what(&text) {
                return text;
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "{text}");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    // An epoch may be in its table before it is in the events.
    let marks = ["class=\"tag running\"", "finetune: loss and accuracy", "class=\"meter\"", "epoch "];
    let text = follow(&|text| marks.iter().all(|mark| text.contains(*mark)));
    let page = text.split("href=\"").nth(1).unwrap().split('"').next().unwrap();
    let shown = watch.get(&format!("/{page}")).text();
    assert!(shown.contains("frozen: loss and accuracy") && shown.contains("finetune: loss and accuracy"));
    assert_eq!(watch.get(&format!("/{page}report.html")).status, 200, "a report of an unfinished run");
    assert!(Command::new("kill").arg(run.id().to_string()).status().unwrap().success());
    assert_eq!(ended(run).status.code(), Some(130));
    follow(&|text| text.contains("interrupted") && !text.contains("running"));
}

#[test]
fn a_used_port_and_an_unknown_run_are_errors() {
    let runs = Runs::new();
    runs.complete(&Turtles::default());
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port().to_string();
    let output = runs.defrost(&["watch", "--port", &port]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("cannot listen on 127.0.0.1") && text.contains("--port 0"), "{text}");
    let output = runs.defrost(&["watch", "--port", "0", "turtels"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("did you mean `turtles`?"));
}
