use super::*;

const SECOND: i64 = 1_000_000_000;

fn state(log: &str, first: u64, last: u64) -> LogState {
    LogState {
        log: log.into(),
        created_as: "EVENTS-1".into(),
        is_named: true,
        epoch: 0,
        first_sequence: first,
        last_sequence: last,
    }
}

fn cursor(log: &str, epoch: u64, done: u64) -> CursorPlace {
    CursorPlace { log: log.into(), epoch, done, begun: None }
}

/// The message at a position of a log in one of its lives: each life gives other times.
fn message(life: i64, sequence: u64) -> Fingerprint {
    Fingerprint { appended_at_nanos: (life * 1_000 + sequence as i64) * SECOND, crc: sequence as u32 }
}

fn store(epoch: u64, sequence: u64, others: bool) -> KnownLog {
    let Fingerprint { appended_at_nanos, crc } = message(1, sequence);
    KnownLog {
        checkpoint: Some(Checkpoint { epoch, sequence, appended_at_nanos, crc }),
        newest_epoch: epoch,
        knows_other_logs: others,
    }
}

fn decide(
    state: &LogState,
    cursor: Option<&CursorPlace>,
    known: Option<&KnownLog>,
    found: Option<Fingerprint>,
) -> Resume {
    handshake(Meeting { state, cursor, known, found, was_seen_cut: false, now: UNIX_EPOCH })
}

fn time(nanos: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanos as u64)
}

#[test]
fn a_log_that_is_what_it_was_goes_on_behind_what_is_applied_and_settled() {
    for done in [0, 30, 40, 60] {
        let resume = decide(
            &state("a", 1, 60),
            Some(&cursor("a", 1, done)),
            Some(&store(1, 40, false)),
            Some(message(1, 40)),
        );
        let from = ReadFrom::Sequence(done.min(40) + 1);
        assert_eq!((resume.epoch, resume.from, resume.gap), (1, from, 0), "{done}");
        let expected = if done > 40 { Encounter::StoreWentBack } else { Encounter::Same };
        assert_eq!(resume.encounter, expected, "{done}");
    }
}

#[test]
fn a_cursor_of_another_epoch_says_nothing_of_what_is_settled() {
    for epoch in [1, 3] {
        let cursor = cursor("a", epoch, 30);
        let resume =
            decide(&state("a", 1, 60), Some(&cursor), Some(&store(2, 40, false)), Some(message(1, 40)));
        assert_eq!((resume.epoch, resume.from), (epoch.max(2), ReadFrom::Sequence(41)), "{epoch}");
    }
}

#[test]
fn no_epoch_that_was_handed_out_begins_again_when_the_cursor_is_lost() {
    let handed_out = LogState { epoch: 7, ..state("a", 1, 60) };
    let begun = decide(&handed_out, None, Some(&store(2, 70, false)), None);
    assert_eq!((begun.encounter, begun.epoch), (Encounter::Continued, 7));
    let cut = decide(&handed_out, None, Some(&store(7, 70, false)), None);
    assert_eq!((cut.encounter, cut.epoch), (Encounter::Cut, 8));
    let same = decide(&handed_out, None, Some(&store(2, 40, false)), Some(message(1, 40)));
    assert_eq!((same.encounter, same.epoch, same.from), (Encounter::Same, 7, ReadFrom::Sequence(41)));
    let others = KnownLog { checkpoint: None, newest_epoch: 3, knows_other_logs: true };
    let replaced = decide(&handed_out, None, Some(&others), None);
    assert_eq!((replaced.encounter, replaced.epoch), (Encounter::Continued, 7));
}

#[test]
fn a_log_restored_with_its_name_is_the_same_log_without_a_cursor_too() {
    let resume = decide(&state("a", 1, 50), None, Some(&store(3, 40, true)), Some(message(1, 40)));
    assert_eq!((resume.encounter, resume.epoch), (Encounter::Same, 3));
    assert_eq!(resume.from, ReadFrom::Sequence(41));
}

#[test]
fn a_log_that_ends_before_the_checkpoint_was_cut() {
    let resume = decide(&state("a", 1, 20), Some(&cursor("a", 1, 40)), Some(&store(1, 40, false)), None);
    let last_applied = message(1, 40).appended_at_nanos;
    assert_eq!((resume.encounter, resume.epoch), (Encounter::Cut, 2));
    assert_eq!(resume.from, ReadFrom::Time(time(last_applied) - CLOCK_TOLERANCE));
    assert_eq!(resume.ambiguous_until, Some(time(last_applied)));
}

#[test]
fn a_log_that_was_cut_and_has_grown_again_is_known_by_the_message_at_the_checkpoint() {
    let resume = decide(
        &state("a", 1, 90),
        Some(&cursor("a", 4, 40)),
        Some(&store(4, 40, false)),
        Some(message(2, 40)),
    );
    assert_eq!((resume.encounter, resume.epoch), (Encounter::Cut, 5));
    assert!(resume.is_new_epoch());
}

#[test]
fn a_message_of_the_same_time_with_another_body_is_another_message() {
    let other = Fingerprint { crc: 7, ..message(1, 40) };
    let resume = decide(&state("a", 1, 90), None, Some(&store(1, 40, false)), Some(other));
    assert_eq!(resume.encounter, Encounter::Cut);
}

#[test]
fn another_log_begins_with_its_first_message_in_an_epoch_of_its_own() {
    let known = KnownLog { checkpoint: None, newest_epoch: 2, knows_other_logs: true };
    let resume = decide(&state("b", 1, 10), Some(&cursor("a", 2, 40)), Some(&known), None);
    assert_eq!((resume.encounter, resume.epoch), (Encounter::Replaced, 3));
    assert_eq!((resume.from, resume.ambiguous_until), (ReadFrom::First, None));
}

#[test]
fn a_log_and_a_database_that_both_went_back_meet_where_they_agree() {
    let resume = decide(
        &state("a", 1, 15),
        Some(&cursor("a", 1, 40)),
        Some(&store(1, 10, false)),
        Some(message(1, 10)),
    );
    assert_eq!((resume.epoch, resume.from), (1, ReadFrom::Sequence(11)));
    let resume = decide(&state("a", 1, 5), Some(&cursor("a", 1, 40)), Some(&store(1, 10, false)), None);
    assert_eq!((resume.encounter, resume.epoch), (Encounter::Cut, 2));
}

#[test]
fn an_empty_store_is_filled_from_the_first_message_wherever_the_cursor_stands() {
    let empty = KnownLog::default();
    let resume = decide(&state("a", 1, 50), None, Some(&empty), None);
    assert_eq!((resume.encounter, resume.epoch, resume.from), (Encounter::First, 1, ReadFrom::Sequence(1)));
    let resume = decide(&state("a", 1, 50), Some(&cursor("a", 3, 50)), Some(&empty), None);
    assert_eq!((resume.encounter, resume.epoch), (Encounter::StoreWentBack, 3));
    assert_eq!(resume.from, ReadFrom::Sequence(1));
}

#[test]
fn what_the_log_forgot_before_it_was_applied_is_a_gap_of_that_size() {
    let resume = decide(&state("a", 51, 90), None, Some(&store(1, 40, false)), None);
    assert_eq!((resume.encounter, resume.gap, resume.from), (Encounter::Same, 10, ReadFrom::Sequence(41)));
    let resume = decide(&state("a", 41, 90), None, Some(&store(1, 40, false)), None);
    assert_eq!(resume.gap, 0);
    // What the cursor settled without applying it was removed on purpose.
    let resume = decide(&state("a", 51, 90), Some(&cursor("a", 1, 50)), Some(&store(1, 40, false)), None);
    assert_eq!(resume.gap, 0);
}

#[test]
fn an_epoch_that_has_begun_goes_on_until_the_store_has_applied_something_of_it() {
    let known = store(1, 40, false);
    let first = decide(&state("a", 1, 20), Some(&cursor("a", 1, 40)), Some(&known), None);
    let begun = CursorPlace { begun: first.begun, ..cursor("a", first.epoch, 0) };
    let second = decide(&state("a", 1, 22), Some(&begun), Some(&known), None);
    assert_eq!((second.encounter, second.epoch, second.from), (Encounter::Continued, 2, first.from));
    assert!(!second.is_new_epoch());
    // Applied, and cut again.
    let third = decide(&state("a", 1, 10), Some(&begun), Some(&store(2, 21, false)), None);
    assert_eq!((third.encounter, third.epoch), (Encounter::Cut, 3));
}

#[test]
fn positions_from_before_times_were_recorded_go_over() {
    let mut known = store(0, 40, false);
    known.checkpoint = Some(Checkpoint { epoch: 0, sequence: 40, appended_at_nanos: 0, crc: 0 });
    let resume = decide(&state("a", 1, 60), Some(&cursor("a", 0, 40)), Some(&known), Some(message(1, 40)));
    assert_eq!((resume.encounter, resume.epoch), (Encounter::Same, 1));
    assert_eq!(resume.from, ReadFrom::Sequence(41));
}

#[test]
fn a_consumer_without_a_store_goes_by_its_cursor() {
    let resume = decide(&state("a", 1, 60), Some(&cursor("a", 1, 40)), None, None);
    assert_eq!((resume.encounter, resume.from), (Encounter::Same, ReadFrom::Sequence(41)));
    let resume = decide(&state("a", 1, 20), Some(&cursor("a", 1, 40)), None, None);
    assert_eq!((resume.encounter, resume.epoch, resume.from), (Encounter::Cut, 2, ReadFrom::Sequence(1)));
    let resume = decide(&state("b", 1, 20), Some(&cursor("a", 1, 40)), None, None);
    assert_eq!((resume.encounter, resume.epoch), (Encounter::Replaced, 2));
}
