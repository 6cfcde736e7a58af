//! What Slurm's queue says about jobs, from one `squeue`.
//!
//! Never `sacct`: many clusters have no accounting. A job leaves the queue some minutes after its end.

use std::collections::BTreeMap;

use defrost::Result;
use defrost::run::Submission;
use serde::Serialize;

use super::slurm::{Cluster, ask};

/// A task of an array in the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueuedJob {
    /// `array_index`.
    pub id: String,
    /// Slurm's state, such as `PENDING`.
    pub state: String,
    /// Why it waits.
    pub reason: String,
    pub time_used: String,
    pub time_left: String,
    pub node: String,
}

/// Jobs by array and index.
pub type Queue = BTreeMap<(String, usize), QueuedJob>;

/// The states of a job that has ended, which the queue shows for some minutes.
const ENDED: [&str; 9] = [
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "TIMEOUT",
];
const FORMAT: &str = "%F|%K|%T|%M|%L|%N|%r";

impl QueuedJob {
    /// Whether it waits for someone to release it.
    pub fn is_held(&self) -> bool {
        let held =
            ["JobHeldUser", "JobHeldAdmin", "launch_failed_requeued_held", "job_requeued_in_held_state"];
        self.state == "REQUEUE_HOLD" || held.iter().any(|reason| self.reason.eq_ignore_ascii_case(reason))
    }
}

/// The tasks of some submissions that are in the queue.
pub fn of(submissions: &[Submission]) -> Result<Queue> {
    let mut clusters: BTreeMap<Option<&str>, Vec<&str>> = BTreeMap::new();
    for submission in submissions {
        let jobs = submission.record.arrays.iter().filter_map(|array| array.job.as_deref());
        clusters.entry(submission.record.cluster.as_deref()).or_default().extend(jobs);
    }
    let mut queue = Queue::new();
    for (cluster, jobs) in clusters.into_iter().filter(|(_, jobs)| !jobs.is_empty()) {
        queue.extend(ask_about(Cluster(cluster), &jobs)?);
    }
    Ok(queue)
}

fn ask_about(cluster: Cluster, jobs: &[&str]) -> Result<Queue> {
    let mut command = cluster.command("squeue");
    command.args(["-h", "-r", "-t", "all", "-j", &jobs.join(","), "-o", FORMAT]);
    match ask(&mut command) {
        Ok(text) => Ok(parsed(&text)),
        // So it answers if all of the jobs have left the queue.
        Err(error) if error.message.contains("Invalid job id") => Ok(Queue::new()),
        Err(error) => Err(error),
    }
}

/// Lines of another form, such as the names of clusters, are left out.
fn parsed(text: &str) -> Queue {
    let job = |line: &str| {
        let mut fields = line.trim().splitn(7, '|').map(str::trim);
        let (array, index) = (fields.next()?, fields.next()?.parse().ok()?);
        let mut next = || fields.next().map(str::to_owned);
        let (state, time_used, time_left, node, reason) = (next()?, next()?, next()?, next()?, next()?);
        let job = QueuedJob { id: format!("{array}_{index}"), state, reason, time_used, time_left, node };
        (!ENDED.contains(&job.state.as_str())).then(|| ((array.to_owned(), index), job))
    };
    text.lines().filter_map(job).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_jobs_and_ended_ones_are_left_out() {
        let text = "CLUSTER: west\n\
                    12|0|RUNNING|1:02|58:58|n1|None\n\
                    12|1|PENDING|0:00|1:00:00||launch failed | requeued held\n\
                    12|2|COMPLETED|0:10|59:50|n1|None\n\
                    13|N/A|RUNNING|0:10|59:50|n1|None\n\
                    garbage\n";
        let queue = parsed(text);
        assert_eq!(queue.len(), 2);
        assert_eq!(queue[&("12".to_owned(), 0)].node, "n1");
        let held = &queue[&("12".to_owned(), 1)];
        assert_eq!(held.reason, "launch failed | requeued held");
        let held = |reason: &str| QueuedJob { reason: reason.to_owned(), ..held.clone() }.is_held();
        assert!(held("launch_failed_requeued_held") && held("JobHeldUser") && !held("Resources"));
    }
}
