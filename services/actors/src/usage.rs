//! What this process uses of its machine, as the kernel tells it.

/// Processor time of this process in seconds; 0 where it cannot be read.
#[must_use]
pub fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Fields after the command, which may itself hold spaces: 12 and 13 are user and system ticks of 1/100 s.
    let after = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// Resident memory of this process; 0 where it cannot be read.
#[must_use]
pub fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split_whitespace().nth(1).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    pages * 4096
}

/// Files, sockets and the like that this process has open; 0 where they cannot be counted.
#[must_use]
pub fn open_files() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_that_works_uses_something() {
        let before = cpu_seconds();
        let begun = std::time::Instant::now();
        while cpu_seconds() - before < 0.02 {
            assert!(begun.elapsed().as_secs() < 60, "no processor time is seen");
            std::hint::black_box((0..10_000_u64).sum::<u64>());
        }
        assert!(resident_bytes() > 1 << 16 && open_files() >= 3);
    }
}
