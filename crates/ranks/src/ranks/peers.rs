//! The processes of this machine: whether they still run, and how many share its cores.
//!
//! A rank that waits for one that was killed would wait for ever. Most launchers end the others; where one does not,
//! ranks of the same machine notice.

use std::fs;

use serde::{Deserialize, Serialize};

/// What a rank tells the others about its process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Of this program: others may read other messages.
    version: String,
    /// Of the boot and the namespace in which process numbers mean the same; empty if the system does not say.
    machine: String,
    pid: u32,
    /// A process with the same number that started at another time is another one.
    started: String,
    /// The cores that it may use, as the system lists them.
    cores: String,
}

impl Process {
    /// The process that calls this.
    pub fn own() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let boot = read("/proc/sys/kernel/random/boot_id").trim().to_owned();
        let namespace = fs::read_link("/proc/self/ns/pid").map(|link| link.display().to_string());
        let status = read("/proc/self/status");
        let cores = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let pid = std::process::id();
        let machine = match namespace {
            Ok(namespace) if !boot.is_empty() => format!("{boot} {namespace}"),
            _ => String::new(),
        };
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            machine,
            pid,
            started: state(pid).map(|(_, started)| started).unwrap_or_default(),
            cores: cores.unwrap_or_default().trim().to_owned(),
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text is plain data")
    }

    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    fn shares_machine(&self, other: &Self) -> bool {
        !self.machine.is_empty() && self.machine == other.machine
    }

    /// Whether it ended. Only for a process of this machine.
    fn has_ended(&self) -> bool {
        match state(self.pid) {
            None => true,
            // It ended, but its parent has not asked how.
            Some((state, started)) => matches!(state, 'Z' | 'X') || started != self.started,
        }
    }
}

/// A rank whose program has another version than that of rank 0, with both.
pub fn other_version(all: &[Option<Process>]) -> Option<(usize, &str, &str)> {
    fn version(process: &Option<Process>) -> &str {
        process.as_ref().map_or("unknown", |own| &own.version)
    }
    let first = version(all.first()?);
    let mut versions = all.iter().map(version).enumerate();
    versions.find(|(_, other)| *other != first).map(|(rank, other)| (rank, other, first))
}

/// The state and the start time of a process.
fn state(pid: u32) -> Option<(char, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.to_owned()))
}

/// The other ranks of this machine.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    others: Vec<(usize, Process)>,
    /// The ranks that may use exactly the cores of this one, with it.
    sharing: usize,
}

impl Peers {
    /// Of all ranks, those that this one can watch.
    pub fn of(all: &[Option<Process>], own: usize) -> Self {
        let Some(Some(this)) = all.get(own) else { return Self { others: Vec::new(), sharing: 1 } };
        let here = all.iter().enumerate().filter_map(|(rank, process)| Some((rank, process.clone()?)));
        let here: Vec<_> = here.filter(|(_, process)| process.shares_machine(this)).collect();
        let sharing = here.iter().filter(|(_, process)| process.cores == this.cores).count().max(1);
        // One that cannot be seen now says nothing later.
        let seen = |(rank, process): &(usize, Process)| *rank != own && !process.has_ended();
        Self { others: here.into_iter().filter(seen).collect(), sharing }
    }

    /// How many ranks share the cores of this one, with it.
    pub fn sharing(&self) -> usize {
        self.sharing.max(1)
    }

    /// The ranks of this machine, with this one.
    pub fn neighbours(&self) -> usize {
        self.others.len() + 1
    }

    /// A rank of this machine that ended.
    pub fn ended(&self) -> Option<usize> {
        self.others.iter().find(|(_, process)| process.has_ended()).map(|(rank, _)| *rank)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_rank_of_another_version_is_found() {
        let own = Process::own();
        let older = Process { version: "0.0.1".to_owned(), ..own.clone() };
        let both = |one: &Process, other: Option<&Process>| [Some(one.clone()), other.cloned()];
        assert_eq!(other_version(&both(&own, Some(&own))), None);
        let all = both(&own, Some(&older));
        assert_eq!(other_version(&all), Some((1, "0.0.1", env!("CARGO_PKG_VERSION"))));
        assert!(matches!(other_version(&both(&own, None)), Some((1, "unknown", _))));
    }

    #[test]
    fn a_killed_process_is_seen_and_its_number_is_no_proof_of_life() {
        let mut child = Command::new("sleep").arg("100").stdout(Stdio::null()).spawn().unwrap();
        let (_, started) = state(child.id()).unwrap();
        let own = Process::own();
        assert!(!own.has_ended() && !own.cores.is_empty());
        assert_eq!(Process::read(&own.to_bytes()).as_ref(), Some(&own));
        let other = Process { pid: child.id(), started, ..own.clone() };
        let elsewhere = Process { machine: "another".to_owned(), pid: 1, ..own.clone() };
        let later = Process { started: "1".to_owned(), ..own.clone() };
        assert!(later.has_ended());
        let peers = Peers::of(&[Some(own.clone()), Some(other), Some(elsewhere), None], 0);
        assert_eq!((peers.sharing(), peers.ended()), (2, None));
        child.kill().unwrap();
        // Until its parent asks, it is a zombie.
        while peers.ended().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert_eq!(peers.ended(), Some(1));
        child.wait().unwrap();
        assert_eq!(peers.ended(), Some(1));
    }
}
