//! Everything that crosses a process boundary: subjects, messages, streams and buckets.
