//! Rules on reads: where they start and end, that they resume, and that they leave nothing behind.

use std::collections::BTreeMap;

use futures::StreamExt;
use headwater_connect::{ConnectorError, Offset};
use serde_json::json;
use serde_json::value::RawValue;

use super::{Table, sampled};
use crate::reading::{Read, absent_from, counted, missing_from, offset_text};
use crate::trial::{Fault, Verdict, not_tested};

impl Table<'_> {
    pub(super) async fn r6_the_first_read_starts_where_it_should(&self) -> Verdict {
        let start = offset_text(self.start().as_ref());
        self.first_read().await.map_err(|e| format!("the first read, from {start}: {e}"))?;
        Ok(())
    }

    pub(super) async fn r7_a_read_ends_once_and_last(&self) -> Verdict {
        let read = self.read(self.connect().await?.as_ref(), self.start().as_ref()).await?;
        match (read.ends.len(), read.after_end) {
            (1, false) if self.is_stream() && read.end().is_none() => {
                Err("a stream ended without an offset".into())
            }
            (1, false) => Ok(()),
            (0, _) => Err("a read ended without its end".into()),
            _ => Err("something follows the end of a read".into()),
        }
    }

    pub(super) async fn r8_a_stream_settles(&self) -> Verdict {
        self.ends().await
    }

    pub(super) async fn r9_a_snapshot_ends(&self) -> Verdict {
        self.ends().await
    }

    async fn ends(&self) -> Verdict {
        // The first rule to look at the whole says why it cannot be had.
        let read = self.whole().await.map(|whole| whole.ended);
        match (read, self.whole.get()) {
            (Ok(true), _) => Ok(()),
            (Ok(false), _) => not_tested("the sample was full before the table had ended"),
            (Err(_), Some(Err(seen))) => Err(Fault::Broken(seen.clone())),
            (Err(fault), _) => Err(fault),
        }
    }

    pub(super) async fn r10_the_same_offset_gives_the_same_records(&self) -> Verdict {
        let whole = self.whole().await?;
        for place in sampled(whole.reads.len()) {
            let rest = whole.reads.get(place..).unwrap_or_default();
            let Some(first) = rest.first() else { continue };
            let before = counted(rest.iter().flat_map(|read| &read.records));
            let connector = self.connect().await?;
            let mut again = counted([]);
            let mut at = first.start.clone();
            // A sample is read on for as many reads as it had.
            let most = if whole.ended { self.trial.subject.max_reads } else { rest.len() };
            for _ in 0..most {
                let read = self.read(connector.as_ref(), at.as_ref()).await?;
                again.extend(counted(&read.values()?));
                match read.end() {
                    Some(end) if Some(end) != at.as_ref() && !end.is_empty() => at = Some(end.clone()),
                    _ => break,
                }
            }
            if let Some(record) = absent_from(&again, &before) {
                let from = offset_text(first.start.as_ref());
                return Err(format!("a second read, from {from}, does not give {record} again").into());
            }
        }
        Ok(())
    }

    pub(super) async fn r12_a_broken_off_read_does_no_harm(&self) -> Verdict {
        let connector = self.connect().await?;
        let start = self.start();
        {
            let mut stream = connector.read_table(self.name, start.as_ref(), self.options);
            let _first = stream.next().await;
        }
        let after = counted(&self.read(connector.as_ref(), start.as_ref()).await?.values()?);
        let fresh = counted(&self.read(self.connect().await?.as_ref(), start.as_ref()).await?.values()?);
        match missing_from(&after, &fresh) {
            Some(record) => {
                Err(format!("after a read that was broken off, the next one lacks {record}").into())
            }
            None => Ok(()),
        }
    }

    pub(super) async fn r13_a_foreign_offset_is_refused(&self) -> Verdict {
        if !self.is_stream() {
            return not_tested("a snapshot starts at no offset");
        }
        let foreign = Offset::from(json!({"no_such_member_of_any_offset": [1, "two", null]}));
        let connector = self.connect().await?;
        match Read::drain(connector.read_table(self.name, Some(&foreign), self.options)).await {
            Err(ConnectorError::InvalidOffset { .. }) => Ok(()),
            Err(other) => {
                let said = self.trial.said(&other);
                match self.trial.subject.is_foreign() {
                    // Whatever it raises, it has not read from the start.
                    true => Ok(()),
                    false => Err(format!("a foreign offset gives: {said}").into()),
                }
            }
            Ok(_) => Err(self.trial.unless_foreign(format!("a foreign offset {foreign} is read from"))),
        }
    }

    pub(super) async fn r16_a_dropped_read_stops(&self) -> Verdict {
        if self.trial.subject.is_foreign() {
            return not_tested("the runtime interrupts the worker of a connector in Python");
        }
        let connector = self.connect().await?;
        let start = self.start();
        {
            let mut stream = connector.read_table(self.name, start.as_ref(), self.options);
            let _first = stream.next().await;
        }
        let before = connector.requests();
        // Another read in between gives a task that was left behind the chance to show itself.
        let other = self.connect().await?;
        let _other = self.read(other.as_ref(), start.as_ref()).await?;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        match connector.requests() - before {
            0 => Ok(()),
            more => Err(format!("{more} requests were sent after the read was dropped").into()),
        }
    }

    pub(super) async fn r22_an_offset_survives_json(&self) -> Verdict {
        let whole = self.whole().await?;
        let mut tried = 0;
        for read in sampled(whole.reads.len()).into_iter().filter_map(|place| whole.reads.get(place)) {
            let Some(start) = read.start.as_ref().filter(|start| !start.is_empty()) else { continue };
            let rewritten = rewritten(start.as_json()).and_then(|text| Offset::from_json(&text).ok());
            let rewritten = rewritten.filter(|offset| offset == start).ok_or_else(|| {
                Fault::Broken(format!("the offset {start} does not come back from JSON as it was"))
            })?;
            let connector = self.connect().await?;
            let again = self.read(connector.as_ref(), Some(&rewritten)).await.map_err(|error| {
                format!("the offset {start} is read from, and written as {rewritten} it is not: {error}")
            })?;
            if let Some(record) = absent_from(&counted(&again.values()?), &counted(&read.records)) {
                return Err(
                    format!("the offset {start}, written as {rewritten}, does not give {record}").into()
                );
            }
            tried += 1;
        }
        if tried == 0 { not_tested("no read of the table starts at an offset") } else { Ok(()) }
    }

    pub(super) async fn r23_new_data_is_not_chased(&self) -> Verdict {
        let Some(stage) = self.trial.subject.stage else {
            return not_tested(
                "the source does not grow; the simulator's does (`synthesize_future_records`)",
            );
        };
        self.whole().await?;
        if !stage.grow_ahead(true) {
            return not_tested("no endpoint of the simulator has `synthesize_future_records`");
        }
        let connector = self.connect().await;
        let gathered = match &connector {
            Ok(connector) => self
                .gather(connector.as_ref(), self.options, self.start(), None)
                .await
                .map_err(|e| self.stopped(&e)),
            Err(error) => Err(error.clone()),
        };
        stage.grow_ahead(false);
        gathered.map_err(|e| format!("with records that keep lying ahead of now: {e}"))?;
        Ok(())
    }
}

/// The same JSON written in another way: members in the opposite order, and with spaces. None where it nests too deep.
fn rewritten(text: &str) -> Option<String> {
    fn write(text: &str, depth: usize, out: &mut String) -> Option<()> {
        if depth > 60 {
            return None;
        }
        if let Ok(members) = serde_json::from_str::<BTreeMap<String, &RawValue>>(text) {
            out.push_str("{ ");
            for (index, (name, value)) in members.iter().rev().enumerate() {
                out.push_str(if index == 0 { "" } else { " , " });
                out.push_str(&serde_json::Value::from(name.as_str()).to_string());
                out.push_str(" : ");
                write(value.get(), depth + 1, out)?;
            }
            out.push_str(" }");
        } else if let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(text) {
            out.push_str("[ ");
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { " , " });
                write(item.get(), depth + 1, out)?;
            }
            out.push_str(" ]");
        } else {
            out.push_str(text);
        }
        Some(())
    }
    let mut out = String::new();
    write(text, 0, &mut out)?;
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::rewritten;

    #[test]
    fn an_offset_is_written_in_another_way_and_stays_the_same_value() {
        let text = r#"{"a":[1,{"x":null,"y":9007199254740993}],"b":"\u00e4 {"}"#;
        let other = rewritten(text).unwrap();
        assert_eq!(other, r#"{ "b" : "\u00e4 {" , "a" : [ 1 , { "y" : 9007199254740993 , "x" : null } ] }"#);
        let read = |text: &str| headwater_connect::Offset::from_json(text).unwrap();
        assert_eq!(read(text), read(&other));
        assert!(rewritten(&format!("{}{}", "[".repeat(90), "]".repeat(90))).is_none());
    }
}
