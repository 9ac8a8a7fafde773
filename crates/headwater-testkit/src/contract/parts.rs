//! Rules on reading in parts.

use headwater_connect::{ConnectorError, Offset};
use serde_json::Value;

use super::Table;
use crate::reading::{Read, Records, Whole, counted, missing_from};
use crate::trial::{Fault, Verdict, not_tested};

impl Table<'_> {
    pub(super) async fn r17_parts_hold_every_record_once(&self) -> Verdict {
        let said = |error: ConnectorError| self.trial.said(&error);
        let connector = self.connect().await?;
        let Some(parts) = connector.partitions() else {
            return not_tested("the connector reads nothing in parts");
        };
        // A stream in parts is another rule's; asked for its parts without offsets, it is read as a snapshot is.
        if self.is_stream() && connector.partitioned_stream().is_some() {
            return not_tested("the table is a stream");
        }
        if !parts.is_partitioned(self.name).await.map_err(said)? {
            return not_tested("the table is not read in parts");
        }
        let names = parts.get_partitions(self.name, self.options).await.map_err(said)?;
        let mut records = Vec::new();
        for part in names.iter().rev() {
            let other = self.connect().await?;
            let reader = other.partitions().ok_or("another instance has no partitions")?;
            let stream = reader.read_partition(self.name, part, self.options);
            records.extend(Read::drain(stream).await.map_err(said)?.values()?);
        }
        same(self.comparable().await?, &records)
    }

    pub(super) async fn r18_parts_of_a_stream_equal_the_stream(&self) -> Verdict {
        let said = |error: ConnectorError| self.trial.said(&error);
        let connector = self.connect().await?;
        let Some(parts) = connector.partitioned_stream().filter(|_| self.is_stream()) else {
            return not_tested("the table is no stream in parts");
        };
        if !parts.is_partitioned(self.name).await.map_err(said)? {
            return not_tested("the table is not read in parts");
        }
        let start = Offset::empty();
        let end = parts.latest_offset(self.name, &start, self.options).await.map_err(said)?;
        let settled = parts.latest_offset(self.name, &end, self.options).await.map_err(said)?;
        if settled != end {
            return Err(
                format!("from {end} the newest offset is {settled}, and the instance is the same").into()
            );
        }
        let names = parts.get_partitions(self.name, &start, &end, self.options).await.map_err(said)?;
        let mut records = Vec::new();
        for part in names.iter().rev() {
            let other = self.connect().await?;
            let reader = other.partitioned_stream().ok_or("another instance has no partitions")?;
            let stream = reader.read_partition(self.name, part, self.options);
            records.extend(Read::drain(stream).await.map_err(said)?.values()?);
        }
        same(self.comparable().await?, &records)
    }

    /// The table as one read gives it, where it can be had.
    async fn comparable(&self) -> Result<&Whole, Fault> {
        let whole = self.whole().await.map_err(|_| {
            Fault::NotTested("the table cannot be read whole, to compare its parts with".to_owned())
        })?;
        match whole.ended {
            true => Ok(whole),
            false => Err(Fault::NotTested("the sample was full before the table had ended".to_owned())),
        }
    }
}

fn same(whole: &Whole, parts: &[Value]) -> Verdict {
    let (whole, parts): (Records, Records) = (whole.counted(), counted(parts));
    if let Some(record) = missing_from(&parts, &whole) {
        return Err(format!("the parts lack {record}").into());
    }
    match missing_from(&whole, &parts) {
        Some(record) => Err(format!("the parts give {record} too often").into()),
        None => Ok(()),
    }
}
