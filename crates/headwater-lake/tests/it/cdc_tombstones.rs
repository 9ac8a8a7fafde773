//! How long a delete is remembered for the sake of late changes.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use headwater_connect::{Clock, ManualClock, SystemClock};
use headwater_lake::{
    CdcSpec, CommitOutcome, Feed, Lake, LakeOptions, ScdType, TableName, TrackHistory, WriteMode, WriterSpec,
};
use serde_json::{Value, json};

use crate::cdc::{Event, apply, batch, changes, rows};
use crate::maker::{Local, name, offset};

const DAY: u64 = 86_400;

fn event(id: i64, at: i64, text: &str) -> Event {
    (id, at, Some(text.to_owned()), None)
}

fn kept(table: &TableName, scd_type: ScdType, feed: Feed, days: Option<u64>) -> WriterSpec {
    let mut spec = changes(table, scd_type, TrackHistory::All, feed);
    if let WriteMode::Cdc(cdc) = &mut spec.mode {
        let tombstone_retention = days.map(|days| Duration::from_secs(days * DAY));
        *cdc = CdcSpec { tombstone_retention, ..cdc.clone() };
    }
    spec
}

/// The names that are there now, by key.
async fn current(local: &Local, table: &TableName) -> Value {
    let all = rows(&local.lake, table).await;
    let open = all.into_iter().filter(|row| row.last().is_none_or(Value::is_null) || row.len() == 4);
    open.map(|row| json!([row[0], row[2]])).collect()
}

#[tokio::test]
async fn a_delete_is_forgotten_after_its_time_and_not_before() {
    for scd_type in [ScdType::One, ScdType::Two] {
        let clock = ManualClock::new(SystemClock.now());
        let local = Local::with(LakeOptions { clock: Arc::new(clock.clone()), ..LakeOptions::default() });
        let table = name("tombstones");
        let up = kept(&table, scd_type, Feed::Upserts, Some(7));
        let down = kept(&table, scd_type, Feed::Deletes, Some(7));
        assert!(apply(&local.lake, up.clone(), &[event(0, 1, "a")], 1).await);
        // Nobody knows these keys yet: all that is left of the deletes is the memory of them.
        assert!(apply(&local.lake, down.clone(), &[event(1, 50, ""), event(2, 50, "")], 1).await);
        clock.advance(TimeDelta::days(5));
        assert!(apply(&local.lake, down.clone(), &[event(3, 50, ""), event(4, 50, "")], 2).await);

        // Six days: all are remembered. A row that came late is not shown, or with a history has ended.
        clock.advance(TimeDelta::days(1));
        apply(&local.lake, up.clone(), &[event(1, 40, "late")], 2).await;
        assert_eq!(current(&local, &table).await, json!([[0, "a"]]), "{scd_type:?}");

        // Eight days after the first ones, three after the others.
        clock.advance(TimeDelta::days(2));
        let late = [event(2, 40, "late"), event(3, 40, "late")];
        assert!(apply(&local.lake, up.clone(), &late, 3).await);
        assert_eq!(current(&local, &table).await, json!([[0, "a"], [2, "late"]]), "{scd_type:?}");

        // One that is forgotten is gone for good: it does not come back for who keeps all.
        let forever = kept(&table, scd_type, Feed::Upserts, None);
        assert!(apply(&local.lake, forever, &[event(2, 45, "later"), event(4, 45, "late")], 4).await);
        assert_eq!(current(&local, &table).await, json!([[0, "a"], [2, "later"]]), "{scd_type:?}");

        // What is newer than a delete that is remembered is shown.
        clock.advance(TimeDelta::days(3));
        assert!(apply(&local.lake, up.clone(), &[event(4, 60, "newer")], 5).await);
        assert_eq!(
            current(&local, &table).await,
            json!([[0, "a"], [2, "later"], [4, "newer"]]),
            "{scd_type:?}"
        );
    }
}

#[tokio::test]
async fn a_writer_that_stays_open_forgets_as_well() {
    let clock = ManualClock::new(SystemClock.now());
    let local = Local::with(LakeOptions { clock: Arc::new(clock.clone()), ..LakeOptions::default() });
    let table = name("open_tombstones");
    let down = kept(&table, ScdType::One, Feed::Deletes, Some(1));
    assert!(
        apply(&local.lake, kept(&table, ScdType::One, Feed::Upserts, Some(1)), &[event(0, 1, "a")], 1).await
    );
    assert!(apply(&local.lake, down, &[event(1, 50, ""), event(2, 50, "")], 1).await);
    let up = kept(&table, ScdType::One, Feed::Upserts, Some(1));
    let mut writer = local.lake.writer(up).await.unwrap();
    for (at, id, shown) in [(2, 1, json!([[0, "a"]])), (3, 2, json!([[0, "a"], [2, "late"]]))] {
        writer.write(batch(&[event(id, 40, "late")])).await.unwrap();
        let outcome = writer.commit(Some(&offset(at))).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
        assert_eq!(current(&local, &table).await, shown);
        clock.advance(TimeDelta::days(2));
    }
}
