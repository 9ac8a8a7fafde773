//! Changes to the source that a test makes, so that the suite sees whether the connector finds them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use headwater_connect::{BoxError, Connector};
use serde_json::{Map, Value, json};

use crate::secrets::chain;

/// Values of a record's primary keys, by name.
pub type Key = Map<String, Value>;

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteBackError {
    /// The table has no such change: what is appended is never changed, for example.
    #[error("the table does not know this change")]
    Unsupported,
    /// It should have been made.
    #[error("the source was not changed")]
    Failed(#[source] BoxError),
}

impl WriteBackError {
    /// A failure with this cause.
    pub fn failed(cause: impl Into<BoxError>) -> Self {
        WriteBackError::Failed(cause.into())
    }
}

/// Creates, changes and deletes records in a source, for tests only.
///
/// A connector's tests implement it for a source that they own. The suite makes one record at a time, and deletes what
/// it has made.
#[async_trait]
pub trait WriteBack: Send + Sync {
    /// Tables that can be changed.
    async fn tables(&self) -> Result<Vec<String>, WriteBackError>;

    /// Creates a record, and gives its key.
    async fn insert(&self, table: &str) -> Result<Key, WriteBackError>;

    /// Changes a record, in something else than its key.
    async fn update(&self, table: &str, key: &Key) -> Result<(), WriteBackError>;

    /// Deletes a record.
    async fn delete(&self, table: &str, key: &Key) -> Result<(), WriteBackError>;
}

/// The changes of one run of the suite, and what they have left behind.
pub struct Changes<'a> {
    pub(crate) write_back: &'a dyn WriteBack,
    /// How long a change may take to be seen.
    pub(crate) patience: Duration,
    left: Mutex<Vec<(String, Key)>>,
}

impl<'a> Changes<'a> {
    /// Changes made by `write_back`; each may take 30 seconds until the source shows it.
    pub fn new(write_back: &'a dyn WriteBack) -> Self {
        Self { write_back, patience: Duration::from_secs(30), left: Mutex::default() }
    }

    /// The same with another time for a change to be seen.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    fn left(&self) -> MutexGuard<'_, Vec<(String, Key)>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn insert(&self, table: &str) -> Result<Key, WriteBackError> {
        let key = self.write_back.insert(table).await?;
        self.left().push((table.to_owned(), key.clone()));
        Ok(key)
    }

    pub(crate) async fn delete(&self, table: &str, key: &Key) -> Result<(), WriteBackError> {
        self.write_back.delete(table, key).await?;
        self.left().retain(|(of, left)| of != table || left != key);
        Ok(())
    }

    /// Deletes what the suite has made and not deleted. To be called once the suite is over, however it ended: the
    /// suite does so itself, unless it was dropped. Gives what is still there, and why.
    pub async fn clean_up(&self) -> Vec<String> {
        let left = std::mem::take(&mut *self.left());
        let mut remains = Vec::new();
        for (table, key) in left {
            match self.write_back.delete(&table, &key).await {
                Ok(()) | Err(WriteBackError::Unsupported) => {}
                Err(error) => {
                    remains.push(format!("{} of `{table}`: {}", Value::Object(key), chain(&error)));
                }
            }
        }
        remains
    }
}

/// A test's class in another process, behind the operations that the worker has for it.
pub struct RemoteWriteBack(Box<dyn Connector>);

impl RemoteWriteBack {
    /// Takes an instance of what `headwater_python::Runtime::write_back` makes.
    pub fn new(instance: Box<dyn Connector>) -> Self {
        Self(instance)
    }

    async fn run(&self, operation: &str, table: &str, key: Option<&Key>) -> Result<Value, WriteBackError> {
        let arguments = match json!({"table": table, "key": key}) {
            Value::Object(arguments) => arguments,
            _ => Map::new(),
        };
        let agent =
            self.0.agent().ok_or_else(|| WriteBackError::failed("the worker cannot change the source"))?;
        let told = agent.run_operation(operation, &arguments).await.map_err(WriteBackError::failed)?;
        match told.get("unsupported").and_then(Value::as_bool) {
            Some(true) => Err(WriteBackError::Unsupported),
            _ => Ok(told),
        }
    }
}

#[async_trait]
impl WriteBack for RemoteWriteBack {
    async fn tables(&self) -> Result<Vec<String>, WriteBackError> {
        self.0.list_tables().await.map_err(WriteBackError::failed)
    }

    async fn insert(&self, table: &str) -> Result<Key, WriteBackError> {
        let told = self.run("insert", table, None).await?;
        match told.get("key") {
            Some(Value::Object(key)) => Ok(key.clone()),
            _ => Err(WriteBackError::failed("`insert` gave no key")),
        }
    }

    async fn update(&self, table: &str, key: &Key) -> Result<(), WriteBackError> {
        self.run("update", table, Some(key)).await.map(|_| ())
    }

    async fn delete(&self, table: &str, key: &Key) -> Result<(), WriteBackError> {
        self.run("delete", table, Some(key)).await.map(|_| ())
    }
}
