//! Tables after every micro-batch, as Apache Spark leaves them.

use serde_json::{Value, json};

use crate::model::{Current, Event, History, Row, Sequence, Tracked, Values};

const VECTORS: &str = include_str!("../data/auto_cdc_vectors.json");

/// `U<seq><name>[:note]` is an upsert, `D<seq>` a delete, `-` no name.
pub(crate) fn event(text: &str) -> Event {
    let (kind, rest) = text.split_at(1);
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (at, values) = rest.split_at(end);
    let (name, note) = match values.split_once(':') {
        Some((name, note)) => (name, Some(note.to_owned())),
        None => (values, None),
    };
    let name = Some(name).filter(|name| !name.is_empty() && *name != "-").map(str::to_owned);
    Event { key: 1, at: at.parse().unwrap(), delete: kind == "D", values: (name, note) }
}

fn batches(scenario: &Value) -> Vec<Vec<Event>> {
    let texts = scenario["batches"].as_array().unwrap().iter();
    texts.map(|batch| batch.as_str().unwrap().split(' ').map(event).collect()).collect()
}

fn check(config: &str, mut state_after: impl FnMut(&Value) -> Vec<Value>) {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let scenarios = vectors["scenarios"].as_array().unwrap();
    assert_eq!(scenarios.len(), 28);
    for scenario in scenarios {
        let expected = scenario["after"][config].as_array().unwrap();
        let states = state_after(scenario);
        assert_eq!(states.len(), expected.len());
        for (number, (state, expected)) in states.iter().zip(expected).enumerate() {
            assert_eq!(
                state, expected,
                "scenario {}, batch {number}: {}",
                scenario["id"], scenario["batches"]
            );
        }
    }
}

fn check_history(config: &str, tracked: Tracked) {
    for sequence in Sequence::ALL {
        check(config, |scenario| {
            let mut table = History::new(sequence, tracked);
            let states = batches(scenario).into_iter().map(|batch| {
                table.apply(&batch).unwrap();
                let whole = |Row { start, end, at, values: (name, note), .. }: &Row| {
                    json!([start, end, at, name, note])
                };
                let hidden = |Row { start, end, at, .. }: &Row| json!([start, end, at]);
                json!({
                    "target": table.part(false).iter().map(whole).collect::<Vec<_>>(),
                    "aux": table.part(true).iter().map(hidden).collect::<Vec<_>>(),
                })
            });
            states.collect()
        });
    }
}

#[test]
fn scd_1_is_as_spark_leaves_it() {
    check("v_scd1", |scenario| {
        let mut table = Current::default();
        let states = batches(scenario).into_iter().map(|batch| {
            table.apply(&batch, Sequence::Long);
            let whole = |(at, (name, note)): &(i64, Values)| json!([at, name, note]);
            json!({
                "target": table.target.values().map(whole).collect::<Vec<_>>(),
                "aux_tombstone": table.tombstones.values().collect::<Vec<_>>(),
            })
        });
        states.collect()
    });
}

#[test]
fn scd_2_that_tracks_the_name_is_as_spark_leaves_it() {
    check_history("v_scd2_name", Tracked::Name);
}

#[test]
fn scd_2_that_tracks_everything_is_as_spark_leaves_it() {
    check_history("v_scd2_all", Tracked::All);
}
