//! CPU time, user and system together.

use std::{collections::HashMap, fs, time::Duration};

use rustix::time::{ClockId, clock_gettime};

/// One hundredth of a second, on every Linux: the unit of `/proc/PID/stat`.
const TICK: Duration = Duration::from_millis(10);

/// What `/proc/PID/stat` says of a process (`proc_pid_stat(5)`).
struct Stat {
    parent: u32,
    /// Ticks of all its threads.
    own: u64,
    /// Ticks of the children that have ended.
    children: u64,
}

/// CPU time of this thread.
pub fn of_thread() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_nanos(nanos)
}

/// CPU time of a process, its threads together; `None` where there is no `/proc`, and when there is no such process.
pub fn of_process(pid: u32) -> Option<Duration> {
    Some(ticks(stat(pid)?.own))
}

/// CPU time of a process and all that descend from it, those that have ended included; `None` as above.
pub fn of_family(pid: u32) -> Option<Duration> {
    stat(pid)?;
    let pids = fs::read_dir("/proc").ok()?.filter_map(|entry| {
        let name = entry.ok()?.file_name();
        name.to_str()?.parse().ok()
    });
    let all: HashMap<u32, Stat> = pids.filter_map(|pid| Some((pid, stat(pid)?))).collect();
    let is_in_family = |mut member: u32| {
        // No line of descent is longer than there are processes.
        for _ in 0..all.len() {
            if member == pid {
                return true;
            }
            match all.get(&member) {
                Some(stat) => member = stat.parent,
                None => return false,
            }
        }
        false
    };
    let family = all.iter().filter(|(member, _)| is_in_family(**member));
    Some(ticks(
        family.map(|(_, stat)| stat.own + stat.children).sum(),
    ))
}

fn ticks(count: u64) -> Duration {
    TICK * u32::try_from(count).unwrap_or(u32::MAX)
}

fn stat(pid: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(text: &str) -> Option<Stat> {
    // The name of the program may hold spaces; the numbers begin after its parenthesis.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(field(1)?).ok()?,
        own: field(11)? + field(12)?,
        children: field(13)? + field(14)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_is_no_obstacle() {
        let text = "7 (a ) b) S 3 7 7 0 -1 4194560 1 2 3 4 100 20 30 4 20 0 2 0 5 6 7 18446744073709551615";
        let stat = parse(text).unwrap();
        assert_eq!((stat.parent, stat.own, stat.children), (3, 120, 34));
        assert_eq!(ticks(stat.own), Duration::from_millis(1200));
    }

    #[test]
    fn the_time_of_this_process_is_known() {
        let pid = std::process::id();
        if cfg!(target_os = "linux") {
            // In this order: other tests of this process go on working between the two.
            let alone = of_process(pid).unwrap();
            assert!(of_family(pid).unwrap() >= alone);
        }
        assert!(of_process(u32::MAX).is_none());
        assert!(of_thread() > Duration::ZERO);
    }
}
